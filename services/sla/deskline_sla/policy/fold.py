"""The fold: facts in fold order → clocks (contract §5, §3 *Owner* and *in hands*).

``STEPS`` is the state machine: what each kind of fact does to the walk, one function a kind. What starts and ends which
metric, as the contract's table has it:

    metric             starts                                   met by                         cancelled by
    instant_reply      RECEIVED, not in hands                   REPLIED, ANSWERED, BOT_SENT    CLOSED
    agent_response     HANDOVER, QUEUED (no_autoreply)          ANSWERED                       CLOSED, RELEASED queue_full
    next_response      RECEIVED in hands, or for an agent       ANSWERED                       CLOSED
    transfer_response  QUEUED (transfer)                        ANSWERED by another (or by     CLOSED, RELEASED closed of
                                                                the same, owner again)         its request
    resolution         RECEIVED that opens                      CLOSED                         –
    complaint_closure  COMPLAINT_OPENED                         COMPLAINT_CLOSED of the same   –

A walk can go on from where it stood when the new facts stand behind all others and change no earlier step
(``handler`` decides that); otherwise it starts anew. Either way the same facts give the same clocks.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import structs

from deskline.calendars import ALWAYS, Hours
from deskline_sla.model import (
    FOREVER,
    Case,
    Cause,
    Clock,
    End,
    Fact,
    Ignored,
    Kind,
    Metric,
    Reason,
    Release,
    TermsBook,
    Walk,
)
from deskline_sla.policy import clock as clocks

# Plain integers: enum members cost a look-up each time, and this is the innermost loop.
_INSTANT, _AGENT, _NEXT, _TRANSFER, _RESOLUTION, _COMPLAINT = (int(metric) for metric in Metric)
_RECEIVED: Final = int(Kind.RECEIVED)
_HUMAN: Final = int(Ignored.HUMAN)
_SILENT: Final = int(Ignored.SILENT)
_METRICS: Final = tuple(Metric)
_TIER: Final = "regular"


class Fold:
    """One pass over facts. ``ended`` collects the clocks that ended in it, in that order; ``retargeted`` those that took a new
    version: (the instant, the clock as it stood then).
    """

    __slots__ = ("book", "ended", "facts", "ignored", "index", "retargeted", "shop", "walk")

    def __init__(self, walk: Walk, facts: Sequence[Fact], ignored: dict[int, int], shop: str, book: TermsBook) -> None:
        self.walk = walk
        self.facts = facts
        self.ignored = ignored
        self.shop = shop
        self.book = book
        self.ended: list[Clock] = []
        self.retargeted: list[tuple[int, Clock]] = []
        self.index = 0

    def run(self, start: int) -> None:
        """Take the facts from ``start`` on."""
        walk, facts = self.walk, self.facts
        instants = self.book.reevaluated_at
        upcoming = _after(instants, walk.reevaluated)
        for index in range(start, len(facts)):
            fact = facts[index]
            self.index = index
            place = fact.key[0] if fact.key else fact.at
            if upcoming <= place:
                self.reevaluate(place)
                upcoming = _after(instants, place)
            walk.place = place
            STEPS[fact.kind](self, walk, fact)

    def reevaluate(self, until: int) -> None:
        """Bring the versions that were applied for open clocks, too, to them, as far as they are in force at ``until``.

        A version stands before the facts of its instant: what starts there starts under it already.
        """
        walk, instants = self.walk, self.book.reevaluated_at
        due = instants[bisect_right(instants, walk.reevaluated) : bisect_right(instants, until)]
        if not due:
            return
        walk.reevaluated = due[-1]
        running = self.open_clocks()
        for instant in due if running else ():
            for clock in running:
                if clock.started_at >= instant or clocks.exceeded(clock, instant, self.hours(clock)):
                    continue
                new = self.book.reevaluated(clock, instant)
                if new is not None:
                    clocks.retarget(clock, instant, new, walk.holds)
                    shown = structs.replace(clock, due=clocks.due_at(clock, instant, new.terms.hours))
                    self.retargeted.append((instant, shown))

    def hours(self, clock: Clock) -> Hours:
        return self.book.hours(clock) if clock.calendar else ALWAYS

    # --- starting and ending clocks -----------------------------------------------------------------------------

    def start(self, metric: int, fact: Fact, complaint: str = "") -> Clock | None:
        walk = self.walk
        place = walk.place
        shop = self.shop or fact.shop
        if metric == _COMPLAINT:
            # Only a complaint can stand before any message in the log: its own shop counts then (contract §3).
            shop = fact.shop or self.shop
            if complaint in walk.complaints or walk.complaint_starts.get(complaint) == place:
                return None
        elif walk.clocks[metric] is not None or walk.last_start[metric] == place:
            return None
        case = self._case(place)
        terms = self.book.find(shop, _METRICS[metric], case, place, fact.broker_at)
        if terms is None:
            return None
        clock = Clock(
            metric, place, complaint, shop, case.tier, terms.policy_id, terms.version, terms.target_us, terms.target_s,
            terms.calendar, terms.pausable, terms.thresholds, fact.topic, fact.offset, fact.broker_at,
        )  # fmt: skip
        clock.known_until = terms.known_until
        clock.channel, clock.priority = case.channel, case.priority
        clocks.begin(clock, terms.hours, held=walk.held and terms.pausable)
        if metric == _COMPLAINT:
            walk.complaints[complaint] = clock
            walk.complaint_starts[complaint] = place
        else:
            walk.clocks[metric] = clock
            walk.last_start[metric] = place
        return clock

    def _case(self, place: int) -> Case:
        """Tier and channel: those of the last message at or before ``place``, so also of later ones of its instant."""
        walk, facts = self.walk, self.facts
        tier, channel = walk.tier, walk.channel
        for index in range(self.index + 1, len(facts)):
            fact = facts[index]
            if (fact.key[0] if fact.key else fact.at) != place:
                break
            if fact.kind == _RECEIVED:
                channel = fact.text
                tier = fact.who or tier
        return Case(tier or _TIER, channel, walk.priority)

    def finish(self, clock: Clock, fact: Fact, end: End, agent: str, reason: Reason | None = None) -> None:
        place = self.walk.place
        clocks.finish(clock, place, self.hours(clock), end, reason)
        clock.agent = owner_at(self.walk, clock.due) if clock.end == End.BREACHED else agent
        clock.end_topic, clock.end_offset = fact.topic, fact.offset
        if clock.metric == _COMPLAINT:
            del self.walk.complaints[clock.complaint]
        else:
            self.walk.clocks[clock.metric] = None
        self.ended.append(clock)

    def stop(self, metric: int, fact: Fact, agent: str) -> None:
        clock = self.walk.clocks[metric]
        if clock is not None:
            self.finish(clock, fact, End.MET, agent)

    def cancel(self, metric: int, fact: Fact, reason: Reason) -> None:
        clock = self.walk.clocks[metric]
        if clock is not None:
            self.finish(clock, fact, End.CANCELLED, self.walk.owner, reason)

    def open_clocks(self) -> list[Clock]:
        running = [clock for clock in self.walk.clocks if clock is not None]
        if self.walk.complaints:
            running += self.walk.complaints.values()
        return running


def owner_at(walk: Walk, instant: int) -> str:
    """The owner at an instant that the walk has passed; empty: nobody."""
    index = bisect_right(walk.owners, instant, key=_place)
    return walk.owners[index - 1][1] if index else ""


def _after(instants: Sequence[int], at: int) -> int:
    """The first of them that is later; ``FOREVER`` without one."""
    index = bisect_right(instants, at)
    return instants[index] if index < len(instants) else FOREVER


def _place(entry: tuple[int, str]) -> int:
    return entry[0]


def in_hands(walk: Walk) -> bool:
    return bool(walk.owner or walk.requests or walk.bridged)


# --- ownership ----------------------------------------------------------------------------------------------------


def _own(walk: Walk, agent: str, assignment: int, request: int) -> None:
    if walk.owner != agent:
        walk.owners.append((walk.place, agent))
    walk.owner, walk.owner_assignment, walk.owner_request = agent, assignment, request


def _disown(walk: Walk) -> None:
    if walk.owner:
        walk.owners.append((walk.place, ""))
    walk.owner = ""
    walk.owner_assignment = walk.owner_request = 0


def _no_offer(walk: Walk) -> None:
    walk.offer_agent = ""
    walk.offer = walk.offer_request = 0


# --- what each kind of fact does ----------------------------------------------------------------------------------


def _received(fold: Fold, walk: Walk, fact: Fact) -> None:
    opens = not walk.live
    hands = not opens and in_hands(walk)
    fact.number = int(hands)
    walk.channel = fact.text
    if fact.who:
        walk.tier = fact.who
    walk.live = True
    if opens:
        fold.start(_RESOLUTION, fact)
    outcome = fold.ignored.get(fact.ref) if fold.ignored else None
    if outcome == _SILENT:
        return
    if hands or outcome == _HUMAN:
        if walk.clocks[_AGENT] is None:
            fold.start(_NEXT, fact)
    else:
        fold.start(_INSTANT, fact)


def _answered(fold: Fold, walk: Walk, fact: Fact) -> None:
    agent = fact.who
    if walk.offer and walk.offer_agent == agent:
        _own(walk, agent, walk.offer, walk.offer_request)
        _no_offer(walk)
    elif walk.live and not walk.owner and not walk.requests:
        _own(walk, agent, 0, 0)
    fold.stop(_INSTANT, fact, agent)
    fold.stop(_AGENT, fact, agent)
    fold.stop(_NEXT, fact, agent)
    transfer = walk.clocks[_TRANSFER]
    if transfer is not None and (transfer.by != agent or (walk.owner == agent and walk.owner_assignment)):
        fold.finish(transfer, fact, End.MET, agent)


def _replied(fold: Fold, _walk: Walk, fact: Fact) -> None:
    fold.stop(_INSTANT, fact, "")


def _nothing(_fold: Fold, _walk: Walk, _fact: Fact) -> None:
    pass


def _handover(fold: Fold, walk: Walk, fact: Fact) -> None:
    walk.priority = fact.number
    walk.bridged = True
    if walk.clocks[_NEXT] is None:
        fold.start(_AGENT, fact)


def _queued(fold: Fold, walk: Walk, fact: Fact) -> None:
    walk.priority = walk.priorities[fact.request] = fact.number
    walk.bridged = False
    if fact.request not in walk.ended_requests:
        walk.requests.append(fact.request)
    if fact.code == Cause.NO_AUTOREPLY:
        if walk.clocks[_NEXT] is None:
            fold.start(_AGENT, fact)
    elif fact.code == Cause.TRANSFER:
        clock = fold.start(_TRANSFER, fact)
        if clock is not None:
            clock.by = walk.transfers.get(fact.since, walk.transferred_by)
            clock.request = fact.request


def _requeued(_fold: Fold, walk: Walk, fact: Fact) -> None:
    """It counts only where it changes its request's priority: one for the position alone says nothing new."""
    if walk.priorities.get(fact.request) != fact.number:
        walk.priority = walk.priorities[fact.request] = fact.number


