"""Reading the decision log, the archive and, for a beginning in the middle, the router's tables. Nothing is written."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

import asyncpg
import msgspec

from deskline.clock import SECOND, from_datetime, to_datetime
from deskline.config.book import ConfigBook
from deskline.errors import FatalError, TransientError
from deskline.events.wire import decode
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.records import AGENTS, ROUTING, SHOPS, Event, Record
from deskline.settings import ServiceSettings
from deskline_router.model import NEVER, Action, Agent, Conversation, Customer, Fact, Request, ShopState
from deskline_router.simulation.replay import (
    TOPICS,
    Difference,
    Place,
    Replay,
    Row,
    Saying,
    State,
    compared,
    parts,
)

_PAGE: Final = 2_000
_ROWS: Final = """
SELECT seq, now, inputs, timers, watermarks, agents_watermark, agents_fresh, outputs, actions FROM decisions
WHERE seq > $1 AND now < $2 ORDER BY seq LIMIT 500
"""
_RECORDS: Final = """
SELECT "offset", broker_time, key, value FROM records
WHERE topic = $1 AND partition = $2 AND "offset" >= $3 ORDER BY "offset" LIMIT $4
"""
_TOLD: Final = """
SELECT "offset", value FROM records WHERE topic = ANY($1::text[]) AND broker_time >= $2 AND broker_time < $3
"""
_PERIOD: Final = """
SELECT topic, partition, "offset", broker_time, key, value FROM records
WHERE topic = ANY($1::text[]) AND broker_time >= $2 AND broker_time < $3 ORDER BY broker_time, topic, partition, "offset"
"""
_SOON: Final = 10 * SECOND
"""By then an output has usually been published."""
_LATE: Final = 3_600 * SECOND
"""What a crash left unpublished comes with the next owner."""
_MOST: Final = 100
"""Differences told in full."""


class Checked(NamedTuple):
    """What came of it."""

    rows: int
    outputs: int
    compared: int
    """Of these, outputs whose bytes stand in the archive."""
    missing: int
    """Outputs of which the archive has no record (yet)."""
    differences: list[Difference]
    different: int
    """All of them."""
    state: State | None
    """To go on from; None where something differed."""
    begun: bool = False
    """There was no state, and the log begins later: this is where the next check goes on."""


class _Stream:
    """The records of one topic partition, in order of offset, a page at a time."""

    def __init__(self, connection: Connection, prefix: str, place: Place, offset: int) -> None:
        self._connection = connection
        self._topic, self._partition = place
        self._name = prefix + self._topic
        self._held: list[Record] = []
        self._at = 0
        self._next = offset
        self._dry = False

    async def peek(self) -> Record | None:
        if self._at >= len(self._held) and not self._dry:
            rows = await self._connection.fetch(_RECORDS, self._name, self._partition, self._next, _PAGE)
            self._held = [
                Record(self._topic, self._partition, row["offset"], from_datetime(row["broker_time"]), row["key"], row["value"], ())
                for row in rows
            ]  # fmt: skip
            self._at = 0
            self._dry = len(rows) < _PAGE
            if rows:
                self._next = rows[-1]["offset"] + 1
        return self._held[self._at] if self._at < len(self._held) else None

    async def below(self, offset: int | None, upto: int | None = None) -> AsyncIterator[Event]:
        """Valid events with smaller offsets, or not after that broker timestamp."""
        while (record := await self.peek()) is not None:
            if offset is not None and record.offset >= offset:
                return
            if upto is not None and record.broker_at > upto:
                return
            self._at += 1
            event = decode(record)
            if isinstance(event, Event):
                yield event


async def verify(
    settings: ServiceSettings, state: State | None, until: int, say: Callable[[str], None] = lambda _: None
) -> Checked:
    """Decide everything again that was decided after ``state``, up to ``until`` (µs).

    Without a state: from the first decision; where that is no longer in the log, a state is taken from the router's tables,
    and nothing is compared. Raises ``TransientError`` while the database is away, ``FatalError`` where log or archive are not whole.
    """
    try:
        router, archive = await connect(settings, "router"), await connect(settings, "archive")
    except TRANSIENT as error:
        raise TransientError(f"log and archive cannot be read: {error}") from error
    try:
        book = await _book(archive, settings)
        if state is None:
            first = await router.fetchval("SELECT min(seq) FROM decisions")
            if first is not None and first > 1:
                return Checked(0, 0, 0, 0, [], 0, await taken(router), begun=True)
        return await _verify(router, archive, settings.topic_prefix, Replay(book, state), until=until, say=say)
    except asyncpg.UndefinedTableError:
        raise FatalError("this database has no router or no archive; name the one that both write to") from None
    finally:
        await router.close()
        await archive.close()


async def _verify(
    router: Connection, archive: Connection, prefix: str, replay: Replay, *, until: int, say: Callable[[str], None]
) -> Checked:
    streams: dict[Place, _Stream] = {}
    open_: dict[str, tuple[int, bytes]] = {}
    """What was said and has not been met in the archive: id → (row, bytes)."""
    differences: list[Difference] = []
    rows = outputs = same = 0
    span: tuple[int, int] | None = None

    def stream(place: Place) -> _Stream:
        if place not in streams:
            streams[place] = _Stream(archive, prefix, place, replay.positions.get(place, 0))
        return streams[place]

    async def meet(begin: int, end: int) -> int:
        """Compare with what was recorded in that time; how many were the same."""
        met = 0
        async with archive.transaction(readonly=True):
            await archive.execute("SET LOCAL statement_timeout = 0")
            topics = [prefix + ROUTING, prefix + SHOPS]
            async for row in archive.cursor(_TOLD, topics, to_datetime(begin), to_datetime(end), prefetch=_PAGE):
                name = _id(row["value"])
                if name not in open_:
                    continue
                seq, value = open_.pop(name)
                if value == row["value"]:
                    met += 1
                else:
                    differences.append(Difference(seq, name, parts(row["value"], value)))
        return met

    while page := [_row(row) for row in await router.fetch(_ROWS, replay.seq, until)]:
        for row in page:
            if row.seq != replay.seq + 1:
                raise FatalError(
                    f"the decision log has no row {replay.seq + 1}: it keeps eight days; begin anew without --state"
                )
            said = await _decided(replay, stream, row)
            differences += compared(row, said)
            open_.update({one.id: (row.seq, one.value) for one in said})
            outputs += len(said)
        rows += len(page)
        span = (page[0].now if span is None else span[0], page[-1].now)
        same += await meet(page[0].now - SECOND, page[-1].now + _SOON)
        say(f"{rows} units, up to {to_datetime(page[-1].now):%Y-%m-%d %H:%M:%S} UTC")
        if len(differences) > _MOST:
            break
    if open_ and span is not None:
        same += await meet(span[0] - SECOND, span[1] + _LATE)
    state = None if differences else replay.state()
    return Checked(rows, outputs, same, len(open_), differences[:_MOST], len(differences), state)


async def _decided(replay: Replay, stream: Callable[[Place], _Stream], row: Row) -> list[Saying]:
    froms = {(topic, partition): first for topic, partition, first, _ in reversed(row.inputs)}
    before: list[Event] = []
    for lane in row.lanes():
        for topic in TOPICS:
            place, offset = (topic, lane), froms.get((topic, lane))
            upto = None if offset is not None else row.watermarks.get(lane)
            if offset is None and upto is None:
                continue
            before += [event async for event in stream(place).below(offset, upto)]
    events: list[Event] = []
    for topic, partition, _, to in row.inputs:
        events += [event async for event in stream((topic, partition)).below(to)]
        replay.positions[topic, partition] = max(to, replay.positions.get((topic, partition), 0))
    return replay.step(row, before, events)


def _row(row: asyncpg.Record) -> Row:
    return Row(
        row["seq"],
        row["now"],
        [tuple(one) for one in json.loads(row["inputs"])],
        [tuple(one) for one in json.loads(row["timers"])],
        {int(lane): at for lane, at in json.loads(row["watermarks"]).items()},
        row["agents_watermark"],
        row["agents_fresh"],
        row["outputs"],
        [Action(**one | {"skills": tuple(one["skills"])}) for one in json.loads(row["actions"])],
    )


class _Named(msgspec.Struct):
    id: str


_named: Final = msgspec.json.Decoder(_Named).decode


def _id(value: bytes | None) -> str:
    try:
        return "" if value is None else _named(value).id
    except msgspec.MsgspecError:
        return ""


async def _book(archive: Connection, settings: ServiceSettings) -> ConfigBook:
    """The shops' configuration, as it stands on ``shops.v1``; what the router does not read of it is left out."""
    book = ConfigBook(settings.config_lead_s)
    for event in await _configuration(archive, settings):
        book.admit(event)
    return book


