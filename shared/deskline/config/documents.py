"""The documents of a shop's configuration, one pydantic model per document of contract §3 (``config.applied.v1``).

A directory holds one folder per shop (``_default`` always), one YAML file per document. Every model refuses unknown
keys: a misspelt key must not silently do nothing. Seconds are ``*_s``. What ends in events is held to the limits of
contract §1 here already: no control characters in names, no list over 64 where it is published as one.
"""

import json
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator, model_validator

from deskline.config.base import (
    Document,
    DocumentKind,
    Metric,
    Name,
    Names,
    PositiveSeconds,
    Seconds,
    Span,
    once,
    problem_at,
)
from deskline.config.routing_document import (
    Agent,
    AgentsDocument,
    RoutingCondition,
    RoutingDocument,
    RoutingPolicy,
    RoutingRule,
    Step,
    TierRule,
)
from deskline.config.rules_document import RulesDocument

__all__ = [
    "DOCUMENTS",
    "Agent",
    "AgentsDocument",
    "RoutingCondition",
    "RoutingDocument",
    "RoutingPolicy",
    "RoutingRule",
    "Step",
    "TierRule",
]

# --- calendars --------------------------------------------------------------------------------------------------


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
    special_days: dict[date, tuple[Span, ...]] = Field(default={})
    public_holidays: Literal["CN"] | None = None
    """Region whose public holidays and make-up working days are added when the configuration is read; what is written here
    for a date wins over them. The rows come with the release, or from ``deskline calendar import``."""
    make_up_day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] | None = None
    """The weekday whose spans a make-up working day has; absent: mon."""
    holidays_source: Annotated[str, Field(max_length=512)] | None = None
    """Where the holidays come from; filled in with ``public_holidays``."""
    holidays_known_until: date | None = None
    """The last day of which the holidays are known: later deadlines are told as a guess. Filled in with ``public_holidays``;
    absent: the end of the last year of ``holidays``."""

    @model_validator(mode="after")
    def _open_sometimes(self) -> Self:
        if not any(getattr(self.weekly, day) for day in Weekly.model_fields) and not any(self.special_days.values()):
            raise ValueError("this calendar is never open; give at least one weekday or special day a span")
        return self


class CalendarsDocument(Document):
    default: Name
    """The calendar that ``shop hours`` means, everywhere."""
    calendars: dict[Name, Calendar]

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default not in self.calendars:
            known = ", ".join(sorted(self.calendars)) or "none"
            raise problem_at(f"no calendar is named {self.default!r}; defined here: {known}", "default")
        return self


# --- sla --------------------------------------------------------------------------------------------------------

Target = Seconds | None


class SlaCondition(Document):
    """All that are present must match; an absent one matches everything (contract §5)."""

    tiers: Names | None = None
    channels: Names | None = None
    min_priority: Annotated[int, Field(ge=0, le=100)] | None = None
    max_priority: Annotated[int, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _some_priority(self) -> Self:
        if self.min_priority is not None and self.max_priority is not None and self.min_priority > self.max_priority:
            raise problem_at(
                f"no priority is at least {self.min_priority} and at most {self.max_priority}", "min_priority"
            )
        return self


Action = Literal["remind", "raise_priority", "reassign", "call_supervisor"]
Actions = Annotated[tuple[Action, ...], Field(max_length=4)]


class WarningActions(Document):
    """What is asked for when this share of the target is used up."""

    at: Annotated[float, Field(gt=0, lt=1)]
    actions: Actions


class SlaPolicy(Document):
    policy_id: Name
    when: SlaCondition = SlaCondition()
    targets: dict[Metric, Target]
    """Seconds; null or 0: no clock. A metric not named is decided by a later row, then by the contract's default."""
    on_warning: Annotated[tuple[WarningActions, ...], Field(max_length=8)] | None = None
    """Absent: the document's."""
    on_breach: Actions | None = None
    """Absent: the document's."""
    reassign_after: Annotated[int, Field(ge=1)] | None = None
    """From so many breaches of a conversation on, a breach asks for ``reassign`` too. Absent: the document's."""

    @field_validator("targets")
    @classmethod
    def _no_clock_is_zero(cls, targets: dict[Metric, Target]) -> dict[Metric, Target]:
        # One form for one meaning: null would be lost where absent and null are the same.
        return {metric: target or 0 for metric, target in targets.items()}


class SlaPolicies(Document):
    policies: tuple[SlaPolicy, ...] = ()
    calendar: Name | None = None
    """Calendar of the shop-hours metrics; absent: the shop's default calendar."""
    pause_on_hold: tuple[Metric, ...] = ("next_response", "resolution")
    complaints_count: Literal["wall_time", "open_hours"] = "wall_time"
    """How ``complaint_closure`` counts: 48 h by the wall clock, or of the shop's hours."""
    warnings: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(max_length=8)] = (0.5, 0.8)
    """Parts of the target at which a warning is told."""
    on_warning: Annotated[tuple[WarningActions, ...], Field(max_length=8)] | None = None
    """Actions that warnings ask for; the router's rules decide what becomes of them. Absent: none."""
    on_breach: Actions | None = None
    """Actions that a breach asks for. Absent: none."""
    reassign_after: Annotated[int, Field(ge=1)] | None = None
    """From so many breaches of a conversation on, a breach asks for ``reassign`` too. Absent: never."""

    @model_validator(mode="after")
    def _policiesonce(self) -> Self:
        once("policy", "policies", "policy_id", (policy.policy_id for policy in self.policies))
        return self

    @model_validator(mode="after")
    def _warnings_with_actions_are_told(self) -> Self:
        for at, rows in self._rows_on_warning():
            for index, row in enumerate(rows or ()):
                if row.at not in self.warnings:
                    raise problem_at(
                        f"no warning is told at {row.at:g}; add it to warnings, or write one of "
                        + ", ".join(f"{share:g}" for share in self.warnings),
                        *at,
                        index,
                        "at",
                    )
        return self

    def _rows_on_warning(self) -> Iterator[tuple[tuple[str | int, ...], tuple[WarningActions, ...] | None]]:
        yield ("on_warning",), self.on_warning
        for number, policy in enumerate(self.policies):
            yield ("policies", number, "on_warning"), policy.on_warning


