"""The decision about one message: the contract's border (§4) around what the rules want.

``decide`` takes facts and gives a ``Decision``; it changes nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from deskline.text import fold
from deskline_autoreply.knowledge.answers import NOTHING, Answer, list_of
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
    Said,
    Tagged,
    Wish,
)
from deskline_autoreply.policy.history import ANSWERED, HANDED, History, Turn, digest, waiting_since
from deskline_autoreply.policy.manners import must_be_quiet
from deskline_autoreply.policy.rules.compiled import only_tags
from deskline_autoreply.policy.standing import had_request, is_owned, request_is_open

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deskline.config.rules_document import AutoreplyRule, Handover
    from deskline_autoreply.policy.requests import Requests
    from deskline_autoreply.policy.rules import Asked, Compiled
    from deskline_autoreply.policy.sensitive import Finding


class Limits(NamedTuple):
    """The shop's named durations, µs."""

    patience: int
    reply_max_age: int


def NOTHING_KNOWN(waiting: bool) -> Answer:  # noqa: N802, ARG001 - a constant function
    return NOTHING


class Message(NamedTuple):
    """The message to decide about."""

    subject: str
    turn: Turn
    broker_at: int
    written: bool
    """An agent has written since: before the message in conversations.v1, or behind it within its patience (a close, too)."""
    asked: Asked
    customer: str = ""
    values: Mapping[str, str | None] = MappingProxyType({})
    """Of the variables in replies; empty where ``needs_values`` is False."""
    resting: frozenset[str] = frozenset()
    """Rules that have replied to this customer, in any conversation with this shop, and rest still (``cooldown_s``)."""
    nobody: bool = False
    """A machine's message, or an echo of our own text."""
    ask: Callable[[bool], Answer] = NOTHING_KNOWN
    """What the knowledge base says to one who waits for a person already, or (False) to anybody: asked only where rules say
    nothing, because it takes longer than all else together."""
    suggest: bool = False
    """The shop wants a short list given to the customer where nothing is sure enough."""
    question: str = ""
    """The text as written."""
    found: Finding | None = None
    """The sensitive words in it."""


class _Chosen(NamedTuple):
    """What the rules say, before the border."""

    rule: AutoreplyRule | None
    reply: Said | None
    quiet: str | None
    """Why the robot may not reply now (a flag for people)."""
    tagged: Tagged
    known: Answer | None = None
    """What the knowledge base said, where it was asked."""
    aside: AutoreplyRule | None = None
    """The rule before it that decides unless this is an answer (``unless_answered``)."""


class _Wanted(NamedTuple):
    """What the rules want of a message, before it is asked whether a request is open already."""

    wish: Wish
    reply: Said | None
    handover: Handover
    reason: Reason


# A list on an event holds at most 64 (contract §1).
_MOST_FLAGS: Final = 64

_WISHES: Final[dict[tuple[bool, bool], Wish]] = {
    # (with a holding reply, urgent)
    (False, False): Wish.HAND_OVER,
    (False, True): Wish.HAND_OVER_URGENTLY,
    (True, False): Wish.HOLD,
    (True, True): Wish.HOLD_URGENTLY,
}

