"""Words of the reports, in English and Chinese. What is not here (rule ids, reasons of the contract) stands as it is."""

from typing import Final, Literal

Language = Literal["en", "zh"]

_WORDS: Final[dict[str, tuple[str, str]]] = {
    # pages
    "shadow_title": ("What the candidates in shadow would have done: shop {shop}", "候选配置（影子）对比：店铺 {shop}"),
    "trial_title": ("Trial of shop {shop}", "店铺 {shop} 试运行报告"),
    "since": ("Since {since}", "统计起点：{since}"),
    "nothing": ("Nothing was recorded.", "没有记录。"),
    "left_off": ("{n} rarer differences are left off.", "另有 {n} 种较少见的差异未列出。"),
    # kinds
    "rules_title": ("Rules and knowledge base: {n} messages compared", "规则与知识库：对比了 {n} 条消息"),
    "routing_title": ("Routing: {n} assignments compared", "分配策略：对比了 {n} 次分配"),
    "sla_title": ("SLA: {n} clocks compared", "SLA：对比了 {n} 个计时"),
    "alone_title": ("The shop's own rules, nothing sent: {n} messages", "本店规则（只计算、不发送）：{n} 条消息"),
    "differences_title": ("What would be different", "会有哪些不同"),
    "agents_title": ("Conversations per agent", "每位客服的会话数"),
    "open_clocks": ("{n} clocks are still open and not compared.", "另有 {n} 个计时尚未结束，未参与对比。"),
    "answered_both": (
        "Answered: {live} live, {candidate} by the candidate.",
        "自动回复：现行 {live} 条，候选 {candidate} 条。",
    ),
    "earlier_note": (
        "{n} requests waited although the candidate would have found somebody at once.",
        "{n} 个请求在排队，而候选策略可以立即分配。",
    ),
    # columns
    "verdict": ("verdict", "结论"),
    "count": ("count", "数量"),
    "share": ("share", "占比"),
    "live": ("live", "现行"),
    "candidate": ("candidate", "候选"),
    "examples": ("examples", "示例"),
    "agreement": ("agreement", "是否一致"),
    "live_rule": ("live rule", "现行规则"),
    "rule": ("rule", "规则"),
    "entry": ("entry", "知识条目"),
    "kind": ("kind", "类型"),
    "reason": ("reason", "原因"),
    "step": ("steps", "步骤"),
    "priority": ("priorities", "优先级"),
    "agent": ("agent", "客服"),
    "metric": ("metric", "指标"),
    "clocks": ("clocks", "计时数"),
    "breached_live": ("breached live", "现行超时"),
    "breached_candidate": ("breached by the candidate", "候选超时"),
    "gained_breaches": ("new breaches", "新增超时"),
    "lost_breaches": ("breaches gone", "减少超时"),
    "target": ("targets (s)", "目标（秒）"),
    "outcome": ("outcome", "结果"),
    # verdicts, agreements, outcomes, states
    "same": ("same", "一致"),
    "gained": ("gained: the candidate answers", "新增：候选会回复"),
    "lost": ("lost: the candidate does not answer", "丢失：候选不会回复"),
    "changed": ("changed", "内容不同"),
    "other_agent": ("another agent", "分给了别的客服"),
    "earlier": ("the candidate would have found somebody at once", "候选可立即分配"),
    "waits": ("the candidate would wait", "候选会继续等待"),
    "reply": ("answer", "自动回复"),
    "both": ("answer and hand-over", "回复并转人工"),
    "handover": ("hand-over", "转人工"),
    "ignored": ("silent", "不处理"),
    "met": ("met", "按时"),
    "breached": ("breached", "超时"),
    "cancelled": ("cancelled", "取消"),
    "none": ("no clock", "不计时"),
    # trial
    "when": ("From {start} to {end} ({hours} h)", "时间：{start} 至 {end}（{hours} 小时）"),
    "running": ("It is still running.", "试运行仍在进行。"),
    "stopped": ("It was stopped early.", "试运行已提前结束。"),
    "then_off": ("Afterwards people answer as before.", "结束后：仍由人工回复。"),
    "then_live": ("Afterwards replies are sent.", "结束后：自动回复正式启用。"),
    "speed": ("Speed, on the messages that would have been answered", "速度（以会自动回复的消息为准）"),
    "who": ("who", "由谁回复"),
    "messages": ("messages", "消息数"),
    "mean": ("mean (s)", "平均（秒）"),
    "p50": ("median (s)", "中位数（秒）"),
    "p90": ("90th percentile (s)", "90 分位（秒）"),
    "by_autoreply": ("autoreply", "自动回复"),
    "by_people": ("people, the same messages", "人工，同样的消息"),
    "by_people_all": ("people, all messages that the rules were asked", "人工，规则看过的全部消息"),
    "never": ("{n} of them got no answer from people at all.", "其中 {n} 条人工始终没有回复。"),
    "coverage": ("Coverage", "覆盖率"),
    "of_messages": ("messages of the shop in that time", "期间店铺收到的消息"),
    "of_asked": ("of them nobody's yet: the rules were asked", "其中无人接待、由规则判断的消息"),
    "of_answered": ("would have been answered", "会自动回复"),
    "by_rule": ("By rule", "按规则"),
    "by_entry": ("By knowledge entry", "按知识条目"),
    "by_kind": ("By kind", "按类型"),
    "handed": ("What would have gone to people, by reason", "会转人工的消息（按原因）"),
    "instead": ("What people answered instead", "人工实际怎么回复"),
    "would_be": ("would have been sent", "本会发送"),
    "people_wrote": ("people wrote", "人工回复"),
    "private": (
        "Names, order numbers, addresses, e-mail addresses and numbers of five digits or more are masked.",
        "姓名、订单号、地址、邮箱与五位以上的号码已遮盖。",
    ),
}


def word(language: Language, name: str, **values: object) -> str:
    english, chinese = _WORDS[name]
    return (chinese if language == "zh" else english).format(**values)


def known(language: Language, name: str | None) -> str:
    """The word, or the name itself where there is none for it."""
    if name is None:
        return ""
    return word(language, name) if name in _WORDS else name
