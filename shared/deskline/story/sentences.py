"""One event, one sentence, in English and Chinese. Pure. Never what somebody wrote."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA, Event

Language = Literal["en", "zh"]

_ORDER: Final = {topic: number for number, topic in enumerate((CONVERSATIONS, REPLIES, ROUTING, SLA))}

_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "message.received": ("The customer {customer_id} wrote by {channel}{tier}.", "顾客 {customer_id} 通过 {channel} 发来消息{tier}。"),
    "tier": (", marked {x}", "（平台等级 {x}）"),
    "message.sent agent": ("The agent {id} wrote{answers}.", "客服 {id} 回复{answers}。"),
    "message.sent bot": ("The robot's answer reached the customer.", "机器人的回复已送达。"),
    "message.sent system": ("The system wrote.", "系统发了消息。"),
    "answers": (", in answer to {x}", "（针对 {x}）"),
    "message.read": ("The {kind} {id} read a message.", "{kind} {id} 已读消息。"),
    "assignment.accepted": ("The agent {agent_id} took the offer.", "客服 {agent_id} 接受了邀请。"),
    "assignment.declined": ("The agent {agent_id} declined the offer{reason}.", "客服 {agent_id} 拒绝了邀请{reason}。"),
    "transfer.requested": ("The agent {by_agent_id} handed the conversation on{to}.", "客服 {by_agent_id} 转接会话{to}。"),
    "to": (" to {x}", "给 {x}"),
    "conversation.held": ("The conversation is on hold{reason}.", "会话挂起{reason}。"),
    "conversation.resumed": ("The conversation goes on{reason}.", "会话恢复{reason}。"),
    "reason": (" ({x})", "（{x}）"),
    "complaint.opened": ("A complaint was opened: {complaint_id}.", "投诉 {complaint_id} 已登记。"),
    "complaint.closed": ("The complaint {complaint_id} was closed.", "投诉 {complaint_id} 已关闭。"),
    "conversation.closed": ("The conversation was closed, {resolved}.", "会话关闭，{resolved}。"),
    "resolved": ("resolved", "已解决"),
    "unresolved": ("not resolved", "未解决"),
    "conversation.rated": ("The customer gave {score} of 5.", "顾客评分 {score}（满分 5）。"),
    "order.placed": ("An order of {amount} was placed: {order_id}.", "下单 {order_id}，金额 {amount}。"),
    "reply.issued": ("autoreply answered ({kind}{by}{sure}){handover}.", "自动回复（{kind}{by}{sure}）{handover}。"),
    "by rule": (", rule {x}", "，规则 {x}"),
    "by entry": (", entry {x}", "，知识库条目 {x}"),
    "sure": (", {x} sure", "，置信度 {x}"),
    "handover": (", and hands over", "，并转人工"),
    "handover.requested": ("autoreply handed over: {reason}{skills}, priority {priority}; the customer has waited since {waiting_since}.", "转人工：{reason}{skills}，优先级 {priority}；顾客自 {waiting_since} 起等待。"),
    "skills": (", asking for {x}", "，需要技能 {x}"),
    "message.flagged": ("Sensitive words were found ({categories}): {action}.", "发现敏感内容（{categories}）：{action}。"),
    "message.ignored": ("autoreply left the message alone: {reason}.", "自动回复未处理：{reason}。"),
    "conversation.queued first": ("router: a request was opened ({cause}){skills}: step {step}, asking for {required}, priority {priority}, position {position}{estimate}.", "路由：请求进入队列（{cause}）{skills}：第 {step} 步，要求{required}，优先级 {priority}，排第 {position} 位{estimate}。"),
    "conversation.queued": ("router: it waits at step {step}, asking for {required}, priority {priority}, position {position}{estimate}.", "路由：排队中，第 {step} 步，要求{required}，优先级 {priority}，排第 {position} 位{estimate}。"),
    "estimate": (", about {x} s to wait", "，预计等待 {x} 秒"),
    "anybody": ("anybody", "不限"),
    "conversation.assigned assigned": ("router: given to {agent_id} after {waited} s ({load} of {capacity}), by the rule {rule}, step {step} of version {policy_version}{relaxed}. {eligible} of {considered} could take it{rejected}; chosen by {score}.", "路由：等待 {waited} 秒后分配给 {agent_id}（{load}/{capacity}），规则 {rule} 第 {step} 步，版本 {policy_version}{relaxed}。{considered} 人中有 {eligible} 人可接{rejected}；评分：{score}。"),
    "conversation.assigned offered": ("router: offered to {agent_id} after {waited} s ({load} of {capacity}), by the rule {rule}, step {step} of version {policy_version}{relaxed}. {eligible} of {considered} could take it{rejected}; chosen by {score}.", "路由：等待 {waited} 秒后向 {agent_id} 发出邀请（{load}/{capacity}），规则 {rule} 第 {step} 步，版本 {policy_version}{relaxed}。{considered} 人中有 {eligible} 人可接{rejected}；评分：{score}。"),
    "relaxed": (", having given up {x}", "，已放宽：{x}"),
    "rejected": ("; not {x}", "；其余 {x}"),
    "candidate": ("{agent_id}: {failed}{numbers}", "{agent_id}：{failed}{numbers}"),
    "candidates": (" Not chosen: {x}.", "未选中：{x}。"),
    "numbers": (" ({x})", "（{x}）"),
    "assignment.expired": ("router: {agent_id} did not take the offer in time{paused}.", "路由：{agent_id} 未及时接受邀请{paused}。"),
    "assignment.revoked": ("router: taken back from {agent_id}: {reason}{paused}.", "路由：从 {agent_id} 收回：{reason}{paused}。"),
    "paused": (", and is paused", "，并被暂停接待"),
    "conversation.released": ("router: the request has ended: {reason}.", "路由：请求结束：{reason}。"),
    "sla.warning": ("sla: {share} % of the time for {metric} is used up; due at {due_at}.", "SLA：{metric} 已用时 {share}%，截止 {due_at}。"),
    "sla.breached": ("sla: {metric} was due at {due_at} and is breached{actions}.", "SLA：{metric} 超时（截止 {due_at}）{actions}。"),
    "actions": ("; asked for: {x}", "；要求：{x}"),
    "sla.met": ("sla: {metric} is met, {elapsed_s} s of {target_s} s.", "SLA：{metric} 达成，用时 {elapsed_s} 秒（目标 {target_s} 秒）。"),
    "sla.cancelled": ("sla: {metric} no longer counts: {reason}.", "SLA：{metric} 取消计时：{reason}。"),
    "sla.breach_retracted": ("sla: the breach of {metric} does not hold: {reason}.", "SLA：{metric} 的超时已撤回：{reason}。"),
    "sla.retargeted": ("sla: {metric} has a new target of {target_s} s, due at {due_at}.", "SLA：{metric} 目标改为 {target_s} 秒，截止 {due_at}。"),
    "sla.reminder": ("sla: a reminder, the {n}th: {kind}.", "SLA：第 {n} 次提醒：{kind}。"),
    "unknown": ("{type}: deskline does not know this type of event.", "{type}：未知的事件类型。"),
    "again": (" (Said before: no effect.)", "（重复记录，无效。）"),
    "actor": (" By {x}.", "操作人 {x}。"),
}  # fmt: skip


class Line(NamedTuple):
    at: int
    """Event time, µs."""
    text: str


def tell(events: Iterable[Event], language: Language = "en") -> list[Line]:
    """In order of event time; a second record of an id is told as having no effect."""
    ordered = sorted(events, key=lambda event: (event.at, _ORDER.get(event.topic, 9), event.partition, event.offset))
    first: dict[tuple[str, str, str], tuple[int, int]] = {}
    for event in ordered:
        key = (event.topic, event.source, event.id)
        first[key] = min(first.get(key, (event.partition, event.offset)), (event.partition, event.offset))
    return [
        Line(
            event.at,
            _sentence(event, language)
            + (
                ""
                if first[event.topic, event.source, event.id] == (event.partition, event.offset)
                else _say(language, "again")
            ),
        )
        for event in ordered
    ]


def _say(language: Language, key: str, **parts: object) -> str:
    return _SENTENCES[key][0 if language == "en" else 1].format(**parts)


def _sentence(event: Event, language: Language) -> str:
    data = event.data
    say: Callable[..., str] = lambda key, **parts: _say(language, key, **parts)  # noqa: E731
    name = event.type.removesuffix(".v1")
    read: Callable[[str], Any] = lambda field: getattr(data, field, None)  # noqa: E731
    optional = {
        "reason": lambda: say("reason", x=read("reason")) if read("reason") else "",
    }
    match name:
        case "message.received":
            tier = data.customer.tier
            text = say(
                name,
                customer_id=data.customer.customer_id,
                channel=data.channel,
                tier="" if tier is None else say("tier", x=tier),
            )
        case "message.sent":
            answers = "" if data.in_reply_to is None else say("answers", x=data.in_reply_to)
            text = say(f"{name} {data.author.kind}", id=data.author.id, answers=answers)
        case "message.read":
            text = say(name, kind=data.reader.kind, id=data.reader.id)
        case "assignment.declined" | "conversation.held" | "conversation.resumed":
            text = say(name, agent_id=read("agent_id"), reason=optional["reason"]())
        case "transfer.requested":
            text = say(name, by_agent_id=data.by_agent_id, to=_target(data.to, say))
        case "conversation.closed":
            text = say(name, resolved=say("resolved" if data.resolved else "unresolved"))
        case "reply.issued":
            text = _reply(data, say)
        case "handover.requested":
            text = say(
                name,
                reason=data.reason,
                priority=data.priority,
                waiting_since=data.waiting_since,
                skills=say("skills", x=", ".join(data.skills)) if data.skills else "",
            )
        case "message.flagged":
            text = say(name, categories=", ".join(data.categories), action=data.action)
        case "conversation.queued":
            text = _queued(data, say)
        case "conversation.assigned":
            text = _assigned(data, say)
        case "assignment.expired" | "assignment.revoked":
            paused = say("paused") if data.agent_paused else ""
            text = say(name, agent_id=data.agent_id, reason=data.reason, paused=paused)
        case "sla.warning":
            text = say(name, share=f"{100 * data.threshold:g}", metric=data.metric, due_at=data.due_at)
        case "sla.breached":
            actions = say("actions", x=", ".join(data.actions)) if data.actions else ""
            text = say(name, metric=data.metric, due_at=data.due_at, actions=actions)
        case _ if name in _SENTENCES:
            text = say(name, **_fields(data))
        case _:
            text = say("unknown", type=event.type)
    actor = read("actor")
    return text + (say("actor", x=actor) if actor else "")


def _fields(data: Any) -> dict[str, Any]:
    names: Sequence[str] = getattr(data, "__struct_fields__", ())
    return {name: _plain(getattr(data, name)) for name in names}


def _plain(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def _target(to: Any, say: Callable[..., str]) -> str:
    if to is None:
        return ""
    parts = [part for part in (to.agent_id, ", ".join(to.skills or ()), to.grade) if part]
    return say("to", x=", ".join(parts)) if parts else ""


def _reply(data: Any, say: Callable[..., str]) -> str:
    by = ""
    if data.rule_id is not None:
        by = say("by rule", x=data.rule_id)
    elif data.entry_id is not None:
        by = say("by entry", x=data.entry_id)
    sure = "" if data.confidence is None else say("sure", x=f"{data.confidence:.2f}")
    return say("reply.issued", kind=data.kind, by=by, sure=sure, handover=say("handover") if data.handover else "")


def _required(required: Any, say: Callable[..., str]) -> str:
    parts = [f"{skill.skill} {skill.proficiency}" for skill in required.skills]
    parts += ["/".join(required.grades)] if required.grades else []
    parts += [required.agent] if required.agent is not None else []
    return ", ".join(parts) or say("anybody")


def _queued(data: Any, say: Callable[..., str]) -> str:
    estimate = data.estimated_wait_s
    return say(
        "conversation.queued first" if data.seq == 1 else "conversation.queued",
        cause=data.cause,
        skills=say("skills", x=", ".join(data.skills)) if data.skills else "",
        step=data.step,
        required=_required(data.required, say),
        priority=data.priority,
        position=data.position,
        estimate="" if estimate is None else say("estimate", x=f"{estimate:g}"),
    )


def _assigned(data: Any, say: Callable[..., str]) -> str:
    why = data.explanation
    score: Mapping[str, float] = why.chosen.score_parts
    text = say(
        f"conversation.assigned {'offered' if data.mode == 'offered' else 'assigned'}",
        agent_id=data.agent_id,
        waited=f"{data.waited_s:g}",
        load=_plain(data.load),
        capacity=data.capacity,
        rule=why.rule,
        step=why.step,
        policy_version=data.policy_version,
        relaxed=say("relaxed", x=", ".join(why.relaxed)) if why.relaxed else "",
        eligible=why.eligible,
        considered=why.considered,
        rejected=say("rejected", x=", ".join(f"{n} {reason}" for reason, n in why.rejected.items()))
        if why.rejected
        else "",
        score=", ".join(f"{name} {value:g}" for name, value in score.items()),
    )
    named = [
        say(
            "candidate",
            agent_id=each.agent_id,
            failed=each.failed,
            numbers=say("numbers", x=each.numbers) if each.numbers else "",
        )
        for each in why.candidates or ()
        if each.failed
    ]
    return text + (say("candidates", x="; ".join(named)) if named else "")
