"""Seals, checks and exports what the archive holds, one topic partition after the other.

Sealing reads committed records only, from where the last seal ended, and writes each segment in one statement: a crash
leaves whole segments. The checkpoint then goes to its place and to ``checkpoints.v1``; what a crash left out there
goes with the next run, the same bytes. Nothing is sealed over a hole; one that a person has explained (table ``gaps``) is
a segment of its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from deskline.clock import MINUTE, SECOND, from_datetime, rfc3339, to_datetime
from deskline.errors import FatalError, UsageError
from deskline.ids import event_id
from deskline.records import CHECKPOINTS, Output
from deskline_archive.legal import LOG
from deskline_archive.signing import checkpoint_text, sign_note
from deskline_archive.store import load_queries
from deskline_archive.veil import name_of, salt_of, veil
from deskline_archive.verifier import (
    HASH,
    SALT,
    Body,
    Checker,
    Checkpoint,
    Finding,
    Segment,
    Tree,
    check_bodies,
    first_offset,
    gap_leaf,
    record_leaf,
    split,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from deskline.kafka import Publisher
    from deskline.postgres import Connection
    from deskline_archive.places import Place
    from deskline_archive.signing import SigningKey
    from deskline_archive.veil import Vault

Trusted: TypeAlias = Mapping[tuple[str, bytes], Ed25519PublicKey]

# Rows of one answer of the database: at a few kB each a few MB; the topics' largest ones together 256 MB.
_ROWS: Final = 1000
_KIND: Final = "archive.checkpoint.v1"
_HOUR: Final = 60 * MINUTE
CHECKPOINT: Final = ".checkpoint"
GAP: Final = ".gap"
ENTRIES: Final = ".entries"
_ANOTHER: Final = "the directory's checkpoint is another one"
# From a seal's commit to its file: a pass of the keeper goes on to it at once.
_PATIENCE_S: Final = 10.0
_NO_SALT: Final = bytes(SALT)
_body: Final = tuple.__new__


class Stream(NamedTuple):
    """A topic partition and where its last seal ended. ``topic`` is the full name."""

    id: int
    topic: str
    partition: int
    number: int
    next_offset: int | None
    tree: Tree
    sealed_at: int | None
    seen_at: int

    @property
    def label(self) -> str:
        return f"{self.topic}/{self.partition}"


class Sealer:
    """``vault``: of records that are veiled; None where none is."""

    def __init__(
        self, connection: Connection, keys: Sequence[SigningKey], prefix: str, vault: Vault | None = None
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._keys = keys
        self._prefix = prefix
        self._queries = load_queries()

    async def seal(
        self, now: int, segment_records: int, *, interval: int = _HOUR, patient: bool = False
    ) -> list[tuple[str, int, int]]:
        """Seal what is due: ``segment_records`` records that no seal covers, or any where the last seal is ``interval``
        (µs) old or there is none (``patient``: where the archive has known the topic partition for so long). Returns (topic partition, segment, records in its tree) of each.

        Raises ``FatalError`` where offsets do not follow each other, naming the places: nothing is sealed over a hole, and
        all other topic partitions are sealed nevertheless.
        """
        if not await self._connection.fetchval(self._queries["seal_lock"]):
            raise UsageError("the archive is being sealed by somebody else; both would write the same segments")
        try:
            return await self._seal(now, segment_records, interval, patient=patient)
        finally:
            await self._connection.execute(self._queries["seal_unlock"])

    async def free(self) -> bool:
        """Whether nobody else is sealing just now. Merely a look: ``seal`` takes the lock."""
        if not await self._connection.fetchval(self._queries["seal_lock"]):
            return False
        await self._connection.execute(self._queries["seal_unlock"])
        return True

    async def oldest_unsealed_s(self, now: int) -> float:
        """For how long the topic partition that has waited longest with stored records has had no seal, in seconds."""
        at = await self._connection.fetchval(self._queries["oldest_unsealed"], self._prefix)
        return 0.0 if at is None else max(0, now - from_datetime(at)) / SECOND

    async def _seal(
        self, now: int, segment_records: int, interval: int, *, patient: bool
    ) -> list[tuple[str, int, int]]:
        sealed, holes = [], []
        positions = {
            self._prefix + row["lane"]: row["position"]
            for row in await self._connection.fetch(self._queries["positions"])
        }
        for stream in await streams(self._connection, self._prefix):
            since = stream.seen_at if patient and stream.sealed_at is None else stream.sealed_at
            overdue = since is None or now - since >= interval
            position = positions.get(stream.label)
            if position is not None and stream.next_offset is None and patient and not overdue:
                if position < segment_records:
                    continue
            elif position is not None and stream.next_offset is not None:
                # What the service has stored beyond the last seal: mostly nothing, and then there is nothing to read.
                waiting = position - stream.next_offset
                if waiting <= 0 or (waiting < segment_records and not overdue):
                    continue
            at: Stream | None = stream
            try:
                while at is not None and (at := await self._segment(at, now, segment_records, whole=not overdue)):
                    sealed.append((at.label, at.number, at.tree.size))
            except FatalError as error:
                holes.append(str(error))
        if holes:
            raise FatalError("; ".join(holes))
        return sealed

    async def _segment(self, stream: Stream, now: int, most: int, *, whole: bool) -> Stream | None:
        """The stream after one more segment; None where there is nothing for one."""
        gap = None if stream.next_offset is None else await self._gap(stream, stream.next_offset)
        if gap is not None:
            following, explanation = gap
            first = stream.next_offset or 0
            leaf = gap_leaf(first, following, explanation)
            return await self._add(stream, now, (first, following), (leaf, b""), explanation)
        leaves, salts = list[bytes](), list[bytes]()
        first_or_none = await self._collect(stream, most, leaves, salts)
        if not leaves or first_or_none is None:
            return None
        offsets = first_or_none, first_or_none + len(leaves)
        if whole and len(leaves) < most and await self._gap(stream, offsets[1]) is None:
            return None
        return await self._add(stream, now, offsets, (b"".join(leaves), b"".join(salts)), None)

    async def _collect(self, stream: Stream, most: int, leaves: list[bytes], salts: list[bytes]) -> int | None:
        """The leaves of what follows the last seal, up to an explained gap; the first offset."""
        first = stream.next_offset
        async for found in batches(self._connection, stream.id, first or 0, None, most):
            if first is None:
                first = int(found[0]["offset"])
            for expected, row in enumerate(found, first + len(leaves)):
                body, own_salt = cleared(row, stream, self._vault)
                if row[0] != expected:
                    if leaves and await self._gap(stream, expected) is not None:
                        return first
                    raise FatalError(
                        f"{stream.label}: offset {expected} is not in the archive, but {row[0]} is. Nothing is sealed "
                        "behind it; find out who took it (deskline archive verify), and restore it from the backup. Where "
                        "Kafka had lost it: deskline archive gap"
                    )
                if body is None:
                    raise FatalError(f"{stream.label} offset {expected} was erased before it was sealed")
                self._leaf(stream, body, own_salt, leaves, salts)
        return first

    def _leaf(
        self, stream: Stream, body: Body, own_salt: bytes | None, leaves: list[bytes], salts: list[bytes]
    ) -> None:
        """A salt that comes from the record's key does not stand beside the leaf: it would outlive the key."""
        salt = own_salt or self._salt(stream, body.offset)
        leaves.append(record_leaf(body, salt))
        salts.append(_NO_SALT if own_salt is not None else salt)

    def _salt(self, stream: Stream, offset: int) -> bytes:
        """Of a record in the clear: never drawn, so that a restored archive comes to the same roots. Without a vault nothing can
        be erased, and there is nothing that a secret salt would hide.
        """
        name = b"\0salts " + stream.label.encode()
        if self._vault is None:
            return salt_of(name, offset)
        key = self._vault.key(name)
        if key is None:
            raise FatalError("the vault lacks the key of the salts: it is not that of this archive")
        return salt_of(key, offset)

    async def again(self, stream: Stream, signed: Checkpoint, note: str, gap: str | None = None) -> Stream:
        """The segment that a checkpoint names, made again from the stored records, or from the explanation of its gap; raises
        ``FatalError`` where its root is another one.
        """
        label = f"{stream.label} segment {signed.segment}"
        if signed.segment != stream.number + 1 or stream.next_offset not in {None, signed.first_offset}:
            raise FatalError(f"{label} does not follow what is there")
        leaves, salts = list[bytes](), list[bytes]()
        if gap is not None:
            leaves.append(gap_leaf(signed.first_offset, signed.next_offset, gap))
        async for found in batches(self._connection, stream.id, signed.first_offset, signed.next_offset):
            if gap is not None:
                raise FatalError(f"{label}: a gap was explained there, and offset {found[0]['offset']} is in it")
            for row in found:
                body, own_salt = cleared(row, stream, self._vault)
                if body is None or body.offset != signed.first_offset + len(leaves):
                    raise FatalError(
                        f"{label}: offset {signed.first_offset + len(leaves)} is not there, or cannot be read"
                    )
                self._leaf(stream, body, own_salt, leaves, salts)
        tree, proof = stream.tree.grown(b"".join(leaves))
        if (tree.size, tree.root()) != (signed.tree_size, signed.root):
            raise FatalError(f"{label}: its root is not what was signed")
        offsets = signed.first_offset, signed.next_offset
        await self._connection.execute(
            self._queries["add_seal"],
            *(stream.id, signed.segment, *offsets, tree.size, b"".join(leaves), b"".join(salts), b"".join(tree.peaks)),
            *(b"".join(proof), signed.origin, tree.root(), note, to_datetime(0), gap),
        )
        return stream._replace(number=signed.segment, next_offset=signed.next_offset, tree=tree)

    async def _gap(self, stream: Stream, offset: int) -> tuple[int, str] | None:
        """The offset after the gap that begins here, and its explanation."""
        row = await self._connection.fetchrow(self._queries["gap_at"], stream.id, offset)
        return None if row is None else (row["next_offset"], row["explanation"])

    async def _add(
        self, stream: Stream, now: int, offsets: tuple[int, int], packed: tuple[bytes, bytes], gap: str | None
    ) -> Stream:
        """``packed``: leaves and salts."""
        leaves, salts = packed
        number = stream.number + 1
        tree, proof = stream.tree.grown(leaves)
        origin = origin_of(self._keys[0].name, stream)
        note = sign_note(checkpoint_text(origin, tree.size, tree.root(), number, offsets), self._keys)
        await self._connection.execute(
            self._queries["add_seal"],
            *(stream.id, number, *offsets, tree.size, leaves, salts, b"".join(tree.peaks), b"".join(proof)),
            *(origin, tree.root(), note, to_datetime(now), gap),
        )
        return stream._replace(number=number, next_offset=offsets[1], tree=tree)

    async def write_directory(self, directory: Place) -> int:
        """Every checkpoint as a file ``<topic>/<partition>/<segment>.checkpoint``; how many were new. A file that is
        there already is left as it is: it is what ``verify`` compares with.
        """
        written = 0
        for stream in await streams(self._connection, self._prefix):
            there = await asyncio.to_thread(directory.names, stream.label, CHECKPOINT)
            known = set(there)
            for number, note, gap, *offsets in await self._connection.fetch(
                self._queries["notes"], stream.id, number_of(there)
            ):
                name = f"{stream.label}/{file_name(number)}"
                if name in known:
                    continue
                # Before the checkpoint, which says that both are there: what a restore cannot have from Kafka.
                if gap is not None:
                    await asyncio.to_thread(directory.write, beside(name, GAP), gap.encode())
                elif stream.topic == self._prefix + LOG:
                    entries = [
                        log_line(row) for row in await self._connection.fetch(self._queries["log"], stream.id, *offsets)
                    ]
                    await asyncio.to_thread(directory.write, beside(name, ENTRIES), "".join(entries).encode())
                await asyncio.to_thread(directory.write, name, note.encode())
                written += 1
        return written

    async def publish(self, publisher: Publisher) -> int:
        """Every checkpoint that is not yet on ``checkpoints.v1``, in order; how many."""
        published = 0
        while rows := await self._connection.fetch(self._queries["unpublished"], self._prefix):
            await publisher.publish([_event(dict(row), self._prefix) for row in rows])
            numbers = [row["stream"] for row in rows], [row["number"] for row in rows]
            await self._connection.execute(self._queries["add_published"], *numbers)
            published += len(rows)
        return published


