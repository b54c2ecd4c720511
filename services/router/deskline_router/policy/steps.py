"""From a request and its shop's routing document to what an agent must have now. Pure.

A request's *stages* are, in order: the agent named by a transfer, or the owner without an assignment (waited for
``transfer_wait_s``); the transfer's skills and grade (as long); then the steps of the rule that matches the request.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from deskline.config.base import span_seconds
from deskline.config.documents import Agent as AgentConfig
from deskline.config.documents import RoutingCondition, RoutingRule, Step
from deskline.config.routing_document import DEFAULT_STEPS, GRADES
from deskline_router.model import SECOND, Cause, Request, Shop
from deskline_router.policy.people import tier_of

LIST_LIMIT: Final = 64
"""Of every list of the contract (§1)."""
_STANDING_RULE: Final = RoutingRule(rule_id="default", steps=DEFAULT_STEPS)
"""Stands behind a list of rules of which none matches, so that nobody waits without a rule."""


class Stage(NamedTuple):
    """What is required while it lasts; ``wait`` (µs) None: until assigned."""

    wait: int | None
    agent: str | None = None
    skills: tuple[tuple[str, int], ...] = ()
    grades: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    language: str | None = None
    void: bool = False
    """It can admit nobody (an own agent where there is none): skipped at once."""
    sla_share: float | None = None
    """It lasts at most this part of the SLA time left."""
    hand_up: int | None = None
    """µs that who was chosen by it holds the conversation at most."""
    called: tuple[str, ...] = ()
    """Grades of those whom the SLA has called: they are admitted whatever else is asked for, and come first."""

    def asks(self) -> "Stage":
        """What it asks of an agent alone: stages that ask for the same share what has been worked out about the team."""
        return Stage(None, self.agent, self.skills, self.grades, self.groups, self.language, called=self.called)

    def asked_of(self, agent: AgentConfig) -> "Stage":
        """What he had to be: of somebody called who is not what the stage asks for, to be of a grade that is called."""
        if agent.grade in self.called and shortfall(agent, self._replace(called=())) is not None:
            return Stage(None, grades=self.called)
        return self


class Requirement(NamedTuple):
    """A stage as matching sees it: requests with equal requirements admit the same agents in the same order."""

    rule: str
    step: int
    """Counted from 1."""
    stage: Stage
    """What it asks of an agent."""
    relaxed: tuple[str, ...]
    excluded: tuple[str, ...]
    last: tuple[str, ...]
    """Chosen only where nobody else is eligible."""
    void: bool
    closed: bool
    """Until the shop opens nobody is sought."""
    hand_up: int | None
    """µs that who is chosen has it at most."""


def rule_for(request: Request, shop: Shop) -> RoutingRule:
    """The first rule that matches the request as it is now."""
    tier = tier_of(request.profile, shop.routing.tiers)
    for rule in shop.routing.rules:
        if _matches(rule.when, request, tier, shop):
            return rule
    return _STANDING_RULE


def _matches(when: RoutingCondition, request: Request, tier: str, shop: Shop) -> bool:
    return (
        (when.tiers is None or tier in when.tiers)
        and (when.skills is None or _any(request.skills, when.skills))
        and (when.entry_points is None or request.profile.entry_point in when.entry_points)
        and (when.channels is None or request.profile.channel in when.channels)
        and (when.languages is None or request.language in when.languages)
        and (when.flags is None or _any(request.flags, when.flags))
        and (when.causes is None or request.cause in when.causes)
        and (when.hours is None or _within(when.hours, request.opened_at, shop))
    )


def _within(spans: Sequence[str], at: int, shop: Shop) -> bool:
    local = datetime.fromtimestamp(at // SECOND, UTC).astimezone(shop.zone)
    second = local.hour * 3600 + local.minute * 60 + local.second
    # A span over midnight also holds in the morning after.
    return any(
        start <= second < end or start <= second + 86_400 < end for start, end in (span_seconds(span) for span in spans)
    )


def _any(stated: Iterable[str], wanted: Sequence[str]) -> bool:
    return any(value in wanted for value in stated)


def stages(request: Request, rule: RoutingRule, shop: Shop) -> list[Stage]:
    found = leading_stages(request, shop)
    kept = not_for_trainees(request, shop)
    for index, step in enumerate(rule.steps):
        own = request.profile.own_agent if step.own_agent else None
        grades = _guarded(step.grades, last=index == len(rule.steps) - 1) if kept else step.grades
        stage = Stage(
            wait=None if step.wait_s is None else round(step.wait_s * SECOND),
            agent=own,
            skills=_skills(request, step),
            grades=grades,
            groups=step.groups,
            language=request.language if step.language else None,
            sla_share=step.sla_share,
            hand_up=None if step.hand_up_s is None else round(step.hand_up_s * SECOND),
        )
        skipped = index in request.skipped and rule.rule_id == request.rule_id
        void = (step.own_agent and _cannot(own, stage, shop)) or grades == () or skipped
        found.append(stage._replace(void=True) if void else stage)
    if request.called:
        return [stage._replace(called=shop.routing.sla_actions.supervisors) for stage in found]
    return found


def _skills(request: Request, step: Step) -> tuple[tuple[str, int], ...]:
    asked = dict.fromkeys(request.skills, step.proficiency) if step.keep_skills else {}
    for skill, proficiency in (step.skills or {}).items():
        asked[skill] = max(proficiency, asked.get(skill, 0))
    return tuple(sorted(asked.items()))[:LIST_LIMIT]


def _cannot(own: str | None, stage: Stage, shop: Shop) -> bool:
    """There is no own agent, or by the configuration he will never be admitted: nobody waits for him."""
    config = None if own is None else shop.agents.get(own)
    return config is None or shortfall(config, stage) is not None


def not_for_trainees(request: Request, shop: Shop) -> bool:
    """Where the shop has no trainees, nothing need be said of them."""
    trainees = shop.routing.trainees
    if not shop.has_trainees:
        return False
    complaint = "complaint" in trainees.never_flags and request.cause is Cause.COMPLAINT
    return complaint or request.tier in trainees.never_tiers or _any(request.flags, trainees.never_flags)


def _guarded(grades: tuple[str, ...] | None, *, last: bool = False) -> tuple[str, ...]:
    """Without trainees. A last step that admits nobody else is open to all others: somebody must take it."""
    kept = tuple(grade for grade in grades or GRADES if grade != "trainee")
    return kept if kept or not last else _guarded(None)


def leading_stages(request: Request, shop: Shop) -> list[Stage]:
    wait = round(shop.limits.transfer_wait_s * SECOND)
    found = []
    if request.first_agent is not None:
        found.append(Stage(wait, agent=request.first_agent))
    if request.first_skills or request.first_grade in GRADES:
        skills = tuple((skill, 1) for skill in sorted(set(request.first_skills or ())))
        grades: tuple[str, ...] | None = None
        if request.first_grade in GRADES:
            grades = GRADES[GRADES.index(request.first_grade) :]
        if not_for_trainees(request, shop):
            grades = _guarded(grades)
        found.append(Stage(wait, skills=skills, grades=grades, void=grades == ()))
    return found


class Plan(NamedTuple):
    """A request's way through its stages. Many requests share one: it is a function of ``plan_key``."""

    shop: Shop
    rule: RoutingRule
    stages: tuple[Stage, ...]
    asked: tuple[Stage, ...]
    relaxed: tuple[tuple[str, ...], ...]
    """By stage."""


