"""Keys and signed notes (C2SP tlog-checkpoint, Ed25519). Private keys are PEM files that only the sealer can read.

A deployment rotates by sealing with the old and the new key for a while: a note carries a line for each, and a verifier
who trusts either one reads it.
"""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from deskline.errors import UsageError
from deskline_archive.verifier import key_id, verifier_key


class SigningKey(NamedTuple):
    """``name`` stands in each signature line: no blanks, no plus sign."""

    name: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def verifier(self) -> str:
        """The public line that auditors keep."""
        return verifier_key(self.name, self.public)


def checked_name(name: str) -> str:
    """``name``; raises ``UsageError`` where a signature line cannot hold it."""
    if not name or "+" in name or any(character.isspace() for character in name):
        raise UsageError("a key's name has no blanks and no plus sign: archive.example.org, for instance")
    return name


def make_key(path: Path, name: str) -> SigningKey:
    """A new key in a new file (mode 0600). Raises ``UsageError`` where the file exists."""
    key = SigningKey(checked_name(name), Ed25519PrivateKey.generate())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; a key is never written over") from error
    with os.fdopen(handle, "wb") as file:
        file.write(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def read_key(path: Path, name: str) -> SigningKey:
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is no private key; make one: deskline archive key {path} --name {name}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"{path} holds a key of another kind; checkpoints are signed with Ed25519")
    return SigningKey(checked_name(name), private)


def sign_note(text: str, keys: Sequence[SigningKey]) -> str:
    """The note of ``text``, which ends with a newline, with a signature line for each key."""
    lines = [
        f"— {key.name} {base64.b64encode(key_id(key.name, key.public) + key.private.sign(text.encode())).decode()}\n"
        for key in keys
    ]
    return f"{text}\n{''.join(lines)}"


def checkpoint_text(origin: str, size: int, root: bytes, segment: int, offsets: tuple[int, int]) -> str:
    """Origin, tree size, root; then which segment it ends and its offsets: the first, and the one after the last."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\nsegment {segment} {offsets[0]} {offsets[1]}\n"
