"""The documents of a shop's configuration, one pydantic model per document of contract §3 (``config.applied.v1``).

A directory holds one folder per shop (``_default`` always), one YAML file per document. Every model refuses unknown
keys: a misspelt key must not silently do nothing. Seconds are ``*_s``, integers or floats as stated.
"""

import re
from datetime import date
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(min_length=1, max_length=128)]
Grade = Literal["trainee", "standard", "senior", "supervisor"]
Metric = Literal[
    "instant_reply", "agent_response", "next_response", "transfer_response", "resolution", "complaint_closure"
]
DocumentKind = Literal["agents", "calendars", "sla", "routing", "limits", "rules"]

DEFAULT_SHOP = "_default"


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- agents -----------------------------------------------------------------------------------------------------


class Agent(Document):
    """One person. The same ``agent_id`` in two shops is the same person and must state the same capacity."""

    agent_id: Name
    name: str = ""
    skills: dict[Name, Annotated[int, Field(ge=1, le=5)]] = {}
    """Skill → proficiency, 1 (learning) to 5 (expert)."""
    grade: Grade = "standard"
    languages: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    capacity: Annotated[int, Field(ge=0, le=1000)] = 5
    """Conversations at the same time, offers included; 0 takes nothing."""


class AgentsDocument(Document):
    agents: tuple[Agent, ...] = ()

    @model_validator(mode="after")
    def _agents_once(self) -> Self:
        seen: set[str] = set()
        for agent in self.agents:
            if agent.agent_id in seen:
                raise ValueError(f"agent {agent.agent_id!r} is listed twice")
            seen.add(agent.agent_id)
        return self


# --- calendars --------------------------------------------------------------------------------------------------

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


Span = Annotated[str, AfterValidator(_check_span)]


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no IANA time zone; write for example Asia/Shanghai") from None
    return name


class Weekly(Document):
    mon: tuple[Span, ...] = ()
    tue: tuple[Span, ...] = ()
    wed: tuple[Span, ...] = ()
    thu: tuple[Span, ...] = ()
    fri: tuple[Span, ...] = ()
    sat: tuple[Span, ...] = ()
    sun: tuple[Span, ...] = ()


class Calendar(Document):
    """Contract §5 *Calendars*: a span belongs to the local date on which it starts and may end after midnight."""

    timezone: Annotated[str, AfterValidator(_check_zone)]
    weekly: Weekly = Weekly()
    holidays: tuple[date, ...] = ()
    special_days: dict[date, tuple[Span, ...]] = {}

    @model_validator(mode="after")
    def _open_sometimes(self) -> Self:
        if not any(getattr(self.weekly, day) for day in Weekly.model_fields) and not any(self.special_days.values()):
            raise ValueError("this calendar is never open")
        return self


class CalendarsDocument(Document):
    default: Name
    """The calendar that ``shop hours`` means, everywhere."""
    calendars: dict[Name, Calendar]

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default not in self.calendars:
            raise ValueError(f"the default calendar {self.default!r} is not among {sorted(self.calendars)}")
        return self


# --- sla --------------------------------------------------------------------------------------------------------

Target = Annotated[float, Field(ge=0)] | None


class SlaCondition(Document):
    """All that are present must match; an absent one matches everything (contract §5)."""

    tiers: tuple[Name, ...] | None = None
    channels: tuple[Name, ...] | None = None
    min_priority: Annotated[int, Field(ge=0, le=100)] | None = None
    max_priority: Annotated[int, Field(ge=0, le=100)] | None = None


class SlaPolicy(Document):
    policy_id: Name
    when: SlaCondition = SlaCondition()
    targets: dict[Metric, Target]
    """Seconds; null or 0: no clock. A metric not named is decided by a later row, then by the contract's default."""


class SlaDocument(Document):
    policies: tuple[SlaPolicy, ...] = ()
    calendar: Name | None = None
    """Calendar of the shop-hours metrics; absent: the shop's default calendar."""
    pause_on_hold: tuple[Metric, ...] = ("next_response", "resolution")
    warnings: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.8)


# --- routing ----------------------------------------------------------------------------------------------------


class TierRule(Document):
    """The first that matches names the customer's tier; without one it is the event's ``tier``, else ``regular``."""

    tier: Name
    flags: tuple[Name, ...] | None = None
    """Tiers as the event states them."""
    min_total_spend: Annotated[float, Field(ge=0)] | None = None
    min_average_order: Annotated[float, Field(ge=0)] | None = None
    min_orders: Annotated[int, Field(ge=0)] | None = None
    max_orders: Annotated[int, Field(ge=0)] | None = None


class RoutingCondition(Document):
    tiers: tuple[Name, ...] | None = None
    skills: tuple[Name, ...] | None = None
    """Matches where the request asks for any of these."""
    entry_points: tuple[Name, ...] | None = None
    channels: tuple[Name, ...] | None = None
    languages: tuple[Name, ...] | None = None
    flags: tuple[Name, ...] | None = None
    causes: tuple[Literal["handover", "no_autoreply", "transfer", "complaint", "manual"], ...] | None = None


