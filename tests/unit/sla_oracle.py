"""Contract §5 written down as plainly as it goes, for one conversation whose records have all been read.

No state machine, no increments: places are made by lists of instants, who owns and what is in hands are asked of all
that stands before, counted time is a difference of calendar times, and ``due_at`` is found by bisection.
"""

from dataclasses import dataclass
from typing import Any

from deskline.calendars import ALWAYS, Hours
from deskline.clock import DAY, SECOND, parse_rfc3339
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Event

TOPICS = (CONVERSATIONS, REPLIES, ROUTING)
DEFAULTS = {
    "instant_reply": 30.0,
    "agent_response": 180.0,
    "next_response": 180.0,
    "transfer_response": 300.0,
    "resolution": None,
    "complaint_closure": 48 * 3600.0,
}
SILENT = ("empty", "duplicate_text", "cooldown")
HUMAN = ("human_owned", "waiting")


@dataclass
class Placed:
    place: int
    event: Event

    @property
    def type(self) -> str:
        return self.event.type.removesuffix(".v1")


# --- the order ----------------------------------------------------------------------------------------------------


def without_duplicates(events: list[Event]) -> list[Event]:
    counted: list[Event] = []
    for event in sorted(events, key=lambda e: (TOPICS.index(e.topic), e.offset)):

        def same(other: Event, event: Event = event) -> bool:
            if event.broker_at - other.broker_at > DAY:
                return False
            if other.topic == event.topic and (other.source, other.id) == (event.source, event.id):
                return True
            messages = ("message.received.v1", "message.sent.v1")
            return (
                other.type == event.type and event.type in messages and other.data.message_id == event.data.message_id
            )

        if not any(same(other) for other in counted):
            counted.append(event)
    return counted


def first_queued(events: list[Event]) -> set[int]:
    firsts: dict[str, int] = {}
    for event in events:
        if event.type == "conversation.queued.v1":
            firsts.setdefault(event.data.request_id, event.offset)
    return set(firsts.values())


def fold_order(events: list[Event]) -> list[Placed]:
    firsts = first_queued(events)
    refusals = [e.at for e in events if e.type == "conversation.released.v1" and e.data.reason == "queue_full"]
    messages: dict[str, Event] = {}
    for event in events:
        if event.type == "message.received.v1":
            messages.setdefault(event.data.message_id, event)

    def waiting(event: Event) -> bool:
        if event.type != "handover.requested.v1" and not (
            event.type == "conversation.queued.v1"
            and event.offset in firsts
            and event.data.cause in ("no_autoreply", "transfer")
        ):
            return False
        since = parse_rfc3339(event.data.waiting_since)
        return not any(since <= refusal < event.at for refusal in refusals)

    def answered(event: Event) -> Event | None:
        if event.type != "message.sent.v1":
            return None
        message = messages.get(event.data.in_reply_to or "")
        return message if message is not None and event.at <= message.at else None

    waiters = [e for e in events if waiting(e)]
    answers = [e for e in events if answered(e) is not None]
    plain = [e for e in events if e not in waiters and e not in answers]
    instants = {e.at for e in plain} | {parse_rfc3339(e.data.waiting_since) for e in waiters}
    order: list[Placed] = []
    for instant in sorted(instants):
        here = [e for e in plain if e.at == instant]
        for message in [e for e in here if e.type == "message.received.v1"]:
            closes = [i for i, e in enumerate(here) if e.type == "conversation.closed.v1" and e.offset < message.offset]
            if closes:
                here.remove(message)
                here.insert(closes[0], message)
        # Messages moved before the first close keep their order: each went directly before it, one after the other.
        openers = [i for i, e in enumerate(here) if e.type in ("message.received.v1", "transfer.requested.v1")]
        cut = openers[-1] + 1 if openers else 0
        here[cut:cut] = [e for e in waiters if parse_rfc3339(e.data.waiting_since) == instant]
        for message in [e for e in here if e.type == "message.received.v1"]:
            mine = [e for e in answers if answered(e) is message]
            after = here.index(message) + 1
            if message is here[cut - 1]:
                after = cut + len([e for e in waiters if parse_rfc3339(e.data.waiting_since) == instant])
            here[after:after] = mine
            if after <= cut:
                cut += len(mine)
        order += [Placed(instant, e) for e in here]
    return order


