"""The document ``rules``: what autoreply answers, and what it leaves to people.

Everything that one automatic answer can depend on is in this one document, so that one number, ``rules_version``, names
it all: the knowledge base and the sensitive words too, though they have modules and files of their own.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from deskline.config.base import Document, Name, PositiveSeconds, Seconds, Span, once, problem_at
from deskline.config.knowledge_document import Knowledge, merged
from deskline.config.rule_patterns import MAX_PATTERN, check_pattern, check_phrase
from deskline.config.rule_templates import MAX_TEXT
from deskline.config.rule_times import edge, yearly
from deskline.config.sensitive_document import Sensitive
from deskline.festivals import FESTIVALS
from deskline.text import fold

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER: Final = 2**62

ReplyKind = Literal[
    "greeting", "rule", "faq", "promotion", "off_hours", "emergency", "queue_notice", "coupon", "suggestions"
]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
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


def _check_festival(name: str) -> str:
    if name not in FESTIVALS:
        raise ValueError(f"{name!r} is no festival known here; there are {', '.join(FESTIVALS)}")
    return name


def _check_begin(text: str) -> str:
    edge(text, end=False)
    return text


def _check_end(text: str) -> str:
    edge(text, end=True)
    return text


def _check_order(begins: str | None, ends: str | None) -> None:
    if begins and ends and edge(begins, end=False) >= edge(ends, end=True):
        raise problem_at(f"it ends ({ends}) before it begins ({begins})", "ends")


def _check_yearly(text: str) -> str:
    yearly(text)
    return text


_Pattern = Annotated[str, Field(max_length=MAX_PATTERN), AfterValidator(check_pattern)]
_Phrase = Annotated[str, Field(max_length=256), AfterValidator(check_phrase)]
_Patterns = Annotated[tuple[_Pattern, ...], Field(min_length=1, max_length=1_000)]
_Phrases = Annotated[tuple[_Phrase, ...], Field(min_length=1, max_length=10_000)]
_Begin = Annotated[str, AfterValidator(_check_begin)]
_End = Annotated[str, AfterValidator(_check_end)]


class TimeWindow(Document):
    """All that are present must hold, by the clock of the shop's default calendar at the message's event time."""

    calendar: Name | None = None
    """The name of one of the shop's calendars: only while it is open."""
    closed: Name | None = None
    """The name of one of the shop's calendars: only while it is closed."""
    weekdays: Annotated[tuple[Weekday, ...], Field(min_length=1)] | None = None
    hours: Annotated[tuple[Span, ...], Field(min_length=1)] | None = None
    """Of any day; one over midnight belongs to the weekday on which it begins."""
    begins: _Begin | None = None
    """2026-11-11, or 2026-11-11T20:00."""
    ends: _End | None = None
    """A day (that is still part of it), or an instant (that is not)."""
    yearly: Annotated[str, AfterValidator(_check_yearly)] | None = None
    """A part of every year, both days included: 11-01..11-11."""
    festival: Annotated[str, AfterValidator(_check_festival)] | None = None
    days_before: Annotated[int, Field(ge=0, le=60)] = 0
    """Of the festival: so many days before it belong to the window, too."""
    days_after: Annotated[int, Field(ge=0, le=60)] = 0

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        stated = (
            self.calendar,
            self.closed,
            self.weekdays,
            self.hours,
            self.begins,
            self.ends,
            self.yearly,
            self.festival,
        )
        if all(part is None for part in stated):
            raise ValueError("this window says nothing; give it a calendar, weekdays, hours, dates or a festival")
        _check_order(self.begins, self.ends)
        if self.festival is None and (self.days_before or self.days_after):
            raise problem_at("days_before and days_after count from a festival; name it", "festival")
        return self


