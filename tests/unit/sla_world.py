"""Events of one conversation, a configuration, and what a reader of ``sla.v1`` makes of the outputs."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.book import ConfigBook
from deskline.config.documents import CalendarsDocument, SlaDocument
from deskline.conversations import Context
from deskline.events import models
from deskline.events.wire import decode, new
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA, Event, Output, Record
from deskline_sla.handler import SlaFolding
from deskline_sla.model import Overdue, State

SUBJECT = "c-1"
SHOP = "teahouse"
T0 = parse_rfc3339("2026-11-20T02:00:00Z")
"""10:00 in Shanghai, a Friday; the shop is open 09:00 to 22:00."""
LATENESS = SECOND
END = T0 + 400 * 86_400 * SECOND
"""A watermark after everything."""

SHANGHAI = {
    "default": "shop",
    "calendars": {
        "shop": {
            "timezone": "Asia/Shanghai",
            "weekly": {day: ["09:00-22:00"] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")},
        }
    },
}


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


def book(sla: dict[str, Any] | None = None, calendars: dict[str, Any] | None = None) -> ConfigBook:
    config = ConfigBook()
    config.install("_default", "calendars", CalendarsDocument.model_validate_json(json.dumps(calendars or SHANGHAI)))
    config.install("_default", "sla", SlaDocument.model_validate_json(json.dumps(sla or {})))
    return config


class Log:
    """Builds records in log order: each topic has its own offsets; broker time follows event time unless given."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._offsets = dict.fromkeys((CONVERSATIONS, REPLIES, ROUTING), 0)

    def add(
        self, type_: str, seconds: float, *, broker: float | None = None, id_: str | None = None, **fields: Any
    ) -> Event:
        kind = models.REGISTRY[type_]
        offset = self._offsets[kind.topic]
        self._offsets[kind.topic] += 1
        happened = at(seconds)
        broker_at = happened if broker is None else at(broker)
        event = Event(
            type=type_,
            id=id_ or f"{kind.topic}-{offset}",
            source="/test",
            subject=SUBJECT,
            at=happened,
            retimed=False,
            data=new(kind.model, **fields),
            topic=kind.topic,
            partition=0,
            offset=offset,
            broker_at=broker_at // 1000 * 1000,
        )
        self.events.append(event)
        return event

    def customer(
        self,
        seconds: float,
        message: str,
        *,
        tier: str | None = None,
        channel: str = "web",
        shop: str = SHOP,
        **kw: Any,
    ) -> Event:
        customer = new(models.Customer, customer_id="k-1", tier=tier)
        return self.add(
            "message.received.v1",
            seconds,
            message_id=message,
            channel=channel,
            text="",
            customer=customer,
            shop_id=shop,
            **kw,
        )

    def wrote(
        self,
        seconds: float,
        who: str,
        *,
        kind: str = "agent",
        to: str | None = None,
        message: str | None = None,
        **kw: Any,
    ) -> Event:
        author = new(models.Author, kind=kind, id=who)
        message = message or f"sent-{self._offsets[CONVERSATIONS]}"
        return self.add(
            "message.sent.v1", seconds, message_id=message, author=author, text="", in_reply_to=to, shop_id=SHOP, **kw
        )

    def gateway(self, name: str, seconds: float, **kw: Any) -> Event:
        return self.add(f"{name}.v1", seconds, shop_id=SHOP, **kw)

    def closed(self, seconds: float, **kw: Any) -> Event:
        return self.gateway("conversation.closed", seconds, resolved=True, **kw)

    def reply(
        self, seconds: float, message: str, *, handover: bool = False, deliver_by: float | None = None, **kw: Any
    ) -> Event:
        until = seconds + 60 if deliver_by is None else deliver_by
        return self.add(
            "reply.issued.v1", seconds, shop_id=SHOP, rules_version=1, routing_offset=0, reply_id=f"r-{message}",
            in_reply_to=message, text="", kind="faq", handover=handover, deliver_by=rfc3339(at(until)), **kw,
        )  # fmt: skip

    def handover(self, seconds: float, message: str, *, since: float, priority: int = 50, **kw: Any) -> Event:
        return self.add(
            "handover.requested.v1", seconds, shop_id=SHOP, rules_version=1, routing_offset=0, message_id=message,
            waiting_since=rfc3339(at(since)), reason="no_match", skills=(), priority=priority, flags=(), **kw,
        )  # fmt: skip

    def ignored(self, seconds: float, message: str, reason: str, **kw: Any) -> Event:
        return self.add(
            "message.ignored.v1", seconds, shop_id=SHOP, rules_version=1, routing_offset=0, message_id=message,
            reason=reason, **kw,
        )  # fmt: skip

    def queued(
        self,
        seconds: float,
        request: str,
        *,
        since: float,
        cause: str = "handover",
        priority: int = 50,
        seq: int = 1,
        **kw: Any,
    ) -> Event:
        return self.add(
            "conversation.queued.v1", seconds, request_id=request, shop_id=SHOP, seq=seq, cause=cause, skills=(),
            priority=priority, step=1, required=new(models.Required, skills=()), position=1,
            waiting_since=rfc3339(at(since)), **kw,
        )  # fmt: skip

    def assigned(
        self, seconds: float, request: str, assignment: str, agent: str, *, mode: str = "assigned", **kw: Any
    ) -> Event:
        explanation = new(
            models.Explanation, rule="r", step=1, required=new(models.Required, skills=()), relaxed=(), agent_state_id="s",
            considered=1, eligible=1, rejected={}, chosen=new(models.Chosen, score_parts={}),
        )  # fmt: skip
        return self.add(
            "conversation.assigned.v1", seconds, request_id=request, shop_id=SHOP, seq=2, agent_id=agent, agent_seq=1,
            load=1, capacity=5, assignment_id=assignment, attempt=1, mode=mode, waited_s=1, policy_version=1,
            explanation=explanation, **kw,
        )  # fmt: skip

    def revoked(self, seconds: float, request: str, assignment: str, agent: str, **kw: Any) -> Event:
        return self.add(
            "assignment.revoked.v1", seconds, request_id=request, shop_id=SHOP, seq=3, agent_id=agent, agent_seq=2, load=0,
            capacity=5, assignment_id=assignment, reason="agent_offline", agent_paused=False, **kw,
        )  # fmt: skip

    def released(self, seconds: float, request: str, reason: str, *, assignment: str | None = None, **kw: Any) -> Event:
        return self.add(
            "conversation.released.v1", seconds, request_id=request, shop_id=SHOP, seq=9, assignment_id=assignment,
            reason=reason, **kw,
        )  # fmt: skip


