"""What is recorded of rules in shadow: what they would have done about a message, beside what was done. Pure.

Two things are tried: the shop's own rules while the shop is in shadow (``shop``: nothing is sent, people answer), and a
candidate beside them (``candidate``). Both decide on the same facts, those of what really happened: a candidate is not told that
in its own world the customer would have been answered a minute ago.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from deskline_autoreply.model import Answered, Decision, HandedOver, Ignore, Ignored, Outcome

if TYPE_CHECKING:
    from deskline_autoreply.model import Said
    from deskline_autoreply.policy.rules import Compiled

BEFORE_THE_RULES: Final = frozenset({Ignore.SUPERSEDED, Ignore.EMPTY, Ignore.HUMAN_OWNED})
"""Ignored for one of these, a message was never the rules' to decide: there is nothing to compare."""


class Tried(StrEnum):
    SHOP = "shop"
    CANDIDATE = "candidate"


class Verdict(StrEnum):
    """A candidate against what was done: about answers first, since these are what customers see."""

    SAME = "same"
    GAINED = "gained"
    """It would have answered what was not answered."""
    LOST = "lost"
    """It would not have answered what was."""
    CHANGED = "changed"
    """Another answer, or another hand-over."""


class Word(NamedTuple):
    """A decision, flat."""

    outcome: str
    reason: str | None = None
    """Of a hand-over or an ignoring."""
    rule_id: str | None = None
    entry_id: str | None = None
    kind: str | None = None
    text: str | None = None
    """The shop's own words as configured, variables not filled in."""
    confidence: float | None = None
    details: tuple[object, ...] = ()
    """What else of a hand-over readers act on; compared, not recorded."""


class ShadowDecision(NamedTuple):
    """One row: what would have been done about one message."""

    subject: str
    message_id: str
    tried: Tried
    lane: int
    at: int
    """The message's event time."""
    shop: str
    version: int
    would: Word
    live: Word | None = None
    """What was done; None of a shop in shadow, where nothing was."""
    verdict: Verdict | None = None


def word_of(decision: Decision) -> Word:
    match decision:
        case Answered(reply=reply, rule_id=rule_id):
            return _with(reply, Word(Outcome.REPLY.value, rule_id=rule_id))
        case HandedOver(reason=reason, reply=reply, rule_id=rule_id, handover=handover, tagged=tagged):
            outcome = Outcome.HANDOVER if reply is None else Outcome.BOTH
            details = (tuple(handover.skills), handover.priority, (*handover.flags, *tagged.tags))
            return _with(reply, Word(outcome.value, reason.value, rule_id, details=details))
        case Ignored(reason=why, instead_of=would, rule_id=rule_id):
            return Word(Outcome.IGNORED.value, why.value, rule_id) if would is None else word_of(would)
        case _:
            assert_never(decision)


def _with(reply: Said | None, word: Word) -> Word:
    if reply is None:
        return word
    text = reply.configured or reply.text
    return word._replace(kind=reply.kind, text=text, entry_id=reply.entry_id, confidence=reply.confidence)


def compare(live: Word, would: Word) -> Verdict:
    answered, answers = live.outcome == Outcome.REPLY, would.outcome == Outcome.REPLY
    if answered != answers:
        return Verdict.GAINED if answers else Verdict.LOST
    same = (live.outcome, live.reason, live.text, live.details) == (
        would.outcome,
        would.reason,
        would.text,
        would.details,
    )
    return Verdict.SAME if same else Verdict.CHANGED


def beside(live: ShadowDecision, would: Decision) -> ShadowDecision:
    """The candidate's row. ``live``: that of the decision that it is compared with."""
    word = word_of(would)
    return live._replace(tried=Tried.CANDIDATE, would=word, live=live.would, verdict=compare(live.would, word))


def is_compared(decision: Decision) -> bool:
    """Whether the rules were asked about this message."""
    return not (isinstance(decision, Ignored) and decision.reason in BEFORE_THE_RULES)


def is_recorded(decision: Decision, rules: Compiled, at: int) -> bool:
    """Whether the shop's own rules were tried on this message."""
    return isinstance(decision, Ignored) and decision.reason is Ignore.SHADOW and rules.is_recorded(at)
