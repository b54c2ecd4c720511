"""What conversations.v1 said of one conversation, up to the record before the one being decided, and our own outcomes.

Facts only: nothing here depends on what was read of routing.v1, except the outcomes, each of which is a function of its
``routing_offset`` and ``time``. So a replay that gives those gets the same facts, however it interleaves the topics.

Bounds. A fact at or before the last close decides nothing any more and goes with it (turns stay for the minute of the
cooldown). Of what a conversation piles up while open, the newest are kept: see the constants.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from deskline_autoreply.model import (
    NOT_WAITING,
    REPEATED_US,
    SAME_TEXT_US,
    SECOND,
    Answered,
    Decision,
    HandedOver,
    Ignored,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deskline.records import Event

# A turn is of use for ``REPEATED_US``; messages come late by seconds, so ten minutes more lose nothing.
_KEPT_US: Final = REPEATED_US + 600 * SECOND
# Older ones among so many newest stay, because an agent whose clock is behind may still answer them by name.
_NAMED: Final = 8
# Four messages a minute for half an hour; beyond, the oldest are forgotten, the earliest that waits last.
_MOST_TURNS: Final = 128
# Of what agents did since the last close. The first say who became the owner, the newest who is it.
_MOST_SPOKEN: Final = 32
_FIRST_SPOKEN: Final = 8
_MOST_ACTS: Final = 16

# An echo comes at once; a loop of a hundred within its time is one.
_MOST_SAID: Final = 4
_MOST_REPLIED: Final = 100
# Flags of one hand-over are at most 64 (contract §1).
_MOST_TAGS: Final = 32
_MOST_CREDITS: Final = 16

ANSWERED: Final = 1
HANDED: Final = 2
UNCOUNTED: Final = 4


class Turn(msgspec.Struct, array_like=True):
    """A ``message.received``."""

    message_id: str
    at: int
    digest: int
    """Of the folded text; 0: no visible text. The text itself is kept nowhere."""
    marks: int = 0
    """ANSWERED | HANDED (over, or met with silence) | UNCOUNTED (does not make the customer wait)."""


class Spoken(msgspec.Struct, array_like=True):
    """An agent's ``message.sent``."""

    agent: str
    place: int
    """Its event time, or that of the message it answers where that is later (contract §3): then it stands right after it."""
    reply_to: str = ""
    """The message it answers, while that has not been read."""
    broker_at: int = 0


class Accepted(msgspec.Struct, array_like=True):
    assignment_id: str
    agent: str
    at: int
    broker_at: int


class Transferred(msgspec.Struct, array_like=True):
    agent: str
    at: int


class Credit(msgspec.Struct, array_like=True):
    """A rule or an entry that answered in this conversation, until the customer writes again after its close."""

    kind: str
    id: str
    variant: str
    at: int
    """Event time of the message that it answered."""
    followed: bool = False
    """A person was asked for since."""
    rated: bool = False


class History(msgspec.Struct, array_like=True):
    shop: str = ""
    """Of the first ``message.received``; empty before."""
    closed_at: int = 0
    """Event time of the last close by event time; 0: none."""
    opened_at: int = 0
    """Event time of the earliest message after it; 0: the conversation is not open."""
    answered_until: int = 0
    """Place of the latest message of an agent: what is earlier is answered by it."""
    handed_at: int = 0
    """``time`` of our last hand-over."""
    handed_for: int = 0
    """The latest event time of a message handed over."""
    turns: list[Turn] = []
    spoken: list[Spoken] = []
    accepted: list[Accepted] = []
    transferred: list[Transferred] = []
    late_complaints: list[str] = []
    """``id`` of each ``complaint.opened`` read after a close that is not earlier: that close does not end its request."""
    said: list[list[int]] = []
    """Digests of our last texts (``manners.digests``), the newest last."""
    said_last: int = 0
    """Digest of our last text, while nobody else has answered since; 0: none."""
    replies: int = 0
    """Our replies since the last close."""
    replied: list[int] = []
    """Event times of the messages that the newest of them answered."""
    tags: list[str] = []
    """What rules marked since the last close."""
    credits: list[Credit] = []
    product: str = ""
    """What the customer talks about: of the last message that named or came with one, since the last close."""
    order_id: str = ""
    mind_at: int = 0
    """Event time of the last message that named, came with, or was answered about one of the two."""
    offered: list[str] = []
    """Entries of the list that we gave last, while nothing else was said since."""
    offered_at: int = 0


def digest(folded: str) -> int:
    """0 for no text; else 64 bits: two different texts of one conversation agree once in 1e19."""
    if not folded:
        return 0
    return int.from_bytes(blake2b(folded.encode(), digest_size=8).digest(), "big") or 1


def arrive(history: History, message_id: str, at: int, text_digest: int) -> tuple[Turn, bool]:
    """The turn of a message that is about to be decided, and whether an agent has written since (by place).

    Agents' messages that name it as answered, read before it, take their place behind it.
    """
    named = False
    for spoken in history.spoken:
        if spoken.reply_to == message_id:
            spoken.reply_to = ""
            if spoken.place <= at:
                spoken.place = at
                named = True
    if named:
        for turn in history.turns:
            if turn.at <= at:
                turn.marks |= ANSWERED
        history.answered_until = max(history.answered_until, at)
    written = named or at < history.answered_until
    return Turn(message_id, at, text_digest, ANSWERED if written else 0), written


def taken_care_of(message: Event, behind: Iterable[Event], upto: int) -> bool:
    """Whether in ``behind``, up to that broker timestamp, an agent wrote or somebody closed, later than ``message``."""
    for event in behind:
        if event.broker_at > upto:
            continue
        if event.type == "conversation.closed.v1" and event.at >= message.at:
            return True
        if event.type == "message.sent.v1" and event.data.author.kind == "agent":
            answers = event.data.in_reply_to == message.data.message_id
            if answers or event.at > message.at:
                return True
    return False


