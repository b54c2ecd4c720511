"""One unit of work for one conversation: gather the new facts, fold, say what is new.

Most records stand at the end of the fold and change no earlier step; the walk then goes on from where it stood, which
costs the same in a conversation of ten messages and of ten thousand. A late record, an ignored message that had
started a clock, the first message that fixes the shop: all is folded anew, once per unit. Both ways give the same
clocks: that is what the property tests are about.

A shop may have a candidate policy in shadow. Then the same facts are folded a second time with its targets, and both words
on each clock are recorded (``shadow``); the live fold does not know of it.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from deskline.config.book import ConfigBook
from deskline.conversations import Context
from deskline.records import Event, Output
from deskline_sla.metrics import Tally
from deskline_sla.model import (
    FOREVER,
    METRICS,
    Clock,
    End,
    Fact,
    Ignored,
    Kind,
    Name,
    Nudge,
    Nudges,
    Overdue,
    Reason,
    ReminderRules,
    Shadow,
    Side,
    State,
    Telling,
    Walk,
)
from deskline_sla.platform import measured
from deskline_sla.policy import clock as clocks
from deskline_sla.policy import order, remind
from deskline_sla.policy.fold import Fold, owner_at
from deskline_sla.policy.tell import Now, name, retarget, settle, standing, warn, withdraw
from deskline_sla.reading import READERS, TOPICS, hashed, outcome
from deskline_sla.shadow import Decided, rows
from deskline_sla.telling import output, reminder
from deskline_sla.terms import ConfiguredTerms

_RECEIVED: Final = int(Kind.RECEIVED)
_SAID: Final = "message.received.v1"
_TOPIC_NUMBER: Final = {topic: number for number, topic in enumerate(TOPICS)}
# An outcome follows its message closely; beyond this the conversation is folded anew, which is right in any case.
_LOOK_BACK: Final = 32
_LAST: Final = FOREVER - 1


class SlaFolding:
    """``deskline.conversations.Folding``. ``lateness_us``: the deployment's allowed lateness."""

    name: str = "sla"
    topics: tuple[str, ...] = TOPICS
    together: bool = True
    """What is due does not wait for a unit of its own behind the records of the same moment."""
    state: type[State] = State

    def __init__(self, lateness_us: int, tally: Tally | None = None) -> None:
        self.lateness_us = lateness_us
        self.tally = tally
        self._terms: tuple[ConfiguredTerms, ConfiguredTerms] | None = None

    def fresh(self, subject: str) -> State:  # noqa: ARG002
        return State()

    def due(self, state: State) -> int | None:
        wake = state.wake if state.shadow is None else min(state.wake, state.shadow.wake)
        if state.nudges is not None:
            wake = min(wake, state.nudges.wake + self.lateness_us)
        return wake if wake < FOREVER else None

    def advance(self, subject: str, state: State, events: Sequence[Event], context: Context) -> list[Output]:
        # gather
        facts, counted, refold = self._gather(state, events)
        start = _arrange(state, facts, refold=refold)
        terms, _ = self._policies(context.config)
        # decide
        live = self._decide(state, state, start, terms, context.watermark)
        if "sla" in context.config.candidates:
            self._decide_in_shadow(subject, state, start, facts, live, context=context)
        say = live.say
        for change in _overdue_changes(subject, context.lane, state, live):
            context.effect(change)
        nudges = self._remind(state, events, counted, live.fold, context) if context.config.reminds else []
        closes = [event.offset for event in counted if event.type == "conversation.closed.v1"]
        if closes and self.tally is not None:
            self.tally.measure(measured(closes, state.facts, state.shop, context.config))
        # apply
        said = [reminder(subject, state.shop, nudge, context.now) for nudge in nudges]
        return self._told(subject, say, counted, state, context) + said

    def _told(
        self, subject: str, say: list[Telling], counted: Sequence[Event], state: State, context: Context
    ) -> list[Output]:
        if not say:
            return []
        terms, _ = self._policies(context.config)
        if self.tally is not None:
            self.tally.add(say, subject, context.now, self.lateness_us)
        breaches = sum(told.end == End.BREACHED for told in state.told.values())
        say = [terms.with_actions(telling, breaches) for telling in say]
        causes = {(_TOPIC_NUMBER[event.topic], event.offset): event for event in counted}
        last = counted[-1] if counted else None
        return [output(subject, telling, _cause(telling, causes, last), context.now) for telling in say]

    def _policies(self, config: ConfigBook) -> tuple[ConfiguredTerms, ConfiguredTerms]:
        """Those in force and those in shadow."""
        if self._terms is None or self._terms[0].book is not config:
            self._terms = ConfiguredTerms(config), ConfiguredTerms(config, candidate=True)
        return self._terms

    # --- gather -------------------------------------------------------------------------------------------------

    def _gather(self, state: State, events: Sequence[Event]) -> tuple[list[Fact], list[Event], bool]:
        """New facts, the events that count, and whether what was folded before does not hold any more."""
        facts: list[Fact] = []
        counted: list[Event] = []
        refold = False
        first = state.seen.first
        for event in events:
            if not first(event):
                continue
            reader = READERS.get(event.type)
            if reader is not None:
                fact = reader(event, state)
                if fact is None:
                    continue
                if fact.kind == _RECEIVED and not state.shop:
                    state.shop = event.data.shop_id
                    refold = refold or bool(state.facts)
                facts.append(fact)
            elif event.type == "message.ignored.v1":
                refold = _ignore(state, event) or refold
            else:
                continue
            counted.append(event)
        return facts, counted, refold

    # --- decide -------------------------------------------------------------------------------------------------

    def _decide(self, side: Side, state: State, start: int | None, terms: ConfiguredTerms, watermark: int) -> Decided:
        """Fold the facts from ``start`` on (None: all of them, anew) and say what is new on this side."""
        fold = Fold(Walk() if start is None else side.walk, state.facts, state.ignored, state.shop, terms)
        fold.run(start or 0)
        say: list[Telling] = []
        horizon = watermark - self.lateness_us
        fold.reevaluate(horizon)
        running = fold.open_clocks()
        for at, clock in fold.retargeted:
            key = name(clock)
            side.told[key] = retarget(side.told.get(key), clock, at, owner_at(fold.walk, at), say)
        if fold.walk is not side.walk:
            side.walk = fold.walk
            _compare_all(side, fold, running, horizon, say)
        else:
            _compare_changed(side, fold, running, horizon, say)
        side.wake = self._wake(side, fold, running, watermark, say)
        return Decided(side, fold, say)

    def _decide_in_shadow(
        self,
        subject: str,
        state: State,
        start: int | None,
        facts: Sequence[Fact],
        live: Decided,
        *,
        context: Context,
    ) -> None:
        """From the first record on that comes while the shop has a candidate policy; what is older is then folded, too."""
        _, terms = self._policies(context.config)
        shadow = state.shadow
        if shadow is None:
            if not any(terms.has_candidate(state.shop or fact.shop, fact.at, fact.broker_at) for fact in facts):
                return
            shadow = state.shadow = Shadow()
            start = None
        candidate = self._decide(shadow, state, start, terms, context.watermark)
        told = rows(subject, context.lane, shadow, live=live, candidate=candidate, has_candidate=terms.has_candidate)
        for row in told:
            context.effect(row)

    def _remind(
        self, state: State, events: Sequence[Event], counted: Sequence[Event], fold: Fold, context: Context
    ) -> list[Nudge]:
        nudges = state.nudges
        if nudges is None:
            said = (event for event in counted if event.type == _SAID)
            if not any(context.config.sla(state.shop, event.at, event.broker_at).reminders for event in said):
                return []
            nudges = state.nudges = Nudges()
        for event in counted:
            if event.type == _SAID:
                nudges.names[hashed(event.data.message_id)] = event.data.message_id
        # Reading twice is reading once: duplicates need not be told apart.
        for event in events:
            if event.type == "message.read.v1" and event.data.reader.kind == "agent":
                remind.read(nudges, state.facts, event.data.reader.id, hashed(event.data.message_id))
        terms, _ = self._policies(context.config)

        def rules_of(fact: Fact) -> ReminderRules | None:
            return terms.reminders(state.shop, fact)

        horizon = context.watermark - self.lateness_us
        say = remind.remind(nudges, state.facts, state.ignored, fold.walk, rules_of, horizon=horizon)
        if self.tally is not None:
            self.tally.remind(say)
        return say

    def _wake(self, side: Side, fold: Fold, running: list[Clock], watermark: int, say: list[Telling]) -> int:
        """Warn where a threshold is used up; the next instant at which anything can become due."""
        wake = FOREVER
        for clock in running:
            if clocks.breached_by(clock, watermark - self.lateness_us):
                continue
            if clock.warn_at <= watermark:
                _warn(side, clock, fold, watermark, say)
            wake = min(wake, clock.warn_at, clock.runs_on + self.lateness_us)
            if not clock.over:
                wake = min(wake, self._reevaluation(fold, clock))
        for clock in side.pending:
            wake = min(wake, clock.runs_on + self.lateness_us)
        return wake

    def _reevaluation(self, fold: Fold, clock: Clock) -> int:
        """When to bring the next version to this clock; of one that no version is known for, the last instant there is.

        So each row with a clock that may take a version has a ``due``, a held one's, too: ``reevaluation`` finds them by it.
        """
        book, at = fold.book, fold.walk.reevaluated
        for instant in book.reevaluated_at[bisect_right(book.reevaluated_at, at) :]:
            if instant > clock.started_at and book.reevaluated(clock, instant) is not None:
                return instant + self.lateness_us
        return _LAST


