"""Drives the router's pure core by hand: events in, one unit of work each, what it says out. Time is the driver's."""

from collections.abc import Iterable
from typing import Any

from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.book import ConfigBook
from deskline.config.documents import (
    Agent,
    AgentsDocument,
    CalendarsDocument,
    LimitsDocument,
    RoutingDocument,
    SlaDocument,
    default_document,
)
from deskline.events.models import (
    AssignmentAccepted,
    AssignmentDeclined,
    Author,
    ComplaintClosed,
    ComplaintOpened,
    ConversationClosed,
    Customer,
    HandoverRequested,
    MessageIgnored,
    MessageReceived,
    MessageSent,
    ReplyIssued,
    SlaBreached,
    TransferRequested,
    TransferTarget,
)
from deskline.events.wire import new
from deskline.records import CONVERSATIONS, REPLIES, SLA, Event
from deskline_router.catalog import BookCatalog
from deskline_router.handler import may_decide
from deskline_router.model import (
    Action,
    ActionKind,
    Conversation,
    Emission,
    Input,
    Outcome,
    Request,
    Status,
    SurgeWord,
    Told,
)
from deskline_router.model import Customer as Recorded
from deskline_router.policy import StatusChange, Unit, World, decide, wakes_at
from deskline_router.policy.agents import grace_ends
from deskline_router.policy.conversation import due, owner
from deskline_router.telling import id_of, output, pause_id, pause_output, read, surge_id, surge_output

SHOP = "shop-1"
START = parse_rfc3339("2026-11-25T09:00:00Z")


def at(seconds: float) -> int:
    return START + round(seconds * SECOND)


