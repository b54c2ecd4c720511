"""Second records that senders make (contract §1): told from first ones, one ``Seen`` per conversation and service.

The rule. On one topic the first valid record of a ``source`` and ``id`` counts; a later one within a day of broker time
is a duplicate, whatever its body. A second ``message.received`` or ``message.sent`` with the ``message_id`` of a counted
one of the same type is a duplicate too. A duplicate has no effect at all, so it is not remembered either: the day is
counted from the record that counted. After the day the next one counts, and begins a day of its own. On ``agents.v1``
nothing is a duplicate.

The form. What is remembered is a 64-bit hash and the broker timestamp in milliseconds (Kafka keeps no more), per topic:
topics are read at different paces, so what is older than a day is forgotten by the clock of its own topic. Two of
10 000 names of one conversation share a hash with a probability of 3e-12. Forgetting costs at most ``_FORGOTTEN_AT_ONCE``
steps a call, twice what a call can add, so it keeps up.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from deskline.records import AGENTS, Event

DAY_MS: Final = 86_400_000
_FORGOTTEN_AT_ONCE: Final = 4
_MESSAGES: Final = frozenset({"message.received.v1", "message.sent.v1"})


class Seen(msgspec.Struct):
    """What a conversation's state remembers; goes into msgpack with it."""

    topics: dict[str, dict[int, int]] = {}
    """topic → hash of a counted name → broker timestamp of the record that counted (ms), oldest first."""

    def first(self, event: Event) -> bool:
        """Whether this record counts, and if so remember it. Records of a topic come in offset order."""
        topic = event.topic
        if topic == AGENTS:
            return True
        now = event.broker_at // 1000
        counted = self.topics.get(topic)
        if counted is None:
            counted = self.topics[topic] = {}
        else:
            _forget(counted, now)
        names = _names(event)
        if _counts_still(counted, names, now):
            return False
        for name in names:
            counted.pop(name, None)  # so that it moves to the young end
            counted[name] = now
        return True

    def knows(self, event: Event) -> bool:
        """Whether this record, read ahead, is a duplicate of one that has counted."""
        return _counts_still(self.topics.get(event.topic, {}), _names(event), event.broker_at // 1000)

    def has_counted(self, topic: str, event_type: str, message_id: str) -> bool:
        """Whether a message of this type and id has counted within the last day or so."""
        return _message(event_type, message_id) in self.topics.get(topic, {})


def _names(event: Event) -> list[int]:
    """Under which a record counts once."""
    name = _hash(f"id\n{event.source}\n{event.id}")
    return [_message(event.type, event.data.message_id), name] if event.type in _MESSAGES else [name]


def _counts_still(counted: dict[int, int], names: list[int], now: int) -> bool:
    for name in names:
        at = counted.get(name)
        if at is not None and now - at <= DAY_MS:
            return True
    return False


def _message(event_type: str, message_id: str) -> int:
    return _hash(f"message\n{event_type}\n{message_id}")


def _hash(name: str) -> int:
    """Of kind, source or type, and id: a URI-reference and a type hold no line break, so no two names look alike."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _forget(counted: dict[int, int], now: int) -> None:
    for _ in range(_FORGOTTEN_AT_ONCE):
        oldest = next(iter(counted), None)
        if oldest is None or now - counted[oldest] <= DAY_MS:
            return
        del counted[oldest]