def origin_of(name: str, stream: Stream) -> str:
    """The name of a tree: whose archive, which topic partition."""
    return f"{name}/{stream.topic}/{stream.partition}"


def file_name(number: int) -> str:
    return f"{number:010d}{CHECKPOINT}"


def beside(name: str, suffix: str) -> str:
    """The file beside a checkpoint: an explained gap's explanation, or the entries of the archive's own log."""
    return name.removesuffix(CHECKPOINT) + suffix


def log_line(row: Any) -> str:
    """An entry of the archive's own log, for a restore: no topic has it."""
    offset, at, key, value, kind = row
    told = {"offset": offset, "at": from_datetime(at), "key": key.decode(), "value": value.decode(), "type": kind}
    return json.dumps(told, ensure_ascii=False) + "\n"


def number_of(names: Sequence[str]) -> int:
    """The last segment without a missing one before it, of the names of checkpoints."""
    known = {int(name.rpartition("/")[2].removesuffix(CHECKPOINT)) for name in names}
    last = 0
    while last + 1 in known:
        last += 1
    return last


def _event(row: Mapping[str, Any], prefix: str) -> Output:
    subject = f"{row['topic'].removeprefix(prefix)}/{row['partition']}"
    note: str = row["note"]
    data = {"origin": row["origin"], "tree_size": row["tree_size"], "root": note.splitlines()[2], "note": note}
    envelope = {
        "specversion": "1.0",
        "id": event_id(subject, _KIND, str(row["number"])),
        "source": "/deskline/archive",
        "type": _KIND,
        "subject": subject,
        "time": rfc3339(from_datetime(row["sealed_at"])),
        "data": data,
    }
    return Output(CHECKPOINTS, subject.encode(), msgspec.json.encode(envelope))


