"""``deskline archive backup|drill|recover``: base backups, the proof that they can be restored, and the restore."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from deskline.errors import UsageError
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline_archive import drill as drills
from deskline_archive.legal_cli import working
from deskline_archive.places import place
from deskline_archive.proofs_cli import trusted_by
from deskline_archive.settings import ArchiveSettings, archive_settings
from deskline_archive.store import load_queries
from deskline_archive.veil import vault_of

Trust = Annotated[Path | None, typer.Option("--trust", help="Trusted verifier keys; else those of the home.")]
OtherStore = Annotated[
    str | None,
    typer.Option(
        "--directory",
        envvar="DESKLINE_ARCHIVE_CHECKPOINTS",
        help="The other store: where checkpoints are kept beside the database.",
    ),
]


def add_to(app: typer.Typer) -> None:
    for command in (backup, drill, recover):
        app.command()(command)


def backup(
    folder: Annotated[Path, typer.Argument(help="Where backups are kept; each gets a directory of its own.")],
    *,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Take a base backup of the whole database cluster with pg_basebackup, while everything runs.

    It holds no keys: what was erased is not in it, and it is read with the vault. Keep backups for less than 180 days.

    For example:

      deskline archive backup /mnt/backup --state-dir .deskline
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = drills.backup(settings_of(state_dir, postgres_dsn=postgres_dsn), folder)
    typer.echo(str(made))


def drill(
    source: Annotated[Path, typer.Argument(help="A backup, or the folder of several: then the newest.")],
    *,
    trust: Trust = None,
    directory: OtherStore = None,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Restore a backup into an empty cluster, replay Kafka to now, recompute every root, compare with the other store.

    Nothing that runs is touched. How it went is kept; an alert comes when the last good drill is more than 8 days ago. Exit
    code 1 where anything does not hold. Run it weekly, by cron or a timer.

    For example:

      deskline archive drill /mnt/backup --state-dir .deskline
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    own = archive_settings(state_dir, checkpoints=directory)
    if not own.checkpoint_place:
        raise UsageError("where is the other store? Give --directory, or --state-dir")
    if not (source / "base.tar.gz").exists():
        # The manifest is written at last: one that is being made, or was cut off, has none.
        several = sorted(path.parent for path in source.glob("*/backup_manifest"))
        if not several:
            raise UsageError(f"{source} has no backup; deskline archive backup {source}")
        source = several[-1]
    found = asyncio.run(drills.drill(settings, source, _other(own, trust), typer.echo))
    told = (str(source), found.seconds, found.restored, found.replayed, len(found.findings))
    working(settings, lambda connection: connection.execute(load_queries()["add_drill"], *told))
    state = f"{len(found.findings)} findings" if found.findings else "it can be restored, and holds what was sealed"
    _tell(found, f"{source.name}: {found.seconds:.1f} s for {found.restored + found.replayed} records: {state}")


def recover(
    *,
    trust: Trust = None,
    directory: OtherStore = None,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Bring a database that was restored from a backup to now, before the archive is started on it.

    It gets the vault's keys, what Kafka has had since, and from the other store the explanations of gaps and the archive's own
    log; holds and orders to erase that are newer than the backup are laid again, what was sealed since is cut and sealed as
    it was. Then everything is verified. No archive may run meanwhile. Exit code 1 where anything does not hold.

    For example:

      deskline archive recover --state-dir .deskline
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    own = archive_settings(state_dir, checkpoints=directory)
    if not own.checkpoint_place:
        raise UsageError("where is the other store? Give --directory, or --state-dir")
    other = _other(own, trust)
    found = working(settings, lambda connection: drills.recover(connection, settings, other, typer.echo))
    _tell(found, f"{len(found.findings)} findings" if found.findings else "whole: the archive can be started")


def _other(own: ArchiveSettings, trust: Path | None) -> drills.Other:
    return drills.Other(place(own.checkpoint_place), trusted_by(trust, own), own.vault_file, vault_of(own))


def _tell(found: drills.Drill, last: str) -> None:
    for finding in found.findings:
        typer.echo(f"  {finding}")
    typer.echo(last)
    if found.findings:
        raise typer.Exit(1)