async def _configuration(archive: Connection, settings: ServiceSettings) -> list[Event]:
    found = []
    rows = await archive.fetch(
        'SELECT partition, "offset", broker_time, key, value FROM records WHERE topic = $1 ORDER BY broker_time, "offset"',
        settings.topic_prefix + SHOPS,
    )
    for row in rows:
        at = from_datetime(row["broker_time"])
        event = decode(Record(SHOPS, row["partition"], row["offset"], at, row["key"], row["value"], ()))
        # Rules are named by a hash only, and the router does not read them.
        if isinstance(event, Event) and not (event.type == "config.applied.v1" and event.data.document == "rules"):
            found.append(event)
    return found


async def read_configuration(settings: ServiceSettings) -> list[Event]:
    """What the archive has of ``shops.v1``, rules aside."""
    archive = await _archive(settings)
    try:
        return await _configuration(archive, settings)
    finally:
        await archive.close()


async def read_events(settings: ServiceSettings, topics: Sequence[str], begin: int, end: int) -> list[Event]:
    """Valid events of these topics with ``begin`` ≤ broker time < ``end`` (µs)."""
    archive = await _archive(settings)
    prefix = settings.topic_prefix
    found: list[Event] = []
    try:
        async with archive.transaction(readonly=True):
            await archive.execute("SET LOCAL statement_timeout = 0")
            names = [prefix + topic for topic in topics]
            async for row in archive.cursor(_PERIOD, names, to_datetime(begin), to_datetime(end), prefetch=_PAGE):
                record = Record(
                    row["topic"][len(prefix) :],
                    row["partition"],
                    row["offset"],
                    from_datetime(row["broker_time"]),
                    row["key"],
                    row["value"],
                    (),
                )
                event = decode(record)
                if isinstance(event, Event):
                    found.append(event)
    except asyncpg.UndefinedTableError:
        raise FatalError("this database has no archive; name the one that the archive service writes to") from None
    finally:
        await archive.close()
    return found


