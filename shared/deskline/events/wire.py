"""Bytes to events and back: the only implementation of *valid or not* (contract §1).

``decode`` gives every record one verdict, the same in all services. Nearly all records take the fast path: cheap
guards over the whole value, one msgspec decode of a tagged union, a few comparisons. The fast path only ever *accepts*;
whatever it does not accept, for whatever reason, goes to ``deskline.events.verdict``, which reads the record with exact
rules and decides. So the fast path has to be sound (what it accepts is valid, with the same content), never complete;
a property test compares the two.

Why what it accepts is valid: the value is UTF-8 throughout (msgspec does not look into members that it skips, so it is
decoded once as a whole); with at most 32 opening brackets it cannot nest deeper, and with more they are followed; msgspec refuses malformed JSON,
lone surrogates, wrong types and lengths, and where a member is given twice keeps the last if all are well typed;
control characters need a backslash, a DEL or a byte C2 in the value, and only then ids are looked at one by one.
"""

from typing import Any, Final, NamedTuple, Union

import msgspec

from deskline.clock import parse_rfc3339, rfc3339
from deskline.events.fields import has_control_characters
from deskline.events.models import REGISTRY, Writer
from deskline.events.structs import READING, WRITING, Check, ids_checker, new, times_checker
from deskline.events.verdict import (
    MAX_AHEAD,
    MAX_BEHIND,
    MAX_DEPTH,
    MAX_VALUE,
    decide,
    too_deep,
    without_value,
    writer_of,
)
from deskline.records import Decoded, Event, Headers, Record

__all__ = ["decode", "encode", "header_source", "new"]

SOURCE_HEADER: Final = "deskline-source"


class _Known(NamedTuple):
    type: str
    topic: str
    writer: Writer
    ids: Check | None
    times: Check | None


_KNOWN: Final[dict[type, _Known]] = {
    READING[kind.name]: _Known(kind.name, kind.topic, kind.writer, ids_checker(kind.model), times_checker(kind.model))
    for kind in REGISTRY.values()
}
_read: Final = msgspec.json.Decoder(Union[tuple(READING.values())]).decode  # noqa: UP007
# As integers: ``bytes`` is searched for a number several times as fast as for a byte string.
_BRACE, _BRACKET, _BACKSLASH, _DEL, _C1 = (*b"{[\\\x7f\xc2",)
_make: Final = tuple.__new__
_ONE_KIND_OF_BRACKET: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decode(record: Record) -> Decoded:
    """``Event``, ``Unknown`` or ``Invalid``; never raises on account of what the record holds."""
    topic, partition, offset, broker_at, key, value, _ = record
    if value is None or len(value) > MAX_VALUE:
        return decide(record)
    try:
        text = value.decode()  # all of it: msgspec does not look into what it skips
        if value.count(_BRACE) + value.count(_BRACKET) > MAX_DEPTH and not _shallow(value, text):
            return decide(record)
        envelope = _read(value)
        at = parse_rfc3339(envelope.time)
    except (msgspec.MsgspecError, ValueError):
        return decide(record)
    subject, source, data = envelope.subject, envelope.source, envelope.data
    known = _KNOWN[type(envelope)]
    if key != subject.encode() or topic != known.topic or known.writer != writer_of(source):
        return decide(record)
    if _may_hold_control_characters(value) and (
        has_control_characters(envelope.id)
        or has_control_characters(subject)
        or (known.ids is not None and known.ids(data) is not None)
    ):
        return decide(record)
    if known.times is not None and known.times(data) is not None:
        return decide(record)
    retimed = at - broker_at > MAX_AHEAD or broker_at - at > MAX_BEHIND
    event: Event = _make(
        Event,
        (
            known.type,
            envelope.id,
            source,
            subject,
            broker_at if retimed else at,
            retimed,
            data,
            topic,
            partition,
            offset,
            broker_at,
        ),
    )
    return event


def _may_hold_control_characters(value: bytes) -> bool:
    """JSON has them as escapes; but DEL, and C1 (whose UTF-8 begins with C2), may stand as they are."""
    return _BACKSLASH in value or _DEL in value or _C1 in value


def _shallow(value: bytes, text: str) -> bool:
    """Whether a value with many brackets keeps the limit of nesting; exact for valid JSON, other is refused anyway."""
    if _BACKSLASH in value:
        return not too_deep(text)
    # Without escapes every second piece between quotes is outside of strings. Each pass removes the innermost pairs.
    brackets = b"".join(value.split(b'"')[::2]).translate(_ONE_KIND_OF_BRACKET, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"{}", b"")
        if not brackets:
            return True
    return False


_WRITERS: Final = {
    kind.name: (
        kind,
        READING[kind.name],
        msgspec.json.Decoder(WRITING[kind.name]).decode,
        ids_checker(kind.model),
        times_checker(kind.model),
    )
    for kind in REGISTRY.values()
}
_write: Final = msgspec.json.Encoder().encode


def encode(type: str, *, id: str, source: str, subject: str, time: int, data: Any) -> bytes:  # noqa: A002
    """The value of a record: an envelope in CloudEvents structured form.

    ``data`` comes from ``new``; ``time`` is in microseconds. Strict: ``ValueError`` where the result would not be valid,
    or holds a value outside a list of §4. Optional fields without a value are absent. The same arguments give the same bytes.
    """
    kind, envelope, check, ids, times = _WRITERS[type]
    value = _write(envelope("1.0", id, source, subject, rfc3339(time), data))
    try:
        written: Any = check(value)
    except msgspec.ValidationError as error:
        raise ValueError(f"{type}: {without_value(error)}") from None
    if writer_of(source) != kind.writer:
        raise ValueError(f"{type}: {source} may not write it")
    bad = times(written.data) if times is not None else None
    if bad is None and _may_hold_control_characters(value):
        if has_control_characters(id) or has_control_characters(subject):
            bad = "control characters in an id"
        elif ids is not None:
            bad = ids(written.data)
    if bad is not None:
        raise ValueError(f"{type}: {bad}")
    return value


def header_source(headers: Headers) -> str | None:
    """``<topic>/<partition>/<offset>`` of the input that caused this record, as its header ``deskline-source`` says.

    The topic with the deployment's prefix. Informational (contract §1): anybody may have written it.
    """
    return next((held.decode(errors="replace") for name, held in headers if name == SOURCE_HEADER and held), None)
