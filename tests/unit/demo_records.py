"""Records of a small run, as a broker would have them, for the two ways of counting."""

import json
from collections import defaultdict

from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.demo.recount import Raw
from deskline.events.wire import decode
from deskline.records import ALL_TOPICS, Event, Record

RUN = "demo-test"
T0 = parse_rfc3339("2026-11-25T02:00:00Z")
REQUEST = {"shop_id": "wardrobe", "request_id": "r1", "seq": 1}
AGENT = {"agent_id": "w-li", "agent_seq": 1, "load": 1, "capacity": 6}
QUEUED = {
    "cause": "handover", "skills": ["退款"], "priority": 60, "step": 1, "required": {"skills": []}, "position": 1,
    "waiting_since": rfc3339(T0),
}  # fmt: skip
EXPLANATION = {
    "rule": "everybody", "step": 1, "required": {"skills": []}, "relaxed": [], "agent_state_id": "x", "considered": 1,
    "eligible": 1, "rejected": {}, "chosen": {"score_parts": {}},
}  # fmt: skip
CLOCK = {
    "shop_id": "wardrobe", "policy_id": "p", "policy_version": 1, "tier": "vip", "started_at": rfc3339(T0),
    "due_at": rfc3339(T0 + 30 * SECOND), "target_s": 30,
}  # fmt: skip
OF_AUTOREPLY = {"shop_id": "wardrobe", "rules_version": 1, "routing_offset": 0}