# --- who ----------------------------------------------------------------------------------------------------------


def requests_and_ends(before: list[Placed], firsts: set[int]) -> tuple[set[str], set[str], set[str]]:
    """Open requests, ended requests, ended assignments after these."""
    open_, ended, assignments = set(), set(), set()
    for placed in before:
        data = placed.event.data
        if placed.type == "conversation.queued" and placed.event.offset in firsts and data.request_id not in ended:
            open_.add(data.request_id)
        elif placed.type == "conversation.released":
            open_.discard(data.request_id)
            ended.add(data.request_id)
            if data.assignment_id:
                assignments.add(data.assignment_id)
        elif placed.type in ("assignment.expired", "assignment.revoked"):
            assignments.add(data.assignment_id)
        elif placed.type == "conversation.closed":
            open_.clear()
    return open_, ended, assignments


def owner_after(before: list[Placed], firsts: set[int]) -> tuple[str, str]:
    """(agent, assignment), empty where there is none."""
    owner = assignment = request = ""
    offer: Any = None
    for index, placed in enumerate(before):
        data = placed.event.data
        open_, ended, ended_assignments = requests_and_ends(before[:index], firsts)
        match placed.type:
            case "conversation.assigned":
                if data.request_id in ended or data.assignment_id in ended_assignments:
                    continue
                if data.mode == "assigned":
                    owner, assignment, request, offer = data.agent_id, data.assignment_id, data.request_id, None
                else:
                    offer = data
            case "assignment.accepted":
                if offer is not None and (offer.assignment_id, offer.agent_id) == (data.assignment_id, data.agent_id):
                    owner, assignment, request, offer = offer.agent_id, offer.assignment_id, offer.request_id, None
            case "message.sent" if data.author.kind == "agent":
                if offer is not None and offer.agent_id == data.author.id:
                    owner, assignment, request, offer = offer.agent_id, offer.assignment_id, offer.request_id, None
                elif not owner and not open_ and is_open(before[:index]):
                    owner, assignment, request = data.author.id, "", ""
            case "assignment.expired" | "assignment.revoked":
                if assignment == data.assignment_id:
                    owner = assignment = request = ""
                if offer is not None and offer.assignment_id == data.assignment_id:
                    offer = None
            case "conversation.released":
                if owner and assignment and (request == data.request_id or assignment == data.assignment_id):
                    owner = assignment = request = ""
                if offer is not None and (
                    offer.request_id == data.request_id or offer.assignment_id == data.assignment_id
                ):
                    offer = None
            case "transfer.requested":
                if owner == data.by_agent_id:
                    owner = assignment = request = ""
            case "conversation.closed":
                owner = assignment = request = ""
                offer = None
    return owner, assignment


def is_open(before: list[Placed]) -> bool:
    turns = [p.type for p in before if p.type in ("message.received", "conversation.closed")]
    return bool(turns) and turns[-1] == "message.received"


def in_hands(before: list[Placed], firsts: set[int]) -> bool:
    if not is_open(before):
        return False  # the message that opens or reopens is never in hands
    if owner_after(before, firsts)[0] or requests_and_ends(before, firsts)[0]:
        return True
    for placed in reversed(before):
        if placed.type == "conversation.closed":
            return False
        if placed.type == "handover.requested":
            return True
        if placed.type == "conversation.queued" and placed.event.offset in firsts:
            return False
        if placed.type == "conversation.released":
            return bool(placed.event.data.reason == "transferred")
    return False


# --- clocks -------------------------------------------------------------------------------------------------------


@dataclass
class Running:
    metric: str
    start: int
    complaint: str
    target_s: float
    hours: Hours
    pausable: bool
    request: str = ""
    by: str = ""
    end: int | None = None
    """Index of what ended it."""
    how: str = "open"


