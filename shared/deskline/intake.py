"""What comes in from Kafka: fetched ahead, checked to be whole, held by lane, and handed out unit by unit.

Theory of operation
-------------------
Positions are the engine's; here is only what has been fetched beyond them. Records are decoded by the fetch itself, while
the unit at work waits for the database. Each record must carry the offset that
follows the one before. Where it does not, the range is fetched once more; if the broker really has nothing there, a
service that accepts gaps goes on behind it (the records are gone; waiting would not bring them back), and one that
must keep everything (``on_gap = "stop"``: the archive) stops that lane and nothing else. A position that lies before
the start of the broker's log is such a gap, too; one that lies behind the end means a rewritten topic: stop.

**Settling**: a record that a service wants to see only after what had been published before it on the lane's other
topics (``settle`` of the consumer) stays at the head of its topic until these have been read to the ends that were
asked for when it came there, and its own has been fetched as far as the service wants to look ahead (``ahead``).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from deskline.clock import now_us
from deskline.errors import FatalError, TransientError
from deskline.events.wire import decode
from deskline.kafka import Ends, to_record
from deskline.lanes import Lane
from deskline.metrics import EngineMetrics
from deskline.records import DEAD_LETTERS, Decoded, Event, Record, Unknown
from deskline.settings import ServiceSettings
from deskline.work import Consumer

log = structlog.get_logger(__name__)

Batch = list[tuple[Lane, list[Record], list[Decoded]]]
"""By lane: its records of one unit, and what each decoded to."""

# Records held in memory beyond the unit at work: two units, so that fetching overlaps deciding.
_PENDING_UNITS: Final = 2
# Records decoded between two looks at the event loop: about a millisecond.
_YIELD_EVERY: Final = 200
# A lane's topic that holds so many unconsumed records is not fetched further until half of them are gone.
_PAUSE_ABOVE: Final = 4000
# Records of one topic and lane that are held, when a service wants to look ahead of one. A paused partition is fetched
# again only below that: to want more would be to wait for ever.
_LOOK_AHEAD: Final = _PAUSE_ABOVE // 2
# Dead letters carry other records' bytes: they are archived, and never judged.
_NOT_AN_ENVELOPE: Final = Unknown("", "", "", "", 0)


def _not_judged(_record: Record) -> Decoded:
    return _NOT_AN_ENVELOPE


class Intake:
    """The records of the lanes that the engine owns at the moment."""

    def __init__(
        self, settings: ServiceSettings, consumer: Consumer, kafka: AIOKafkaConsumer, ends: Ends, metrics: EngineMetrics
    ) -> None:
        self.broker_away = False
        self.ahead: list[Event] = []
        """For ``Work.ahead`` of what was taken last."""
        self.fetch: asyncio.Task[dict[TopicPartition, list[tuple[Record, Decoded]]]] | None = None
        self._prefix = settings.topic_prefix
        self._unit_records = settings.max_unit_records
        self._service = consumer.name
        self._kafka = kafka
        self._ends = ends
        self._metrics = metrics
        self._lanes: Mapping[str, Lane] = {}
        self._paused: set[TopicPartition] = set()
        self._stop_on_gap: bool = getattr(consumer, "on_gap", "accept") == "stop"
        self._settle: Callable[[int, Event], int | None] | None = getattr(consumer, "settle", None)
        self._foresee: Callable[[Sequence[Event]], None] | None = getattr(consumer, "foresee", None)

    def hold(self, assigned: Iterable[TopicPartition]) -> None:
        """Newly assigned: nothing of them is fetched before their positions are known."""
        self._paused = set(assigned)
        if self._paused:
            self._kafka.pause(*self._paused)

    def begin(self, lanes: Mapping[str, Lane]) -> None:
        """Fetch from these lanes' positions on."""
        self._lanes = lanes
        for lane in lanes.values():
            for topic, position in lane.positions.items():
                tp = self._tp(topic, lane.partition)
                with contextlib.suppress(KafkaError, ValueError, AssertionError):
                    # Raises where the assignment has just changed again: then the lanes are acquired again, too. Where the
                    # record before the position is no longer there, the answer is "out of range", and leads to the position.
                    self._kafka.seek(tp, position - 1 if topic in lane.remembered else position)
                    self._kafka.resume(tp)
                    self._paused.discard(tp)

    def start_fetch(self) -> None:
        if self.fetch is None and self._lanes:
            # What waits for another topic to be read further must not keep that from being fetched; of itself it is
            # bounded by the pause of its partition.
            held = sum(lane.waiting for lane in self._lanes.values() if lane.settle is None)
            if held < self._unit_records * _PENDING_UNITS:
                self.fetch = asyncio.create_task(self._fetch())

    async def _fetch(self) -> dict[TopicPartition, list[tuple[Record, Decoded]]]:
        length = len(self._prefix)
        fetched: dict[TopicPartition, list[tuple[Record, Decoded]]] = {}
        for tp, messages in (await self._kafka.getmany(timeout_ms=1000, max_records=self._unit_records)).items():
            judge = decode if tp.topic[length:] != DEAD_LETTERS else _not_judged
            found = fetched[tp] = []
            for start in range(0, len(messages), _YIELD_EVERY):
                records = [to_record(message, length) for message in messages[start : start + _YIELD_EVERY]]
                found += [(record, judge(record)) for record in records]
                await asyncio.sleep(0)
        if self._foresee is not None:
            self._foresee([result for found in fetched.values() for _, result in found if isinstance(result, Event)])
        return fetched

    def discard_fetch(self) -> None:
        """Nobody needs the answer that has come, not even its exception."""
        if self.fetch is not None and self.fetch.done():
            if not self.fetch.cancelled():
                self.fetch.exception()
            self.fetch = None

    async def absorb(self) -> None:
        """Take what the fetch brought into the lanes, checking that each offset is the one that follows."""
        if self.fetch is None or not self.fetch.done():
            return
        fetch, self.fetch = self.fetch, None
        try:
            fetched = fetch.result()
        except OffsetOutOfRangeError as error:
            await self._out_of_range(error)
            return
        except KafkaError as error:
            self.broker_away = True
            if type(error) is KafkaError:
                # aiokafka's own fetcher has ended by an assertion of its (a broker that was killed can bring it there). It
                # does not come back, and would look like an absent broker for ever.
                raise FatalError("the Kafka client has stopped fetching: only a new process helps") from error
            raise TransientError(f"fetching failed: {type(error).__name__}") from error
        self.broker_away = False
        for tp, records in fetched.items():
            lane = self._lane(tp)
            if lane is not None and lane.blocked is None:
                self._append(lane, tp, records)

    def _append(self, lane: Lane, tp: TopicPartition, records: Sequence[tuple[Record, Decoded]]) -> None:
        topic = tp.topic[len(self._prefix) :]
        pending = lane.pending[topic]
        expected = lane.expected[topic]
        for both in records:
            offset = both[0].offset
            if offset < expected:
                same = lane.remembered.pop(topic, None) if offset == expected - 1 else None
                if same is not None and not same(both[0]):
                    self.block(
                        lane,
                        f"{topic}/{lane.partition}: offset {offset} is not the record that was consumed there; the topic was made anew",
                    )
                    return
                continue
            if offset > expected and not self._gap(lane, topic, expected, offset):
                break
            pending.append(both)
            expected = offset + 1
        lane.expected[topic] = expected
        if len(pending) > _PAUSE_ABOVE:
            self._pause(tp)

    def _gap(self, lane: Lane, topic: str, expected: int, found: int) -> bool:
        """True: the broker really has nothing between; go on behind the gap. What lies before it is consumed first."""
        if lane.gap_seen.get(topic) != expected or lane.pending[topic]:
            lane.gap_seen[topic] = expected
            self._kafka.seek(self._tp(topic, lane.partition), expected)
            return False
        return self._missing(lane, topic, expected, found)

    def _missing(self, lane: Lane, topic: str, expected: int, found: int) -> bool:
        """Offsets from ``expected`` up to ``found`` do not exist. True: go on behind them."""
        self._metrics.gaps.labels(self._service, topic).inc()
        if self._stop_on_gap:
            self.block(lane, f"{topic}/{lane.partition}: offsets {expected} to {found - 1} are missing")
            return False
        log.error("offset gap", lane=lane.key, topic=topic, expected=expected, found=found)
        return True

    def block(self, lane: Lane, why: str) -> None:
        """This lane stops where it is, for a person to look at; the others go on."""
        lane.blocked = why
        log.error("lane stopped", lane=lane.key, why=why)
        for topic in lane.topics:
            lane.pending[topic].clear()  # Nobody takes it any more, and what is held keeps others from being fetched.
            self._pause(self._tp(topic, lane.partition))

    async def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        asked: Mapping[TopicPartition, int] = error.args[0] if error.args else {}
        lanes = {tp: lane for tp in asked if (lane := self._lane(tp)) is not None and lane.blocked is None}
        partitions = [(tp.topic[len(self._prefix) :], tp.partition) for tp in lanes]
        if not partitions:
            return
        first = await self._ends.beginnings(partitions)
        _, ends = await self._ends.ask(partitions)
        for (tp, lane), key in zip(lanes.items(), partitions, strict=True):
            topic = key[0]
            expected = lane.expected[topic]
            if expected > ends[key]:
                self.block(lane, f"{topic}/{lane.partition} ends at {ends[key]}, before our position {expected}")
            elif expected >= first[key] or lane.pending[topic]:
                # It was asked for while a leader moved, and is there; or what lies before the gap is consumed first.
                self._kafka.seek(tp, expected)
            elif self._missing(lane, topic, expected, first[key]):
                lane.expected[topic] = first[key]
                self._kafka.seek(tp, first[key])

    # --- handing out -------------------------------------------------------------------------------------------------

    async def take(self) -> Batch:
        """Records for one unit: lane after lane, topics in the service's order, at most ``max_unit_records``."""
        left = self._unit_records
        batch: Batch = []
        self.ahead = []
        for lane in self._lanes.values():
            if lane.blocked is not None or not lane.waiting:
                continue
            records: list[Record] = []
            decoded: list[Decoded] = []
            for topic in lane.topics:
                pending = lane.pending[topic]
                if not pending or left <= 0:
                    continue
                held = list(islice(pending, left))
                taken, results = [record for record, _ in held], [result for _, result in held]
                if self._settle is not None:
                    keep = await self._settled_prefix(lane, topic, results, records)
                    del taken[keep:], results[keep:]
                for _ in range(len(taken)):
                    pending.popleft()
                self._resume(lane, topic, pending)
                records += taken
                decoded += results
                left -= len(taken)
            if records:
                batch.append((lane, records, decoded))
        return batch

    async def _settled_prefix(self, lane: Lane, topic: str, results: Sequence[Decoded], taken: Sequence[Record]) -> int:
        """How many of these records may be consumed now."""
        assert self._settle is not None
        now = now_us()
        upto = [self._settle(now, result) if isinstance(result, Event) else None for result in results]
        first = next((index for index, instant in enumerate(upto) if instant is not None), None)
        if first is None:
            return len(results)
        after = dict(lane.positions)
        for record in taken:
            after[record.topic] = record.offset + 1
        if lane.settle is None:
            _, ends = await self._ends.ask([(other, lane.partition) for other in lane.topics])
            lane.settle = {other: ends[other, lane.partition] for other in lane.topics}
        if any(after[other] < end for other, end in lane.settle.items() if other != topic):
            return first
        pending = lane.pending[topic]
        keep = len(results)
        if lane.expected[topic] < lane.settle[topic]:
            held_upto = pending[-1][0].broker_at
            keep = next((i for i, instant in enumerate(upto) if instant is not None and instant >= held_upto), keep)
            if len(pending) >= _LOOK_AHEAD:
                # So many in so short a time: half of them must do.
                keep = max(keep, min(len(results), len(pending) - _LOOK_AHEAD // 2))
        if keep > first:
            lane.settle = None
            self.ahead += [result for _, result in pending if isinstance(result, Event)]
        return keep

    # --- flow --------------------------------------------------------------------------------------------------------

    def _tp(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self._prefix + topic, partition)

    def _lane(self, tp: TopicPartition) -> Lane | None:
        topic = tp.topic[len(self._prefix) :]
        return next(
            (lane for lane in self._lanes.values() if lane.partition == tp.partition and topic in lane.topics), None
        )

    def _pause(self, tp: TopicPartition) -> None:
        with contextlib.suppress(KafkaError, ValueError, AssertionError):
            self._kafka.pause(tp)
            self._paused.add(tp)

    def _resume(self, lane: Lane, topic: str, pending: deque[tuple[Record, Decoded]]) -> None:
        if self._paused and len(pending) < _LOOK_AHEAD:
            tp = self._tp(topic, lane.partition)
            if tp in self._paused:
                self._paused.discard(tp)
                self._kafka.resume(tp)