class RuleCondition(Document):
    """All that are present must match. Keywords match on characters of the folded text: upper and lower case, full width,
    traditional and simplified are the same, and blanks, punctuation and emoji between them do not count.
    """

    any_of: _Keywords | None = None
    """The text contains at least one of these."""
    all_of: _Keywords | None = None
    none_of: _Keywords | None = None
    exact: _Keywords | None = None
    """The whole text is one of these."""
    phrases: _Phrases | None = None
    """At least one of these: words with gaps between them, in characters. ``退…{0,6}款``; ``…`` alone is a gap of up to 8."""
    patterns: _Patterns | None = None
    """At least one of these regular expressions (RE2, case aside) is found in the text, or in the folded text."""
    open: bool | None = None
    """True: only in shop hours; False: only outside them."""
    surge: bool | None = None
    """True: only while the router is in a surge for this shop; False: only while it is not."""
    during: Annotated[tuple[TimeWindow, ...], Field(min_length=1, max_length=64)] | None = None
    """Only in at least one of these windows."""
    not_during: Annotated[tuple[TimeWindow, ...], Field(min_length=1, max_length=64)] | None = None
    """In none of these windows."""
    first_message: bool | None = None
    """True: only the message that opens the conversation, or opens it again after a close; False: only others."""
    attachment: bool | None = None
    """True: only messages with an attachment; False: only without."""
    attachment_kinds: _AnyName | None = None
    """Only messages with an attachment of one of these kinds, as the gateway names them."""
    order: bool | None = None
    """True: only messages that come with an order; False: only without."""
    product: bool | None = None
    """True: only messages that come with a product; False: only without."""
    tiers: _AnyName | None = None
    """As the message states the customer's tier; a customer without one is ``regular``."""
    channels: _AnyName | None = None
    entry_points: _AnyName | None = None
    languages: _AnyName | None = None


def _check_text(text: str) -> str:
    if not fold(text):
        raise ValueError("the text of this reply shows nothing")
    return text


_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_check_text)]


class Variant(Document):
    variant: _RuleName
    """Its name in the counts."""
    text: _Text
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Of the customers, so many times as many get it as one of weight 1."""


class Reply(Document):
    """A customer always gets the same of several ``variants``, unless it cannot be filled in or was just said.

    In a text, {customer_name} {order_id} {product} {agent_hours} {queue_position} {coupon} and the shop's constants stand for
    their values; {customer_name|亲} says what stands there without one. A text whose variable has neither is passed over.
    """

    kind: ReplyKind = "rule"
    text: _Text | None = None
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=16)] | None = None
    entry_id: _RuleName | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.text is None) == (self.variants is None):
            raise ValueError("give either text or variants" + ("" if self.text is None else ", not both"))
        once("variant", "variants", "variant", (variant.variant for variant in self.variants or ()))
        return self

    @property
    def texts(self) -> tuple[Variant, ...]:
        """Every text, with the name of its variant (empty for the only one)."""
        if self.variants is not None:
            return self.variants
        return (Variant.model_construct(variant="", text=self.text or "", weight=1),)


class Handover(Document):
    reason: HandoverReason = "rule"
    skills: _Labels = ()
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    flags: _Labels = ()


class AutoreplyRule(Document):
    """``reply`` alone answers; ``handover`` alone hands over; both are a holding reply and a hand-over; ``silent`` says
    nothing. ``tags`` alone marks the conversation and goes on to the next rule.
    """

    rule_id: _RuleName
    priority: Annotated[int, Field(ge=0, le=1000)] = 100
    """Greater is tried first; among equals the order in the file."""
    disabled: bool = False
    """The rule is passed over; in a shop that inherits, the one of ``_default`` with this id, too."""
    when: RuleCondition = RuleCondition()
    reply: Reply | None = None
    handover: Handover | None = None
    tags: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Flags of every later hand-over of this conversation."""
    silent: bool = False
    unless_answered: bool | None = None
    """True: it steps aside where a rule behind it, or the knowledge base, has an answer that needs no person. For what is said
    outside shop hours: a simple question is answered at night, too.
    """
    cooldown_s: Seconds | None = None
    """The same customer does not get this rule's reply again for so long, in any conversation with this shop. The rule is then
    passed over; one that hands over still does, without its reply. Absent: the document's ``cooldown_s``.
    """

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        does = self.reply is not None or self.handover is not None
        if self.silent and does:
            raise ValueError(f"rule {self.rule_id!r} is silent and says something; keep one of the two")
        if self.unless_answered and not (does or self.silent):
            raise ValueError(f"rule {self.rule_id!r} waits for an answer and does nothing where there is none")
        if not (does or self.silent or self.tags or self.disabled):
            raise ValueError(f"rule {self.rule_id!r} neither replies nor hands over; give it reply, handover or both")
        return self


