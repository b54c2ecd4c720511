"""What a configuration version means to autoreply, compiled once: rules, hours, durations.

Keyed by the document object itself, which ``ConfigBook`` makes once per version; shops that run on ``_default`` share one.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar, cast
from zoneinfo import ZoneInfo

from deskline.calendars import Hours
from deskline.config.documents import CalendarsDocument, LimitsDocument, Weekly
from deskline.config.rules_document import RulesDocument
from deskline_autoreply.knowledge.cache import Indexes
from deskline_autoreply.model import SECOND
from deskline_autoreply.policy.border import Limits
from deskline_autoreply.policy.rules import Compiled, Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from deskline.config.book import ConfigBook
    from deskline_autoreply.knowledge.index import KnowledgeIndex

D = TypeVar("D")
C = TypeVar("C")

# Versions in use at a time: a few per shop. A compiled calendar takes some 100 kB, so not many more than are in use.
_MOST: Final = 2_000


_WEEKDAYS: Final = tuple(Weekly.model_fields)


class _PerDocument(Generic[D, C]):
    def __init__(self, compile_: Callable[[D], C]) -> None:
        self._compile = compile_
        self._known: dict[int, tuple[D, C]] = {}

    def of(self, document: D) -> C:
        known = self._known.get(id(document))
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            # The document is kept beside the result, so its id is not given to another object.
            known = self._known[id(document)] = (document, self._compile(document))
        return known[1]


class Durations(NamedTuple):
    """The shop's limits, µs."""

    limits: Limits
    deliver_by: int


class Versions:
    """The compiled documents in force at an instant."""

    def __init__(self, config: ConfigBook) -> None:
        self._config = config
        self._rules = _PerDocument(Compiled)
        self._hours = _PerDocument(_hours)
        self._zones = _PerDocument(_Zone)
        self._durations = _PerDocument(_durations)
        self._knowledge = Indexes()

    def rules(self, shop: str, at: int, broker_at: int) -> tuple[int, Compiled]:
        """(version, rules)."""
        version = self._config.at(shop, "rules", at, broker_at)
        return version.version, self._rules.of(cast("RulesDocument", version.document))

    def knowledge(self, document: RulesDocument) -> KnowledgeIndex | None:
        """None where the shop has no knowledge base. Compiled here where nobody has prepared it."""
        return None if document.knowledge.is_empty else self._knowledge.of(document.knowledge)

    def prepare(self, document: RulesDocument) -> None:
        """Compile what takes long. May run in another thread, while this one decides by other versions."""
        self._rules.of(document)  # with its candidate's
        for each in (document, document.candidate):
            if each is not None:
                self.knowledge(each)

    def is_open(self, shop: str, at: int, broker_at: int) -> bool:
        return self._hours.of(self._config.calendars(shop, at, broker_at)).is_open(at)

    def in_surge(self, shop: str, at: int) -> bool:
        return self._config.in_surge(shop, at)

    def moment(self, shop: str, at: int, broker_at: int, names: frozenset[str]) -> Moment:
        """``names``: the calendars of which is asked whether they are open; one that the shop has not (any more) is closed."""
        document = self._config.calendars(shop, at, broker_at)
        return Moment(
            self._zones.of(document).local(at),
            frozenset(
                name
                for name in names
                if name in document.calendars and self._config.hours(shop, at, broker_at, name).is_open(at)
            ),
        )

    def agent_hours(self, shop: str, at: int, broker_at: int) -> str | None:
        """Today's, by the shop's default calendar; None on a day without."""
        return self._zones.of(self._config.calendars(shop, at, broker_at)).hours(at)

    def durations(self, shop: str, at: int, broker_at: int) -> Durations:
        return self._durations.of(self._config.limits(shop, at, broker_at))


class _Zone:
    """The clock of a shop's default calendar."""

    def __init__(self, document: CalendarsDocument) -> None:
        self._calendar = document.calendars[document.default]
        self._zone = ZoneInfo(self._calendar.timezone)

    def local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at // SECOND, self._zone).replace(tzinfo=None)

    def hours(self, at: int) -> str | None:
        today, calendar = self.local(at).date(), self._calendar
        spans = calendar.special_days.get(today)
        if spans is None:
            weekly = getattr(calendar.weekly, _WEEKDAYS[today.weekday()])
            spans = () if today in calendar.holidays else weekly
        return ", ".join(spans) or None


def _hours(document: CalendarsDocument) -> Hours:
    return Hours.of(document.calendars[document.default])


def _durations(document: LimitsDocument) -> Durations:
    return Durations(
        Limits(patience=round(document.patience_s * 1e6), reply_max_age=round(document.reply_max_age_s * 1e6)),
        deliver_by=round(document.deliver_by_s * 1e6),
    )
