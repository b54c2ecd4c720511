"""Backups, and the proof that one can be restored.

A drill puts a backup into an empty cluster of its own, gives it the keys of the vault, stores what Kafka has had since, cuts
that into the segments that the checkpoints of the *other* store name, and recomputes every root. It touches the live database
only to note how it went. What a drill needs is what a restore needs: the backup, the vault, the checkpoints, the brokers.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from aiokafka import TopicPartition
from pydantic import SecretStr

from deskline.clock import now_us, to_datetime
from deskline.errors import FatalError, UsageError
from deskline.events.wire import decode
from deskline.kafka import free_consumer, to_record
from deskline.postgres import connect
from deskline.records import ALL_TOPICS, DEAD_LETTERS, Unknown
from deskline.stack.postgres import EmbeddedPostgres, find_binaries
from deskline_archive import sealing
from deskline_archive.legal import LOG
from deskline_archive.policy import describe
from deskline_archive.store import Store, load_keyring, load_queries
from deskline_archive.verifier import read_note

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deskline.postgres import Connection
    from deskline.records import Record
    from deskline.settings import ServiceSettings
    from deskline_archive.places import Place
    from deskline_archive.sealing import Stream, Trusted
    from deskline_archive.veil import Vault

_UNIT: Final = 2000
_QUIET_S: Final = 30.0


class Drill(NamedTuple):
    """How it went. ``findings`` are sentences; none: the backup can be restored, and holds what was sealed."""

    seconds: float
    restored: int
    replayed: int
    segments: int
    findings: list[str]


class _AsOfNow:
    """The other store without the checkpoints that come to it later."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sealed = set(place.names("", sealing.CHECKPOINT))
        self.read, self.write, self.remove = place.read, place.write, place.remove

    def names(self, folder: str, suffix: str) -> list[str]:
        found = self._place.names(folder, suffix)
        return [name for name in found if name in self._sealed] if suffix == sealing.CHECKPOINT else found


class Other(NamedTuple):
    """What a restore needs beside the backup: the other store, the keys that sign its checkpoints, and the vault."""

    checkpoints: Place
    trusted: Trusted
    vault_file: Path | None
    vault: Vault | None


