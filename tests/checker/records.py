"""The shapes that the checker passes around, and how a report reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SECOND = 1_000_000
DAY = 86_400 * SECOND

CONVERSATIONS = "conversations.v1"
REPLIES = "replies.v1"
ROUTING = "routing.v1"
SLA = "sla.v1"
AGENTS = "agents.v1"
SHOPS = "shops.v1"
CHECKPOINTS = "checkpoints.v1"
DEAD_LETTERS = "dead-letters.v1"
TOPICS = (CONVERSATIONS, REPLIES, ROUTING, SLA, AGENTS, SHOPS, CHECKPOINTS, DEAD_LETTERS)


class Record(NamedTuple):
    """One Kafka entry; ``topic`` without the deployment's prefix, ``broker_at`` in µs."""

    topic: str
    partition: int
    offset: int
    broker_at: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def where(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Event(NamedTuple):
    """A valid record of a known type. ``at`` is the event time of §1, ``time`` what the envelope says (both µs)."""

    type: str
    id: str
    source: str
    subject: str
    at: int
    time: int
    data: dict[str, Any]
    record: Record
    time_text: str

    @property
    def where(self) -> str:
        return self.record.where

    @property
    def broker_at(self) -> int:
        return self.record.broker_at

    @property
    def offset(self) -> int:
        return self.record.offset


class Violation(NamedTuple):
    """``rule``: the number in §6, or ``outputs`` for what §1 demands of everything put out."""

    rule: str
    code: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"rule {self.rule} {self.code}: {self.what} [{self.where}]"


@dataclass
class Report:
    """What was found. ``counts`` says how much was looked at: an empty log passes every rule and proves nothing."""

    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return not self.violations

    def rules(self) -> set[str]:
        return {violation.rule for violation in self.violations}

    def codes(self) -> set[str]:
        return {violation.code for violation in self.violations}

    def text(self, limit: int = 20) -> str:
        """At most ``limit`` violations of each code, then the counts."""
        lines = []
        grouped: dict[tuple[str, str], list[Violation]] = {}
        for violation in self.violations:
            grouped.setdefault((violation.rule, violation.code), []).append(violation)
        for (rule, code), found in sorted(grouped.items()):
            lines.append(f"rule {rule} {code}: {len(found)}")
            lines += [f"    {violation.what} [{violation.where}]" for violation in found[:limit]]
            if len(found) > limit:
                lines.append(f"    … and {len(found) - limit} more")
        lines.append("looked at: " + ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items())))
        lines.append("no violation" if self.ok else f"{len(self.violations)} violations")
        return "\n".join(lines)