PlanKey = tuple[str | tuple[str, ...] | tuple[int, ...] | bool | None, ...]


def plan_key(request: Request, shop: Shop) -> PlanKey:
    return (
        request.shop_id,
        request.rule_id,
        tuple(request.skills),
        request.language,
        request.profile.own_agent,
        not_for_trainees(request, shop),
        tuple(request.skipped),
        request.first_agent,
        None if request.first_skills is None else tuple(request.first_skills),
        request.first_grade,
        request.called,
    )


def make_plan(request: Request, rule: RoutingRule, shop: Shop) -> Plan:
    found = tuple(stages(request, rule, shop))
    asked = tuple(stage.asks() for stage in found)
    return Plan(shop, rule, found, asked, tuple(relaxed(found, step) for step in range(len(found))))


def named_rule(request: Request, shop: Shop) -> RoutingRule | None:
    """The rule that the request has followed so far, if the document in force still has it."""
    return next((rule for rule in shop.routing.rules if rule.rule_id == request.rule_id), None)


def requirement(request: Request, plan: Plan, step: int | None = None) -> Requirement:
    """At the step at which the request is, or at another."""
    last: tuple[str, ...] = ()
    if request.refused_by or request.transferrer is not None:
        last = tuple(sorted({*request.refused_by, *filter(None, [request.transferrer])}))
    step = request.step if step is None else step
    return Requirement(
        rule=plan.rule.rule_id,
        step=step + 1,
        stage=plan.asked[step],
        relaxed=plan.relaxed[step],
        excluded=tuple(sorted({*request.excluded, *request.barred})) if request.excluded or request.barred else (),
        last=last,
        void=plan.stages[step].void,
        closed=request.opens_at is not None,
        hand_up=plan.stages[step].hand_up,
    )


def relaxed(plan: Sequence[Stage], step: int) -> tuple[str, ...]:
    """What earlier stages asked for and this one does not."""
    now = plan[step]
    skills = dict(now.skills)
    given_up = set()
    for before in plan[:step]:
        if before.void:
            continue
        for skill, proficiency in before.skills:
            if skill not in skills:
                given_up.add(f"skill:{skill}")
            elif skills[skill] < proficiency:
                given_up.add(f"proficiency:{skill}")
        if before.agent is not None and now.agent != before.agent:
            given_up.add("agent")
        if _wider(before.grades, now.grades):
            given_up.add("grade")
        if _wider(before.groups, now.groups):
            given_up.add("group")
        if before.language is not None and now.language is None:
            given_up.add("language")
    return tuple(sorted(given_up))[:LIST_LIMIT]


def _wider(before: tuple[str, ...] | None, now: tuple[str, ...] | None) -> bool:
    return before is not None and (now is None or not set(now) <= set(before))


class Shortfall(NamedTuple):
    reason: str
    numbers: str
    """What is asked for and what he has."""


def shortfall(agent: AgentConfig, stage: Stage) -> Shortfall | None:
    """The first condition that the agent does not meet by the configuration alone."""
    if agent.grade in stage.called:
        return None
    if stage.agent is not None and agent.agent_id != stage.agent:
        return Shortfall("agent", f"{stage.agent} is asked for")
    if stage.grades is not None and agent.grade not in stage.grades:
        return Shortfall("grade", f"{agent.grade}, not {_or(stage.grades)}")
    if stage.groups is not None and not any(group in stage.groups for group in agent.groups):
        return Shortfall("group", f"not in {_or(stage.groups)}")
    if stage.language is not None and stage.language not in agent.languages:
        return Shortfall("language", f"not {stage.language}")
    for skill, proficiency in stage.skills:
        has = agent.skills.get(skill)
        if has is None:
            return Shortfall("skill", f"no {skill}")
        if has < proficiency:
            return Shortfall("proficiency", f"{skill} {has}, not {proficiency}")
    return None


def _or(names: Sequence[str]) -> str:
    return " or ".join(names)