def _overdue_changes(subject: str, lane: int, state: State, live: Decided) -> list[Overdue]:
    """Clocks that have become overdue, and those that are no longer; ``state.overdue`` follows."""
    if not state.overdue and not live.say:
        return []
    now: dict[Name, Clock] = {}
    for clock in live.fold.open_clocks():
        told = state.told.get(name(clock))
        if told is not None and told.end == End.BREACHED:
            now[name(clock)] = clock
    changes = [Overdue(lane, subject, str(key), "", 0, "") for key in state.overdue if key not in now]
    changes += [
        Overdue(lane, subject, str(key), METRICS[clock.metric], clock.due, clock.shop)
        for key, clock in now.items()
        if key not in state.overdue
    ]
    state.overdue = set(now)
    return changes


def _arrange(state: State, new: list[Fact], *, refold: bool) -> int | None:
    """Put new facts in their places: the first from which the fold goes on; None where it has to start anew."""
    facts = state.facts
    start = len(facts)
    reevaluated = state.walk.reevaluated
    if len(new) > 1:
        new.sort(key=order.provisional)
    for number, fact in enumerate(new):
        if not order.append(facts, fact, state.orphans, refusals=state.refusals):
            facts.extend(new[number:])
            state.orphans = order.arrange(facts)
            return None
        # Behind all others, yet before a version that the open clocks took meanwhile.
        refold = refold or order.key_of(fact)[0] < reevaluated
    return None if refold else start


