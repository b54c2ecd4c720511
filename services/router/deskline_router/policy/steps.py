"""From a request and its shop's routing document to what an agent must have now. Pure.

A request's *stages* are, in order: the agent named by a transfer, or the owner without an assignment (waited for
``transfer_wait_s``); the transfer's skills and grade (as long); then the steps of the rule that matches the request.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from deskline.config.documents import Agent as AgentConfig
from deskline.config.documents import RoutingCondition, RoutingRule, Step, TierRule
from deskline_router.model import SECOND, Profile, Request, Shop

GRADES: Final = ("trainee", "standard", "senior", "supervisor")
_LIST_LIMIT: Final = 64
"""Of every list of the contract (§1)."""
_STANDING_RULE: Final = RoutingRule(rule_id="default", steps=(Step(wait_s=30), Step(keep_skills=False)))
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


class Requirement(NamedTuple):
    """A stage as matching sees it: requests with equal requirements admit the same agents in the same order."""

    rule: str
    step: int
    """Counted from 1."""
    stage: Stage
    relaxed: tuple[str, ...]
    excluded: tuple[str, ...]
    last: tuple[str, ...]
    """Chosen only where nobody else is eligible."""


def tier_of(profile: Profile, rules: Sequence[TierRule]) -> str:
    for rule in rules:
        if _tier_matches(rule, profile):
            return rule.tier
    return profile.tier or "regular"


def _tier_matches(rule: TierRule, profile: Profile) -> bool:
    if rule.flags is not None and profile.tier not in rule.flags:
        return False
    bounds = (
        (rule.min_total_spend, profile.total_spend),
        (rule.min_average_order, profile.average_order),
        (rule.min_orders, profile.orders),
    )
    if any(low is not None and (value is None or value < low) for low, value in bounds):
        return False
    return rule.max_orders is None or (profile.orders is not None and profile.orders <= rule.max_orders)


def rule_for(request: Request, shop: Shop) -> RoutingRule:
    """The first rule that matches the request as it is now."""
    tier = tier_of(request.profile, shop.routing.tiers)
    for rule in shop.routing.rules:
        if _matches(rule.when, request, tier):
            return rule
    return _STANDING_RULE


def _matches(when: RoutingCondition, request: Request, tier: str) -> bool:
    return (
        (when.tiers is None or tier in when.tiers)
        and (when.skills is None or _any(request.skills, when.skills))
        and (when.entry_points is None or request.profile.entry_point in when.entry_points)
        and (when.channels is None or request.profile.channel in when.channels)
        and (when.languages is None or request.language in when.languages)
        and (when.flags is None or _any(request.flags, when.flags))
        and (when.causes is None or request.cause in when.causes)
    )


def _any(stated: Iterable[str], wanted: Sequence[str]) -> bool:
    return any(value in wanted for value in stated)


def stages(request: Request, rule: RoutingRule, shop: Shop) -> list[Stage]:
    found = leading_stages(request, shop)
    for step in rule.steps:
        found.append(
            Stage(
                wait=None if step.wait_s is None else round(step.wait_s * SECOND),
                agent=request.profile.dedicated if step.own_agent else None,
                skills=tuple((skill, step.proficiency) for skill in sorted(request.skills)) if step.keep_skills else (),
                grades=step.grades,
                groups=step.groups,
                language=request.language if step.language else None,
                void=step.own_agent and request.profile.dedicated is None,
            )
        )
    return found


def leading_stages(request: Request, shop: Shop) -> list[Stage]:
    wait = round(shop.limits.transfer_wait_s * SECOND)
    found = []
    if request.first_agent is not None:
        found.append(Stage(wait, agent=request.first_agent))
    if request.first_skills or request.first_grade in GRADES:
        skills = tuple((skill, 1) for skill in sorted(set(request.first_skills or ())))
        grades = None if request.first_grade not in GRADES else GRADES[GRADES.index(request.first_grade) :]
        found.append(Stage(wait, skills=skills, grades=grades))
    return found


class Plan(NamedTuple):
    """A request's way through its stages. Many requests share one: it is a function of ``plan_key``."""

    shop: Shop
    rule: RoutingRule
    stages: tuple[Stage, ...]
    relaxed: tuple[tuple[str, ...], ...]
    """By stage."""


PlanKey = tuple[str | tuple[str, ...] | None, ...]


def plan_key(request: Request) -> PlanKey:
    return (
        request.shop_id,
        request.rule_id,
        tuple(request.skills),
        request.language,
        request.profile.dedicated,
        request.first_agent,
        None if request.first_skills is None else tuple(request.first_skills),
        request.first_grade,
    )


def make_plan(request: Request, rule: RoutingRule, shop: Shop) -> Plan:
    found = tuple(stages(request, rule, shop))
    return Plan(shop, rule, found, tuple(relaxed(found, step) for step in range(len(found))))


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
        stage=plan.stages[step],
        relaxed=plan.relaxed[step],
        excluded=tuple(sorted(request.excluded)),
        last=last,
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
    return tuple(sorted(given_up))[:_LIST_LIMIT]


def _wider(before: tuple[str, ...] | None, now: tuple[str, ...] | None) -> bool:
    return before is not None and (now is None or not set(now) <= set(before))


def shortfall(agent: AgentConfig, stage: Stage) -> str | None:
    """The first condition that the agent does not meet by the configuration alone."""
    if stage.agent is not None and agent.agent_id != stage.agent:
        return "agent"
    if stage.grades is not None and agent.grade not in stage.grades:
        return "grade"
    if stage.groups is not None and not any(group in stage.groups for group in agent.groups):
        return "group"
    if stage.language is not None and stage.language not in agent.languages:
        return "language"
    for skill, proficiency in stage.skills:
        has = agent.skills.get(skill)
        if has is None:
            return "skill"
        if has < proficiency:
            return "proficiency"
    return None
