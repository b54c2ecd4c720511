"""Recorded events folded into what learning needs: questions that nothing answered, and the outcome of every message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deskline.duplicates import Seen
from deskline_autoreply.learning.mining import Question

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deskline.records import Event

RECEIVED: Final = "message.received.v1"
UNANSWERED: Final = frozenset({"no_match", "low_confidence"})
_ANSWERS_WITHIN: Final = 3_600_000_000
"""An hour: what an agent writes later is hardly about this question."""


class Outcome(NamedTuple):
    """Of one message, as far as it shows: ``kind`` reply, holding, handover or ignored."""

    kind: str
    reason: str = ""
    text: str = ""
    rule_id: str = ""
    entry_id: str = ""
    routing_offset: int | None = None
    at: int = 0
    """µs, of the decision."""

    @property
    def answered(self) -> bool:
        return self.kind == "reply"

    @property
    def by(self) -> str:
        return self.rule_id or self.entry_id or "-"


class Conversation:
    """The events of one conversation, duplicates left out."""

    def __init__(self) -> None:
        self.shop = ""
        self.received: list[Event] = []
        self.sent: list[Event] = []
        self.outcomes: dict[str, Outcome] = {}
        self._seen = Seen()

    def take(self, event: Event) -> None:
        if not self._seen.first(event):
            return
        if event.type == RECEIVED:
            self.shop = self.shop or event.data.shop_id
            self.received.append(event)
        elif event.type == "message.sent.v1" and event.data.author.kind == "agent":
            self.sent.append(event)
        elif (told := told_by(event)) is not None:
            message_id, outcome = told
            self.outcomes[message_id] = joined(self.outcomes.get(message_id), outcome)


def told_by(event: Event) -> tuple[str, Outcome] | None:
    """(message, its outcome) of a record of replies.v1."""
    data = event.data
    match event.type:
        case "reply.issued.v1":
            kind = "holding" if data.handover else "reply"
            said = Outcome(kind, "", data.text, data.rule_id or "", data.entry_id or "", data.routing_offset, event.at)
            return data.in_reply_to, said
        case "handover.requested.v1":
            return data.message_id, Outcome("handover", data.reason, routing_offset=data.routing_offset, at=event.at)
        case "message.ignored.v1":
            return data.message_id, Outcome("ignored", data.reason, routing_offset=data.routing_offset, at=event.at)
        case _:
            return None


def joined(known: Outcome | None, new: Outcome) -> Outcome:
    """A holding reply and its hand-over are one outcome."""
    if known is None or {known.kind, new.kind} != {"holding", "handover"}:
        return new
    reply, handover = (known, new) if known.kind == "holding" else (new, known)
    return reply._replace(reason=handover.reason)


def conversations(events: Iterable[Event], shop: str | None = None) -> dict[str, Conversation]:
    found: dict[str, Conversation] = {}
    for event in events:
        found.setdefault(event.subject, Conversation()).take(event)
    return {subject: one for subject, one in found.items() if one.received and shop in {None, one.shop}}


def unanswered(found: dict[str, Conversation], *, without_outcomes: bool = False) -> list[Question]:
    """What no rule and no entry answered, with what agents then wrote.

    ``without_outcomes``: recordings of people only. There, whatever an agent answered next was a question.
    """
    return [
        question
        for subject, one in found.items()
        for place, event in enumerate(one.received)
        if (question := _question(subject, one, place, event, without_outcomes)) is not None
    ]


def _question(subject: str, one: Conversation, place: int, event: Event, without_outcomes: bool) -> Question | None:
    outcome = one.outcomes.get(event.data.message_id)
    if outcome is None:
        if not without_outcomes:
            return None
    elif outcome.kind not in {"handover", "holding"} or outcome.reason not in UNANSWERED:
        return None
    following = next((later.at for later in one.received[place + 1 :] if later.at > event.at), None)
    end = event.at + _ANSWERS_WITHIN
    answers = [sent.data.text for sent in one.sent if event.at < sent.at <= end]
    if without_outcomes:
        answers = [sent.data.text for sent in one.sent if event.at < sent.at <= (following or end)]
        if not answers:
            return None
    return Question(event.data.text, event.data.customer.customer_id, subject, tuple(answers[:2]))
