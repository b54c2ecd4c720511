"""A shop's routing document in sentences, in English and Chinese, for the people who answer for it. Pure.

Nothing that decides is left out: what stands at its default and changes nothing is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from deskline.config.documents import Agent, RoutingCondition, RoutingPolicy, RoutingRule, Step, TierRule
from deskline.config.routing_document import DEFAULT_STEPS, Notices, Order, Qualification, SlaActions, Threshold, Turns
from deskline_router.policy.people import reserve_of

Language = Literal["en", "zh"]

_WORDS: Final[dict[str, tuple[str, str]]] = {
    # names
    "trainee": ("trainees", "新人"),
    "standard": ("standard agents", "普通客服"),
    "senior": ("senior agents", "资深客服"),
    "supervisor": ("supervisors", "主管"),
    "handover": ("hand-overs by the robot", "机器人转人工"),
    "no_autoreply": ("messages that nothing answered", "无任何回复的消息"),
    "transfer": ("transfers", "转接"),
    "complaint": ("complaints", "投诉"),
    "flag complaint": ("complaint", "投诉"),
    "manual": ("what a person opened", "人工创建"),
    "queue": ("{n} requests waiting", "排队 {n} 人"),
    "wait_s": ("a wait of {n}", "等待 {n}"),
    "arrivals_per_min": ("{n} new requests a minute", "每分钟新增 {n} 个请求"),
    # lists
    "and": (" and ", "、"),
    "or": (" or ", "或"),
    "comma": (", ", "，"),
    "semicolon": ("; ", "；"),
    # durations
    "seconds": ("{n} s", "{n} 秒"),
    "minutes": ("{n} min", "{n} 分钟"),
    "hours": ("{n} h", "{n} 小时"),
    # tiers
    "tiers": ("Customers' tiers; the first line that fits counts, what earlier messages said included:", "顾客等级（从上到下，第一条符合的算数；历史消息里的信息也算）："),
    "tier_flags": ("is marked {x}", "平台标记为{x}"),
    "tier_spend": ("has spent at least {n}", "累计消费不低于 {n}"),
    "tier_average": ("spends at least {n} an order", "平均客单价不低于 {n}"),
    "tier_orders_min": ("has at least {n} orders", "订单数不少于 {n}"),
    "tier_orders_max": ("has at most {n} orders", "订单数不超过 {n}"),
    "tier_complaints_min": ("has complained at least {n} times", "投诉不少于 {n} 次"),
    "tier_complaints_max": ("has complained at most {n} times", "投诉不超过 {n} 次"),
    "tier_line": ("{tier}: who {x}.", "{tier}：{x}。"),
    "tier_all": ("{tier}: everybody else.", "{tier}：其余所有人。"),
    "tier_else": ("Everybody else has the tier that his message states, or is regular.", "都不符合时，用消息里带的等级；没有就是 regular。"),
    # rules
    "rule": ("Rule {rule}, for {x}{priority}:", "规则 {rule}（{x}）{priority}："),
    "priority": (", at a priority of {n} at least", "，优先级至少 {n}"),
    "everything": ("everything else", "其余所有请求"),
    "when_tiers": ("customers of the tier {x}", "等级为{x}的顾客"),
    "when_skills": ("requests for {x}", "需要{x}技能"),
    "when_entry_points": ("entries by {x}", "从{x}进入"),
    "when_channels": ("the channel {x}", "{x}渠道"),
    "when_languages": ("the language {x}", "语言为{x}"),
    "when_flags": ("what is flagged {x}", "带有{x}标记"),
    "when_causes": ("{x}", "{x}"),
    "when_hours": ("the hours {x}", "{x}时段"),
    "with": (", with ", "，且"),
    "step": ("{n}. {who}{skills}{how}.", "{n}. {who}{skills}{how}。"),
    "who_anybody": ("Anybody", "任何人"),
    "who_own": ("The customer's own agent, or who had him last", "顾客的专属客服（没有就找上次接待的人）"),
    "who_grades": ("Only {x}", "仅限{x}"),
    "in_groups": (" of the group {x}", "（{x}）"),
    "skills_level": (" with what is asked for at a proficiency of {n} at least", "，所需技能不低于 {n} 级"),
    "skills_any": (" with what is asked for", "，需具备所需技能"),
    "skills_none": (", whatever the skills", "，不要求技能"),
    "skills_also": (" and {x}", "，并且{x}"),
    "skill_at": ("{skill} at {n}", "{skill} {n} 级"),
    "language": (", who speaks the customer's language", "，会说顾客的语言"),
    "for": (", for {x}", "，等待 {x}"),
    "for_share": (", for at most {n} % of the SLA time left", "，最多占用剩余 SLA 时间的 {n}%"),
    "for_both": (", for {x} or {n} % of the SLA time left, whichever is sooner", "，等待 {x}，且不超过剩余 SLA 时间的 {n}%"),
    "until": (", until somebody is found", "，一直等到有人"),
    "share": ("; at most {n} % of these requests come this way", "；此类请求最多 {n}% 走这一步"),
    "hand_up": ("; after {x} with that agent it goes on to the next step", "；接待满 {x} 后自动升级到下一步"),
    "skip": ("; skipped where there is nobody like that here", "；没有或不在线就跳过"),
    "standing": ("What no rule fits waits {x} for somebody with the skills, then for anybody.", "没有规则符合时：先等有技能的人，最多 {x}，再找任何人。"),
    # the rest
    "mode_assigned": ("Conversations are given to agents at once.", "会话直接分配给客服。"),
    "mode_offered": ("Conversations are offered; who does not accept within {x} misses it, and after {n} missed in a row is paused.", "会话以邀请方式派给客服：{x}内未接受算错过，连续错过 {n} 次自动暂停。"),
    "order_cost": ("Who waits gains with every second, the more of the SLA time has gone the sooner: nobody is passed by for ever. Ten more of priority weigh twice as much.", "排队者随等待时间不断靠前，SLA 剩余时间越少越靠前，没有人会一直被插队。优先级每高 10，权重翻倍。"),
    "order_weights": ("By tier: {x}; everybody else weighs 1.", "等级权重：{x}；其余为 1。"),
    "order_growth": ("Waiting counts to the power of {n}.", "等待时间按 {n} 次方计。"),
    "order_handling": ("Short conversations go first: {x}.", "处理快的优先：{x}。"),
    "order_priority": ("The higher priority always comes first, then the longest wait.", "始终先服务优先级高的，同级按等待时间。"),
    "order_arrival": ("First come, first served.", "先到先服务。"),
    "weighs": ("{tier} {n}", "{tier} {n}"),
    "takes": ("{skill} takes {x}", "{skill} 需 {x}"),
    "choice": ("Of those who may take it, the least loaded for his capacity is chosen{surplus}; among equals who has had the least work lately.", "在可接待的人中选相对负荷最低的{surplus}；相同时选近期接待最少的。"),
    "choice_surplus": (", sparing skills and grade that are not asked for (weight {n})", "，并尽量不占用多余的技能和级别（权重 {n}）"),
    "turns": ("A conversation counts {a} while the agent owes an answer, and {c} while the customer does.", "等客服回复的会话占 {a} 个名额，等顾客回复的占 {c} 个。"),
    "trainees": ("Trainees never get customers of the tier {x}, nor what is flagged {y}.", "新人不接待{x}顾客，也不处理带{y}标记的会话。"),
    "trainees_tiers": ("Trainees never get customers of the tier {x}.", "新人不接待{x}顾客。"),
    "trainees_flags": ("Trainees never get what is flagged {y}.", "新人不处理带{y}标记的会话。"),
    "complaints": ("While a complaint is open, whom it is about {x}{y}.", "投诉未关闭期间，被投诉的客服{x}{y}。"),
    "complaints_never": ("never gets the conversation", "不会再接到该会话"),
    "complaints_last": ("gets the conversation last", "最后才会分到该会话"),
    "complaints_take": (", and loses it at once", "，并立即移出该会话"),
    "sla": ("Where the SLA {action}: {x}.", "SLA {action}时：{x}。"),
    "remind": ("reminds", "提醒"),
    "raise_priority": ("raises the priority", "提升优先级"),
    "reassign": ("reassigns", "改派"),
    "call_supervisor": ("calls a supervisor", "呼叫主管"),
    "sla_raise": ("the priority rises by {n}", "优先级加 {n}"),
    "sla_flags": ("the request is flagged {x}", "请求加上{x}标记"),
    "sla_waiting_supervisors": ("while it waits, {x} may take it as well, whatever the step, and are chosen first", "排队中的请求，{x}不论当前步骤都可接待，并优先选择"),
    "sla_waiting_supervisor_step": ("while it waits, it goes on to the next step for {x} alone, who may take it at once and are chosen first", "排队中的请求直接进入下一个只限{x}的步骤，{x}可立即接待，并优先选择"),
    "sla_held_anybody": ("who has it and has not answered loses it and is chosen last", "未回复的接待客服失去该会话，并排到最后"),
    "sla_held_supervisors": ("who has it and has not answered loses it if one of the {x} has room", "若{x}中有人有空，未回复的接待客服失去该会话"),
    "sla_nothing": ("nothing happens here; the agents' desktop shows it", "这里不做任何事，由客服工作台提示"),
    "night_wait": ("What comes outside hours waits for the opening{x}.", "非营业时间的请求等到开门{x}。"),
    "night_share": ("; for {x} it is shared out by capacity over those whose shift has begun, oldest first", "；开门后 {x}内按当班客服的容量平均分配，先来的先处理"),
    "night_serve": ("Outside hours whoever is online serves.", "非营业时间由在线的客服接待。"),
    "notices": ("Positions and estimated waits are told again every {x} where they have changed, {n} a second at most.", "排队位置和预计等待每 {x}更新一次（有变化才通知，每秒最多 {n} 条）。"),
    "surge": ("A surge begins at {x}. Then {who} called{added}. It ends when for {calm} there have been no more than {y}.", "达到{x}时进入高峰：{who}加入接待{added}。连续 {calm}不超过{y}后结束。"),
    "surge_reserve": ("the reserve ({x}) is", "预备客服（{x}）"),
    "surge_nobody": ("no reserve is", "没有预备客服"),
    "surge_added": (", and capacities rise by {n}", "，每人容量增加 {n}"),
    "surge_limit": (", to {n} at most", "，最多到 {n}"),
    "qualified": ("Who has {x} has at least {y}.", "具备{x}的客服，至少为{y}。"),
    "certificate": ("the certificate {x}", "{x}证书"),
    "training": ("{n} hours of {x}", "{x}培训 {n} 小时"),
    "grade": ("the grade {x}", "{x}级别"),
    "candidate": ("In shadow, doing nothing: another policy of {n} rules.", "影子策略（不生效）：另有 {n} 条规则。"),
}  # fmt: skip


class _Speaker:
    def __init__(self, language: Language) -> None:
        self._column = 0 if language == "en" else 1

    def say(self, key: str, **parts: object) -> str:
        return _WORDS[key][self._column].format(**parts)

    def name(self, key: str) -> str:
        return _WORDS[key][self._column] if key in _WORDS else key

    def names(self, keys: Iterable[str], joined: str = "or") -> str:
        return self.listed([self.name(key) for key in keys], joined)

    def flags(self, names: Iterable[str]) -> str:
        return self.listed([self.name(f"flag {name}") if f"flag {name}" in _WORDS else name for name in names])

    def listed(self, words: Sequence[str], joined: str = "or") -> str:
        if len(words) < 2:
            return "".join(words)
        between = self.say("comma") if self._column == 0 else "、"
        return between.join(words[:-1]) + self.say(joined) + words[-1]

    def time(self, seconds: float) -> str:
        for unit, length in (("hours", 3600), ("minutes", 60)):
            if seconds >= length and seconds % length == 0:
                return self.say(unit, n=f"{seconds / length:g}")
        return self.say("seconds", n=f"{seconds:g}")


def policy_sentences(
    policy: RoutingPolicy,
    agents: Mapping[str, Agent],
    language: Language,
    qualifications: Sequence[Qualification] = (),
) -> list[str]:
    """One sentence, or one heading with indented lines below it, per entry."""
    speak = _Speaker(language)
    found = [*_tiers(policy.tiers, speak), *(line for rule in policy.rules for line in _rule(rule, speak))]
    if not any(rule.when == RoutingCondition() for rule in policy.rules):
        found.append(speak.say("standing", x=speak.time(DEFAULT_STEPS[0].wait_s or 0)))
    mode = "mode_assigned" if policy.mode == "assigned" else "mode_offered"
    found.append(speak.say(mode, x=speak.time(policy.accept_s), n=policy.pause_after_missed))
    found += _order(policy.order, speak)
    surplus = speak.say("choice_surplus", n=f"{policy.choice.surplus:g}") if policy.choice.surplus else ""
    found.append(speak.say("choice", surplus=surplus))
    found += _turns(policy.turns, speak)
    found += _people(policy, speak)
    found += _sla(policy.sla_actions, speak)
    found += _night(policy, speak)
    found += _notices(policy.notices, speak)
    found += _surge(policy, agents, speak)
    found += [_qualified(rule, speak) for rule in qualifications]
    candidate = getattr(policy, "candidate", None)
    if candidate is not None:
        found.append(speak.say("candidate", n=len(candidate.rules)))
    return found


def _tiers(rules: Sequence[TierRule], speak: _Speaker) -> Iterator[str]:
    if rules:
        yield speak.say("tiers")
    for rule in rules:
        parts = [
            *([speak.say("tier_flags", x=speak.listed(rule.flags))] if rule.flags else ()),
            *(
                speak.say(key, n=f"{value:g}")
                for key, value in (
                    ("tier_spend", rule.min_total_spend),
                    ("tier_average", rule.min_average_order),
                    ("tier_orders_min", rule.min_orders),
                    ("tier_orders_max", rule.max_orders),
                    ("tier_complaints_min", rule.min_complaints),
                    ("tier_complaints_max", rule.max_complaints),
                )
                if value is not None
            ),
        ]
        key = "tier_line" if parts else "tier_all"
        yield "  " + speak.say(key, tier=rule.tier, x=speak.listed(parts, "and"))
    yield ("  " if rules else "") + speak.say("tier_else")


def _rule(rule: RoutingRule, speak: _Speaker) -> Iterator[str]:
    priority = "" if rule.priority is None else speak.say("priority", n=rule.priority)
    yield speak.say("rule", rule=rule.rule_id, x=_when(rule.when, speak), priority=priority)
    for number, step in enumerate(rule.steps, start=1):
        yield "  " + _step(number, step, speak)


def _when(when: RoutingCondition, speak: _Speaker) -> str:
    parts = [
        speak.say(f"when_{name}", x=speak.flags(values) if name == "flags" else speak.names(values))
        for name in ("tiers", "skills", "entry_points", "channels", "languages", "flags", "causes", "hours")
        if (values := getattr(when, name)) is not None
    ]
    return speak.say("with").join(parts) if parts else speak.say("everything")


def _step(number: int, step: Step, speak: _Speaker) -> str:
    who = speak.say("who_own") if step.own_agent else speak.say("who_anybody")
    if step.grades is not None:
        who = who if step.own_agent else ""
        who += (speak.say("comma") if who else "") + speak.say("who_grades", x=speak.names(step.grades))
    if step.groups is not None:
        who += speak.say("in_groups", x=speak.listed(step.groups))
    return speak.say("step", n=number, who=who, skills=_skills(step, speak), how=_how(step, speak))


def _skills(step: Step, speak: _Speaker) -> str:
    if not step.keep_skills:
        text = speak.say("skills_none")
    elif step.proficiency > 1:
        text = speak.say("skills_level", n=step.proficiency)
    else:
        text = speak.say("skills_any")
    if step.skills:
        also = [speak.say("skill_at", skill=skill, n=level) for skill, level in step.skills.items()]
        text += speak.say("skills_also", x=speak.listed(also, "and"))
    return text + (speak.say("language") if step.language else "")


def _how(step: Step, speak: _Speaker) -> str:
    share = None if step.sla_share is None else f"{100 * step.sla_share:g}"
    if step.wait_s is not None and share is not None:
        text = speak.say("for_both", x=speak.time(step.wait_s), n=share)
    elif step.wait_s is not None:
        text = speak.say("for", x=speak.time(step.wait_s))
    elif share is not None:
        text = speak.say("for_share", n=share)
    else:
        text = speak.say("until")
    if step.own_agent:
        text += speak.say("skip")
    if step.share is not None:
        text += speak.say("share", n=f"{100 * step.share:g}")
    if step.hand_up_s is not None:
        text += speak.say("hand_up", x=speak.time(step.hand_up_s))
    return text


def _order(order: Order, speak: _Speaker) -> Iterator[str]:
    yield speak.say(f"order_{order.by}")
    if order.by != "cost":
        return
    if order.tier_weights:
        weights = [speak.say("weighs", tier=tier, n=f"{n:g}") for tier, n in order.tier_weights.items()]
        yield speak.say("order_weights", x=speak.listed(weights, "and"))
    if order.growth != 1:
        yield speak.say("order_growth", n=f"{order.growth:g}")
    if order.handling_s:
        lengths = [speak.say("takes", skill=skill, x=speak.time(s)) for skill, s in order.handling_s.items()]
        yield speak.say("order_handling", x=speak.listed(lengths, "and"))


def _turns(turns: Turns, speak: _Speaker) -> Iterator[str]:
    if turns != Turns():
        yield speak.say("turns", a=f"{turns.agent:g}", c=f"{turns.customer:g}")


def _people(policy: RoutingPolicy, speak: _Speaker) -> Iterator[str]:
    tiers, flags = policy.trainees.never_tiers, policy.trainees.never_flags
    if tiers or flags:
        key = "trainees" if tiers and flags else "trainees_tiers" if tiers else "trainees_flags"
        yield speak.say(key, x=speak.listed(tiers), y=speak.flags(flags))
    rules = policy.complaints
    never = rules is not None and rules.never_same_agent
    take = speak.say("complaints_take") if rules is not None and rules.take_back else ""
    yield speak.say("complaints", x=speak.say("complaints_never" if never else "complaints_last"), y=take)


def _sla(actions: SlaActions, speak: _Speaker) -> Iterator[str]:
    who = speak.names(actions.supervisors)
    for name, action in actions.given():
        does = [
            *([speak.say("sla_raise", n=action.raise_by)] if action.raise_by else ()),
            *([speak.say("sla_flags", x=speak.listed(action.flags, "and"))] if action.flags else ()),
            *([speak.say(f"sla_waiting_{action.waiting}", x=who)] if action.waiting != "keep" else ()),
            *([speak.say(f"sla_held_{action.held}", x=who)] if action.held != "keep" else ()),
        ]
        yield speak.say("sla", action=speak.say(name), x=speak.say("semicolon").join(does) or speak.say("sla_nothing"))


def _night(policy: RoutingPolicy, speak: _Speaker) -> Iterator[str]:
    if policy.night.off_hours == "serve":
        yield speak.say("night_serve")
    else:
        share = speak.say("night_share", x=speak.time(policy.night.gather_s)) if policy.night.gather_s else ""
        yield speak.say("night_wait", x=share)


def _notices(notices: Notices, speak: _Speaker) -> Iterator[str]:
    if notices.position_every_s is not None:
        yield speak.say("notices", x=speak.time(notices.position_every_s), n=notices.most_per_s)


def _surge(policy: RoutingPolicy, agents: Mapping[str, Agent], speak: _Speaker) -> Iterator[str]:
    surge = policy.surge
    if surge is None:
        return
    kept = sorted(reserve_of(agents, surge.reserve_share))
    who = speak.say("surge_reserve", x=speak.listed(kept, "and")) if kept else speak.say("surge_nobody")
    added = ""
    if surge.capacity_added:
        added = speak.say("surge_added", n=surge.capacity_added)
        if surge.capacity_limit is not None:
            added += speak.say("surge_limit", n=surge.capacity_limit)
    yield speak.say(
        "surge",
        x=_threshold(surge.enter, speak, "or"),
        y=_threshold(surge.leave, speak, "and"),
        who=who,
        added=added,
        calm=speak.time(surge.calm_s),
    )


def _threshold(threshold: Threshold, speak: _Speaker, joined: str) -> str:
    parts = [
        speak.say(name, n=speak.time(value) if name == "wait_s" else f"{value:g}") for name, value in threshold.given()
    ]
    return speak.listed(parts, joined)


def _qualified(rule: Qualification, speak: _Speaker) -> str:
    has = [speak.say("certificate", x=name) for name in rule.certifications or ()]
    has += [speak.say("training", x=name, n=f"{hours:g}") for name, hours in (rule.training_hours or {}).items()]
    gives = [] if rule.grade is None else [speak.say("grade", x=rule.grade)]
    gives += [speak.say("skill_at", skill=skill, n=level) for skill, level in rule.skills.items()]
    return speak.say("qualified", x=speak.listed(has, "and"), y=speak.listed(gives, "and"))
