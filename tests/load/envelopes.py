"""What goes on the wire: CloudEvents envelopes as a gateway writes them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

CONVERSATIONS = "conversations.v1"
AGENTS = "agents.v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADERS: tuple[tuple[str, bytes | None], ...] = (("content-type", b"application/cloudevents+json"),)


class Draft(NamedTuple):
    """A record to send. ``topic`` without the deployment's prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = _HEADERS


@dataclass(frozen=True)
class Shape:
    """How the traffic is made up; shares are of conversations or of records, 0 to 1."""

    shops: tuple[str, ...] = ("衣橱", "数码港")
    unknown_shop_share: float = 0.02
    channels: tuple[str, ...] = ("web", "app", "wechat")
    tiers: tuple[str | None, ...] = (None, "regular", "regular", "vip", "new")
    messages_max: int = 5
    complaint_share: float = 0.05
    hold_share: float = 0.06
    transfer_share: float = 0.08
    reopen_share: float = 0.1
    rating_share: float = 0.3
    order_share: float = 0.1
    dirt_share: float = 0.0
    """Of records, how many bring a dirty one with them: a duplicate, a late one, poison, …"""


def show(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def envelope(
    type_: str, subject: str, data: dict[str, Any], at: int, *, id_: str, source: str = "/gateway/load"
) -> dict[str, Any]:
    """``at``: µs."""
    return {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": f"{type_}.v1",
        "subject": subject,
        "time": show(at),
        "data": data,
    }


def draft(of: dict[str, Any], topic: str = CONVERSATIONS) -> Draft:
    value = json.dumps(of, ensure_ascii=False, separators=(",", ":")).encode()
    return Draft(topic, str(of["subject"]).encode(), value)


class Gateway:
    """Writes the events of conversations, with ids that follow from the conversation and a count."""

    def __init__(self, shape: Shape, chance: random.Random) -> None:
        self.shape = shape
        self.chance = chance
        self._counts: dict[str, int] = {}

    def event(self, type_: str, subject: str, at: int, **data: Any) -> Draft:
        return draft(envelope(type_, subject, data, at, id_=self.next_id(subject)))

    def status(self, agent: str, status: str, at: int, **data: Any) -> Draft:
        of = envelope(
            "agent.status_changed",
            agent,
            {"agent_id": agent, "status": status, **data},
            at,
            id_=self.next_id(agent),
            source="/gateway/desk",
        )
        return draft(of, AGENTS)

    def next_id(self, subject: str) -> str:
        self._counts[subject] = self._counts.get(subject, 0) + 1
        return f"{subject}-{self._counts[subject]}"

    def customer(self, number: int) -> dict[str, Any]:
        """Who writes in a conversation: some things only sometimes stated."""
        chance = self.chance
        found: dict[str, Any] = {"customer_id": f"u{number % 5000}"}
        tier = chance.choice(self.shape.tiers)
        if tier is not None:
            found["tier"] = tier
        if chance.random() < 0.5:
            found |= {"total_spend": f"{chance.randrange(0, 900_000) / 100:.2f}", "order_count": chance.randrange(40)}
        if chance.random() < 0.2:
            found["name"] = "顾客" + str(number)
        return found

    def message(self, subject: str, at: int, *, shop: str, customer: dict[str, Any], number: int, text: str) -> Draft:
        more: dict[str, Any] = {}
        if self.chance.random() < 0.1:
            more["language"] = "zh"
        if self.chance.random() < 0.04:
            more["attachments"] = [{"kind": "image", "url": "https://example.invalid/a.jpg", "size": 20_480}]
        return self.event(
            "message.received",
            subject,
            at,
            shop_id=shop,
            message_id=f"m{number}",
            channel=self.shape.channels[hash_of(subject) % len(self.shape.channels)],
            entry_point="detail",
            text=text,
            customer=customer,
            **more,
        )


def hash_of(text: str) -> int:
    """The same in every process, unlike ``hash``."""
    return sum((index + 1) * byte for index, byte in enumerate(text.encode()))
