"""``deskline autoreply try``: which rule answers a text, and why those before it do not. No service, no broker."""

import pytest
from typer.testing import CliRunner

from deskline.errors import UsageError
from deskline_autoreply.cli import app

RULES = """
shadow: {shadow}
rules:
  - {{rule_id: complaint, priority: 900, when: {{any_of: [投诉]}}, handover: {{reason: complaint, priority: 90}}}}
  - {{rule_id: closed, priority: 500, when: {{open: false}}, reply: {{kind: off_hours, text: 明早回复您。}}, handover: {{}}}}
  - {{rule_id: shipping, when: {{any_of: [发货]}}, reply: {{kind: faq, text: 48 小时内发货。}}}}
"""
CALENDARS = """
default: office
calendars: {office: {timezone: Asia/Shanghai, weekly: {wed: ["09:00-18:00"]}}}
"""
NOON = "2026-11-25T12:00:00+08:00"


@pytest.fixture
def attempt(tmp_path):
    folder = tmp_path / "_default"
    folder.mkdir()
    (folder / "calendars.yaml").write_text(CALENDARS, encoding="utf-8")

    def run(*arguments, shadow="false"):
        (folder / "rules.yaml").write_text(RULES.format(shadow=shadow), encoding="utf-8")
        return CliRunner().invoke(app, ["try", *arguments, "--config", str(tmp_path)])

    return run


def test_it_says_which_rule_steps_aside_for_an_answer(attempt, tmp_path):
    late = "when: {open: false}, unless_answered: true,"
    text = RULES.format(shadow="false").replace("when: {open: false},", late)
    (tmp_path / "_default" / "knowledge.yaml").write_text(
        "entries: [{entry_id: invoice, phrasings: [怎么开发票], answer: 订单页。}]\n", encoding="utf-8"
    )
    (tmp_path / "_default" / "rules.yaml").write_text(text, encoding="utf-8")

    def lines(question):
        run = CliRunner().invoke(app, ["try", question, "--at", "2026-11-25T20:00:00+08:00", "--config", str(tmp_path)])
        assert run.exit_code == 0, run.output
        return [line.strip() for line in run.output.splitlines()]

    said = lines("怎么开发票")
    assert "closed: matches, and steps aside for an answer" in said
    assert "decides: the knowledge base (entry invoice)" in said
    assert "decides: shipping" in lines("发货")
    assert "decides: closed" in lines("别的")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["什么时候发货", "--at", NOON],
            ["complaint: not met: any_of", "closed: not met: open", "decides: shipping", "reply (faq): 48 小时内发货。"],
        ),
        (
            ["发货", "--at", "2026-11-25T18:00:00+08:00"],
            ["complaint: not met: any_of", "decides: closed", "reply (off_hours): 明早回复您。",
             "hand-over: reason rule; priority 50"],
        ),
        (["我要投诉", "--at", NOON], ["decides: complaint", "hand-over: reason complaint; priority 90"]),
        (
            ["别的", "--at", NOON],
            ["complaint: not met: any_of", "closed: not met: open", "shipping: not met: any_of", "decides: the fallback",
             "hand-over: reason no_match; priority 50"],
        ),
        (["\u200b ", "--at", NOON], ["ignored: empty (nothing visible and no attachment)"]),
    ],
)  # fmt: skip
def test_it_says_what_decides_and_what_does_not(attempt, arguments, lines):
    result = attempt(*arguments)
    assert result.exit_code == 0
    said = [line.strip() for line in result.output.splitlines()]
    assert said[0].startswith("shop _default at 2026-11-25T")
    assert said[1:] == lines


