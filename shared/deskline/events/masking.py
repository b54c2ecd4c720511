"""A record's value for anybody's eyes: ids, times and words of a list as they are, every other string by its length. Pure.

What is shown is stated by the models, not by what a field is called: the same name may stand for a list's word in one
event and for somebody's prose in another (``reason``), and in a record that is not valid any field may hold anything.
"""

import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from deskline.clock import parse_rfc3339
from deskline.events.fields import IsId, IsTime, Known
from deskline.events.models import REGISTRY, Model
from deskline.terminal_text import printable

_DEEPEST: Final = 32
_LONGEST: Final = 128


class _Text(Enum):
    NAME = "of a thing: an id, a type, a source"
    TIME = "and nothing else that stands where a time should"


class _Each(NamedTuple):
    item: "_Shown"


_Shown = _Text | _Each | frozenset[str] | type[Model] | None
"""What may be shown of a value. A set: these words. A model: as its fields say. None: of texts the length only."""

_ENVELOPE: Final[Mapping[str, _Shown]] = {
    "specversion": frozenset({"1.0"}),
    **dict.fromkeys(("id", "source", "type", "subject"), _Text.NAME),
    "time": _Text.TIME,
}


def masked(raw: bytes) -> str:
    """One line. Names of members and numbers are shown; texts are not, whatever is wrong with the record."""
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError):
        return f"({len(raw)} bytes that are no JSON)"
    if isinstance(parsed, dict):
        stated = parsed.get("type")
        kind = REGISTRY.get(stated) if isinstance(stated, str) else None
        shown = _members(parsed, {**_ENVELOPE, "data": None if kind is None else kind.model}, 0)
    else:
        shown = _mask(parsed, None, 0)
    return printable(json.dumps(shown, ensure_ascii=False))


def _members(value: Mapping[str, Any], fields: Mapping[str, _Shown], depth: int) -> dict[str, Any]:
    return {_short(name): _mask(item, fields.get(name), depth + 1) for name, item in value.items()}


def _mask(value: Any, shown: _Shown, depth: int) -> Any:
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return _members(value, _fields(shown) if isinstance(shown, type) else {}, depth)
    if isinstance(value, list):
        item = shown.item if isinstance(shown, _Each) else None
        return [_mask(each, item, depth + 1) for each in value]
    if isinstance(value, str):
        return _short(value) if _may_be_seen(value, shown) else f"({len(value)} characters)"
    return value


def _may_be_seen(text: str, shown: _Shown) -> bool:
    if isinstance(shown, frozenset):
        return text in shown
    if shown is _Text.TIME:
        try:
            parse_rfc3339(text)
        except ValueError:
            return False
        return True
    return shown is _Text.NAME


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@cache
def _fields(model: type[Model]) -> Mapping[str, _Shown]:
    hints = typing.get_type_hints(model, include_extras=True)
    return {name: _shown(hints[name]) for name in model.model_fields}


def _shown(hint: Any) -> _Shown:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and origin is None:
        return hint if issubclass(hint, Model) else None
    if origin is Annotated:
        for marker in arguments[1:]:
            if isinstance(marker, IsId):
                return _Text.NAME
            if isinstance(marker, IsTime):
                return _Text.TIME
            if isinstance(marker, Known):
                return frozenset(marker.values)
        return _shown(arguments[0])
    if origin is Literal:
        return frozenset(arguments)
    if origin in (Union, types.UnionType):
        return next((found for item in arguments if (found := _shown(item)) is not None), None)
    if origin is tuple and arguments[-1] is ...:
        return _Each(_shown(arguments[0]))
    return None
