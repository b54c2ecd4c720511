"""Deterministic ids (contract §1): they name things, not bytes, so a redone decision gives the same id.

An id is 32 lower-case hexadecimal characters: 128 bits of BLAKE2b over the length-prefixed UTF-8 parts. Length
prefixes keep ("ab", "c") and ("a", "bc") apart. At a thousand million things the chance of any collision is 1e-21.
"""

from hashlib import blake2b
from typing import Final

_ID_BYTES: Final = 16
_SHORT: Final = 256
_SIZES: Final = tuple(size.to_bytes(4, "big") for size in range(_SHORT))
"""Length prefixes of nearly all parts, made once."""


def name_id(kind: str, *parts: str | int) -> str:
    """The id of the thing of this ``kind`` that ``parts`` name, in order."""
    named = b""
    for part in (kind, *parts):
        encoded = str(part).encode()
        size = len(encoded)
        named += (_SIZES[size] if size < _SHORT else size.to_bytes(4, "big")) + encoded
    return blake2b(named, digest_size=_ID_BYTES).hexdigest()


def request_id(subject: str, opener_kind: str, opener: str) -> str:
    """``opener_kind``: message, transfer, complaint or manual; ``opener`` as contract §1 lists them."""
    return name_id("request", subject, opener_kind, opener)


def assignment_id(request: str, attempt: int) -> str:
    return name_id("assignment", request, attempt)


def reply_id(subject: str, in_reply_to: str) -> str:
    return name_id("reply", subject, in_reply_to)


def clock_id(subject: str, metric: str, started_at: str, complaint_id: str = "") -> str:
    """``started_at`` as RFC 3339 with microseconds, exactly as the event shows it."""
    return name_id("clock", subject, metric, started_at, complaint_id)


def event_id(subject: str, event_type: str, thing: str, n: int = 1) -> str:
    """``n`` counts the events of that type about that thing, from 1."""
    return name_id("event", subject, event_type, thing, n)
