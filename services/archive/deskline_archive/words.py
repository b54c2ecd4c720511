"""The words of what people wrote, as an index of pairs of characters. Pure.

A two-character word such as 退款 is one pair; a longer one is several that must all be there, and the text itself is then
looked at. Pairs stand in the database as 32 bits of a hash under the day's own key.
"""

import hashlib
import struct
from operator import add
from typing import Any, Final
from unicodedata import normalize

import msgspec

_WIDTH: Final = (4).to_bytes(4, "big")
_INT4: Final = 23
"""The type's number in every PostgreSQL."""
# Its length; one dimension, no nulls, of what; how many, counted from 1.
_ARRAY: Final = struct.Struct(">iiiIii").pack
MOST: Final = 20_000
"""Characters of a text that are looked at: the contract's longest."""


def folded(text: str) -> str:
    """Case, width and blanks aside."""
    return "".join(normalize("NFKC", text[:MOST]).casefold().split())


def pairs(text: str) -> set[str]:
    """Of a folded text."""
    return set(map(add, text, text[1:]))


class Hashes(dict[str, bytes]):
    """Pair → number, under one key; made when it is first asked for, and as an array of PostgreSQL's binary format has it."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, pair: str) -> bytes:
        digest = hashlib.sha256(self._key + pair.encode("utf-8", "surrogatepass")).digest()
        self[pair] = element = _WIDTH + digest[:4]
        return element

    def of(self, found: set[str]) -> list[int]:
        return [int.from_bytes(self[pair][4:], "big", signed=True) for pair in found]

    def packed(self, found: set[str]) -> bytes:
        """The array ``of`` these, its length before it, as COPY has it."""
        elements = b"".join(map(self.__getitem__, found))
        return _ARRAY(20 + len(elements), 1, 0, _INT4, len(found), 1) + elements


def key_name(day: str) -> bytes:
    """Whose key a day's index is under; no conversation's id has a NUL."""
    return b"\0words " + day.encode()


class _Data(msgspec.Struct):
    text: str | None = None
    masked_text: str | None = None
    author: dict[str, Any] | None = None


class _Envelope(msgspec.Struct):
    data: _Data
    time: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Envelope)


def text_of(value: bytes | None) -> str:
    """What somebody wrote, of a stored event; empty where it is none."""
    try:
        return _DECODER.decode(value or b"").data.text or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
