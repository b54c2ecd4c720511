"""What the shop knows: entries that answer questions for which there is no rule. A part of the document ``rules``; usually in ``knowledge.yaml``.

Entries are questions in several phrasings with an answer; products and promotions are items whose fields answer. One number,
``precision_target``, says how sure an automatic answer has to be.
"""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from deskline.config.base import Document, Name, once, problem_at
from deskline.text import fold

MAX_ENTRIES: Final = 20_000
MAX_PHRASINGS: Final = 200


def _check_shown(text: str) -> str:
    if not fold(text):
        raise ValueError("this text shows nothing; write something or remove it")
    return text


_Id = Annotated[Name, AfterValidator(_check_shown)]
_Phrasing = Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_check_shown)]
_Phrasings = Annotated[tuple[_Phrasing, ...], Field(min_length=1, max_length=MAX_PHRASINGS)]
_Answer = Annotated[str, Field(min_length=1, max_length=4_000), AfterValidator(_check_shown)]
_Field = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_check_shown)]
Moment = AwareDatetime | date
"""A date counts from its first moment in UTC, or as ``valid_until`` to its last; an instant needs its offset."""


def instant_us(moment: Moment, *, end: bool = False) -> int:
    """µs since 1970; ``end``: of a date the moment after its last."""
    if not isinstance(moment, datetime):
        at = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        return round(at.timestamp() + (86_400 if end else 0)) * 1_000_000
    return round(moment.timestamp() * 1_000_000)


class _Dated(Document):
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    """A date is the last day; an instant is the first one that no longer counts."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.valid_from is not None and self.valid_until is not None:
            begin, end = instant_us(self.valid_from), instant_us(self.valid_until, end=True)
            if begin >= end:
                raise problem_at("it ends before it begins", "valid_until")
        return self

    def is_valid(self, at: int) -> bool:
        """``at``: µs."""
        after = self.valid_from is None or at >= instant_us(self.valid_from)
        return after and (self.valid_until is None or at < instant_us(self.valid_until, end=True))


class Entry(_Dated):
    entry_id: _Id
    phrasings: _Phrasings
    """The question as customers ask it. Three to ten, worded differently, are worth more than one well-worded."""
    answer: _Answer
    kind: Literal["faq", "rule", "promotion"] = "faq"
    """Of the reply."""
    tags: Annotated[tuple[Name, ...], Field(max_length=16)] = ()


class Product(_Dated):
    """A product answers by field: asked for its price, ``price``. A field that is absent is left to people."""

    product_id: _Id
    """As the gateway states it in ``product_id``, so that "这件多少钱" is understood."""
    names: _Phrasings
    """What customers call it; the longest name found in a message decides."""
    price: _Field | None = None
    """As customers read it, with its currency."""
    stock: Annotated[int, Field(ge=0)] | _Field | None = None
    """A number of pieces, or words."""
    sizes: _Field | None = None
    """The size chart, in words."""
    opening_hours: _Field | None = None
    fields: dict[Name, _Field] = Field(default={})
    """Further ones; the name of the field, in the customer's words, asks for it: 材质, 保修, warranty."""


class Promotion(_Dated):
    promotion_id: _Id
    names: _Phrasings
    text: _Answer
    """What it says to somebody who asks for it while it runs."""


class LabelledQuestion(Document):
    text: _Phrasing
    entry_id: _Id | None = None
    """The entry that answers it; absent: none does (out of scope)."""


