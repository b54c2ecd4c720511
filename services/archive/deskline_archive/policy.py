"""What is stored beside the bytes, and which records get a dead letter. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, Final

from deskline.records import CHECKPOINTS, DEAD_LETTERS, SHOPS, SLA, Decoded, Event, Headers, Invalid, Record
from deskline_archive.model import Description, Outcome, Validity

DAY_US: Final = 86_400 * 1_000_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
# Python's dates end with the year 9999, and a day's floor lies half a year after it; asyncpg writes date.min as
# -infinity. Only a topic that is not LogAppendTime can hold a time outside: such a record is kept under the nearest day,
# its bytes untouched.
FIRST_DAY: Final = date(1, 1, 3).toordinal() - _EPOCH_DAY
LAST_DAY: Final = date(9998, 12, 31).toordinal() - _EPOCH_DAY
_FIRST: Final = FIRST_DAY * DAY_US
_LAST: Final = (LAST_DAY + 1) * DAY_US - 1

_LETTER: Final = Description(None, None, None, None, False, Validity.LETTER)
_VALID: Final = str(Validity.VALID)
# Valid records of these hold ids, times and numbers, or a shop's configuration: nothing that anybody wrote to us.
CLEAR: Final = frozenset({SLA, SHOPS, CHECKPOINTS})
_NAME_IS_NO_TEXT: Final = 0x8000_0000
_NULL: Final = b"\xff\xff\xff\xff"
_make: Final = tuple.__new__


def describe(records: Sequence[Record], decoded: Sequence[Decoded]) -> Outcome:
    """The decoded columns of each record, and who gets a letter: every invalid record, once (contract §4)."""
    descriptions: list[Description] = []
    letters: list[int] = []
    for index, (record, found) in enumerate(zip(records, decoded, strict=True)):
        if record.topic == DEAD_LETTERS:
            descriptions.append(_LETTER)
        elif isinstance(found, Event):
            kind, _, _, subject, at, retimed, data, topic, _, _, _ = found
            shop = getattr(data, "shop_id", None)
            shop = storable(shop) if isinstance(shop, str) else None
            customer, agent = parties(data)
            descriptions.append(
                _make(Description, (kind, subject, shop, at, retimed, _VALID, customer, agent, topic in CLEAR))
            )
        elif isinstance(found, Invalid):
            descriptions.append(Description(None, None, None, None, False, found.reason))
            letters.append(index)
        else:
            descriptions.append(
                Description(storable(found.type), storable(found.subject), None, found.at, False, Validity.UNKNOWN_TYPE)
            )
    return Outcome(descriptions, letters)


def parties(data: Any) -> tuple[str | None, str | None]:
    """The customer and the agent whom an event names."""
    customer = getattr(data, "customer", None)
    author = getattr(data, "author", None)
    if author is None:
        agent = getattr(data, "agent_id", None) or getattr(data, "by_agent_id", None)
    else:
        agent = author.id if author.kind == "agent" else None
    return (
        storable(customer.customer_id) if customer is not None else None,
        storable(agent) if isinstance(agent, str) else None,
    )


def storable(text: str) -> str:
    """``text`` without what a Postgres text cannot hold: NUL. The raw bytes keep it."""
    return text.replace("\0", "") if "\0" in text else text


def day_of(at: int) -> int:
    """The day (counted from 1970-01-01, UTC) under which a broker time (µs) is kept."""
    return min(max(at // DAY_US, FIRST_DAY), LAST_DAY)


def kept_at(at: int) -> int:
    """The time itself, or the nearest one that the database's days reach."""
    if _FIRST <= at <= _LAST:
        return at
    return _FIRST if at < 0 else _LAST


def spans(days: Iterable[int], longest: int) -> list[tuple[int, int]]:
    """Runs of consecutive days, first and last, ascending, none longer than ``longest``."""
    found: list[tuple[int, int]] = []
    for day in sorted(set(days)):
        if found and day == found[-1][1] + 1 and day - found[-1][0] < longest:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def pack_headers(headers: Headers) -> bytes | None:
    """The header block that the database's ``header_json`` reads; None where there is no header.

    Four bytes of length before each name and each value; a null value is ``ffffffff``.
    """
    if not headers:
        return None
    if len(headers) == 1:
        return _pack_only(*headers[0])
    parts: list[bytes] = []
    for name, value in headers:
        parts += (_pack_name(name), *_pack_value(value))
    return b"".join(parts)


# A gateway's records mostly have the same one, the content type.
@lru_cache(maxsize=256)
def _pack_only(name: str, value: bytes | None) -> bytes:
    return b"".join((_pack_name(name), *_pack_value(value)))


def _pack_value(value: bytes | None) -> tuple[bytes, bytes]:
    return (_NULL, b"") if value is None else (len(value).to_bytes(4, "big"), value)


# Producers use a handful of names; the bound is for one that makes up a new name for every record.
@lru_cache(maxsize=256)
def _pack_name(name: str) -> bytes:
    try:
        raw = name.encode()
        odd = b"\0" in raw
    except UnicodeEncodeError:
        # Bytes that were not UTF-8 come as lone surrogates (deskline.kafka); they go back to what they were.
        raw = _bytes_of(name)
        odd = True
    return (len(raw) | (_NAME_IS_NO_TEXT if odd else 0)).to_bytes(4, "big") + raw


def _bytes_of(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def mentions(said: bytes, name: str) -> bool:
    """Whether an id stands in raw bytes as a word of its own. Of one or two characters it would stand everywhere."""
    return len(name) > 2 and re.search(rb"(?<![\w-])" + re.escape(name.encode()) + rb"(?![\w-])", said) is not None


def letter_headers(topic: str, partition: str, offset: str) -> bytes:
    """What the packed headers of a record's dead letter hold (``deskline.events.deadletters``)."""
    named = (("deskline-topic", topic), ("deskline-partition", partition), ("deskline-offset", offset))
    return pack_headers(tuple((name, text.encode()) for name, text in named)) or b""
