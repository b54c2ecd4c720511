"""What would answer a text and why, by the service's own decision; and what came close: rules that failed by one condition,
entries near by, words of the filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deskline.clock import DAY, MINUTE, rfc3339
from deskline.config.rules_document import RuleCondition, RulesDocument
from deskline.conversations import Context
from deskline.folding import deep_text
from deskline.records import CONVERSATIONS, ROUTING, SHOPS, Event
from deskline.text import fold, readable
from deskline_autoreply.handler import Autoreply, State
from deskline_autoreply.model import Answered, Decision, HandedOver, Ignore, Ignored, Said
from deskline_autoreply.policy.requests import Request
from deskline_autoreply.policy.rules import Asked, Compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deskline.config.book import ConfigBook
    from deskline.events.models import MessageReceived
    from deskline_autoreply.knowledge.index import KnowledgeIndex
    from deskline_autoreply.policy.sensitive import Finding
    from deskline_autoreply.versions import Versions

_ABOUT_THE_TEXT: Final = ("any_of", "all_of", "exact", "phrases", "patterns")
_SUBJECT: Final = "try"
_WHY: Final = {
    Ignore.EMPTY: "nothing visible and no attachment",
    Ignore.WAITING: "a request is open already; only complaints, calls for a person, sensitive words and attachments go through",
    Ignore.COOLDOWN: "the rule wants silence, or a machine writes",
}


def tried(
    book: ConfigBook, message: MessageReceived, at: int, *, later: bool, open_request: bool, surge: bool = False
) -> Iterator[str]:
    """Line by line. ``at``: µs. ``later``: not the conversation's first message. ``open_request``: nobody has it yet."""
    if surge:
        begun = at - DAY
        book.admit(Event(
            "routing.surge_entered.v1", "try", "/deskline/router", message.shop_id, begun, False, None, SHOPS, 0, 0, begun
        ))  # fmt: skip
    decisions: list[Decision] = []
    autoreply, shop = Autoreply(book, decisions.append), message.shop_id
    state = State()
    if later:
        state.history.opened_at = at - MINUTE
    if open_request:
        since = at - MINUTE
        state.requests.requests.append(Request("try-request", "handover", since, since, position=1))
        state.requests.queued_at = since
    event = Event(
        "message.received.v1", "try", "/gateway/try", _SUBJECT, at, False, message, CONVERSATIONS, 0, 0, at
    )  # fmt: skip
    autoreply.advance(_SUBJECT, state, [event], Context(at, at, book, {ROUTING: 0}, 0))
    (decision,) = decisions
    _, rules = autoreply.versions.rules(shop, at, at)
    asked = _asked(autoreply.versions, rules, message, at, first_message=not later)
    yield f"shop {shop} at {rfc3339(at)}: {'open' if asked.is_open else 'closed'}"
    would = decision
    if isinstance(decision, Ignored) and decision.instead_of is not None:
        yield f"the shop is in shadow: nothing below is sent, the outcome is message.ignored ({decision.reason})"
        would = decision.instead_of
    if not (isinstance(would, Ignored) and would.reason is Ignore.EMPTY):
        yield from _rules_asked(rules, asked, would)
    yield from _told(would)
    for rule_id, condition in failed_by_one(rules, asked):
        yield f"  came close: {rule_id}, but for {condition}"
    yield from knowledge_lines(autoreply.versions.knowledge(rules.document), message.text, at)
    found = rules.filter.look(message.text, "inbound")
    if found is not None:
        yield _filtered("sensitive", found)


def _asked(versions: Versions, rules: Compiled, message: MessageReceived, at: int, *, first_message: bool) -> Asked:
    attachments = message.attachments or ()
    return Asked(
        text=deep_text(message.text),
        plain=fold(message.text),
        readable=readable(message.text),
        moment=versions.moment(message.shop_id, at, at, rules.calendars),
        is_open=versions.is_open(message.shop_id, at, at),
        first_message=first_message,
        attachment=bool(attachments),
        attachment_kinds=frozenset(attachment.kind for attachment in attachments),
        order=bool(message.order_id),
        product=bool(message.product_id),
        surge=versions.in_surge(message.shop_id, at),
        tier=message.customer.tier or "regular",
        channel=message.channel,
        entry_point=message.entry_point,
        language=message.language,
    )


