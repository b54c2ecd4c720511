"""Rules about requests, assignments and agents: 2 (live assignments), 3 (who was eligible), 5 (the path)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.checker.log import View
from tests.checker.records import ROUTING, SECOND, Event, Violation
from tests.checker.validity import parse_time

_BACK = ("assignment.expired.v1", "assignment.revoked.v1")
_CAUSES = ("handover", "no_autoreply", "transfer", "complaint", "manual")


def assignments(view: View) -> Iterator[Violation]:
    """Rule 2."""
    for conversation in view.conversations.values():
        live: str | None = None
        for event in conversation.of(ROUTING):
            assignment = event.data.get("assignment_id")
            if event.type == "conversation.assigned.v1":
                if live is not None:
                    yield Violation("2", "two_live_assignments", f"{live} is live beside {assignment}", event.where)
                live = assignment
            elif assignment is not None and assignment == live:
                live = None
    by_agent: dict[str, list[Event]] = defaultdict(list)
    for event in view.counted:
        if event.record.topic == ROUTING and "agent_seq" in event.data:
            by_agent[event.data["agent_id"]].append(event)
    for agent, events in by_agent.items():
        yield from _agent(agent, events)


def _agent(agent: str, events: list[Event]) -> Iterator[Violation]:
    """Agent numbers run without gaps, in offset order within a partition, and ``load`` is the live assignments."""
    newest: dict[int, int] = {}
    for event in events:
        if event.data["agent_seq"] <= newest.get(event.record.partition, 0):
            yield Violation("2", "agent_seq_order", f"agent {agent} number {event.data['agent_seq']}", event.where)
        newest[event.record.partition] = event.data["agent_seq"]
    live: set[str] = set()
    for expected, event in enumerate(sorted(events, key=lambda event: event.data["agent_seq"]), start=1):
        data = event.data
        if data["agent_seq"] != expected:
            yield Violation(
                "2", "agent_seq_gap", f"agent {agent}: number {data['agent_seq']} where {expected} was due", event.where
            )
            return
        if event.type == "conversation.assigned.v1":
            live.add(data["assignment_id"])
            if data["load"] > data["capacity"]:
                what = f"agent {agent}: load {data['load']} above capacity {data['capacity']}"
                yield Violation("2", "over_capacity", what, event.where)
        elif data.get("assignment_id") in live:
            live.discard(data["assignment_id"])
        else:
            what = f"agent {agent}: {event.type} of an assignment that he does not have"
            yield Violation("2", "ends_what_is_not_live", what, event.where)
        if data["load"] != len(live):
            what = f"agent {agent}: load {data['load']} with {len(live)} live assignments"
            yield Violation("2", "load_is_not_live_assignments", what, event.where)


def eligibility(view: View) -> Iterator[Violation]:
    """Rule 3."""
    for event in view.of("conversation.assigned"):
        yield from _status(view, event)
        yield from _abilities(view, event)


def _status(view: View, event: Event) -> Iterator[Violation]:
    agent, relied_on = event.data["agent_id"], event.data["explanation"]["agent_state_id"]
    statuses = sorted(view.statuses.get(agent, ()), key=lambda status: (status.at, status.offset))
    found = [status for status in statuses if status.id == relied_on]
    if not found or all(status.data["status"] != "online" for status in found):
        yield Violation("3", "no_such_online_status", f"agent {agent}, agent_state_id {relied_on!r}", event.where)
        return
    base = max(
        (status.at, status.offset) for status in found if status.data["status"] == "online"
    )  # an id may come twice on agents.v1: the most lenient reading
    decided = min(event.time, event.broker_at)
    for status in statuses:
        contradicts = (status.at, status.offset) > base and status.data["status"] != "online"
        if not contradicts or status.broker_at >= decided - SECOND:
            continue
        later = any(
            (other.at, other.offset) > (status.at, status.offset) and other.data["status"] == "online"
            for other in statuses
            if other.broker_at <= max(event.time, event.broker_at)
        )
        if not later:
            what = f"agent {agent} was {status.data['status']} by {status.where}"
            yield Violation("3", "agent_not_online", what, event.where)
            return


def _abilities(view: View, event: Event) -> Iterator[Violation]:
    data = event.data
    versions = view.configuration.numbered(data["shop_id"], "agents", data["policy_version"])
    listed = [
        agent for version in versions for agent in version.body["agents"] if agent["agent_id"] == data["agent_id"]
    ]
    if not listed:
        what = f"agent {data['agent_id']} is not in version {data['policy_version']}"
        yield Violation("3", "agent_not_configured", what, event.where)
        return
    required = data["explanation"]["required"]
    if "actor" in data or required.get("agent") == data["agent_id"]:
        return
    if not any(able(agent, required) for agent in listed):
        yield Violation("3", "agent_not_able", f"agent {data['agent_id']} lacks what is required", event.where)


def able(agent: dict[str, Any], required: dict[str, Any]) -> bool:
    """Whether an agent, as configured, has the skills and the grade."""
    skills = agent.get("skills") or {}
    grades = required.get("grades")
    return all(skills.get(one["skill"], 0) >= one["proficiency"] for one in required.get("skills") or ()) and (
        not grades or agent.get("grade", "standard") in grades
    )


# --- rule 5 ----------------------------------------------------------------------------------------------------------


@dataclass
class Path:
    """Where one request stands on §4's table: none, queued, offered, held, ended."""

    state: str = "none"
    seq: int = 0
    attempt: int = 0
    assignment: str | None = None
    mode: str = ""
    waits_since: set[int] = field(default_factory=set)


