"""``deskline archive backup|drill``: base backups, and the proof that they can be restored."""

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
from deskline_archive.settings import archive_settings
from deskline_archive.store import load_queries
from deskline_archive.veil import vault_of


def add_to(app: typer.Typer) -> None:
    for command in (backup, drill):
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
    trust: Annotated[Path | None, typer.Option(help="Trusted verifier keys; else those of the home.")] = None,
    directory: Annotated[
        str | None,
        typer.Option(
            envvar="DESKLINE_ARCHIVE_CHECKPOINTS",
            help="The other store: where checkpoints are kept beside the database.",
        ),
    ] = None,
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
        several = sorted(path.parent for path in source.glob("*/base.tar.gz"))
        if not several:
            raise UsageError(f"{source} has no backup; deskline archive backup {source}")
        source = several[-1]
    other = drills.Other(place(own.checkpoint_place), trusted_by(trust, own), own.vault_file, vault_of(own))
    found = asyncio.run(drills.drill(settings, source, other, typer.echo))
    told = (str(source), found.seconds, found.restored, found.replayed, len(found.findings))
    working(settings, lambda connection: connection.execute(load_queries()["add_drill"], *told))
    for finding in found.findings:
        typer.echo(f"  {finding}")
    state = f"{len(found.findings)} findings" if found.findings else "it can be restored, and holds what was sealed"
    typer.echo(f"{source.name}: {found.seconds:.1f} s for {found.restored + found.replayed} records: {state}")
    if found.findings:
        raise typer.Exit(1)