# Reasons that say more than that words are sensitive; a repetition has its own by §4.
_KEPT: Final = URGENT | {Reason.REPEATED_QUESTION}


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
            if message.nobody or any(earlier.marks & ANSWERED for earlier in near):
                return Ignored(Ignore.COOLDOWN)
            repeated = any(
                SAME_TEXT_US < turn.at - earlier.at <= REPEATED_US and earlier.at > history.closed_at
                for earlier in same
            )
    if message.nobody:
        return Ignored(Ignore.COOLDOWN)
    chosen, found = _choose(message, history, rules), message.found
    if chosen.rule is None and turn.digest:
        may_list = not (is_open or repeated or too_old)
        chosen = _consult(chosen, message, history, rules, is_open=is_open, may_list=may_list)
    if chosen.aside is not None and not _is_answered(chosen, sent=not (repeated or too_old)):
        chosen = _with_aside(chosen, chosen.aside, message, history, rules)
    rule = chosen.rule
    grave = found is not None and found.hands_over
    if rule is not None and rule.silent and not grave:
        return Ignored(Ignore.COOLDOWN, rule_id=rule.rule_id, tagged=chosen.tagged)
    wanted = _want(chosen, rules.fallback, is_open=is_open, repeated=repeated, too_old=too_old)
    if grave and wanted.reason not in _KEPT:
        holding = wanted.wish in {Wish.HOLD, Wish.HOLD_URGENTLY}
        wanted = wanted._replace(
            wish=Wish.HOLD_URGENTLY if holding else Wish.HAND_OVER_URGENTLY,
            reply=wanted.reply if holding else None,
            reason=Reason.SENSITIVE,
        )
    (wish, reply, handover, reason), screened = _screened(wanted, rules, is_open=is_open)
    outcome = OUTCOMES[is_open, wish]
    match outcome:
        case Outcome.IGNORED:
            return Ignored(Ignore.WAITING, tagged=chosen.tagged)
        case Outcome.REPLY:
            assert reply is not None
            rule_id = rule.rule_id if rule is not None else None
            return Answered(reply, rule_id, tagged=chosen.tagged, screened=screened)
        case Outcome.HANDOVER | Outcome.BOTH:
            return HandedOver(
                reason,
                waiting_since(history, turn.at),
                _flagged(handover, history, chosen, found),
                rule.rule_id if rule is not None else None,
                reply,
                chosen.tagged,
                _suggestions(chosen.known if chosen.known is not None and not is_open else message.ask(False)),
                screened,
            )
        case _:
            assert_never(outcome)


def _is_answered(chosen: _Chosen, *, sent: bool) -> bool:
    """Whether the message needs no person. ``sent``: an answer would be, and not given up for a person."""
    rule = chosen.rule
    if rule is not None and (rule.silent or rule.handover is not None):
        return rule.silent
    return sent and chosen.reply is not None


def _with_aside(chosen: _Chosen, aside: AutoreplyRule, message: Message, history: History, rules: Compiled) -> _Chosen:
    """The rule that had stepped aside decides after all, if it has something to say or to do."""
    reply = _say(aside, chosen.quiet, message, history, rules)
    if reply is None and aside.handover is None and not aside.silent:
        return chosen
    tagged = chosen.tagged._replace(tags=(*chosen.tagged.tags, *aside.tags))
    return chosen._replace(rule=aside, reply=reply, tagged=tagged)


def _say(rule: AutoreplyRule, quiet: str | None, message: Message, history: History, rules: Compiled) -> Said | None:
    """The words of a rule, where it may have any now."""
    if rule.reply is None or quiet is not None or rule.rule_id in message.resting:
        return None
    return rules.say(rule, message.customer, message.values, lambda text: _was_said(text, message, history, rules))


def _choose(message: Message, history: History, rules: Compiled) -> _Chosen:
    """The first matching rule that has something to say, or hands over, or is silent.

    A reply that may not go out (the rule rests, the text was said just now, its variables have no value, the robot must be
    quiet) is left out of a rule that hands over, and passes over one that does not: in the end the fallback asks for a person.
    """
    quiet = must_be_quiet(rules.guard, history, message.turn.at)
    only: list[str] = []
    tags: list[str] = []
    found: AutoreplyRule | None = None
    aside: AutoreplyRule | None = None
    reply: Said | None = None
    for rule in rules.matching(message.asked):
        if rule.unless_answered:
            aside = aside or rule
            continue
        tags += rule.tags
        if only_tags(rule):
            only.append(rule.rule_id)
            continue
        reply = _say(rule, quiet, message, history, rules)
        if reply is not None or rule.handover is not None or rule.silent:
            found = rule
            break
    return _Chosen(found, reply, quiet, Tagged(tuple(only), tuple(tags)), aside=aside)


