"""From days of counts to what each half hour of a coming day brings. Pure.

A half hour of a weekday is forecast from the same half hour of the same weekdays before it, as far as there are ``_ENOUGH``, else of all days.
Days differ by more than chance: what is planned for is not the mean but the days as they came, each as likely as the other.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from deskline_router.simulation.erlang import Load, agents_needed, service
from deskline_router.simulation.model import Count

HALF_HOUR: Final = 1800
_SECOND: Final = 1_000_000
_ENOUGH: Final = 4
_KINDS_OF_DAY: Final = 6
"""Days are put together in so many groups by how much came; a plan is hardly another with more."""
_BUSY_DAY: Final = 3.0


class Work(NamedTuple):
    """Of conversations and agents; seconds."""

    work_s: float
    patience_s: float
    capacity: int
    slowdown: float


class Slot(NamedTuple):
    """What a half hour needs."""

    slot: int
    """Half hours since midnight."""
    calls: float
    """Expected."""
    agents: int
    inside: float
    """Expected, of all who come, with those agents."""
    fifteen_an_hour: int
    """By the rule of thumb 1:15: one agent for fifteen customers of an hour."""
    inside_an_hour: float
    fifteen_at_once: int
    """By its other reading: one for fifteen conversations at a time."""
    inside_at_once: float
    busy_agents: int
    """On a day that brings three times as much."""
    busy_inside: float
    """What the planned ones would make of such a day."""


def slots_of(day: Sequence[Count]) -> dict[int, float]:
    """Customers a half hour, where the half hour is counted as a whole or in part."""
    calls: dict[int, float] = {}
    spans: dict[int, int] = {}
    for count in day:
        slot = count.at // _SECOND % 86_400 // HALF_HOUR
        calls[slot] = calls.get(slot, 0) + count.calls
        spans[slot] = spans.get(slot, 0) + count.span
    return {slot: calls[slot] * HALF_HOUR * _SECOND / max(spans[slot], 1) for slot in calls}


def history(days: Mapping[date, Sequence[Count]], weekday: int | None) -> dict[int, list[float]]:
    """Half hour → what came in it, day by day; of that weekday where there are enough of them."""
    same = [day for name, day in days.items() if name.weekday() == weekday]
    chosen = same if len(same) >= _ENOUGH else list(days.values())
    found: dict[int, list[float]] = {}
    for day in chosen:
        for slot, calls in slots_of(day).items():
            found.setdefault(slot, []).append(calls)
    return found


def grouped(values: Sequence[float], scale: float = 1.0) -> list[tuple[float, float]]:
    """(weight, mean) of equally large groups, by size."""
    ordered = sorted(values)
    number = min(_KINDS_OF_DAY, len(ordered))
    groups = [ordered[n * len(ordered) // number : (n + 1) * len(ordered) // number] for n in range(number)]
    return [(len(group) / len(ordered), scale * sum(group) / len(group)) for group in groups]


def plan(came: Mapping[int, Sequence[float]], work: Work, target_s: float, aim: float) -> list[Slot]:
    """The least agents with which ``aim`` of all who come are taken within ``target_s``, half hour by half hour."""
    return [_slot(slot, came[slot], work, target_s, aim) for slot in sorted(came)]


def _slot(slot: int, values: Sequence[float], work: Work, target_s: float, aim: float) -> Slot:
    loads, busy = _loads(grouped(values), work), _loads(grouped(values, _BUSY_DAY), work)
    mean = sum(values) / len(values)
    needed = agents_needed(loads, target_s, aim)
    an_hour, at_once = fifteens(2 * mean), fifteens(mean / HALF_HOUR * work.work_s)
    return Slot(
        slot,
        mean,
        needed,
        _inside(needed, loads, target_s),
        an_hour,
        _inside(an_hour, loads, target_s),
        at_once,
        _inside(at_once, loads, target_s),
        agents_needed(busy, target_s, aim),
        _inside(needed, busy, target_s),
    )


def fifteens(number: float) -> int:
    """One for each fifteen, begun ones counted."""
    return -int(-number // 15)


def _loads(groups: Sequence[tuple[float, float]], work: Work) -> tuple[tuple[float, Load], ...]:
    return tuple(
        (weight, Load(calls / HALF_HOUR, work.work_s, work.patience_s, work.capacity, work.slowdown))
        for weight, calls in groups
    )


def _inside(agents: int, loads: Sequence[tuple[float, Load]], target_s: float) -> float:
    came = sum(weight * load.per_s for weight, load in loads)
    if not came:
        return 1.0
    return sum(weight * load.per_s * service(agents, load, target_s).inside for weight, load in loads) / came
