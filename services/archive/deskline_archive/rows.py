"""A unit's records as PostgreSQL's binary COPY has them, their content veiled; and a day's words. Pure.

The driver encodes column by column, which cost more than all else that is done for a record; here what has a fixed width is
one ``struct``, texts that repeat are encoded once, and a megabyte is veiled at a time. Format: the manual of PostgreSQL,
COPY, *Binary Format*.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from deskline_archive.policy import kept_at
from deskline_archive.veil import Batch

TABLE: Final = "raw_records"
COLUMNS: Final = (
    "stream",
    "offset",
    "broker_time",
    "retimed",
    "generation",
    "event_time",
    "key",
    "headers",
    "value",
    "subject",
    "customer_id",
    "type",
    "shop_id",
    "validity",
    "agent_id",
)


class Row(NamedTuple):
    """What is stored of a record. Times are in microseconds since 1970, ``headers`` packed. ``generation`` and ``secret`` are of the
    key that veils headers and value; None: they stand in the clear.
    """

    stream: int
    offset: int
    broker_at: int
    retimed: bool
    generation: int | None
    secret: bytes | None
    event_at: int | None
    key: bytes | None
    headers: bytes | None
    value: bytes | None
    subject: str | None
    customer_id: str | None
    type: str | None
    shop_id: str | None
    validity: str
    agent_id: str | None


_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
# The number of columns, then each with its width before it: stream, offset, broker_time, retimed.
_FIXED: Final = struct.Struct(">hiiiqiqi?").pack
# And what nearly all records have: generation, event_time, the width of the key.
_USUAL: Final = struct.Struct(">hiiiqiqi?ihiqi").pack
_LENGTH: Final = struct.Struct(">i").pack
_SHORT: Final = struct.Struct(">ih").pack
_LONG: Final = struct.Struct(">iq").pack
# PostgreSQL's times begin with the year 2000.
_EPOCH: Final = 946_684_800 * 1_000_000
_CHUNK: Final = 1 << 20


def copied(rows: Iterable[Row]) -> Iterator[bytes]:
    """The stream of COPY, in parts of about a megabyte."""
    parts, size = [_SIGNATURE], 0
    add = parts.append
    batch, holes = Batch(), list[int]()
    veil, hole = batch.add, holes.append
    for (
        stream, offset, broker_at, retimed, generation, secret, event_at, key, headers, value,
        subject, customer, kind, shop, validity, agent,
    ) in rows:  # fmt: skip
        at = kept_at(broker_at) - _EPOCH
        if generation is None or event_at is None or key is None:
            add(_FIXED(15, 4, stream, 8, offset, 8, at, 1, retimed))
            add(_NULL if generation is None else _SHORT(2, generation))
            add(_NULL if event_at is None else _LONG(8, kept_at(event_at) - _EPOCH))
            parts += _raw(key)
        else:
            event = kept_at(event_at) - _EPOCH
            add(_USUAL(15, 4, stream, 8, offset, 8, at, 1, retimed, 2, generation, 8, event, len(key)))
            add(key)
        if secret is None:
            parts += (*_raw(headers), *_raw(value))
        else:
            veil(secret, stream, offset, headers, value)
            hole(len(parts))
            parts += (
                _NULL if headers is None else _LENGTH(len(headers)), b"",
                _NULL if value is None else _LENGTH(len(value)), b"",
            )  # fmt: skip
        parts += (_text(subject), _text(customer), _often(kind, shop, validity, agent))
        size += 200 + len(value or b"") + len(headers or b"")
        if size > _CHUNK:
            _fill(parts, holes, batch.done())
            yield b"".join(parts)
            parts.clear()
            size = 0
    _fill(parts, holes, batch.done())
    add(_END)
    yield b"".join(parts)


WORD_COLUMNS: Final = (
    "stream",
    "offset",
    "broker_time",
    "subject",
    "customer_id",
    "type",
    "shop_id",
    "agent_id",
    "grams",
)
_WORDS: Final = struct.Struct(">hiiiqiq").pack


class Words(NamedTuple):
    """Of one message in a day's index. ``grams`` is packed (``words.Hashes``), the time in microseconds since 1970."""

    stream: int
    offset: int
    broker_at: int
    subject: str | None
    customer_id: str | None
    type: str
    shop_id: str | None
    agent_id: str | None
    grams: bytes


def words_copied(entries: Iterable[Words]) -> bytes:
    """The stream of COPY, of ``WORD_COLUMNS``."""
    parts = [_SIGNATURE]
    for stream, offset, broker_at, subject, customer, kind, shop, agent, grams in entries:
        parts += (
            _WORDS(9, 4, stream, 8, offset, 8, broker_at - _EPOCH),
            *(_text(subject), _text(customer), _often(kind, shop, agent), grams),
        )
    parts.append(_END)
    return b"".join(parts)


def _fill(parts: list[bytes], holes: list[int], veiled: list[tuple[bytes | None, bytes | None]]) -> None:
    """What is veiled in the place of what is clear; it is as long."""
    for index, (headers, value) in zip(holes, veiled, strict=True):
        parts[index + 1], parts[index + 3] = headers or b"", value or b""
    holes.clear()


def _raw(raw: bytes | None) -> tuple[bytes, bytes]:
    return (_NULL, b"") if raw is None else (_LENGTH(len(raw)), raw)


def _text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    raw = text.encode()
    return _LENGTH(len(raw)) + raw


# Types, shops, agents: some hundreds together while a unit is written.
@lru_cache(maxsize=4096)
def _often(*texts: str | None) -> bytes:
    return b"".join(map(_text, texts))
