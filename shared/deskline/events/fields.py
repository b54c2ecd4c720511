"""The kinds of field that events are made of, each with the limits of contract §1, for pydantic and msgspec at once.

Every kind is an ``Annotated`` type that carries pydantic's constraints (models, JSON Schema), msgspec's (the structs of
``deskline.events.wire``) and, where neither library can say it in C, a marker that ``wire`` turns into a check of its own:
``IsId`` (no control characters), ``IsTime`` (RFC 3339). Limits are of code points, as both libraries count.

``known`` is a list of contract §4: readers take an unknown value as "other", so reading admits any string; the marker
``Known`` holds the writing side to the listed ones. The lists of §3 are closed and simply ``Literal``.
"""

from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta
from pydantic import AfterValidator, BeforeValidator, Field

from deskline.clock import parse_rfc3339

MAX_INT: Final = 2**53
TEXT: Final = 20_000
PROSE: Final = 2_048
WORD: Final = 512
ENVELOPE_ID: Final = 128
LIST: Final = 64
SPANS: Final = 4_096

# Cc of Unicode: C0, DEL and C1, as CloudEvents forbids them in attributes.
CONTROL_CHARACTERS: Final = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))


class IsId:
    """Marks a string that names a thing: not empty, no control characters."""


class IsTime:
    """Marks a string that is an RFC 3339 time."""


class Known(NamedTuple):
    """Marks an open list; writing is held to these values."""

    values: tuple[str, ...]


class FromOne:
    """Marks a number that counts from 1 in what deskline writes; a reader refuses negative ones only."""


def known(*values: str, limit: int = WORD) -> tuple[Any, ...]:
    """The metadata of an open list, for use inside ``Annotated[str, *known(...)]``."""
    extra: dict[str, Any] = {"examples": list(values)}
    return Field(max_length=limit, json_schema_extra=extra), Meta(max_length=limit), Known(values)


def has_control_characters(text: str) -> bool:
    return not CONTROL_CHARACTERS.isdisjoint(text)


def _check_id(value: str) -> str:
    if has_control_characters(value):
        raise ValueError("control characters in an id")
    return value


def _check_time(value: str) -> str:
    parse_rfc3339(value)
    return value


def _integral(value: object) -> object:
    """JSON Schema's rule: 3.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _not_beyond(value: object) -> object:
    """As a float 2^53 + 1 would round to 2^53, and pass."""
    if isinstance(value, int) and abs(value) > MAX_INT:
        raise ValueError("an integer beyond 2^53")
    return value


_NO_CONTROL_CHARACTERS: Final[dict[str, Any]] = {"not": {"pattern": "[\\u0000-\\u001f\\u007f-\\u009f]"}}

Id = Annotated[
    str,
    Field(min_length=1, max_length=WORD, json_schema_extra=_NO_CONTROL_CHARACTERS),
    AfterValidator(_check_id),
    Meta(min_length=1, max_length=WORD),
    IsId(),
]
EnvelopeId = Annotated[
    str,
    Field(min_length=1, max_length=ENVELOPE_ID, json_schema_extra=_NO_CONTROL_CHARACTERS),
    AfterValidator(_check_id),
    Meta(min_length=1, max_length=ENVELOPE_ID),
    IsId(),
]
Word = Annotated[str, Field(max_length=WORD), Meta(max_length=WORD)]
Prose = Annotated[str, Field(max_length=PROSE), Meta(max_length=PROSE)]
Text = Annotated[str, Field(max_length=TEXT), Meta(max_length=TEXT)]
Time = Annotated[
    str,
    Field(max_length=WORD, json_schema_extra={"format": "date-time"}),
    AfterValidator(_check_time),
    Meta(max_length=WORD),
    IsTime(),
]
Decimal = Annotated[
    str,
    Field(max_length=WORD, pattern=r"^-?[0-9]+(\.[0-9]+)?$"),
    # msgspec searches with Python's re, where $ would admit a final line feed.
    Meta(max_length=WORD, pattern=r"\A-?[0-9]+(\.[0-9]+)?\Z"),
]

Count = Annotated[int, Field(ge=0, le=MAX_INT), BeforeValidator(_integral), Meta(ge=0, le=MAX_INT)]
Ordinal = Annotated[int, Field(ge=0, le=MAX_INT), BeforeValidator(_integral), Meta(ge=0, le=MAX_INT), FromOne()]
Priority = Annotated[int, Field(ge=0, le=100), BeforeValidator(_integral), Meta(ge=0, le=100)]
Score = Annotated[int, Field(ge=1, le=5), BeforeValidator(_integral), Meta(ge=1, le=5)]
Amount = Annotated[float, Field(ge=0, le=MAX_INT), BeforeValidator(_not_beyond), Meta(ge=0, le=MAX_INT)]
"""A number that cannot be negative: seconds counted, load."""
Number = Annotated[float, Field(ge=-MAX_INT, le=MAX_INT), BeforeValidator(_not_beyond), Meta(ge=-MAX_INT, le=MAX_INT)]
Confidence = Annotated[float, Field(ge=0, le=1), Meta(ge=0, le=1)]

# Of a list, for use inside Annotated[tuple[...], ...].
SHORT_LIST: Final = (Field(max_length=LIST), Meta(max_length=LIST))
LONG_LIST: Final = (Field(max_length=SPANS), Meta(max_length=SPANS))

Words = Annotated[tuple[Word, ...], *SHORT_LIST]
Ids = Annotated[tuple[Id, ...], *SHORT_LIST]
