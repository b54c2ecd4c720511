"""What a validator found, in words that say what to do. Pure.

pydantic says what is wrong with a value of JSON; the person who wrote the YAML wants to know what to write instead:
which keys exist there, whether quotes are missing, what the limits are.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deskline.config.base import DocumentKind
from deskline.config.documents import DOCUMENTS
from deskline.config.yaml_source import Path


class Finding(NamedTuple):
    path: Path
    """From the top of the document; of a key that should not be there, or of the parent of a missing one."""
    at_key: bool
    """The mistake is the key, not its value."""
    message: str


def findings(kind: DocumentKind, error: ValidationError) -> list[Finding]:
    return [_finding(kind, details) for details in error.errors(include_url=False) if not is_echo(details)]


def is_echo(details: ErrorDetails) -> bool:
    """Whether it only says that nothing is left of a list, each of whose entries has a mistake of its own."""
    return details["type"] == "too_short" and bool(details["input"])


def _finding(kind: DocumentKind, details: ErrorDetails) -> Finding:
    context: Mapping[str, Any] = details.get("ctx", {})
    path: Path = tuple(details["loc"])
    match details["type"]:
        case "misplaced":
            return Finding((*path, *context["at"]), at_key=False, message=str(context["message"]))
        case "missing":
            return Finding(path[:-1], at_key=False, message=f"{path[-1]} is missing; add it")
        case "extra_forbidden":
            return Finding(path, at_key=True, message=_unknown_key(kind, path, details["input"]))
        case _ if path and path[-1] == "[key]":
            # pydantic's path of a bad key is (…, key, "[key]").
            return Finding(path[:-1], at_key=True, message=_sentence(details, context))
        case _:
            return Finding(path, at_key=False, message=_sentence(details, context))


def _sentence(details: ErrorDetails, context: Mapping[str, Any]) -> str:
    found = details["input"]
    match details["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return f"must be one of {context['expected']}{_guess(found, context['expected'])}"
        case "string_type" if isinstance(found, int | float):
            return f'must be text; put it in quotes: "{str(found).lower() if isinstance(found, bool) else found}"'
        case "string_type":
            return f"must be text, not {_shape(found)}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number (without quotes), not {_shape(found)}"
        case "float_type" | "float_parsing":
            return f"must be a number (without quotes), not {_shape(found)}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false, not {_shape(found)}"
        case "tuple_type" | "list_type":
            return f"must be a list: [a, b] or lines that begin with a dash, not {_shape(found)}"
        case "model_type" | "dict_type":
            return f"must have members (key: value), not {_shape(found)}"
        case "greater_than_equal":
            return f"must be at least {_number(context['ge'])}, not {found}"
        case "greater_than":
            return f"must be greater than {_number(context['gt'])}, not {found}"
        case "less_than_equal":
            return f"must be at most {_number(context['le'])}, not {found}"
        case "less_than":
            return f"must be less than {_number(context['lt'])}, not {found}"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "too_short":
            return "must not be an empty list; list something, or leave it out"
        case "too_long":
            return f"must have at most {context['max_length']} entries"
        case kind if kind.startswith("date_"):
            return f"{found!r} is no date of the calendar; write YYYY-MM-DD"
        case _:
            return details["msg"]


def _number(limit: float) -> float:
    return int(limit) if float(limit).is_integer() else limit


def _shape(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "members"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _guess(found: Any, expected: str) -> str:
    choices = [choice.strip(" '") for choice in expected.replace(" or ", ",").split(",")]
    return f", not {_shape(found)}" + _did_you_mean(found, choices)


def _did_you_mean(found: Any, choices: Iterable[str]) -> str:
    close = get_close_matches(str(found).lower(), list(choices), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _unknown_key(kind: DocumentKind, path: Path, value: Any) -> str:
    known = known_keys(kind, path[:-1])
    message = f"there is no key {path[-1]!r} here"
    if value is None:  # {text: one, two}: YAML ends the text at the comma
        return f"{message}; if it belongs to the text before the comma, put that text in quotes"
    guess = _did_you_mean(path[-1], known)
    return message + (guess or (f"; the keys are {', '.join(known)}" if known else ""))


def known_keys(kind: DocumentKind, path: Path) -> Sequence[str]:
    """The keys that the members at ``path`` may have, read from the document's JSON Schema."""
    schema = _schema(kind)
    node: Any = schema
    for part in path:
        node = _object(schema, node)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if not isinstance(node, dict):
            return ()
    return tuple(_object(schema, node).get("properties", {}))


def _object(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Behind a reference, and, of ``X or null``, the X."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _object(schema, option)
    if "$ref" in node:
        return _object(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    return node


@cache
def _schema(kind: DocumentKind) -> dict[str, Any]:
    return DOCUMENTS[kind].model_json_schema()
