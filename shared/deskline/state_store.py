"""Conversation states in Postgres (``conversations``), cached in memory while their lane is owned.

The engine's fence makes the cache safe: a unit that commits has proved that nobody else has written these rows since
they were read. A unit that does not commit leaves its states changed in memory, so ``aborted`` drops them. What nobody has
touched for ten minutes is dropped, too, and read again if need be: most conversations are over by then, and memory follows
those that are under way instead of all that a day has seen.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from deskline.postgres import Connection
from deskline.soon import Row, room_for_overdue, shared
from deskline.work import Ripe

S = TypeVar("S")

_LOAD = """
SELECT lane, subject, body FROM conversations
WHERE (lane, subject) IN (SELECT * FROM unnest($1::integer[], $2::text[]))
"""
_SAVE = """
INSERT INTO conversations (lane, subject, due, body)
SELECT * FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::bytea[])
ON CONFLICT (lane, subject) DO UPDATE SET due = excluded.due, body = excluded.body
"""
_DUE = """
SELECT found.lane, found.subject, found.due
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS ripe (lane, above, upto)
CROSS JOIN LATERAL (
    SELECT lane, subject, due FROM conversations
    WHERE conversations.lane = ripe.lane AND due > ripe.above AND due <= ripe.upto ORDER BY due LIMIT $4
) AS found ORDER BY found.due LIMIT $4
"""
_NEXT = """
SELECT ripe.lane, next.due FROM unnest($1::integer[], $2::bigint[]) AS ripe (lane, above)
CROSS JOIN LATERAL (
    SELECT due FROM conversations WHERE conversations.lane = ripe.lane AND due > ripe.above ORDER BY due LIMIT 1
) AS next
"""
_BEGINNING: Final = -(2**63)
_IDLE_S: Final = 600.0


class StateStore(Generic[S]):
    """``kind`` is a msgspec struct; rows hold it as MessagePack. ``cached``: so many are in memory at most. ``clock``: seconds."""

    def __init__(self, kind: type[S], cached: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._cache: OrderedDict[tuple[int, str], S] = OrderedDict()
        self._used: dict[tuple[int, str], float] = {}
        """When each of the cached was last touched; the cache is in the order of these."""
        self._touched: list[tuple[int, str]] = []
        self._capacity = cached
        self._clock = clock

    async def load(self, connection: Connection, keys: Iterable[tuple[int, str]]) -> dict[tuple[int, str], S]:
        """The states of these conversations; one that has none yet is absent from the answer."""
        states: dict[tuple[int, str], S] = {}
        missing: list[tuple[int, str]] = []
        for key in keys:
            self._touched.append(key)
            state = self._cache.get(key)
            if state is None:
                missing.append(key)
            else:
                states[key] = state
        if missing:
            for key, state in await self._read(connection, missing):
                states[key] = self._cache[key] = state
        return states

    def cached(self, keys: Iterable[tuple[int, str]]) -> dict[tuple[int, str], S]:
        """Those that are in memory, as they are at this moment: the unit at work may be changing them."""
        return {key: state for key in keys if (state := self._cache.get(key)) is not None}

    async def preload(self, connection: Connection, keys: Sequence[tuple[int, str]]) -> None:
        """Have these states in memory before they are asked for; only where nobody else can write them."""
        missing = [key for key in keys if key not in self._cache]
        if missing:
            now = self._clock()
            for key, state in await self._read(connection, missing):
                self._cache[key] = state
                self._used[key] = now

    async def _read(self, connection: Connection, keys: Sequence[tuple[int, str]]) -> list[tuple[tuple[int, str], S]]:
        rows = await connection.fetch(_LOAD, [lane for lane, _ in keys], [subject for _, subject in keys])
        decode = self._decode
        return [((row["lane"], row["subject"]), decode(row["body"])) for row in rows]

    async def save(self, connection: Connection, changed: Sequence[tuple[int, str, int | None, S]]) -> None:
        """Write (lane, subject, due, state)."""
        if not changed:
            return
        encode = self._encode
        await connection.execute(
            _SAVE,
            [row[0] for row in changed],
            [row[1] for row in changed],
            [row[2] for row in changed],
            [encode(row[3]) for row in changed],
        )
        for lane, subject, _, state in changed:
            self._cache[lane, subject] = state
            self._touched.append((lane, subject))

    def committed(self) -> None:
        cache, used, now = self._cache, self._used, self._clock()
        for key in self._touched:
            if key in cache:
                cache.move_to_end(key)
                used[key] = now
        self._touched.clear()
        while cache and (len(cache) > self._capacity or used[next(iter(cache))] < now - _IDLE_S):
            del used[cache.popitem(last=False)[0]]

    def aborted(self) -> None:
        for key in self._touched:
            self._cache.pop(key, None)
            self._used.pop(key, None)
        self._touched.clear()

    def keep(self, lanes: frozenset[int]) -> None:
        """Forget every lane: an acquired lane may have been written by its last owner in between."""
        del lanes
        self._cache.clear()
        self._used.clear()
        self._touched.clear()


async def due_conversations(
    connection: Connection, ripe: Mapping[int, Ripe], limit: int
) -> tuple[dict[str, int], dict[int, int]]:
    """(subject → lane of due rows, at most ``limit``; lane → an instant before which no other row is due).

    New ones first, then overdue ones, each in the order of their ``due``; both have half of ``limit`` to themselves, and
    what one does not need is the other's. Where all that is due was taken, the instant is that of the lane's next row.
    """
    lanes = list(ripe)
    if not limit:
        return {}, await _next(connection, dict.fromkeys(lanes, _BEGINNING))
    borders = [min(one.overdue_upto, one.watermark) for one in ripe.values()]
    watermarks = [one.watermark for one in ripe.values()]
    new = await _between(connection, lanes, borders, watermarks, limit)
    overdue = await _between(connection, lanes, [_BEGINNING] * len(lanes), borders, room_for_overdue(new, limit))
    taken, border = shared(new, overdue, limit)
    due = {subject: lane for _, lane, subject in taken}
    if border is not None:
        return due, dict.fromkeys(lanes, border)
    return due, await _next(connection, dict(zip(lanes, watermarks, strict=True)))


async def _between(
    connection: Connection, lanes: Sequence[int], above: Sequence[int], upto: Sequence[int], limit: int
) -> list[Row]:
    rows = await connection.fetch(_DUE, lanes, above, upto, limit)
    return [(row["due"], row["lane"], row["subject"]) for row in rows]


async def soon_due(
    connection: Connection, above: Mapping[int, int], upto: Mapping[int, int], limit: int
) -> list[tuple[int, str, int]]:
    """(lane, subject, due) of rows that become due behind ``above`` and up to ``upto`` of their lane, earliest first."""
    lanes = list(upto)
    rows = await connection.fetch(_DUE, lanes, [above[lane] for lane in lanes], [upto[lane] for lane in lanes], limit)
    return [(row["lane"], row["subject"], row["due"]) for row in rows]


async def _next(connection: Connection, above: Mapping[int, int]) -> dict[int, int]:
    """Lane → the earliest ``due`` behind that instant, of lanes that have one."""
    rows = await connection.fetch(_NEXT, list(above), list(above.values()))
    return {row["lane"]: row["due"] for row in rows}
