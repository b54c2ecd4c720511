"""Checks the archive's proofs with nothing of deskline: this one file, hashlib, and ``cryptography`` for Ed25519.

    python verifier.py KEYS EXPORT.jsonl [EXPORT.jsonl …] [--checkpoints DIRECTORY]

``KEYS``: trusted verifier keys, one a line (C2SP signed-note: ``name+id+key``). An export is one topic partition from
``deskline archive export``. ``DIRECTORY``: the checkpoints that were kept beside the database, or a copy of them from before; with
them a tail that was dropped with its seals is found, and what was sealed anew with the right key. Exit code 0: every proof
holds; 1: findings, one a line; 2: wrong usage.

Trees are RFC 6962's (SHA-256). Leaf ``i`` of a topic partition is ``offset (8 bytes) ‖ broker time in µs (8, signed) ‖
commitment (32)``, and the commitment is ``SHA-256(salt ‖ key ‖ headers ‖ value)``, each of the three with its length
before it (8 bytes; -1: null). Without salt and body the leaf still proves that there was a record, and when. Offsets that
Kafka had lost are a segment with the single leaf ``"gap" ‖ first offset ‖ offset after the last ‖ SHA-256(explanation)``.
"""

import base64
import hashlib
import json
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SALT: Final = 16
HASH: Final = 32
_sha256: Final = hashlib.sha256
# RFC 6962's byte 0 of a leaf, then what the leaf is.
_leaf: Final = struct.Struct(">xQq32s").pack
_length: Final = struct.Struct(">q").pack
_RANGE: Final = struct.Struct(">QQ")
_NULL: Final = _length(-1)
_ED25519: Final = b"\x01"


class Body(NamedTuple):
    """One archived record, as far as its leaf commits to it. ``headers`` is the packed block of the archive."""

    offset: int
    broker_at: int
    key: bytes | None
    headers: bytes | None
    value: bytes | None


class Finding(NamedTuple):
    """What does not hold. ``offset`` is None where it concerns a whole segment."""

    segment: int
    offset: int | None
    kind: str


class Segment(NamedTuple):
    """One seal. ``leaves`` and ``salts`` are the leaf hashes and salts of its records, one after the other."""

    number: int
    first_offset: int
    next_offset: int
    tree_size: int
    leaves: bytes
    salts: bytes
    consistency: tuple[bytes, ...]
    note: str
    gap: str | None = None
    """Why its offsets do not exist: then it has one leaf, for this text, and no records."""


class Checkpoint(NamedTuple):
    """The signed text of a note, read."""

    origin: str
    tree_size: int
    root: bytes
    segment: int
    first_offset: int
    next_offset: int


def hash_leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def record_leaf(body: Body, salt: bytes) -> bytes:
    """The leaf hash of a record."""
    offset, broker_at, key, headers, value = body
    parts = (
        salt,
        _NULL if key is None else _length(len(key)),
        key or b"",
        _NULL if headers is None else _length(len(headers)),
        headers or b"",
        _NULL if value is None else _length(len(value)),
        value or b"",
    )
    return _sha256(_leaf(offset, broker_at, _sha256(b"".join(parts)).digest())).digest()


def gap_leaf(first: int, following: int, explanation: str) -> bytes:
    """The leaf hash of an explained gap. Of another length than a record's, so neither can stand for the other."""
    return hash_leaf(b"gap" + _RANGE.pack(first, following) + hashlib.sha256(explanation.encode()).digest())


