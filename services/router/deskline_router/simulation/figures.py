"""What came of a simulation, as numbers. Pure.

Waits are of everybody who came, in seconds: until somebody took him, or until he left or was refused. Shares are of everybody
who came, too: who left has not been served in time.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from deskline_router.simulation.engine import Outcome, Result, Spent

TARGET_S: Final = 180.0
"""Of the first answer, by the contract."""
_SECOND: Final = 1_000_000
ALL: Final = "all"


def figures(result: Result, target_s: float = TARGET_S) -> dict[str, Any]:
    """Everything that is printed and drawn; of the same result always the same."""
    by_tier: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in result.outcomes:
        by_tier[outcome.arrival.tier or "regular"].append(outcome)
    tiers = {ALL: waits(result.outcomes, target_s)}
    tiers |= {tier: waits(by_tier[tier], target_s) for tier in sorted(by_tier)}
    agents = [agent(one) for one in result.spent if one.there]
    return {
        "target_s": target_s,
        "tiers": tiers,
        "agents": agents,
        "utilisation": share(
            sum(one.places for one in result.spent), sum(one.there * one.capacity for one in result.spent)
        ),
        "fairness": jain([one["occupancy"] for one in agents]),
        "moved": sum(one.moved for one in result.outcomes),
        "half_hours": half_hours(result, target_s),
    }


def waits(outcomes: Sequence[Outcome], target_s: float = TARGET_S) -> dict[str, Any]:
    waited = sorted(one.waited / _SECOND for one in outcomes)
    served = [one for one in outcomes if one.served]
    refused = sum(one.refused for one in outcomes)
    inside = sum(one.waited <= target_s * _SECOND for one in served)
    return {
        "came": len(outcomes),
        "served": len(served),
        "left": len(outcomes) - len(served) - refused,
        "refused": refused,
        "inside": share(inside, len(outcomes)),
        "mean_s": round(sum(waited) / len(waited), 3) if waited else None,
        "p50_s": quantile(waited, 0.5),
        "p90_s": quantile(waited, 0.9),
        "p99_s": quantile(waited, 0.99),
        "max_s": round(waited[-1], 3) if waited else None,
    }


def agent(spent: Spent) -> dict[str, Any]:
    return {
        "agent_id": spent.agent_id,
        "capacity": spent.capacity,
        "served": spent.served,
        "there_h": round(spent.there / 3600 / _SECOND, 3),
        "busy": share(spent.busy, spent.there),
        "occupancy": share(spent.places, spent.there * spent.capacity),
    }


def half_hours(result: Result, target_s: float) -> list[dict[str, Any]]:
    """By the half hour in which customers came."""
    slots: dict[int, list[Outcome]] = defaultdict(list)
    for outcome in result.outcomes:
        slots[outcome.arrival.at // (1800 * _SECOND)].append(outcome)
    return [{"at": slot * 1800 * _SECOND, **waits(slots[slot], target_s)} for slot in sorted(slots)]


def jain(values: Iterable[float | None]) -> float | None:
    """1: all have the same; 1/n: one has everything (Jain, Chiu and Hawe 1984)."""
    there = [value for value in values if value is not None]
    squares = sum(value * value for value in there)
    return round(sum(there) ** 2 / (len(there) * squares), 4) if squares else None


def quantile(ordered: Sequence[float], part: float) -> float | None:
    """The least value that is not below that part of them."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))], 3)


def share(part: float, whole: float) -> float | None:
    return round(part / whole, 6) if whole else None
