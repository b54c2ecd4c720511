"""The Kafka client, set up so that it loses nothing: every default that could is stated here, once.

Three things are ours because aiokafka has no setting for them:

* header names that are not UTF-8 (librdkafka sends what it is given) raise inside aiokafka's fetcher and would block
  the partition for ever; ``install_lenient_headers`` re-reads such a batch with ``surrogateescape``;
* the end offsets of partitions are asked on a connection of their own (``Ends``): Kafka answers one connection's
  requests in order, so behind a long-polling fetch the answer would come half a second late; and of a watermark they are
  asked as another broker asks them, because a consumer is not told of records that are still being replicated;
* the partitioner is Kafka's murmur2, with the hash of a key remembered (pure Python costs 10 µs a key).
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher as _fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.helpers import create_ssl_context
from aiokafka.partitioner import murmur2
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from deskline.clock import now_us
from deskline.errors import TransientError
from deskline.records import Output, Record
from deskline.settings import ServiceSettings

# Above the largest max.message.bytes of any topic (dead letters: 5 MiB + 64 KiB), below what a broker would refuse:
# a smaller value makes aiokafka skip the record silently (aiokafka #1173).
MAX_FETCH_BYTES: Final = 8 * 1024 * 1024
# A whole unit of work fits one batch per partition; the topics' max.message.bytes bounds it from above (1 MiB, batches
# count whole, so stay below with room for headers).
MAX_BATCH_BYTES: Final = 900_000


# ``replica_id`` of a question that comes from no broker, but is answered like one of a follower: by the leader alone, and
# with the end of its log instead of that of what consumers may read. (-1 is a consumer, -2 may be answered by anybody.)
_A_FOLLOWER: Final = 2**31 - 1
_LATEST: Final = -1
_ASK_AGAIN_S: Final = 0.1


@lru_cache(maxsize=200_000)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner (the Java client's): murmur2 of the key bytes, positive, modulo the count."""
    return _hash(key) % partitions


# --- header names that are not UTF-8 ----------------------------------------------------------------------------------


class _LenientBytes(bytes):
    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)


class _LenientBuffer(bytearray):
    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _LenientBytes(found) if isinstance(index, slice) else found


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """The pure-Python batch reader over a buffer whose slices decode with ``surrogateescape``."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: Any = _LenientBuffer(self._buffer)


class _Batch:
    """aiokafka's batch; iterated by the C reader, and by the lenient one only where that fails."""

    def __init__(self, inner: Any, raw: Callable[[], bytes]) -> None:
        self._inner = inner
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._inner))
        except UnicodeDecodeError:
            return iter(list(_LenientBatch(bytearray(self._raw()))))


class _Records:
    """aiokafka's ``MemoryRecords`` with ``_Batch`` for its batches."""

    def __init__(self, data: bytes) -> None:
        self._inner = MemoryRecords(data)
        self._data = data
        self._at = 0

    def has_next(self) -> bool:
        return bool(self._inner.has_next())

    def size_in_bytes(self) -> int:
        return int(self._inner.size_in_bytes())

    def next_batch(self) -> _Batch | None:
        start = self._at
        inner = self._inner.next_batch()
        if inner is None:
            return None
        # A batch: base offset int64, length int32 of what follows.
        self._at = start + 12 + int(struct.unpack_from(">i", self._data, start + 8)[0])
        return _Batch(inner, lambda: self._data[start : self._at])


def install_lenient_headers() -> None:
    """Make every consumer of this process survive header names that are not UTF-8. Idempotent."""
    _fetcher.MemoryRecords = _Records


# --- clients ----------------------------------------------------------------------------------------------------------


def connection_options(settings: ServiceSettings) -> dict[str, Any]:
    """Address and credentials for every aiokafka client."""
    options: dict[str, Any] = {"bootstrap_servers": settings.bootstrap_servers}
    if settings.kafka_security_protocol != "PLAINTEXT":
        options["security_protocol"] = settings.kafka_security_protocol
        if "SSL" in settings.kafka_security_protocol:
            options["ssl_context"] = create_ssl_context(cafile=settings.kafka_ca_file)
        if settings.kafka_username is not None and settings.kafka_password is not None:
            options["sasl_mechanism"] = settings.kafka_sasl_mechanism
            options["sasl_plain_username"] = settings.kafka_username
            options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


