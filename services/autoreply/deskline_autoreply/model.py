"""What autoreply can decide about a message, and the tables that say when. Plain values, nothing else.

The contract's border (§4) is here as data: ``Ignore`` has its reasons to ignore in its order, ``OUTCOMES`` what becomes of
what the rules want, given whether a request is open (and nobody owns the conversation).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from deskline.config.rules_document import Handover
    from deskline_autoreply.policy.sensitive import Finding

SECOND: Final = 1_000_000

# Contract §4: the same text within this is a slip of the finger or impatience ...
SAME_TEXT_US: Final = 60 * SECOND
# ... and later than that, up to this, a question that the answer did not answer.
REPEATED_US: Final = 30 * 60 * SECOND


class Ignore(StrEnum):
    """Reasons of ``message.ignored``, in the contract's order: the first that applies is given."""

    SUPERSEDED = "superseded"
    EMPTY = "empty"
    HUMAN_OWNED = "human_owned"
    SHADOW = "shadow"
    DUPLICATE_TEXT = "duplicate_text"
    COOLDOWN = "cooldown"
    WAITING = "waiting"


class Reason(StrEnum):
    """Reasons of ``handover.requested``."""

    NO_MATCH = "no_match"
    LOW_CONFIDENCE = "low_confidence"
    RULE = "rule"
    COMPLAINT = "complaint"
    ASKED_FOR_HUMAN = "asked_for_human"
    REPEATED_QUESTION = "repeated_question"
    SENSITIVE = "sensitive"
    ATTACHMENT = "attachment"


URGENT: Final = frozenset({Reason.COMPLAINT, Reason.ASKED_FOR_HUMAN, Reason.SENSITIVE, Reason.ATTACHMENT})
"""The reasons for which a message is handed over although a request is open already."""

NOT_WAITING: Final = frozenset({Ignore.EMPTY, Ignore.DUPLICATE_TEXT, Ignore.COOLDOWN})
"""A message ignored for one of these does not make the customer wait (``waiting_since``)."""

STILL_TRUE: Final = frozenset({"queue_notice", "off_hours", "emergency"})
"""Kinds of reply that may go with the hand-over of a message older than ``reply_max_age_s``."""


class Wish(StrEnum):
    """What the rules want done with a message, before the border."""

    ANSWER = "answer"
    HAND_OVER = "hand_over"
    HAND_OVER_URGENTLY = "hand_over_urgently"
    HOLD = "hold"
    """A holding reply and a hand-over."""
    HOLD_URGENTLY = "hold_urgently"


class Outcome(StrEnum):
    """The four shapes of §4."""

    REPLY = "reply"
    HANDOVER = "handover"
    BOTH = "both"
    IGNORED = "ignored"


OUTCOMES: Final[dict[tuple[bool, Wish], Outcome]] = {
    # (a request is open and nobody owns the conversation, what the rules want) → what becomes of it
    (False, Wish.ANSWER): Outcome.REPLY,
    (False, Wish.HAND_OVER): Outcome.HANDOVER,
    (False, Wish.HAND_OVER_URGENTLY): Outcome.HANDOVER,
    (False, Wish.HOLD): Outcome.BOTH,
    (False, Wish.HOLD_URGENTLY): Outcome.BOTH,
    (True, Wish.ANSWER): Outcome.REPLY,
    (True, Wish.HAND_OVER): Outcome.IGNORED,  # waiting
    (True, Wish.HAND_OVER_URGENTLY): Outcome.HANDOVER,
    (True, Wish.HOLD): Outcome.IGNORED,  # waiting: a holding reply tells nothing new to one who waits
    (True, Wish.HOLD_URGENTLY): Outcome.BOTH,
}


class Said(NamedTuple):
    """What is sent to the customer."""

    kind: str
    text: str
    configured: str = ""
    """The shop's own words, variables not filled in: for what is recorded."""
    entry_id: str | None = None
    variant: str = ""
    confidence: float | None = None
    offers: tuple[str, ...] = ()
    """Entries of a list to choose from, in its order."""


class Tagged(NamedTuple):
    """What rules marked on the way to the decision."""

    rule_ids: tuple[str, ...] = ()
    """Those that did nothing else."""
    tags: tuple[str, ...] = ()
    """Flags of this hand-over and every later one of the conversation."""


NOTHING_TAGGED: Final = Tagged()


@dataclass(frozen=True, slots=True)
class Answered:
    """``reply.issued`` with ``handover`` false."""

    reply: Said
    rule_id: str | None
    reason: Wish = Wish.ANSWER
    tagged: Tagged = NOTHING_TAGGED
    screened: Finding | None = None
    """What is said of sensitive words in the reply, which has them masked where they are to be."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """``handover.requested``; with a ``reply``, a holding reply as well."""

    reason: Reason
    """Not always the one that ``handover`` states: a repetition has its own."""
    waiting_since: int
    handover: Handover
    rule_id: str | None
    reply: Said | None
    tagged: Tagged = NOTHING_TAGGED
    suggestions: tuple[tuple[str, float], ...] = ()
    """At most three (entry, confidence) for the agent's screen."""
    screened: Finding | None = None
    """As of ``Answered``; of a reply that was blocked, too, which is then not ``reply``."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """``message.ignored``."""

    reason: Ignore
    silent: bool = False
    """Superseded because the router took the message's silence for a request: it waits in that request."""
    instead_of: Answered | HandedOver | Ignored | None = None
    """In a shop in shadow: what would have been sent."""
    rule_id: str | None = None
    """The rule that wants silence."""
    tagged: Tagged = NOTHING_TAGGED


Decision = Answered | HandedOver | Ignored
