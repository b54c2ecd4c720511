"""Per-conversation state on top of the engine, for services whose decisions concern one conversation at a time.

A service gives a state type (a ``msgspec.Struct``), ``advance`` (pure: the state, this unit's events of that conversation,
and a context → outputs; it changes the state it is given, which belongs to the caller) and ``due`` (the next instant, µs,
at which ``advance`` must be called although no event came). The state is kept as one row per conversation:
``<schema>.conversations(subject, lane, due, body)``, and cached in memory while the lane is owned; the engine's fence
makes the cache safe. What else a decision wants written (``Context.effect``) is applied in the same transaction.

A large unit is written in pieces while the rest of it is decided, since the database has a processor of its own; and the
states of timers that will be due in some seconds are read beforehand, so that many at one instant are told at once; which ones these
are is then known in memory (``deskline.soon``).
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from deskline.clock import SECOND
from deskline.config.book import ConfigBook
from deskline.postgres import Connection
from deskline.records import Event, Output
from deskline.soon import SoonDue
from deskline.state_store import StateStore, due_conversations, soon_due
from deskline.tasks import end_all
from deskline.work import Ripe, Tx, Work

S = TypeVar("S")

_Row = tuple[int, str, int | None, S]
"""(lane, subject, due, state)"""
_Gather = Callable[[Connection, Sequence[Event], Mapping[tuple[int, str], S]], Awaitable[object]]

# Conversations decided between two looks at the event loop: at some 30 µs each, well under ten milliseconds.
_YIELD_EVERY: Final = 200
# Some decisions take milliseconds (a sentence vector); heartbeats and HTTP wait no longer than this and one such decision.
_YIELD_AFTER_S: Final = 0.005
# Conversations of one unit that are written together while the next ones are decided.
_PIECE: Final = 250
# Timers are looked for so long before they are due, again when half of it has passed; so many states are read ahead of
# them at most, and so many between two units: a few milliseconds.
_AHEAD_US: Final = 6 * SECOND
_AHEAD_STATES: Final = 20_000
_AHEAD_PIECE: Final = 200


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
    """Writes the effects of one type; what it writes commits with the states and the positions, or not at all.

    Optional attribute ``in_pieces`` (True: only rows of the lane's owner are written, so those of a large unit may be
    applied in several calls without locks being taken out of order).
    """

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

    # Optional: ``async def gather(connection, events, states) -> Any``: reads, in the unit's own transaction and before anything
    # of it is decided, what spans conversations; what it gives is ``Context.gathered``. ``states``: (lane, subject) → state, of
    # those conversations of the unit that have one.
    # Optional: ``together`` (True): timers and records that come at the same time may be one unit; see ``deskline.work.Consumer``.
    # Optional: ``foresee(events, states)``: of events that will come in one of the next units, with the states that are in memory; see
    # ``deskline.work.Consumer``.

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
        self._gather: _Gather[S] | None = getattr(folding, "gather", None)
        settle = getattr(folding, "settle", None)
        if settle is not None:
            self.settle = settle
        self.together: bool = getattr(folding, "together", False)
        foresee = getattr(folding, "foresee", None)
        if foresee is not None:
            self.foresee: Callable[[Sequence[Event]], None] = lambda events: foresee(
                events, self._states.cached((event.partition, event.subject) for event in events)
            )
        self._states = StateStore(folding.state, cached)
        self._effects = effects
        self._in_pieces = {kind for kind, writer in effects.items() if getattr(writer, "in_pieces", False)}
        self._listed: dict[int, int] = {}
        """Lane → up to which instant its timers have been listed for reading ahead."""
        self._soon: deque[tuple[int, str]] = deque()
        self._timers = SoonDue()
        self._noted: list[tuple[int, str, int | None]] = []
        """(lane, subject, due) of the unit at work."""

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
        gathered = None if self._gather is None else await self._gather(tx.connection, work.events, states)
        contexts = {
            lane: self._context(lane, work, ahead[lane], gathered, effects.append)
            for lane in {lane for lane, _ in events}
        }
        # decide, and apply what is decided while the rest is
        async with self._written(tx.connection, effects) as write:
            rest = await self._decide(tx, events, states, contexts, write)
        await self._states.save(tx.connection, rest)
        if effects:
            await self._apply(tx.connection, effects)

    async def _decide(
        self,
        tx: Tx,
        events: Mapping[tuple[int, str], Sequence[Event]],
        states: Mapping[tuple[int, str], S],
        contexts: Mapping[int, Context],
        write: Callable[[list[_Row[S]]], Awaitable[None]],
    ) -> list[_Row[S]]:
        """What was not given to ``write`` on the way."""
        advance, due_of, fresh = self.folding.advance, self.folding.due, self.folding.fresh
        changed: list[_Row[S]] = []
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
            self._noted.append((lane, subject, due))
            if len(changed) >= _PIECE and len(events) - number >= _PIECE:
                await write(changed)
                changed = []
            if number % _YIELD_EVERY == 0 or now() - looked > _YIELD_AFTER_S:
                await asyncio.sleep(0)
                looked = now()
        return changed

    @contextlib.asynccontextmanager
    async def _written(
        self, connection: Connection, effects: list[object]
    ) -> AsyncIterator[Callable[[list[_Row[S]]], Awaitable[None]]]:
        """Gives what takes pieces of a unit, to write one after the other; at the end all are written."""
        writing: asyncio.Task[None] | None = None

        async def piece(changed: list[_Row[S]], early: list[object]) -> None:
            await self._states.save(connection, changed)
            if early:
                await self._apply(connection, early)

        async def write(changed: list[_Row[S]]) -> None:
            nonlocal writing
            if writing is not None:
                await writing
            early = [effect for effect in effects if type(effect) in self._in_pieces]
            if early:
                effects[:] = [effect for effect in effects if type(effect) not in self._in_pieces]
            writing = asyncio.create_task(piece(changed, early))

        try:
            yield write
            if writing is not None:
                await writing
        except BaseException:
            # The transaction must not be rolled back under a statement that is at work.
            if writing is not None:
                await end_all([writing])
            raise

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
        return self._timers.take(ripe, limit) or await due_conversations(connection, ripe, limit)

    async def prepare(self, connection: Connection, watermarks: Mapping[int, int]) -> bool:
        """Read a few states of timers that will soon be due; whether there are more to read. Nothing of these lanes is due."""
        if not self._soon:
            upto = {
                lane: watermark + _AHEAD_US
                for lane, watermark in watermarks.items()
                if watermark + _AHEAD_US // 2 > self._listed.get(lane, 0)
            }
            if upto:
                above = {lane: max(self._listed.get(lane, 0), watermarks[lane]) for lane in upto}
                rows = await soon_due(connection, above, upto, _AHEAD_STATES)
                self._soon.extend((lane, subject) for lane, subject, _ in rows)
                self._listed.update(upto)
                self._note(watermarks, above, upto, rows)
        keys = [self._soon.popleft() for _ in range(min(_AHEAD_PIECE, len(self._soon)))]
        await self._states.preload(connection, keys)
        return bool(self._soon)

    def _note(
        self,
        watermarks: Mapping[int, int],
        above: Mapping[int, int],
        upto: Mapping[int, int],
        rows: Sequence[tuple[int, str, int]],
    ) -> None:
        # Where there were more, those with the last one's instant may be among them.
        until = rows[-1][2] - 1 if len(rows) >= _AHEAD_STATES else max(upto.values())
        joined = {
            lane: min(instant, until)
            for lane, instant in upto.items()
            if above[lane] == watermarks[lane] or self._timers.known(lane, above[lane])
        }
        self._timers.listed(above, joined, [row for row in rows if row[0] in joined])

    def committed(self) -> None:
        self._states.committed()
        for lane, subject, due in self._noted:
            self._timers.saved(lane, subject, due)
        self._noted.clear()

    def aborted(self) -> None:
        self._states.aborted()
        self._forget_timers()

    def lanes_changed(self, lanes: frozenset[int]) -> None:
        self._states.keep(lanes)
        self._forget_timers()

    def _forget_timers(self) -> None:
        self._noted.clear()
        self._timers.forget()
        self._listed.clear()
        self._soon.clear()
