"""What a rule needs of a message beside its words: plain values, and windows of time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from deskline.config.base import span_seconds
from deskline.config.rule_times import edge, in_yearly, yearly
from deskline.festivals import is_festival

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from deskline.config.rules_document import AutoreplyRule, TimeWindow

_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_S: Final = 86_400


class Moment(NamedTuple):
    """The message's event time as rules see it."""

    local: datetime
    """By the clock of the shop's default calendar, without a zone."""
    open_calendars: frozenset[str] = frozenset()
    """Of those that the rules name."""


class Asked(NamedTuple):
    """What the rules may look at in a message."""

    text: str
    """Deeply folded (``deskline.folding``)."""
    is_open: bool
    """The shop's hours at the message's event time; any value where ``needs_hours`` is False."""
    first_message: bool
    attachment: bool
    tier: str
    channel: str
    entry_point: str | None
    language: str | None
    plain: str = ""
    """Folded as the contract says (``deskline.text``): for keywords of which the deep fold leaves nothing."""
    readable: str = ""
    """As people read it (``deskline.text.readable``); any value where ``needs_readable`` is False."""
    attachment_kinds: frozenset[str] = frozenset()
    order: bool = False
    product: bool = False
    surge: bool = False
    """The router is in a surge for the shop."""
    moment: Moment | None = None
    """None only where ``needs_moment`` is False."""


Bare = tuple[tuple[str, int, frozenset[object]], ...]
"""(name of the condition, place in ``Asked``, values that meet it), only of the conditions present."""


def bare(rule: AutoreplyRule) -> Bare:
    when = rule.when
    wanted: Iterable[tuple[str, str, object]] = (
        ("open", "is_open", when.open),
        ("surge", "surge", when.surge),
        ("first_message", "first_message", when.first_message),
        ("attachment", "attachment", when.attachment),
        ("order", "order", when.order),
        ("product", "product", when.product),
        ("tiers", "tier", when.tiers),
        ("channels", "channel", when.channels),
        ("entry_points", "entry_point", when.entry_points),
        ("languages", "language", when.languages),
    )
    return tuple(
        (name, Asked._fields.index(field), frozenset(value if isinstance(value, tuple) else (value,)))
        for name, field, value in wanted
        if value is not None
    )


def failed_bare(bare_: Bare, asked: Asked) -> str | None:
    for name, place, admitted in bare_:
        if asked[place] not in admitted:
            return name
    return None


class _Window(NamedTuple):
    """``TimeWindow``, parsed."""

    calendar: str | None
    closed: str | None
    weekdays: frozenset[int] | None
    hours: tuple[tuple[int, int], ...] | None
    begins: datetime | None
    ends: datetime | None
    yearly: tuple[tuple[int, int], tuple[int, int]] | None
    festival: tuple[str, int, int] | None

    @classmethod
    def of(cls, window: TimeWindow) -> _Window:
        return cls(
            window.calendar,
            window.closed,
            None if window.weekdays is None else frozenset(map(_WEEKDAYS.index, window.weekdays)),
            None if window.hours is None else tuple(map(span_seconds, window.hours)),
            None if window.begins is None else edge(window.begins, end=False),
            None if window.ends is None else edge(window.ends, end=True),
            None if window.yearly is None else yearly(window.yearly),
            None if window.festival is None else (window.festival, window.days_before, window.days_after),
        )

    def holds(self, moment: Moment) -> bool:
        local = moment.local
        if self.begins is not None and local < self.begins:
            return False
        if self.ends is not None and local >= self.ends:
            return False
        if self.calendar is not None and self.calendar not in moment.open_calendars:
            return False
        if self.closed is not None and self.closed in moment.open_calendars:
            return False
        if self.yearly is not None and not in_yearly(self.yearly, local.date()):
            return False
        if self.festival is not None and not is_festival(self.festival[0], local.date(), *self.festival[1:]):
            return False
        return self._in_week(local)

    def _in_week(self, local: datetime) -> bool:
        if self.hours is None:
            return self.weekdays is None or local.weekday() in self.weekdays
        second = local.hour * 3_600 + local.minute * 60 + local.second
        yesterday = local - timedelta(days=1)
        return any(
            start <= at < end and (self.weekdays is None or day.weekday() in self.weekdays)
            for start, end in self.hours
            for day, at in ((local, second), (yesterday, second + _DAY_S))
        )


class Times(NamedTuple):
    during: tuple[_Window, ...] | None
    not_during: tuple[_Window, ...]

    @classmethod
    def of(cls, rule: AutoreplyRule) -> Times | None:
        when = rule.when
        if when.during is None and when.not_during is None:
            return None
        during = None if when.during is None else tuple(map(_Window.of, when.during))
        return cls(during, tuple(map(_Window.of, when.not_during or ())))

    def failed(self, moment: Moment | None) -> str | None:
        assert moment is not None, "a version with windows says needs_moment"
        if self.during is not None and not any(window.holds(moment) for window in self.during):
            return "during"
        return "not_during" if any(window.holds(moment) for window in self.not_during) else None


def calendars_named(rules: Iterable[AutoreplyRule]) -> frozenset[str]:
    windows = [w for rule in rules for w in (*(rule.when.during or ()), *(rule.when.not_during or ()))]
    return frozenset(name for window in windows for name in (window.calendar, window.closed) if name is not None)
