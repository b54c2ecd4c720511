"""The decision about one message: the contract's border (§4) around what the rules want.

``decide`` takes facts and gives a ``Decision``; it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from deskline_autoreply.model import (
    OUTCOMES,
    REPEATED_US,
    SAME_TEXT_US,
    STILL_TRUE,
    URGENT,
    Answered,
    Decision,
    HandedOver,
    Ignore,
    Ignored,
    Outcome,
    Reason,
    Wish,
)
from deskline_autoreply.policy.history import ANSWERED, HANDED, History, Turn, waiting_since
from deskline_autoreply.policy.standing import had_request, is_owned, request_is_open

if TYPE_CHECKING:
    from deskline.config.rules_document import AutoreplyRule, Handover, Reply
    from deskline_autoreply.policy.requests import Requests
    from deskline_autoreply.policy.rules import Asked, Compiled


class Limits(NamedTuple):
    """The shop's named durations, µs."""

    patience: int
    reply_max_age: int


class Message(NamedTuple):
    """The message to decide about."""

    subject: str
    turn: Turn
    broker_at: int
    written: bool
    """An agent has written since: before the message in conversations.v1, or behind it within its patience (a close, too)."""
    asked: Asked


_WISHES: Final[dict[tuple[bool, bool], Wish]] = {
    # (with a holding reply, urgent)
    (False, False): Wish.HAND_OVER,
    (False, True): Wish.HAND_OVER_URGENTLY,
    (True, False): Wish.HOLD,
    (True, True): Wish.HOLD_URGENTLY,
}


def decide(
    message: Message, history: History, requests: Requests, rules: Compiled, limits: Limits, *, time: int
) -> Decision:
    """``time`` is that of the outcome: the only clock there is. ``history`` is what stands before the message."""
    turn, subject = message.turn, message.subject
    if turn.at <= history.closed_at:
        return Ignored(Ignore.SUPERSEDED)
    old = time - message.broker_at > limits.patience
    if old:
        silent_from = message.broker_at + limits.patience
        silent = had_request(subject, turn, silent_from, history, requests)
        if silent or message.written:
            return Ignored(Ignore.SUPERSEDED, silent=silent)
    if not message.asked.plain and not message.asked.attachment:
        return Ignored(Ignore.EMPTY)
    if is_owned(subject, history, requests, turn):
        return Ignored(Ignore.HUMAN_OWNED)
    too_old = old and time - turn.at > limits.reply_max_age
    would = _unowned(message, history, requests, rules, too_old=too_old)
    return Ignored(Ignore.SHADOW, instead_of=would) if rules.in_shadow(turn.at) else would


def _unowned(message: Message, history: History, requests: Requests, rules: Compiled, *, too_old: bool) -> Decision:
    """A message in a conversation that nobody owns."""
    turn = message.turn
    is_open = request_is_open(message.subject, history, requests, turn)
    repeated = False
    if turn.digest:
        same = [earlier for earlier in history.turns if earlier.digest == turn.digest]
        if same:
            near = [earlier for earlier in same if abs(turn.at - earlier.at) <= SAME_TEXT_US]
            ended = max(history.closed_at, requests.released_at)
            if is_open and any(earlier.marks & HANDED and earlier.at > ended for earlier in near):
                return Ignored(Ignore.DUPLICATE_TEXT)
            if any(earlier.marks & ANSWERED for earlier in near):
                return Ignored(Ignore.COOLDOWN)
            repeated = any(
                SAME_TEXT_US < turn.at - earlier.at <= REPEATED_US and earlier.at > history.closed_at
                for earlier in same
            )
    rule = rules.first(message.asked)
    wish, reply, handover, reason = _want(rule, rules.fallback, is_open=is_open, repeated=repeated, too_old=too_old)
    outcome = OUTCOMES[is_open, wish]
    match outcome:
        case Outcome.IGNORED:
            return Ignored(Ignore.WAITING)
        case Outcome.REPLY:
            assert reply is not None
            assert rule is not None
            return Answered(reply, rule.rule_id)
        case Outcome.HANDOVER | Outcome.BOTH:
            return HandedOver(
                reason,
                waiting_since(history, turn.at),
                handover,
                rule.rule_id if rule is not None else None,
                reply,
            )
        case _:
            assert_never(outcome)


def _want(
    rule: AutoreplyRule | None, fallback: Handover, *, is_open: bool, repeated: bool, too_old: bool
) -> tuple[Wish, Reply | None, Handover, Reason]:
    """What the rules want of a message, before it is asked whether a request is open already."""
    reply = rule.reply if rule is not None else None
    handover = rule.handover if rule is not None else fallback
    if handover is None and (repeated or too_old):
        # An answer that did not help, or that comes too late: a person has to see it.
        handover = fallback
        if repeated:
            reply = None
    if too_old and reply is not None and reply.kind not in STILL_TRUE:
        reply = None
    if handover is None:
        return Wish.ANSWER, reply, fallback, Reason.RULE
    reason = Reason(handover.reason)
    urgent = reason in URGENT
    if repeated and not (is_open and urgent):
        # §4 names the reason of a repetition; only while a request is open it would hide what must go through.
        reason, urgent = Reason.REPEATED_QUESTION, False
    return _WISHES[reply is not None, urgent], reply, handover, reason
