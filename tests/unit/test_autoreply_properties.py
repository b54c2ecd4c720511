"""Random conversations: one outcome each, in order; the same again in any interleaving; naive oracles of the contract's words.

A history is a list of steps in broker order, for both topics; the builder skips a step that the router or the gateway would not
take there (an assignment without a request, say). Event times are unique to the microsecond, so that no oracle has to
break ties; the tables have those.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.autoreply import SUBJECT, Log, Service, book, opened_by, us

from deskline.clock import parse_rfc3339, rfc3339
from deskline.config.documents import LimitsDocument
from deskline.records import Event

TEXTS = ["发货", "发货 ", "甲", "我要投诉", "我要退款", "转人工", " ", "物流呢"]
KINDS = [
    "says",
    "says",
    "says",
    "says",
    "again",
    "twice",
    "writes",
    "writes",
    "answers",
    "closes",
    "hands_on",
    "accepts",
    "queued",
    "queued",
    "assigned",
    "assigned",
    "offered",
    "ended",
    "released",
]


NEVER_OLD = 1e6
"""A patience for those who want to see the borders behind ``superseded``."""


class Step(NamedTuple):
    kind: str
    choice: int
    after: int
    """Seconds since the step before, on the broker's clock."""
    late: int
    """Seconds by which the event is older than its record."""


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.integers(0, 7),
        st.sampled_from([0, 0, 1, 1, 2, 5, 20, 45, 70, 400]),
        st.sampled_from([0, 0, 0, 0, 1, 6, 30]),
    ),
    min_size=6,
    max_size=40,
)
units = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 0, 0, 2, 4, 400])), max_size=30)


class Built(NamedTuple):
    conversations: list[Event]
    routing: list[Event]
    openers: dict[str, int]
    """request → event time of the message that opened it"""


class Builder:
    """Turns steps into two logs that the gateway and the router could have written."""

    def __init__(self) -> None:
        self.log = Log()
        self.conversations: list[Event] = []
        self.routing: list[Event] = []
        self.openers: dict[str, int] = {}
        self.request: str | None = None
        self.live: tuple[str, str] | None = None
        self.offers: list[tuple[str, str]] = []
        self.clock = 0.0

    def build(self, history: Sequence[Step]) -> Built:
        for number, step in enumerate(history):
            self.clock += step.after + 0.001
            at = self.clock - step.late + number * 1e-5
            getattr(self, step.kind, self._plain)(step, at)
        return Built(self.conversations, self.routing, self.openers)

    def _plain(self, step: Step, at: float) -> None:
        agent = ("anna", "bo")[step.choice % 2]
        broker = self.clock
        made = {
            "writes": lambda: self.log.writes(at, agent, broker=broker, kind="bot" if step.choice == 7 else "agent"),
            "closes": lambda: self.log.closes(at, broker),
            "hands_on": lambda: self.log.hands_on(at, agent),
        }
        self.conversations.append(made[step.kind]())

    def _messages(self) -> list[Event]:
        return [event for event in self.conversations if event.type == "message.received.v1"]

    def says(self, step: Step, at: float) -> None:
        self.conversations.append(self.log.says(at, TEXTS[step.choice], broker=self.clock))

    def again(self, step: Step, at: float) -> None:
        """Names a message that is answered, read or not yet."""
        message_id = f"early-{step.choice}"
        if not any(event.data.message_id == message_id for event in self._messages()):
            self.conversations.append(self.log.says(at, TEXTS[step.choice], message_id, broker=self.clock))

    def twice(self, step: Step, at: float) -> None:
        if messages := self._messages():
            of = messages[step.choice % len(messages)]
            self.conversations.append(self.log.says(at, "别的", of.data.message_id, broker=self.clock))

    def answers(self, step: Step, at: float) -> None:
        messages = self._messages()
        to = f"early-{step.choice}" if step.choice > 3 or not messages else messages[-1].data.message_id
        self.conversations.append(self.log.writes(at, ("anna", "bo")[step.choice % 2], to=to, broker=self.clock))

    def accepts(self, step: Step, at: float) -> None:
        if self.offers:
            assignment, agent = self.offers[step.choice % len(self.offers)]
            self.conversations.append(self.log.accepts(at, assignment, agent, self.clock))

    def queued(self, step: Step, at: float) -> None:
        messages = self._messages()
        if self.request is None and messages:
            place = len(messages) - 1 - step.choice % min(3, len(messages))
            opener = messages[place]
            request = opened_by(opener.data.message_id)
            if request not in self.openers:
                self.request = request
                self.openers[request] = opener.at
                event = self.log.queued(self.clock, request, since=0)
                since = opener.at
                if step.choice % 2:
                    # Contract §4, waiting_since: of the message and those before it in the partition, after the last
                    # close that stands before it there.
                    closed = closed_before(self.conversations[: self.conversations.index(opener)])
                    since = min([since, *(m.at for m in messages[max(0, place - 2) : place] if m.at > closed)])
                data = type(event.data)(**{**_fields(event.data), "waiting_since": rfc3339(since)})
                self.routing.append(event._replace(data=data))

    def assigned(self, step: Step, at: float, *, offered: bool = False) -> None:
        if self.request is not None and self.live is None:
            assignment, agent = f"a-{len(self.routing)}", ("anna", "bo")[step.choice % 2]
            self.live = (assignment, agent)
            self.offers += [self.live] if offered else []
            self.routing.append(self.log.assigned(self.clock + 2e-4, self.request, assignment, agent, offered=offered))

    def offered(self, step: Step, at: float) -> None:
        self.assigned(step, at, offered=True)

    def ended(self, step: Step, at: float) -> None:
        if self.request is not None and self.live is not None:
            make = self.log.revoked if step.choice % 2 else self.log.expired
            self.routing.append(make(self.clock + 2e-4, self.request, *self.live))
            self.live = None

    def released(self, step: Step, at: float) -> None:
        if self.request is not None:
            reason = ("closed", "queue_full", "agent_offline")[step.choice % 3]
            self.routing.append(self.log.released(self.clock + 2e-4, self.request, reason))
            self.request = self.live = None


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


