"""The configuration as the fold asks for it: the SLA document and the calendar in force at a clock's start.

What was chosen is remembered per document, by identity: a version never changes once it is in the book.
"""

from collections.abc import Sequence
from typing import Final

from deskline.calendars import ALWAYS, Hours
from deskline.clock import SECOND
from deskline.config.book import ConfigBook, Versioned
from deskline.config.documents import Calendar, CalendarsDocument, Reminder, SlaDocument, SlaPolicies
from deskline_sla.model import (
    METRICS,
    Case,
    Clock,
    Fact,
    Metric,
    ReminderRule,
    ReminderRules,
    Retarget,
    Telling,
    Terms,
    Word,
)
from deskline_sla.policy.targets import actions_on_breach, actions_on_warning, choose, counts_hours

# Tier and channel come from outside and may be anything: beyond this the memory starts anew. A shop has tens.
_REMEMBERED: Final = 10_000

_Choice = tuple[Metric, Case, int, int]


class ConfiguredTerms:
    """``deskline_sla.model.TermsBook`` over a ``ConfigBook``. With ``candidate``, of the policies in shadow: there is no
    clock where the version in force has none, and nothing warns.
    """

    def __init__(self, book: ConfigBook, *, candidate: bool = False) -> None:
        self.book = book
        self._candidate = candidate
        self._terms: dict[_Choice, tuple[object, object, Terms | None]] = {}
        """choice and identities of the documents → (the documents, so that the identities stay theirs; the answer)"""
        self._hours: dict[int, tuple[Calendar, Hours]] = {}

    @property
    def reevaluated_at(self) -> Sequence[int]:
        return self.book.reevaluated_at

    def find(self, shop: str, metric: Metric, case: Case, at: int, broker_at: int) -> Terms | None:
        sla = self.book.at(shop, "sla", at, broker_at)
        policies = self._policies(sla)
        if policies is None:
            return None
        calendars = self.book.calendars(shop, at, broker_at) if counts_hours(policies, metric) else None
        return self._find(sla, policies, calendars, metric, case)

    def reevaluated(self, clock: Clock, at: int) -> Retarget | None:
        """Policies and calendars are taken one by one: a version that was not applied for open clocks stays away from them."""
        metric = Metric(clock.metric)
        sla_at, hours_at = clock.sla_at, clock.hours_at
        if self.book.reevaluations(clock.shop, "sla", at - 1, at):
            sla_at = at
        sla = self.book.at(clock.shop, "sla", *_moment(clock, sla_at))
        policies = self._policies(sla)
        if policies is None:
            return None
        in_hours = counts_hours(policies, metric)
        if in_hours and self.book.reevaluations(clock.shop, "calendars", at - 1, at):
            hours_at = at
        if at not in {sla_at, hours_at}:
            return None
        calendars = self.book.calendars(clock.shop, *_moment(clock, hours_at)) if in_hours else None
        terms = self._find(sla, policies, calendars, metric, Case(clock.tier, clock.channel, clock.priority))
        return None if terms is None else Retarget(terms, sla_at, hours_at)

    def _policies(self, sla: Versioned) -> SlaPolicies | None:
        document = sla.document
        assert isinstance(document, SlaDocument)
        return document.candidate if self._candidate else document

    def _find(
        self, sla: Versioned, policies: SlaPolicies, calendars: CalendarsDocument | None, metric: Metric, case: Case
    ) -> Terms | None:
        key = (metric, case, id(sla), id(calendars))
        known = self._terms.get(key)
        if known is None:
            terms = self._choose(policies, calendars, metric, case, sla.version)
            if len(self._terms) >= _REMEMBERED:
                self._terms.clear()
            known = self._terms[key] = (sla, calendars, terms)
        return known[2]

    def hours(self, clock: Clock) -> Hours:
        return self._compiled(self.book.calendars(clock.shop, *_moment(clock, clock.hours_at)), clock.calendar)

    def reminders(self, shop: str, fact: Fact) -> ReminderRules | None:
        document = self.book.sla(shop, fact.at, fact.broker_at)
        rules = document.reminders
        if rules is None:
            return None
        calendars = self.book.calendars(shop, fact.at, fact.broker_at)
        hours = self._compiled(calendars, _calendar(document, calendars))
        return ReminderRules(_rule(rules.unread), _rule(rules.unanswered), hours)

    def has_candidate(self, shop: str, at: int, broker_at: int) -> bool:
        """Whether the policy in force at ``at`` has one beside it in shadow."""
        return "sla" in self.book.candidates and self.book.sla(shop, at, broker_at).candidate is not None

    def with_actions(self, telling: Telling, breaches: int) -> Telling:
        """The telling with what it asks for, by the policies that its clock started under. ``breaches`` stand in the
        conversation, this one among them.
        """
        about = telling.about
        if not isinstance(about, Clock):
            return telling
        document = self.book.sla(about.shop, *_moment(about, about.sla_at))
        if telling.word is Word.WARNING:
            actions = actions_on_warning(document, about.policy_id, telling.threshold)
        elif telling.word is Word.BREACHED:
            actions = actions_on_breach(document, about.policy_id, breaches)
        else:
            return telling
        return telling._replace(actions=actions) if actions else telling

    def _choose(
        self,
        document: SlaPolicies,
        calendars: CalendarsDocument | None,
        metric: Metric,
        case: Case,
        version: int,
    ) -> Terms | None:
        target = choose(document, metric, case)
        if target is None:
            return None
        target_us = round(target.seconds * SECOND)
        if target_us <= 0:
            return None
        calendar, hours = "", ALWAYS
        if calendars is not None:
            calendar = _calendar(document, calendars)
            hours = self._compiled(calendars, calendar)
        return Terms(
            target_us=target_us,
            target_s=target.seconds,
            policy_id=target.policy_id,
            version=version,
            calendar=calendar,
            hours=hours,
            pausable=METRICS[metric] in document.pause_on_hold,
            thresholds=() if self._candidate else tuple(sorted(document.warnings)),
            known_until=hours.known_until,
        )

    def _compiled(self, calendars: CalendarsDocument, name: str) -> Hours:
        calendar = calendars.calendars[name]
        known = self._hours.get(id(calendar))
        if known is None:
            known = self._hours[id(calendar)] = (calendar, Hours.of(calendar))
        return known[1]


def _calendar(document: SlaPolicies, calendars: CalendarsDocument) -> str:
    """A calendar that this version of the calendars does not have: the shop's own hours, rather than none."""
    wanted = document.calendar
    return wanted if wanted is not None and wanted in calendars.calendars else calendars.default


def _rule(rule: Reminder | None) -> ReminderRule | None:
    if rule is None:
        return None
    every_s = rule.after_s if rule.every_s is None else rule.every_s
    return ReminderRule(round(rule.after_s * SECOND), round(every_s * SECOND), rule.times)


def _moment(clock: Clock, at: int) -> tuple[int, int | None]:
    """Instant and broker timestamp by which a version is looked up: those of the start, or of a version taken later."""
    return (at, None) if at else (clock.started_at, clock.broker_at)