def paths(view: View) -> Iterator[Violation]:
    """Rule 5, and that a conversation has at most one open request."""
    for conversation in view.conversations.values():
        requests: dict[str, Path] = {}
        open_request: str | None = None
        for event in conversation.of(ROUTING):
            request = event.data["request_id"]
            path = requests.setdefault(request, Path())
            problem = _step(path, event)
            if problem is not None:
                yield Violation("5", problem, f"request {request}, {event.type}, seq {event.data['seq']}", event.where)
            if path.state not in ("none", "ended"):
                if open_request is not None and open_request != request:
                    yield Violation("5", "two_open_requests", f"{open_request} beside {request}", event.where)
                open_request = request
            elif request == open_request:
                open_request = None


def _step(path: Path, event: Event) -> str | None:
    """Move ``path``; the code of what is wrong with the move, if anything."""
    data, before = event.data, path.state
    path.seq += 1
    if data["seq"] != path.seq:
        path.seq = data["seq"]
        return "seq_gap"
    if before == "ended":
        return "after_the_end"
    if event.type == "conversation.queued.v1":
        return _queued(path, event)
    if before == "none":
        path.state = "queued"
        return "not_queued_first"
    if event.type == "conversation.assigned.v1":
        return _assigned(path, event)
    if event.type in _BACK:
        return _back(path, event)
    if event.type == "conversation.released.v1":
        return _released(path, event)
    return None


def _queued(path: Path, event: Event) -> str | None:
    path.waits_since.add(parse_time(event.data["waiting_since"]))
    if path.state in ("offered", "held"):
        # Skills, priority and flags may rise under an assignment; §4's line of events has no room to say so.
        return "queued_while_assigned"
    path.state = "queued"
    return None if event.data["cause"] in _CAUSES else "unknown_cause"


def _assigned(path: Path, event: Event) -> str | None:
    data = event.data
    if path.state != "queued":
        return "assigned_while_assigned"
    path.state = "offered" if data["mode"] == "offered" else "held"
    path.mode, path.assignment = data["mode"], data["assignment_id"]
    path.attempt += 1
    if data["attempt"] != path.attempt:
        path.attempt = data["attempt"]
        return "attempt_gap"
    if data["mode"] not in ("assigned", "offered") or (data["mode"] == "offered") != ("accept_by" in data):
        return "mode_and_accept_by"
    waited = {(event.time - since) / SECOND for since in path.waits_since}
    if min(abs(data["waited_s"] - value) for value in waited) > 1e-3:
        return "waited_s"
    return None


def _back(path: Path, event: Event) -> str | None:
    data = event.data
    if path.state not in ("offered", "held") or data["assignment_id"] != path.assignment:
        return "back_without_assignment"
    path.state, path.assignment = "queued", None
    offered = path.mode == "offered"
    if event.type == "assignment.expired.v1":
        return None if offered and data["reason"] == "not_accepted" else "expired_unoffered"
    if data["reason"] in ("declined", "agent_away") and not offered:
        return "offer_reason_for_a_held_one"
    return None


def _released(path: Path, event: Event) -> str | None:
    data, before = event.data, path.state
    path.state = "ended"
    if data.get("assignment_id") != path.assignment:
        return "released_another_assignment"
    if data["reason"] == "queue_full" and path.seq != 2:
        return "queue_full_late"
    if data["reason"] in ("transferred", "agent_offline") and before == "queued":
        return "released_unheld"
    return None