class Step(Document):
    """What is required while this step lasts; ``wait_s`` null: until assigned."""

    own_agent: bool = False
    """Only the customer's dedicated agent; skipped at once where there is none or he is not online."""
    keep_skills: bool = True
    proficiency: Annotated[int, Field(ge=1, le=5)] = 1
    grades: tuple[Grade, ...] | None = None
    groups: tuple[Name, ...] | None = None
    language: bool = False
    wait_s: Annotated[float, Field(ge=0)] | None = None


class RoutingRule(Document):
    rule_id: Name
    when: RoutingCondition = RoutingCondition()
    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    """Raises the request's priority to at least this."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]


class RoutingDocument(Document):
    mode: Literal["assigned", "offered"] = "assigned"
    accept_s: Annotated[float, Field(gt=0)] = 20
    """How long an offer waits for the agent's yes."""
    pause_after_missed: Annotated[int, Field(ge=1)] = 3
    """Offers missed in a row before the agent is paused."""
    tiers: tuple[TierRule, ...] = ()
    rules: tuple[RoutingRule, ...] = (RoutingRule(rule_id="default", steps=(Step(wait_s=30), Step(keep_skills=False))),)
    """First match wins. The last rule should match everything; without one the default rule stands behind."""


# --- limits -----------------------------------------------------------------------------------------------------


class LimitsDocument(Document):
    """The contract's named durations, per shop, in seconds, with the contract's defaults."""

    patience_s: Annotated[float, Field(gt=0)] = 3
    reply_max_age_s: Annotated[float, Field(gt=0)] = 300
    deliver_by_s: Annotated[float, Field(gt=0)] = 60
    offline_grace_s: Annotated[float, Field(ge=0)] = 30
    reoffer_s: Annotated[float, Field(ge=0)] = 30
    transfer_wait_s: Annotated[float, Field(ge=0)] = 30
    queue_limit: Annotated[int, Field(ge=1)] | None = None


# --- rules (autoreply) ------------------------------------------------------------------------------------------

ReplyKind = Literal[
    "greeting", "rule", "faq", "promotion", "off_hours", "emergency", "queue_notice", "coupon", "suggestions"
]
HandoverReason = Literal[
    "no_match", "low_confidence", "rule", "complaint", "asked_for_human", "repeated_question", "sensitive", "attachment"
]


class RuleCondition(Document):
    """All that are present must match. Keywords match on characters of the folded text (NFKC, case, blanks aside)."""

    any_of: tuple[Name, ...] | None = None
    all_of: tuple[Name, ...] | None = None
    none_of: tuple[Name, ...] | None = None
    exact: tuple[Name, ...] | None = None
    open: bool | None = None
    """True: only in shop hours; False: only outside them."""
    first_message: bool | None = None
    attachment: bool | None = None
    tiers: tuple[Name, ...] | None = None
    channels: tuple[Name, ...] | None = None
    entry_points: tuple[Name, ...] | None = None
    languages: tuple[Name, ...] | None = None


class Reply(Document):
    kind: ReplyKind = "rule"
    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    entry_id: Name | None = None


class Handover(Document):
    reason: HandoverReason = "rule"
    skills: tuple[Name, ...] = ()
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    flags: tuple[Name, ...] = ()


class AutoreplyRule(Document):
    """``reply`` alone answers; ``handover`` alone hands over; both are a holding reply and a hand-over."""

    rule_id: Name
    priority: Annotated[int, Field(ge=0, le=1000)] = 100
    """Greater is tried first; among equals the order in the file."""
    when: RuleCondition = RuleCondition()
    reply: Reply | None = None
    handover: Handover | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.reply is None and self.handover is None:
            raise ValueError(f"rule {self.rule_id!r} neither replies nor hands over")
        return self


class RulesDocument(Document):
    shadow: bool = False
    """Replies are computed and recorded, not sent (outcome ``shadow``)."""
    rules: tuple[AutoreplyRule, ...] = ()
    fallback: Handover = Handover(reason="no_match")
    """The hand-over where no rule matches."""

    @model_validator(mode="after")
    def _rules_once(self) -> Self:
        seen: set[str] = set()
        for rule in self.rules:
            if rule.rule_id in seen:
                raise ValueError(f"rule {rule.rule_id!r} is defined twice")
            seen.add(rule.rule_id)
        return self


DOCUMENTS: dict[DocumentKind, type[Document]] = {
    "agents": AgentsDocument,
    "calendars": CalendarsDocument,
    "sla": SlaDocument,
    "routing": RoutingDocument,
    "limits": LimitsDocument,
    "rules": RulesDocument,
}