async def streams(connection: Connection, prefix: str) -> list[Stream]:
    """Every topic partition of the deployment, by name."""
    found = []
    for row in await connection.fetch(load_queries()["sealed_to"], prefix):
        tree = Tree(row["tree_size"] or 0, split(row["peaks"] or b"", HASH))
        sealed_at = None if row["sealed_at"] is None else from_datetime(row["sealed_at"])
        found.append(
            Stream(
                row["id"],
                row["topic"],
                row["partition"],
                row["number"] or 0,
                row["next_offset"],
                tree,
                sealed_at,
                from_datetime(row["seen_at"]),
            )
        )
    return found


async def batches(
    connection: Connection, stream: int, first: int, following: int | None, most: int | None = None
) -> AsyncIterator[list[Any]]:
    """Stored records by offset, from ``first`` to before ``following``, at most ``most``; two with one offset come both."""
    query, end, seen = load_queries()["bodies"], 2**63 - 1 if following is None else following, 0
    while most is None or seen < most:
        limit = _ROWS if most is None else min(_ROWS, most - seen)
        found = await connection.fetch(query, stream, first, end, limit)
        if most is None and len(found) == limit and found[-1]["offset"] > found[0]["offset"]:
            # Others with the last offset may follow: it is read again with the next answer.
            found = [row for row in found if row["offset"] < found[-1]["offset"]]
            limit = len(found)
        if found:
            seen += len(found)
            yield found
        if len(found) < limit:
            return
        first = found[-1]["offset"] + 1


