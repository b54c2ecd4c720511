"""A recorded conversation, and the one format in which the demo keeps them: JSON lines, one conversation a line.

``{"id", "shop", "channel", "language", "entry_point", "complaint", "customer": {…}, "turns": [{"at_s", "from",
"text"}]}``. Only ``turns`` is required, of a turn ``from`` and ``text``. docs/demo.md describes it for people.

Errors name the file and the line and say what is expected; they never show the text of a turn.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deskline.errors import UsageError

Party = Literal["customer", "agent"]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Amount = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", max_length=30)]

# People type three Chinese characters or five letters a second at best, and read before they type.
_READS_S: Final = 4.0
_LONGEST_GAP_S: Final = 60.0
_CJK: Final = (0x2E80, 0x9FFF)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Turn(_Part):
    by: Party = Field(alias="from")
    text: Annotated[str, Field(max_length=20_000)]
    at_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """Seconds after the first turn; absent: as long as it takes to read and to type."""
    attachment: Name | None = None
    """Kind of something attached, for example ``image``."""


class Customer(_Part):
    """As the shop's system knows them. Absent as a whole: one is made up from the conversation's id."""

    customer_id: Name | None = None
    tier: Name | None = None
    total_spend: Amount | None = None
    average_order: Amount | None = None
    order_count: Annotated[int, Field(ge=0, le=10**9)] | None = None
    name: Name | None = None
    dedicated_agent_id: Name | None = None


class Conversation(_Part):
    id: Name = "conversation"
    shop: Name | None = None
    """Absent: the Chinese sample shop for Chinese text, the English one for any other."""
    channel: Name | None = None
    language: Name | None = None
    entry_point: Name | None = None
    complaint: Name | None = None
    """Its category: a complaint is opened beside the conversation, and closed with it."""
    customer: Customer | None = None
    turns: Annotated[tuple[Turn, ...], Field(min_length=1, max_length=2_000)]

    @field_validator("turns")
    @classmethod
    def _begins_with_the_customer(cls, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        first = next((index for index, turn in enumerate(turns) if turn.by == "customer"), None)
        if first is None:
            raise ValueError("no turn is from the customer; at least one must be")
        return turns[first:]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        stated = [turn.at_s for turn in self.turns if turn.at_s is not None]
        if any(later < earlier for earlier, later in pairwise(stated)):
            raise ValueError("at_s goes back; turns must stand in the order in which they were said")
        return self

    def gap_s(self, index: int) -> float:
        """Seconds between the turn before ``index`` and that one, as recorded or as long as typing takes."""
        turn, before = self.turns[index], self.turns[index - 1] if index else None
        if before is None:
            return 0.0
        if turn.at_s is not None and before.at_s is not None:
            return min(turn.at_s - before.at_s, _LONGEST_GAP_S)
        return min(_READS_S + typing_s(turn.text), _LONGEST_GAP_S)

    def as_line(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)


def is_chinese(text: str) -> bool:
    """Whether a tenth of the characters or more are Chinese."""
    return sum(_CJK[0] <= ord(character) <= _CJK[1] for character in text) * 10 >= max(len(text), 1)


def typing_s(text: str) -> float:
    """How long a practised person takes to type it."""
    chinese = sum(_CJK[0] <= ord(character) <= _CJK[1] for character in text)
    return chinese / 3 + (len(text) - chinese) / 6


def parse_line(line: str, where: str, number: int) -> Conversation:
    """One line of the format; ``where`` and ``number`` name it in errors."""
    try:
        return Conversation.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        at = ".".join(map(str, problem["loc"])) or "the line"
        raise UsageError(
            f"{where}:{number}: {at}: {problem['msg']}. Expected one JSON object a line: "
            '{"id", "shop", "customer": {…}, "turns": [{"at_s", "from": "customer|agent", "text"}]} (docs/demo.md)'
        ) from None


def parse_lines(lines: Iterable[str], where: str) -> Iterator[Conversation]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            found = parse_line(line, where, number)
            yield found if "id" in found.model_fields_set else found.model_copy(update={"id": f"{where}:{number}"})


def made_up(identity: str) -> dict[str, Any]:
    """A customer for a conversation that names none, the same one each time: a tier and the figures that go with it."""
    drawn = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:4], "big")
    orders, part = drawn % 40, drawn // 40 % 100
    if part < 25:
        return {"tier": "new", "total_spend": "0", "order_count": 0}
    if part < 65:
        return {"tier": "regular", "total_spend": "320.00", "average_order": "160.00", "order_count": 2}
    if part < 82:
        return {"tier": "repeat", "total_spend": "2400.00", "average_order": "300.00", "order_count": 3 + orders}
    if part < 92:
        spent = {"total_spend": "128000.00", "average_order": "2560.00", "order_count": 50}
        return {"tier": "high_spend", **spent}
    return {"tier": "vip", "total_spend": "66000.00", "average_order": "1100.00", "order_count": 60}
