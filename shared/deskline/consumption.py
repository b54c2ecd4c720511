"""Exactly-once consumption: the engine that all four services run on.

Theory of operation
-------------------
Kafka delivers at least once; Postgres makes it once. The *position* in Postgres is the truth, the offsets committed to
Kafka afterwards are for lag tools. One **unit of work** is one Postgres transaction:

1. ``UPDATE lanes SET version = version + 1, offsets = … WHERE version = <expected>``: one statement locks the lanes,
   proves that nobody else has moved them since (compare-and-set), and moves the positions;
2. the service's effects (``Consumer.process``), decided from the records of the unit or from due timers;
3. one outbox row per lane with everything that is to be published;
4. commit. Then the rows are published, in order, and deleted with a later unit (``deskline.outbox``).

What may go wrong, and what happens:

* the process dies before 4: nothing happened, the next owner reads the same records again;
* it dies after 4: the next owner finds the positions moved and publishes the outbox rows before anything newer;
* the answer to COMMIT is lost: never retried; the lanes are *acquired* anew, which reads what is true;
* the process freezes while others take its lanes: acquiring bumps ``version``, so its next unit fails at step 1;
* the database or the broker is away: the lanes wait with back-off, membership is kept, nothing is skipped;
* a record cannot be handled: the unit is halved until that record stands alone, then it alone gets a dead letter
  (``failed``) and the rest goes on; where too many fail, the process stops (the poison breaker);
* nothing moves although records wait: the watchdog ends the process with exit code 1.

**Timers.** A service keeps rows with a ``due`` instant. The engine asks it for due ones once the lane's watermark
(``deskline.lanes``) has reached ``next_due``; the end offsets are asked for at that very moment, so a timer fires a
few milliseconds after the watermark allows it; for a service that wants them ``together``, in the very unit whose records bring the
watermark there. **Lanes** follow the Kafka group; safety never rests on its callbacks.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from deskline import lane_store
from deskline.clock import SECOND, now_us
from deskline.errors import FatalError, StaleError, TransientError
from deskline.events.deadletters import describe, failed_letter
from deskline.intake import Batch, Intake
from deskline.kafka import Ends, Publisher, group_consumer
from deskline.lanes import Lane, plan_lanes
from deskline.metrics import EngineMetrics
from deskline.outbox import Outbox, pack
from deskline.poison import PoisonBreaker
from deskline.postgres import TRANSIENT, Connection, connect, is_transient
from deskline.records import Decoded, Event, Output, Record
from deskline.settings import ServiceSettings
from deskline.tasks import end_all
from deskline.work import Consumer, Ripe, Same, Work

log = structlog.get_logger(__name__)

# Without any news the loop looks around this often (timers are woken exactly, see _watch_ends).
_IDLE_S: Final = 0.25
# End offsets are asked this often for lag and readiness; at once when a timer waits for them.
_ENDS_INTERVAL_S: Final = 0.2
# So long after the last question at the earliest: a question costs a millisecond of processor time here, and one of the broker's.
_ENDS_URGENT_S: Final = 0.01
# And this often while timers that may fire are being fired.
_ENDS_BESIDE_S: Final = 0.1
# Between two readings of what timers will need, while there are more of them.
_AHEAD_PAUSE_S: Final = 0.005
# Timers taken in one unit.
_DUE_LIMIT: Final = 1000
_KAFKA_COMMIT_S: Final = 5.0
# How often an instance of a service with a shared outbox looks for rows that others wrote for its lanes.
_LOOK_S: Final = 1.0
_BACK_OFF_S: Final = (0.05, 2.0)


class ConfigGate(Protocol):
    """The configuration, as far as the engine must wait for it (contract §3: lead)."""

    async def fresh(self, upto: int, timeout_s: float) -> bool: ...


@dataclass(slots=True)
class _Tx:
    """``deskline.work.Tx``."""

    connection: Connection
    co_partitioned: bool
    by_lane: dict[str, list[Output]] = field(default_factory=dict)
    dues: dict[int, int] = field(default_factory=dict)

    def emit(self, lane: int, output: Output) -> None:
        self.by_lane.setdefault(str(lane), []).append(output)

    def emit_for(self, record: Record, output: Output) -> None:
        key = str(record.partition) if self.co_partitioned else f"{record.topic}/{record.partition}"
        self.by_lane.setdefault(key, []).append(output)

    def next_due(self, lane: int, due: int) -> None:
        known = self.dues.get(lane)
        if known is None or due < known:
            self.dues[lane] = due


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._engine.give_up(revoked)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._engine.take_over(assigned)


class Engine:
    """Runs one ``Consumer`` in one process."""

    def __init__(
        self,
        settings: ServiceSettings,
        consumer: Consumer,
        *,
        ends: Ends,
        metrics: EngineMetrics,
        config: ConfigGate | None = None,
    ) -> None:
        self.settings = settings
        self.consumer = consumer
        self.lanes: dict[str, Lane] = {}
        self.started = False
        """A first assignment has been received and acquired (it may be empty: a standby)."""
        self.database_away = False
        self.last_progress_at = now_us()
        self._config = config
        self._ends = ends
        self._metrics = metrics
        self._publisher = Publisher(settings, f"deskline-{consumer.name}-{settings.instance}")
        self.outbox = Outbox(self._publisher)
        self._breaker = PoisonBreaker(settings.poison_limit)
        self._by_tp: dict[tuple[str, int], Lane] = {}
        self._assigned: tuple[tuple[str, int], ...] = ()
        self._generation = 0
        self._acquired = -1
        self._rebalancing = True
        self._kafka = group_consumer(
            settings,
            f"{settings.topic_prefix}deskline-{consumer.name}",
            f"deskline-{consumer.name}-{settings.instance}",
        )
        self._intake = Intake(settings, consumer, self._kafka, ends, metrics)
        self._asking_failed = False
        self._connection: Connection | None = None
        self._unit_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._ends_wake = asyncio.Event()
        self._poked = False
        self._looking = False
        self._more_ahead = False
        self._stopping = False
        self._last_unit_at = 0.0
        self._co_partitioned: bool = getattr(consumer, "co_partitioned", True)
        self._shared_outbox: bool = getattr(consumer, "shared_outbox", False)
        self._together: bool = getattr(consumer, "together", False)
        self._prepare: Callable[[Connection, Mapping[int, int]], Awaitable[bool]] | None = getattr(
            consumer, "prepare", None
        )
        self._remembered: (
            Callable[[Connection, Mapping[tuple[str, int], int]], Awaitable[Mapping[tuple[str, int], Same]]] | None
        ) = getattr(consumer, "remembered", None)

    # --- the outside -------------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """Ask for a unit of work although no record has come."""
        self._poked = True
        self._wake.set()

    def look(self) -> None:
        """A unit merely to see whether there is anything: unlike ``poke`` no sign that something is left to do."""
        self._looking = True
        self._wake.set()

    def acquire_anew(self) -> None:
        """Somebody has moved a stopped lane's position in the database: read it, and go on from there."""
        self._acquired = -1
        self._wake.set()

    def stop(self) -> None:
        """Finish the unit at work, publish, and return from ``run``."""
        self._stopping = True
        self._wake.set()

    @property
    def broker_away(self) -> bool:
        """The last fetch, question or publication failed."""
        return self._asking_failed or self._intake.broker_away or self.outbox.broker_away

    @property
    def caught_up(self) -> bool:
        return (
            self.started
            and self._acquired == self._generation
            and not self.outbox.waiting
            and not self._poked
            and all(lane.caught_up and not lane.is_due for lane in self.lanes.values())
        )

    def timer_overdue_s(self, now: int) -> float:
        """For how long the earliest timer of the owned lanes has been due; 0 where none is."""
        dues = [lane.next_due for lane in self.lanes.values() if lane.next_due is not None]
        return max(0, now - min(dues)) / SECOND if dues else 0.0

    async def run(self) -> None:
        """Consume until ``stop``; raises ``FatalError`` where going on would do harm."""
        prefix = self.settings.topic_prefix
        tasks: list[asyncio.Task[Any]] = []
        try:
            counts = [await self._patiently(self._ends.partitions, topic) for topic in self.consumer.topics]
            lanes = counts[0] if self._co_partitioned else sum(counts)
            self._metrics.lanes_expected.labels(self.consumer.name).set(lanes)
            await self._patiently(self._publisher.start)
            self._kafka.subscribe([prefix + topic for topic in self.consumer.topics], listener=_Listener(self))
            await self._patiently(self._kafka.start)
            tasks = [asyncio.create_task(run()) for run in (self.outbox.run, self._watch_ends, self._commit_for_tools)]
            if self._shared_outbox:
                tasks.append(asyncio.create_task(self._listen()))
            main = asyncio.create_task(self._loop())
            done, _ = await asyncio.wait([main, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not main.done():
                raise FatalError("a background task of the engine ended")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_s):
                    await self.outbox.drained()
                    await self._delete_published()
        finally:
            if self._intake.fetch is not None:
                tasks.append(self._intake.fetch)
            await end_all(tasks)
            await self._kafka.stop()
            await self._publisher.stop()
            await self._disconnect()

    async def _patiently(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """At the start the broker may not be there yet: wait for it."""
        delay_s = _BACK_OFF_S[0]
        while True:
            try:
                return await call(*args)
            except (KafkaError, OSError, TransientError) as error:
                if self._stopping:
                    raise FatalError("stopped before the broker answered") from error
                self._asking_failed = True
                log.warning("waiting for the broker", error=str(error) or type(error).__name__)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _BACK_OFF_S[1])

    # --- the group ---------------------------------------------------------------------------------------------------

    async def give_up(self, revoked: Any) -> None:
        """Before others take our partitions: let the unit at work end and what it decided be published."""
        self._rebalancing = True
        self._generation += 1
        if not revoked:
            return
        # What stayed in the table, although it is published, the next owner would publish again.
        with contextlib.suppress(TimeoutError, *TRANSIENT):
            async with asyncio.timeout(self.settings.drain_s), self._unit_lock:
                await self.outbox.drained()
                await self._delete_published()
        self._drop_lanes()

    def take_over(self, assigned: Any) -> None:
        """The group has spoken; the lanes are acquired by the main loop, since exceptions here would be swallowed."""
        length = len(self.settings.topic_prefix)
        self._assigned = tuple((tp.topic[length:], tp.partition) for tp in assigned)
        self._generation += 1
        self._rebalancing = False
        self._intake.hold(assigned)
        self._wake.set()

    def _drop_lanes(self) -> None:
        self.lanes = {}
        self._by_tp = {}
        self.consumer.lanes_changed(frozenset())

    async def _acquire(self) -> None:
        """Own the assigned lanes: fence whoever had them, read what is true, publish what he left."""
        generation = self._generation
        async with self._unit_lock:
            self._drop_lanes()
            plan = list(plan_lanes(self.consumer.topics, self._assigned, co_partitioned=self._co_partitioned))
            connection = await self._connected()
            fresh = {key: Lane(key, partition, topics) for key, partition, topics in plan}
            await lane_store.acquire(connection, self._ends, fresh)
            await self.outbox.add(await lane_store.outbox_rows(connection, list(fresh)))
            if generation != self._generation:
                return
            self.lanes = fresh
            self._by_tp = {(topic, lane.partition): lane for lane in fresh.values() for topic in lane.topics}
            if self._remembered is not None:
                before = {key: lane.positions[key[0]] for key, lane in self._by_tp.items()}
                for key, same in (await self._remembered(connection, before)).items():
                    self._by_tp[key].remembered[key[0]] = same
            self.consumer.lanes_changed(frozenset(lane.partition for lane in fresh.values()))
            await self._refresh_dues(connection)
            self._intake.begin(fresh)
            self._acquired = generation
            self.started = True
            self.last_progress_at = now_us()
            self._poked = True
            self._ends_wake.set()
        log.info("lanes acquired", lanes=sorted(fresh), generation=generation)

    async def _refresh_dues(self, connection: Connection) -> None:
        if self.lanes:
            _, earliest = await self.consumer.due(
                connection, {lane.partition: Ripe(-1) for lane in self.lanes.values()}, 0
            )
            for lane in self.lanes.values():
                lane.next_due = earliest.get(lane.partition)

    # --- the main loop -----------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        delay_s = _BACK_OFF_S[0]
        failed_at = 0.0
        while not self._stopping:
            try:
                await self._turn()
                self.database_away = False
                if loop.time() - failed_at > 2 * _BACK_OFF_S[1]:
                    # A turn may succeed merely because what fails is still on its way.
                    delay_s = _BACK_OFF_S[0]
            except FatalError:
                raise
            except StaleError as error:
                log.warning("lanes moved on under another owner", error=str(error))
                self._abandon()
                await self._pause(1.0)
            except TRANSIENT as error:
                self.database_away = not isinstance(error, KafkaError)
                log.warning("waiting", error=str(error) or type(error).__name__, kind=type(error).__name__)
                self._abandon()
                await self._disconnect()
                await self._pause(delay_s)
                failed_at = loop.time()
                delay_s = min(delay_s * 2, _BACK_OFF_S[1])
            self._watchdog()

    def _abandon(self) -> None:
        """Nothing in memory is trusted any more: the next turn acquires the lanes anew."""
        self.consumer.aborted()
        self._acquired = -1

    async def _pause(self, seconds: float) -> None:
        """Wait, but not through a stop."""
        left = seconds
        while left > 0 and not self._stopping:
            await asyncio.sleep(0.02)
            left -= 0.02

    async def _turn(self) -> None:
        if self._rebalancing:
            await self._pause(0.05)
            return
        if self._acquired != self._generation:
            self._intake.discard_fetch()
            await self._acquire()
        self._intake.start_fetch()
        await self._wait()
        await self._intake.absorb()
        await self.outbox.room()
        async with self._unit_lock:
            if self._acquired != self._generation:
                return
            batch = await self._intake.take()
            due: dict[str, int] = {}
            if batch:
                if self._together:
                    due = await self._due(_read_upto(batch))
                await self._consume(batch, due)
            elif self._poked or self._looking:
                self._poked = self._looking = False
                await self._unit([], {})
            if not due:
                due = await self._due({})
                await self._fire(due)
            if len(due) < _DUE_LIMIT:
                await self._read_ahead()
        # aiokafka does not yield while records are buffered: heartbeats and HTTP live on this.
        await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Until there is something to do. Small units are paced, so that what gathers meanwhile shares one."""
        loop = asyncio.get_running_loop()
        waiting = sum(lane.waiting for lane in self.lanes.values() if lane.settle is None and lane.blocked is None)
        deadline = loop.time() + _IDLE_S
        if self._more_ahead:
            deadline = loop.time() + _AHEAD_PAUSE_S
        if waiting or self._poked or self._looking or any(lane.is_due for lane in self.lanes.values()):
            deadline = self._last_unit_at + self.settings.unit_interval_ms / 1000
            if waiting >= self.settings.max_unit_records // 4:
                deadline = 0.0
        self._wake.clear()
        while not self._stopping and (left := deadline - loop.time()) > 0:
            wake = asyncio.ensure_future(self._wake.wait())
            waits: set[asyncio.Future[Any]] = {wake}
            if self._intake.fetch is not None and not waiting:
                waits.add(self._intake.fetch)
            try:
                done, _ = await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                wake.cancel()
            if waiting or not done:
                return
            # News: let a little more of it gather if the last unit has only just begun.
            waiting = 1
            deadline = self._last_unit_at + self.settings.unit_interval_ms / 1000

    # --- units of work -----------------------------------------------------------------------------------------------

    async def _consume(self, batch: Batch, due: dict[str, int]) -> None:
        """One unit; where it fails for good, its timers by themselves, and halves of it, down to the one record that gets a dead
        letter.
        """
        try:
            await self._unit(batch, due)
        except Exception as error:
            # Whatever a decision raises must not stop the partition.
            if not _of_the_record(error):
                raise
            self.consumer.aborted()
            if due:
                await self._consume(batch, {})
                await self._fire(due)
                return
            count = sum(len(records) for _, records, _ in batch)
            if count == 1:
                await self._fail(batch[0][0], batch[0][1][0], batch[0][2][0], error)
                return
            for half in _halves(batch, count // 2):
                await self._consume(half, {})

    async def _fail(self, lane: Lane, record: Record, decoded: Decoded, error: Exception) -> None:
        log.error(
            "record failed for good",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=describe(error),
            frames=traceback.format_tb(error.__traceback__),
        )
        letter = failed_letter(record, error, service=self.consumer.name, topic_prefix=self.settings.topic_prefix)
        await self._unit([(lane, [record], [decoded])], {}, letter=letter)
        self._metrics.failed.labels(self.consumer.name).inc(
            exemplar={"record": f"{record.topic}/{record.partition}/{record.offset}"}
        )
        if self._breaker.failed(now_us()):
            raise FatalError(
                f"{self.settings.poison_limit} records failed within a minute: stopped before the topic is emptied "
                "into dead letters; see docs/operations/runbooks.md, poison storm"
            )

    async def _unit(
        self,
        batch: Batch,
        due: Mapping[str, int],
        *,
        letter: Output | None = None,
    ) -> None:
        self._last_unit_at = asyncio.get_running_loop().time()
        due_lanes = {str(lane) for lane in due.values()}
        lanes = [lane for lane, _, _ in batch]
        lanes += [self.lanes[key] for key in sorted(due_lanes) if key in self.lanes and self.lanes[key] not in lanes]
        work = self._work(batch, due)
        await self._configured(work)
        after = {lane.key: dict(lane.positions) for lane in lanes}
        last_at: dict[tuple[str, str], int] = {}
        for lane, records, _ in batch:
            for record in records:
                after[lane.key][record.topic] = record.offset + 1
                last_at[lane.key, record.topic] = record.broker_at
        connection = await self._connected()
        deleted = self.outbox.take_published()
        tx = _Tx(connection, self._co_partitioned)
        try:
            async with connection.transaction():
                await lane_store.fence(connection, lanes, after)
                if letter is None:
                    await self.consumer.process(tx, work)
                else:
                    tx.emit_for(batch[0][1][0], letter)
                rows = await lane_store.write_outbox(connection, tx.by_lane, pack, deleted)
                foreign = [key for key in tx.by_lane if key not in self.lanes]
                if foreign:
                    await lane_store.notify(connection, self.consumer.name, foreign)
                others = await self._rows_of_others(connection, rows)
        except BaseException:
            self.outbox.not_deleted(deleted)
            raise
        for lane in lanes:
            lane.version += 1
            for topic, offset in after[lane.key].items():
                lane.consumed(topic, offset, last_at.get((lane.key, topic), 0))
        self.consumer.committed()
        mine = [(seq, key, outputs) for seq, key, outputs in rows if key in self.lanes]
        await self.outbox.add(sorted([*mine, *others], key=lambda row: row[0]))
        for partition, instant in tx.dues.items():
            self._arm(self.lanes.get(str(partition)), instant)
        if batch:
            self.last_progress_at = now_us()
            self._metrics.records.labels(self.consumer.name).inc(len(work.records))
            self._breaker.handled(len(work.records))
        self._metrics.units.labels(self.consumer.name).inc()
        self._metrics.unit_seconds.labels(self.consumer.name).observe(
            asyncio.get_running_loop().time() - self._last_unit_at, _exemplar(batch)
        )

    def _work(self, batch: Batch, due: Mapping[str, int]) -> Work:
        if len(batch) == 1:
            _, records, decoded = batch[0]
        else:
            records = [record for _, part, _ in batch for record in part]
            decoded = [result for _, _, part in batch for result in part]
        positions = {
            (topic, lane.partition): offset for lane in self.lanes.values() for topic, offset in lane.positions.items()
        }
        for record in records:
            positions[record.topic, record.partition] = record.offset + 1
        upto = _read_upto(batch) if self._together else {}
        return Work(
            now=now_us(),
            records=records,
            decoded=decoded,
            events=[result for result in decoded if isinstance(result, Event)],
            due=due,
            watermarks={lane.partition: upto.get(key, lane.watermark) for key, lane in self.lanes.items()},
            positions=positions,
            ahead=self._intake.ahead if batch else (),
        )

    async def _configured(self, work: Work) -> None:
        """Wait until every configuration version that may be in force at the unit's times is known."""
        if self._config is None:
            return
        lead = int(self.settings.config_lead_s * SECOND)
        latest = max((event.at for event in work.events), default=0)
        upto = max(latest, work.now) - lead
        while not await self._config.fresh(upto, 5.0):
            log.warning("deciding waits for the configuration", upto=upto)
            if self._stopping:
                raise StaleError("stopping")
        work.now = max(work.now, now_us())

    async def _rows_of_others(
        self, connection: Connection, own: Sequence[tuple[int, str, Sequence[Output]]]
    ) -> list[tuple[int, str, Sequence[Output]]]:
        """Rows that other instances wrote for our lanes before ours (router: a match made elsewhere)."""
        if not self._shared_outbox or not self.lanes:
            return []
        mine = {seq for seq, _, _ in own}
        rows = await lane_store.outbox_rows(connection, list(self.lanes), above=self.outbox.last_seq(self.lanes))
        return [row for row in rows if row[0] not in mine]

    async def _listen(self) -> None:
        """Publish what other instances decide for our lanes; the notification is a hint, the look is the promise."""
        while True:
            try:
                connection = await connect(self.settings, self.consumer.name)
                try:
                    await connection.add_listener(lane_store.channel(self.consumer.name), lambda *_: self.poke())
                    while not connection.is_closed():
                        await asyncio.sleep(_LOOK_S)
                        self.look()
                finally:
                    connection.terminate()
            except TRANSIENT as error:
                log.warning("listening waits for the database", error=type(error).__name__)
                await asyncio.sleep(_LOOK_S)

    # --- timers ------------------------------------------------------------------------------------------------------

    def _arm(self, lane: Lane | None, instant: int) -> None:
        if lane is not None and (lane.next_due is None or instant < lane.next_due):
            lane.next_due = instant
            self._ends_wake.set()

    async def _due(self, upto: Mapping[str, int]) -> dict[str, int]:
        """Subject → lane of what is due once these lanes have been read up to these watermarks."""
        watermarks = [(lane, upto.get(key, lane.watermark)) for key, lane in self.lanes.items()]
        ripe = {lane.partition: lane.ripe(watermark) for lane, watermark in watermarks if lane.is_due_by(watermark)}
        if not ripe:
            return {}
        due, earliest = await self.consumer.due(await self._connected(), ripe, _DUE_LIMIT)
        for partition in ripe:
            self.lanes[str(partition)].next_due = earliest.get(partition)
        # Where nothing more may fire, the next question is due with the next timer.
        self._ends_wake.set()
        return dict(due)

    async def _read_ahead(self) -> None:
        """For timers that will be due; only in lanes that are not behind, where the next seconds of the clock come next."""
        caught_up = {
            lane.partition: lane.watermark for lane in self.lanes.values() if lane.caught_up and not lane.is_due
        }
        self._more_ahead = False
        if self._prepare is not None and caught_up:
            self._more_ahead = await self._prepare(await self._connected(), caught_up)

    async def _fire(self, due: dict[str, int]) -> None:
        if not due:
            return
        try:
            await self._unit([], due)
        except Exception as error:
            if not _of_the_record(error):
                raise
            self.consumer.aborted()
            if len(due) > 1:
                items = list(due.items())
                middle = len(items) // 2
                await self._fire(dict(items[:middle]))
                await self._fire(dict(items[middle:]))
                return
            ((subject, lane),) = due.items()
            log.error(
                "timer failed; tried again in a minute",
                subject=subject,
                lane=lane,
                error=describe(error),
                frames=traceback.format_tb(error.__traceback__),
            )
            self._metrics.failed.labels(self.consumer.name).inc()
            again_at = now_us() + 60 * SECOND
            await lane_store.postpone(await self._connected(), lane, subject, again_at)
            self._arm(self.lanes.get(str(lane)), again_at)

    async def _watch_ends(self) -> None:
        """Ask for the end offsets: regularly, and at once when a timer's instant has come."""
        clock = asyncio.get_running_loop().time
        while True:
            asked = clock()
            if self.lanes:
                try:
                    await self._hear_ends()
                    if self._asking_failed and self._remembered is not None:
                        # Who knows what has become of its topics meanwhile.
                        self.acquire_anew()
                    self._asking_failed = False
                except TransientError as error:
                    self._asking_failed = True
                    log.warning("the broker cannot be asked; the watermark stands still", error=str(error))
            while (wait_s := self._next_question_s(clock() - asked, now_us())) > 0:
                self._ends_wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._ends_wake.wait()

    def _next_question_s(self, since_s: float, now: int) -> float:
        """When to ask for the ends again: what may fire already does not wait for an answer, what becomes due beside it may.

        ``since_s`` is counted from the last question, so that news of timers, which come with every unit, never put it off.
        """
        wait_s = _ENDS_INTERVAL_S - since_s
        if self._asking_failed:
            return wait_s
        for lane in self.lanes.values():
            if not lane.ends:
                wait_s = min(wait_s, _ENDS_URGENT_S - since_s)
            if lane.next_due is None or lane.blocked is not None:
                continue
            if lane.is_due:
                wait_s = min(wait_s, _ENDS_BESIDE_S - since_s)
            else:
                wait_s = min(wait_s, max((lane.next_due - now) / SECOND + 0.001, _ENDS_URGENT_S - since_s))
        return wait_s

    async def _hear_ends(self) -> None:
        # Positions as they stood before the question: by the time of the answer the log has grown, and we with it.
        before = {key: lane.positions[key[0]] for key, lane in self._by_tp.items()}
        asked_at, ends = await self._ends.ask_log(list(before))
        for key, end in ends.items():
            lane = self._by_tp.get(key)
            if lane is None:
                continue
            topic = key[0]
            if end < before[key] and lane.blocked is None:
                why = f"{topic}/{lane.partition} ends at {end}, before our position {before[key]}"
                self._intake.block(lane, why)
            lane.heard(topic, asked_at, end)
        self._metrics.observe_lanes(self.consumer.name, self.lanes.values())
        if any(lane.is_due for lane in self.lanes.values()):
            self._wake.set()

    # --- housekeeping ------------------------------------------------------------------------------------------------

    async def _commit_for_tools(self) -> None:
        """Kafka's own offsets follow, for tools that show lag. Nothing here is relied upon."""
        while True:
            await asyncio.sleep(_KAFKA_COMMIT_S)
            prefix = self.settings.topic_prefix
            offsets = {
                TopicPartition(prefix + topic, lane.partition): offset
                for lane in self.lanes.values()
                for topic, offset in lane.positions.items()
            }
            if offsets:
                with contextlib.suppress(KafkaError):
                    await self._kafka.commit(offsets)
            async with self._unit_lock:
                with contextlib.suppress(*TRANSIENT):
                    await self._delete_published()

    async def _delete_published(self) -> None:
        if not self.outbox.has_published or self._connection is None:
            return
        rows = self.outbox.take_published()
        try:
            await lane_store.delete_outbox(self._connection, rows)
        except BaseException:
            self.outbox.not_deleted(rows)
            raise

    def _watchdog(self) -> None:
        """Records wait, everything answers, and nothing has moved for too long: only a new process helps."""
        if self.database_away or self.broker_away:
            self.last_progress_at = now_us()
            return
        waiting = any(lane.lag > 0 and lane.blocked is None for lane in self.lanes.values())
        if not waiting:
            self.last_progress_at = now_us()
        elif now_us() - self.last_progress_at > self.settings.stall_s * SECOND:
            raise FatalError(f"no position has moved for {self.settings.stall_s:.0f} s although records wait")

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self.settings, self.consumer.name)
        return self._connection

    async def _disconnect(self) -> None:
        closing, self._connection = self._connection, None
        if closing is not None:
            # A connection whose transaction failed is closed, not reused; terminate does not wait for the server.
            closing.terminate()


