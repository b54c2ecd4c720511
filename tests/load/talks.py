"""What customers do in a conversation: write, wait, complain, be closed, come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.load.traffic import Traffic


@dataclass
class Talk:
    """A conversation as its customer and its gateway know it."""

    subject: str
    shop: str
    customer: dict[str, Any]
    said: int = 0
    """Messages of the customer so far; their names are m1, m2, …"""
    agent_said: int = 0
    agent_wrote_at: int = 0
    closed: bool = False
    times_open: int = 1
    assignments: dict[str, str] = field(default_factory=dict)
    """Of agents, live as far as heard: assignment → agent."""
    transferred: bool = False


def messages(traffic: Traffic, talk: Talk) -> None:
    """One opening of the conversation: some messages, seconds apart, then perhaps a close."""
    chance = traffic.chance
    at = 0.0
    for _ in range(chance.randint(1, traffic.plan.shape.messages_max)):
        traffic.later(at, lambda: _write(traffic, talk))
        at += chance.choice((0.05, chance.uniform(0.2, 2), chance.uniform(1, 5)))
    if chance.random() < traffic.plan.shape.hold_share:
        traffic.later(at, lambda: traffic.event(talk, "conversation.held", reason="等待顾客"))
        traffic.later(at + chance.uniform(0.5, 4), lambda: traffic.event(talk, "conversation.resumed"))
    if chance.random() < 0.9:
        # Agents close what they have served; this is the gateway's own time-out for the others.
        traffic.later(at + chance.uniform(4, 12), lambda: close(traffic, talk, by="system"))


def _write(traffic: Traffic, talk: Talk) -> None:
    chance = traffic.chance
    if talk.closed:
        if chance.random() > 0.3:
            return
        talk.closed = False
        talk.times_open += 1
    traffic.put(traffic.message(talk, traffic.now() - chance.randrange(50_000)))
    if chance.random() < 0.2:
        reader = {"kind": "agent", "id": "agent-00"}
        traffic.later(0.3, lambda: traffic.event(talk, "message.read", message_id=f"m{talk.said}", reader=reader))


def close(traffic: Traffic, talk: Talk, *, by: str) -> None:
    chance = traffic.chance
    shape = traffic.plan.shape
    if talk.closed:
        return
    talk.closed = True
    kind = "system" if by == "system" else "agent"
    traffic.event(talk, "conversation.closed", resolved=chance.random() < 0.8, by={"kind": kind, "id": by})
    if chance.random() < shape.rating_share:
        more = {"comment": "还不错"} if chance.random() < 0.3 else {}
        traffic.later(0.5, lambda: traffic.event(talk, "conversation.rated", score=chance.randint(1, 5), **more))
    if chance.random() < shape.order_share:
        order = {"order_id": f"o-{talk.subject}", "customer_id": talk.customer["customer_id"], "amount": "128.00"}
        traffic.later(0.7, lambda: traffic.event(talk, "order.placed", **order))
    if talk.times_open < 3 and chance.random() < shape.reopen_share:
        traffic.later(chance.uniform(0.01, 3), lambda: _reopen(traffic, talk))


def _reopen(traffic: Traffic, talk: Talk) -> None:
    talk.closed = False
    talk.times_open += 1
    messages(traffic, talk)


def complaints(traffic: Traffic, talk: Talk) -> None:
    chance = traffic.chance
    complaint = {"complaint_id": f"k-{talk.subject}", "category": "物流"}
    at = chance.uniform(0, 6)
    traffic.later(at, lambda: traffic.event(talk, "complaint.opened", **complaint))
    traffic.later(at + chance.uniform(1, 10), lambda: traffic.event(talk, "complaint.closed", **complaint))