class Word(NamedTuple):
    """One record of ``sla.v1``, read back from its bytes."""

    type: str
    id: str
    time: int
    data: Any
    source: str | None

    @property
    def clock(self) -> tuple[str, int]:
        return self.data.metric, parse_rfc3339(self.data.started_at)


class Service:
    """The folding with its state, driven as the engine drives it: units of events, then timers up to the watermark."""

    def __init__(self, config: ConfigBook, lateness: int = LATENESS) -> None:
        self.folding = SlaFolding(lateness)
        self.config = config
        self.state: State = self.folding.fresh(SUBJECT)
        self.words: list[Word] = []
        self.rows: list[Any] = []
        """What is written beside the state of clocks in shadow, in order."""
        self.overdue: list[Overdue] = []

    def unit(self, events: Sequence[Event], watermark: int, now: int | None = None) -> list[Word]:
        context = Context(watermark if now is None else now, watermark, self.config, {}, 0, effect=self._write)
        said = [_read(output) for output in self.folding.advance(SUBJECT, self.state, events, context)]
        for _ in range(1000):
            due = self.folding.due(self.state)
            if due is None or due > watermark:
                break
            said += [_read(output) for output in self.folding.advance(SUBJECT, self.state, [], context)]
        else:
            raise AssertionError("the timer fires without end")
        self.words += said
        return said

    def _write(self, effect: object) -> None:
        if isinstance(effect, Overdue):
            self.overdue.append(effect)
        else:
            self.rows.append(effect)

    def told(self, *types: str) -> list[Word]:
        return [word for word in self.words if word.type in types]


def _read(output: Output) -> Word:
    assert output.topic == SLA
    assert output.key == SUBJECT.encode()
    event = decode(Record(SLA, 0, 0, T0, output.key, output.value, ()))
    assert isinstance(event, Event), event
    envelope = json.loads(output.value or b"")
    return Word(event.type, event.id, parse_rfc3339(envelope["time"]), event.data, output.source)


def last_words(words: Iterable[Word]) -> dict[tuple[str, int, str], tuple[str, int, int, int]]:
    """Clock → (state, due_at, target in µs, met_at) as a reader knows it, who counts what was taken back as never told.

    Checks on the way that the sequence of each clock is one that may be told.
    """
    standing: dict[str, tuple[tuple[str, int, str], tuple[str, int, int, int]] | None] = {}
    ids: set[str] = set()
    for word in words:
        assert word.id not in ids, "an id twice"
        ids.add(word.id)
        data = word.data
        kind = word.type.removeprefix("sla.").removesuffix(".v1")
        before = standing.get(data.clock_id)
        state = before[1][0] if before else None
        if kind == "warning":
            assert state != "breached"
            continue
        if kind == "breach_retracted":
            assert state == "breached", "a retraction without a breach"
            standing[data.clock_id] = None
            continue
        assert state != "breached", "a breach must be retracted before anything else is said"
        if kind == "cancelled" and data.reason == "late_event":
            standing[data.clock_id] = None
            continue
        met_at = parse_rfc3339(data.met_at) if kind == "met" else 0
        due = parse_rfc3339(data.due_at)
        outcome = (kind, due, round(data.target_s * SECOND), met_at)
        assert before is None or before[1] != outcome, "the same outcome told twice"
        standing[data.clock_id] = ((data.metric, parse_rfc3339(data.started_at), data.clock_id), outcome)
    return {found[0]: found[1] for found in standing.values() if found is not None}