def _exemplar(batch: Batch) -> dict[str, str] | None:
    """The last record of a unit, by which its story is found in the logs and the archive; none of timers alone."""
    if not batch:
        return None
    last = batch[-1][1][-1]
    return {"record": f"{last.topic}/{last.partition}/{last.offset}"}


def _read_upto(batch: Batch) -> dict[str, int]:
    """Lane → its watermark once this batch has been consumed."""
    found = {}
    for lane, records, _ in batch:
        after = {record.topic: record.offset + 1 for record in records}
        last_at = {record.topic: record.broker_at for record in records}
        found[lane.key] = lane.read_upto(after, last_at)
    return found


def _of_the_record(error: Exception) -> bool:
    """False for what says nothing about the records of a unit: it is waited out, re-read or fatal, never bisected."""
    return not (isinstance(error, StaleError | FatalError) or is_transient(error))


def _halves(batch: Batch, size: int) -> tuple[Batch, Batch]:
    """The first ``size`` records and the rest; order within each lane is kept."""
    first: Batch = []
    second: Batch = []
    for lane, records, decoded in batch:
        cut = min(len(records), max(size, 0))
        if cut:
            first.append((lane, records[:cut], decoded[:cut]))
        if cut < len(records):
            second.append((lane, records[cut:], decoded[cut:]))
        size -= cut
    return first, second