async def rows(connection: Connection, stream: int, first: int, following: int) -> AsyncIterator[Any]:
    """One after the other."""
    async for found in batches(connection, stream, first, following):
        for row in found:
            yield row


def cleared(row: Any, stream: Stream, vault: Vault | None) -> tuple[Body | None, bytes | None]:
    """The record (offset, broker time in µs, key, headers, value and generation come first) as Kafka had it, and the salt that comes from its key: None where it was stored in the clear, and then
    the seal has it. (None, None): its key has ended, it was erased.
    """
    offset, at, key, headers, value, generation = row[:6]
    salt = None
    if generation is not None:
        if vault is None:
            raise UsageError(
                "the records are veiled and the vault is not given: name DESKLINE_ARCHIVE_VAULT, or --state-dir"
            )
        secret = vault.key(key if key is not None else name_of(key, stream.topic, stream.partition, offset), generation)
        if secret is None:
            return None, None
        headers, value = veil(secret, stream.id, offset, headers, value)
        salt = salt_of(secret, offset)
    return _body(Body, (offset, at, key, headers, value)), salt


class Report(NamedTuple):
    """What a check of one topic partition came to. ``retired``: records that are gone by retention; ``erased``: whose
    content has ended with its key.
    """

    label: str
    segments: int
    records: int
    retired: int
    erased: int
    findings: list[Finding]


