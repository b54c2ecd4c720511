"""Reminders: a nudge to the owner that a customer's message waits, unread or unanswered. Pure; times are µs.

What waits: the customer's messages that stand behind the last agent's message and the last close in the fold, those that
nobody need answer (empty, duplicate_text, cooldown) aside. *unanswered* is about the first of them, *unread* about the
first that stands behind what the owner has read; reading a message reads those before it. Without an owner, and in a hold,
nobody is reminded. Time counts in the shop's hours from the latest of the message, the owner's taking over and the last
resume: after so many seconds the first reminder, then one after each interval, so many times for each owner.

One conversation reminds of at most one message of a kind at a time, and names the owner: the desktop merges what an agent has
waiting. A reminder is not taken back, and after a stop one is told for all that were missed (``n`` counts what was told).
"""

from collections.abc import Callable, Mapping, Sequence

from deskline.calendars import Hours
from deskline_sla.model import FOREVER, Fact, Ignored, Kind, Nudge, Nudged, Nudges, ReminderRule, ReminderRules, Walk

# The oldest that wait are the newest that are looked at: nobody is helped by looking through more.
_MOST = 256


def remind(
    nudges: Nudges,
    facts: Sequence[Fact],
    ignored: Mapping[int, int],
    walk: Walk,
    rules_of: Callable[[Fact], ReminderRules | None],
    *,
    horizon: int,
) -> list[Nudge]:
    """What to say by ``horizon`` (the watermark less the allowed lateness); ``nudges`` follows, its ``wake`` is the next one."""
    waiting, resumed_at = _waiting(facts, ignored)
    present = {fact.ref for fact in waiting}
    nudges.names = {ref: text for ref, text in nudges.names.items() if ref in present}
    nudges.unread = {ref: nudged for ref, nudged in nudges.unread.items() if ref in present}
    nudges.unanswered = {ref: nudged for ref, nudged in nudges.unanswered.items() if ref in present}
    nudges.wake = FOREVER
    known = [fact for fact in waiting if fact.ref in nudges.names]
    if not known:
        nudges.reads.clear()
    if not known or not walk.owner or walk.held:
        return []
    owned_since = walk.owners[-1][0]
    read_until = nudges.reads.get(walk.owner, -1)
    unread = next((fact for fact in known if fact.at > read_until), None)
    say: list[Nudge] = []
    for kind, fact, told in (("unread", unread, nudges.unread), ("unanswered", known[0], nudges.unanswered)):
        rules = None if fact is None else rules_of(fact)
        rule = None if rules is None else getattr(rules, kind)
        if fact is None or rules is None or rule is None:
            continue
        since = max(fact.at, owned_since, resumed_at)
        nudged = told.setdefault(fact.ref, Nudged())
        if nudged.since != since:
            nudged.since, nudged.ticks = since, 0
        passed = _passed(rule, rules.hours, since, horizon)
        if passed > nudged.ticks:
            nudged.ticks = passed
            nudged.n += 1
            say.append(Nudge(kind, nudges.names[fact.ref], fact.at, nudged.n, walk.owner))
        if nudged.ticks < rule.times:
            wait = rule.after_us + nudged.ticks * rule.every_us
            nudges.wake = min(nudges.wake, rules.hours.add(since, wait))
    return say


def read(nudges: Nudges, facts: Sequence[Fact], agent: str, message: int) -> None:
    """Note that this agent has read a message that waits."""
    if message not in nudges.names:
        return
    for fact in reversed(facts[-_MOST:]):
        if fact.kind == Kind.RECEIVED and fact.ref == message:
            nudges.reads[agent] = max(fact.at, nudges.reads.get(agent, -1))
            return


def _waiting(facts: Sequence[Fact], ignored: Mapping[int, int]) -> tuple[list[Fact], int]:
    """In fold order; and when a hold ended last since the first of them."""
    found: list[Fact] = []
    resumed_at = 0
    for fact in reversed(facts[-_MOST:]):
        if fact.kind in {Kind.ANSWERED, Kind.CLOSED}:
            break
        if fact.kind == Kind.RESUMED:
            resumed_at = max(resumed_at, fact.at)
        elif fact.kind == Kind.RECEIVED and ignored.get(fact.ref) != Ignored.SILENT:
            found.append(fact)
    found.reverse()
    return found, resumed_at


def _passed(rule: ReminderRule, hours: Hours, since: int, horizon: int) -> int:
    """How many of the rule's instants have come by then."""
    counted = hours.elapsed(since, horizon)
    if counted < rule.after_us:
        return 0
    return min(rule.times, 1 + (counted - rule.after_us) // rule.every_us)
