"""The document ``rules``: what autoreply answers, and what it leaves to people.

Everything that one automatic answer can depend on is in this one document, so that one number, ``rules_version``, names
it all: the knowledge base and the sensitive words too, though they have modules and files of their own.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from deskline.config.base import Document, Name, once, problem_at
from deskline.config.knowledge_document import Knowledge
from deskline.config.sensitive_document import Sensitive
from deskline.text import fold

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER: Final = 2**62

ReplyKind = Literal[
    "greeting", "rule", "faq", "promotion", "off_hours", "emergency", "queue_notice", "coupon", "suggestions"
]
HandoverReason = Literal[
    "no_match", "low_confidence", "rule", "complaint", "asked_for_human", "repeated_question", "sensitive", "attachment"
]


def _check_id(name: str) -> str:
    if not name.isprintable():
        raise ValueError(f"{name!r} holds characters that cannot be seen")
    return name


def _check_keyword(keyword: str) -> str:
    if not fold(keyword):
        raise ValueError(f"the keyword {keyword!r} shows nothing: it would match every message")
    return keyword


_RuleName = Annotated[Name, AfterValidator(_check_id)]
_Keyword = Annotated[Name, AfterValidator(_check_keyword)]
# An empty list would be a condition that nothing meets, or one that everything does: neither is what anybody means.
_Keywords = Annotated[tuple[_Keyword, ...], Field(min_length=1, max_length=10_000)]
_AnyName = Annotated[tuple[Name, ...], Field(min_length=1)]
# Lists that travel on events hold 64 entries at most (contract §1).
_Labels = Annotated[tuple[Name, ...], Field(max_length=64)]


class RuleCondition(Document):
    """All that are present must match. Keywords match on characters of the folded text (NFKC, case, blanks aside)."""

    any_of: _Keywords | None = None
    """The text contains at least one of these."""
    all_of: _Keywords | None = None
    none_of: _Keywords | None = None
    exact: _Keywords | None = None
    """The whole text is one of these."""
    open: bool | None = None
    """True: only in shop hours; False: only outside them."""
    first_message: bool | None = None
    """True: only the message that opens the conversation, or opens it again after a close; False: only others."""
    attachment: bool | None = None
    """True: only messages with an attachment; False: only without."""
    tiers: _AnyName | None = None
    """As the message states the customer's tier; a customer without one is ``regular``."""
    channels: _AnyName | None = None
    entry_points: _AnyName | None = None
    languages: _AnyName | None = None


class Reply(Document):
    kind: ReplyKind = "rule"
    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    entry_id: _RuleName | None = None

    @model_validator(mode="after")
    def _shows_something(self) -> Self:
        if not fold(self.text):
            raise ValueError("the text of this reply shows nothing")
        return self


class Handover(Document):
    reason: HandoverReason = "rule"
    skills: _Labels = ()
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    flags: _Labels = ()


class AutoreplyRule(Document):
    """``reply`` alone answers; ``handover`` alone hands over; both are a holding reply and a hand-over."""

    rule_id: _RuleName
    priority: Annotated[int, Field(ge=0, le=1000)] = 100
    """Greater is tried first; among equals the order in the file."""
    when: RuleCondition = RuleCondition()
    reply: Reply | None = None
    handover: Handover | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.reply is None and self.handover is None:
            raise ValueError(f"rule {self.rule_id!r} neither replies nor hands over; give it reply, handover or both")
        return self


class RulesDocument(Document):
    """What autoreply answers. The first rule whose conditions all match decides; ``fallback`` where none does."""

    inherit: bool = False
    """True: what ``_default`` has and this shop does not override counts here too: see ``inherited``."""
    shadow: bool = False
    """Replies are computed and recorded, not sent (outcome ``shadow``)."""
    shadow_until: AwareDatetime | None = None
    """Messages from this time on are no longer computed in shadow; null: until ``shadow`` is taken away. See ``shadow_then``."""
    shadow_then: Literal["off", "live"] = "off"
    """What holds from ``shadow_until`` on: off, people answer everything as before; live, replies are sent."""
    rules: tuple[AutoreplyRule, ...] = ()
    fallback: Handover = Handover(reason="no_match")
    """The hand-over where no rule matches."""
    knowledge: Knowledge = Knowledge()
    """Usually in a file of its own beside this one: ``knowledge.yaml``."""
    sensitive: Sensitive = Sensitive()
    """Usually in a file of its own: ``sensitive.yaml``."""
    candidate: "RulesDocument | None" = None
    """Rules in shadow beside these: what they would do is recorded and compared for every message, and nothing of it is sent.
    Usually in files of their own: ``shadow/rules.yaml``, ``shadow/knowledge.yaml``, ``shadow/sensitive.yaml``."""

    @property
    def shadow_until_us(self) -> int:
        """µs since 1970; later than every time where there is no end."""
        return _FOREVER if self.shadow_until is None else (self.shadow_until - _EPOCH) // timedelta(microseconds=1)

    @model_validator(mode="after")
    def _shadows(self) -> Self:
        if self.shadow_until is not None and not self.shadow:
            raise problem_at("without shadow: true this says nothing", "shadow_until")
        nested = self.candidate
        if nested is not None and (nested.candidate is not None or nested.shadow):
            field = "shadow" if nested.shadow else "candidate"
            raise problem_at("a candidate is in shadow anyway; take this away", "candidate", field)
        return self

    @model_validator(mode="after")
    def _rulesonce(self) -> Self:
        once("rule", "rules", "rule_id", (rule.rule_id for rule in self.rules))
        return self


PARTS: Final = ("knowledge", "sensitive")
"""Fields of ``RulesDocument`` that a shop's folder may hold as files of their own, ``<field>.yaml``."""


def inherited(default: RulesDocument, own: RulesDocument) -> RulesDocument:
    """What a shop runs on whose document says ``inherit``: its own rules, and those of ``_default`` that it does not
    override by their ``rule_id``. Complete in itself, so a version means the same whatever becomes of ``_default``.
    """
    if not own.inherit:
        return own
    ids = {rule.rule_id for rule in own.rules}
    fields: dict[str, Any] = {
        "inherit": False,
        "rules": (*own.rules, *(rule for rule in default.rules if rule.rule_id not in ids)),
    }
    for part in ("fallback", *PARTS):
        if part not in own.model_fields_set:
            fields[part] = getattr(default, part)
    return own.model_copy(update=fields)


def beside(live: RulesDocument, candidate: RulesDocument) -> RulesDocument:
    """A candidate complete in itself: the parts that it does not give are those of the live rules, beside which it is
    tried; with ``inherit``, the live rules and fallback that it does not override count too.
    """
    if candidate.inherit:
        return inherited(live, candidate)
    missing = {part: getattr(live, part) for part in PARTS if part not in candidate.model_fields_set}
    return candidate.model_copy(update=missing)
