"""What all documents of a configuration are made of: names, durations, spans, the base model, and how a mistake is placed."""

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _check_name(text: str) -> str:
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise ValueError("control characters (tabs and line breaks among them) cannot stand in a name")
    if text != text.strip():
        raise ValueError(f"{text!r} begins or ends with a blank; remove it")
    return text


Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_check_name)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
"""A condition that lists nothing would match nothing: leave it out instead."""
Seconds = Annotated[float, Field(ge=0, le=315_576_000)]
"""At most ten years: a longer one is a slip of units, and its timer would never come."""
PositiveSeconds = Annotated[float, Field(gt=0, le=315_576_000)]
Grade = Literal["trainee", "standard", "senior", "supervisor"]
Metric = Literal[
    "instant_reply", "agent_response", "next_response", "transfer_response", "resolution", "complaint_closure"
]
DocumentKind = Literal["agents", "calendars", "sla", "routing", "limits", "rules"]

DEFAULT_SHOP = "_default"


class Document(BaseModel):
    # Docstrings of fields are their descriptions in the JSON Schemas that editors show.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def problem_at(message: str, *at: str | int) -> PydanticCustomError:
    """To be raised by a validator of a whole model: the mistake stands at this path below it."""
    # pydantic fills {…} of the template from the context; the message is data, not a template.
    return PydanticCustomError("misplaced", "{message}", {"message": message, "at": list(at)})


def once(what: str, field: str, key: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise problem_at(f"{what} {value!r} is listed twice; remove one or rename it", field, index, key)
        seen.add(value)


# --- spans of a day ---------------------------------------------------------------------------------------------

_SPAN = re.compile(r"([01]\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?-([01]\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_DAY_S = 86_400


def span_seconds(text: str) -> tuple[int, int]:
    """Start and end in seconds of the local clock after midnight of the span's date; the end is the greater.

    Raises ``ValueError`` with what to write instead.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no span; write HH:MM-HH:MM, for example 09:00-18:00 or 22:00-02:00")
    parts = [int(part or 0) for part in match.groups()]
    start, end = (hour * 3_600 + minute * 60 + second for hour, minute, second in (parts[:3], parts[3:]))
    if max(start, end) > _DAY_S:
        raise ValueError(f"{text!r} goes beyond the end of the day; the latest is 24:00")
    if start == _DAY_S:
        raise ValueError(f"{text!r} cannot start at 24:00; write it on the next day")
    if start == end:
        raise ValueError(f"{text!r} has equal ends; write 00:00-24:00 for a whole day")
    return start, end if end > start else end + _DAY_S


def _check_span(text: str) -> str:
    span_seconds(text)
    return text


Span = Annotated[str, AfterValidator(_check_span), Field(json_schema_extra={"pattern": f"^{_SPAN.pattern}$"})]