def _rules_asked(rules: Compiled, asked: Asked, would: Decision) -> Iterator[str]:
    """Every rule before the one that decides; all of them where none does."""
    for rule, failed in rules.explain(asked, upto=would.rule_id or ""):
        if failed is not None:
            yield f"  {rule.rule_id}: not met: {failed}"
        elif rule.rule_id == would.rule_id:
            return
        elif rule.reply is None and rule.handover is None and not rule.silent:
            yield f"  {rule.rule_id}: tags {', '.join(rule.tags)}"
        elif rule.unless_answered:
            yield f"  {rule.rule_id}: matches, and steps aside for an answer"
        elif isinstance(would, Ignored):
            yield f"  {rule.rule_id}: matches"
            return
        else:
            yield f"  {rule.rule_id}: matches, and has nothing to say: a variable in its text has no value"


def _told(would: Decision) -> Iterator[str]:
    match would:
        case Answered(reply=reply, rule_id=rule_id, screened=screened):
            yield f"decides: {_decider(rule_id, reply)}"
            yield _said(reply)
        case HandedOver(reply=reply, rule_id=rule_id, screened=screened, handover=handover):
            yield f"decides: {_decider(rule_id, reply)}"
            if reply is not None:
                yield _said(reply)
            details = [f"reason {would.reason}", f"priority {handover.priority}"]
            details += [f"skills {', '.join(handover.skills)}"] if handover.skills else []
            details += [f"flags {', '.join(handover.flags)}"] if handover.flags else []
            suggested = ", ".join(f"{entry} ({confidence:.2f})" for entry, confidence in would.suggestions)
            details += [f"suggestions {suggested}"] if suggested else []
            yield f"hand-over: {'; '.join(details)}"
        case Ignored(reason=reason, rule_id=rule_id):
            screened = None
            if rule_id is not None:
                yield f"decides: {rule_id}"
            yield f"ignored: {reason}" + (f" ({_WHY[reason]})" if reason in _WHY else "")
    if screened is not None:
        yield _filtered("the reply", screened)


def _decider(rule_id: str | None, reply: Said | None) -> str:
    if rule_id is not None:
        return rule_id
    if reply is None:
        return "the fallback"
    return "the knowledge base" + (f" (entry {reply.entry_id})" if reply.entry_id else "")


def _said(reply: Said) -> str:
    details = [reply.kind]
    details += [f"variant {reply.variant}"] if reply.variant else []
    details += [f"confidence {reply.confidence:.2f}"] if reply.confidence is not None else []
    return f"reply ({', '.join(details)}): {reply.text}"


def _filtered(what: str, found: Finding) -> str:
    hands_over = "; a person has to see it" if found.hands_over else ""
    masked = f": {found.masked_text}" if found.masked_text is not None and found.action == "masked" else ""
    action = "" if found.action == "none" else f"; {found.action}{masked}"
    return f"{what}: {', '.join(found.categories)}{action}{hands_over}"


def failed_by_one(rules: Compiled, asked: Asked) -> Iterator[tuple[str, str]]:
    """(rule, the one condition without which it would have matched), of rules whose other conditions on the text hold."""
    for rule in rules.rules:
        only = Compiled(rules.document.model_copy(update={"rules": (rule,), "knowledge": RulesDocument().knowledge}))
        failed = next((failed for _, failed in only.explain(asked)), None)
        if failed is None or failed not in RuleCondition.model_fields:
            continue
        without = rule.when.model_copy(update={failed: None})
        if all(getattr(without, name, None) is None for name in _ABOUT_THE_TEXT):
            continue  # what is left says nothing about the text: nearly every message would be close
        freed = rule.model_copy(update={"when": without})
        left = Compiled(only.document.model_copy(update={"rules": (freed,)}))
        if next((still for _, still in left.explain(asked)), None) is None:
            yield rule.rule_id, failed


def knowledge_lines(index: KnowledgeIndex | None, text: str, at: int) -> list[str]:
    if index is None:
        return []
    answer = index.answer(text, at)
    lines = [f"knowledge base answers: {answer.sure.entry_id}"] if answer.sure is not None else []
    near = index.search(text, at)
    return lines + [f"  near: {one.entry_id} (confidence {one.confidence:.2f}, as {one.phrasing!r})" for one in near]