def _assigned(_fold: Fold, walk: Walk, fact: Fact) -> None:
    if _begins(walk, fact):
        _no_offer(walk)
        _own(walk, fact.who, fact.ref, fact.request)


def _offered(_fold: Fold, walk: Walk, fact: Fact) -> None:
    if _begins(walk, fact):
        walk.offer, walk.offer_agent, walk.offer_request = fact.ref, fact.who, fact.request


def _begins(walk: Walk, fact: Fact) -> bool:
    return fact.ref not in walk.ended_assignments and fact.request not in walk.ended_requests


def _accepted(_fold: Fold, walk: Walk, fact: Fact) -> None:
    if walk.offer == fact.ref and walk.offer_agent == fact.who:
        _own(walk, fact.who, walk.offer, walk.offer_request)
        _no_offer(walk)


def _withdrawn(_fold: Fold, walk: Walk, fact: Fact) -> None:
    walk.ended_assignments.add(fact.ref)
    if walk.owner_assignment == fact.ref:
        _disown(walk)
    if walk.offer == fact.ref:
        _no_offer(walk)


def _released(fold: Fold, walk: Walk, fact: Fact) -> None:
    request = fact.request
    if fact.code == Release.QUEUE_FULL:
        fold.cancel(_AGENT, fact, Reason.QUEUE_FULL)
    elif fact.code == Release.CLOSED:
        transfer = walk.clocks[_TRANSFER]
        if transfer is not None and transfer.request == request:
            fold.cancel(_TRANSFER, fact, Reason.CLOSED)
    walk.ended_requests.add(request)
    if request in walk.requests:
        walk.requests.remove(request)
    if walk.owner_request == request:
        _disown(walk)
    if walk.offer_request == request:
        _no_offer(walk)
    if fact.ref:
        _withdrawn(fold, walk, fact)
    walk.bridged = fact.code == Release.TRANSFERRED


