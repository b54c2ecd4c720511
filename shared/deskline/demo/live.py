"""What the board shows, gathered while it happens: every topic followed from its beginning, without a group; the archive
counted in PostgreSQL once a second; lag as the services say on ``/metrics``.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from deskline.clock import now_us
from deskline.demo.tally import Tally
from deskline.errors import TransientError
from deskline.events.wire import decode
from deskline.kafka import Ends, free_consumer, to_record
from deskline.records import ALL_TOPICS, CHECKPOINTS, REPLIES, ROUTING, Event
from deskline.stack.http import get, get_metrics, metric_sum
from deskline.stack.stack import Stack

_POLL_MS: Final = 50
# Decoding so many takes about 10 ms: the play's timers wait no longer than that.
_POLL_RECORDS: Final = 1000
_PROBE_S: Final = 1.0
# Above the patience of the shops, after which the router may still speak.
_QUIET_S: Final = 3.0
_ARCHIVED: Final = "SELECT count(*) FROM archive.records WHERE starts_with(topic, $1)"
Heard = Callable[[Event, int], None]


class Live:
    """``async with Live(...)``: from then on ``tally`` grows and ``heard`` is called with replies and routing."""

    def __init__(self, stack: Stack, tally: Tally, heard: Heard) -> None:
        self.tally = tally
        self.archived = 0
        self.lag: dict[str, int] = {}
        """Records not read yet, by service."""
        self._stack = stack
        self._heard = heard
        self._settings = stack.settings()
        self._consumer = free_consumer(self._settings, "deskline-demo")
        self._ends = Ends(self._settings, "deskline-demo-ends")
        self._partitions: list[tuple[str, int]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._database: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        for topic in ALL_TOPICS:
            self._partitions += [(topic, number) for number in range(await self._ends.partitions(topic))]
        mine = [TopicPartition(self._settings.topic_prefix + topic, number) for topic, number in self._partitions]
        self._consumer.assign(mine)
        await self._consumer.seek_to_beginning(*mine)
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._probe())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._consumer.stop()
        await self._ends.stop()
        if self._database is not None:
            self._database.terminate()

    def check(self) -> None:
        """Raise what ended one of the tasks, if anything did: a board that stands still must not look like a quiet one."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _follow(self) -> None:
        prefix = len(self._settings.topic_prefix)
        while True:
            polled = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            for messages in polled.values():
                for message in messages:
                    record = to_record(message, prefix)
                    decoded = decode(record)
                    if self.tally.add(record, decoded) and isinstance(decoded, Event):
                        self._told(decoded)
            # getmany does not yield while it has records.
            await asyncio.sleep(0)

    def _told(self, event: Event) -> None:
        if event.topic in (REPLIES, ROUTING):
            self._heard(event, now_us())

    # --- the archive and the services ---------------------------------------------------------------------------

    async def _probe(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(_PROBE_S)

    async def refresh(self) -> None:
        """Ask the archive and the services; what does not answer (it is being started again) keeps its last value."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            self.archived = await self._count_archived()
        for service, instances in self._stack.services.describe().items():
            answers = await asyncio.gather(*(get_metrics(each["http"]) for each in instances))
            if all(answer is not None for answer in answers):
                texts = [answer[1].decode("utf-8", "replace") for answer in answers if answer is not None]
                self.lag[service] = sum(int(metric_sum(text, "deskline_lag_records") or 0) for text in texts)

    async def _count_archived(self) -> int:
        if self._database is None or self._database.is_closed():
            self._database = await asyncpg.connect(self._stack.postgres_dsn, timeout=5)
        return int(await self._database.fetchval(_ARCHIVED, self._settings.topic_prefix, timeout=5))

    # --- the end ------------------------------------------------------------------------------------------------

    async def quiet(self, timeout_s: float) -> bool:
        """Wait until nothing moves any more: all followed and archived, services caught up, no record for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        async for moved_at in self._movements():
            self.check()
            if loop.time() > deadline:
                return False
            if loop.time() - moved_at >= _QUIET_S and await self._settled():
                return True
        return False

    async def _movements(self) -> AsyncIterator[float]:
        """Twice a second: when the ends of the topics were last seen to move."""
        loop = asyncio.get_running_loop()
        before, moved_at = 0, loop.time()
        # Seals come by the clock, however quiet it is.
        watched = [pair for pair in self._partitions if pair[0] != CHECKPOINTS]
        while True:
            with contextlib.suppress(TransientError):
                total = sum((await self._ends.ask(watched))[1].values())
                if total != before:
                    before, moved_at = total, loop.time()
                yield moved_at
            await asyncio.sleep(0.5)

    async def _settled(self) -> bool:
        try:
            _, ends = await self._ends.ask(self._partitions)
            for (topic, number), end in ends.items():
                followed = await self._consumer.position(TopicPartition(self._settings.topic_prefix + topic, number))
                if followed < end:
                    return False
        except (TransientError, KafkaError):
            return False
        await self.refresh()
        return self.archived >= sum(ends.values()) and await self._caught_up()

    async def _caught_up(self) -> bool:
        urls = [f"{each['http']}/readyz" for all_ in self._stack.services.describe().values() for each in all_]
        answers = await asyncio.gather(*map(get, urls))
        return all(answer is not None and json.loads(answer[1]).get("caught_up") is True for answer in answers)