async def verify(
    connection: Connection, stream: Stream, trusted: Trusted, directory: Place | None, vault: Vault | None = None
) -> Report:
    """Everything that can be said of a topic partition: its seals, its records, and the directory's checkpoints."""
    queries = load_queries()
    gone = _Gone(await connection.fetch(queries["dropped"], stream.id))
    kept = {} if directory is None else await asyncio.to_thread(_kept, directory, stream.label)
    checker: Checker | None = None
    found: list[Finding] = []
    lacking: dict[int, str] = {}
    number = records = retired = erased = 0
    while row := await connection.fetchrow(queries["seal"], stream.id, number):
        segment = segment_of(dict(row))
        if checker is None:
            checker = Checker(row["origin"], trusted)
            early = await connection.fetch(queries["before"], stream.id, segment.first_offset)
            found += [Finding(segment.number, extra["offset"], "inserted") for extra in early]
        number = segment.number
        found += checker.segment(segment)
        held, lost, salts, veiled = [], set(), {}, {}
        async for record in rows(connection, stream.id, segment.first_offset, segment.next_offset):
            records += 1
            body, salt = cleared(record, stream, vault)
            if body is not None:
                held.append(body)
                if salt is not None:
                    salts[body.offset], veiled[body.offset] = salt, record
                continue
            offset = record["offset"]
            lost.add(offset)
            name = name_of(record["key"], stream.topic, stream.partition, offset)
            if vault is not None and vault.was_erased(name, record["generation"]):
                erased += 1
            else:
                found.append(Finding(number, offset, "unreadable: the vault lacks its key, and no erasure names it"))
        for finding in _reordered(check_bodies(with_salts(segment, salts), held), segment, stream, veiled, vault):
            if finding.kind == "deleted" and finding.offset in lost:
                continue
            if finding.kind == "deleted" and finding.offset in gone:
                retired += 1
            else:
                found.append(finding)
        note = kept.pop(number, None)
        if directory is not None and note is None:
            lacking[number] = segment.note
        elif directory is not None and note != segment.note:
            found.append(Finding(number, None, _ANOTHER))
    if directory is not None and lacking:
        found += await _still_lacking(directory, stream.label, lacking)
    found += [
        Finding(missing, first_offset(kept[missing], trusted), "sealed, as the directory says, but not in the archive")
        for missing in sorted(kept)
    ]
    return Report(stream.label, number, records, retired, erased, found)


class _Gone:
    """Offsets that retention took, by its ranges in order; of every kept record there is one."""

    def __init__(self, ranges: Sequence[Any]) -> None:
        self._firsts = [first for first, _ in ranges]
        # Of this range and all before it: a day that came again may lie within another.
        self._lasts = list(accumulate((last for _, last in ranges), max))

    def __contains__(self, offset: object) -> bool:
        at = bisect_right(self._firsts, offset) if isinstance(offset, int) else 0
        return at > 0 and self._lasts[at - 1] >= offset