def group_consumer(settings: ServiceSettings, group: str, client_id: str) -> AIOKafkaConsumer:
    """A member of ``group``. Positions live in Postgres, so nothing is committed automatically and nothing reset."""
    install_lenient_headers()
    session_ms = int(settings.session_timeout_s * 1000)
    return AIOKafkaConsumer(
        **connection_options(settings),
        group_id=group,
        client_id=client_id,
        group_instance_id=client_id if settings.static_membership else None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_uncommitted",
        # Range gives partition p of every co-partitioned topic to the same member.
        partition_assignment_strategy=[RangePartitionAssignor],
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=max(session_ms // 10, 200),
        # Twice the session: members that are finishing a unit of work must not be expelled for it.
        rebalance_timeout_ms=session_ms * 2,
        # One unit at a time is awaited; five minutes bound a database outage that stalls the loop between polls.
        max_poll_interval_ms=300_000,
        fetch_max_bytes=64 * 1024 * 1024,
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
        # aiokafka asks a broker one question at a time, of those partitions of which it holds nothing. After a unit of more than
        # 100 ms that are the quiet ones, and until the broker gives up on them nobody is asked for the busy ones: half a second
        # by default, in which the next long unit gathers. An idle consumer asks twenty times a second, for a hundredth of a core.
        fetch_max_wait_ms=50,
        request_timeout_ms=20_000,
        metadata_max_age_ms=60_000,
    )


def free_consumer(settings: ServiceSettings, client_id: str) -> AIOKafkaConsumer:
    """A consumer outside any group: for topics that every instance reads whole, and for asking offsets."""
    install_lenient_headers()
    return AIOKafkaConsumer(
        **connection_options(settings),
        client_id=client_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_uncommitted",
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
        request_timeout_ms=10_000,
    )


def producer(settings: ServiceSettings, client_id: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        **connection_options(settings),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_FETCH_BYTES,
        linger_ms=0,
        request_timeout_ms=10_000,
    )


def to_record(message: Any, prefix_length: int) -> Record:
    """Aiokafka's ``ConsumerRecord`` as ours; the topic loses the deployment's prefix."""
    return Record(
        message.topic[prefix_length:],
        message.partition,
        message.offset,
        message.timestamp * 1000,
        message.key,
        message.value,
        message.headers,
    )


class Publisher:
    """Publishes outputs in order. A group of outputs is acknowledged whole before the next group is sent, so a failure
    can never leave a later event of a conversation in front of an earlier one.
    """

    def __init__(self, settings: ServiceSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}

    async def start(self) -> None:
        await self._connected()

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            fresh = producer(self._settings, self._client_id)
            try:
                await fresh.start()
            except (KafkaError, OSError, asyncio.CancelledError):
                await fresh.stop()
                raise
            self._producer = fresh
        return self._producer

    async def stop(self) -> None:
        stopping, self._producer = self._producer, None
        if stopping is not None:
            await stopping.stop()

    async def _partition(self, client: AIOKafkaProducer, output: Output) -> int:
        topic = self._settings.topic_prefix + output.topic
        count = self._partitions.get(topic)
        if count is None:
            count = len(await client.partitions_for(topic))
            self._partitions[topic] = count
        if output.key is None:
            return 0
        return partition_of(output.key, count)

    async def publish(self, outputs: Iterable[Output]) -> None:
        """Return when every output is acknowledged by all in-sync replicas; raise ``TransientError`` otherwise (then
        any of them may or may not have been written: publish the same again).
        """
        try:
            client = await self._connected()
            by_partition: dict[tuple[str, int], list[Output]] = {}
            for output in outputs:
                target = (self._settings.topic_prefix + output.topic, await self._partition(client, output))
                by_partition.setdefault(target, []).append(output)
            if len(by_partition) == 1:
                ((target, only),) = by_partition.items()
                await self._publish_partition(client, target, only)
            else:
                sends = [self._publish_partition(client, target, group) for target, group in by_partition.items()]
                results = await asyncio.gather(*sends, return_exceptions=True)
                for result in results:
                    if isinstance(result, BaseException):
                        raise result
        except (KafkaError, OSError, TimeoutError) as error:
            # The idempotent sequence of this producer is no longer known to be whole: start a new one.
            await self._discard()
            raise TransientError(f"publishing failed: {type(error).__name__}") from error

    async def _discard(self) -> None:
        broken, self._producer = self._producer, None
        if broken is not None:
            # The broken producer may wait for the broker that is away; its remains are not needed.
            stopping = asyncio.ensure_future(broken.stop())
            stopping.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _publish_partition(
        self, client: AIOKafkaProducer, target: tuple[str, int], outputs: Sequence[Output]
    ) -> None:
        topic, partition = target
        batch = client.create_batch()
        for output in outputs:
            headers = list(output.headers)
            if output.source is not None:
                headers.append(("deskline-source", (self._settings.topic_prefix + output.source).encode()))
            if output.topic != "dead-letters.v1":
                headers.append(("content-type", b"application/cloudevents+json"))
            value = output.value
            if batch.append(key=output.key, value=value, timestamp=None, headers=headers) is None:
                await (await client.send_batch(batch, topic, partition=partition))
                batch = client.create_batch()
                batch.append(key=output.key, value=value, timestamp=None, headers=headers)
        await (await client.send_batch(batch, topic, partition=partition))


_Question = Callable[[AIOKafkaConsumer, Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


async def _log_ends(consumer: AIOKafkaConsumer, wanted: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """What ``end_offsets`` does, asked as a follower; there is no public call for it."""
    client = consumer._client  # noqa: SLF001
    while True:
        try:
            await client._maybe_wait_metadata()  # noqa: SLF001
            by_node: dict[int, dict[str, list[tuple[int, int]]]] = {}
            for topic, partition in wanted:
                node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
                if node is None or node == -1:
                    await client.add_topic(topic)
                    raise LeaderNotAvailableError(topic, partition)
                by_node.setdefault(node, {}).setdefault(topic, []).append((partition, _LATEST))
            answers = await asyncio.gather(
                *(
                    client.send(node, OffsetRequest(_A_FOLLOWER, 0, list(topics.items())))
                    for node, topics in by_node.items()
                )
            )
            return dict(end for answer in answers for end in _told(answer))
        except KafkaError as error:
            if not error.retriable:
                raise
            if error.invalid_metadata:
                await client.force_metadata_update()
            await asyncio.sleep(_ASK_AGAIN_S)


def _told(answer: Any) -> Iterator[tuple[TopicPartition, int]]:
    """The ends in an answer of ListOffsets; raises where the node does not know one."""
    for topic, partitions in answer.topics:
        for partition, error_code, _, offset, *_ in partitions:
            tp = TopicPartition(topic, partition)
            if error_code:
                raise for_code(error_code)(tp)
            yield tp, offset


class Ends:
    """Asks the broker for end offsets, on a connection that no fetch can block."""

    def __init__(self, settings: ServiceSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()
        self._unanswered_since: float | None = None

    @property
    def unanswered_s(self) -> float:
        """For how long the broker has been asked without an answer; 0 where the last question was answered."""
        return 0.0 if self._unanswered_since is None else time.monotonic() - self._unanswered_since

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            fresh = free_consumer(self._settings, self._client_id)
            try:
                await fresh.start()
            except BaseException:
                await fresh.stop()
                raise
            self._consumer = fresh
        return self._consumer

    async def ask(self, partitions: Sequence[tuple[str, int]]) -> tuple[int, Mapping[tuple[str, int], int]]:
        """(the instant before the question, µs; (logical topic, partition) → end of what can be read)."""
        return await self._offsets(partitions, lambda consumer, wanted: consumer.end_offsets(wanted))

    async def ask_log(self, partitions: Sequence[tuple[str, int]]) -> tuple[int, Mapping[tuple[str, int], int]]:
        """(the instant before the question, µs; (logical topic, partition) → end of the leader's log).

        Everything whose broker timestamp is at or before that instant lies below the end (contract §5, watermark): also what
        cannot be read yet, because the in-sync replicas do not have it. Those of a broker that was killed hold it back for
        seconds, and the end of what can be read stands still meanwhile as if nothing had come.
        """
        return await self._offsets(partitions, _log_ends)

    async def beginnings(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """(logical topic, partition) → the first offset that the broker still has."""
        return (await self._offsets(partitions, lambda consumer, wanted: consumer.beginning_offsets(wanted)))[1]

    async def _offsets(
        self, partitions: Sequence[tuple[str, int]], question: _Question
    ) -> tuple[int, Mapping[tuple[str, int], int]]:
        prefix = self._settings.topic_prefix
        wanted = [TopicPartition(prefix + topic, partition) for topic, partition in partitions]
        async with self._lock:
            if self._unanswered_since is None:
                self._unanswered_since = time.monotonic()
            try:
                consumer = await self._connected()
                asked_at = now_us()
                async with asyncio.timeout(5):
                    found = await question(consumer, wanted)
            except (KafkaError, OSError, TimeoutError) as error:
                await self._close()
                raise TransientError(f"the broker does not say its offsets: {type(error).__name__}") from error
            self._unanswered_since = None
        return asked_at, {(tp.topic[len(prefix) :], tp.partition): offset for tp, offset in found.items()}

    async def partitions(self, topic: str) -> int:
        """The partition count of a logical topic; raises ``TransientError`` while the topic does not exist."""
        async with self._lock:
            try:
                consumer = await self._connected()
                found = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - no public call asks the broker anew
                known = found.partitions_for_topic(self._settings.topic_prefix + topic)
            except (KafkaError, OSError, TimeoutError) as error:
                await self._close()
                raise TransientError(f"the broker does not say its topics: {type(error).__name__}") from error
        if not known:
            raise TransientError(
                f"topic {self._settings.topic_prefix + topic} does not exist; run: deskline topics apply"
            )
        return len(known)

    async def _close(self) -> None:
        closing, self._consumer = self._consumer, None
        if closing is not None:
            await closing.stop()

    async def stop(self) -> None:
        async with self._lock:
            await self._close()