class ScenarioUse(Document):
    """A set of rules that ships with deskline: ``deskline scenario list``."""

    name: Name
    language: Literal["zh", "en"] | None = None
    """Absent: the document's."""
    begins: _Begin | None = None
    """Only from then on, in the shop's local time; also for sets that have dates of their own."""
    ends: _End | None = None

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        _check_order(self.begins, self.ends)
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


_Use = Annotated[ScenarioUse, BeforeValidator(_named, json_schema_input_type=ScenarioUse | Name)]


class Guard(Document):
    """What keeps automatic replies from getting on people's nerves, and from talking with machines."""

    max_replies: Annotated[int, Field(ge=1, le=1_000)] = 20
    """So many replies in one conversation; then a person is asked for."""
    loop_replies: Annotated[int, Field(ge=2, le=100)] = 8
    """After so many within ``loop_s`` a machine is talking, or somebody in need: a person is asked for."""
    loop_s: PositiveSeconds = 60
    bots: tuple[Name, ...] = ()
    """Customer ids of machines: they get no answer, and no person."""
    bot_patterns: Annotated[tuple[_Pattern, ...], Field(max_length=64)] = ()
    """Regular expressions for such customer ids."""


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
    language: Literal["zh", "en"] = "zh"
    """Of the scenarios."""
    scenarios: Annotated[tuple[_Use, ...], Field(max_length=64)] = ()
    """Sets that ship, by name (``deskline scenario list``); a rule of the shop with the same ``rule_id`` replaces the set's."""
    constants: dict[Name, Annotated[str, Field(max_length=2_048)]] = Field(default={})
    """Names that replies may use in braces, with their values: {agent_hours}, {coupon}, or the shop's own."""
    cooldown_s: Seconds | None = None
    """Of rules that state none of their own."""
    guard: Guard = Guard()
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
    if own.knowledge.inherit:
        own = own.model_copy(update={"knowledge": merged(default.knowledge, own.knowledge)})
    if not own.inherit:
        return own
    ids = {rule.rule_id for rule in own.rules}
    fields: dict[str, Any] = {
        "inherit": False,
        "rules": (*own.rules, *(rule for rule in default.rules if rule.rule_id not in ids)),
    }
    for part in ("fallback", "language", "cooldown_s", "guard", *PARTS):
        if part not in own.model_fields_set:
            fields[part] = getattr(default, part)
    fields["constants"] = {**default.constants, **own.constants}
    named = {use.name for use in own.scenarios}
    fields["scenarios"] = (*own.scenarios, *(use for use in default.scenarios if use.name not in named))
    return own.model_copy(update=fields)


def beside(live: RulesDocument, candidate: RulesDocument) -> RulesDocument:
    """A candidate complete in itself: the parts that it does not give, and whom the robot leaves alone, are as in the live
    rules, beside which it is tried; with ``inherit``, the live rules and fallback that it does not override count too.
    """
    if candidate.inherit:
        return inherited(live, candidate)
    fields: dict[str, Any] = {
        part: getattr(live, part) for part in ("language", "guard", *PARTS) if part not in candidate.model_fields_set
    }
    if candidate.knowledge.inherit:
        fields["knowledge"] = merged(live.knowledge, candidate.knowledge)
    fields["constants"] = {**live.constants, **candidate.constants}
    return candidate.model_copy(update=fields)
