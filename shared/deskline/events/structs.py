"""msgspec structs derived from the pydantic models: the same fields and limits, at C speed.

Two families come from the one source. *Reading* structs take the lists of §4 as open; *writing* structs hold them to the
known values, count ordinals from 1 and refuse null: an optional field without a value is absent. ``new`` builds reading
structs, ``deskline.events.wire.encode`` checks them against the writing ones. What msgspec cannot check in C (control
characters in ids, RFC 3339) ``checker`` compiles per type.
"""

import re
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel

from deskline.clock import parse_rfc3339
from deskline.events.fields import EnvelopeId, FromOne, IsId, IsTime, Known, Time, has_control_characters
from deskline.events.models import REGISTRY, Model

M = TypeVar("M", bound=Model)
Check = Callable[[Any], str | None]
"""Looks at a data struct; None, or what is wrong and where, without the value."""


def _translate(hint: Any, *, writing: bool) -> Any:
    """The same type with structs in place of models."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and origin is None:
        return struct_of(hint, writing=writing) if issubclass(hint, BaseModel) else hint
    if origin is Annotated:
        inner, *metadata = arguments
        if writing:
            for known in (item for item in metadata if isinstance(item, Known)):
                return Literal[known.values]
            if any(isinstance(item, FromOne) for item in metadata):
                return Annotated[inner, msgspec.Meta(ge=1, le=2**53)]
        limits = tuple(item for item in metadata if isinstance(item, msgspec.Meta))
        if inner is float:
            # An integer is held to the limits as it stands: as a float 2^53 + 1 would round to 2^53, and pass.
            return Annotated[int, *limits] | Annotated[float, *limits]
        translated = _translate(inner, writing=writing)
        return Annotated[translated, *limits] if limits else translated
    if origin in (Union, types.UnionType):
        kept = (item for item in arguments if not (writing and item is types.NoneType))
        return Union[tuple(_translate(item, writing=writing) for item in kept)]  # noqa: UP007
    if origin in (tuple, dict):
        return origin[tuple(item if item is ... else _translate(item, writing=writing) for item in arguments)]
    return hint


def struct_of(model: type[BaseModel], *, writing: bool = False) -> type[msgspec.Struct]:
    """The struct of a model, always the same one. An optional field without a value is left out when it is encoded."""
    return _struct_of(model, writing)  # one spelling of the call: the cache tells keywords from defaults


@cache
def _struct_of(model: type[BaseModel], writing: bool) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(model, include_extras=True)
    fields: list[tuple[str, Any] | tuple[str, Any, None]] = []
    for name, info in model.model_fields.items():
        hint = _translate(hints[name], writing=writing)
        fields.append((name, hint) if info.is_required() else (name, hint, None))
    return msgspec.defstruct(
        model.__name__, fields, module=__name__, frozen=True, gc=False, kw_only=True, omit_defaults=True
    )


def _envelope(tag: str, model: type[Model], *, writing: bool) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any]] = [
        ("specversion", Literal["1.0"]),
        ("id", _translate(EnvelopeId, writing=writing)),
        ("source", Annotated[str, msgspec.Meta(min_length=1, max_length=512)]),
        ("subject", _translate(EnvelopeId, writing=writing)),
        ("time", _translate(Time, writing=writing)),
        ("data", struct_of(model, writing=writing)),
    ]
    return msgspec.defstruct(
        f"{model.__name__}Event", fields, module=__name__, frozen=True, gc=False, tag_field="type", tag=tag
    )


READING: Final = {kind.name: _envelope(kind.name, kind.model, writing=False) for kind in REGISTRY.values()}
WRITING: Final = {kind.name: _envelope(kind.name, kind.model, writing=True) for kind in REGISTRY.values()}


_NEW: Final[dict[type[BaseModel], type[msgspec.Struct]]] = {}
"""What ``new`` makes of each model: looked up for every part of every output."""


def new(model: type[M], /, **fields: Any) -> M:
    """The data of an event, or a part of it, ready for ``encode``: ``new(Author, kind="bot", id="autoreply")``.

    Typed as the model; at run time the struct derived from it, which has the same attributes. Missing and unknown
    fields raise ``TypeError`` here, wrong values ``ValueError`` in ``encode``.
    """
    made: Any = _NEW.get(model) or _NEW.setdefault(model, struct_of(model))
    return made(**fields)  # type: ignore[no-any-return]


# --- checks that msgspec cannot do ----------------------------------------------------------------------------------


def _check_id(value: Any) -> str | None:
    return "control characters in an id" if has_control_characters(value) else None


# Surely a time, at a third of the cost of reading it: the form that machines write, and any day but the 29th of February.
_SURELY: Final = re.compile(
    r"\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z",
    re.ASCII,
).fullmatch


def _check_time(value: Any) -> str | None:
    if _SURELY(value):
        return None
    try:
        parse_rfc3339(value)
    except ValueError as error:
        return str(error)
    return None


def _check_of(hint: Any, marker: type) -> Check | None:
    """The check that a value of this type needs for this marker, or None where it needs none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and origin is None:
        return checker(hint, marker) if issubclass(hint, BaseModel) else None
    if origin is Annotated:
        if any(isinstance(item, marker) for item in arguments[1:]):
            return _check_id if marker is IsId else _check_time
        return _check_of(arguments[0], marker)
    if origin in (Union, types.UnionType):
        return next((check for item in arguments if (check := _check_of(item, marker)) is not None), None)
    if origin is tuple and arguments[-1] is ...:
        each = _check_of(arguments[0], marker)
        return None if each is None else lambda values: next((bad for value in values if (bad := each(value))), None)
    return None


@cache
def checker(model: type[BaseModel], marker: type) -> Check | None:
    """All checks of one marker (``IsId`` or ``IsTime``) in a model, nested ones included; None where it has none."""
    hints = typing.get_type_hints(model, include_extras=True)
    checks = [(name, check) for name in model.model_fields if (check := _check_of(hints[name], marker)) is not None]
    if not checks:
        return None

    def run(value: Any) -> str | None:
        for name, check in checks:
            part = getattr(value, name)
            if part is not None and (bad := check(part)) is not None:
                return bad if " - at " in bad else f"{bad} - at `{name}`"
        return None

    return run


def ids_checker(model: type[BaseModel]) -> Check | None:
    return checker(model, IsId)


def times_checker(model: type[BaseModel]) -> Check | None:
    return checker(model, IsTime)
