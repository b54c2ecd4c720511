"""One clock: counted time, the hold, the end (contract §5 *Counted time*, *due_at*, *met*).

Counted time is the calendar's open time since the start, less the time held. A clock carries what was counted up to
``since`` and goes on from there, so that every question is one calendar look-up:

    state      event     next       what happens
    running    pause     held       counted time is added up; the target reached by now stays reached
    running    pause     over       counted time had exceeded the target: the breach is settled
    held       resume    running    due and running-on instants are those of the rest
    running    finish    ended      met or cancelled; breached where counted time exceeds the target
    held       finish    ended      the same, with the time counted before the hold
    running    retarget  running    counted anew from the start, by the new calendar towards the new target
    held       retarget  held       the same, as far as the hold
    any        retarget  over       where the new target is exceeded by now: breached at once, with the due instant it then had
    over       any       over       nothing more is told of a breached clock; ``finish`` ends it as breached
    ended      –         –          a bug: raises

``due`` is the first instant at which counted time reaches the target, ``runs_on`` the last at which it is not above it:
the two differ where the target is used up at closing time or where a hold begins.
"""

from collections.abc import Sequence

from deskline.calendars import Hours
from deskline_sla.model import FOREVER, Clock, End, Reason, Retarget


def begin(clock: Clock, hours: Hours, *, held: bool) -> None:
    """Start counting at ``started_at``; in a hold that stops this metric, start held."""
    if held:
        clock.since = -1
    else:
        _run(clock, clock.started_at, hours)


def pause(clock: Clock, at: int, hours: Hours) -> None:
    _must_be_open(clock)
    if clock.over or clock.since < 0:
        return
    spent = clock.spent + hours.elapsed(clock.since, at)
    if spent > clock.target_us:
        clock.over = True
        return
    clock.spent = spent
    clock.since = -1
    clock.runs_on = FOREVER
    if spent < clock.target_us:
        clock.due = 0
    if clock.warn_at > at:
        clock.warn_at = FOREVER


def resume(clock: Clock, at: int, hours: Hours) -> None:
    _must_be_open(clock)
    if clock.over or clock.since >= 0:
        return
    _run(clock, at, hours)


def exceeded(clock: Clock, at: int, hours: Hours) -> bool:
    """Whether counted time exceeds the target at ``at``."""
    return clock.over or (clock.since >= 0 and clock.spent + hours.elapsed(clock.since, at) > clock.target_us)


def retarget(clock: Clock, at: int, new: Retarget, holds: Sequence[tuple[int, int]]) -> None:
    """Take new terms at ``at``. ``holds``: those of the conversation up to there, the one that lasts included."""
    _must_be_open(clock)
    terms = new.terms
    clock.policy_id, clock.version = terms.policy_id, terms.version
    clock.sla_at, clock.hours_at = new.sla_at, new.hours_at
    clock.target_us, clock.target_s = terms.target_us, terms.target_s
    clock.calendar, clock.known_until, clock.pausable = terms.calendar, terms.known_until, terms.pausable
    clock.thresholds, clock.warned, clock.warn_at = terms.thresholds, 0, FOREVER
    clock.spent = clock.due = 0
    clock.runs_on = FOREVER
    since = clock.started_at
    for begin_at, end_at in holds if terms.pausable else ():
        if end_at > since:
            _count(clock, since, min(begin_at, at), terms.hours)
            since = max(since, end_at)
    if since <= at:
        _count(clock, since, at, terms.hours)
    if clock.spent > clock.target_us:
        clock.over = True
        clock.runs_on = at
        return
    if since > at:
        clock.since = -1
        _arm_warning(clock, terms.hours)
    else:
        _run(clock, at, terms.hours)


def _count(clock: Clock, since: int, until: int, hours: Hours) -> None:
    """Add up what counts between the two, and note where the target is reached."""
    counted = hours.elapsed(since, until)
    if not clock.due and clock.spent + counted >= clock.target_us:
        clock.due = hours.add(since, clock.target_us - clock.spent)
    clock.spent += counted


def finish(clock: Clock, at: int, hours: Hours, end: End, reason: Reason | None = None) -> None:
    """End the clock at ``at``: MET or CANCELLED, and BREACHED instead where counted time exceeds the target."""
    _must_be_open(clock)
    clock.ended_at = at
    counted = clock.spent if clock.since < 0 else clock.spent + hours.elapsed(clock.since, at)
    if clock.over or counted > clock.target_us:
        clock.over = True
        clock.end = End.BREACHED
        return
    clock.due = due_at(clock, at, hours)
    clock.elapsed = counted
    clock.end = end
    if reason is not None:
        clock.reason = reason.value


def due_at(clock: Clock, at: int, hours: Hours) -> int:
    """``due_at`` as it stands at ``at``; of a held clock, what it would be if it were resumed at that instant."""
    return clock.due or hours.add(at, clock.target_us - clock.spent)


def breached_by(clock: Clock, instant: int) -> bool:
    """Whether an open clock's counted time exceeds its target directly after ``instant``, as far as read."""
    return clock.runs_on <= instant


def next_warning(clock: Clock, hours: Hours) -> None:
    """Go on to the threshold after the one dealt with."""
    clock.warned += 1
    _arm_warning(clock, hours)


def _run(clock: Clock, at: int, hours: Hours) -> None:
    clock.since = at
    rest = clock.target_us - clock.spent
    if rest > 0 or not clock.due:
        clock.due = hours.add(at, rest)
    clock.runs_on = hours.next_open(max(at, clock.due))
    if clock.warn_at == FOREVER:
        _arm_warning(clock, hours)


def _arm_warning(clock: Clock, hours: Hours) -> None:
    if clock.warned >= len(clock.thresholds):
        clock.warn_at = FOREVER
        return
    share = round(clock.thresholds[clock.warned] * clock.target_us)
    if share <= clock.spent:
        # Passed before the hold that ended the last count: due at once.
        clock.warn_at = clock.started_at if clock.since < 0 else clock.since
    elif clock.since < 0:
        clock.warn_at = FOREVER
    else:
        clock.warn_at = hours.add(clock.since, share - clock.spent)


def _must_be_open(clock: Clock) -> None:
    if clock.end != End.OPEN:
        raise ValueError(f"a clock that ended as {End(clock.end).name} cannot change")
