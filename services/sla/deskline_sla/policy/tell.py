r"""What to say: the difference between the fold's outcome of a clock and what was last told (contract §5 *Retelling*).

``SPEECH`` is the table: rows are what stands told, columns what the fold now says. ``now`` is the state in the fold as far
as the watermark allows to know it: a clock past its target whose breach may not be told yet is PENDING. Where told and
fold agree in state, ``due_at``, ``target_s`` and ``met_at``, nothing is said.

    told \ fold    absent              open        pending     met             breached          cancelled
    nothing       –                   –           –           met             breached          cancelled
    met           withdraw            withdraw    –           met             breached          cancelled
    breached      retract, withdraw   retract     retract     retract, met    retract, breached retract, cancelled
    cancelled     withdraw            withdraw    –           met             breached          cancelled

*withdraw* is ``sla.cancelled`` with reason late_event, after which nothing stands told. A met or cancelled clock that turns
out to be past its target is not withdrawn first: the breach follows as soon as the watermark allows.
"""

from enum import IntEnum
from typing import Final

from msgspec import structs

from deskline_sla.model import Clock, End, Name, Reason, Telling, Told, Word
from deskline_sla.policy import clock as clocks


class Now(IntEnum):
    """The columns of the table; the first four agree with ``End``."""

    OPEN = 0
    MET = 1
    BREACHED = 2
    CANCELLED = 3
    ABSENT = 4
    PENDING = 5


class Act(IntEnum):
    RETRACT = 0
    WITHDRAW = 1
    TELL = 2


_R, _W, _T = Act.RETRACT, Act.WITHDRAW, Act.TELL
SPEECH: Final[dict[tuple[End, Now], tuple[Act, ...]]] = {
    (End.OPEN, Now.ABSENT): (),
    (End.OPEN, Now.OPEN): (),
    (End.OPEN, Now.PENDING): (),
    (End.OPEN, Now.MET): (_T,),
    (End.OPEN, Now.BREACHED): (_T,),
    (End.OPEN, Now.CANCELLED): (_T,),
    (End.MET, Now.ABSENT): (_W,),
    (End.MET, Now.OPEN): (_W,),
    (End.MET, Now.PENDING): (),
    (End.MET, Now.MET): (_T,),
    (End.MET, Now.BREACHED): (_T,),
    (End.MET, Now.CANCELLED): (_T,),
    (End.BREACHED, Now.ABSENT): (_R, _W),
    (End.BREACHED, Now.OPEN): (_R,),
    (End.BREACHED, Now.PENDING): (_R,),
    (End.BREACHED, Now.MET): (_R, _T),
    (End.BREACHED, Now.BREACHED): (_R, _T),
    (End.BREACHED, Now.CANCELLED): (_R, _T),
    (End.CANCELLED, Now.ABSENT): (_W,),
    (End.CANCELLED, Now.OPEN): (_W,),
    (End.CANCELLED, Now.PENDING): (),
    (End.CANCELLED, Now.MET): (_T,),
    (End.CANCELLED, Now.BREACHED): (_T,),
    (End.CANCELLED, Now.CANCELLED): (_T,),
}


def name(clock: Clock | Told) -> Name:
    """What a clock is called inside its conversation: a number, short to store, where a number will do."""
    return f"{clock.started_at}:{clock.complaint}" if clock.complaint else clock.started_at * 8 + clock.metric


def standing(clock: Clock, horizon: int) -> Now:
    """The clock as it stands when breaches up to ``horizon`` (watermark less allowed lateness) may be told."""
    if clock.end == End.MET:
        return Now.MET
    if clock.end == End.CANCELLED:
        return Now.CANCELLED
    if clocks.breached_by(clock, horizon):
        return Now.BREACHED
    return Now.PENDING if clock.over else Now.OPEN


def settle(told: Told | None, clock: Clock, now: Now, owner_at_due: str, say: list[Telling]) -> Told | None:
    """Say what is new about a clock of the fold; the record of what is told then, None while nothing ever was."""
    before = End.OPEN if told is None else End(told.end)
    met_at = clock.ended_at if now == Now.MET else 0
    if (
        told is not None
        and told.end == int(now)
        and told.due == clock.due
        and told.target_s == clock.target_s
        and told.met_at == met_at
    ):
        return told
    for act in SPEECH[before, now]:
        if told is None:
            told = _fresh(clock)
        if act is Act.TELL:
            agent = owner_at_due if now == Now.BREACHED else clock.agent
            say.append(_tell(told, clock, now, met_at, agent))
        else:
            say.append(take_back(told, act))
    return told


def withdraw(told: Told, say: list[Telling]) -> None:
    """Say that a clock which was told of is not there any more."""
    say.extend(take_back(told, act) for act in SPEECH[End(told.end), Now.ABSENT])


def warn(told: Told | None, clock: Clock, due: int, owner: str, say: list[Telling]) -> Told:
    """Say that the threshold the clock has reached is used up, once."""
    threshold = clock.thresholds[clock.warned]
    if told is None:
        told = _fresh(clock)
    elif threshold in told.warnings:
        return told
    told.warnings = (*told.warnings, threshold)
    say.append(Telling(Word.WARNING, clock, len(told.warnings), due, owner, threshold=threshold))
    return told


def retarget(told: Told | None, clock: Clock, at: int, owner: str, say: list[Telling]) -> Told:
    """Say, once, that an open clock took a new version at ``at``. ``clock``: as it stood then."""
    if told is None:
        told = _fresh(clock)
    elif at in told.retargeted:
        return told
    told.retargeted = (*told.retargeted, at)
    say.append(Telling(Word.RETARGETED, clock, len(told.retargeted), clock.due, owner))
    return told


def _tell(told: Told, clock: Clock, now: Now, met_at: int, agent: str) -> Telling:
    told.shop, told.tier, told.policy_id, told.version = clock.shop, clock.tier, clock.policy_id, clock.version
    told.target_s, told.calendar, told.known_until = clock.target_s, clock.calendar, clock.known_until
    told.end, told.due, told.met_at, told.agent = int(now), clock.due, met_at, agent
    cause = (clock.end_topic, clock.end_offset) if clock.end != End.OPEN else None
    if now == Now.MET:
        told.met += 1
        return Telling(Word.MET, clock, told.met, clock.due, agent, None, met_at, clock.elapsed, cause=cause)
    if now == Now.BREACHED:
        told.breached += 1
        return Telling(Word.BREACHED, clock, told.breached, clock.due, agent, cause=None)
    told.cancelled += 1
    return Telling(Word.CANCELLED, clock, told.cancelled, clock.due, agent, Reason(clock.reason), cause=cause)


def take_back(told: Told, act: Act) -> Telling:
    """Retract the breach that stands told, or say that nothing stands any more."""
    told.end = End.OPEN
    # As it was told: what follows in this unit may say something else of the same clock.
    about = structs.replace(told)
    if act is Act.RETRACT:
        told.retracted += 1
        return Telling(Word.RETRACTED, about, told.retracted, told.due, told.agent, Reason.LATE_EVENT)
    told.cancelled += 1
    return Telling(Word.CANCELLED, about, told.cancelled, told.due, told.agent, Reason.LATE_EVENT)


def _fresh(clock: Clock) -> Told:
    return Told(
        clock.metric, clock.started_at, clock.complaint, clock.shop, clock.tier, clock.policy_id, clock.version,
        clock.target_s, clock.calendar,
    )  # fmt: skip