class Ran(NamedTuple):
    """What came out for one message, and what had been read by then."""

    message: Event
    values: list[bytes]
    outcomes: list[dict[str, Any]]
    before: list[Event]
    """Of conversations.v1, without duplicates."""
    routing: list[Event]


def _first(events: Iterable[Event]) -> list[Event]:
    seen: set[str] = set()
    kept = []
    for event in events:
        if event.type == "message.received.v1":
            if event.data.message_id in seen:
                continue
            seen.add(event.data.message_id)
        kept.append(event)
    return kept


def run(built: Built, cut: Sequence[tuple[int, int, int]], patience_s: float = 3) -> list[Ran]:
    """Read both logs in the given units, then the rest in one."""
    service = Service(book(limits=LimitsDocument(patience_s=patience_s)))
    ran: list[Ran] = []
    read_routing = read = 0
    for more_routing, more, delay in [*cut, (len(built.routing), len(built.conversations), 1)]:
        routing = built.routing[read_routing : read_routing + more_routing]
        conversations = built.conversations[read : read + more]
        if not routing and not conversations:
            continue
        read_routing += len(routing)
        newest = max(event.broker_at for event in (*routing, *conversations))
        known = len(service.values)
        outcomes = service.unit(*routing, *conversations, now=(newest - us(0)) / 1e6 + delay)
        values = service.values[known:]
        for index, event in enumerate(conversations, start=read):
            before = _first(built.conversations[:index])
            if event.type == "message.received.v1" and event in _first(built.conversations[: index + 1]):
                count = _of(outcomes, event)
                ran.append(Ran(event, values[:count], outcomes[:count], before, built.routing[:read_routing]))
                outcomes, values = outcomes[count:], values[count:]
        assert not outcomes, "an outcome of nothing, or out of order"
        read += len(conversations)
    return ran


def _of(outcomes: list[dict[str, Any]], message: Event) -> int:
    """How many of the first outcomes are about this message: exactly one, or a holding reply and its hand-over."""
    about = [data.get("in_reply_to") or data["message_id"] for data in (outcome["data"] for outcome in outcomes)]
    count = 0
    while count < len(about) and about[count] == message.data.message_id:
        count += 1
    kinds = [outcome["type"] for outcome in outcomes[:count]]
    assert kinds in (
        ["reply.issued.v1"],
        ["handover.requested.v1"],
        ["message.ignored.v1"],
        ["reply.issued.v1", "handover.requested.v1"],
    ), kinds
    if "reply.issued.v1" in kinds:
        assert outcomes[0]["data"]["handover"] is (count == 2)
    return count