def _transfer(_fold: Fold, walk: Walk, fact: Fact) -> None:
    owner = walk.owner == fact.who
    # Of several at one instant the owner's counts: the others have no effect (contract §4 *The request*).
    if owner or fact.at not in walk.transfers:
        walk.transfers[fact.at] = walk.transferred_by = fact.who
    if owner:
        _disown(walk)


def _held(fold: Fold, walk: Walk, _fact: Fact) -> None:
    if walk.held:
        return
    walk.held = True
    walk.holds.append((walk.place, FOREVER))
    for clock in fold.open_clocks():
        if clock.pausable:
            clocks.pause(clock, walk.place, fold.hours(clock))


def _resumed(fold: Fold, walk: Walk, _fact: Fact) -> None:
    if not walk.held:
        return
    walk.held = False
    walk.holds[-1] = (walk.holds[-1][0], walk.place)
    for clock in fold.open_clocks():
        if clock.pausable:
            clocks.resume(clock, walk.place, fold.hours(clock))


def _complaint_opened(fold: Fold, _walk: Walk, fact: Fact) -> None:
    fold.start(_COMPLAINT, fact, fact.text)


def _complaint_closed(fold: Fold, walk: Walk, fact: Fact) -> None:
    clock = walk.complaints.get(fact.text)
    if clock is not None:
        fold.finish(clock, fact, End.MET, walk.owner)


