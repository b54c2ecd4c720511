"""The shop of ``make load`` and ``make soak``: its agents, half as many in reserve for a surge, which has templates of its own."""

from __future__ import annotations

from pathlib import Path

_DEFAULT = {
    "limits": "patience_s: 3\nreply_max_age_s: 300\ndeliver_by_s: 60\noffline_grace_s: 60\n",
    "sla": "policies: [{policy_id: all, targets: {instant_reply: 30, agent_response: 180, next_response: 180, transfer_response: 300}}]\n",
    "rules": """rules:
  - {rule_id: shipping, priority: 400, when: {any_of: [什么时候发货, 发什么快递]}, reply: {kind: faq, text: 付款后 48 小时内发货，默认中通。}}
  - {rule_id: returns, priority: 400, when: {any_of: [怎么退货]}, reply: {kind: faq, text: 七天内可退，请在订单页申请。}}
  - {rule_id: offers, priority: 400, when: {any_of: [有优惠吗]}, reply: {kind: promotion, text: 满 300 减 40。}}
  - {rule_id: when, priority: 500, when: {any_of: [活动], surge: true}, reply: {kind: promotion, variants: [{variant: a, text: 活动今晚 8 点开始，24 点结束。}, {variant: b, text: 今晚 8 点到 24 点，以商品页面为准。}]}}
  - {rule_id: sums, priority: 500, when: {any_of: [满减], surge: true}, reply: {kind: promotion, variants: [{variant: a, text: 满 300 减 40，可以叠加店铺券。}, {variant: b, text: 每满 300 减 40，结算时自动减。}]}}
  - {rule_id: deposit, priority: 500, when: {any_of: [定金], surge: true}, reply: {kind: promotion, variants: [{variant: a, text: 定金支付后尾款在 24 点前付清。}, {variant: b, text: 尾款 24 点前付清，定金不退。}]}}
guard: {max_replies: 50, loop_replies: 100}
""",
    "routing": """mode: assigned
rules: [{rule_id: all, steps: [{}]}]
surge: {enter: {arrivals_per_min: %d}, leave: {arrivals_per_min: %d}, calm_s: 10, capacity_added: 2}
""",
}  # fmt: skip


def everybody(agents: int) -> list[str]:
    """Those who work every day, then those in reserve."""
    return [f"agent-{number:03d}" for number in range(agents + agents // 2)]


def write(folder: Path, agents: int, calm_per_min: float) -> Path:
    """A directory of configuration. The surge begins at twice the calm's requests for people, and is over at one and a half."""
    files = {**_DEFAULT}
    files["routing"] = files["routing"] % (max(2, round(calm_per_min * 1.5)), max(1, round(calm_per_min * 1.1)))
    rows = "".join(
        f"  - {{agent_id: {agent}, capacity: 6{', reserve: true' if number >= agents else ''}}}\n"
        for number, agent in enumerate(everybody(agents))
    )
    files["agents"] = f"agents:\n{rows}"
    (folder / "_default").mkdir(parents=True)
    for name, text in files.items():
        (folder / "_default" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder
