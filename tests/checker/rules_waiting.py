"""Rule 4, judged when everything has come to rest: nobody waits whom somebody could serve, nothing was left open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.checker.hours import is_open
from tests.checker.log import Conversation, View
from tests.checker.records import CONVERSATIONS, REPLIES, ROUTING, SECOND, SLA, Event, Violation
from tests.checker.rules_replies import message_of
from tests.checker.rules_routing import able


def rest(view: View) -> Iterator[Violation]:
    """Rule 4."""
    if not view.settings.caught_up:
        return
    for conversation in view.conversations.values():
        requests = _requests(conversation)
        yield from _hand_overs(view, conversation, requests)
        yield from _silences(view, conversation, requests)
        yield from _forgotten(view, conversation, requests)
        yield from _closes(view, conversation, requests)
    yield from _idle_agents(view)


class Request:
    __slots__ = ("events",)

    def __init__(self, first: Event) -> None:
        self.events = [first]

    @property
    def ended(self) -> Event | None:
        last = self.events[-1]
        return last if last.type == "conversation.released.v1" else None

    @property
    def queued(self) -> bool:
        """Waiting for an agent now."""
        return self.events[-1].type in ("conversation.queued.v1", "assignment.expired.v1", "assignment.revoked.v1")


def _requests(conversation: Conversation) -> list[Request]:
    found: dict[str, Request] = {}
    for event in conversation.of(ROUTING):
        request = event.data["request_id"]
        if request in found:
            found[request].events.append(event)
        else:
            found[request] = Request(event)
    return list(found.values())


def _closed_at_or_after(conversation: Conversation, at: int) -> bool:
    return any(close.at >= at for close in conversation.of(CONVERSATIONS, "conversation.closed"))


def _alive_after(requests: list[Request], broker_at: int) -> bool:
    """Whether some request was open at or after that instant: what came then opened or joined it."""
    return any(request.ended is None or request.ended.broker_at >= broker_at for request in requests)


def _messages(conversation: Conversation) -> dict[str, Event]:
    return {event.data["message_id"]: event for event in reversed(conversation.of(CONVERSATIONS, "message.received"))}


def _hand_overs(view: View, conversation: Conversation, requests: list[Request]) -> Iterator[Violation]:
    """(a), hand-overs. One for a message at or before a close opens nothing."""
    messages = _messages(conversation)
    for event in conversation.of(REPLIES, "handover.requested"):
        message = messages.get(message_of(event))
        if message is None or event.broker_at > view.settings.settled_at - 2 * SECOND:
            continue
        if not _closed_at_or_after(conversation, message.at) and not _alive_after(requests, message.broker_at):
            yield Violation("4a", "hand_over_without_request", f"message {message_of(event)}", event.where)


def _silences(view: View, conversation: Conversation, requests: list[Request]) -> Iterator[Violation]:
    """(a), silence: no outcome within the shop's patience and a second, and nobody wrote or closed since."""
    outcome: dict[str, int] = {}
    for event in conversation.of(REPLIES, "reply.issued", "handover.requested", "message.ignored"):
        outcome.setdefault(message_of(event), event.broker_at)
    for message in conversation.of(CONVERSATIONS, "message.received"):
        shop = conversation.shop_id or message.data["shop_id"]
        patience_s = view.configuration.limit(shop, "patience_s", 3.0, message.at, message.broker_at)
        patient_until = message.broker_at + round((patience_s + 1) * SECOND)
        if patient_until + 2 * SECOND > view.settings.settled_at:
            continue
        answered = outcome.get(message.data["message_id"])
        if answered is not None and answered <= patient_until:
            continue
        if _taken_care_of(conversation, message.at) or _alive_after(requests, message.broker_at):
            continue
        yield Violation("4a", "silence_without_request", f"message {message.data['message_id']}", message.where)


def _taken_care_of(conversation: Conversation, at: int) -> bool:
    """An agent wrote, or somebody closed, later than ``at``."""
    return _closed_at_or_after(conversation, at) or any(
        event.at >= at and event.data["author"]["kind"] == "agent"
        for event in conversation.of(CONVERSATIONS, "message.sent")
    )


def _forgotten(view: View, conversation: Conversation, requests: list[Request]) -> Iterator[Violation]:
    """When a request ends and a customer still waits, he is waiting in a new one; nobody is left in between."""
    if not requests or any(request.ended is None for request in requests):
        return
    last = max((request.events[-1] for request in requests), key=lambda event: event.offset)
    if last.data["reason"] in ("queue_full", "transferred") or last.broker_at > view.settings.settled_at - 2 * SECOND:
        return
    if any(event.data["author"]["kind"] == "agent" for event in conversation.of(CONVERSATIONS, "message.sent")):
        return  # he may own the conversation without an assignment; only sure cases are reported
    waiting = {
        message_of(event)
        for event in conversation.of(REPLIES, "handover.requested", "message.ignored")
        if event.data["reason"] in ("human_owned", "waiting", "shadow") or event.type == "handover.requested.v1"
    }
    refused = [
        event.broker_at
        for event in conversation.of(ROUTING, "conversation.released")
        if event.data["reason"] == "queue_full"
    ]
    for message in conversation.of(CONVERSATIONS, "message.received"):
        waits = message.data["message_id"] in waiting and message.broker_at <= last.broker_at
        if any(at >= message.broker_at for at in refused):
            continue  # It may have been that message's own request: one message opens one.
        if waits and not _closed_at_or_after(conversation, message.at):
            yield Violation(
                "4a", "forgotten", f"message {message.data['message_id']} waits without request", last.where
            )
            return


