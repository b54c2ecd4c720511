"""Configuration as text for people: YAML that reads back as the same document, and differences of it. Pure."""

import json
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any

import yaml

from deskline.config.base import Document
from deskline.config.documents import body_of


def as_yaml(document: Document, *, stated_only: bool = False) -> str:
    """In the order of the model, every default written out; ``stated_only``: only what the document states."""
    if stated_only:
        plain = document.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    else:
        plain = _ordered(document.model_dump(mode="json", exclude_none=True), json.loads(body_of(document)))
    return yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110)


class _Dumper(yaml.SafeDumper):
    """What YAML takes for a line break inside other quotes is escaped, so that it reads back as it was."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _ordered(order: Any, values: Any) -> Any:
    """The values of the canonical form (whole numbers without a point), in the order of the other."""
    if isinstance(values, dict):
        return {key: _ordered(member, values[key]) for key, member in order.items()}
    if isinstance(values, list):
        return [_ordered(*pair) for pair in zip(order, values, strict=True)]
    return values


def difference(old: Document | None, new: Document, old_name: str, new_name: str) -> Iterator[str]:
    """Lines of a unified diff, without line ends."""
    before = [] if old is None else as_yaml(old).splitlines()
    return unified_diff(before, as_yaml(new).splitlines(), old_name, new_name, lineterm="", n=2)