WORLD = """
rules:
  - {rule_id: vip, priority: 900, when: {tiers: [vip]}, tags: [vip]}
  - {rule_id: human, priority: 800, when: {any_of: [转人工]}, handover: {reason: asked_for_human}}
  - {rule_id: photo, priority: 700, when: {attachment_kinds: [image]}, reply: {text: 收到图片。}}
  - {rule_id: order, priority: 600, when: {order: true, any_of: [到哪]}, reply: {text: "订单{order_id}在路上。"}}
  - {rule_id: product, priority: 500, when: {product: true, any_of: [多少钱]}, reply: {text: 见商品页。}}
  - {rule_id: app, priority: 400, when: {entry_points: [cart], any_of: [优惠]}, reply: {text: 见购物车。}}
  - {rule_id: mail, priority: 350, when: {channels: [mail], any_of: [优惠]}, reply: {text: 邮件回复。}}
  - {rule_id: english, priority: 340, when: {languages: [en], any_of: [优惠]}, reply: {text: See the page.}}
  - {rule_id: first, priority: 300, when: {first_message: true, any_of: [你好]}, reply: {kind: greeting, text: "{customer_name|亲}，您好。"}}
  - {rule_id: where, priority: 200, when: {any_of: [排队]}, reply: {text: "您前面第{queue_position}位。"}}
  - rule_id: gift
    when: {any_of: [礼物]}
    reply: {variants: [{variant: a, text: 礼物甲。}, {variant: b, text: 礼物乙。}]}
  - {rule_id: quiet, when: {any_of: [测试]}, silent: true}
  - {rule_id: rush, when: {any_of: [高峰], surge: true}, reply: {kind: queue_notice, text: 请稍等。}}
sensitive: {words: {rival: [某某商城, 竞品]}, categories: {rival: {inbound: mask, outbound: block, handover: true}}}
knowledge:
  entries:
    - {entry_id: invoice, phrasings: [怎么开发票, 可以开发票吗, 发票在哪里开], answer: 订单页可以开发票。}
"""


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["看看", "--attachment-kind", "image"], ["decides: photo", "reply (rule): 收到图片。"]),
        (["看看", "--attachment-kind", "video"], ["photo: not met: attachment_kinds", "decides: the fallback"]),
        (["到哪了", "--order", "A-1"], ["decides: order", "reply (rule): 订单A-1在路上。"]),
        (["到哪了"], ["order: not met: order", "came close: order, but for order"]),
        (["多少钱", "--product", "P-1"], ["decides: product"]),
        (["有优惠吗", "--entry-point", "cart"], ["decides: app"]),
        (["有优惠吗", "--channel", "mail"], ["decides: mail"]),
        (["有优惠吗", "--language", "en"], ["decides: english"]),
        (["有优惠吗"], ["came close: app, but for entry_points", "came close: mail, but for channels"]),
        (["你好"], ["decides: first", "reply (greeting): 亲，您好。"]),
        (["你好", "--name", "小王"], ["reply (greeting): 小王，您好。"]),
        (["你好", "--later"], ["first: not met: first_message", "decides: the fallback"]),
        (["你好", "--tier", "vip", "--later"], ["vip: tags vip", "hand-over: reason no_match; priority 50; flags vip"]),
        (["排队吗", "--open-request"], ["decides: where", "reply (rule): 您前面第1位。"]),
        (["排队吗"], ["where: matches, and has nothing to say: a variable in its text has no value"]),
        (["别的", "--open-request"], ["ignored: waiting"]),
        (["转人工", "--open-request"], ["decides: human", "hand-over: reason asked_for_human; priority 50"]),
        (["高峰"], ["rush: not met: surge"]),
        (["高峰", "--surge"], ["decides: rush", "reply (queue_notice): 请稍等。"]),
        (["测试"], ["decides: quiet", "ignored: cooldown"]),
        (["某某商城更便宜"], ["hand-over: reason sensitive; priority 50", "sensitive: rival; masked: ****更便宜; a person has to see it"]),
        (["怎么开发票"], ["decides: the knowledge base (entry invoice)", "knowledge base answers: invoice"]),
    ],
)  # fmt: skip
def test_a_message_may_come_with_all_that_rules_can_ask_for(attempt, arguments, lines, tmp_path):
    attempt("warm")
    (tmp_path / "_default" / "rules.yaml").write_text(WORLD, encoding="utf-8")
    result = CliRunner().invoke(app, ["try", *arguments, "--at", NOON, "--config", str(tmp_path)])
    assert result.exit_code == 0, result.output
    said = [line.strip() for line in result.output.splitlines()]
    for line in lines:
        assert any(one.startswith(line) for one in said), (line, said)


def test_a_customer_is_told_the_variant_that_is_his(attempt, tmp_path):
    attempt("warm")
    (tmp_path / "_default" / "rules.yaml").write_text(WORLD, encoding="utf-8")
    options = ["--at", NOON, "--config", str(tmp_path)]

    def told(customer):
        output = CliRunner().invoke(app, ["try", "礼物", "--customer", customer, *options]).output
        return next(line for line in output.splitlines() if line.startswith("reply"))

    both = {told(f"u-{n}") for n in range(12)}
    assert both == {"reply (rule, variant a): 礼物甲。", "reply (rule, variant b): 礼物乙。"}
    assert told("u-3") == told("u-3")


def test_a_shop_in_shadow_is_said_to_be_in_shadow(attempt):
    assert "nothing below is sent" in attempt("发货", "--at", NOON, shadow="true").output


def test_a_time_that_is_none_is_refused_with_an_example(attempt):
    result = attempt("发货", "--at", "yesterday")
    assert isinstance(result.exception, UsageError)
    assert "for example 2026-11-25T09:30:00+08:00" in str(result.exception)
