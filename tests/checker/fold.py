"""The SLA fold of contract §5, transcribed: a conversation's records in, its clocks and their outcomes out.

Rule 6 compares these with what was told. Every clock keeps what decided it, so that a false breach can be recognised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.checker.configuration import Configuration, Version
from tests.checker.hours import counted, reach
from tests.checker.log import Conversation
from tests.checker.placing import Placed, in_order
from tests.checker.records import CONVERSATIONS, REPLIES, SECOND, Event
from tests.checker.validity import parse_time

_DEFAULT_TARGETS = {
    "instant_reply": 30.0,
    "agent_response": 180.0,
    "next_response": 180.0,
    "transfer_response": 300.0,
    "resolution": None,
    "complaint_closure": 48 * 3600.0,
}
_ALWAYS = ("instant_reply", "complaint_closure")
_PAUSED = ("next_response", "resolution")
_FOREVER = 2**62


@dataclass
class Terms:
    """A target, and how time counts towards it."""

    target_s: float
    calendar: dict[str, Any] | None
    pausing: bool

    @property
    def target(self) -> int:
        return round(self.target_s * SECOND)


@dataclass
class Clock:
    metric: str
    started_at: int
    complaint_id: str
    starter: Event
    terms: Terms
    priority: int
    request_id: str = ""
    transferred_by: str | None = None
    state: str = "open"
    """open | met | breached | cancelled"""
    due_at: int = 0
    runs_on_at: int = 0
    """When a breach may be told: the instant from which the counted time exceeds the target."""
    met_at: int = 0
    elapsed: int = 0
    reason: str = ""
    decided_by: Event | None = None
    """What stopped or cancelled it."""
    shop_id: str = ""
    sla: Version | None = None
    calendars: Version | None = None
    """The versions that it runs on."""
    retargeted: list[tuple[int, float, int]] = field(default_factory=list)
    """(instant, target in seconds, due instant as it stood then) of each version it took while it was open."""

    @property
    def key(self) -> tuple[str, int, str]:
        return self.metric, self.started_at, self.complaint_id


class Fold:
    """One conversation. ``now``: the watermark less the allowed lateness, up to which open clocks may breach."""

    def __init__(self, conversation: Conversation, configuration: Configuration, now: int) -> None:
        self._conversation = conversation
        self._configuration = configuration
        self._shop = conversation.shop_id
        self._placed = in_order(conversation)
        self._stated = [
            (placed.place, placed.event.data) for placed in self._placed if placed.event.type == "message.received.v1"
        ]
        self._ignored = {
            event.data["message_id"]: event.data["reason"] for event in conversation.of(REPLIES, "message.ignored")
        }
        self.clocks: list[Clock] = []
        self._open_clocks: dict[tuple[str, str], Clock] = {}
        self._open = False
        self._owner: tuple[str, str | None] | None = None
        self._offer: tuple[str, str] | None = None
        self._owned_by = self._offered_by = ""
        """The request whose assignment the owner has, and that of the open offer."""
        self._requests: set[str] = set()
        self._pending = False
        self._ended_requests: set[str] = set()
        self._ended_assignments: set[str] = set()
        self._priority = 50
        self._priorities: dict[str, int] = {}
        self._transfers: dict[int, str] = {}
        self._transferred_by: str | None = None
        self._holds: list[tuple[int, int]] = []
        for placed in self._placed:
            handle = _HANDLERS.get(placed.event.type)
            if handle is not None:
                handle(self, placed)
        for clock in self._open_clocks.values():
            self._run_out(clock, now)

    # --- customers and agents ------------------------------------------------------------------------------------

    def _received(self, placed: Placed) -> None:
        event = placed.event
        opening = not self._open
        in_hands = not opening and bool(self._owner or self._requests or self._pending)
        outcome = self._ignored.get(event.data["message_id"])
        if opening:
            self._open = True
            self._start("resolution", placed)
        if outcome in ("empty", "duplicate_text", "cooldown"):
            return
        next_one = in_hands or outcome in ("human_owned", "waiting")
        if next_one and not self._is_open("agent_response"):
            self._start("next_response", placed)
        if not in_hands and outcome not in ("human_owned", "waiting"):
            self._start("instant_reply", placed)

    def _sent(self, placed: Placed) -> None:
        author = placed.event.data["author"]
        if author["kind"] == "agent":
            self._agent_wrote(placed, author["id"])
        if author["kind"] in ("agent", "bot"):
            self._stop("instant_reply", placed)

    def _agent_wrote(self, placed: Placed, agent: str) -> None:
        if self._offer is not None and self._offer[1] == agent:
            self._own(agent, self._offer[0], self._offered_by)
        elif self._owner is None and self._open and not self._requests:
            self._own(agent, None)
        self._stop("agent_response", placed)
        self._stop("next_response", placed)
        clock = self._open_clocks.get(("transfer_response", ""))
        back = self._owner is not None and self._owner[0] == agent and self._owner[1] is not None
        if clock is not None and (agent != clock.transferred_by or back):
            self._stop("transfer_response", placed)

    def _own(self, agent: str, assignment: str | None, request: str = "") -> None:
        self._owner = (agent, assignment)
        self._offer = None
        self._owned_by = request

    def _accepted(self, placed: Placed) -> None:
        data = placed.event.data
        if self._offer == (data["assignment_id"], data["agent_id"]):
            self._own(data["agent_id"], data["assignment_id"], self._offered_by)

    def _transfer(self, placed: Placed) -> None:
        agent = placed.event.data["by_agent_id"]
        owner = self._owner is not None and self._owner[0] == agent
        # Of several at one instant the owner's counts: the others have no effect.
        if owner or placed.place not in self._transfers:
            self._transfers[placed.place] = self._transferred_by = agent
        if owner:
            self._owner = None

    def _held(self, placed: Placed) -> None:
        if not self._holds or self._holds[-1][1] != _FOREVER:
            self._holds.append((placed.place, _FOREVER))

    def _resumed(self, placed: Placed) -> None:
        if self._holds and self._holds[-1][1] == _FOREVER:
            self._holds[-1] = (self._holds[-1][0], placed.place)

    def _complaint(self, placed: Placed) -> None:
        self._start("complaint_closure", placed, complaint=placed.event.data["complaint_id"])

    def _complaint_closed(self, placed: Placed) -> None:
        self._stop("complaint_closure", placed, placed.event.data["complaint_id"])

    def _closed(self, placed: Placed) -> None:
        self._resumed(placed)
        self._stop("resolution", placed)
        for metric, complaint in list(self._open_clocks):
            if metric != "complaint_closure":
                self._cancel(metric, complaint, placed, "closed")
        self._open = self._pending = False
        self._owner = self._offer = None
        self._requests.clear()

    # --- the bot's and the router's ------------------------------------------------------------------------------

    def _issued(self, placed: Placed) -> None:
        if placed.event.broker_at <= parse_time(placed.event.data["deliver_by"]):
            self._stop("instant_reply", placed)

    def _handover(self, placed: Placed) -> None:
        self._priority = placed.event.data["priority"]
        self._pending = True
        if not self._is_open("next_response"):
            self._start("agent_response", placed)

    def _queued(self, placed: Placed) -> None:
        data = placed.event.data
        request, cause = data["request_id"], data["cause"]
        if not placed.first:
            if self._priorities.get(request) != data["priority"]:
                self._priority = self._priorities[request] = data["priority"]
            return
        self._priority = self._priorities[request] = data["priority"]
        self._pending = False
        if request not in self._ended_requests:
            self._requests.add(request)
        if cause == "no_autoreply" and not self._is_open("next_response"):
            self._start("agent_response", placed)
        if cause == "transfer":
            self._start("transfer_response", placed, request=request)

    def _assigned(self, placed: Placed) -> None:
        data = placed.event.data
        assignment = data["assignment_id"]
        if assignment in self._ended_assignments or data["request_id"] in self._ended_requests:
            return
        if data["mode"] == "assigned":
            self._own(data["agent_id"], assignment, data["request_id"])
        else:
            self._offer = (assignment, data["agent_id"])
            self._offered_by = data["request_id"]

    def _taken_back(self, placed: Placed) -> None:
        self._end_assignment(placed.event.data["assignment_id"])

    def _released(self, placed: Placed) -> None:
        data = placed.event.data
        request = data["request_id"]
        self._ended_requests.add(request)
        self._requests.discard(request)
        if "assignment_id" in data:
            self._end_assignment(data["assignment_id"])
        # The request is over, whichever of its assignments was live.
        if self._owner is not None and self._owned_by == request:
            self._owner = None
        if self._offer is not None and self._offered_by == request:
            self._offer = None
        self._pending = data["reason"] == "transferred"
        if data["reason"] == "queue_full":
            self._cancel("agent_response", "", placed, "queue_full")
        clock = self._open_clocks.get(("transfer_response", ""))
        if data["reason"] == "closed" and clock is not None and clock.request_id == request:
            self._cancel("transfer_response", "", placed, "closed")

    def _end_assignment(self, assignment: str) -> None:
        self._ended_assignments.add(assignment)
        if self._owner is not None and self._owner[1] == assignment:
            self._owner = None
        if self._offer is not None and self._offer[0] == assignment:
            self._offer = None

    # --- clocks --------------------------------------------------------------------------------------------------

    def _is_open(self, metric: str) -> bool:
        return (metric, "") in self._open_clocks

    def _start(self, metric: str, placed: Placed, complaint: str = "", request: str = "") -> None:
        key = (metric, complaint)
        known = any(clock.key == (metric, placed.place, complaint) for clock in self.clocks)
        if key in self._open_clocks or known:
            return
        shop = self._shop_of(placed.event)
        sla, calendars = (
            self._configuration.at(shop, document, placed.place, placed.event.broker_at)
            for document in ("sla", "calendars")
        )
        terms = self._terms(metric, placed.place, self._priority, sla, calendars)
        if terms is None:
            return
        clock = Clock(metric, placed.place, complaint, placed.event, terms, self._priority, request)
        clock.shop_id, clock.sla, clock.calendars = shop, sla, calendars
        if metric == "transfer_response":
            # Behind a queue_full its place is its own time; what it waits since says whose transfer it answers all the same.
            since = parse_time(placed.event.data["waiting_since"])
            clock.transferred_by = self._transfers.get(since, self._transferred_by)
        self.clocks.append(clock)
        self._open_clocks[key] = clock

    def _shop_of(self, event: Event) -> str:
        """Before any message of the log an event's own shop counts; only of one topic is it known what stands before."""
        first = next(iter(self._conversation.of(CONVERSATIONS, "message.received")), None)
        before = event.record.topic == CONVERSATIONS and first is not None and event.offset < first.offset
        return str(event.data["shop_id"]) if self._shop is None or before else self._shop

    def _terms(
        self, metric: str, started_at: int, priority: int, sla: Version | None, calendars: Version | None
    ) -> Terms | None:
        """The terms of a clock by these versions; None: no clock."""
        document = (sla.body if sla is not None else None) or {}
        target = self._target(document, metric, started_at, priority)
        if not target:
            return None
        calendar = None
        if _in_hours(metric, sla) and calendars is not None:
            calendar = calendars.body["calendars"][document.get("calendar") or calendars.body["default"]]
        pausing = metric in document.get("pause_on_hold", _PAUSED)
        return Terms(float(target), calendar, pausing)

    def _target(self, document: dict[str, Any], metric: str, place: int, priority: int) -> float | None:
        tier: str | None = None
        channel: str | None = None
        for at, message in self._stated:
            if at <= place:
                tier = message["customer"].get("tier") or tier
                channel = message.get("channel") or channel
        for row in document.get("policies") or ():
            if metric in row["targets"] and _matches(row.get("when") or {}, tier or "regular", channel, priority):
                target = row["targets"][metric]
                return None if target is None else float(target)
        return _DEFAULT_TARGETS[metric]

    def _stop(self, metric: str, placed: Placed, complaint: str = "") -> None:
        self._end(metric, complaint, placed, "met")

    def _cancel(self, metric: str, complaint: str, placed: Placed, reason: str) -> None:
        self._end(metric, complaint, placed, "cancelled", reason)

    def _end(self, metric: str, complaint: str, placed: Placed, state: str, reason: str = "") -> None:
        clock = self._open_clocks.pop((metric, complaint), None)
        if clock is None:
            return
        clock.decided_by = placed.event
        self._retarget(clock, placed.place)
        holds = self._holds_until(clock, placed.place)
        if clock.state == "breached":
            return
        terms = clock.terms
        clock.due_at, clock.runs_on_at = reach(terms.calendar, clock.started_at, terms.target, holds)
        clock.elapsed = counted(terms.calendar, clock.started_at, placed.place, holds)
        if clock.elapsed > terms.target:
            clock.state = "breached"
        else:
            clock.state, clock.reason, clock.met_at = state, reason, placed.place

    def _run_out(self, clock: Clock, now: int) -> None:
        """An open clock at the end of the log: breached where its counted time runs beyond the target by ``now``."""
        self._retarget(clock, now)
        if clock.state == "breached":
            return
        holds = self._holds_until(clock, now)
        clock.due_at, clock.runs_on_at = reach(clock.terms.calendar, clock.started_at, clock.terms.target, holds)
        if clock.runs_on_at <= now:
            clock.state = "breached"

    def _holds_until(self, clock: Clock, until: int) -> list[tuple[int, int]]:
        """As known at ``until``: a hold that lasts is taken to end there."""
        if not clock.terms.pausing:
            return []
        return [(start, min(end, until)) for start, end in self._holds if start < until]

    def _retarget(self, clock: Clock, until: int) -> None:
        """Versions applied with ``reevaluate`` while the clock is open and not breached give it new terms."""
        policies = self._configuration.reevaluations(clock.shop_id, "sla", clock.started_at, until)
        calendars = self._configuration.reevaluations(clock.shop_id, "calendars", clock.started_at, until)
        for instant in sorted({version.in_force_at for version in policies + calendars}):
            if self._exceeds(clock, instant):
                return
            sla = next((version for version in policies if version.in_force_at == instant), clock.sla)
            calendar = next((version for version in calendars if version.in_force_at == instant), clock.calendars)
            if not _in_hours(clock.metric, sla):
                calendar = clock.calendars
            if (sla, calendar) == (clock.sla, clock.calendars):
                continue
            terms = self._terms(clock.metric, clock.started_at, clock.priority, sla, calendar)
            if terms is None:
                continue
            clock.terms, clock.sla, clock.calendars = terms, sla, calendar
            due_at, _ = reach(terms.calendar, clock.started_at, terms.target, self._holds_until(clock, instant))
            clock.retargeted.append((instant, terms.target_s, due_at))
            if self._exceeds(clock, instant):
                clock.state, clock.due_at, clock.runs_on_at = "breached", due_at, instant
                return

    def _exceeds(self, clock: Clock, instant: int) -> bool:
        """Breached by then: the counted time is above the target."""
        holds = self._holds_until(clock, instant)
        return counted(clock.terms.calendar, clock.started_at, instant, holds) > clock.terms.target


