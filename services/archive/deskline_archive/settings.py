"""What the archive alone is told, from the environment (``DESKLINE_ARCHIVE_…``); docs/operations/settings.md has the table."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ArchiveSettings(BaseSettings):
    """``home`` makes what is not named: keys, checkpoints. Without it and without a key nothing is sealed by the service."""

    model_config = SettingsConfigDict(env_prefix="DESKLINE_ARCHIVE_", frozen=True, extra="ignore")

    home: Path | None = None
    """A directory for what is not named below; `deskline up` gives `archive` in its state directory."""
    name: Annotated[str, Field(pattern=r"^[^\s+]{1,100}$")] = "archive.deskline"
    """Of the keys and the trees, as it stands in every checkpoint. Never changes."""
    key: str = ""
    """Private keys (PEM) that sign checkpoints, several with `:` between them; else all of `home/keys/*.pem`."""
    checkpoints: str = ""
    """Where checkpoints are kept beside the database: a directory or the URL of an object store; else `home/checkpoints`."""
    vault: Path | None = None
    """The file whose keys veil what persons wrote; else `home/vault`. Without both, content stands in the clear and nobody can be erased."""
    tokens: Path | None = None
    """The file of those who may search over HTTP; else `home/tokens`."""
    cold: str = ""
    """The cold store: a directory or the URL of an object store; else `home/cold`."""
    segment_records: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """A segment ends with so many records."""
    seal_interval_s: Annotated[float, Field(gt=0)] = 3600.0
    """Fewer are sealed when the last seal of their topic partition is so old."""

    def key_files(self) -> list[Path]:
        """Looked up anew with every pass, so that a rotation needs no restart."""
        if self.key:
            return [Path(name) for name in self.key.split(os.pathsep) if name]
        return sorted((self.home / "keys").glob("*.pem")) if self.home is not None else []

    @property
    def tokens_file(self) -> Path | None:
        return self.tokens or (self.home / "tokens" if self.home is not None else None)

    @property
    def cold_place(self) -> str:
        return self.cold or (str(self.home / "cold") if self.home is not None else "")

    @property
    def vault_file(self) -> Path | None:
        return self.vault or (self.home / "vault" if self.home is not None else None)

    @property
    def checkpoint_place(self) -> str:
        return self.checkpoints or (str(self.home / "checkpoints") if self.home is not None else "")


def archive_settings(state_dir: Path | None = None, **given: Any) -> ArchiveSettings:
    """For a command at the keyboard: what is given, else the stack of that state directory, else the environment."""
    if state_dir is not None and (state_dir / "archive").is_dir():
        given = {"home": state_dir / "archive", **given}
    return ArchiveSettings(**{name: value for name, value in given.items() if value is not None})
