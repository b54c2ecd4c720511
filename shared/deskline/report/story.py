"""What happened in one conversation, as figures need it: rounds, who answered, ratings, closes, orders. Pure; times in µs.

A *round* begins with a customer's message that nobody has answered yet and ends with the first answer, or unanswered with
a close. There are two kinds. *Any*: the answer may be a bot's. *Agent*: the conversation is a person's turn, from the
hand-over's (or the router's) ``waiting_since``, or from a customer's message after an agent has written; only an agent answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from deskline.clock import parse_rfc3339
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA, Event

_TOPICS: Final = {topic: number for number, topic in enumerate((CONVERSATIONS, REPLIES, ROUTING, SLA))}
_OUTCOMES: Final = {"sla.met.v1": "met", "sla.breached.v1": "breached", "sla.cancelled.v1": "cancelled"}


class Round(NamedTuple):
    started_at: int
    answered_at: int | None
    """None: closed without an answer."""
    agent_id: str
    """Empty: a bot, or nobody."""

    @property
    def took(self) -> int | None:
        return None if self.answered_at is None else self.answered_at - self.started_at


class ClockWord(NamedTuple):
    """The last word on one SLA clock."""

    clock_id: str
    state: str
    """met | breached | cancelled"""
    metric: str
    tier: str
    started_at: int
    due_at: int
    target_s: float
    agent_id: str


class Line(NamedTuple):
    """One line of a breach's story; never a text that somebody wrote."""

    at: int
    what: str
    who: str = ""
    detail: str = ""


@dataclass(slots=True)
class Story:
    subject: str
    shop: str = ""
    opened_at: int = 0
    """The first message; 0: there is none."""
    assigned: bool = False
    """An agent was assigned, or has written."""
    rounds: list[Round] = field(default_factory=list)
    agent_rounds: list[Round] = field(default_factory=list)
    waiting_since: int | None = None
    """A round of an agent is still open at the end of the log."""
    advised: list[tuple[int, str]] = field(default_factory=list)
    """Each agent's message: when, who."""
    ratings: list[tuple[int, int]] = field(default_factory=list)
    closes: list[tuple[int, bool]] = field(default_factory=list)
    orders: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    clocks: dict[str, ClockWord] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def agent_before(self, at: int) -> str:
        """Who had written last by ``at``; empty: nobody."""
        return next((agent for when, agent in reversed(self.advised) if when <= at), "")


def stories(events: Iterable[Event]) -> list[Story]:
    """One per conversation, sorted by id. The events may come in any order; a second record of an id has no effect."""
    by_subject: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: (event.topic, event.partition, event.offset)):
        by_subject.setdefault(event.subject, []).append(event)
    return [_story(subject, _first(group)) for subject, group in sorted(by_subject.items())]


def _first(events: Sequence[Event]) -> list[Event]:
    seen: set[tuple[str, ...]] = set()
    kept = []
    for event in events:
        names: set[tuple[str, ...]] = {(event.topic, event.source, event.id)}
        if event.type in ("message.received.v1", "message.sent.v1"):
            names.add((event.type, event.data.message_id))
        if not names & seen:
            kept.append(event)
        seen |= names
    return kept


