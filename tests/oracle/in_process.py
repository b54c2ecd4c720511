"""sla's own consumer on a real PostgreSQL, driven by a clock of the run's: what the engine promises it, and what may go wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg
from aiokafka.partitioner import murmur2
from prometheus_client import CollectorRegistry
from tests.checker import Settings
from tests.checker.log import Log
from tests.checker.records import Record as Judged
from tests.checker.validity import parse_time
from tests.oracle.histories import Draft, History, history
from tests.oracle.judge import Verdict, judge

from deskline.clock import SECOND
from deskline.config.book import ConfigBook
from deskline.events.wire import decode
from deskline.lanes import Lane
from deskline.postgres import connect
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SHOPS, SLA, Decoded, Event, Output, Record
from deskline.settings import ServiceSettings
from deskline.work import Work
from deskline_sla.app import SlaConsumer
from deskline_sla.handler import SlaFolding
from deskline_sla.metrics import Tally

PARTITIONS = 4
LATENESS = SECOND
LEAD_S = 5.0
BEGIN = parse_time("2026-11-19T16:00:00Z")
_TOPICS = (CONVERSATIONS, REPLIES, ROUTING)
_AFTER = 60 * 3600 * SECOND
"""Complaints have 48 hours; everything that runs out has run out by then."""


class KilledError(Exception):
    """The process died before its commit."""


@dataclass
class _Tx:
    """``deskline.work.Tx``."""

    connection: asyncpg.Connection[asyncpg.Record]
    outputs: list[tuple[int, Output]] = field(default_factory=list)
    dues: dict[int, int] = field(default_factory=dict)

    def emit(self, lane: int, output: Output) -> None:
        self.outputs.append((lane, output))

    def emit_for(self, record: Record, output: Output) -> None:
        self.outputs.append((record.partition, output))

    def next_due(self, lane: int, due: int) -> None:
        self.dues[lane] = min(due, self.dues.get(lane, due))


async def run(seed: int, conversations: int, settings: ServiceSettings) -> tuple[Verdict, Counter[str]]:
    """``settings``: of a migrated database that nobody else uses; what sla keeps there is removed first."""
    owner = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    try:
        await owner.execute("TRUNCATE sla.conversations, sla.overdue_clocks, sla.shadow_clocks, sla.reevaluations")
    finally:
        await owner.close()
    connection = await connect(settings, "sla")
    try:
        one = Run(seed, connection)
        # A day in November, ten in the morning in Shanghai, and the run's own hour.
        begin = BEGIN + one.chance.randint(0, 40) * 3600 * SECOND
        log, judged_by = await one.play(history(seed, conversations, begin))
    finally:
        await connection.close()
    return judge(log, judged_by), one.counts


class Run:
    """One history from its beginning to its end."""

    def __init__(self, seed: int, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.chance = random.Random(f"in process {seed}")
        self.counts: Counter[str] = Counter()
        self._connection = connection
        self._book = ConfigBook(LEAD_S)
        self._log: dict[tuple[str, int], list[Record]] = {}
        self._decoded: dict[tuple[str, int, int], Decoded] = {}
        self._out: list[Record] = []
        self._offsets = [0] * PARTITIONS
        self._shops: list[Record] = []
        self._lanes = [Lane(str(number), number, _TOPICS) for number in range(PARTITIONS)]
        self._now = 0
        self._arrived = 0

    async def play(self, history: History) -> tuple[Log, Settings]:
        """Everything that was written and told, for the checker."""
        for draft in history.drafts:
            self._arrive(draft)
        begin = history.drafts[0].arrives
        self._now = begin - SECOND
        for lane in self._lanes:
            lane.reset(0, dict.fromkeys(_TOPICS, 0))
        self._consumer = await self._instance()
        while not self._is_over(history):
            self._pass_time(history)
            await self._turn()
        # The last things run out: an hour at a time, then there is nothing left to wait for.
        for _ in range(_AFTER // (3600 * SECOND)):
            self._now += 3600 * SECOND
            await self._turn(everything=True)
        records = [*self._shops, *(record for records in self._log.values() for record in records), *self._out]
        judged = [Judged(*record) for record in sorted(records, key=lambda one: (one.topic, one.partition, one.offset))]
        return Log(judged), Settings(end_at=self._now, allowed_lateness_s=LATENESS / SECOND, config_lead_s=LEAD_S)

    # --- the broker ------------------------------------------------------------------------------------------------

    def _arrive(self, draft: Draft) -> None:
        partition = (murmur2(draft.subject.encode()) & 0x7FFFFFFF) % PARTITIONS if draft.topic != SHOPS else 0
        kept = self._shops if draft.topic == SHOPS else self._log.setdefault((draft.topic, partition), [])
        record = Record(
            draft.topic, partition, len(kept), draft.arrives // 1000 * 1000, draft.subject.encode(), draft.value, ()
        )
        kept.append(record)
        if draft.topic != SHOPS:
            self._decoded[draft.topic, partition, record.offset] = decode(record)

    def _end(self, topic: str, partition: int) -> int:
        """How many have arrived by now."""
        records = self._log.get((topic, partition), [])
        low, high = 0, len(records)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if records[middle].broker_at <= self._now else (low, middle)
        return low

    def _publish(self, outputs: Sequence[tuple[int, Output]]) -> None:
        for lane, output in outputs:
            # A crash between publishing and noting so writes the same bytes again.
            for _ in range(1 + (self.chance.random() < 0.01)):
                offset = self._offsets[lane]
                self._offsets[lane] += 1
                self._out.append(Record(SLA, lane, offset, self._now // 1000 * 1000, output.key, output.value, ()))

    # --- time ------------------------------------------------------------------------------------------------------

    def _is_over(self, history: History) -> bool:
        return self._now > history.ends_at and all(
            lane.positions[topic] >= len(self._log.get((topic, lane.partition), []))
            for lane in self._lanes
            for topic in _TOPICS
        )

    def _pass_time(self, history: History) -> None:
        chance = self.chance
        draw = chance.random()
        if draw < 0.006:
            self.counts["away for up to an hour"] += 1
            self._now += round(chance.uniform(60, 3600) * SECOND)
        elif draw < 0.3:
            self._now += round(chance.uniform(5, 60) * SECOND)
        else:
            self._now += round(chance.uniform(0.05, 5) * SECOND)
        while self._arrived < len(history.drafts) and history.drafts[self._arrived].arrives <= self._now:
            self._arrived += 1
        if self._arrived < len(history.drafts):
            # The last hours hold little but complaints.
            self._now = max(self._now, history.drafts[self._arrived].arrives - 600 * SECOND)
        while self._shops and self.counts["versions"] < len(self._shops):
            record = self._shops[self.counts["versions"]]
            if record.broker_at > self._now:
                break
            event = decode(record)
            assert isinstance(event, Event), event
            self._book.admit(event)
            self.counts["versions"] += 1

    # --- the service -----------------------------------------------------------------------------------------------

    async def _instance(self) -> SlaConsumer:
        """A new process: what was only in memory is gone."""
        made = SlaConsumer(SlaFolding(LATENESS, Tally(CollectorRegistry())), self._book, Tally(CollectorRegistry()))
        made.lanes_changed(frozenset(range(PARTITIONS)))
        _, earliest = await made.due(
            self._connection, {lane.partition: lane.ripe(lane.watermark) for lane in self._lanes}, 0
        )
        for lane in self._lanes:
            lane.next_due = earliest.get(lane.partition)
        return made

    async def _turn(self, *, everything: bool = False) -> None:
        chance = self.chance
        for lane in chance.sample(self._lanes, len(self._lanes)):
            ends = {topic: self._end(topic, lane.partition) for topic in _TOPICS}
            for topic, end in ends.items():
                lane.heard(topic, self._now, end)
            taken: list[Record] = []
            after = dict(lane.positions)
            for topic in _TOPICS:
                # Topics are read at different paces: now and then one of them stands still.
                room = ends[topic] - lane.positions[topic]
                count = room if everything else chance.choice((0, chance.randint(0, room), room, room))
                after[topic] += count
                taken += self._log.get((topic, lane.partition), [])[lane.positions[topic] : after[topic]]
            if taken:
                # What is due by then is fired with them, or behind them.
                upto = {lane.partition: lane.read_upto(after, _last_at(taken))}
                due = await self._due(upto) if chance.random() < 0.5 else {}
                await self._unit(lane, taken, due or {}, after)
        for _ in range(10_000):
            found = await self._due({})
            if found is None:
                return
            if found:
                await self._unit(None, [], found, {})
        raise AssertionError("timers fire without end")

    async def _due(self, upto: Mapping[int, int]) -> Mapping[str, int] | None:
        """None where nothing can be."""
        ripe = {}
        for lane in self._lanes:
            watermark = upto.get(lane.partition, lane.watermark)
            if lane.is_due_by(watermark):
                ripe[lane.partition] = lane.ripe(watermark)
        if not ripe:
            return None
        due, earliest = await self._consumer.due(self._connection, ripe, self.chance.choice((3, 50, 1000)))
        for partition in ripe:
            self._lanes[partition].next_due = earliest.get(partition)
        return due

    async def _unit(
        self, lane: Lane | None, taken: Sequence[Record], due: Mapping[str, int], after: Mapping[str, int]
    ) -> None:
        decoded = [self._decoded[record.topic, record.partition, record.offset] for record in taken]
        self._now += self.chance.randint(1000, 20_000)
        watermarks = {one.partition: one.watermark for one in self._lanes}
        if lane is not None:
            watermarks[lane.partition] = lane.read_upto(after, _last_at(taken))
        work = Work(
            now=self._now,
            records=taken,
            decoded=decoded,
            events=[event for event in decoded if isinstance(event, Event)],
            due=due,
            watermarks=watermarks,
            positions={},
        )
        tx = _Tx(self._connection)
        self.counts["units"] += 1
        try:
            async with self._connection.transaction():
                await self._consumer.process(tx, work)
                if self.chance.random() < 0.04:
                    raise KilledError
        except KilledError:
            self.counts["killed"] += 1
            self._consumer = await self._instance()
            return
        self._consumer.committed()
        if lane is not None:
            last_at = _last_at(taken)
            for topic, offset in after.items():
                lane.consumed(topic, offset, last_at.get(topic, 0))
        self._publish(tx.outputs)
        for partition, instant in tx.dues.items():
            owned = self._lanes[partition]
            if owned.next_due is None or instant < owned.next_due:
                owned.next_due = instant


def _last_at(taken: Sequence[Record]) -> dict[str, int]:
    """Broker timestamp of the last record of each topic."""
    return {record.topic: record.broker_at for record in taken}
