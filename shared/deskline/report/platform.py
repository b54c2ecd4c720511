"""The platform's own measure: the share of conversations answered by a person inside 180 s, by day. Pure; times in µs.

Its published words: conversations between 08:00:00 and 22:59:59; one with a late round, or never assigned, counts zero. How
exactly they are meant is not published, so each open point is a switch, ``PlatformReading``.
"""

from collections.abc import Iterable
from datetime import datetime, time
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from deskline.clock import SECOND
from deskline.report.story import Story

FIRST: Final = time(8, 0, 0)
LAST: Final = time(22, 59, 59)
"""Still inside, with all of its microseconds."""
LIMIT_S: Final = 180
"""Exactly so many seconds are in time."""


class PlatformReading(NamedTuple):
    """The defaults are the strictest reading of the published words."""

    window: Literal["rounds", "conversations"] = "rounds"
    """rounds: the rounds that begin in the window count, wherever the conversation began. conversations: all rounds of the
    conversations that were opened in it.
    """
    late: Literal["zero", "share"] = "zero"
    """zero: one late round and the conversation counts nothing. share: it counts with the share of its rounds in time."""
    unassigned: Literal["zero", "leave_out"] = "zero"
    """What a conversation counts that no agent was assigned to nor has written in: a bot's alone, for example."""


class PlatformShare(NamedTuple):
    conversations: int
    counted: float
    """Conversations in time; with ``late`` share, parts of them."""
    late: int
    """Conversations with a late round."""
    unassigned: int

    @property
    def share(self) -> float | None:
        return self.counted / self.conversations if self.conversations else None


def platform_share(
    stories: Iterable[Story], begin: int, end: int, zone: ZoneInfo, reading: PlatformReading | None = None
) -> PlatformShare:
    """Over what began in ``begin`` ≤ t < ``end``. An unanswered round is late when it was closed, or is open at ``end``,
    after more than 180 s.
    """
    reading = reading or PlatformReading()
    total = late = unassigned = 0
    counted = 0.0
    for story in stories:
        rounds = _rounds(story, begin, end, zone, reading)
        if rounds is None:
            continue
        if not story.assigned:
            unassigned += 1
            total += reading.unassigned == "zero"
            continue
        total += 1
        in_time = sum(rounds)
        late += in_time < len(rounds)
        if in_time == len(rounds):
            counted += 1
        elif reading.late == "share":
            counted += in_time / len(rounds)
    return PlatformShare(total, counted, late, unassigned)


def _rounds(story: Story, begin: int, end: int, zone: ZoneInfo, reading: PlatformReading) -> list[bool] | None:
    """Whether each round that counts was in time; None: the conversation does not count."""

    def inside(at: int) -> bool:
        shown = datetime.fromtimestamp(at // SECOND, zone).time()
        return begin <= at < end and FIRST <= shown <= LAST

    waits = [(each.started_at, each.took) for each in story.agent_rounds]
    if story.waiting_since is not None and end - story.waiting_since > LIMIT_S * SECOND:
        waits.append((story.waiting_since, None))
    if reading.window == "conversations":
        if not (story.opened_at and inside(story.opened_at)):
            return None
    else:
        waits = [wait for wait in waits if inside(wait[0])]
        if not waits and (story.assigned or not any(inside(each.started_at) for each in story.rounds)):
            return None
    return [took is not None and took <= LIMIT_S * SECOND for _, took in waits]
