"""The archive's own directory: what a deployment that names nothing needs, made once."""

import fcntl
from pathlib import Path

from deskline_archive.settings import ArchiveSettings
from deskline_archive.signing import make_key
from deskline_archive.veil import Vault


def prepare(settings: ArchiveSettings) -> None:
    """A vault, a signing key and its verifier line, where ``home`` is given and they are not named. Several instances may
    start at once. A vault that is named is never made: one that is lost must not be replaced by another in silence.
    """
    if settings.home is None:
        return
    keys = settings.home / "keys"
    keys.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        vault = settings.vault_file
        if vault is not None and settings.vault is None and not vault.exists():
            Vault.new().save(vault)
        if not settings.key_files():
            trust(settings.home, make_key(keys / "0001.pem", settings.name).verifier)


def trust(home: Path, verifier: str) -> None:
    """Add a line to the keys that ``deskline archive verify`` trusts by itself."""
    with (home / "trusted.txt").open("a", encoding="utf-8") as file:
        file.write(verifier + "\n")