def backup(settings: ServiceSettings, folder: Path) -> Path:
    """A base backup with the WAL it needs, in a new directory below ``folder``. The login must be allowed replication."""
    target = folder / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_us() / 1_000_000))
    words = [
        str(find_binaries().folder / "pg_basebackup"),
        "-D",
        str(target),
        "-Ft",
        # What is veiled does not shrink: the cheapest compression, for the rest.
        "-Z",
        "1",
        "-X",
        "stream",
        "-c",
        "fast",
    ]
    password = settings.postgres_password
    environment = os.environ | ({} if password is None else {"PGPASSWORD": password.get_secret_value()})
    done = subprocess.run(  # noqa: S603
        [*words, "-d", settings.postgres_dsn.get_secret_value()],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise UsageError(f"pg_basebackup: {done.stderr.strip()}")
    return target


async def drill(settings: ServiceSettings, source: Path, other: Other, say: Callable[[str], None]) -> Drill:
    """Restore, replay, recompute, compare."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="deskline-drill-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101, S103 - PostgreSQL may run under another account, which has to get through
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False, dies_with_parent=True)
        try:
            await asyncio.to_thread(server.restore, source)
            server.spawn()
            await asyncio.to_thread(server.wait_ready, 600)
            say(f"restored and recovered after {time.monotonic() - began:.1f} s")
            there = settings.model_copy(update={"postgres_dsn": SecretStr(moved(settings, server.port))})
            connection = await connect(there, "archive", patient=True)
            try:
                found = await recover(connection, settings, other, say)
            finally:
                await connection.close()
        finally:
            await asyncio.to_thread(server.stop, "immediate")
    return found._replace(seconds=time.monotonic() - began)


def moved(settings: ServiceSettings, port: int) -> str:
    """The same login and database on the restored cluster, which trusts whoever comes from this machine."""
    parts = urlsplit(settings.postgres_dsn.get_secret_value())
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}", query=""))


async def recover(connection: Connection, settings: ServiceSettings, other: Other, say: Callable[[str], None]) -> Drill:
    """Bring a restored database to now: from Kafka and the other store. Nobody else works on it meanwhile."""
    _, trusted, file, vault = other
    # A live archive may go on sealing what Kafka gets from now on: of that the restored one need not know.
    checkpoints = await asyncio.to_thread(_AsOfNow, other.checkpoints)
    if vault is not None:
        await load_keyring(connection, vault)
    restored = int(await connection.fetchval(load_queries()["stored"]))
    say(f"{restored} records are in the backup")
    missing = await explained(settings, checkpoints)
    replayed, findings = await replay(connection, settings, file if vault is not None else None, missing)
    say(f"{replayed} records came from Kafka since")
    entries = await restore_log(connection, settings.topic_prefix, checkpoints)
    say(f"{entries} entries of the archive's own log came from the other store")
    orders = await connection.fetchval(load_queries()["apply_log"], settings.topic_prefix + LOG)
    say(f"{orders} holds and orders of it were laid again")
    segments = 0
    for stream in await sealing.streams(connection, settings.topic_prefix):
        try:
            await adopt(connection, stream, checkpoints, trusted, vault)
        except FatalError as error:
            findings.append(str(error))
    for stream in await sealing.streams(connection, settings.topic_prefix):
        report = await sealing.verify(connection, stream, trusted, checkpoints, vault)
        segments += report.segments
        findings += [
            f"{report.label}: segment {each.segment}, offset {each.offset}: {each.kind}" for each in report.findings
        ]
    labels = sealing.strangers(await sealing.streams(connection, settings.topic_prefix), checkpoints)
    findings += [f"{label}: sealed, as the other store says, but not restored" for label in labels]
    say(f"{segments} roots were recomputed and compared with the other store")
    return Drill(0.0, restored, replayed, segments, findings)


async def explained(settings: ServiceSettings, checkpoints: Place) -> dict[TopicPartition, list[tuple[int, int]]]:
    """The gaps that were explained and sealed: the first offset of each and the one after it."""
    found: dict[TopicPartition, list[tuple[int, int]]] = {}
    for name in await asyncio.to_thread(checkpoints.names, "", sealing.GAP):
        topic, partition, _ = name.rsplit("/", 2)
        if topic.startswith(settings.topic_prefix):
            told = json.loads(await asyncio.to_thread(checkpoints.read, name))
            found.setdefault(TopicPartition(topic, int(partition)), []).append((told["first"], told["next"]))
    return found


async def restore_log(connection: Connection, prefix: str, checkpoints: Place) -> int:
    """Entries of the archive's own log that the backup lacks; how many."""
    queries, label, count = load_queries(), prefix + LOG, 0
    await connection.execute(queries["add_streams"], [label], [0])
    stream = await connection.fetchval(queries["log_stream"], label)
    there = {row["offset"] for row in await connection.fetch(queries["log"], stream, 0, 2**62)}
    for name in await asyncio.to_thread(checkpoints.names, f"{label}/0", sealing.ENTRIES):
        for line in (await asyncio.to_thread(checkpoints.read, name)).decode().splitlines():
            told = json.loads(line)
            if told["offset"] in there:
                continue
            at = to_datetime(told["at"])
            await connection.execute(queries["ensure_days"], at.date(), at.date())
            row = (told["offset"], at, told["key"].encode(), told["value"].encode(), told["type"])
            await connection.execute(queries["restore_log"], stream, *row)
            count += 1
    return count


async def replay(
    connection: Connection,
    settings: ServiceSettings,
    vault: Path | None,
    missing: Mapping[TopicPartition, Sequence[tuple[int, int]]],
) -> tuple[int, list[str]]:
    """Store what Kafka has behind the restored positions, up to where it ends now; what it no longer has is a finding, unless
    it is ``missing``: explained as a gap.
    """
    queries, count, findings = load_queries(), 0, list[str]()
    store = Store(settings.topic_prefix, vault)
    consumer = free_consumer(settings, "deskline-archive-drill")
    await consumer.start()
    try:
        prefix = settings.topic_prefix
        at = {}
        for row in await connection.fetch(queries["lanes"]):
            topic, _, number = row["lane"].rpartition("/")
            at[TopicPartition(prefix + topic, int(number))] = row["position"]
        known = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - no public call asks the broker anew
        new = {
            TopicPartition(prefix + topic, partition)
            for topic in ALL_TOPICS
            for partition in known.partitions_for_topic(prefix + topic) or ()
        } - at.keys()
        begins = await consumer.beginning_offsets([*at, *new])
        ends = await consumer.end_offsets([*at, *new])
        # Topic partitions that came after the backup.
        at |= {tp: begins[tp] for tp in new}
        for tp, gaps in missing.items():
            for first, following in sorted(gaps):
                if tp in at and first <= at[tp] < following:
                    at[tp] = following
        for tp in [tp for tp in at if begins[tp] > at[tp]]:
            label = f"{tp.topic[len(prefix) :]}/{tp.partition}"
            findings.append(
                f"{label}: Kafka no longer has offsets {at.pop(tp)} to {begins[tp] - 1}: the backup is too old"
            )
        behind = {tp for tp in at if at[tp] < ends[tp]}
        if behind:
            consumer.assign(list(behind))
            for tp in behind:
                consumer.seek(tp, at[tp])
        last_at = time.monotonic()
        while behind and time.monotonic() - last_at < _QUIET_S:
            for tp, messages in (await consumer.getmany(timeout_ms=1000, max_records=_UNIT)).items():
                records = [to_record(message, len(prefix)) for message in messages if message.offset < ends[tp]]
                if tp in behind and records:
                    last_at = time.monotonic()
                    await _stored(connection, store, records)
                    count += len(records)
                    at[tp] = records[-1].offset + 1
                if at[tp] >= ends[tp]:
                    behind.discard(tp)
        findings += [f"{tp.topic}/{tp.partition}: the broker does not deliver offset {at[tp]}" for tp in behind]
    finally:
        await consumer.stop()
    return count, findings


async def _stored(connection: Connection, store: Store, records: list[Record]) -> None:
    first = records[0]
    unjudged = Unknown("", "", "", "", 0)
    found = [unjudged if first.topic == DEAD_LETTERS else decode(record) for record in records]
    async with connection.transaction():
        await store.append(connection, records, describe(records, found).descriptions)
        lane = f"{first.topic}/{first.partition}"
        await connection.execute(load_queries()["advance"], lane, records[-1].offset + 1)


async def adopt(
    connection: Connection, stream: Stream, checkpoints: Place, trusted: Trusted, vault: Vault | None
) -> None:
    """Seal what was replayed as the other store's checkpoints say it was; the roots must come out the same."""
    sealer = sealing.Sealer(connection, [], "", vault)
    at, gaps = stream, set(checkpoints.names(stream.label, sealing.GAP))
    there = set(checkpoints.names(stream.label, sealing.CHECKPOINT))
    while True:
        name = f"{stream.label}/{sealing.file_name(at.number + 1)}"
        if name not in there:
            return
        note = checkpoints.read(name).decode()
        signed = read_note(note, trusted)
        if signed is None:
            raise FatalError(f"{name}: no trusted key has signed it")
        gap = sealing.beside(name, sealing.GAP)
        text = checkpoints.read(gap).decode() if gap in gaps else None
        at = await sealer.again(at, signed, note, text)