@given(steps, units)
@settings(max_examples=300, deadline=None)
def test_every_message_has_one_outcome_and_they_stand_in_order(history, cut):
    built = Builder().build(history)
    ran = run(built, cut)
    assert [r.message for r in ran] == [e for e in _first(built.conversations) if e.type == "message.received.v1"]
    for r in ran:
        for outcome in r.outcomes:
            assert parse_rfc3339(outcome["time"]) >= r.message.at
            assert outcome["data"]["routing_offset"] == len(r.routing)


@given(steps, units)
@settings(max_examples=300, deadline=None)
def test_routing_offset_and_time_are_all_that_a_replay_needs(history, cut):
    """Read again record by record, routing as late as possible: the same bytes (contract §6.7)."""
    built = Builder().build(history)
    again = Service()
    read = 0
    events = iter(built.conversations)
    for r in run(built, cut):
        for event in events:
            if event is r.message:
                break
            again.unit(event)
        offset, time = r.outcomes[0]["data"]["routing_offset"], parse_rfc3339(r.outcomes[0]["time"])
        for event in built.routing[read:offset]:
            again.unit(event)
        read = max(read, offset)
        known = len(again.values)
        again.unit(r.message, now=(time - us(0)) / 1e6)
        assert again.values[known:] == r.values


@given(steps, units)
@settings(max_examples=200, deadline=None)
def test_state_survives_the_database_at_every_unit(history, cut):
    import msgspec

    from deskline_autoreply.handler import State

    built = Builder().build(history)
    kept, fresh = Service(), Service()
    for event in [*built.routing, *built.conversations]:
        kept.unit(event)
        fresh.unit(event)
        fresh.state = msgspec.msgpack.decode(msgspec.msgpack.encode(fresh.state), type=State)
    assert fresh.values == kept.values


# --- the contract's words, naively ----------------------------------------------------------------------------------------


def places(before: Sequence[Event]) -> dict[int, tuple[int, int]]:
    """Offset → (event time, order at that instant): an agent's message directly behind the message it answers."""
    messages = {e.data.message_id: e for e in before if e.type == "message.received.v1"}
    found = {e.offset: (e.at, 2 * e.offset) for e in before}
    for e in before:
        answered = messages.get(e.data.in_reply_to) if e.type == "message.sent.v1" else None
        if answered is not None and e.at <= answered.at:
            found[e.offset] = (answered.at, 2 * answered.offset + 1)
    return found


def closed_before(before: Sequence[Event]) -> int:
    return max((e.at for e in before if e.type == "conversation.closed.v1"), default=0)


def naive_waiting_since(r: Ran, outcomes: dict[str, list[dict[str, Any]]]) -> int:
    closed = closed_before(r.before)
    place = places([*r.before, r.message])
    agents = [e for e in r.before if e.type == "message.sent.v1" and e.data.author.kind == "agent"]
    messages = [e for e in r.before if e.type == "message.received.v1"]
    times = [r.message.at]
    for x in messages:
        said = outcomes[x.data.message_id]
        ignored = said[0]["data"].get("reason") in ("empty", "duplicate_text", "cooldown")
        replied = any(
            y.offset >= x.offset and o["type"] == "reply.issued.v1" and not o["data"]["handover"]
            for y in messages
            for o in outcomes[y.data.message_id]
        )
        answered = replied or any(place[x.offset] < place[s.offset] for s in agents)
        if x.at > closed and not ignored and not answered:
            times.append(x.at)
    return min(times)


@given(steps, units)
@settings(max_examples=400, deadline=None)
def test_waiting_since_is_what_the_contract_says(history, cut):
    outcomes: dict[str, list[dict[str, Any]]] = {}
    for r in run(Builder().build(history), cut, NEVER_OLD):
        outcomes[r.message.data.message_id] = r.outcomes
        if r.outcomes[-1]["type"] == "handover.requested.v1":
            assert parse_rfc3339(r.outcomes[-1]["data"]["waiting_since"]) == naive_waiting_since(r, outcomes)


