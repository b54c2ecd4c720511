"""A unit's records as PostgreSQL's binary COPY has them. Pure.

The driver encodes column by column, which cost more than all else that is done for a record; here what has a fixed width is
one ``struct``, and texts that repeat are encoded once. Format: the manual of PostgreSQL, COPY, *Binary Format*.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from deskline_archive.policy import kept_at

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
    "type",
    "subject",
    "shop_id",
    "validity",
    "customer_id",
    "agent_id",
)


class Row(NamedTuple):
    """What is stored of a record. Times are in microseconds since 1970, ``headers`` packed; ``generation`` None: in the clear."""

    stream: int
    offset: int
    broker_at: int
    retimed: bool
    generation: int | None
    event_at: int | None
    key: bytes | None
    headers: bytes | None
    value: bytes | None
    type: str | None
    subject: str | None
    shop_id: str | None
    validity: str
    customer_id: str | None
    agent_id: str | None


_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
# The number of columns, then each with its width before it: stream, offset, broker_time, retimed.
_FIXED: Final = struct.Struct(">hiiiqiqi?").pack
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
    for (
        stream, offset, broker_at, retimed, generation, event_at, key, headers, value,
        kind, subject, shop, validity, customer, agent,
    ) in rows:  # fmt: skip
        add(_FIXED(15, 4, stream, 8, offset, 8, kept_at(broker_at) - _EPOCH, 1, retimed))
        add(_NULL if generation is None else _SHORT(2, generation))
        add(_NULL if event_at is None else _LONG(8, kept_at(event_at) - _EPOCH))
        for raw in (key, headers, value):
            if raw is None:
                add(_NULL)
            else:
                add(_LENGTH(len(raw)))
                add(raw)
        add(_often(kind))
        add(_text(subject))
        add(_often(shop))
        add(_often(validity))
        add(_text(customer))
        add(_often(agent))
        size += 200 + len(value or b"") + len(headers or b"")
        if size > _CHUNK:
            yield b"".join(parts)
            parts.clear()
            size = 0
    add(_END)
    yield b"".join(parts)


def _text(text: str | None) -> bytes:
    if text is None:
        return _NULL
    raw = text.encode()
    return _LENGTH(len(raw)) + raw


# Types, shops, agents: a handful each while a unit is written.
_often: Final = lru_cache(maxsize=4096)(_text)
