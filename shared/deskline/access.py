"""Who may ask a service over HTTP: bearer tokens with a role, kept as hashes in a file, and how often each may ask.

A line of the file is ``role name sha256-of-the-token``. It is looked at with every request, so that a token that is taken away is
refused at once. Without the file nobody is answered.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from deskline.errors import UsageError


class Holder(NamedTuple):
    name: str
    role: str


class NoTokenError(Exception):
    """The request shows no bearer token, or more than one."""


def sent(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bearer token of an ASGI request; raises ``NoTokenError``."""
    given = [value for name, value in headers if name.lower() == b"authorization"]
    scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    if scheme.lower() != b"bearer" or not token.strip():
        raise NoTokenError("send the header Authorization: Bearer <token>")
    return token.strip()


class Tokens:
    """The tokens of one file. ``roles``: those there are; lines of others count for nothing."""

    def __init__(self, file: Path | None, roles: Collection[str]) -> None:
        self._file = file
        self._roles = frozenset(roles)
        self._stamp: tuple[int, int, int] | None = None
        self._known: list[tuple[str, Holder]] = []

    @property
    def on(self) -> bool:
        """Whether anybody has a token."""
        return self._file is not None and self._file.exists()

    def holder(self, token: bytes) -> Holder | None:
        """Whose it is."""
        digest = hashlib.sha256(token).hexdigest()
        found = None
        for kept, holder in self._lines():
            if hmac.compare_digest(kept, digest):
                found = holder
        return found

    def _lines(self) -> list[tuple[str, Holder]]:
        try:
            stat = (self._file or Path()).stat()
        except OSError:
            return []
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._file is not None and stamp != self._stamp:
            rows = [line.split() for line in self._file.read_text(encoding="utf-8").splitlines()]
            self._known = [(row[2], Holder(row[1], row[0])) for row in rows if len(row) == 3 and row[0] in self._roles]
            self._stamp = stamp
        return self._known


def give(file: Path, name: str, role: str) -> str:
    """Add a line to the file, and make it where it is missing; the token, which is kept nowhere."""
    if not name or any(character.isspace() for character in name):
        raise UsageError("give a name without blanks")
    made = secrets.token_urlsafe(32)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as out:
        out.write(f"{role} {name} {hashlib.sha256(made.encode()).hexdigest()}\n")
    return made


class Rates:
    """``per_s`` requests a second for each who asks, and ``burst`` at once."""

    _KEPT = 10_000

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, who: str, now_s: float) -> float:
        """0: he may ask now, and has been counted; else in how many seconds he may."""
        left, at = self._left.get(who, (float(self._burst), now_s))
        left = min(float(self._burst), left + (now_s - at) * self._per_s)
        if left < 1:
            return (1 - left) / self._per_s
        if len(self._left) >= self._KEPT:
            self._left.clear()
        self._left[who] = (left - 1, now_s)
        return 0.0
