"""What the running service does beside its units of work: days ahead, seals, checkpoints in their places, how near loss is.

Each pass has a connection of its own, and one instance seals at a time (an advisory lock); the others find it taken and
go on. What fails is told, counted, and tried again with the next pass: the archive's ingest waits for none of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

import structlog

from deskline.clock import DAY, SECOND, now_us
from deskline.errors import FatalError, TransientError, UsageError
from deskline.kafka import Publisher
from deskline.postgres import TRANSIENT, connect
from deskline.tasks import end_all
from deskline_archive.handler import DAYS_AHEAD
from deskline_archive.places import place
from deskline_archive.sealing import Sealer
from deskline_archive.signing import read_key
from deskline_archive.store import Store, load_keyring, load_queries
from deskline_archive.veil import Vault, vault_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deskline.postgres import Connection
    from deskline.service import Runtime
    from deskline_archive.metrics import Metrics
    from deskline_archive.settings import ArchiveSettings

log = structlog.get_logger(__name__)

# A segment that is full waits so long at most; each look is one small query.
_EVERY_S: Final = 2.0
# Days and the broker's log starts change slowly.
_SLOWLY: Final = 15
# Erasures whose floor is over, days that have ended, segments for the cold store.
# For the first time a minute after the start, when everything has come up.
_HOURLY: Final = 1800


class Keeper:
    def __init__(
        self, runtime: Runtime, own: ArchiveSettings, metrics: Metrics, prepared_until: Callable[[int], None]
    ) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._own = own
        self._prepared_until = prepared_until
        self._metrics = metrics
        self._publisher = Publisher(runtime.settings, f"deskline-archive-seals-{runtime.settings.instance}")
        self._queries = load_queries()
        self._tidying: asyncio.Task[None] | None = None

    async def run(self) -> None:
        turn = 0
        try:
            while True:
                try:
                    await self.turn(slowly=turn % _SLOWLY == 0, hourly=turn % _HOURLY == _HOURLY // 60)
                    turn += 1
                except TRANSIENT as error:
                    # The engine tells that the servers are away.
                    log.warning("keeping waits", kind=type(error).__name__)
                await asyncio.sleep(_EVERY_S)
        finally:
            await end_all([self._tidying] if self._tidying is not None else [])
            await self._publisher.stop()

    async def turn(self, *, slowly: bool, hourly: bool) -> None:
        """One pass. Raises what is transient."""
        connection = await connect(self._settings, "archive")
        try:
            if slowly:
                # Of its own: the service's store remembers what a transaction of its has made, or not.
                today, store = now_us() // DAY, Store(self._settings.topic_prefix)
                await store.ensure_days(connection, range(today, today + DAYS_AHEAD + 1))
                self._prepared_until(today + store.days_ahead(today))
                last = await connection.fetchval(self._queries["last_drill"])
                self._metrics.last_drill.set(now_us() / SECOND if last is None else last.timestamp())
            await self._look_at_stopped(connection)
            await self._told("keys", lambda: self._load_keys(connection))
            await self._told("sealing", lambda: self._seal(connection))
            if hourly and (self._own.vault_file or self._own.cold_place):
                self._tidying = self._tidying or asyncio.create_task(self._told("tidying", self._tidy))
            if self._tidying is not None and self._tidying.done():
                done, self._tidying = self._tidying, None
                done.result()
        finally:
            await connection.close()
        if slowly:
            await self._near_loss()

    async def _told(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """What a person has to mend is told and shown; the next pass tries again."""
        gauge = self._metrics.keeping_failed.labels(what)
        try:
            await work()
            gauge.set(0)
        except (UsageError, FatalError) as error:
            gauge.set(1)
            log.error("the archive cannot be kept as it should", task=what, error=str(error))

    async def _load_keys(self, connection: Connection) -> None:
        """The database came back from a crash: its views need the keys, whether or not a record comes."""
        file = self._own.vault_file
        if file is not None and not await connection.fetchval(self._queries["keyring_size"]):
            await load_keyring(connection, await asyncio.to_thread(Vault.load, file))

    async def _seal(self, connection: Connection) -> None:
        files = self._own.key_files()
        if not files:
            return
        sealer = Sealer(
            connection,
            [read_key(file, self._own.name) for file in files],
            self._settings.topic_prefix,
            vault_of(self._own),
        )
        if not await sealer.free():
            return
        now, interval = now_us(), int(self._own.seal_interval_s * SECOND)
        try:
            for label, number, size in await sealer.seal(
                now, self._own.segment_records, interval=interval, patient=True
            ):
                log.info("sealed", stream=label, segment=number, tree_size=size)
                self._metrics.seals.inc()
        finally:
            # Also where one topic partition has a hole: the others are sealed.
            self._metrics.unsealed_age.set(await sealer.oldest_unsealed_s(now))
            await sealer.publish(self._publisher)
            if self._own.checkpoint_place:
                await sealer.write_directory(place(self._own.checkpoint_place))

    async def _tidy(self) -> None:
        """In a process of its own: it decodes whole days, and pyarrow is heavy."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deskline", "archive", "tidy",
            env=os.environ | {
                "DESKLINE_POSTGRES_DSN": self._settings.postgres_dsn.get_secret_value(),
                "DESKLINE_TOPIC_PREFIX": self._settings.topic_prefix,
            },
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            out, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise FatalError(out.decode(errors="replace")[-500:].strip() or f"exit code {process.returncode}")
        for line in out.decode(errors="replace").splitlines():
            log.info("tidied", what=line)

    async def _look_at_stopped(self, connection: Connection) -> None:
        """A partition whose gap was explained meanwhile goes on."""
        engine = self._runtime.engine
        stopped = [] if engine is None else [lane for lane in engine.lanes.values() if lane.blocked is not None]
        if engine is None or not stopped:
            return
        keys = [lane.key for lane in stopped]
        versions = dict(tuple(row) for row in await connection.fetch(self._queries["lane_versions"], keys))
        if any(versions.get(lane.key) != lane.version for lane in stopped):
            engine.acquire_anew()

    async def _near_loss(self) -> None:
        engine = self._runtime.engine
        if engine is None or not engine.lanes:
            return
        lanes = {(topic, lane.partition): lane for lane in engine.lanes.values() for topic in lane.topics}
        try:
            starts = await self._runtime.ends.beginnings(list(lanes))
        except TransientError:
            return
        now = now_us()
        self._metrics.observe_loss(
            {
                key: (lane.positions[key[0]] - starts[key], lane.marks.get(key[0], 0), lane.lag)
                for key, lane in lanes.items()
                if key in starts
            },
            now,
        )
