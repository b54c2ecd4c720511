"""Content under a key for each person's conversation, so that an erasure is the end of a key and nothing else.

**Keys.** A key belongs to a *name*: the record's Kafka key (a conversation belongs to one person, an agent's id to one
agent), or the record's own position where it has none. All keys come from one secret by a tree of hashes (Goldreich,
Goldwasser, Micali): the hexadecimal digits of ``SHA-256(generation ‖ name)`` lead from the root to a leaf, sixteen steps
of ``SHA-256(secret ‖ digit)``. To erase a name the vault is *punctured*: the secrets on its path are thrown away and the
siblings beside the path kept. Everything else can still be derived, this leaf by nobody. So nothing has to be written for a
new conversation, and the vault is one small file: at most 240 secrets for each erased name.

**Rotation.** A vault that may have been seen gets a further tree, whose nodes begin with a letter; generations from 1024 on are of the
first such tree, from 2048 on of the second. New records take keys of the newest; what was veiled before stays under the old ones.

**Cipher.** XOR with ``SHA-512(key ‖ stream ‖ offset ‖ block)``: PostgreSQL can do that without extensions, so that the view
``archive.records`` shows the bytes. Each record has its own stream of pads; what was changed the seals find.

**Where the secret is.** In a file outside the database (`DESKLINE_ARCHIVE_VAULT`), and, for the view, in an UNLOGGED table:
that is in no WAL and no base backup. A restored backup therefore holds noise until the vault is given to it, and of what was
erased for ever. Pure but for ``Vault.load`` and ``save``.
"""

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from deskline.errors import UsageError
from deskline_archive.settings import ArchiveSettings

DEPTH: Final = 16
"""Digits of a path: 64 bits. Two of ten million names share a leaf with a chance of 3e-6."""
_DIGITS: Final = "0123456789abcdef"
_DIGIT: Final = {ord(digit): digit.encode() for digit in _DIGITS}
_TREE: Final = 1024
"""Generations of a tree. The database keeps them in 16 bits."""
_MOST_ROTATIONS: Final = 20
_SALT: Final = 16
_HEADERS: Final = 0x4000_0000
"""The first block of the headers' pads; the value's begin at 0, and 5 MiB are 81 920 blocks."""
_WHERE: Final = struct.Struct(">IQ").pack
_OFFSET: Final = struct.Struct(">4sQ").pack
_SHA256 = hashlib.sha256


def _short_sha512() -> Callable[[bytes], Any]:
    """Python's own SHA-512 where it is built in: OpenSSL's takes longer to begin than to hash a block."""
    try:
        return cast("Callable[[bytes], Any]", vars(hashlib)["__get_builtin_constructor"]("sha512"))
    except (KeyError, ValueError):
        return hashlib.sha512


_SHA512: Final = _short_sha512()
# Blocks of nearly all records, which are of a few kB.
_USUAL: Final = 128
# Bytes that are best veiled together: more of them leave the processor's nearer caches.
_NEAR: Final = 1 << 16
_FILL: Final = tuple(bytes(missing) for missing in range(64))
# Keys of conversations that are talking now; a key costs sixteen hashes.
_KNOWN: Final = 50_000


class Veiled(NamedTuple):
    """How a record is stored. ``generation`` is None where its content is in the clear."""

    generation: int | None
    headers: bytes | None
    value: bytes | None