async def _archive(settings: ServiceSettings) -> Connection:
    try:
        return await connect(settings, "archive")
    except TRANSIENT as error:
        raise TransientError(f"the archive cannot be read: {error}") from error


async def taken(router: Connection) -> State:
    """The router's tables as they are now, all at one instant."""
    packed = msgspec.msgpack
    async with router.transaction(isolation="repeatable_read", readonly=True):
        core = await router.fetchrow("SELECT version, agent_offsets FROM core")
        if core is None:
            raise FatalError("the router has not decided anything in this database")
        agents = [packed.decode(row["body"], type=Agent) for row in await router.fetch("SELECT body FROM agents")]
        requests = [
            packed.decode(row["body"], type=Request)
            for row in await router.fetch("SELECT body FROM requests WHERE NOT ended")
        ]
        shops = [packed.decode(row["body"], type=ShopState) for row in await router.fetch("SELECT body FROM shops")]
        customers = [
            Customer(
                row["shop_id"],
                row["customer_id"],
                packed.decode(row["facts"], type=dict[str, Fact]),
                row["complaints"],
                row["last_agent"],
                row["last_agent_at"] or NEVER,
            )
            for row in await router.fetch("SELECT * FROM customers")
        ]
        conversations = {
            row["subject"]: packed.decode(row["body"], type=Conversation)
            for row in await router.fetch("SELECT subject, body FROM conversations")
        }
        positions = {
            f"{topic}/{row['lane']}": offset
            for row in await router.fetch("SELECT lane, topics, offsets FROM lanes")
            for topic, offset in zip(row["topics"], row["offsets"], strict=True)
        }
        now = await router.fetchval("SELECT now FROM decisions WHERE seq = $1", core["version"])
    positions |= {f"{AGENTS}/{partition}": offset for partition, offset in enumerate(core["agent_offsets"])}
    return State(core["version"], now or 0, agents, requests, shops, customers, conversations, positions)
