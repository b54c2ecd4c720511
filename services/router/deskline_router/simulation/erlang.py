"""How many agents are needed: Erlang-A with agents who do several conversations at once. Pure.

Customers come at random at an even rate, wait in one line, and leave after an exponential patience (Palm 1957; Garnett,
Mandelbaum and Reiman 2002). ``n`` agents with ``c`` places share ``k`` conversations evenly, and one who has ``j`` of them gets each done
``1 / (1 + slowdown × (j - 1))`` as fast, so what is done a second depends on ``k``: a birth-and-death chain whose steady state is a
product, and whose waits are phases of a chain of departures. Everything is in seconds.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

_TAIL: Final = 1e-9
"""States less likely than this are left out."""
_MOST_WAITING: Final = 20_000
_STEP: Final = 1.25
"""Length of an integration step, in means of the fastest step of the chain: RK4 is stable up to 2.7, and at this exact to 1e-4."""


class Load(NamedTuple):
    """What a time of the day brings."""

    per_s: float
    """Customers a second."""
    work_s: float
    """Of one conversation for an agent who has nobody else."""
    patience_s: float
    capacity: int
    slowdown: float


class Service(NamedTuple):
    """What so many agents make of it."""

    inside: float
    """Share of all who come that is taken within the target."""
    abandoned: float
    mean_wait_s: float
    """Until taken or gone."""
    occupancy: float
    """Of the agents' places."""


def pace(agents: int, taken: int, load: Load) -> float:
    """Conversations done a second, with ``taken`` of them shared evenly."""
    if not taken:
        return 0.0
    each, more = divmod(taken, agents)
    done = more * _speed(each + 1, load) + (agents - more) * _speed(each, load)
    return done / load.work_s


def _speed(conversations: int, load: Load) -> float:
    return conversations / (1 + load.slowdown * (conversations - 1)) if conversations else 0.0


@lru_cache(maxsize=65_536)
def service(agents: int, load: Load, target_s: float) -> Service:
    """The steady state of an even rate."""
    if load.per_s <= 0:
        return Service(1.0, 0.0, 0.0, 0.0)
    if agents <= 0:
        return Service(0.0, 1.0, load.patience_s, 0.0)
    places, rate, leaves = agents * load.capacity, load.per_s, 1 / load.patience_s
    full = pace(agents, places, load)
    logs = [0.0]
    for taken in range(1, places + 1):
        logs.append(logs[-1] + math.log(rate / pace(agents, taken, load)))
    best = max(logs)
    waiting = 0
    while waiting < _MOST_WAITING:
        waiting += 1
        logs.append(logs[-1] + math.log(rate / (full + waiting * leaves)))
        best = max(best, logs[-1])
        if logs[-1] < best + math.log(_TAIL) and full + waiting * leaves > rate:
            break
    chances = np.exp(np.array(logs) - best)
    chances /= chances.sum()
    queue = chances[places:]
    """Chance of 0, 1, … waiting while all places are taken: who comes then has so many before him."""
    inside = float(chances[:places].sum() + queue @ _taken_within(target_s, len(queue), full, leaves))
    length = float(queue @ np.arange(len(queue)))
    busy = float(chances @ np.minimum(np.arange(len(chances)), places))
    # Little's law; and everybody who waits leaves at the rate of his patience.
    return Service(min(1.0, inside), length * leaves / rate, length / rate, busy / places)


def _taken_within(
    target_s: float, count: int, full: float, leaves: float
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """By how many are ahead (0 …): the chance to be taken within the target, before one's own patience ends."""
    ahead = np.arange(count)
    steps = full + ahead * leaves
    """A place becomes free, or one of those ahead leaves."""
    found = np.zeros(count)

    def change(now: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        nearer = np.concatenate(([1.0], now[:-1]))
        return steps * (nearer - now) - leaves * now

    number = max(8, math.ceil(target_s * float(steps[-1] + leaves) / _STEP))
    h = target_s / number
    for _ in range(number):
        k1 = change(found)
        k2 = change(found + h / 2 * k1)
        k3 = change(found + h / 2 * k2)
        k4 = change(found + h * k3)
        found = found + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return found


def agents_needed(loads: "tuple[tuple[float, Load], ...]", target_s: float, share: float, most: int = 10_000) -> int:
    """The least number with which, over the loads as they may come (each with its weight), ``share`` of all are taken in time."""

    def reached(agents: int) -> bool:
        came = sum(weight * load.per_s for weight, load in loads)
        inside = sum(weight * load.per_s * service(agents, load, target_s).inside for weight, load in loads)
        return came <= 0 or inside >= share * came

    if reached(0):
        return 0
    low, high = 0, 1
    while not reached(high):
        low, high = high, 2 * high
        if high > most:
            raise ValueError(f"not even {most} agents reach it")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