def _closes(view: View, conversation: Conversation, requests: list[Request]) -> Iterator[Violation]:
    """(c). A close ends what had been opened before it, by event time and in the log."""
    for close in conversation.of(CONVERSATIONS, "conversation.closed"):
        if close.broker_at > view.settings.settled_at - 2 * SECOND:
            continue
        for request in requests:
            first = request.events[0]
            if first.time <= close.at and first.broker_at <= close.broker_at and request.ended is None:
                yield Violation("4c", "close_left_a_request", f"request {first.data['request_id']}", close.where)


# --- (b) -------------------------------------------------------------------------------------------------------------


def _idle_agents(view: View) -> Iterator[Violation]:
    load, capacity, paused, refused = _agents(view)
    for conversation in view.conversations.values():
        for request in _requests(conversation):
            if not request.queued or request.events[-1].broker_at > view.settings.settled_at:
                continue
            queued = [event for event in request.events if event.type == "conversation.queued.v1"][-1]
            shop = queued.data["shop_id"]
            if not _shop_open(view, shop) or _hidden_conditions(view, shop):
                continue
            called = _called(view, conversation, request, shop)
            for agent in _listed(view, shop):
                name = agent["agent_id"]
                room = load[name] < capacity.get(name, agent.get("capacity", 5))
                missed = refused.get((queued.data["request_id"], name), -(2**62))
                again = missed < view.settings.settled_at - 40 * SECOND
                wanted = queued.data["required"].get("agent") in (None, name)
                ready = _online(view, name) and room and name not in paused and again
                admitted = wanted and able(agent, queued.data["required"])
                if ready and (admitted or agent.get("grade", "standard") in called):
                    what = f"request {queued.data['request_id']} waits while agent {name} has room"
                    yield Violation("4b", "idle_agent", what, queued.where)
                    break


def _called(view: View, conversation: Conversation, request: Request, shop: str) -> tuple[str, ...]:
    """Grades that may take it whatever is required: a clock has called them since it was opened (``sla_actions``)."""
    version = view.configuration.at(shop, "routing", view.settings.settled_at)
    document = (version.body if version is not None else None) or {}
    by_action = {"call_supervisor": {"waiting": "supervisors"}} | (document.get("sla_actions") or {})
    calling = {
        name
        for name, action in by_action.items()
        if name != "supervisors" and action.get("waiting", "keep") in ("supervisors", "supervisor_step")
    }
    opened = request.events[0].broker_at
    for event in conversation.of(SLA, "sla.warning", "sla.breached"):
        # Between the request's event and the clock's nobody from outside knows which the router has read first.
        late = event.broker_at > view.settings.settled_at - 2 * SECOND
        if not late and event.broker_at > opened + SECOND and calling & set(event.data.get("actions") or ()):
            return tuple(by_action.get("supervisors", ("supervisor",)))
    return ()


def _agents(view: View) -> tuple[dict[str, int], dict[str, int], set[str], dict[tuple[str, str], int]]:
    """Live assignments and stated capacity of each agent, who is paused, and when whom a request was refused by."""
    load: dict[str, int] = defaultdict(int)
    paused_at: dict[str, int] = {}
    refused: dict[tuple[str, str], int] = {}
    routed = [event for event in view.counted if event.record.topic == ROUTING and "agent_seq" in event.data]
    for event in sorted(routed, key=lambda event: event.data["agent_seq"]):
        agent = event.data["agent_id"]
        load[agent] = event.data["load"]
        if event.data.get("agent_paused"):
            paused_at[agent] = event.at
        if event.type == "assignment.expired.v1" or event.data.get("reason") == "declined":
            refused[event.data["request_id"], agent] = event.broker_at
    capacity: dict[str, int] = {}
    paused: set[str] = set()
    for agent, statuses in view.statuses.items():
        ordered = sorted(statuses, key=lambda status: (status.at, status.offset))
        if "capacity" in ordered[-1].data:
            capacity[agent] = ordered[-1].data["capacity"]
        if agent in paused_at:
            left = [s for s in ordered if s.data["status"] != "online" and s.at >= paused_at[agent]]
            back = left and any(s.data["status"] == "online" and s.at >= left[0].at for s in ordered)
            if not back:
                paused.add(agent)
    return load, capacity, paused, refused


def _online(view: View, agent: str) -> bool:
    statuses = view.statuses.get(agent)
    if not statuses:
        return False
    last = max(statuses, key=lambda status: (status.at, status.offset))
    return bool(last.data["status"] == "online") and last.broker_at <= view.settings.settled_at


def _listed(view: View, shop: str) -> list[dict[str, Any]]:
    version = view.configuration.at(shop, "agents", view.settings.settled_at)
    return list(version.body["agents"]) if version is not None else []


def _shop_open(view: View, shop: str) -> bool:
    version = view.configuration.at(shop, "calendars", view.settings.end_at)
    if version is None:
        return True
    calendar = version.body["calendars"][version.body["default"]]
    return is_open(calendar, view.settings.end_at) and is_open(calendar, view.settings.settled_at)


def _hidden_conditions(view: View, shop: str) -> bool:
    """Whether something decides who is admitted that ``required`` does not show: groups, languages, a reserve, shifts, places
    that stay taken or weigh less, whom a complaint is about.
    """
    version = view.configuration.at(shop, "routing", view.settings.settled_at)
    routing = version.body if version is not None else {}
    turns = routing.get("turns") or {}
    if routing.get("surge") or routing.get("complaints") or any(weight != 1 for weight in turns.values()):
        return True
    if any(agent.get("shift") or agent.get("wrap_up_s") or agent.get("channels") for agent in _listed(view, shop)):
        return True
    rules = routing.get("rules") or ()
    return any(step.get("groups") or step.get("language") for rule in rules for step in rule["steps"])
