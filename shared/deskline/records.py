"""The few shapes that cross between the Kafka layer, the consumption engine and the services.

A *record* is one Kafka entry; an *event* is a valid record decoded. Names follow design words: see docs/words.md.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

CONVERSATIONS: Final = "conversations.v1"
REPLIES: Final = "replies.v1"
ROUTING: Final = "routing.v1"
SLA: Final = "sla.v1"
AGENTS: Final = "agents.v1"
SHOPS: Final = "shops.v1"
CHECKPOINTS: Final = "checkpoints.v1"
DEAD_LETTERS: Final = "dead-letters.v1"

CO_PARTITIONED: Final = (CONVERSATIONS, REPLIES, ROUTING, SLA)
ALL_TOPICS: Final = (*CO_PARTITIONED, AGENTS, SHOPS, CHECKPOINTS, DEAD_LETTERS)

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One Kafka entry. ``topic`` is the logical name, without the deployment's prefix; ``broker_at`` is the broker
    timestamp in microseconds (Kafka keeps milliseconds).
    """

    topic: str
    partition: int
    offset: int
    broker_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Event(NamedTuple):
    """A valid record of a known type.

    ``at`` is the *event time* of contract §1 (µs): ``time`` cut to the microsecond, or the broker timestamp where
    ``time`` is too far off (then ``retimed``). ``data`` has the attributes of the pydantic model of its type in
    ``deskline.events.models``; on the hot path it is the msgspec struct derived from that model.
    """

    type: str
    id: str
    source: str
    subject: str
    at: int
    retimed: bool
    data: Any
    topic: str
    partition: int
    offset: int
    broker_at: int

    @property
    def coordinates(self) -> str:
        """``<topic>/<partition>/<offset>`` without prefix, for ``deskline-source``."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Unknown(NamedTuple):
    """A valid envelope whose type *name* the contract does not know: archived, otherwise ignored."""

    type: str
    id: str
    source: str
    subject: str
    at: int


class Invalid(NamedTuple):
    """Not valid by contract §1. ``reason`` is one of the closed list of ``dead-letters.v1``; ``error`` says where."""

    reason: str
    error: str


Decoded = Event | Unknown | Invalid


class Output(NamedTuple):
    """One event to publish. ``value`` is the encoded envelope, ``source`` the coordinates of the input that caused it
    (None for a timer), ``headers`` extra ones (dead letters).
    """

    topic: str
    key: bytes | None
    value: bytes | None
    source: str | None = None
    headers: Headers = ()


Positions = Mapping[str, int]