class RoundReader:
    """Takes what happened in the order of its places, and notes the rounds in the story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.any_since: int | None = None
        self.agent_since: int | None = None
        self.hands = False

    def said(self, at: int) -> None:
        """The customer wrote."""
        self.any_since = at if self.any_since is None else self.any_since
        if self.hands and self.agent_since is None:
            self.agent_since = at

    def answered(self, at: int, agent: str) -> None:
        """``agent`` empty: by a bot."""
        if self.any_since is not None:
            self.story.rounds.append(Round(self.any_since, at, agent))
            self.any_since = None
        if agent and self.agent_since is not None:
            self.story.agent_rounds.append(Round(self.agent_since, at, agent))
            self.agent_since = None
        self.hands = self.hands or bool(agent)

    def closed(self) -> None:
        if self.any_since is not None:
            self.story.rounds.append(Round(self.any_since, None, ""))
        if self.agent_since is not None:
            self.story.agent_rounds.append(Round(self.agent_since, None, ""))
        self.any_since = self.agent_since = None
        self.hands = False

    def wait_for_agent(self, since: int) -> None:
        self.hands = True
        self.agent_since = since if self.agent_since is None else min(self.agent_since, since)


def _place(event: Event, refusals: Sequence[int], messages: Mapping[str, int]) -> tuple[int, int, int, int]:
    """As in the fold of the clocks (contract §5): who waits for an agent stands at ``waiting_since``, behind the customer's
    message of that instant and before an answer, however late the hand-over was written; an answer does not stand before the
    message that it names. ``refusals``: of a full queue; ``messages``: when each was written.
    """
    at, rank = event.at, 2
    if event.type == "message.sent.v1":
        at = max(at, messages.get(event.data.in_reply_to or "", at))
    if event.type in {"message.received.v1", "transfer.requested.v1"}:
        rank = 0
    elif _waits(event):
        since = parse_rfc3339(event.data.waiting_since)
        if not any(since <= refusal < at for refusal in refusals):
            at, rank = since, 1
    return at, rank, _TOPICS.get(event.topic, 9), event.offset


def _waits(event: Event) -> bool:
    if event.type == "conversation.queued.v1":
        return event.data.seq == 1 and event.data.cause in {"no_autoreply", "transfer"}
    return event.type == "handover.requested.v1"


def _story(subject: str, events: Sequence[Event]) -> Story:
    story = Story(subject)
    messages = [event for event in events if event.type == "message.received.v1"]
    if messages:
        # A conversation's shop is that of its first message in the log (contract §3).
        story.shop = messages[0].data.shop_id
        story.opened_at = min(event.at for event in messages)
    elif events:
        story.shop = getattr(events[0].data, "shop_id", "")
    reader = RoundReader(story)
    # sla tells in the order of its topic; all the rest counts by event time.
    for event in (event for event in events if event.topic == SLA):
        _clock(story, event)
    refusals = [
        event.at for event in events if event.type == "conversation.released.v1" and event.data.reason == "queue_full"
    ]
    written = {event.data.message_id: event.at for event in reversed(messages)}
    others = [event for event in events if event.topic != SLA]
    placed = [(_place(event, refusals, written), event) for event in others]
    for place, event in sorted(placed, key=lambda each: each[0]):
        _take(reader, story, event, place[0])
    story.lines.sort(key=lambda line: line.at)
    story.waiting_since = reader.agent_since
    return story


def _take(reader: RoundReader, story: Story, event: Event, place: int) -> None:
    at, data = event.at, event.data
    match event.type:
        case "message.received.v1":
            reader.said(at)
            story.lines.append(Line(at, "customer_wrote"))
        case "message.sent.v1" if data.author.kind == "agent":
            story.assigned = True
            story.advised.append((at, data.author.id))
            reader.answered(place, data.author.id)
            story.lines.append(Line(at, "agent_wrote", data.author.id))
        case "message.sent.v1" if data.author.kind == "bot":
            reader.answered(place, "")
            story.lines.append(Line(at, "bot_wrote"))
        case "handover.requested.v1":
            reader.wait_for_agent(place)
            story.lines.append(Line(at, "handed_over", detail=data.reason))
        case "conversation.queued.v1":
            if data.seq == 1:
                if data.cause in ("no_autoreply", "transfer"):
                    reader.wait_for_agent(place)
                story.lines.append(Line(at, "queued", detail=data.cause))
        case "conversation.assigned.v1":
            story.assigned = True
            story.lines.append(Line(at, "offered" if data.mode == "offered" else "assigned", data.agent_id))
        case "assignment.expired.v1" | "assignment.revoked.v1":
            story.lines.append(Line(at, "taken_back", data.agent_id, data.reason))
        case "transfer.requested.v1":
            story.lines.append(Line(at, "transferred", data.by_agent_id))
        case "conversation.held.v1" | "conversation.resumed.v1":
            story.lines.append(Line(at, "held" if event.type == "conversation.held.v1" else "resumed"))
        case "complaint.opened.v1" | "complaint.closed.v1":
            opened = event.type == "complaint.opened.v1"
            story.lines.append(Line(at, "complained" if opened else "complaint_closed", detail=data.complaint_id))
        case "conversation.closed.v1":
            story.closes.append((at, bool(data.resolved)))
            reader.closed()
            story.lines.append(Line(at, "closed"))
        case "conversation.rated.v1":
            story.ratings.append((at, data.score))
        case "order.placed.v1":
            story.orders.setdefault(data.order_id, (at, Decimal(data.amount)))


def _clock(story: Story, event: Event) -> None:
    data = event.data
    if event.type == "sla.breach_retracted.v1" or (event.type == "sla.cancelled.v1" and data.reason == "late_event"):
        story.clocks.pop(data.clock_id, None)
        return
    state = _OUTCOMES.get(event.type)
    if state is None:
        return
    story.clocks[data.clock_id] = ClockWord(
        data.clock_id,
        state,
        data.metric,
        data.tier,
        parse_rfc3339(data.started_at),
        parse_rfc3339(data.due_at),
        data.target_s,
        data.agent_id or "",
    )
