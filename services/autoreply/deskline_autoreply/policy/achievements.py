"""What rules and entries achieve, as counts: what a decision adds to them, and what a rating does. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deskline_autoreply.model import Answered, Decision, HandedOver, Ignored
from deskline_autoreply.policy import history as facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deskline_autoreply.model import Said
    from deskline_autoreply.policy.history import Credit, History


class Hit(NamedTuple):
    """An addition to one row of ``hits`` (see the migration)."""

    shop: str
    kind: str
    id: str
    variant: str
    at: int
    """Event time: of the message that was decided, or, for what followed, of the one that had been answered."""
    lane: int
    answered: int = 0
    handed_over: int = 0
    silenced: int = 0
    tagged: int = 0
    followed: int = 0
    rated: int = 0
    score_sum: int = 0


def hits_of(decision: Decision, history: History, at: int, lane: int) -> Iterator[Hit]:
    """What a decision about a message of event time ``at`` adds; it is remembered in ``history`` for what follows."""
    shop = history.shop
    if isinstance(decision, Ignored) and decision.instead_of is not None:
        return  # in shadow: nothing happened
    for tagging in decision.tagged.rule_ids:
        yield Hit(shop, "rule", tagging, "", at, lane, tagged=1)
    match decision:
        case Answered(reply=reply, rule_id=rule_id):
            for kind, id_, variant in _speakers(reply, rule_id):
                yield Hit(shop, kind, id_, variant, at, lane, answered=1)
                facts.credit(history, kind, id_, variant, at)
        case HandedOver(reply=reply, rule_id=rule_id):
            for known in history.credits:
                if not known.followed and known.at > history.closed_at:
                    known.followed = True
                    yield _after(shop, known, lane)._replace(followed=1)
            kind, decider = ("fallback", "") if rule_id is None else ("rule", rule_id)
            yield Hit(shop, kind, decider, reply.variant if reply is not None else "", at, lane, handed_over=1)
        case Ignored(rule_id=str(rule_id)):
            yield Hit(shop, "rule", rule_id, "", at, lane, silenced=1)
        case Ignored():
            pass


def hits_of_rating(history: History, score: int, lane: int) -> Iterator[Hit]:
    """The first rating of a conversation counts for whatever answered in it."""
    for known in history.credits:
        if not known.rated:
            known.rated = True
            yield _after(history.shop, known, lane)._replace(rated=1, score_sum=score)


def _speakers(reply: Said, rule_id: str | None) -> Iterator[tuple[str, str, str]]:
    if rule_id is not None:
        yield "rule", rule_id, reply.variant
    if reply.entry_id is not None:
        yield "entry", reply.entry_id, ""


def _after(shop: str, known: Credit, lane: int) -> Hit:
    return Hit(shop, known.kind, known.id, known.variant, known.at, lane)