class Knowledge(Document):
    """What the shop knows: entries that answer questions for which there is no rule."""

    inherit: bool = False
    """The entries, products and promotions of ``_default`` count too, but those that have an id used here."""
    precision_target: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    """So many of the automatic answers must be right. Greater: fewer answers, more hand-overs."""
    expected_out_of_scope: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """The share of questions that reach the knowledge base and that no entry answers."""
    suggestions: bool = False
    """Where nothing is sure enough, the customer gets one short list to choose from instead of being handed over at once."""
    follow_up_minutes: Annotated[float, Field(ge=0, le=1_440)] = 10
    """So long a product stays in mind: "有货吗" after it was asked about."""
    opening_hours: _Field | None = None
    """Of the shop, as customers read them."""
    entries: Annotated[tuple[Entry, ...], Field(max_length=MAX_ENTRIES)] = ()
    products: Annotated[tuple[Product, ...], Field(max_length=MAX_ENTRIES)] = ()
    promotions: Annotated[tuple[Promotion, ...], Field(max_length=1_000)] = ()
    questions: Annotated[tuple[LabelledQuestion, ...], Field(max_length=20_000)] = ()
    """Real questions with their answers known. With a hundred and more the threshold is calibrated on them."""

    @property
    def is_empty(self) -> bool:
        return not (self.entries or self.products or self.promotions or self.opening_hours)

    @model_validator(mode="after")
    def _ids_once(self) -> Self:
        once("entry", "entries", "entry_id", (entry.entry_id for entry in self.entries))
        once("product", "products", "product_id", (product.product_id for product in self.products))
        once("promotion", "promotions", "promotion_id", (one.promotion_id for one in self.promotions))
        return self

    @model_validator(mode="after")
    def _phrasings_once(self) -> Self:
        """The same phrasing under two entries that can be valid together would leave it to chance which answers."""
        owners: dict[str, Entry] = {}
        for index, entry in enumerate(self.entries):
            for place, phrasing in enumerate(entry.phrasings):
                other = owners.setdefault(fold(phrasing), entry)
                if other is not entry and _overlap(other, entry):
                    message = f"{phrasing!r} is a phrasing of {other.entry_id!r} too; keep it in one of them"
                    raise problem_at(message, "entries", index, "phrasings", place)
        return self

    @model_validator(mode="after")
    def _questions_known(self) -> Self:
        known = {entry.entry_id for entry in self.entries}
        for index, question in enumerate(self.questions):
            if question.entry_id is not None and question.entry_id not in known and not self.inherit:
                raise problem_at(f"no entry is named {question.entry_id!r}", "questions", index, "entry_id")
        return self


def _overlap(one: _Dated, other: _Dated) -> bool:
    begins = [instant_us(each.valid_from) for each in (one, other) if each.valid_from is not None]
    ends = [instant_us(each.valid_until, end=True) for each in (one, other) if each.valid_until is not None]
    return not begins or not ends or max(begins) < min(ends)


_LISTS: Final = (("entries", "entry_id"), ("products", "product_id"), ("promotions", "promotion_id"))
_SETTINGS: Final = ("precision_target", "expected_out_of_scope", "suggestions", "follow_up_minutes", "opening_hours")


def merged(default: Knowledge, own: Knowledge) -> Knowledge:
    """What a shop runs on whose knowledge says ``inherit``: complete in itself."""
    if not own.inherit:
        return own
    fields: dict[str, Any] = {"inherit": False}
    for name, key in _LISTS:
        mine = getattr(own, name)
        ids = {getattr(item, key) for item in mine}
        fields[name] = (*mine, *(item for item in getattr(default, name) if getattr(item, key) not in ids))
    fields["entries"] = _without_own_phrasings(own.entries, fields["entries"])
    for name in _SETTINGS:
        if name not in own.model_fields_set:
            fields[name] = getattr(default, name)
    known = {entry.entry_id for entry in fields["entries"]}
    asked = {fold(question.text) for question in own.questions}
    both = (*own.questions, *(one for one in default.questions if fold(one.text) not in asked))
    fields["questions"] = tuple(one for one in both if one.entry_id is None or one.entry_id in known)
    return own.model_copy(update=fields)


def _without_own_phrasings(own: tuple[Entry, ...], every: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """A phrasing that the shop has in an entry of its own asks for that one, not for the inherited one."""
    taken = {fold(phrasing) for entry in own for phrasing in entry.phrasings}
    kept = list(own)
    for entry in every[len(own) :]:
        left = tuple(phrasing for phrasing in entry.phrasings if fold(phrasing) not in taken)
        if left:
            kept.append(entry if left == entry.phrasings else entry.model_copy(update={"phrasings": left}))
    return tuple(kept)