class Driver:
    """``t`` is seconds since START: event time, broker time and the wall clock, unless a call says otherwise."""

    def __init__(
        self,
        agents: Iterable[Agent] = (),
        routing: RoutingDocument | None = None,
        limits: LimitsDocument | None = None,
        *,
        calendars: CalendarsDocument | None = None,
        sla: SlaDocument | None = None,
    ) -> None:
        self.book = ConfigBook()
        self.book.install("_default", "agents", AgentsDocument(agents=tuple(agents)))
        self.book.install("_default", "routing", routing or RoutingDocument())
        self.book.install("_default", "limits", limits or LimitsDocument())
        self.book.install("_default", "calendars", calendars or default_document("calendars"))
        self.book.install("_default", "sla", sla or SlaDocument())
        self.catalog = BookCatalog(self.book)
        self.world = World(self.catalog)
        self.states: dict[str, Conversation] = {}
        self.customers: dict[tuple[str, str], Recorded] = {}
        self.surges: list[SurgeWord] = []
        self.t = 0.0
        self.fresh = True
        self.said: list[Emission] = []
        self.inputs: list[Event] = []
        self.statuses: list[StatusChange] = []
        self.marks: list[tuple[int, Emission]] = []
        """What was said, each with the number of statuses that had been read by then."""
        self.read_at: list[tuple[Event, int]] = []
        """What was read, each with the number of emissions before its unit."""
        self._offsets: dict[str, int] = {}
        self._number = 0
        self._batch: list[Event] | None = None

    # --- units --------------------------------------------------------------------------------------------------

    def unit(
        self,
        events: Iterable[Event] = (),
        statuses: Iterable[StatusChange] = (),
        due: Iterable[str] = (),
        actions: Iterable[Action] = (),
    ) -> list[Emission]:
        events, statuses, due = list(events), list(statuses), list(due)
        now = at(self.t)
        if self.catalog.move_to(now):
            self.world.configuration_changed()
        actions = list(actions)
        subjects = (
            {event.subject for event in events} | set(due) | {a.subject for a in actions if a.subject is not None}
        )
        self.world.conversations = {subject: self.states.setdefault(subject, Conversation()) for subject in subjects}
        unit = Unit(
            now=now,
            statuses=statuses,
            events=[(0, read(event)) for event in events],
            due=dict.fromkeys(due, 0),
            watermarks={0: now},
            agents_watermark=now,
            agents_fresh=self.fresh,
            actions=actions,
        )
        wake = wakes_at(self.world)
        locked = (
            bool(due or statuses or self.world.pending_shops)
            or (wake is not None and wake <= now)
            or not events
            or any(
                may_decide(self.world, item, self.states[item.event.subject], self.customers) for _, item in unit.events
            )
        )
        self.world.customers = self.customers if locked else None
        decide(self.world, unit._replace(locked=locked, agents_fresh=self.fresh and locked))
        for (shop_id, customer_id), (agent_id, when) in self.world.served.items():
            known = self.customers.setdefault((shop_id, customer_id), Recorded(shop_id, customer_id))
            known.last_agent, known.last_agent_at = agent_id, when
        if not locked:
            assert (self.world.dirty_requests, self.world.dirty_agents) == ({}, set())
        for word in self.world.surges:
            surge_output(word, surge_id(word))
            self.surges.append(word)
        for pause in self.world.pauses:
            pause_output(pause, pause_id(pause))
        said = list(self.world.emissions)
        for emission in said:
            output(emission, id_of(emission))  # the wire takes it
        self.read_at += [(event, len(self.said)) for event in events]
        self.said += said
        self.inputs += events
        self.statuses += statuses
        self.marks += [(len(self.statuses), emission) for emission in said]
        return said

    def batch(self) -> "Driver":
        """Gather the events of the following calls; ``flush`` makes one unit of them."""
        self._batch = []
        return self

    def flush(self) -> list[Emission]:
        events, self._batch = self._batch or [], None
        return self.unit(events)

    def pass_to(self, t: float) -> list[Emission]:
        """Let time go on to ``t``, firing every timer at its instant."""
        said: list[Emission] = []
        while (instant := self.next_timer()) is not None and instant <= at(t):
            self.t = max(self.t, (instant - START) / SECOND)
            said += self.unit(due=self._due(at(self.t)))
        self.t = max(self.t, t)
        return said

    def next_timer(self) -> int | None:
        return min((instant for _, instant in self._timers()), default=None)

    def _due(self, watermark: int) -> list[str]:
        return sorted({subject for subject, instant in self._timers() if instant <= watermark})

    def _timers(self) -> Iterable[tuple[str, int]]:
        for subject, state in self.states.items():
            if (instant := due(state)) is not None:
                yield subject, instant
        for subject, request in self.world.requests.items():
            if request.due is not None:
                yield subject, request.due
            if (ends := grace_ends(self.world, request)) is not None:
                yield subject, ends

    # --- what is there --------------------------------------------------------------------------------------------

    def request(self, subject: str = "c1") -> Request:
        return self.world.requests[subject]

    def owner(self, subject: str = "c1") -> str | None:
        return owner(self.world, self.states[subject], subject)

    # --- events ---------------------------------------------------------------------------------------------------

    def event(
        self,
        topic: str,
        kind: str,
        subject: str,
        data: Any,
        *,
        time: float | None = None,
        event_id: str | None = None,
        source: str | None = None,
    ) -> Event:
        self._number += 1
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        ours = {CONVERSATIONS: "/gateway/web", REPLIES: "/deskline/autoreply", SLA: "/deskline/sla"}[topic]
        happened = at(self.t if time is None else time)
        return Event(
            f"{kind}.v1",
            event_id or f"e{self._number}",
            source or ours,
            subject,
            happened,
            False,
            data,
            topic,
            0,
            offset,
            at(self.t),
        )

    def _give(self, event: Event) -> list[Emission]:
        if self._batch is not None:
            self._batch.append(event)
            return []
        return self.unit([event])

    def received(self, message: str, subject: str = "c1", time: float | None = None, **customer: Any) -> list[Emission]:
        customer_id = customer.pop("customer", "k1")
        extra = {name: customer.pop(name) for name in ("channel", "entry_point", "language") if name in customer}
        data = new(
            MessageReceived,
            shop_id=SHOP,
            message_id=message,
            text="您好",
            customer=new(Customer, customer_id=customer_id, **customer),
            **({"channel": "web"} | extra),
        )
        return self._give(self.event(CONVERSATIONS, "message.received", subject, data, time=time))

    def sent(
        self, agent: str, subject: str = "c1", time: float | None = None, kind: str = "agent", to: str | None = None
    ) -> list[Emission]:
        self._number += 1
        data = new(
            MessageSent,
            shop_id=SHOP,
            message_id=f"a{self._number}",
            author=new(Author, kind=kind, id=agent),
            text="好的",
            in_reply_to=to,
        )
        return self._give(self.event(CONVERSATIONS, "message.sent", subject, data, time=time))

    def handover(self, message: str, subject: str = "c1", since: float | None = None, **fields: Any) -> list[Emission]:
        data = new(
            HandoverRequested,
            shop_id=SHOP,
            rules_version=1,
            routing_offset=0,
            message_id=message,
            waiting_since=rfc3339(at(self.t if since is None else since)),
            reason="no_match",
            **({"skills": (), "priority": 50, "flags": ()} | fields),
        )
        return self._give(self.event(REPLIES, "handover.requested", subject, data))

    def asked(self, message: str, subject: str = "c1", **fields: Any) -> list[Emission]:
        """A message and its hand-over, in two units."""
        return self.received(message, subject) + self.handover(message, subject, **fields)

    def replied(
        self, message: str, subject: str = "c1", handover: bool = False, deliver_by: float | None = None
    ) -> list[Emission]:
        data = new(
            ReplyIssued,
            shop_id=SHOP,
            rules_version=1,
            routing_offset=0,
            reply_id=f"r-{message}",
            in_reply_to=message,
            text="已收到",
            kind="rule",
            handover=handover,
            deliver_by=rfc3339(at(self.t + 60 if deliver_by is None else deliver_by)),
        )
        return self._give(self.event(REPLIES, "reply.issued", subject, data))

    def ignored(self, message: str, reason: str, subject: str = "c1") -> list[Emission]:
        data = new(MessageIgnored, shop_id=SHOP, rules_version=1, routing_offset=0, message_id=message, reason=reason)
        return self._give(self.event(REPLIES, "message.ignored", subject, data))

    def accepted(self, agent: str, assignment: str, subject: str = "c1") -> list[Emission]:
        data = new(AssignmentAccepted, shop_id=SHOP, assignment_id=assignment, agent_id=agent)
        return self._give(self.event(CONVERSATIONS, "assignment.accepted", subject, data))

    def declined(self, agent: str, assignment: str, subject: str = "c1") -> list[Emission]:
        data = new(AssignmentDeclined, shop_id=SHOP, assignment_id=assignment, agent_id=agent)
        return self._give(self.event(CONVERSATIONS, "assignment.declined", subject, data))

    def transfer(self, agent: str, subject: str = "c1", time: float | None = None, **to: Any) -> list[Emission]:
        target = new(TransferTarget, **to) if to else None
        data = new(TransferRequested, shop_id=SHOP, by_agent_id=agent, to=target)
        return self._give(self.event(CONVERSATIONS, "transfer.requested", subject, data, time=time))

    def complaint(self, complaint: str, subject: str = "c1", time: float | None = None) -> list[Emission]:
        data = new(ComplaintOpened, shop_id=SHOP, complaint_id=complaint)
        return self._give(self.event(CONVERSATIONS, "complaint.opened", subject, data, time=time))

    def complaint_closed(self, complaint: str, subject: str = "c1", time: float | None = None) -> list[Emission]:
        data = new(ComplaintClosed, shop_id=SHOP, complaint_id=complaint)
        return self._give(self.event(CONVERSATIONS, "complaint.closed", subject, data, time=time))

    def closed(self, subject: str = "c1", time: float | None = None) -> list[Emission]:
        data = new(ConversationClosed, shop_id=SHOP, resolved=True)
        return self._give(self.event(CONVERSATIONS, "conversation.closed", subject, data, time=time))

    def breached(self, actions: tuple[str, ...], subject: str = "c1", agent: str | None = None) -> list[Emission]:
        instant = rfc3339(at(self.t))
        data = new(
            SlaBreached,
            clock_id=f"k{self._number}",
            metric="agent_response",
            shop_id=SHOP,
            policy_id="p",
            policy_version=1,
            tier="regular",
            started_at=instant,
            due_at=instant,
            target_s=1,
            breached_at=instant,
            actions=actions,
            agent_id=agent,
        )
        return self._give(self.event(SLA, "sla.breached", subject, data))

    def status(self, agent: str, status: str, time: float | None = None, capacity: int | None = None) -> list[Emission]:
        offset = self._offsets.get("agents.v1", 0)
        self._offsets["agents.v1"] = offset + 1
        happened = at(self.t if time is None else time)
        change = StatusChange(agent, Status(status), capacity, f"s{offset}", happened, offset, f"agents.v1/0/{offset}")
        return self.unit(statuses=[change])

    def act(self, kind: ActionKind, actor: str, subject: str | None = None, **fields: Any) -> Outcome:
        """What a person orders; what it made the router say is in ``self.said``."""
        self._number += 1
        name = f"{self._number:032x}"
        lane = None if subject is None else 0
        self.unit(actions=[Action(name, kind, actor, at(self.t), subject, lane, **fields)])
        return self.world.outcomes[name]

    def online(self, *agents: str) -> "Driver":
        for agent in agents:
            self.status(agent, "online")
        return self


def told(said: Iterable[Emission]) -> list[str]:
    """In one word each: ``queued``, ``assigned anna``, ``revoked declined``."""
    words = []
    for emission in said:
        name = emission.type.split(".")[1]
        if emission.type is Told.ASSIGNED:
            name += f" {emission.data['agent_id']}"
        elif "reason" in emission.data:
            name += f" {emission.data['reason']}"
        words.append(name)
    return words


def agent(agent_id: str, **fields: Any) -> Agent:
    return Agent(agent_id=agent_id, **fields)


def given(event: Event) -> Input:
    return read(event)
