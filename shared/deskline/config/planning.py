"""What a command changes: the documents as they are stored against the documents as they should be. Pure.

A shop gets one new number per command, if anything of it changed; documents that did not change are not published again.
A shop that once had a document of its own and gives it up cannot take its versions back: the topic keeps them in
force. It gets a copy of ``_default``'s instead, marked ``inherited``, and every later command renews the copy as long as
the shop has none of its own.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from deskline.config.base import DEFAULT_SHOP, DocumentKind
from deskline.config.loading import KINDS

Bodies = Mapping[str, Mapping[DocumentKind, bytes]]
"""shop → document → canonical JSON."""


class Stored(NamedTuple):
    """The last version of one document of one shop."""

    version: int
    sha256: str
    inherited: bool


class Change(NamedTuple):
    """One document that gets a new version."""

    shop_id: str
    document: DocumentKind
    body: bytes
    sha256: str
    inherited: bool
    replaces: Stored | None


def plan_directory(desired: Bodies, stored: Mapping[tuple[str, DocumentKind], Stored]) -> list[Change]:
    """``desired`` is a whole directory: ``_default`` with every document, other shops with those of their own."""
    changes = []
    shops = set(desired) | {shop_id for shop_id, _ in stored}
    # _default first: a service that has read it can decide for every shop.
    for shop_id in sorted(shops, key=lambda shop_id: (shop_id != DEFAULT_SHOP, shop_id)):
        own = desired.get(shop_id, {})
        for document in KINDS:
            body, inherited = own.get(document), False
            if body is None and (shop_id, document) in stored:
                body, inherited = desired[DEFAULT_SHOP][document], True
            if body is not None:
                changes += _change(shop_id, document, body, stored.get((shop_id, document)), inherited=inherited)
    return changes


def plan_shop(
    shop_id: str,
    desired: Mapping[DocumentKind, bytes],
    inherited: frozenset[DocumentKind],
    stored: Mapping[tuple[str, DocumentKind], Stored],
) -> list[Change]:
    """Only these documents of only this shop; those in ``inherited`` are copies of ``_default``'s."""
    changes = []
    for document in KINDS:
        if document in desired:
            last = stored.get((shop_id, document))
            changes += _change(shop_id, document, desired[document], last, inherited=document in inherited)
    return changes


def _change(shop_id: str, document: DocumentKind, body: bytes, last: Stored | None, *, inherited: bool) -> list[Change]:
    digest = sha256(body).hexdigest()
    if last is not None and last.sha256 == digest:
        return []
    return [Change(shop_id, document, body, digest, inherited, last)]


def numbered(changes: Sequence[Change], last: Mapping[str, int]) -> dict[str, int]:
    """Shop → its new number. ``last``: shop → its highest so far."""
    return {change.shop_id: last.get(change.shop_id, 0) + 1 for change in changes}