class ScoreWeights(Document):
    """How much each part counts in an agent's score; a part without data drops out."""

    speed: Annotated[float, Field(ge=0)] = 0.4
    satisfaction: Annotated[float, Field(ge=0)] = 0.4
    conversion: Annotated[float, Field(ge=0)] = 0.2

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not self.speed + self.satisfaction + self.conversion > 0:
            raise ValueError("all weights are 0: give at least one part some weight")
        return self


class PlatformMeasure(Document):
    """How the platform's own measure (180 s, 08:00:00 to 22:59:59) is read; the defaults are the strictest reading."""

    window: Literal["rounds", "conversations"] = "rounds"
    """Rounds that begin in the window, or all rounds of conversations that were opened in it."""
    late: Literal["zero", "share"] = "zero"
    """What a conversation with a late round counts: nothing, or the share of its rounds in time."""
    unassigned: Literal["zero", "leave_out"] = "zero"
    """What a conversation that no agent had counts: nothing, or it does not count at all."""


class ReportSettings(Document):
    """What ``deskline report`` holds the shop to."""

    weights: ScoreWeights = ScoreWeights()
    response_s: PositiveSeconds = 60
    satisfaction: Annotated[float, Field(gt=0, le=1)] = 0.95
    resolution: Annotated[float, Field(gt=0, le=1)] = 0.9
    platform: PlatformMeasure = PlatformMeasure()


class Reminder(Document):
    """When the owner is reminded, in seconds of the shop's hours."""

    after_s: PositiveSeconds
    """From the latest of the message, the owner's taking over and the end of a hold to the first reminder."""
    every_s: Annotated[float, Field(ge=1, le=315_576_000)] | None = None
    """Between one and the next; absent: ``after_s``."""
    times: Annotated[int, Field(ge=1, le=1000)] = 3
    """At most so many for each owner of a message."""


class Reminders(Document):
    """Nudges to the owner of a conversation (``sla.reminder``); the desktop merges them per agent. Absent: none."""

    unread: Reminder | None = None
    """A customer's message that he has neither read nor answered."""
    unanswered: Reminder | None = None
    """The first one since an agent last wrote."""


class SlaDocument(SlaPolicies):
    reminders: Reminders | None = None
    report: ReportSettings | None = None
    """Targets and weights of ``deskline report``; absent: the defaults."""
    candidate: SlaPolicies | None = None
    """Policies in shadow: what would become of each clock is recorded beside what does, and nothing of it is told. Usually
    in a file of its own: ``shadow/sla.yaml``."""


# --- limits -----------------------------------------------------------------------------------------------------


class LimitsDocument(Document):
    """The contract's named durations, per shop, in seconds, with the contract's defaults."""

    patience_s: PositiveSeconds = 3
    reply_max_age_s: PositiveSeconds = 300
    deliver_by_s: PositiveSeconds = 60
    offline_grace_s: Seconds = 30
    reoffer_s: Seconds = 30
    transfer_wait_s: Seconds = 30
    queue_limit: Annotated[int, Field(ge=1)] | None = None


DOCUMENTS: dict[DocumentKind, type[Document]] = {
    "agents": AgentsDocument,
    "calendars": CalendarsDocument,
    "sla": SlaDocument,
    "routing": RoutingDocument,
    "limits": LimitsDocument,
    "rules": RulesDocument,
}

_ALL_DAY = ("00:00-24:00",)


def default_document(kind: DocumentKind) -> Document:
    """What ``_default`` has where its folder has no such file; shops without calendars are always open."""
    if kind == "calendars":
        always = Calendar(timezone="UTC", weekly=Weekly(**dict.fromkeys(Weekly.model_fields, _ALL_DAY)))
        return CalendarsDocument(default="always", calendars={"always": always})
    return DOCUMENTS[kind]()


def body_of(document: Document) -> bytes:
    """The document as canonical JSON: every default written out, so that a version means the same under a release with
    other defaults; absent instead of null; keys sorted; whole numbers without a point. Equal documents, equal bytes.
    """
    plain = _plain(document.model_dump(mode="json", exclude_none=True))
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
