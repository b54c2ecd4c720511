"""The router's recorded inputs, decided again: the same events and versions must give the same decisions, byte for byte (contract §6.7).

A row of the decision log is one unit of work: its ``now``, ranges of records, timers that fired. ``Replay`` keeps the world that the rows
before it have made, folds in the records of its lanes that decided nothing by themselves, and decides. What it says is compared with
the log's ids by the caller, and by its bytes with what was recorded on ``routing.v1`` and ``shops.v1``.

A range whose ends are equal says how far a topic of the unit's lanes had been read. Rows of earlier releases lack them: there the
watermark says it, which may leave out what was read after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from deskline.config.book import ConfigBook
from deskline.records import AGENTS, CONVERSATIONS, REPLIES, SLA, Event, Output
from deskline_router.catalog import BookCatalog
from deskline_router.model import Action, Agent, Conversation, Customer, Request, ShopState, Status
from deskline_router.policy import StatusChange, Unit, World, decide
from deskline_router.policy.conversation import HANDLERS
from deskline_router.telling import id_of, output, pause_id, pause_output, read, surge_id, surge_output

TOPICS: Final = (CONVERSATIONS, REPLIES, SLA)
"""In the order in which they count within a lane."""
Place = tuple[str, int]
"""(topic, partition)"""


class Row(NamedTuple):
    """One unit, as the decision log has it."""

    seq: int
    now: int
    inputs: Sequence[tuple[str, int, int, int]]
    timers: Sequence[tuple[str, int]]
    watermarks: Mapping[int, int]
    agents_watermark: int
    agents_fresh: bool
    outputs: Sequence[str]
    actions: Sequence[Action] = ()
    """What people ordered."""

    def lanes(self) -> list[int]:
        """Of its records, its timers, and the conversations that people ordered something about."""
        found = [partition for topic, partition, _, _ in self.inputs if topic != AGENTS]
        found += [lane for _, lane in self.timers]
        found += [action.lane for action in self.actions if action.lane is not None and action.subject is not None]
        return list(dict.fromkeys(found))


class Saying(NamedTuple):
    """An output: its id and its bytes."""

    id: str
    value: bytes


class State(msgspec.Struct):
    """Everything that the next row depends on; MessagePack in a file between two nights."""

    seq: int
    """Of the last row that it contains."""
    now: int
    agents: list[Agent]
    requests: list[Request]
    shops: list[ShopState]
    customers: list[Customer]
    conversations: dict[str, Conversation]
    positions: dict[str, int]
    """``topic/partition`` → next offset."""


class Replay:
    def __init__(self, book: ConfigBook, state: State | None = None) -> None:
        """Without a state: from the first row that there ever was."""
        self._catalog = BookCatalog(book)
        self.world = World(self._catalog)
        self._conversations: dict[str, Conversation] = {}
        self._customers: dict[tuple[str, str], Customer] = {}
        self.positions: dict[Place, int] = {}
        self.seq, self.now = 0, 0
        if state is not None:
            self._restore(state)

    def _restore(self, state: State) -> None:
        self.seq, self.now = state.seq, state.now
        self._catalog.move_to(state.now)
        for shop in state.shops:
            self.world.put_shop(shop)
        for agent in state.agents:
            self.world.put_agent(agent)
        for request in state.requests:
            self.world.put_request(request)
        self.world.pending_shops.update(self.world.queues)
        self._conversations = state.conversations
        self._customers = {(one.shop_id, one.customer_id): one for one in state.customers}
        for name, offset in state.positions.items():
            topic, _, partition = name.rpartition("/")
            self.positions[topic, int(partition)] = offset

    def state(self) -> State:
        world = self.world
        return State(
            self.seq,
            self.now,
            list(world.agents.values()),
            list(world.requests.values()),
            list(world.shops.values()),
            list(self._customers.values()),
            self._conversations,
            {f"{topic}/{partition}": offset for (topic, partition), offset in self.positions.items()},
        )

    def step(self, row: Row, before: Iterable[Event], events: Iterable[Event]) -> list[Saying]:
        """``before``: events of its lanes between the last rows' and its own, lane by lane, in the order of ``TOPICS``;
        ``events``: of its ranges, in their order. Rows come by ``seq`` without a gap.
        """
        if row.seq != self.seq + 1:
            raise ValueError(f"row {row.seq} does not follow row {self.seq}")
        if self._catalog.move_to(row.now):
            self.world.configuration_changed()
        idle = [(event.partition, read(event)) for event in before if counts(event)]
        if idle:
            self._load(event.event.subject for _, event in idle)
            self.world.customers = None
            decide(self.world, Unit(now=row.now, events=idle, locked=False))
        statuses, own = [], []
        for event in events:
            if event.topic == AGENTS:
                statuses.append(status_of(event))
            elif counts(event):
                own.append((event.partition, read(event)))
        world = self.world
        ordered = [action.subject for action in row.actions if action.lane is not None and action.subject is not None]
        self._load([*(item.event.subject for _, item in own), *(subject for subject, _ in row.timers), *ordered])
        world.customers = self._customers
        decide(
            world,
            Unit(
                now=row.now,
                statuses=statuses,
                events=own,
                due=dict(row.timers),
                watermarks=row.watermarks,
                agents_watermark=row.agents_watermark,
                agents_fresh=row.agents_fresh,
                actions=row.actions,
                lane=min(row.watermarks, default=0),
            ),
        )
        for key, (agent_id, at) in world.served.items():
            known = self._customers.setdefault(key, Customer(*key))
            known.last_agent, known.last_agent_at = agent_id, at
        self.seq, self.now = row.seq, row.now
        return [
            *(_said(output(one, id_of(one)), id_of(one)) for one in world.emissions),
            *(_said(pause_output(pause, pause_id(pause)), pause_id(pause)) for pause in world.pauses),
            *(_said(surge_output(word, surge_id(word)), surge_id(word)) for word in world.surges),
        ]

    def _load(self, subjects: Iterable[str]) -> None:
        self.world.conversations = {
            subject: self._conversations.setdefault(subject, Conversation()) for subject in subjects
        }


def _said(told: Output, identity: str) -> Saying:
    return Saying(identity, told.value or b"")


def counts(event: Event) -> bool:
    """What the service hands to its policy (``handler.Router.process``)."""
    if event.topic == CONVERSATIONS:
        return True
    return event.type in HANDLERS and (event.topic != SLA or bool(event.data.actions))


def status_of(event: Event) -> StatusChange:
    data = event.data
    return StatusChange(
        event.subject, Status(data.status), data.capacity, event.id, event.at, event.offset, event.coordinates
    )


class Difference(NamedTuple):
    """An output that is not the recorded one."""

    seq: int
    id: str
    what: str


def compared(row: Row, said: Sequence[Saying]) -> list[Difference]:
    """By ids and order; bytes are compared where the records are."""
    wanted, got = list(row.outputs), [one.id for one in said]
    if wanted == got:
        return []
    found = [Difference(row.seq, name, "recorded, not decided again") for name in wanted if name not in set(got)]
    found += [Difference(row.seq, name, "decided now, not recorded") for name in got if name not in set(wanted)]
    return found or [Difference(row.seq, wanted[0], "the same outputs in another order")]


def parts(recorded: bytes, said: bytes) -> str:
    """Which parts of an event differ, and how: numbers and ids; the router's events hold nothing that anybody wrote."""
    found: list[str] = []
    _parts("", msgspec.json.decode(recorded), msgspec.json.decode(said), found)
    return "; ".join(found[:5]) or "only in how it is written"


def _parts(path: str, recorded: Any, said: Any, found: list[str]) -> None:
    if isinstance(recorded, dict) and isinstance(said, dict):
        for name in sorted(recorded.keys() | said.keys()):
            _parts(f"{path}.{name}", recorded.get(name), said.get(name), found)
    elif recorded != said:
        found.append(f"{path[1:]} was {recorded!r:.80}, is {said!r:.80}")
