"""What is judged: the records, and the view on them that the rules share (decoded, duplicates removed by §1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.checker.configuration import Configuration
from tests.checker.records import (
    AGENTS,
    CHECKPOINTS,
    CONVERSATIONS,
    DAY,
    DEAD_LETTERS,
    REPLIES,
    ROUTING,
    SECOND,
    SHOPS,
    SLA,
    Event,
    Record,
)
from tests.checker.validity import judge

OUTPUTS = (REPLIES, ROUTING, SLA, CHECKPOINTS, SHOPS)
"""Topics whose records deskline writes; of the shops' only the surges."""
_TWICE = ("message.received.v1", "message.sent.v1")


@dataclass(frozen=True)
class Settings:
    """What the deployment was run with, and how far the rules may go."""

    end_at: int
    """The instant (µs) at which the ends of the topics were asked for: the watermark when all had caught up."""
    allowed_lateness_s: float = 1.0
    config_lead_s: float = 5.0
    caught_up: bool = True
    """Every /readyz had said caught up for 10 s, with no input for 10 s: rules about what is missing apply."""
    slack_s: float = 3.0
    """What had to be told so shortly before ``end_at`` is not missed."""

    @property
    def lateness(self) -> int:
        return round(self.allowed_lateness_s * SECOND)

    @property
    def settled_at(self) -> int:
        return self.end_at - round(self.slack_s * SECOND)


@dataclass
class Log:
    """``records`` of all topics, per partition in offset order; ``archive`` in the same form, None if not judged."""

    records: Sequence[Record]
    archive: Iterable[Record] | None = None
    starts: dict[tuple[str, int], int] = field(default_factory=dict)
    """(topic, partition) → first offset that Kafka still had; what lies before cannot be compared."""


class Conversation:
    """The valid records of one conversation, without duplicates, topic by topic in offset order."""

    __slots__ = ("by_topic", "subject")

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.by_topic: dict[str, list[Event]] = {CONVERSATIONS: [], REPLIES: [], ROUTING: [], SLA: []}

    def of(self, topic: str, *types: str) -> list[Event]:
        """Events of one topic, of ``types`` (without version) if any are named."""
        events = self.by_topic[topic]
        if not types:
            return events
        wanted = {f"{type_}.v1" for type_ in types}
        return [event for event in events if event.type in wanted]

    @property
    def shop_id(self) -> str | None:
        """That of the first ``message.received`` in the log; None before any message."""
        for event in self.by_topic[CONVERSATIONS]:
            if event.type == "message.received.v1":
                return str(event.data["shop_id"])
        return None


class View:
    """A ``Log`` decoded. ``events`` are all valid ones of known types; ``counted`` those that are no duplicates."""

    def __init__(self, log: Log, settings: Settings) -> None:
        self.log = log
        self.settings = settings
        self.invalid: list[tuple[Record, str]] = []
        self.unknown: list[Record] = []
        self.events: list[Event] = []
        self.counted: list[Event] = []
        self.duplicates: list[tuple[Event, Event]] = []
        """(the duplicate, the one that counts)"""
        self.letters: list[Record] = []
        self.by_where: dict[str, Record] = {}
        self.conversations: dict[str, Conversation] = {}
        self.statuses: dict[str, list[Event]] = defaultdict(list)
        self.configuration = Configuration(round(settings.config_lead_s * SECOND))
        self.event_at: dict[str, Event] = {}
        self._ids: dict[tuple[str, str, str, str], Event] = {}
        for record in log.records:
            self._take(record)
        for event in self.counted:
            self._sort(event)

    def _take(self, record: Record) -> None:
        self.by_where[record.where] = record
        if record.topic == DEAD_LETTERS:
            self.letters.append(record)
            return
        judged = judge(record)
        if judged is None:
            self.unknown.append(record)
        elif isinstance(judged, str):
            self.invalid.append((record, judged))
        else:
            self.events.append(judged)
            self.event_at[record.where] = judged
            first = self._first(judged)
            if first is None:
                self.counted.append(judged)
            else:
                self.duplicates.append((judged, first))

    def _first(self, event: Event) -> Event | None:
        """The earlier record that makes ``event`` a duplicate (§1: within a day of broker time), if there is one."""
        topic = event.record.topic
        if topic == AGENTS:
            return None
        by_id = (topic, event.subject, event.source, event.id)
        names = [by_id]
        if event.type in _TWICE:
            names.append((event.type, event.subject, "message", str(event.data["message_id"])))
        for name in names:
            first = self._ids.get(name)
            if first is not None and event.broker_at - first.broker_at <= DAY:
                return first
        # A duplicate has no effect at all: neither of its names is remembered.
        self._ids.update(dict.fromkeys(names, event))
        return None

    def _sort(self, event: Event) -> None:
        topic = event.record.topic
        if topic in (CONVERSATIONS, REPLIES, ROUTING, SLA):
            conversation = self.conversations.get(event.subject)
            if conversation is None:
                conversation = self.conversations[event.subject] = Conversation(event.subject)
            conversation.by_topic[topic].append(event)
        elif topic == AGENTS:
            self.statuses[event.subject].append(event)
        elif event.type == "config.applied.v1":
            self.configuration.add(event)

    def of(self, *types: str) -> list[Event]:
        """All counted events of ``types`` (without version), in the order of the log."""
        wanted = {f"{type_}.v1" for type_ in types}
        return [event for event in self.counted if event.type in wanted]

    def cause_of(self, event: Event) -> Event | None:
        """The valid event that the header ``deskline-source`` names, if any."""
        source = header(event.record, "deskline-source")
        return self.event_at.get(source) if source is not None else None


def header(record: Record, name: str) -> str | None:
    """The first header of that name as text; None where it is absent or null."""
    for given, value in record.headers:
        if given == name and value is not None:
            return value.decode(errors="replace")
    return None
