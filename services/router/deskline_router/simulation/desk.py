"""The router as a desk: each happening is the event that the service would read, and ``policy.decide`` decides. Pure.

One happening is one unit of work, at its instant: what the service does when it is not behind. Timers fire at their instants,
and ``wakes_at`` is the service's own.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol

from deskline.clock import rfc3339
from deskline.events.models import (
    AssignmentAccepted,
    ConversationClosed,
    Customer,
    HandoverRequested,
    MessageReceived,
)
from deskline.events.wire import new
from deskline.records import CONVERSATIONS, REPLIES, Event
from deskline_router.model import (
    Catalog,
    Conversation,
    Emission,
    Input,
    Status,
    Told,
)
from deskline_router.model import Customer as Recorded
from deskline_router.policy import StatusChange, Unit, World, decide, wakes_at
from deskline_router.simulation.engine import Given, Refused, Taken, Word
from deskline_router.simulation.model import Arrival

_GATEWAY: Final = "/gateway/simulation"
_AUTOREPLY: Final = "/deskline/autoreply"


class MovingCatalog(Catalog, Protocol):
    def move_to(self, now: int) -> bool: ...


class PolicyDesk:
    """``shop_id``: of arrivals that state none. ``seen``: is given what was told, unit by unit. ``customers``: what is
    recorded of some.
    """

    def __init__(
        self,
        catalog: MovingCatalog,
        shop_id: str,
        seen: Callable[[Sequence[Emission]], None] | None = None,
        customers: Iterable[Recorded] = (),
    ) -> None:
        self._catalog = catalog
        self._shop = shop_id
        self._seen = seen
        self.world = World(catalog)
        self._states: dict[str, Conversation] = {}
        self._customers = {(one.shop_id, one.customer_id): one for one in customers}
        self._shops: dict[str, str] = {}
        self._timers: list[tuple[int, str]] = []
        self._offset = 0
        self._wakes: int | None = None

    # --- happenings ---------------------------------------------------------------------------------------------

    def online(self, at: int, agent_id: str) -> list[Word]:
        return self._status(at, agent_id, Status.ONLINE)

    def away(self, at: int, agent_id: str) -> list[Word]:
        return self._status(at, agent_id, Status.AWAY)

    def offline(self, at: int, agent_id: str) -> list[Word]:
        return self._status(at, agent_id, Status.OFFLINE)

    def _status(self, at: int, agent_id: str, status: Status) -> list[Word]:
        self._offset += 1
        n = self._offset
        change = StatusChange(agent_id, status, None, f"s{n}", at, n, f"agents.v1/0/{n}")
        return self._unit(at, statuses=(change,))

    def arrive(self, at: int, arrival: Arrival) -> list[Word]:
        """A message, and its hand-over in the same instant."""
        shop = arrival.shop_id or self._shop
        self._shops[arrival.subject] = shop
        customer = new(
            Customer,
            customer_id=arrival.customer_id,
            tier=arrival.tier,
            total_spend=arrival.total_spend,
            average_order=arrival.average_order,
            order_count=arrival.orders,
            dedicated_agent_id=arrival.dedicated,
        )
        wrote = new(
            MessageReceived,
            shop_id=shop,
            message_id="m1",
            channel=arrival.channel,
            entry_point=arrival.entry_point,
            text="",
            customer=customer,
        )
        handed = new(
            HandoverRequested,
            shop_id=shop,
            rules_version=1,
            routing_offset=0,
            message_id="m1",
            waiting_since=rfc3339(at),
            reason="no_match",
            skills=arrival.skills,
            language=arrival.language,
            priority=arrival.priority,
            flags=arrival.flags,
        )
        return self._unit(
            at,
            (
                Input(self._event(at, CONVERSATIONS, "message.received.v1", arrival.subject, wrote)),
                Input(self._event(at, REPLIES, "handover.requested.v1", arrival.subject, handed), at),
            ),
        )

    def accept(self, at: int, given: Given) -> list[Word]:
        data = new(
            AssignmentAccepted,
            shop_id=self._shops[given.subject],
            assignment_id=given.assignment_id,
            agent_id=given.agent_id,
        )
        return self._unit(at, (Input(self._event(at, CONVERSATIONS, "assignment.accepted.v1", given.subject, data)),))

    def close(self, at: int, subject: str) -> list[Word]:
        words = self._unit(
            at,
            (Input(self._event(at, CONVERSATIONS, "conversation.closed.v1", subject, _closed(self._shops[subject]))),),
        )
        # Nobody writes in it again: what is known of its customer is kept.
        del self._states[subject], self._shops[subject]
        return words

    def _event(self, at: int, topic: str, kind: str, subject: str, data: Any) -> Event:
        self._offset += 1
        source = _GATEWAY if topic == CONVERSATIONS else _AUTOREPLY
        return Event(kind, f"e{self._offset}", source, subject, at, False, data, topic, 0, self._offset, at)

    # --- time ---------------------------------------------------------------------------------------------------

    def wakes_at(self) -> int | None:
        world = self.world
        while self._timers:
            instant, subject = self._timers[0]
            request = world.requests.get(subject)
            if request is not None and request.due == instant:
                return instant if self._wakes is None else min(instant, self._wakes)
            heapq.heappop(self._timers)
        return self._wakes

    def tick(self, at: int) -> list[Word]:
        due: dict[str, int] = {}
        while self._timers and self._timers[0][0] <= at:
            instant, subject = heapq.heappop(self._timers)
            request = self.world.requests.get(subject)
            if request is not None and request.due == instant:
                due[subject] = 0
        return self._unit(at, due=due)

    # --- one unit -----------------------------------------------------------------------------------------------

    def _unit(
        self,
        at: int,
        inputs: Sequence[Input] = (),
        statuses: Sequence[StatusChange] = (),
        due: Mapping[str, int] | None = None,
    ) -> list[Word]:
        world, states = self.world, self._states
        if self._catalog.move_to(at):
            world.configuration_changed()
        subjects = [item.event.subject for item in inputs] if due is None else list(due)
        conversations = {}
        for subject in subjects:
            state = states.get(subject)
            if state is None:
                state = states[subject] = Conversation()
            conversations[subject] = state
        world.conversations = conversations
        world.customers = self._customers
        decide(
            world,
            Unit(
                now=at,
                statuses=statuses,
                events=[(0, item) for item in inputs],
                due=due or {},
                watermarks={0: at},
                agents_watermark=at,
                agents_fresh=True,
            ),
        )
        for key, (agent_id, when) in world.served.items():
            known = self._customers.get(key)
            if known is None:
                known = self._customers[key] = Recorded(*key)
            known.last_agent, known.last_agent_at = agent_id, when
        for request in world.dirty_requests.values():
            instant = request.due
            if instant is not None:
                heapq.heappush(self._timers, (instant, request.subject))
        if self._seen is not None:
            self._seen(world.emissions)
        words = [word for emission in world.emissions if (word := _word(emission)) is not None]
        self._wakes = wakes_at(world)
        return words


def _word(emission: Emission) -> Word | None:
    told = emission.type
    if told is Told.ASSIGNED:
        data = emission.data
        return Given(emission.subject, data["agent_id"], data["assignment_id"], data["mode"] == "offered")
    if told is Told.REVOKED or told is Told.EXPIRED:
        return Taken(emission.subject, emission.data["agent_id"])
    if told is Told.RELEASED and emission.data["reason"] == "queue_full":
        return Refused(emission.subject)
    return None


@cache
def _closed(shop_id: str) -> Any:
    return new(ConversationClosed, shop_id=shop_id, resolved=True)
