"""Who an agent and who a customer is, by rule: what the configuration and the records make of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from deskline.config.documents import Agent, TierRule
from deskline.config.routing_document import GRADES, Qualification
from deskline_router.model import FACTS, Customer, Fact, Profile

DEFAULT_TIER = "regular"


# --- agents -----------------------------------------------------------------------------------------------------


def qualified(agent: Agent, rules: Iterable[Qualification]) -> Agent:
    """The agent with what his certifications and training give; the same object where they give nothing."""
    grade, skills = agent.grade, dict(agent.skills)
    for rule in rules:
        if not _has(agent, rule):
            continue
        if rule.grade is not None:
            grade = max(grade, rule.grade, key=GRADES.index)
        for skill, proficiency in rule.skills.items():
            skills[skill] = max(proficiency, skills.get(skill, 0))
    if grade == agent.grade and skills == agent.skills:
        return agent
    return agent.model_copy(update={"grade": grade, "skills": skills})


def _has(agent: Agent, rule: Qualification) -> bool:
    hours = agent.training_hours or {}
    return set(rule.certifications or ()) <= set(agent.certifications or ()) and all(
        hours.get(name, 0) >= least for name, least in (rule.training_hours or {}).items()
    )


def reserve_of(agents: Mapping[str, Agent], share: float) -> frozenset[str]:
    """Who is kept for a surge: those marked so, else the last by id of each grade, so that no grade is stripped bare."""
    marked = frozenset(agent.agent_id for agent in agents.values() if agent.reserve)
    if marked:
        return marked
    kept: set[str] = set()
    for grade in GRADES:
        # One marked ``reserve: false`` is never one of them.
        names = sorted(agent_id for agent_id, agent in agents.items() if agent.grade == grade)
        count = int(len(names) * share)
        able = [name for name in names if agents[name].reserve is None]
        kept.update(able[len(able) - min(count, len(able)) :])
    return frozenset(kept)


# --- customers --------------------------------------------------------------------------------------------------


def tier_of(profile: Profile, rules: Sequence[TierRule]) -> str:
    for rule in rules:
        if _tier_matches(rule, profile):
            return rule.tier
    return profile.tier or DEFAULT_TIER


def _tier_matches(rule: TierRule, profile: Profile) -> bool:
    if rule.flags is not None and profile.tier not in rule.flags:
        return False
    bounds = (
        (rule.min_total_spend, None, profile.total_spend),
        (rule.min_average_order, None, profile.average_order),
        (rule.min_orders, rule.max_orders, profile.orders),
        (rule.min_complaints, rule.max_complaints, profile.complaints),
    )
    return all(_within(low, high, value) for low, high, value in bounds)


def _within(low: float | None, high: float | None, value: float | None) -> bool:
    """What is not known is within no bound."""
    if low is None and high is None:
        return True
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def covered(customer: Customer, profile: Profile) -> bool:
    """Nothing in what a message states is news."""
    return all(
        stated is None or ((known := customer.facts.get(name)) is not None and known.value == stated)
        for name, stated in ((name, getattr(profile, name)) for name in FACTS)
    )


def learn(customer: Customer, stated: Profile, at: int) -> bool:
    """Keep the newest statement of each thing; a message that is silent about one changes nothing of it."""
    changed = False
    for name in FACTS:
        value = getattr(stated, name)
        known = customer.facts.get(name)
        if value is None or (known is not None and known.at > at):
            continue
        changed = changed or known is None or known.value != value
        customer.facts[name] = Fact(value, at)
    return changed


def completed(profile: Profile, customer: Customer | None) -> Profile:
    """A conversation's profile with what is recorded of its customer, which is the newest that any of his messages said."""
    if customer is None:
        return profile
    known: dict[str, Any] = {name: fact.value for name, fact in customer.facts.items()}
    if "orders" in known:
        # A number of a fact comes back from its row as a float, and a request's profile holds a count.
        known["orders"] = int(known["orders"])
    return msgspec.structs.replace(profile, **known, complaints=customer.complaints, last_agent=customer.last_agent)