def _was_said(text: str, message: Message, history: History, rules: Compiled) -> bool:
    """Whether this was our last text, and not long ago: as it would leave, because what was said is kept as it left."""
    if not history.said_last or message.turn.at - max(history.replied, default=0) > REPEATED_US:
        return False
    screened = rules.filter.look(text, "outbound")
    if screened is not None and screened.action == "masked" and screened.masked_text is not None:
        text = screened.masked_text
    return digest(fold(text)) == history.said_last


def _consult(
    chosen: _Chosen, message: Message, history: History, rules: Compiled, *, is_open: bool, may_list: bool
) -> _Chosen:
    """No rule has a word: the knowledge base answers where it is sure, or gives one short list where the shop wants it."""
    known = message.ask(is_open)
    reply: Said | None = None
    if chosen.quiet is None:
        if known.sure is not None:
            sure = known.sure
            reply = Said(sure.kind, sure.answer, sure.answer, sure.entry_id, confidence=sure.confidence)
            if _was_said(sure.answer, message, history, rules):
                reply = None  # it was just said, and did not help
        elif message.suggest and may_list and known.near and not history.offered:
            text = list_of(known.near, message.question)
            offers = tuple(candidate.entry_id for candidate in known.near)
            reply = Said("suggestions", text, confidence=known.near[0].confidence, offers=offers)
    return chosen._replace(reply=reply, known=known)


def _suggestions(known: Answer) -> tuple[tuple[str, float], ...]:
    return tuple((candidate.entry_id, candidate.confidence) for candidate in known.near)


def _screened(wanted: _Wanted, rules: Compiled, *, is_open: bool) -> tuple[_Wanted, Finding | None]:
    """With the reply as it may leave, and what is said of the words in it. One that must not leave needs a person."""
    if wanted.reply is None or OUTCOMES[is_open, wanted.wish] is Outcome.IGNORED:
        return wanted, None
    screened = rules.filter.look(wanted.reply.text, "outbound")
    if screened is not None and screened.action == "blocked":
        reason = wanted.reason if wanted.reason in _KEPT else Reason.SENSITIVE
        return wanted._replace(wish=Wish.HAND_OVER_URGENTLY, reply=None, reason=reason), screened
    if screened is not None and screened.masked_text is not None:
        wanted = wanted._replace(reply=wanted.reply._replace(text=screened.masked_text))
    return wanted, screened


def _flagged(handover: Handover, history: History, chosen: _Chosen, found: Finding | None) -> Handover:
    """With what rules have marked in this conversation, why the robot fell silent, and what the words are a sign of."""
    more = [*history.tags, *chosen.tagged.tags, *([chosen.quiet] if chosen.quiet is not None else [])]
    more += found.flags if found is not None else ()
    if not more:
        return handover
    flags = tuple(dict.fromkeys((*handover.flags, *more)))[:_MOST_FLAGS]
    return handover.model_copy(update={"flags": flags})


def _want(chosen: _Chosen, fallback: Handover, *, is_open: bool, repeated: bool, too_old: bool) -> _Wanted:
    rule, reply = chosen.rule, chosen.reply
    handover = rule.handover if rule is not None else fallback
    if rule is None and reply is not None:
        handover = None
    if handover is None and (repeated or too_old):
        # An answer that did not help, or that comes too late: a person has to see it.
        handover = fallback
        if repeated:
            reply = None
    if too_old and reply is not None and reply.kind not in STILL_TRUE:
        reply = None
    if handover is None:
        return _Wanted(Wish.ANSWER, reply, fallback, Reason.RULE)
    reason = Reason(handover.reason)
    if (
        (rule is None or rule.unless_answered)
        and reason is Reason.NO_MATCH
        and chosen.known is not None
        and chosen.known.near
    ):
        reason = Reason.LOW_CONFIDENCE
    urgent = reason in URGENT
    if repeated and not (is_open and urgent):
        # §4 names the reason of a repetition; only while a request is open it would hide what must go through.
        reason, urgent = Reason.REPEATED_QUESTION, False
    return _Wanted(_WISHES[reply is not None, urgent], reply, handover, reason)
