"""A lane: what one owner consumes in order, and how far it has got. The watermark of contract §5 is written here.

The watermark of a topic partition is the broker timestamp of the last record consumed, or, where the position has reached an
end offset, the instant at which that end was asked for; of a lane, the smallest over its topics. It never goes back
while the lane is owned, and stands still while the broker cannot be asked, because then nobody moves ``ends``.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from deskline.clock import SECOND
from deskline.records import Decoded, Record
from deskline.work import Ripe

# A timer that is due for longer than this belongs to a backlog: nobody who is caught up leaves one that long.
_OVERDUE_AFTER: Final = SECOND
# Answers of the broker that are kept until they are reached: at a question every ten milliseconds, a third of a second; then the last
# makes room for the next.
_UNREACHED: Final = 32


@dataclass(slots=True)
class Lane:
    """One lane of this instance. ``positions``: next offset by topic, as committed in Postgres."""

    key: str
    partition: int
    topics: tuple[str, ...]
    version: int = -1
    positions: dict[str, int] = field(default_factory=dict)
    next_due: int | None = None
    """A lower bound of the lane's earliest timer, µs."""
    overdue_upto: int = -1
    """Up to here timers were left over when the lane was last found behind, µs; stands still until they are told."""
    blocked: str | None = None
    """Why this lane has stopped for good (an offset gap, a rewritten topic); paged, never jumped over."""
    pending: dict[str, deque[tuple[Record, Decoded]]] = field(default_factory=dict)
    """Fetched and not yet consumed, each with what it decoded to."""
    expected: dict[str, int] = field(default_factory=dict)
    """Offset that the next fetched record must have."""
    gap_seen: dict[str, int] = field(default_factory=dict)
    """Offset at which a gap was seen once; seen again after seeking back, the broker really has nothing there."""
    remembered: dict[str, Callable[[Record], bool]] = field(default_factory=dict)
    """topic → whether this record is the one that was consumed last before the position; asked once."""
    settle: dict[str, int] | None = None
    """Ends that the topics must reach before the record at the head may be consumed; its own need only be held so far."""
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    """topic → (instant asked, µs; end offset), as the broker said last."""
    unreached: dict[str, deque[tuple[int, int]]] = field(default_factory=dict)
    """topic → answers whose end was not read up to at their time, both in ascending order: where records never cease, the end that
    was named last has always moved on.
    """
    marks: dict[str, int] = field(default_factory=dict)
    """topic → watermark, µs."""

    def reset(self, version: int, positions: dict[str, int]) -> None:
        """Begin anew at these positions: nothing fetched counts, nothing is known of the ends."""
        self.version = version
        self.positions = positions
        self.expected = dict(positions)
        self.pending = {topic: deque() for topic in self.topics}
        self.remembered = {}
        self.settle = None
        self.ends.clear()
        self.unreached.clear()
        self.marks.clear()

    @property
    def waiting(self) -> int:
        return sum(map(len, self.pending.values()))

    @property
    def watermark(self) -> int:
        """µs; 0 while nothing is known."""
        return self.read_upto()

    def read_upto(
        self, after: Mapping[str, int] = MappingProxyType({}), last_at: Mapping[str, int] = MappingProxyType({})
    ) -> int:
        """What the watermark is once records have been consumed up to these positions, the last with these broker timestamps."""
        return min(
            (
                max(self._mark(topic, after[topic]), last_at.get(topic, 0))
                if topic in after
                else self.marks.get(topic, 0)
                for topic in self.topics
            ),
            default=0,
        )

    def heard(self, topic: str, asked_at: int, end: int) -> None:
        """The broker said, when asked at ``asked_at``, that ``topic`` ends at ``end``."""
        self.ends[topic] = (asked_at, end)
        unreached = self.unreached.setdefault(topic, deque())
        # Of two answers with one end the later says more; a log that ends sooner than it did may never be read so far.
        while unreached and unreached[-1][1] >= end:
            unreached.pop()
        if len(unreached) == _UNREACHED:
            unreached.pop()
        unreached.append((asked_at, end))
        self._reached(topic)

    def consumed(self, topic: str, next_offset: int, broker_at: int) -> None:
        """Committed up to ``next_offset``; the last record of it has this broker timestamp."""
        self.positions[topic] = next_offset
        if broker_at > self.marks.get(topic, 0):
            self.marks[topic] = broker_at
        self._reached(topic)

    def _reached(self, topic: str) -> None:
        position = self.positions[topic]
        self.marks[topic] = self._mark(topic, position)
        unreached = self.unreached.get(topic)
        while unreached and unreached[0][1] <= position:
            unreached.popleft()

    def _mark(self, topic: str, position: int) -> int:
        """The watermark of a topic that has been read up to here."""
        asked_at = self.marks.get(topic, 0)
        for asked, end in self.unreached.get(topic, ()):
            if end > position:
                break
            asked_at = max(asked_at, asked)
        return asked_at

    @property
    def is_due(self) -> bool:
        """Its earliest timer may fire."""
        return self.is_due_by(self.watermark)

    def is_due_by(self, watermark: int) -> bool:
        return self.blocked is None and self.next_due is not None and self.next_due <= watermark

    def ripe(self, watermark: int) -> Ripe:
        """How far timers may fire at this watermark, and which of them are a backlog.

        The border stands while anything below it is left: what becomes due meanwhile stays new however long the backlog
        takes, and never has to queue behind it.
        """
        if self.next_due is None or self.next_due > self.overdue_upto:
            self.overdue_upto = watermark - _OVERDUE_AFTER
        return Ripe(watermark, self.overdue_upto)

    @property
    def caught_up(self) -> bool:
        """Nothing fetched waits, and every position is at an end that the broker has named."""
        return not self.waiting and all(
            topic in self.ends and self.positions[topic] >= self.ends[topic][1] for topic in self.topics
        )

    @property
    def lag(self) -> int:
        return sum(max(0, end - self.positions[topic]) for topic, (_, end) in self.ends.items())


def lane_key(topics: Sequence[str], partition: int, *, co_partitioned: bool) -> str:
    return str(partition) if co_partitioned else f"{topics[0]}/{partition}"


def plan_lanes(
    topics: Sequence[str], assigned: Sequence[tuple[str, int]], *, co_partitioned: bool
) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """(key, partition, topics) of each whole lane among the assigned topic partitions.

    A co-partitioned lane counts only when partition p of *every* topic is here: during a rebalance that changes the
    topic list a half lane must not run.
    """
    if not co_partitioned:
        for topic, partition in sorted(assigned):
            yield f"{topic}/{partition}", partition, (topic,)
        return
    have = set(assigned)
    for partition in sorted({partition for _, partition in assigned}):
        if all((topic, partition) in have for topic in topics):
            yield str(partition), partition, tuple(topics)
