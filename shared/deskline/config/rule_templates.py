"""The texts of replies: which names may stand in braces, and how they are filled in. Pure.

``{customer_name}`` is replaced by its value, ``{customer_name|亲}`` by what stands behind the bar where there is no value.
That is the whole language: a text cannot decide, repeat, or look anything up. Braces around anything else are text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIABLES: Final = ("customer_name", "order_id", "product", "agent_hours", "queue_position", "coupon")
"""Known everywhere; a shop's constants come beside them. ``coupon`` has a value only as a constant."""

_VARIABLE: Final = re.compile(r"\{([^\W\d]\w{0,63})(?:\|([^{}]*))?\}")
NAME: Final = re.compile(r"[^\W\d]\w{0,63}")
# Longer than names, order numbers and titles of goods are; short enough that nobody writes a letter through a name.
MAX_VALUE: Final = 64
MAX_TEXT: Final = 20_000
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]+"
)


class Piece(NamedTuple):
    """Text, or a variable with what stands for it where it has no value (None: then the text cannot be said)."""

    text: str
    variable: str = ""
    default: str | None = None


Template = tuple[Piece, ...]


def parse_template(text: str) -> Template:
    """Line by line the same text again, variables apart."""
    return tuple(_pieces(text))


def _pieces(text: str) -> Iterator[Piece]:
    end = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > end:
            yield Piece(text[end : match.start()])
        yield Piece("", match.group(1), match.group(2))
        end = match.end()
    if end < len(text):
        yield Piece(text[end:])


def variables_of(text: str) -> list[str]:
    return [match.group(1) for match in _VARIABLE.finditer(text)]


def fill(template: Template, values: Mapping[str, str | None]) -> str | None:
    """The text, or None where a variable has neither value nor default, or nothing would be left.

    ``values`` are plain text: what looks like a variable in them stays as it is.
    """
    filled: list[str] = []
    for piece in template:
        if not piece.variable:
            filled.append(piece.text)
            continue
        value = values.get(piece.variable) or piece.default
        if value is None:
            return None
        filled.append(value)
    text = "".join(filled)[:MAX_TEXT]
    return text if text.strip() else None


def plain(value: str | None) -> str | None:
    """What a customer or a shop's system states, as it may stand in a text: one line, bounded, nothing unseen."""
    if value is None:
        return None
    shown = _UNSEEN.sub(" ", value)
    return " ".join(shown.split())[:MAX_VALUE].strip() or None
