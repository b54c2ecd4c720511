"""``make bench ARGS='archive-life --messages N'``: the whole life of an archive, with a figure for each part of it.

N real-shaped messages over 30 topic partitions and five days (one of them beyond the floor) are ingested as the service does it
(veiled, with positions left out), sealed, closed, searched, exported, held, erased, copied to the cold store, retained, backed up
and restored. The claim of the archive's design is made for ``--messages 10000000``. Rates are of this process's CPU time where
they are about us, of the clock where the database does the work.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from tests.load.static import static_backlog

from benchmarks.drain import bench_stack
from benchmarks.figures import Figures, Floor
from deskline.clock import DAY, now_us, to_datetime
from deskline.errors import UsageError
from deskline.events.wire import decode
from deskline.postgres import Connection, connect
from deskline.records import Record
from deskline.service import tune_collector
from deskline_archive import drill, legal, sealing
from deskline_archive.cold import copy_segments
from deskline_archive.days import close_days
from deskline_archive.find import Finder, Looker, Question
from deskline_archive.home import prepare
from deskline_archive.places import place
from deskline_archive.policy import describe
from deskline_archive.settings import ArchiveSettings
from deskline_archive.signing import read_key
from deskline_archive.store import Store
from deskline_archive.veil import Vault
from deskline_archive.verifier import trusted_keys

PARTITIONS: Final = 30
_DAYS: Final = (200, 4, 3, 2, 1)
_UNIT: Final = 2000
_WHO: Final = Looker("bench", "supervisor")


def _records(messages: int) -> Iterator[list[Record]]:
    """Units as the engine makes them: one partition each, the days in order."""
    offsets = [0] * PARTITIONS
    today = now_us() // DAY
    for number, day in enumerate(_DAYS):
        share = messages // len(_DAYS)
        noon = (today - day) * DAY + DAY // 2
        held: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        for index, draft in enumerate(static_backlog(number + 1, share, noon)):
            at = noon - (share - index) * 2_000
            partition = crc32(draft.key or b"") % PARTITIONS
            held[partition].append(
                Record(draft.topic, partition, offsets[partition], at, draft.key, draft.value, tuple(draft.headers))
            )
            offsets[partition] += 1
            if len(held[partition]) == _UNIT:
                yield held[partition]
                held[partition] = []
        yield from (unit for unit in held if unit)


async def measure(figures: Figures, messages: int) -> None:
    # As the service does it.
    tune_collector()
    async with bench_stack({}) as stack:
        settings = stack.settings()
        with tempfile.TemporaryDirectory(prefix="deskline-archive-life-") as folder:
            own = ArchiveSettings(home=Path(folder) / "archive")
            prepare(own)
            connection = await connect(settings, "archive", patient=True)
            try:
                await _live(figures, connection, settings.topic_prefix, own, messages)
                await _restore(figures, settings, own, Path(folder))
            finally:
                await connection.close()


async def _live(figures: Figures, connection: Connection, prefix: str, own: ArchiveSettings, messages: int) -> None:
    file = own.vault_file
    assert file is not None
    count, cpu = 0, 0.0
    for vault, name in ((None, "archive_ingest_clear"), (file, "archive_ingest")):
        share = messages if vault is not None else min(messages, 100_000)
        count, cpu, wall = await _ingest(connection, Store(prefix, vault), share, keep=vault is not None)
        figures.show(
            name, count / cpu, "records/CPU-s", floor=_at_least(50_000),
            records=count, wall_records_per_s=round(count / wall),
        )  # fmt: skip
    keys = [read_key(path, own.name) for path in own.key_files()]
    sealer = sealing.Sealer(connection, keys, prefix, Vault.load(file))
    before = time.process_time()
    sealed = await sealer.seal(now_us(), 10_000)
    seals = time.process_time() - before
    figures.show("archive_seal", count / seals, "leaves/CPU-s", floor=_at_least(80_000), segments=len(sealed))
    await sealer.write_directory(place(own.checkpoint_place))
    began, before = time.perf_counter(), time.process_time()
    closed = await close_days(connection, file)
    figures.show(
        "archive_close_days",
        sum(messages for _, messages in closed) / (time.perf_counter() - began),
        "messages/s",
        days=len(closed),
    )
    # Of one core, where the index of a day's words is made by the process that stores the records.
    words = time.process_time() - before
    figures.show(
        "archive_everything", count / (cpu + words), "records/CPU-s", floor=_at_least(25_000),
        words_us=round(words / count * 1e6, 1), with_seals=round(count / (cpu + words + seals)),
    )  # fmt: skip
    await _search(figures, Finder(connection, prefix, Vault.load(file)))
    began, size = time.perf_counter(), 0
    known = [stream for stream in await sealing.streams(connection, prefix) if stream.number]
    sizes: list[int] = []
    for stream in known[:3]:
        await sealing.export(connection, stream, lambda text: sizes.append(len(text)), Vault.load(file))
    size = sum(sizes)
    figures.show("archive_export", size / 1e6 / (time.perf_counter() - began), "MB/s", partitions=len(known[:3]))
    began = time.perf_counter()
    copied = await copy_segments(connection, own, prefix)
    figures.show("archive_cold_copy", copied / (time.perf_counter() - began), "segments/s", segments=copied)
    await _persons(figures, connection, prefix, own, file)


def _at_least(least: int) -> Floor:
    return Floor(f"≥ {least:,}", lambda value, _: value >= least)


async def _ingest(connection: Connection, store: Store, messages: int, *, keep: bool) -> tuple[int, float, float]:
    """Decode, describe, veil, COPY. What makes the messages is not measured; ``keep`` False: rolled back."""
    count, cpu, wall = 0, 0.0, 0.0
    outer = connection.transaction()
    if not keep:
        await outer.start()
    for unit in _records(messages):
        began, used = time.perf_counter(), time.process_time()
        async with connection.transaction():
            await store.append(connection, unit, describe(unit, [decode(record) for record in unit]).descriptions)
        cpu, wall = cpu + time.process_time() - used, wall + time.perf_counter() - began
        count += len(unit)
    if not keep:
        await outer.rollback()
    return count, cpu, wall


async def _search(figures: Figures, finder: Finder) -> None:
    yesterday = to_datetime(now_us() - DAY).date()
    for name, question in (
        ("word", Question(text="退款", last=yesterday)), ("rare", Question(text="桃花源路", last=yesterday)),
        ("shop", Question(shop="衣橱", last=yesterday)), ("conversation", Question(conversation="s2-17", last=yesterday)),
    ):  # fmt: skip
        await _timed(figures, finder, name, question)


async def _timed(figures: Figures, finder: Finder, name: str, question: Question) -> None:
    took: list[float] = []
    hits = 0
    for _ in range(15):
        began = time.perf_counter()
        hits = len((await finder.search(question, _WHO)).hits)
        took.append((time.perf_counter() - began) * 1000)
    floor = Floor("< 50 ms", lambda value, _: value < 50) if name.startswith("word") else None
    figures.show(f"archive_search_{name}_ms", took, "ms", floor=floor, hits=hits)


async def _persons(figures: Figures, connection: Connection, prefix: str, own: ArchiveSettings, file: Path) -> None:
    old = to_datetime(now_us() - _DAYS[0] * DAY).date()
    rows: Sequence[Any] = await connection.fetch(
        "SELECT customer_id FROM raw_records WHERE customer_id IS NOT NULL AND broker_time < $1 LIMIT 1",
        to_datetime(now_us() - 190 * DAY),
    )
    customer = rows[0]["customer_id"]
    hold = await legal.hold(
        connection, prefix, legal.Hold("customer", customer, None, None), who="bench", why="case", until=None
    )
    store = Store(prefix)
    held = await _refused(store, connection, old)
    await legal.lift(connection, prefix, hold, who="bench", why="over")
    began = time.perf_counter()
    await legal.order(connection, prefix, customer, who="bench", why="letter")
    yesterday = to_datetime(now_us() - DAY).date()
    # Whoever is to be erased is left out from now on, which must not cost the others' searches anything.
    finder = Finder(connection, prefix, Vault.load(file))
    await _timed(figures, finder, "word_beside_restricted", Question(text="退款", last=yesterday))
    began = time.perf_counter()
    (done,) = await legal.erase_due(connection, prefix, file, [customer])
    await close_days(connection, file)
    await copy_segments(connection, own, prefix)
    figures.show("archive_erase_s", time.perf_counter() - began, "s", records=done.records, hold_refused=held)
    began = time.perf_counter()
    freed = await store.drop_day(connection, old)
    young = await _refused(store, connection, old + timedelta(days=_DAYS[0] - 3))
    figures.show(
        "archive_drop_day_ms",
        (time.perf_counter() - began) * 1000,
        "ms",
        freed_mb=round(freed / 1e6),
        younger_refused=young,
    )


async def _refused(store: Store, connection: Connection, day: Any) -> bool:
    try:
        await store.drop_day(connection, day)
    except UsageError:
        return True
    return False


async def _restore(figures: Figures, settings: Any, own: ArchiveSettings, folder: Path) -> None:
    file = own.vault_file
    assert own.home is not None
    assert file is not None
    began = time.perf_counter()
    made = await asyncio.to_thread(drill.backup, settings, folder)
    figures.show("archive_backup_s", time.perf_counter() - began, "s")
    trusted = trusted_keys((own.home / "trusted.txt").read_text())
    other = drill.Other(place(own.checkpoint_place), trusted, file, Vault.load(file))
    found = await drill.drill(settings, made, other, lambda text: print(f"  · {text}"))
    figures.show(
        "archive_drill_s",
        found.seconds,
        "s",
        records=found.restored,
        segments=found.segments,
        findings=len(found.findings),
    )
    for finding in found.findings[:5]:
        print(f"  {finding}")
