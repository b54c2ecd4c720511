"""The exact verdict on a record: valid, unknown, or invalid and why (contract §1, *Valid or not*).

This is the slow and authoritative reading, reached only for records that the fast path of ``deskline.events.wire`` does not
accept. It asks in a fixed order, and the first answer is the reason in the dead letter:

1. ``too_large``: the value is over 256 KiB (``shops.v1``: 4 MiB);
2. ``bad_json``: null, not UTF-8, a BOM, nesting over 32, not RFC 8259, NaN, a lone surrogate anywhere;
3. ``bad_envelope``: an attribute missing, of a wrong type or length, an id that is empty or holds control characters, a
   ``source`` that is no URI-reference, a ``time`` that is no RFC 3339, ``data`` that is no object;
4. ``key_mismatch``: the key is not ``subject`` in UTF-8;
5. ``unsupported_version``: a known type name in another version. An unknown *name* is ``Unknown`` here: valid, ignored;
6. ``wrong_topic``, ``wrong_source``: a known type where §2 does not give it;
7. ``bad_data``: a field of the page that breaks its rules.

Errors say where and what, never the value: they end up in headers and logs, and values are customers' text.
"""

import json
import re
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

import msgspec

from deskline.clock import DAY, SECOND, parse_rfc3339
from deskline.events.fields import ENVELOPE_ID, MAX_INT, WORD, has_control_characters
from deskline.events.models import REGISTRY, Kind, Writer
from deskline.events.structs import Check, ids_checker, struct_of, times_checker
from deskline.records import SHOPS, Decoded, Event, Invalid, Record, Unknown

MAX_DEPTH: Final = 32
MAX_VALUE: Final = 256 * 1024
MAX_SHOPS_VALUE: Final = 4 * 1024 * 1024
# Event time (contract §1): further off the broker timestamp than this, and the broker timestamp counts.
MAX_AHEAD: Final = 5 * SECOND
MAX_BEHIND: Final = 7 * DAY
# Longer integers are never converted: this one stands for them, and no field can hold it. Below the 309 digits where
# floats end, far above the 16 that a field can hold, so that what stands in a ``body`` is read as it is.
_MAX_DIGITS: Final = 300
_HUGE: Final = 10**_MAX_DIGITS

# A whole string (possessive, so that an unterminated one costs one pass), or one bracket.
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
# Escapes from left to right: a surrogate pair, a lone surrogate (captured), anything else.
_ESCAPES: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_VERSIONED: Final = re.compile(r"(.*?)(?:\.v([0-9][0-9A-Za-z.+-]*))?", re.DOTALL)
_NAMES: Final = frozenset(re.fullmatch(_VERSIONED, name)[1] for name in REGISTRY)  # type: ignore[index]
# RFC 3986, section 4.1, as far as characters go: a URI-reference is ASCII without blanks, quotes or stray percents.
_URI_REFERENCE: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)
# A gateway names itself as it likes: any path below /gateway/, without query and fragment.
_GATEWAY: Final = re.compile(r"/gateway/(?:[A-Za-z0-9._~:@!$&'()*+,;=/-]|%[0-9A-Fa-f]{2})+", re.ASCII)
_OURS: Final[dict[str, Writer]] = {
    "/deskline/autoreply": "autoreply",
    "/deskline/router": "router",
    "/deskline/sla": "sla",
    "/deskline/archive": "archive",
    "/deskline/config": "config",
}


AttributeText = Annotated[str, msgspec.Meta(min_length=1, max_length=WORD)]
AttributeId = Annotated[str, msgspec.Meta(min_length=1, max_length=ENVELOPE_ID)]


class _Attributes(msgspec.Struct, frozen=True):
    """The envelope of any type; lengths and characters are checked by ``_attributes``."""

    specversion: Literal["1.0"]
    id: AttributeId
    source: AttributeText
    type: AttributeText
    subject: AttributeId
    time: AttributeText
    data: dict[str, Any]


class _Known(NamedTuple):
    kind: Kind
    struct: type[msgspec.Struct]
    ids: Check | None
    times: Check | None


_KNOWN: Final = {
    kind.name: _Known(kind, struct_of(kind.model), ids_checker(kind.model), times_checker(kind.model))
    for kind in REGISTRY.values()
}


class _InvalidError(Exception):
    def __init__(self, reason: str, error: str) -> None:
        self.verdict = Invalid(reason, error)


def max_value_bytes(topic: str) -> int:
    return MAX_SHOPS_VALUE if topic == SHOPS else MAX_VALUE


@lru_cache(maxsize=1024)
def writer_of(source: str) -> Writer | None:
    """Whose ``source`` this is; None where contract §1 names nobody of that form."""
    return "gateway" if _GATEWAY.fullmatch(source) else _OURS.get(source)