class Vault:
    """Secrets by path prefix: one that was never punctured holds the root alone (prefix ``""``). ``erased``: the paths whose
    keys have ended, so that a missing key is told from a wrong vault, by a restored database too. ``trees``: one, and one more
    for each rotation.
    """

    def __init__(self, nodes: dict[str, bytes], erased: frozenset[str] = frozenset(), trees: int = 1) -> None:
        self.nodes = nodes
        self.erased = erased
        self.trees = trees
        self.first_generation = (trees - 1) * _TREE
        self._key = lru_cache(maxsize=_KNOWN)(self._derived)

    @classmethod
    def new(cls) -> "Vault":
        return cls({"": secrets.token_bytes(32)})

    @classmethod
    def load(cls, path: Path) -> "Vault":
        try:
            found = json.loads(path.read_text(encoding="ascii"))
            nodes = {prefix: bytes.fromhex(secret) for prefix, secret in found["nodes"].items()}
            return cls(nodes, frozenset(found["erased"]), int(found.get("trees", 1)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is no vault of the archive ({type(error).__name__}). Without it the archived texts cannot be read: "
                "take the newest copy"
            ) from error

    def save(self, path: Path) -> None:
        """Whole, and over the one that was there: an older copy would give back what was erased."""
        half = path.with_suffix(".half")
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            nodes = {prefix: secret.hex() for prefix, secret in self.nodes.items()}
            json.dump({"nodes": nodes, "erased": sorted(self.erased), "trees": self.trees}, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def key(self, name: bytes, generation: int = 0) -> bytes | None:
        """The key of a name; None where it was erased."""
        return self._key(name, generation)

    def was_erased(self, name: bytes, generation: int) -> bool:
        return path_of(name, generation) in self.erased

    def generation(self, name: bytes, least: int = 0) -> int:
        """The one under which a new record of this name is veiled."""
        least = max(least, self.first_generation)
        if self.erased:
            while path_of(name, least) in self.erased:
                least += 1
        return least

    def _derived(self, name: bytes, generation: int) -> bytes | None:
        path = path_of(name, generation)
        at = len(path) - DEPTH
        secret = self.nodes.get(path[:at])
        while secret is None:
            at += 1
            if at > len(path):
                return None
            secret = self.nodes.get(path[:at])
        for digit in path[at:].encode():
            secret = _SHA256(secret + _DIGIT[digit]).digest()
        return secret

    def punctured(self, names: Iterable[tuple[bytes, int]]) -> "Vault":
        """The vault without the keys of these (name, generation)."""
        nodes, erased = dict(self.nodes), set(self.erased)
        for name, generation in names:
            path = path_of(name, generation)
            held = next((path[:at] for at in range(len(path) - DEPTH, len(path) + 1) if path[:at] in nodes), None)
            erased.add(path)
            if held is None:
                continue
            secret = nodes.pop(held)
            for at in range(len(held), len(path)):
                for digit in _DIGITS:
                    if digit != path[at]:
                        nodes[path[:at] + digit] = hashlib.sha256(secret + digit.encode()).digest()
                secret = hashlib.sha256(secret + path[at].encode()).digest()
        return Vault(nodes, frozenset(erased), self.trees)

    def rotated(self) -> "Vault":
        """The vault with a further tree, from which new records take their keys."""
        if self.trees > _MOST_ROTATIONS:
            raise UsageError(f"a vault is rotated at most {_MOST_ROTATIONS} times; start a new deployment")
        return Vault({**self.nodes, _letter(self.trees): secrets.token_bytes(32)}, self.erased, self.trees + 1)


def _letter(tree: int) -> str:
    """What the paths of a tree begin with: nothing, g, h, …"""
    return chr(102 + tree) if tree else ""


def vault_of(settings: ArchiveSettings) -> Vault | None:
    """The vault that a command or a job works with; None where there is none."""
    file = settings.vault_file
    return Vault.load(file) if file is not None and (settings.vault is not None or file.exists()) else None


def path_of(name: bytes, generation: int) -> str:
    digits = hashlib.sha256(generation.to_bytes(2, "big") + name).hexdigest()[:DEPTH]
    return digits if generation < _TREE else _letter(generation // _TREE) + digits


def name_of(key: bytes | None, topic: str, partition: int, offset: int) -> bytes:
    """Whose key veils a record. ``topic`` with the deployment's prefix."""
    return key if key is not None else f"{topic}/{partition}/{offset}".encode()


def xored(data: bytes, key: bytes, stream: int, offset: int) -> bytes:
    """A value with its pads: veils what is clear, and clears what is veiled."""
    return veil(key, stream, offset, None, data)[1] or b""


def veil(
    key: bytes, stream: int, offset: int, headers: bytes | None, value: bytes | None
) -> tuple[bytes | None, bytes | None]:
    """Headers and value, veiled or cleared."""
    body, rest = value or b"", headers or b""
    size, more = len(body), len(rest)
    count, extra = (size + 63) // 64, (more + 63) // 64
    before = key + _WHERE(stream, offset)
    blocks = (_usual_blocks if count + extra <= _USUAL else _blocks)(count, extra)
    pads = b"".join([_SHA512(before + block).digest() for block in blocks])
    pads = pads[:size] + pads[64 * count : 64 * count + more]
    both = (int.from_bytes(body + rest, "little") ^ int.from_bytes(pads, "little")).to_bytes(size + more, "little")
    return None if headers is None else both[size:], None if value is None else both[:size]


def _blocks(count: int, extra: int) -> tuple[bytes, ...]:
    """Numbers of blocks as they are hashed: so many of a value, so many of headers."""
    numbers = (*range(count), *range(_HEADERS, _HEADERS + extra))
    return tuple(number.to_bytes(4, "big") for number in numbers)


_usual_blocks: Final = lru_cache(maxsize=1024)(_blocks)


class Batch:
    """Headers and values of many records, veiled or cleared together, which takes less for each. ``add`` them all; ``done`` has
    them in that order.
    """

    def __init__(self) -> None:
        self._done: list[tuple[bytes | None, bytes | None]] = []
        self._begin()

    def _begin(self) -> None:
        self._size = 0
        self._data: list[bytes] = []
        self._pads: list[bytes] = []
        self._sizes: list[tuple[int, int]] = []

    def add(self, key: bytes, stream: int, offset: int, headers: bytes | None, value: bytes | None) -> None:
        body, rest = value or b"", headers or b""
        size, more = len(body), len(rest)
        count, extra = (size + 63) >> 6, (more + 63) >> 6
        before = key + _WHERE(stream, offset)
        blocks = (_usual_blocks if count + extra <= _USUAL else _blocks)(count, extra)
        self._pads += [_SHA512(before + block).digest() for block in blocks]
        self._data += (body, _FILL[-size & 63], rest, _FILL[-more & 63])
        self._sizes.append((-1 if headers is None else more, -1 if value is None else size))
        self._size += (count + extra) << 6
        if self._size > _NEAR:
            self._xor()

    def done(self) -> list[tuple[bytes | None, bytes | None]]:
        """Headers and value of each that was added since the last time."""
        self._xor()
        found, self._done = self._done, []
        return found

    def _xor(self) -> None:
        if not self._sizes:
            return
        # Not above: it takes a while to load, and whoever looks up one record has no need of it.
        import numpy as np  # noqa: PLC0415

        data, pads = b"".join(self._data), b"".join(self._pads)
        both = (np.frombuffer(data, np.uint64) ^ np.frombuffer(pads, np.uint64)).tobytes()
        at, add = 0, self._done.append
        for more, size in self._sizes:
            value, end = (both[at : at + size], at + (size + 63 & -64)) if size >= 0 else (None, at)
            at = end + (more + 63 & -64)
            add((both[end : end + more] if more >= 0 else None, value))
        self._begin()


def salt_of(key: bytes, offset: int) -> bytes:
    """The salt of a veiled record's leaf: it goes with the key, and so does every way to guess at the body."""
    return _SHA256(key + _OFFSET(b"salt", offset)).digest()[:_SALT]
