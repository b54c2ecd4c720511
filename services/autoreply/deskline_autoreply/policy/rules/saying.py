"""What is said to a customer: one of a reply's texts, with its variables filled in."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from deskline.config.rule_templates import fill, parse_template
from deskline_autoreply.model import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deskline.config.rule_templates import Template
    from deskline.config.rules_document import Reply


class _Text(NamedTuple):
    variant: str
    configured: str
    template: Template
    weight: int


class Saying:
    """A reply, compiled."""

    __slots__ = ("_constants", "_reply", "_salt", "_texts", "needs_values")

    def __init__(self, rule_id: str, reply: Reply, constants: Mapping[str, str]) -> None:
        self._reply, self._salt, self._constants = reply, rule_id, constants
        self._texts = tuple(_Text(one.variant, one.text, parse_template(one.text), one.weight) for one in reply.texts)
        self.needs_values = any(piece.variable for text in self._texts for piece in text.template)

    def say(self, customer: str, values: Mapping[str, str | None], was_said: Callable[[str], bool]) -> Said | None:
        """The customer's own variant; where that cannot be filled in, or ``was_said`` just now, the next one. None: none can."""
        known = {**values, **self._constants} if self.needs_values else {}
        first = self._chosen(customer) if len(self._texts) > 1 else 0
        for text in (*self._texts[first:], *self._texts[:first]):
            filled = fill(text.template, known)
            if filled is not None and not was_said(filled):
                return Said(self._reply.kind, filled, text.configured, self._reply.entry_id, text.variant)
        return None

    def _chosen(self, customer: str) -> int:
        """By a hash, so that it is the same in every conversation, instance and release."""
        total = sum(text.weight for text in self._texts)
        digest = blake2b(f"{self._salt}\0{customer}".encode(), digest_size=8).digest()
        point = int.from_bytes(digest, "big") % total
        for index, text in enumerate(self._texts):
            point -= text.weight
            if point < 0:
                return index
        raise AssertionError(total)