class Tree:
    """The right edge of an RFC 6962 tree: its size and the roots of its complete subtrees, largest first."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)

    def root(self) -> bytes:
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = hash_node(peak, root)
        return root

    def grown(self, leaves: bytes) -> tuple["Tree", tuple[bytes, ...]]:
        """The tree with these leaf hashes added, and the consistency proof (RFC 6962, 2.1.2) from this one to it.

        Empty where either is empty or nothing was added.
        """
        old, left, start = {}, {}, 0
        for peak, width in zip(self.peaks, _widths(self.size), strict=True):
            old[start, start + width] = left[width] = peak
            start += width
        hashes = split(leaves, HASH)
        # Level by level: per height the first node's index and the nodes from there to the right edge.
        levels: list[tuple[int, list[bytes]]] = []
        first, nodes, width, edge = self.size, hashes, 1, list[bytes]()
        while nodes:
            if first & 1:
                first, nodes = first - 1, [left.pop(width), *nodes]
            levels.append((first, nodes))
            if len(nodes) & 1:
                edge.append(nodes[-1])
            nodes = [
                _sha256(b"\x01" + one + other).digest() for one, other in zip(nodes[::2], nodes[1::2], strict=False)
            ]
            first, width = first >> 1, width << 1
        edge += [left[each] for each in sorted(left)]
        after = Tree(self.size + len(hashes), reversed(edge))
        if not self.size or not hashes:
            return after, ()

        def range_root(begin: int, end: int) -> bytes:
            if end <= self.size:
                return old[begin, end]
            size = end - begin
            if size & (size - 1) == 0:
                first, nodes = levels[size.bit_length() - 1]
                return nodes[begin // size - first]
            middle = begin + (1 << size.bit_length() - 1)
            return hash_node(range_root(begin, middle), range_root(middle, end))

        return after, tuple(_subproof(self.size, 0, after.size, range_root, whole=True))


def _widths(size: int) -> list[int]:
    return [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]


def _subproof(size: int, first: int, last: int, range_root: Callable[[int, int], bytes], *, whole: bool) -> list[bytes]:
    if size == last - first:
        return [] if whole else [range_root(first, last)]
    left = 1 << (last - first - 1).bit_length() - 1
    middle = first + left
    if size <= left:
        return [*_subproof(size, first, middle, range_root, whole=whole), range_root(middle, last)]
    return [*_subproof(size - left, middle, last, range_root, whole=False), range_root(first, middle)]


def consistent(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the old tree is the beginning of the new one (RFC 9162, 2.1.4.2)."""
    if old_size in {0, size}:
        return not proof and (old_size == 0 or old_root == root)
    if not 0 < old_size < size:
        return False
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for part in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = hash_node(part, fr), hash_node(part, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = hash_node(sr, part)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == old_root and sr == root


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes by which a signature names its key (C2SP signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def verifier_key(name: str, public: bytes) -> str:
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def trusted_keys(text: str) -> dict[tuple[str, bytes], Ed25519PublicKey]:
    """(name, id) → key. One verifier key a line; empty lines and lines with # are passed over. Raises ``ValueError``."""
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, identity, encoded = line.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        if raw[:1] != _ED25519 or key_id(name, raw[1:]).hex() != identity:
            raise ValueError(f"the verifier key of {name} is damaged: its id does not fit")
        found[name, bytes.fromhex(identity)] = Ed25519PublicKey.from_public_bytes(raw[1:])
    return found


def read_note(note: str, trusted: Mapping[tuple[str, bytes], Ed25519PublicKey]) -> Checkpoint | None:
    """The checkpoint of a note that at least one trusted key has signed; None where none has, or it is none."""
    try:
        text, signatures = note.rsplit("\n\n", 1)
        text += "\n"
        if not any(_signed(text, line, trusted) for line in signatures.splitlines()):
            return None
        origin, size, root, extension = text.splitlines()[:4]
        word, number, first, following = extension.split()
        if word != "segment":
            return None
        return Checkpoint(
            origin, int(size), base64.b64decode(root, validate=True), int(number), int(first), int(following)
        )
    except ValueError:
        return None


def _signed(text: str, line: str, trusted: Mapping[tuple[str, bytes], Ed25519PublicKey]) -> bool:
    dash, name, encoded = line.split(" ")
    raw = base64.b64decode(encoded, validate=True)
    key = trusted.get((name, raw[:4]))
    if dash != "—" or key is None:
        return False
    try:
        key.verify(raw[4:], text.encode())
    except InvalidSignature:
        return False
    return True


def split(packed: bytes, width: int) -> list[bytes]:
    return [packed[at : at + width] for at in range(0, len(packed), width)]


class Checker:
    """Goes through one topic partition, segment after segment from the first."""

    def __init__(self, origin: str, trusted: Mapping[tuple[str, bytes], Ed25519PublicKey]) -> None:
        self._origin = origin
        self._trusted = trusted
        self._tree = Tree()
        self._root = self._tree.root()
        self._next_number = 1
        self._next_offset: int | None = None

    def segment(self, segment: Segment) -> list[Finding]:
        """What of the seal itself does not hold: order, signature, offsets, root, consistency."""
        number = segment.number
        found = []
        if number != self._next_number:
            found.append(Finding(number, None, f"segment {self._next_number} is missing"))
        if self._next_offset not in {None, segment.first_offset}:
            found.append(Finding(number, self._next_offset, "offsets do not follow the segment before"))
        count = segment.next_offset - segment.first_offset
        if segment.gap is not None:
            if segment.leaves != gap_leaf(segment.first_offset, segment.next_offset, segment.gap):
                found.append(Finding(number, None, "the explanation of the gap is not what was sealed"))
        elif (len(segment.leaves), len(segment.salts)) != (count * HASH, count * SALT):
            found.append(Finding(number, None, "the number of leaves is not that of the offsets"))
        after, _ = self._tree.grown(segment.leaves)
        signed = read_note(segment.note, self._trusted)
        if signed is None:
            found.append(Finding(number, None, "no trusted key has signed the checkpoint"))
        else:
            stated = Checkpoint(
                self._origin, segment.tree_size, after.root(), number, segment.first_offset, segment.next_offset
            )
            found += [
                Finding(number, None, f"{name} is not what was signed")
                for name, is_, was in zip(Checkpoint._fields, stated, signed, strict=True)
                if is_ != was
            ]
        if not consistent(self._tree.size, self._root, after.size, after.root(), segment.consistency):
            found.append(Finding(number, None, "the consistency proof does not hold"))
        self._tree, self._root = after, after.root()
        self._next_number, self._next_offset = number + 1, segment.next_offset
        return found


def check_bodies(segment: Segment, bodies: Sequence[Body]) -> list[Finding]:
    """What of a segment's records does not fit its leaves. ``bodies``: every row with an offset of the segment."""
    number, first = segment.number, segment.first_offset
    if segment.gap is not None:
        return [Finding(number, body.offset, "inserted") for body in bodies]
    leaves, salts = split(segment.leaves, HASH), split(segment.salts, SALT)
    by_offset: dict[int, Body] = {}
    found = []
    for body in bodies:
        if body.offset in by_offset or not 0 <= body.offset - first < len(leaves):
            found.append(Finding(number, body.offset, "inserted"))
        else:
            by_offset[body.offset] = body
    wrong = []
    for index, (leaf, salt) in enumerate(zip(leaves, salts, strict=False)):
        body_or_none = by_offset.get(first + index)
        if body_or_none is None:
            found.append(Finding(number, first + index, "deleted"))
        elif record_leaf(body_or_none, salt) != leaf:
            wrong.append(index)
    # Bounded: past that many it no longer matters which of them changed places.
    moved = _moved(wrong, first, by_offset, leaves, salts) if len(wrong) <= 64 else set()
    found += [Finding(number, first + index, "reordered" if index in moved else "altered") for index in wrong]
    return sorted(found, key=lambda finding: finding.offset or 0)


def _moved(
    wrong: Sequence[int], first: int, bodies: Mapping[int, Body], leaves: Sequence[bytes], salts: Sequence[bytes]
) -> set[int]:
    """Which of the wrong rows stand where another one of them belongs (their bytes, with or without their times)."""
    moved = set()
    for at in wrong:
        body = bodies[first + at]
        for index in wrong:
            if index == at:
                continue
            times = (body.broker_at, bodies[first + index].broker_at)
            if any(
                record_leaf(body._replace(offset=first + index, broker_at=time), salts[index]) == leaves[index]
                for time in times
            ):
                moved.add(at)
    return moved


def segment_of(line: Mapping[str, Any]) -> Segment:
    """A seal from the line of an export."""
    return Segment(
        line["segment"],
        line["first_offset"],
        line["next_offset"],
        line["tree_size"],
        bytes.fromhex(line["leaves"]),
        bytes.fromhex(line["salts"]),
        tuple(bytes.fromhex(part) for part in line["consistency"]),
        line["note"],
        line.get("gap"),
    )


def body_of(line: Mapping[str, Any]) -> Body:
    """A record from the line of an export."""
    raw = (None if line[name] is None else bytes.fromhex(line[name]) for name in ("key", "headers", "value"))
    return Body(line["offset"], line["broker_at"], *raw)


def check_export(
    lines: Iterable[str],
    trusted: Mapping[tuple[str, bytes], Ed25519PublicKey],
    erased: list[int] | None = None,
    kept: Mapping[int, str] | None = None,
) -> list[Finding]:
    """An export: the origin, then each seal followed by its records, then the number of seals. ``erased`` takes the offsets
    of records that were erased with their salts: their leaves stand in the tree, what they said nobody can check. ``kept``:
    the checkpoints that were kept beside the database, by their segments.

    Raises ``ValueError`` or ``KeyError`` where it is none.
    """
    read = iter(lines)
    checker = Checker(json.loads(next(read))["origin"], trusted)
    found: list[Finding] = []
    segment: Segment | None = None
    bodies: list[Body] = []
    gone: set[int] = set()
    last = None
    others = dict(kept or {})
    for text in read:
        line = json.loads(text)
        if "offset" in line:
            if line.get("erased"):
                gone.add(line["offset"])
                if erased is not None:
                    erased.append(line["offset"])
            else:
                bodies.append(body_of(line))
            continue
        if segment is not None:
            found += [
                each for each in check_bodies(segment, bodies) if each.kind != "deleted" or each.offset not in gone
            ]
        bodies, gone = [], set()
        if "segments" in line:
            last = line["segments"]
            break
        segment = segment_of(line)
        found += checker.segment(segment)
        if others.pop(segment.number, segment.note) != segment.note:
            found.append(Finding(segment.number, None, "the checkpoint that was kept is another one"))
        elif kept and segment.number not in kept and segment.number < max(kept):
            found.append(Finding(segment.number, None, "no checkpoint of it was kept"))
    found += [
        Finding(
            missing, first_offset(others[missing], trusted), "sealed, as its checkpoint says, but not in the export"
        )
        for missing in sorted(others)
    ]
    number = 0 if segment is None else segment.number
    if last != number:
        found.append(Finding(number, None, "the export ends before its end"))
    return found


def first_offset(note: str, trusted: Mapping[tuple[str, bytes], Ed25519PublicKey]) -> int | None:
    """Where the segment of a checkpoint begins; None where nobody who is trusted says so."""
    signed = read_note(note, trusted)
    return None if signed is None else signed.first_offset


def kept_checkpoints(folder: Path) -> dict[str, dict[int, str]]:
    """The checkpoints below a directory, by their origins and segments."""
    found: dict[str, dict[int, str]] = {}
    for path in sorted(folder.rglob("*.checkpoint")):
        note = path.read_text(encoding="utf-8")
        found.setdefault(note.partition("\n")[0], {})[int(path.stem)] = note
    return found


def _ranges(offsets: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for offset in sorted(offsets):
        if parts and offset == parts[-1][1] + 1:
            parts[-1][1] = offset
        else:
            parts.append([offset, offset])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in parts)


def main(arguments: Sequence[str]) -> int:
    words, kept = list(arguments), dict[str, dict[int, str]]()
    if "--checkpoints" in words[:-1]:
        at = words.index("--checkpoints")
        kept = kept_checkpoints(Path(words[at + 1]))
        if not kept:
            sys.stderr.write(f"{words[at + 1]}: no checkpoints there\n")
            return 2
        del words[at : at + 2]
    if len(words) < 2 or any(word.startswith("--") for word in words):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    trusted = trusted_keys(Path(words[0]).read_text(encoding="utf-8"))
    bad, origins = 0, set[str]()
    for name in words[1:]:
        with Path(name).open(encoding="utf-8") as lines:
            erased: list[int] = []
            head = lines.readline()
            origin = json.loads(head)["origin"]
            found = check_export(chain([head], lines), trusted, erased, kept.get(origin))
        origins.add(origin)
        bad += len(found)
        for segment, offset, kind in found:
            sys.stdout.write(f"{name}: segment {segment}, offset {'-' if offset is None else offset}: {kind}\n")
        if not found:
            told = f" ({len(erased)} records were erased: offsets {_ranges(erased)})" if erased else ""
            sys.stdout.write(f"{name}: every proof holds{told}\n")
    for origin in sorted(kept.keys() - origins):
        sys.stdout.write(f"{origin}: sealed, as its checkpoints say, but no export of it was given\n")
        bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