async def _still_lacking(directory: Place, label: str, notes: Mapping[int, str]) -> list[Finding]:
    """What the directory says of these segments now. An archive at work goes on sealing, and writes its checkpoints in order a
    moment after: the last ones are waited for.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        kept = await asyncio.to_thread(_kept, directory, label)
        late = notes.keys() - kept.keys()
        if not late or max(kept, default=0) > min(late) or time.monotonic() >= until:
            break
        await asyncio.sleep(0.2)
    found = [Finding(number, None, "the directory has no checkpoint of it") for number in sorted(late)]
    other = (number for number, note in notes.items() if kept.get(number, note) != note)
    return found + [Finding(number, None, _ANOTHER) for number in other]


def _reordered(
    found: list[Finding], segment: Segment, stream: Stream, veiled: Mapping[int, Any], vault: Vault | None
) -> list[Finding]:
    """A veiled row that stands where another one belongs reads as noise there: it is cleared as if it stood where it came from.
    Bounded as in the verifier.
    """
    wrong = [at for _, at, kind in found if kind == "altered" and at is not None and at in veiled]
    if not 1 < len(wrong) <= 64:
        return found
    leaves = split(segment.leaves, HASH)
    moved = set()
    for at in wrong:
        for other in wrong:
            body, salt = cleared((other, *veiled[at][1:6]), stream, vault)
            if at == other or body is None or salt is None:
                continue
            times = (body.broker_at, veiled[other]["broker_at"])
            if any(
                record_leaf(body._replace(broker_at=time), salt) == leaves[other - segment.first_offset]
                for time in times
            ):
                moved.add(at)
    return [each._replace(kind="reordered") if each.offset in moved else each for each in found]


def with_salts(segment: Segment, salts: Mapping[int, bytes]) -> Segment:
    """The segment with the salts that come from keys in their places."""
    if not salts:
        return segment
    parts = split(segment.salts, SALT)
    for offset, salt in salts.items():
        if 0 <= offset - segment.first_offset < len(parts):
            parts[offset - segment.first_offset] = salt
    return segment._replace(salts=b"".join(parts))


def strangers(known: Sequence[Stream], directory: Place | None) -> list[str]:
    """Topic partitions with checkpoints in the directory of which the archive knows nothing at all."""
    if directory is None:
        return []
    labels = {stream.label for stream in known}
    return sorted({name.rpartition("/")[0] for name in directory.names("", CHECKPOINT)} - labels)


def _kept(directory: Place, label: str) -> dict[int, str]:
    return {
        int(name.rpartition("/")[2].removesuffix(CHECKPOINT)): directory.read(name).decode()
        for name in directory.names(label, CHECKPOINT)
    }


def segment_of(row: Mapping[str, Any]) -> Segment:
    consistency = tuple(split(row["consistency"], HASH))
    plain = ("number", "first_offset", "next_offset", "tree_size", "leaves", "salts", "note", "gap")
    return Segment(consistency=consistency, **{name: row[name] for name in plain})


async def export(
    connection: Connection, stream: Stream, write: Callable[[str], object], vault: Vault | None = None
) -> int:
    """The lines that ``verifier.py`` reads, of one topic partition; how many segments."""
    queries, number, origin = load_queries(), 0, None
    while row := await connection.fetchrow(queries["seal"], stream.id, number):
        if origin is None:
            origin = row["origin"]
            write(json.dumps({"origin": origin}) + "\n")
        segment = segment_of(dict(row))
        number = segment.number
        lines, salts = [], {}
        async for record in rows(connection, stream.id, segment.first_offset, segment.next_offset):
            body, salt = cleared(record, stream, vault)
            if body is None:
                lines.append({"offset": record["offset"], "broker_at": record["broker_at"], "erased": True})
                continue
            if salt is not None:
                salts[body.offset] = salt
            raw = {name: _hex(getattr(body, name)) for name in ("key", "headers", "value")}
            lines.append({"offset": body.offset, "broker_at": body.broker_at, **raw})
        write(json.dumps(seal_line(with_salts(segment, salts))) + "\n")
        for line in lines:
            write(json.dumps(line) + "\n")
    if origin is None:
        raise UsageError(f"nothing of {stream.label} is sealed yet: deskline archive seal")
    write(json.dumps({"segments": number}) + "\n")
    return number


def seal_line(segment: Segment) -> dict[str, Any]:
    """A seal as ``verifier.segment_of`` reads it."""
    seal = {
        **segment._asdict(),
        "segment": segment.number,
        "leaves": segment.leaves.hex(),
        "salts": segment.salts.hex(),
    }
    del seal["number"]
    return {**seal, "consistency": [part.hex() for part in segment.consistency]}


def _hex(raw: bytes | None) -> str | None:
    return None if raw is None else raw.hex()