def _in_hours(metric: str, sla: Version | None) -> bool:
    if metric == "complaint_closure" and sla is not None and sla.body.get("complaints_count") == "open_hours":
        return True
    return metric not in _ALWAYS


def _matches(when: dict[str, Any], tier: str, channel: str | None, priority: int) -> bool:
    lowest, highest = when.get("min_priority"), when.get("max_priority")
    return (
        (when.get("tiers") is None or tier in when["tiers"])
        and (when.get("channels") is None or channel in when["channels"])
        and (lowest is None or priority >= lowest)
        and (highest is None or priority <= highest)
    )


_HANDLERS = {
    "message.received.v1": Fold._received,
    "message.sent.v1": Fold._sent,
    "assignment.accepted.v1": Fold._accepted,
    "transfer.requested.v1": Fold._transfer,
    "conversation.held.v1": Fold._held,
    "conversation.resumed.v1": Fold._resumed,
    "complaint.opened.v1": Fold._complaint,
    "complaint.closed.v1": Fold._complaint_closed,
    "conversation.closed.v1": Fold._closed,
    "reply.issued.v1": Fold._issued,
    "handover.requested.v1": Fold._handover,
    "conversation.queued.v1": Fold._queued,
    "conversation.assigned.v1": Fold._assigned,
    "assignment.expired.v1": Fold._taken_back,
    "assignment.revoked.v1": Fold._taken_back,
    "conversation.released.v1": Fold._released,
}