def remember(history: History, turn: Turn, decision: Decision, time: int) -> None:
    """Put a decided message behind those before it."""
    match decision:
        case Answered():
            for earlier in history.turns:
                earlier.marks |= ANSWERED
            turn.marks |= ANSWERED
        case HandedOver():
            turn.marks |= HANDED
            history.handed_at = max(history.handed_at, time)
            history.handed_for = max(history.handed_for, turn.at)
        case Ignored(reason=reason, silent=silent):
            if reason in NOT_WAITING:
                turn.marks |= UNCOUNTED
            elif silent:
                turn.marks |= HANDED
    if turn.at > history.closed_at:
        if not history.opened_at:
            history.credits = [known for known in history.credits if known.at > history.closed_at]
        history.opened_at = min(history.opened_at or turn.at, turn.at)
    history.turns.append(turn)
    _forget(history, turn.at)


def say(history: History, at: int, text_digests: list[int]) -> None:
    """We sent a text for a message of event time ``at``."""
    history.said.append(text_digests)
    del history.said[:-_MOST_SAID]
    history.said_last = text_digests[0]
    history.replies += 1
    history.replied.append(at)
    del history.replied[:-_MOST_REPLIED]


def keep_in_mind(history: History, at: int, product: str, order_id: str) -> None:
    """A message was about these; empty: about none, and what was in mind stays for its time."""
    if product or order_id:
        history.product, history.order_id = product or history.product, order_id or history.order_id
        history.mind_at = at


def in_mind(history: History, at: int, window: int) -> tuple[str, str]:
    """(product, order) that a message of event time ``at`` may go on about."""
    fresh = history.mind_at and abs(at - history.mind_at) <= window
    return (history.product, history.order_id) if fresh else ("", "")


def offer(history: History, at: int, entries: Iterable[str]) -> None:
    """Something was said: a list of entries to choose from, or (empty) anything else."""
    history.offered = list(entries)
    history.offered_at = at if history.offered else 0


def tag(history: History, tags: Iterable[str]) -> None:
    history.tags += [one for one in dict.fromkeys(tags) if one not in history.tags]
    del history.tags[_MOST_TAGS:]


def credit(history: History, kind: str, id_: str, variant: str, at: int) -> None:
    """It answered; what becomes of the conversation is counted for it, once."""
    if not any((known.kind, known.id, known.variant) == (kind, id_, variant) for known in history.credits):
        history.credits.append(Credit(kind, id_, variant, at))
        del history.credits[:-_MOST_CREDITS]


def _forget(history: History, newest: int) -> None:
    turns = history.turns
    while len(turns) > _NAMED and turns[0].at < newest - _KEPT_US and not waits(turns[0], history.closed_at):
        del turns[0]
    if len(turns) > _MOST_TURNS:
        del turns[1 if waits(turns[0], history.closed_at) else 0]


def waits(turn: Turn, closed_at: int) -> bool:
    """Whether the customer waits for an answer to this message (contract §4, ``waiting_since``)."""
    return turn.at > closed_at and not turn.marks & (ANSWERED | UNCOUNTED)


def waiting_since(history: History, at: int) -> int:
    """For a message of event time ``at`` that is not among the turns yet."""
    closed_at = history.closed_at
    return min([at, *(turn.at for turn in history.turns if waits(turn, closed_at))])


def speak(history: History, agent: str, at: int, reply_to: str | None, broker_at: int) -> None:
    """An agent wrote."""
    history.said_last = 0
    place, unknown = at, reply_to or ""
    answered = -1
    for index, turn in enumerate(history.turns):
        if reply_to == turn.message_id:
            unknown = ""
            if at <= turn.at:
                place, answered = turn.at, index
    for index, turn in enumerate(history.turns):
        # At its own instant it stands behind the message that it answers and those before that one in the log.
        if turn.at < place or (turn.at == place and index <= answered):
            turn.marks |= ANSWERED
    history.answered_until = max(history.answered_until, place)
    if place > history.closed_at or unknown:
        history.spoken.append(Spoken(agent, place, unknown, broker_at))
        if len(history.spoken) > _MOST_SPOKEN:
            del history.spoken[_FIRST_SPOKEN]


def accept(history: History, assignment_id: str, agent: str, at: int, broker_at: int) -> None:
    if at > history.closed_at:
        history.accepted.append(Accepted(assignment_id, agent, at, broker_at))
        del history.accepted[:-_MOST_ACTS]


def transfer(history: History, agent: str, at: int) -> None:
    if at > history.closed_at:
        history.transferred.append(Transferred(agent, at))
        del history.transferred[:-_MOST_ACTS]


def complain(history: History, event_id: str, at: int) -> None:
    if at <= history.closed_at:
        history.late_complaints.append(event_id)
        del history.late_complaints[:-_MOST_ACTS]


def close(history: History, at: int) -> None:
    """A close; one that is not later than another changes nothing."""
    if at <= history.closed_at:
        return
    history.closed_at = at
    history.said_last = history.replies = 0
    history.replied, history.tags = [], []
    history.product = history.order_id = ""
    history.offered, history.offered_at = [], 0
    history.turns = [turn for turn in history.turns if turn.at > at - SAME_TEXT_US]
    history.opened_at = min((turn.at for turn in history.turns if turn.at > at), default=0)
    history.spoken = [spoken for spoken in history.spoken if spoken.place > at or spoken.reply_to]
    history.accepted = [accepted for accepted in history.accepted if accepted.at > at]
    history.transferred = [transferred for transferred in history.transferred if transferred.at > at]
    history.late_complaints = []
