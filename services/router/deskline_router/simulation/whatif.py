"""Recorded requests under another policy, beside what happened. Pure.

Three columns: what was recorded; the same requests simulated under the policy that was in force, which says how near the simulation comes
to what happened; and under the new one. What the two simulations have in common (service as long as it was, agents there as they were,
nobody leaves sooner or later than he did) cancels out between them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec

from deskline.config.documents import Agent
from deskline_router.simulation.desk import MovingCatalog, PolicyDesk
from deskline_router.simulation.engine import Given, Simulation, Word
from deskline_router.simulation.figures import jain, quantile, share
from deskline_router.simulation.model import Traffic
from deskline_router.simulation.recorded import Case, Day

_SECOND: Final = 1_000_000
COLUMNS: Final = ("recorded", "simulated", "new")


class Way(NamedTuple):
    """How one request went, or would have gone."""

    case: Case
    agent_id: str | None
    """Who had it first."""
    wait: int
    """µs from its opening until taken, or left."""
    first_answer: int | None
    """µs from ``waiting_since`` to the agent's first message; None: none."""


def as_recorded(day: Day) -> list[Way]:
    found = []
    for case in day.cases:
        until = case.taken if case.taken is not None else case.ended
        answer = None if case.answered is None else case.answered - case.waiting_since
        found.append(Way(case, case.agent_id, max(0, (until or case.opened) - case.opened), answer))
    return found


def simulated(day: Day, catalog: MovingCatalog, team: Mapping[str, Agent], shop_id: str, *, offers: bool) -> list[Way]:
    """Under the policy of ``catalog``. ``offers``: some shop offers; then a yes takes as long as it did."""
    first: dict[str, str] = {}

    def watch(_: int, word: Word) -> None:
        if isinstance(word, Given) and not word.offered:
            first.setdefault(word.subject, word.agent_id)

    people = {
        name: agent.model_copy(update={"capacity": day.capacities.get(name, agent.capacity)})
        for name, agent in team.items()
    }
    traffic = Traffic(slowdown=0, proficiency=(1, 1, 1, 1, 1, 1), accept_s=day.accept_s if offers else 0)
    customers = [msgspec.structs.replace(one) for one in day.customers]
    desk = PolicyDesk(catalog, shop_id, customers=customers)
    shifts = [shift for shift in day.shifts if shift.agent_id in people]
    result = Simulation(desk, people, traffic, watch).run([case.arrival for case in day.cases], shifts)
    delays = [case.answered - case.taken for case in day.cases if case.answered is not None and case.taken is not None]
    usual = round(median(delays)) if delays else 0
    outcomes = {one.arrival.subject: one for one in result.outcomes}
    found = []
    for case in day.cases:
        outcome = outcomes[case.request_id]
        delay = _delay(case, usual)
        answer = None
        if outcome.served and delay is not None:
            answer = outcome.waited + case.opened - case.waiting_since + delay
        found.append(Way(case, first.get(case.request_id, outcome.agent_id), outcome.waited, answer))
    return found


def _delay(case: Case, usual: int) -> int | None:
    """From being taken to the agent's first message, as it was; None: he never wrote. ``usual``: of those whom nobody took."""
    if case.taken is None:
        return usual
    return None if case.answered is None else case.answered - case.taken


def compared(columns: Mapping[str, Sequence[Way]], target_s: float) -> dict[str, Any]:
    """``columns``: by the names of ``COLUMNS``."""
    found: dict[str, Any] = {"target_s": target_s, "columns": {}}
    for name, ways in columns.items():
        tiers = sorted({way.case.tier for way in ways})
        found["columns"][name] = {
            "tiers": {"all": _measures(ways, target_s)}
            | {tier: _measures([way for way in ways if way.case.tier == tier], target_s) for tier in tiers},
            "agents": dict(sorted(Counter(way.agent_id for way in ways if way.agent_id is not None).items())),
        }
        found["columns"][name]["fairness"] = jain(found["columns"][name]["agents"].values())
    recorded_, control, new = (columns[name] for name in COLUMNS)
    found["elsewhere"] = [
        {
            "conversation": was.case.conversation,
            "request_id": was.case.request_id,
            "tier": was.case.tier,
            "recorded": was.agent_id,
            "simulated": same.agent_id,
            "new": now.agent_id,
            "recorded_wait_s": was.wait / _SECOND,
            "new_wait_s": now.wait / _SECOND,
        }
        for was, same, now in zip(recorded_, control, new, strict=True)
        if was.agent_id != now.agent_id
    ]
    found["elsewhere_simulated"] = sum(
        was.agent_id != same.agent_id for was, same in zip(recorded_, control, strict=True)
    )
    found["moved_by_policy"] = sum(same.agent_id != now.agent_id for same, now in zip(control, new, strict=True))
    return found


def _measures(ways: Sequence[Way], target_s: float) -> dict[str, Any]:
    waits = sorted(way.wait / _SECOND for way in ways)
    served = [way for way in ways if way.agent_id is not None]
    inside = sum(way.first_answer is not None and way.first_answer <= target_s * _SECOND for way in ways)
    own = [way for way in ways if way.case.own_agent is not None]
    return {
        "requests": len(ways),
        "served": len(served),
        "mean_s": round(sum(waits) / len(waits), 3) if waits else None,
        "p90_s": quantile(waits, 0.9),
        "max_s": round(waits[-1], 3) if waits else None,
        "sla": share(inside, len(ways)),
        "sticky": share(sum(way.agent_id == way.case.own_agent for way in own), len(own)),
    }