class Oracle:
    def __init__(self, events: list[Event], sla: dict[str, Any], hours: Hours) -> None:
        self.events = without_duplicates(events)
        self.firsts = first_queued(self.events)
        self.order = fold_order(self.events)
        self.sla = sla
        self.hours = hours
        self.ignored: dict[str, str] = {}
        for event in self.events:
            if event.type == "message.ignored.v1":
                self.ignored.setdefault(event.data.message_id, event.data.reason)
        self.clocks: list[Running] = []
        for index, placed in enumerate(self.order):
            self._ends(index, placed)
            self._starts(index, placed)

    def _find(self, metric: str, complaint: str = "") -> Running | None:
        return next(
            (c for c in self.clocks if (c.metric, c.complaint) == (metric, complaint) and c.how == "open"), None
        )

    def _ends(self, index: int, placed: Placed) -> None:
        data = placed.event.data
        met: list[tuple[str, str]] = []
        cancelled: list[str] = []
        match placed.type:
            case "reply.issued" if placed.event.broker_at <= parse_rfc3339(data.deliver_by):
                met = [("instant_reply", "")]
            case "message.sent" if data.author.kind == "bot":
                met = [("instant_reply", "")]
            case "message.sent" if data.author.kind == "agent":
                met = [("instant_reply", ""), ("agent_response", ""), ("next_response", "")]
                transfer = self._find("transfer_response")
                owner, assignment = owner_after(self.order[: index + 1], self.firsts)
                if transfer and (transfer.by != data.author.id or (owner == data.author.id and assignment)):
                    met.append(("transfer_response", ""))
            case "conversation.closed":
                met = [("resolution", "")]
                cancelled = ["instant_reply", "agent_response", "next_response", "transfer_response"]
            case "complaint.closed":
                met = [("complaint_closure", data.complaint_id)]
            case "conversation.released" if data.reason == "queue_full":
                cancelled = ["agent_response"]
            case "conversation.released" if data.reason == "closed":
                transfer = self._find("transfer_response")
                if transfer and transfer.request == data.request_id:
                    cancelled = ["transfer_response"]
        for metric, complaint in met:
            self._end(self._find(metric, complaint), index, "met")
        for metric in cancelled:
            self._end(self._find(metric), index, "cancelled")

    def _end(self, clock: Running | None, index: int, how: str) -> None:
        if clock is not None:
            clock.how, clock.end = how, index

    def _starts(self, index: int, placed: Placed) -> None:
        data = placed.event.data
        before = self.order[:index]
        match placed.type:
            case "message.received":
                reason = self.ignored.get(data.message_id, "")
                hands = in_hands(before, self.firsts)
                if not is_open(before):
                    self._start(index, "resolution")
                if not hands and reason not in (*HUMAN, *SILENT):
                    self._start(index, "instant_reply")
                if (hands or reason in HUMAN) and reason not in SILENT and not self._find("agent_response"):
                    self._start(index, "next_response")
            case "handover.requested" if not self._find("next_response"):
                self._start(index, "agent_response")
            case "conversation.queued" if placed.event.offset in self.firsts:
                if data.cause == "no_autoreply" and not self._find("next_response"):
                    self._start(index, "agent_response")
                if data.cause == "transfer":
                    self._start(index, "transfer_response", request=data.request_id, by=self._transferrer(before, data))
            case "complaint.opened":
                self._start(index, "complaint_closure", complaint=data.complaint_id)

    def _transferrer(self, before: list[Placed], data: Any) -> str:
        asked = [(i, p) for i, p in enumerate(before) if p.type == "transfer.requested"]
        there = [(i, p) for i, p in asked if p.place == parse_rfc3339(data.waiting_since)]
        by_owner = [p for i, p in there if owner_after(before[:i], self.firsts)[0] == p.event.data.by_agent_id]
        if by_owner:
            return str(by_owner[-1].event.data.by_agent_id)
        if there:
            return str(there[0][1].event.data.by_agent_id)
        for index, placed in reversed(asked):
            same = [(i, p) for i, p in asked if p.place == placed.place]
            owners = [p for i, p in same if owner_after(before[:i], self.firsts)[0] == p.event.data.by_agent_id]
            del index
            return str((owners[-1] if owners else same[0][1]).event.data.by_agent_id)
        return ""

    def _start(self, index: int, metric: str, complaint: str = "", request: str = "", by: str = "") -> None:
        start = self.order[index].place
        if any(
            (c.metric, c.complaint) == (metric, complaint) and (c.how == "open" or c.start == start)
            for c in self.clocks
        ):
            return
        target = self._target(index, metric)
        if not target:
            return
        always = metric in ("instant_reply", "complaint_closure")
        pausable = metric in self.sla.get("pause_on_hold", ("next_response", "resolution"))
        hours = ALWAYS if always else self.hours
        self.clocks.append(Running(metric, start, complaint, target, hours, pausable, request, by))

    def _target(self, index: int, metric: str) -> float | None:
        start = self.order[index].place
        stated = [p.event.data for p in self.order if p.type == "message.received" and p.place <= start]
        tier = next((d.customer.tier for d in reversed(stated) if d.customer.tier), "regular")
        channel = stated[-1].channel if stated else None
        priority = 50
        of_request: dict[str, int] = {}
        for placed in self.order[: index + 1]:
            data = placed.event.data
            if placed.type == "handover.requested":
                priority = data.priority
            if placed.type == "conversation.queued":
                if placed.event.offset in self.firsts or of_request.get(data.request_id) != data.priority:
                    priority = data.priority
                of_request[data.request_id] = data.priority
        for row in self.sla.get("policies", ()):
            when = row.get("when", {})
            if (
                metric in row["targets"]
                and ("tiers" not in when or tier in when["tiers"])
                and ("channels" not in when or channel in when["channels"])
                and when.get("min_priority", 0) <= priority <= when.get("max_priority", 100)
            ):
                return row["targets"][metric]
        return DEFAULTS[metric]

    # --- counted time -----------------------------------------------------------------------------------------------

    def _holds(self, until: int | None) -> list[tuple[int, int | None]]:
        """As they stand before index ``until``."""
        holds: list[tuple[int, int | None]] = []
        for placed in self.order[:until]:
            held = bool(holds) and holds[-1][1] is None
            if placed.type == "conversation.held" and not held:
                holds.append((placed.place, None))
            elif placed.type in ("conversation.resumed", "conversation.closed") and held:
                holds[-1] = (holds[-1][0], placed.place)
        return holds

    def counted(self, clock: Running, instant: int, until: int | None) -> int:
        total = clock.hours.elapsed(clock.start, instant)
        for start, end in self._holds(until) if clock.pausable else ():
            total -= clock.hours.elapsed(max(start, clock.start), instant if end is None else min(end, instant))
        return total

    def due(self, clock: Running, latest: int, until: int | None) -> int:
        """First instant up to ``latest`` at which counted time reaches the target."""
        target = round(clock.target_s * SECOND)
        low, high = clock.start, latest
        while low < high:
            middle = (low + high) // 2
            if self.counted(clock, middle, until) >= target:
                high = middle
            else:
                low = middle + 1
        return low

    def outcomes(self, horizon: int) -> dict[tuple[str, int, str], tuple[str, int, int, int]]:
        """Clock → (state, due_at, target in µs, met_at) of those that are told when breaches up to ``horizon`` are."""
        found = {}
        for clock in self.clocks:
            target = round(clock.target_s * SECOND)
            key = (clock.metric, clock.start, clock.complaint)
            end = None if clock.end is None else self.order[clock.end].place
            if end is None or self.counted(clock, end, clock.end) > target:
                latest = horizon + 1 if end is None else min(end, horizon + 1)
                if self.counted(clock, latest, clock.end) > target:
                    found[key] = ("breached", self.due(clock, latest, clock.end), target, 0)
                continue
            counted = self.counted(clock, end, clock.end)
            due = self.due(clock, end, clock.end) if counted == target else clock.hours.add(end, target - counted)
            found[key] = (clock.how, due, target, end if clock.how == "met" else 0)
        return found