def _closed(fold: Fold, walk: Walk, fact: Fact) -> None:
    fold.stop(_RESOLUTION, fact, fact.who or walk.owner)
    for metric in (_INSTANT, _AGENT, _NEXT, _TRANSFER):
        fold.cancel(metric, fact, Reason.CLOSED)
    _resumed(fold, walk, fact)
    walk.live = walk.bridged = False
    walk.requests.clear()
    _disown(walk)
    _no_offer(walk)


Step = Callable[[Fold, Walk, Fact], None]
_TABLE: Final[dict[Kind, Step]] = {
    Kind.RECEIVED: _received,
    Kind.ANSWERED: _answered,
    Kind.BOT_SENT: _replied,
    Kind.SYSTEM_SENT: _nothing,
    Kind.REPLIED: _replied,
    Kind.HANDOVER: _handover,
    Kind.QUEUED: _queued,
    Kind.REQUEUED: _requeued,
    Kind.ASSIGNED: _assigned,
    Kind.OFFERED: _offered,
    Kind.ACCEPTED: _accepted,
    Kind.WITHDRAWN: _withdrawn,
    Kind.RELEASED: _released,
    Kind.TRANSFER: _transfer,
    Kind.HELD: _held,
    Kind.RESUMED: _resumed,
    Kind.COMPLAINT_OPENED: _complaint_opened,
    Kind.COMPLAINT_CLOSED: _complaint_closed,
    Kind.CLOSED: _closed,
}
STEPS: Final[tuple[Step, ...]] = tuple(_TABLE[kind] for kind in Kind)