class Log:
    """Topics of one partition each; records are a second apart."""

    def __init__(self):
        self.records = defaultdict(list)
        self.at = T0

    def put(self, topic, type_, subject, data, *, source="/gateway/demo", id_=None):
        self.at += SECOND
        number = sum(map(len, self.records.values()))
        event = {
            "specversion": "1.0", "id": id_ or f"{RUN}-{number}", "source": source, "type": f"{type_}.v1",
            "subject": subject, "time": rfc3339(self.at), "data": data,
        }  # fmt: skip
        self.raw(topic, subject, json.dumps(event, ensure_ascii=False).encode())

    def raw(self, topic, key, value):
        record = Record(topic, 0, len(self.records[topic]), self.at, key.encode(), value, ())
        self.records[topic].append(record)

    def again(self, topic, index):
        """The same record a second time, as after a crash."""
        first = self.records[topic][index]
        self.records[topic].append(first._replace(offset=len(self.records[topic]), broker_at=self.at))

    def received(self, subject, name, tier=None):
        customer = {"customer_id": "u", **({"tier": tier} if tier else {})}
        data = {"shop_id": "wardrobe", "message_id": name, "channel": "web", "text": "想退款", "customer": customer}
        self.put("conversations.v1", "message.received", subject, data)

    def said(self, type_, subject, **data):
        self.put("conversations.v1", type_, subject, {"shop_id": "wardrobe", **data})

    def replied(self, type_, subject, **data):
        self.put("replies.v1", type_, subject, {**OF_AUTOREPLY, **data}, source="/deskline/autoreply")

    def issued(self, subject, name, *, handover=False):
        more = {"kind": "faq", "deliver_by": rfc3339(self.at + 60 * SECOND)}
        self.replied(
            "reply.issued", subject, reply_id=f"p-{name}", in_reply_to=name, text="好的", handover=handover, **more
        )

    def handed_over(self, subject, name):
        more = {"reason": "rule", "skills": ["退款"], "priority": 60, "flags": []}
        self.replied("handover.requested", subject, message_id=name, waiting_since=rfc3339(T0), **more)

    def routed(self, type_, subject, **data):
        self.put("routing.v1", type_, subject, {**REQUEST, **data}, source="/deskline/router")

    def clock(self, word, subject, name, metric, **data):
        self.put(
            "sla.v1",
            f"sla.{word}",
            subject,
            {**CLOCK, "clock_id": name, "metric": metric, **data},
            source="/deskline/sla",
        )

    # --- as the two readers want them ---------------------------------------------------------------------------

    def decoded(self):
        """(record, decoded) by broker time, all topics side by side."""
        every = [record for records in self.records.values() for record in records]
        return [
            (record, decode(record)) for record in sorted(every, key=lambda record: (record.broker_at, record.topic))
        ]

    def whole(self):
        return {topic: [Raw(r.broker_at // 1000, r.value) for r in self.records.get(topic, ())] for topic in ALL_TOPICS}


def small_run():
    """Two conversations: one answered by a rule, one handed over, declined, assigned, transferred away, closed."""
    log, first, second = Log(), f"{RUN}-00000", f"{RUN}-00001"
    log.put("agents.v1", "agent.status_changed", "w-li", {"agent_id": "w-li", "status": "online"})
    log.put("agents.v1", "agent.status_changed", "w-li", {"agent_id": "w-li", "status": "away", "reason": "break"})
    log.received(first, "m1", "new")
    log.issued(first, "m1")
    log.said("message.sent", first, message_id="b1", author={"kind": "bot", "id": "b"}, text="好的", in_reply_to="m1")
    log.clock("met", first, "k1", "instant_reply", met_at=rfc3339(log.at), elapsed_s=1.5)
    log.said("conversation.closed", first, resolved=True)
    log.said("conversation.rated", first, score=4)
    log.received(second, "m1", "vip")
    log.issued(second, "m1", handover=True)
    log.handed_over(second, "m1")
    log.routed("conversation.queued", second, **QUEUED)
    offered = {"assignment_id": "a1", "attempt": 1, "mode": "offered", "accept_by": rfc3339(log.at + SECOND)}
    log.routed(
        "conversation.assigned", second, **AGENT, **offered, waited_s=0.5, policy_version=1, explanation=EXPLANATION
    )
    log.said("assignment.declined", second, assignment_id="a1", agent_id="w-li")
    log.routed("assignment.revoked", second, **AGENT, assignment_id="a1", reason="declined", agent_paused=False)
    taken = {"assignment_id": "a2", "attempt": 2, "mode": "assigned"}
    log.routed(
        "conversation.assigned", second, **AGENT, **taken, waited_s=2.0, policy_version=1, explanation=EXPLANATION
    )
    log.received(second, "m2", "vip")
    log.replied("message.ignored", second, message_id="m2", reason="human_owned")
    log.said("message.sent", second, message_id="h1", author={"kind": "agent", "id": "w-li"}, text="您好")
    log.clock("breached", second, "k2", "agent_response", breached_at=rfc3339(T0 + 30 * SECOND))
    log.clock("breach_retracted", second, "k2", "agent_response", reason="late_event")
    log.clock("met", second, "k2", "agent_response", met_at=rfc3339(log.at), elapsed_s=9)
    log.clock("breached", second, "k3", "next_response", breached_at=rfc3339(T0 + 30 * SECOND))
    log.said("complaint.opened", second, complaint_id="c1", category="物流")
    log.said("complaint.closed", second, complaint_id="c1")
    log.said("conversation.closed", second, resolved=False)
    log.routed("conversation.released", second, **AGENT, assignment_id="a2", reason="closed")
    return log


EXPECTED = {
    "conversations": 2, "closed": 2, "ratings": 1, "rating_points": 4, "breaks": 1,
    "complaints_opened": 1, "complaints_closed": 1,
    "messages": 3, "answered": 1, "handed_over": 1, "holding_replies": 1, "ignored": 1, "ignored.human_owned": 1,
    "replies_delivered": 1, "agent_messages": 1,
    "requests": 1, "waiting": 0, "assigned": 2, "assigned.vip": 2, "declined": 1, "taken_back": 1, "released": 1,
    "met": 2, "met.instant_reply": 1, "met.agent_response": 1, "breached": 1, "breached.next_response": 1,
    "records": 27, "records.agents.v1": 2, "records.conversations.v1": 11, "records.replies.v1": 4,
    "records.routing.v1": 5, "records.sla.v1": 5,
}  # fmt: skip


def events(log):
    return [decoded for _, decoded in log.decoded() if isinstance(decoded, Event)]