class Owning:
    """Steps through everything read, by event time, and keeps who owns: a machine where the code has intervals."""

    def __init__(self, r: Ran, openers: dict[str, int]) -> None:
        self.r, self.openers = r, openers
        self.closed = closed_before(r.before)
        self.owner: str | None = None
        self.by: str | None = None
        """The assignment by which he owns; None: by writing."""
        self.offer: tuple[str, str] | None = None
        self.request: str | None = None
        self.open = False

    def owned(self) -> bool:
        """Whether somebody owns at the message, or comes to own later, as far as read."""
        r = self.r
        place = places([*r.before, r.message])
        events = [(*self.instant(e, place), e) for e in (*r.before, r.message)]
        events += [((e.at, 2 * e.offset), 1, e) for e in r.routing]
        events.sort(key=lambda item: (item[0][0], item[1], item[0][1]))
        after = False
        for _, _, event in events:
            self.step(event)
            after = after or event is r.message
            if after and self.owner is not None:
                return True
        return False

    def instant(self, e: Event, place: dict[int, tuple[int, int]]) -> tuple[tuple[int, int], int]:
        """Where an event of conversations.v1 stands. Who accepts names his offer, so he accepts when it has been made, whatever his clock says."""
        if e.type == "assignment.accepted.v1":
            for offer in self.r.routing:
                named = getattr(offer.data, "assignment_id", None) == e.data.assignment_id
                if named and offer.type == "conversation.assigned.v1" and offer.at > e.at:
                    return (offer.at, 2 * offer.offset + 1), 1
        return place[e.offset], 0

    def step(self, e: Event) -> None:
        match e.type:
            case "message.received.v1":
                self.open = self.open or e.at > self.closed
            case "conversation.closed.v1":
                self.owner = None
            case "conversation.queued.v1":
                if self.openers[e.data.request_id] > self.closed:
                    self.request = e.data.request_id
            case "conversation.assigned.v1" if e.data.request_id == self.request:
                if e.data.mode == "assigned":
                    self.owner, self.by = e.data.agent_id, e.data.assignment_id
                else:
                    self.offer = (e.data.assignment_id, e.data.agent_id)
            case "assignment.expired.v1" | "assignment.revoked.v1":
                self.end(e.data.assignment_id)
            case "conversation.released.v1" if e.data.request_id == self.request:
                self.request = None
                if self.by is not None:
                    self.end(self.by)
                self.offer = None
            case "assignment.accepted.v1":
                pair = (e.data.assignment_id, e.data.agent_id)
                told = [x for x in self.r.routing if getattr(x.data, "assignment_id", None) == e.data.assignment_id]
                unread = not told and all(x.broker_at < e.broker_at for x in self.r.routing)
                if e.at > self.closed and (pair == self.offer or unread):
                    self.owner, self.by = e.data.agent_id, e.data.assignment_id
                    self.offer = None
            case "message.sent.v1" if e.data.author.kind == "agent":
                self.writes(e.data.author.id, unread=all(x.broker_at < e.broker_at for x in self.r.routing))
            case "transfer.requested.v1" if e.data.by_agent_id == self.owner:
                self.owner = None
            case _:
                pass

    def writes(self, agent: str, *, unread: bool) -> None:
        """``unread``: what routing.v1 says of this instant; an open request may have become his."""
        if self.offer is not None and self.offer[1] == agent:
            self.owner, self.by = agent, self.offer[0]
            self.offer = None
        elif self.owner is None and (self.request is None or unread) and self.open:
            self.owner, self.by = agent, None

    def end(self, assignment: str) -> None:
        if self.by == assignment:
            self.owner = self.by = None
        if self.offer is not None and self.offer[0] == assignment:
            self.offer = None


@given(steps, units)
@settings(max_examples=500, deadline=None)
def test_nobody_is_answered_over_an_owners_head(history, cut):
    """Ignored as human_owned exactly where the machine has an owner at the message or later (rule 10)."""
    built = Builder().build(history)
    for r in run(built, cut, NEVER_OLD):
        reason = r.outcomes[0]["data"].get("reason")
        if reason in ("superseded", "empty"):
            continue
        assert (reason == "human_owned") == Owning(r, built.openers).owned()
        assert r.outcomes[0]["subject"] == SUBJECT
