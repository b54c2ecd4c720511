"""The board's numbers, counted as the records come. One pass, one record at a time, bounded by the run's length.

A record that came twice (a crash published it again) counts once. Topics are read side by side, so an assignment may be
seen before the message that says the customer's tier: it waits for that.
"""

from collections import Counter, defaultdict, deque
from typing import Any, Final

from deskline.demo.figures import NO_TIER
from deskline.records import AGENTS, DEAD_LETTERS, SHOPS, Decoded, Event, Record

_RECENT: Final = 400
_WORDS: Final = {
    "sla.met.v1": "met",
    "sla.breached.v1": "breached",
    "sla.cancelled.v1": "cancelled",
    "sla.breach_retracted.v1": "retracted",
}
_SIMPLE: Final = {
    "assignment.accepted.v1": "accepted",
    "assignment.declined.v1": "declined",
    "assignment.expired.v1": "missed",
    "assignment.revoked.v1": "taken_back",
    "transfer.requested.v1": "transfers",
    "conversation.closed.v1": "closed",
    "complaint.opened.v1": "complaints_opened",
    "complaint.closed.v1": "complaints_closed",
}


class Tally:
    """Counts the conversations of one run; records of all topics whoever wrote them."""

    def __init__(self, run: str) -> None:
        self._prefix = f"{run}-"
        self._counts: Counter[str] = Counter()
        self._seen: set[tuple[str, str, str]] = set()
        self._tiers: dict[str, str] = {}
        self._untold: defaultdict[str, int] = defaultdict(int)
        self._requests: dict[str, str] = {}
        self._clocks: dict[str, tuple[str, str]] = {}
        self._asked: dict[tuple[str, str], int] = {}
        self.decided_ms: deque[float] = deque(maxlen=_RECENT)
        """From the broker's receipt of a message to that of its outcome, of the last ones."""
        self.first_answer_at: int | None = None
        """When the first message of the bot or an agent reached the broker (µs)."""
        self.agents: dict[str, str] = {}
        """Last status heard of each."""
        self.waiting_since: dict[str, int] = {}
        """Of requests that wait for somebody, when they began to (µs)."""
        self._loads: dict[str, tuple[int, int]] = {}

    @property
    def load(self) -> int:
        """Conversations at the desks, as the router said last of each agent."""
        return sum(load for _, load in self._loads.values())

    def figures(self) -> dict[str, int]:
        found = dict(self._counts)
        found["waiting"] = sum(state == "waiting" for state in self._requests.values())
        found["requests"] = len(self._requests)
        for word, metric in self._clocks.values():
            found[word] = found.get(word, 0) + 1
            found[f"{word}.{metric}"] = found.get(f"{word}.{metric}", 0) + 1
        for subject, count in self._untold.items():
            tier = self._tiers.get(subject, NO_TIER)
            found[f"assigned.{tier}"] = found.get(f"assigned.{tier}", 0) + count
        found["conversations"] = len(self._tiers)
        return found

    def add(self, record: Record, decoded: Decoded) -> bool:
        """Whether it is an event of this run that had not been seen."""
        self._counts["records"] += 1
        self._counts[f"records.{record.topic}"] += 1
        if record.topic == DEAD_LETTERS:
            self._counts["dead_letters"] += 1
        if not isinstance(decoded, Event) or record.topic == SHOPS:
            return False
        if record.topic == AGENTS:
            if not decoded.id.startswith(self._prefix):
                return False
        elif not decoded.subject.startswith(self._prefix):
            return False
        name = (decoded.subject, decoded.source, decoded.id)
        if name in self._seen:
            return False
        self._seen.add(name)
        self._count(decoded)
        return True

    def _count(self, event: Event) -> None:
        data: Any = event.data
        counts = self._counts
        if (simple := _SIMPLE.get(event.type)) is not None:
            counts[simple] += 1
        match event.type:
            case "message.received.v1":
                self._received(event)
            case "message.sent.v1":
                self.first_answer_at = self.first_answer_at or event.broker_at
                counts["replies_delivered" if data.author.kind == "bot" else "agent_messages"] += 1
            case "conversation.rated.v1":
                counts["ratings"] += 1
                counts["rating_points"] += data.score
            case "agent.status_changed.v1":
                counts["breaks"] += data.reason == "break"
                self.agents[data.agent_id] = data.status
            case "reply.issued.v1":
                counts["holding_replies" if data.handover else "answered"] += 1
                if not data.handover:
                    self._decided(event, data.in_reply_to)
            case "handover.requested.v1":
                counts["handed_over"] += 1
                self._decided(event, data.message_id)
            case "message.ignored.v1":
                counts["ignored"] += 1
                counts[f"ignored.{data.reason}"] += 1
                self._decided(event, data.message_id)
        if event.type in _WORDS:
            self._clocks[data.clock_id] = (_WORDS[event.type], data.metric)
        elif event.topic == "routing.v1":
            self._route(event)

    def _received(self, event: Event) -> None:
        self._counts["messages"] += 1
        tier = event.data.customer.tier or NO_TIER
        self._asked[event.subject, event.data.message_id] = event.broker_at
        if event.subject not in self._tiers:
            self._tiers[event.subject] = tier
            if (waiting := self._untold.pop(event.subject, 0)) > 0:
                self._counts[f"assigned.{tier}"] += waiting

    def _decided(self, event: Event, message_id: str) -> None:
        asked = self._asked.pop((event.subject, message_id), None)
        if asked is not None:
            self.decided_ms.append((event.broker_at - asked) / 1000)

    def _route(self, event: Event) -> None:
        data: Any = event.data
        request = data.request_id
        match event.type:
            case "conversation.queued.v1":
                if request not in self._requests:
                    self._requests[request] = "waiting"
                    self.waiting_since[request] = event.broker_at
            case "conversation.assigned.v1":
                self._requests[request] = "taken"
                self.waiting_since.pop(request, None)
                self._counts["assigned"] += 1
                if (tier := self._tiers.get(event.subject)) is not None:
                    self._counts[f"assigned.{tier}"] += 1
                else:
                    self._untold[event.subject] += 1
            case "assignment.expired.v1" | "assignment.revoked.v1":
                self._requests[request] = "waiting"
                self.waiting_since[request] = event.broker_at
            case "conversation.released.v1":
                self._requests[request] = "ended"
                self.waiting_since.pop(request, None)
                self._counts["released"] += 1
        if getattr(data, "agent_id", None) is not None:
            # Partitions are read side by side: the order of what the router said of an agent is agent_seq alone.
            self._loads[data.agent_id] = max(self._loads.get(data.agent_id, (0, 0)), (data.agent_seq, data.load))
