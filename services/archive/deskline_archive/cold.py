"""The cold store: each segment as one Parquet file (zstd) with its manifest, in a directory or an object store.

A file has every record of its segment with what it decodes to, its leaf and its salt, so that it can be checked and searched
without us: DuckDB reads it in place. Contents stand in the clear there, for the sake of both; so the erasure of a person
makes the files that hold him anew, with his contents and salts gone and his leaves in place. The store must keep no older
versions of a file. The manifest has the seal with its checkpoint and the SHA-256 of the file.

pyarrow is imported here, and this module only by those who need it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deskline.clock import from_datetime, rfc3339
from deskline.errors import UsageError
from deskline_archive import sealing
from deskline_archive.find import ERASED, Finder, Found, Hit, Looker, Page, Question
from deskline_archive.places import Place, place
from deskline_archive.policy import CLEAR
from deskline_archive.store import load_queries
from deskline_archive.veil import name_of, vault_of
from deskline_archive.verifier import HASH, SALT, split
from deskline_archive.words import folded, text_of

if TYPE_CHECKING:
    from deskline.postgres import Connection
    from deskline_archive.settings import ArchiveSettings
    from deskline_archive.veil import Vault

SCHEMA: Final = pa.schema(
    [
        ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("broker_time", pa.timestamp("us", tz="UTC")),
        ("key", pa.binary()), ("headers", pa.binary()), ("value", pa.binary()),
        ("type", pa.string()), ("conversation", pa.string()), ("shop_id", pa.string()), ("customer_id", pa.string()),
        ("agent_id", pa.string()), ("erased", pa.bool_()), ("leaf", pa.binary()), ("salt", pa.binary()), ("generation", pa.int16()),
    ]
)  # fmt: skip


async def copy_segments(connection: Connection, own: ArchiveSettings, prefix: str) -> int:
    """Every segment that is not yet there, or that somebody was erased from since; how many."""
    store, vault, queries = place(own.cold_place), vault_of(own), load_queries()
    count = 0
    known = {stream.id: stream for stream in await sealing.streams(connection, prefix)}
    for row in await connection.fetch(queries["to_copy"], list(known)):
        await _copy(connection, store, vault, known[row["stream"]], row["number"], copied=row["copied"])
        count += 1
    return count


async def mend_copies(connection: Connection, own: ArchiveSettings, prefix: str, day: date) -> int:
    """Of a day that is about to go: look at each of its files, and make anew what is gone or is not what was written; how many.
    Raises ``UsageError`` where the database no longer has all of a segment.
    """
    store, vault, queries = place(own.cold_place), vault_of(own), load_queries()
    known = {stream.id: stream for stream in await sealing.streams(connection, prefix)}
    begin, count = datetime(day.year, day.month, day.day, tzinfo=UTC), 0
    for row in await connection.fetch(queries["copies_of_day"], begin, begin + timedelta(days=1), list(known)):
        try:
            raw = await asyncio.to_thread(store.read, row["name"] + ".parquet")
        except UsageError:
            raw = b""
        if hashlib.sha256(raw).hexdigest() == row["sha256"]:
            continue
        stream = known[row["stream"]]
        if await connection.fetch(queries["gone_by_day"], stream.id, row["first_offset"], row["next_offset"]):
            raise UsageError(
                f"{row['name']}.parquet is gone or is not what was written, and holds days that are in it alone: restore it"
            )
        await _copy(connection, store, vault, stream, row["number"], copied=False)
        count += 1
    return count


async def _copy(
    connection: Connection, store: Place, vault: Vault | None, stream: sealing.Stream, number: int, *, copied: bool
) -> None:
    queries = load_queries()
    seal = await connection.fetchrow(queries["seal"], stream.id, number - 1)
    assert seal is not None
    name = f"{stream.label}/{number:010d}"
    data = None
    if copied and await connection.fetch(queries["gone_by_day"], stream.id, seal["first_offset"], seal["next_offset"]):
        data = await _without(connection, store, name, stream)
    if data is None:
        data = await _segment(connection, stream, dict(seal), vault)
    digest = hashlib.sha256(data).hexdigest()
    segment = sealing.segment_of(dict(seal))
    manifest = {
        "origin": seal["origin"], "file": name + ".parquet", "sha256": digest, "bytes": len(data),
        "seal": {**sealing.seal_line(segment), "salts": None},
    }  # fmt: skip
    await asyncio.to_thread(store.write, name + ".parquet", data)
    await asyncio.to_thread(store.write, name + ".json", json.dumps(manifest, indent=1).encode())
    await connection.execute(queries["add_copy"], stream.id, number, name, digest, len(data))


async def _segment(connection: Connection, stream: sealing.Stream, seal: dict[str, Any], vault: Vault | None) -> bytes:
    segment = sealing.segment_of(seal)
    leaves, salts = split(segment.leaves, HASH), split(segment.salts, SALT)
    query = load_queries()["segment_rows"]
    rows = (
        []
        if segment.gap is not None
        else await connection.fetch(query, stream.id, segment.first_offset, segment.next_offset)
    )
    kept = [sealing.cleared(row, stream, vault) for row in rows]
    at = [row["offset"] - segment.first_offset for row in rows]

    def column(name: str) -> list[Any]:
        return [row[name] for row in rows]

    columns: dict[str, list[Any]] = {
        **{name: column(name) for name in ("offset", "broker_time", "key", "type", "shop_id", "customer_id", "agent_id", "generation")},
        "topic": [stream.topic] * len(rows),
        "partition": [stream.partition] * len(rows),
        "conversation": column("subject"),
        "headers": [None if body is None else body.headers for body, _ in kept],
        "value": [None if body is None else body.value for body, _ in kept],
        "erased": [body is None for body, _ in kept],
        "leaf": [leaves[each] for each in at],
        "salt": [None if body is None else salt or salts[each] for (body, salt), each in zip(kept, at, strict=True)],
    }  # fmt: skip
    return await asyncio.to_thread(
        _packed, pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)
    )


def _packed(table: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


async def _without(connection: Connection, store: Place, name: str, stream: sealing.Stream) -> bytes:
    """The file that is there, its erased contents gone: of a segment whose day the database has dropped."""
    raw = await asyncio.to_thread(store.read, name + ".parquet")
    table = await asyncio.to_thread(lambda: pq.read_table(io.BytesIO(raw)))
    rows = table.to_pylist()
    owners = [name_of(row["key"], stream.topic, stream.partition, row["offset"]) for row in rows]
    ended: dict[bytes, dict[int, datetime]] = {}
    for row in await connection.fetch(load_queries()["ended_since"], sorted(set(owners))):
        ended.setdefault(row["name"], {})[row["generation"]] = row["at"]
    plain = stream.topic.endswith(tuple(CLEAR))
    changed = False
    for row, owner in zip(rows, owners, strict=True):
        if row["erased"] or owner not in ended:
            continue
        if row["generation"] is None:
            # In the clear from the first: before there was a vault (or ids and numbers alone, which stay).
            over = not (plain and row["type"]) and max(ended[owner].values()) > row["broker_time"]
        else:
            over = row["generation"] in ended[owner]
        if over:
            row.update(headers=None, value=None, salt=None, erased=True)
            changed = True
    return _packed(pa.Table.from_pylist(rows, schema=SCHEMA)) if changed else raw


async def search_cold(
    connection: Connection, own: ArchiveSettings, prefix: str, question: Question, looker: Looker
) -> Page:
    """As ``Finder.search``, from the files. The database keeps the look, and says who is restricted."""
    if not own.cold_place:
        raise UsageError("which cold store? Give --state-dir or DESKLINE_ARCHIVE_COLD")
    finder = Finder(connection, prefix, None)
    finder.check(question, looker)
    if question.cursor is not None:
        raise UsageError("the cold store answers with one page; narrow the period")
    found = await asyncio.to_thread(_look, place(own.cold_place), prefix, question)
    if question.text is not None and looker.role != "investigator":
        # As in the database: a hit would tell that a restricted person said these words.
        found = [each for each in found if not await finder.hides(*each)]
    complete = len(found) < question.limit
    return Page(await finder.seen(found[: question.limit], looker, "search --cold", question), None, complete)


def _look(store: Place, prefix: str, question: Question) -> list[Found]:
    """All, newest first."""
    conditions = [
        (name, value)
        for name, value in (("conversation", question.conversation), ("shop_id", question.shop), ("agent_id", question.agent), ("type", question.kind))
        if value is not None
    ]  # fmt: skip
    wanted = None if question.text is None else folded(question.text)
    names = [name for name in store.names("", ".parquet") if name.startswith(prefix)]
    mine = _conversations(store, names, question.customer) if question.customer is not None else None
    found: list[tuple[datetime, Found]] = []
    for name in names:
        table = pq.read_table(io.BytesIO(store.read(name)))
        for column, value in conditions:
            table = table.filter(pc.equal(table[column], value))
        if mine is not None:
            table = table.filter(pc.is_in(table["conversation"], pa.array(sorted(mine), pa.string())))
        for row in table.to_pylist():
            day = row["broker_time"].date()
            if (question.first and day < question.first) or (question.last and day > question.last):
                continue
            if wanted is not None and wanted not in folded(text_of(row["value"])):
                continue
            found.append((row["broker_time"], (_hit(row), row["key"])))
    found.sort(key=lambda each: (each[0], *each[1][0][:3]), reverse=True)
    return [each for _, each in found]


def _conversations(store: Place, names: list[str], customer: str) -> set[str]:
    mine: set[str] = set()
    for name in names:
        table = pq.read_table(io.BytesIO(store.read(name)), columns=["customer_id", "conversation"])
        mine |= set(table.filter(pc.equal(table["customer_id"], customer))["conversation"].to_pylist())
    return mine - {None}


def _hit(row: dict[str, Any]) -> Hit:
    value: Any = ERASED if row["erased"] else None
    if row["value"] is not None:
        try:
            value = json.loads(row["value"])
        except (ValueError, RecursionError):
            value = row["value"].hex()
    return Hit(
        row["topic"], row["partition"], row["offset"], rfc3339(from_datetime(row["broker_time"])), row["type"],
        row["conversation"], row["shop_id"], row["customer_id"], row["agent_id"], value,
    )  # fmt: skip
