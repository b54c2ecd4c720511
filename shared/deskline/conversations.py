"""Per-conversation state on top of the engine, for services whose decisions concern one conversation at a time.

A service gives a state type (a ``msgspec.Struct``), ``advance`` (pure: the state, this unit's events of that conversation,
and a context → outputs; it changes the state it is given, which belongs to the caller) and ``due`` (the next instant, µs,
at which ``advance`` must be called although no event came). The state is kept as one row per conversation:
``<schema>.conversations(subject, lane, due, body)``, and cached in memory while the lane is owned; the engine's fence
makes the cache safe. What else a decision wants written (``Context.effect``) is applied in the same transaction.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from deskline.config.book import ConfigBook
from deskline.postgres import Connection
from deskline.records import Event, Output
from deskline.state_store import StateStore, due_conversations
from deskline.work import Ripe, Tx, Work

S = TypeVar("S")

# Conversations decided between two looks at the event loop: at some 30 µs each, well under ten milliseconds.
_YIELD_EVERY: Final = 200
# Some decisions take milliseconds (a sentence vector); heartbeats and HTTP wait no longer than this and one such decision.
_YIELD_AFTER_S: Final = 0.005


def _dropped(_effect: object) -> None:
    """Outside the engine nothing is applied."""


class Context(NamedTuple):
    """What a decision may know beside the state and its events."""

    now: int
    """µs; the ``time`` of outputs is ``max(now, event time of the record answered)``."""
    watermark: int
    """Everything with a broker timestamp up to here has been read in this lane."""
    config: ConfigBook
    positions: Mapping[str, int]
    """topic → next offset to be read in this lane, after this unit."""
    lane: int
    ahead: Mapping[str, Sequence[Event]] = MappingProxyType({})
    """subject → events of a topic that was settled, by offset, this unit's included: what stands behind an old record."""
    effect: Callable[[object], None] = _dropped
    """Takes a value that is to be written beside the state, in the unit's own transaction (``Effects``)."""
    gathered: Any = None
    """What the folding's own ``gather`` gave for this unit."""


class Effects(Protocol):
    """Writes the effects of one type; what it writes commits with the states and the positions, or not at all."""

    async def apply(self, connection: Connection, effects: Sequence[Any]) -> None:
        """In the order in which they were decided."""


class Folding(Protocol[S]):
    """What a conversation service implements; pure."""

    name: str
    topics: tuple[str, ...]
    state: type[S]

    def fresh(self, subject: str) -> S: ...

    def advance(self, subject: str, state: S, events: Sequence[Event], context: Context) -> list[Output]:
        """``events``: this conversation's, of all topics, in processing order; empty when only its timer fired."""

    # Optional: ``async def gather(connection, events) -> Any``: reads, in the unit's own transaction and before anything of it
    # is decided, what spans conversations; what it gives is ``Context.gathered``.

    def due(self, state: S) -> int | None:
        """When to be called again without an event: fires when the lane's watermark reaches it (µs)."""


class ConversationConsumer(Generic[S]):
    """``deskline.work.Consumer`` for a ``Folding``: gather the states, advance them, apply.

    ``effects``: type of effect → who writes it. An effect of a type that nobody writes is a defect and raises.
    """

    def __init__(
        self,
        folding: Folding[S],
        config: ConfigBook,
        *,
        cached: int = 50_000,
        effects: Mapping[type, Effects] = MappingProxyType({}),
    ) -> None:
        self.folding = folding
        self.name = folding.name
        self.topics = folding.topics
        self.config = config
        self._gather: Callable[[Connection, Sequence[Event]], Awaitable[object]] | None = getattr(
            folding, "gather", None
        )
        settle = getattr(folding, "settle", None)
        if settle is not None:
            self.settle = settle
        self._states = StateStore(folding.state, cached)
        self._effects = effects

    async def process(self, tx: Tx, work: Work) -> None:
        # gather
        events: dict[tuple[int, str], list[Event]] = {}
        for event in work.events:
            key = (event.partition, event.subject)
            known = events.get(key)
            if known is None:
                events[key] = [event]
            else:
                known.append(event)
        for subject, lane in work.due.items():
            events.setdefault((lane, subject), [])
        states = await self._states.load(tx.connection, events)
        ahead: dict[int, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
        for event in work.ahead:
            if (event.partition, event.subject) in events:
                ahead[event.partition][event.subject].append(event)
        effects: list[object] = []
        gathered = None if self._gather is None else await self._gather(tx.connection, work.events)
        contexts = {
            lane: self._context(lane, work, ahead[lane], gathered, effects.append)
            for lane in {lane for lane, _ in events}
        }
        # decide
        advance, due_of, fresh = self.folding.advance, self.folding.due, self.folding.fresh
        changed: list[tuple[int, str, int | None, S]] = []
        now = asyncio.get_running_loop().time
        looked = now()
        for number, ((lane, subject), group) in enumerate(events.items(), start=1):
            state = states.get((lane, subject))
            if state is None:
                state = fresh(subject)
            for output in advance(subject, state, group, contexts[lane]):
                tx.emit(lane, output)
            due = due_of(state)
            if due is not None:
                tx.next_due(lane, due)
            changed.append((lane, subject, due, state))
            if number % _YIELD_EVERY == 0 or now() - looked > _YIELD_AFTER_S:
                await asyncio.sleep(0)
                looked = now()
        # apply
        await self._states.save(tx.connection, changed)
        if effects:
            await self._apply(tx.connection, effects)

    async def _apply(self, connection: Connection, effects: Sequence[object]) -> None:
        by_type: dict[type, list[object]] = {}
        for effect in effects:
            by_type.setdefault(type(effect), []).append(effect)
        for kind, those in by_type.items():
            await self._effects[kind].apply(connection, those)

    def _context(
        self,
        lane: int,
        work: Work,
        ahead: Mapping[str, Sequence[Event]],
        gathered: object,
        effect: Callable[[object], None],
    ) -> Context:
        positions = {topic: work.positions[topic, lane] for topic in self.topics if (topic, lane) in work.positions}
        return Context(work.now, work.watermarks.get(lane, 0), self.config, positions, lane, ahead, effect, gathered)

    async def due(
        self, connection: Connection, ripe: Mapping[int, Ripe], limit: int
    ) -> tuple[Mapping[str, int], Mapping[int, int]]:
        return await due_conversations(connection, ripe, limit)

    def committed(self) -> None:
        self._states.committed()

    def aborted(self) -> None:
        self._states.aborted()

    def lanes_changed(self, lanes: frozenset[int]) -> None:
        self._states.keep(lanes)
