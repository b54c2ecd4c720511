"""Both words on each clock, for a shop with a candidate policy in shadow: rows of ``shadow_clocks``.

A row is written anew whenever either side says something about the clock; the last one written counts, as the last word
told does. The ids of clocks are those of ``sla.v1``: the same start of the same metric is the same clock on both sides.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deskline.clock import rfc3339
from deskline.ids import clock_id
from deskline_sla.model import METRICS, Clock, End, Name, Shadow, ShadowClock, Side, Standing, Telling, Told
from deskline_sla.policy.fold import Fold
from deskline_sla.policy.tell import name


class Decided(NamedTuple):
    """What one side has come to in this unit."""

    side: Side
    fold: Fold
    say: list[Telling]


def rows(
    subject: str,
    lane: int,
    shadow: Shadow,
    *,
    live: Decided,
    candidate: Decided,
    has_candidate: Callable[[str, int, int], bool],
) -> Iterator[ShadowClock]:
    """Of the clocks about which this unit has said something. ``has_candidate(shop, at, broker_at)``: of the policy in force
    at a clock's start; clocks that started without one are nobody's to compare.
    """
    changed: dict[Name, Clock | Told] = {}
    for telling in live.say:
        about, key = telling.about, name(telling.about)
        began = isinstance(about, Clock) and has_candidate(about.shop, about.started_at, about.broker_at)
        if began or key in shadow.recorded:
            changed[key] = about
    for telling in candidate.say:
        changed.setdefault(name(telling.about), telling.about)
    if not changed:
        return
    ours, theirs = _running(live), _running(candidate)
    for key, about in changed.items():
        shadow.recorded.add(key)
        metric = METRICS[about.metric]
        yield ShadowClock(
            clock_id=clock_id(subject, metric, rfc3339(about.started_at), about.complaint),
            subject=subject,
            lane=lane,
            shop=about.shop,
            metric=metric,
            tier=about.tier,
            version=about.version,
            complaint=about.complaint,
            started_at=about.started_at,
            live=_standing(live.side, ours, key),
            candidate=_standing(candidate.side, theirs, key),
        )


def _running(decided: Decided) -> dict[Name, Clock]:
    """Clocks without a last word: open, or past their target while the watermark does not yet allow to say so."""
    return {name(clock): clock for clock in (*decided.fold.open_clocks(), *decided.side.pending)}


def _standing(side: Side, running: dict[Name, Clock], key: Name) -> Standing | None:
    told = side.told.get(key)
    if told is not None and told.end != End.OPEN:
        return Standing(End(told.end).name.lower(), told.policy_id, told.target_s, told.due, told.met_at)
    clock = running.get(key)
    if clock is None:
        return None
    return Standing("open", clock.policy_id, clock.target_s, clock.due, 0)
