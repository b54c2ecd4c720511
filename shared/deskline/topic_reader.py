"""Reading topics at the keyboard: outside any group, committing nothing, disturbing nobody."""

import contextlib
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from deskline.errors import TransientError, UsageError
from deskline.kafka import Ends, free_consumer, to_record
from deskline.records import Record
from deskline.settings import ServiceSettings

# Records of one poll: at 256 KiB each still no more than the consumer buffers anyway.
_POLL_RECORDS = 500


@contextlib.asynccontextmanager
async def opened(settings: ServiceSettings) -> AsyncIterator["TopicReader"]:
    """A reader; raises ``UsageError`` where the broker does not answer."""
    ends = Ends(settings, "deskline-cli-ends")
    consumer = free_consumer(settings, "deskline-cli")
    try:
        await consumer.start()
        yield TopicReader(settings, consumer, ends)
    except KafkaError as error:
        raise UsageError(f"Kafka at {settings.bootstrap_servers}: {type(error).__name__}: {error}") from error
    except TransientError as error:
        raise UsageError(str(error)) from error
    finally:
        await consumer.stop()
        await ends.stop()


class TopicReader:
    def __init__(self, settings: ServiceSettings, consumer: AIOKafkaConsumer, ends: Ends) -> None:
        self._prefix = settings.topic_prefix
        self._consumer = consumer
        self._ends = ends

    async def until_end(self, topic: str, *, since: int | None = None) -> AsyncIterator[Record]:
        """Every record of ``topic`` (logical name) from ``since`` (broker time, µs; None: the beginning) up to the end
        as it is now; by offset within a partition.
        """
        partitions = [(topic, partition) for partition in range(await self._ends.partitions(topic))]
        _, ends = await self._ends.ask(partitions)
        starts = await self._seek([topic], since)
        left = {tp: ends[topic, tp.partition] for tp in starts if starts[tp] < ends[topic, tp.partition]}
        while left:
            polled = await self._consumer.getmany(*left, timeout_ms=500, max_records=_POLL_RECORDS)
            for tp, messages in polled.items():
                for message in messages:
                    if message.offset < left[tp]:
                        yield to_record(message, len(self._prefix))
            for tp in list(left):
                if await self._consumer.position(tp) >= left[tp]:
                    del left[tp]

    async def follow(self, topics: Sequence[str], *, since: int | None) -> AsyncIterator[Record]:
        """Every record of the topics from ``since`` on (None: from now), without an end."""
        await self._seek(topics, since, at_end=since is None)
        while True:
            polled = await self._consumer.getmany(timeout_ms=200, max_records=_POLL_RECORDS)
            records = [to_record(message, len(self._prefix)) for messages in polled.values() for message in messages]
            # Partitions come one after the other: within a poll people want to see them by time.
            for record in sorted(records, key=lambda record: record.broker_at):
                yield record

    async def at(self, topic: str, partition: int, offset: int) -> Record:
        """The record at this position; raises ``UsageError`` where there is none."""
        where = f"{self._prefix}{topic}/{partition}/{offset}"
        if partition >= await self._ends.partitions(topic):
            raise UsageError(f"there is no record {where}: no such partition")
        _, ends = await self._ends.ask([(topic, partition)])
        beginnings = await self._ends.beginnings([(topic, partition)])
        first, end = beginnings[topic, partition], ends[topic, partition]
        if not first <= offset < end:
            raise UsageError(f"there is no record {where}: the broker has {first} to {end - 1}")
        tp = TopicPartition(self._prefix + topic, partition)
        self._consumer.assign([tp])
        self._consumer.seek(tp, offset)
        while await self._consumer.position(tp) <= offset:
            polled = await self._consumer.getmany(tp, timeout_ms=500, max_records=1)
            for message in polled.get(tp, ()):
                if message.offset == offset:
                    return to_record(message, len(self._prefix))
        raise UsageError(f"there is no record {where}")

    async def _seek(
        self, topics: Sequence[str], since: int | None, *, at_end: bool = False
    ) -> dict[TopicPartition, int]:
        """Stand at the beginning, at ``since`` or at the end of every partition; says where."""
        pairs = [(topic, number) for topic in topics for number in range(await self._ends.partitions(topic))]
        _, ends = await self._ends.ask(pairs)
        starts = dict(ends if at_end else await self._ends.beginnings(pairs))
        tps = {(topic, number): TopicPartition(self._prefix + topic, number) for topic, number in pairs}
        self._consumer.assign(list(tps.values()))
        if since is not None:
            found = await self._consumer.offsets_for_times(dict.fromkeys(tps.values(), max(since // 1000, 0)))
            starts = {pair: ends[pair] if found[tp] is None else found[tp].offset for pair, tp in tps.items()}
        for pair, tp in tps.items():
            self._consumer.seek(tp, starts[pair])
        return {tp: starts[pair] for pair, tp in tps.items()}