def event_time(time: int, broker_at: int) -> tuple[int, bool]:
    """Event time of contract §1, and whether it is the broker timestamp because ``time`` is too far off."""
    if time - broker_at > MAX_AHEAD or broker_at - time > MAX_BEHIND:
        return broker_at, True
    return time, False


def decide(record: Record) -> Decoded:
    """The verdict on any record of any topic but ``dead-letters.v1``."""
    try:
        envelope, time = _attributes(_read_json(record))
        if record.key != envelope.subject.encode():
            raise _InvalidError("key_mismatch", "the key is not the subject in UTF-8")
        at, retimed = event_time(time, record.broker_at)
        known = _KNOWN.get(envelope.type)
        if known is None:
            _refuse_other_version(envelope.type)
            return Unknown(envelope.type, envelope.id, envelope.source, envelope.subject, at)
        if record.topic != known.kind.topic:
            raise _InvalidError("wrong_topic", f"{envelope.type} belongs on {known.kind.topic}")
        if writer_of(envelope.source) != known.kind.writer:
            raise _InvalidError("wrong_source", f"{envelope.type} is written by {known.kind.writer} alone")
        data = _data(envelope.data, known)
    except _InvalidError as refusal:
        return refusal.verdict
    return Event(
        envelope.type,
        envelope.id,
        envelope.source,
        envelope.subject,
        at,
        retimed,
        data,
        record.topic,
        record.partition,
        record.offset,
        record.broker_at,
    )


# --- JSON -----------------------------------------------------------------------------------------------------------


def _read_json(record: Record) -> Any:
    value = record.value
    if value is None:
        raise _InvalidError("bad_json", "null value")
    limit = max_value_bytes(record.topic)
    if len(value) > limit:
        raise _InvalidError("too_large", f"{len(value)} bytes, the limit is {limit}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise _InvalidError("bad_json", f"not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise _InvalidError("bad_json", "a byte order mark")
    if too_deep(text):
        raise _InvalidError("bad_json", f"nested deeper than {MAX_DEPTH}")
    if any(escape[1] for escape in _ESCAPES.finditer(text)):
        raise _InvalidError("bad_json", "a lone surrogate")
    try:
        return json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _InvalidError("bad_json", f"{error.msg} at character {error.pos}") from None


def too_deep(text: str) -> bool:
    """Whether it nests over ``MAX_DEPTH``; brackets in strings do not count."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _STRUCTURE.finditer(text):
        bracket = token[0]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif bracket in "]}":
            depth -= 1
    return False


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        return -_HUGE if digits[0] == "-" else _HUGE
    return int(digits)


def _number(text: str) -> float | int:
    """JSON Schema's rule: 3.0 and 3e0 are integers, and may stand where one is asked for."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= MAX_INT else number


def _refuse_constant(name: str) -> NoReturn:
    raise _InvalidError("bad_json", f"{name} is no JSON")


# --- envelope and data ----------------------------------------------------------------------------------------------


def _attributes(document: Any) -> tuple[_Attributes, int]:
    try:
        envelope = msgspec.convert(document, _Attributes)
    except msgspec.ValidationError as error:
        raise _InvalidError("bad_envelope", without_value(error)) from None
    for name in ("id", "subject"):
        if has_control_characters(getattr(envelope, name)):
            raise _InvalidError("bad_envelope", f"control characters in an id - at `$.{name}`")
    if not _URI_REFERENCE.fullmatch(envelope.source):
        raise _InvalidError("bad_envelope", "no URI-reference - at `$.source`")
    try:
        return envelope, parse_rfc3339(envelope.time)
    except ValueError as error:
        raise _InvalidError("bad_envelope", f"{error} - at `$.time`") from None


def _refuse_other_version(event_type: str) -> None:
    versioned = _VERSIONED.fullmatch(event_type)
    if versioned is not None and versioned[1] in _NAMES:
        raise _InvalidError("unsupported_version", f"{versioned[1]} in a version that this release does not read")


def _data(document: dict[str, Any], known: _Known) -> Any:
    try:
        data = msgspec.convert(document, known.struct)
    except msgspec.ValidationError as error:
        raise _InvalidError("bad_data", without_value(error)) from None
    for check in (known.ids, known.times):
        if check is not None and (bad := check(data)) is not None:
            raise _InvalidError("bad_data", bad)
    return data


def without_value(error: msgspec.ValidationError) -> str:
    """The text of msgspec, which names a path of known fields, less the one value that it quotes (of a closed list)."""
    text = str(error)
    if text.startswith("Invalid enum value"):
        place = text.rfind(" - at `")
        return "Value outside the closed list" + (text[place:] if place >= 0 else "")
    return text
