"""Small logs made in memory, to show that the checker passes what is right and names what is not.

``World`` puts records down as a well-behaved deskline and its gateway would. A test then spoils one thing. Times are
seconds after ``T0``; every record reaches the broker 20 ms after its event time unless said otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from tests.checker.judge import check
from tests.checker.log import Log, Settings
from tests.checker.records import (
    AGENTS,
    CONVERSATIONS,
    DEAD_LETTERS,
    REPLIES,
    ROUTING,
    SECOND,
    SHOPS,
    SLA,
    Record,
    Report,
)
from tests.checker.validity import TYPES, parse_time, show_time

T0 = parse_time("2026-03-02T02:00:00Z")  # a Monday, ten in the morning in Shanghai
SHOP = "shop-1"
_WRITERS = {
    CONVERSATIONS: "/gateway/main",
    AGENTS: "/gateway/desk",
    REPLIES: "/deskline/autoreply",
    ROUTING: "/deskline/router",
    SLA: "/deskline/sla",
    SHOPS: "/deskline/config",
}
_DOCUMENTS: dict[str, Any] = {
    "agents": {
        "agents": [
            {"agent_id": "anna", "skills": {"refund": 3}, "grade": "senior", "capacity": 2},
            {"agent_id": "bo", "skills": {"refund": 1}, "grade": "standard", "capacity": 1},
        ]
    },
    "calendars": {
        "default": "shop",
        "calendars": {
            "shop": {
                "timezone": "Asia/Shanghai",
                "weekly": {day: ["09:00-18:00"] for day in ("mon", "tue", "wed", "thu", "fri")},
            }
        },
    },
    "sla": {"policies": []},
    "routing": {"rules": []},
    "limits": {},
    "rules": {"sha256": "0" * 64},
}


def name(*parts: Any) -> str:
    """An id of the form that ours have, for a thing of the test."""
    return hashlib.md5(repr(parts).encode(), usedforsecurity=False).hexdigest()


def show(at: float) -> str:
    return show_time(T0 + round(at * SECOND))


class World:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.archived: Callable[[list[Record]], list[Record]] = list
        self.end = 3600.0
        self._seq: dict[str, int] = {}
        self._agent_seq: dict[str, int] = {}
        self._live: dict[str, set[str]] = {}
        self._capacity: dict[str, int] = {}
        self._requests: dict[str, dict[str, Any]] = {}
        for document, body in _DOCUMENTS.items():
            data = {
                "shop_id": "_default",
                "version": 1,
                "effective_from": show(-60),
                "document": document,
                "body": body,
                "reevaluate": False,
            }
            self.put("config.applied.v1", "_default", data, -3600)

    # --- records -------------------------------------------------------------------------------------------------

    def raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        at: float,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> Record:
        offset = sum(record.topic == topic for record in self.records)
        broker_at = (T0 + round(at * SECOND)) // 1000 * 1000
        record = Record(topic, 0, offset, broker_at, key, value, headers)
        self.records.append(record)
        return record

    def put(
        self,
        type_: str,
        subject: str,
        data: dict[str, Any],
        at: float,
        *,
        id_: str | None = None,
        broker: float | None = None,
        source: str | None = None,
        cause: Record | None = None,
    ) -> Record:
        topic = TYPES[type_][0]
        envelope = {
            "specversion": "1.0",
            "id": id_ or name(type_, subject, at, data),
            "source": source or _WRITERS[topic],
            "type": type_,
            "subject": subject,
            "time": show(at),
            "data": data,
        }
        value = json.dumps(envelope, ensure_ascii=False).encode()
        headers: tuple[tuple[str, bytes | None], ...] = ()
        if cause is not None:
            headers = (("deskline-source", cause.where.encode()),)
        return self.raw(topic, subject.encode(), value, at + 0.02 if broker is None else broker, headers)

    # --- the gateway ---------------------------------------------------------------------------------------------

    def message(self, subject: str, message_id: str, at: float, **fields: Any) -> Record:
        customer = {"customer_id": f"of-{subject}"}
        data = {
            "shop_id": SHOP,
            "message_id": message_id,
            "channel": "web",
            "text": "在吗",
            "customer": customer,
            **fields,
        }
        return self.put("message.received.v1", subject, data, at)

    def wrote(self, subject: str, agent: str, message_id: str, at: float, *, kind: str = "agent") -> Record:
        author = {"kind": kind, "id": agent}
        data = {"shop_id": SHOP, "message_id": message_id, "author": author, "text": "您好"}
        return self.put("message.sent.v1", subject, data, at)

    def gateway(self, type_: str, subject: str, at: float, **fields: Any) -> Record:
        return self.put(type_, subject, {"shop_id": SHOP, **fields}, at)

    def status(self, agent: str, status: str, at: float, **fields: Any) -> str:
        """The id of the status event, as ``agent_state_id`` names it."""
        id_ = name("status", agent, at)
        data = {"agent_id": agent, "status": status, **fields}
        self.put("agent.status_changed.v1", agent, data, at, id_=id_)
        return id_

    # --- autoreply -----------------------------------------------------------------------------------------------

    def outcome(self, message: Record, at: float, type_: str, **fields: Any) -> Record:
        envelope = json.loads(message.value or b"")
        data = {"shop_id": SHOP, "rules_version": 1, "routing_offset": 0, **fields}
        return self.put(type_, envelope["subject"], data, at, cause=message)

    def reply(self, message: Record, at: float, *, handover: bool = False) -> Record:
        envelope = json.loads(message.value or b"")
        of = envelope["data"]["message_id"]
        return self.outcome(
            message,
            at,
            "reply.issued.v1",
            reply_id=name("reply", envelope["subject"], of),
            in_reply_to=of,
            text="您好,请问有什么可以帮您",
            kind="rule",
            handover=handover,
            deliver_by=show(at + 60),
        )

    def handover(self, message: Record, at: float, **fields: Any) -> Record:
        envelope = json.loads(message.value or b"")
        data = {"waiting_since": envelope["time"], "reason": "no_match", "skills": ["refund"], "priority": 50}
        data |= {"flags": [], "message_id": envelope["data"]["message_id"], **fields}
        return self.outcome(message, at, "handover.requested.v1", **data)

    def ignore(self, message: Record, at: float, reason: str) -> Record:
        of = json.loads(message.value or b"")["data"]["message_id"]
        return self.outcome(message, at, "message.ignored.v1", message_id=of, reason=reason)

    # --- the router ----------------------------------------------------------------------------------------------

    def routing(self, type_: str, subject: str, request: str, at: float, **fields: Any) -> Record:
        self._seq[request] = self._seq.get(request, 0) + 1
        data = {"request_id": request, "shop_id": SHOP, "seq": self._seq[request], **fields}
        return self.put(type_, subject, data, at)

    def queued(
        self, subject: str, request: str, at: float, *, since: float, cause: str = "handover", **fields: Any
    ) -> None:
        required = {"skills": [{"skill": "refund", "proficiency": 1}]}
        data = {"cause": cause, "skills": ["refund"], "priority": 50, "step": 1, "required": required, "position": 1}
        known = self._requests.setdefault(request, {"since": since, "attempt": 0})
        known["since"] = since
        self.routing("conversation.queued.v1", subject, request, at, **{**data, "waiting_since": show(since), **fields})

    def assigned(
        self, subject: str, request: str, agent: str, state: str, at: float, *, mode: str = "assigned", **fields: Any
    ) -> str:
        """The assignment's id."""
        known = self._requests[request]
        known["attempt"] += 1
        assignment = name("assignment", request, known["attempt"])
        self._live.setdefault(agent, set()).add(assignment)
        known["assignment"], known["agent"] = assignment, agent
        data = {
            "assignment_id": assignment,
            "attempt": known["attempt"],
            "mode": mode,
            "waited_s": round(at - known["since"], 6),
            "policy_version": 1,
            "explanation": {
                "rule": "default",
                "step": 1,
                "required": {"skills": [{"skill": "refund", "proficiency": 1}]},
                "relaxed": [],
                "agent_state_id": state,
                "considered": 2,
                "eligible": 1,
                "rejected": {},
                "chosen": {"score_parts": {}},
            },
            **({"accept_by": show(at + 20)} if mode == "offered" else {}),
            **fields,
        }
        self.routing("conversation.assigned.v1", subject, request, at, **data, **self._about(agent))
        return assignment

    def ends(self, type_: str, subject: str, request: str, at: float, **fields: Any) -> None:
        """``expired``, ``revoked`` or ``released`` of whatever the request's assignment is."""
        known = self._requests[request]
        assignment = known.pop("assignment", None)
        if assignment is not None:
            agent = known["agent"]
            self._live[agent].discard(assignment)
            fields = {"assignment_id": assignment, **self._about(agent), **fields}
        if type_ != "conversation.released.v1":
            fields.setdefault("agent_paused", False)
        self.routing(type_, subject, request, at, **fields)

    def _about(self, agent: str) -> dict[str, Any]:
        self._agent_seq[agent] = self._agent_seq.get(agent, 0) + 1
        capacity = self._capacity.get(agent, 2 if agent == "anna" else 1)
        return {
            "agent_id": agent,
            "agent_seq": self._agent_seq[agent],
            "load": len(self._live.get(agent, ())),
            "capacity": capacity,
        }

    # --- sla and the archive -------------------------------------------------------------------------------------

    def clock(
        self, type_: str, subject: str, metric: str, at: float, *, started: float, target: float, **fields: Any
    ) -> Record:
        data = {
            "clock_id": name("clock", subject, metric, show(started)),
            "metric": metric,
            "shop_id": SHOP,
            "policy_id": "default",
            "policy_version": 1,
            "tier": "regular",
            "started_at": show(started),
            "due_at": show(started + target),
            "target_s": float(target),
            **fields,
        }
        cause = next(record for record in self.records if record.topic == CONVERSATIONS)
        return self.put(type_, subject, data, at, cause=cause)

    def met(self, subject: str, metric: str, *, started: float, at: float, target: float) -> Record:
        more = {"met_at": show(at), "elapsed_s": round(at - started, 6)}
        return self.clock("sla.met.v1", subject, metric, at + 0.1, started=started, target=target, **more)

    def letter(self, record: Record, reason: str, at: float, *, service: str = "archive") -> Record:
        own = {
            "reason": reason,
            "service": service,
            "error": "…",
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        }
        headers = tuple((f"deskline-{key}", str(value).encode()) for key, value in own.items())
        kept = tuple(
            (f"original-{key}" if key.startswith("deskline-") else key, value) for key, value in record.headers
        )
        return self.raw(DEAD_LETTERS, record.key, record.value, at, (*headers, *kept))

    # --- spoiling and judging ------------------------------------------------------------------------------------

    def find(self, type_: str, number: int = 0, **fields: Any) -> int:
        """The index of the ``number``-th record of a type whose data has these fields."""
        found = []
        for index, record in enumerate(self.records):
            if record.value is None or f'"{type_}"'.encode() not in record.value:
                continue
            data = json.loads(record.value)["data"]
            if all(data.get(key) == value for key, value in fields.items()):
                found.append(index)
        return found[number]

    def edit(self, index: int, change: Callable[[dict[str, Any]], Any]) -> None:
        """Let ``change`` alter the envelope of a record."""
        record = self.records[index]
        envelope = json.loads(record.value or b"")
        change(envelope)
        self.records[index] = record._replace(value=json.dumps(envelope, ensure_ascii=False).encode())

    def drop(self, index: int) -> None:
        """As if it had never been written: offsets close up."""
        gone = self.records.pop(index)
        self.records = [
            record._replace(offset=record.offset - 1)
            if record.topic == gone.topic and record.offset > gone.offset
            else record
            for record in self.records
        ]

    def again(self, index: int, at: float, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
        """The record once more, at the end of its topic."""
        record = self.records[index]
        self.raw(record.topic, record.key, record.value, at, record.headers)
        if change is not None:
            self.edit(len(self.records) - 1, change)

    def log(self) -> Log:
        order = sorted(self.records, key=lambda record: (record.topic, record.offset))
        return Log(order, self.archived(order))

    def settings(self, **options: Any) -> Settings:
        return Settings(end_at=T0 + round(self.end * SECOND), **options)

    def judge(self, **options: Any) -> Report:
        return check(self.log(), self.settings(**options))