def _warn(side: Side, clock: Clock, fold: Fold, watermark: int, say: list[Telling]) -> None:
    hours = fold.hours(clock)
    key = name(clock)
    while clock.warn_at <= watermark:
        due = clocks.due_at(clock, watermark, hours)
        side.told[key] = warn(side.told.get(key), clock, due, owner_at(fold.walk, clock.warn_at), say)
        clocks.next_warning(clock, hours)


def _ignore(state: State, event: Event) -> bool:
    """Note the outcome of a message; whether a step that was folded before would now be another."""
    message = hashed(event.data.message_id)
    group = outcome(event.data.reason)
    if message in state.ignored:
        return False
    state.ignored[message] = int(group)
    if group == Ignored.OTHER:
        return False
    for fact in reversed(state.facts[-_LOOK_BACK:]):
        if fact.kind == _RECEIVED and fact.ref == message:
            # Met in hands, it is an agent's turn already.
            return not (group == Ignored.HUMAN and fact.number)
    return len(state.facts) > _LOOK_BACK


def _compare_all(side: Side, fold: Fold, running: list[Clock], horizon: int, say: list[Telling]) -> None:
    """After a fold from the beginning: every clock, and those that were told of and are not there any more."""
    side.pending = []
    present: set[Name] = set()
    for clock in (*fold.ended, *running):
        present.add(name(clock))
        _compare(side, fold, clock, horizon, say)
    for key, told in side.told.items():
        if told.end != End.OPEN and key not in present:
            withdraw(told, say)


def _compare_changed(side: Side, fold: Fold, running: list[Clock], horizon: int, say: list[Telling]) -> None:
    """After a walk that went on: what ended in it, and what the watermark has reached."""
    waiting = side.pending
    if waiting:
        side.pending = []
        for clock in waiting:
            _compare(side, fold, clock, horizon, say)
    for clock in fold.ended:
        _compare(side, fold, clock, horizon, say)
    for clock in running:
        # A hold read late can take back a breach although it stands at the end of the fold.
        if clocks.breached_by(clock, horizon) or name(clock) in side.told:
            _compare(side, fold, clock, horizon, say)


def _compare(side: Side, fold: Fold, clock: Clock, horizon: int, say: list[Telling]) -> None:
    now = standing(clock, horizon)
    if now == Now.PENDING and clock.end != End.OPEN:
        side.pending.append(clock)
    key = name(clock)
    told = side.told.get(key)
    owner = owner_at(fold.walk, clock.due) if now == Now.BREACHED else ""
    settled = settle(told, clock, now, owner, say)
    if settled is not None and settled is not told:
        side.told[key] = settled


def _cause(telling: Telling, causes: dict[tuple[int, int], Event], last: Event | None) -> Event | None:
    """The record of this unit that a telling answers; None where it is from time alone.

    Where the record that ended the clock was read before, it is a later one that made the difference: the last.
    """
    if telling.cause is not None:
        return causes.get(telling.cause, last)
    return last if telling.reason is Reason.LATE_EVENT else None
