"""``deskline archive key|seal|verify|export``: seals, and the checks of them."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer

from deskline.clock import now_us
from deskline.errors import UsageError
from deskline.kafka import Publisher
from deskline.postgres import connect
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline_archive import sealing, signing, verifier

KeyFiles = Annotated[
    list[Path],
    typer.Option(
        "--key", envvar="DESKLINE_ARCHIVE_KEY", help="A private key; again for a second signature (rotation)."
    ),
]
Name = Annotated[
    str,
    typer.Option(envvar="DESKLINE_ARCHIVE_NAME", help="Of the keys and the trees: archive.example.org, for instance."),
]
Trust = Annotated[Path, typer.Option("--trust", help="Trusted verifier keys, one a line, as `key` prints them.")]
Directory = Annotated[
    Path | None, typer.Option("--directory", help="Where checkpoints are kept beside the database, out of its reach.")
]


def add_to(app: typer.Typer) -> None:
    for command in (key, seal, verify, export):
        app.command()(command)


def key(path: Annotated[Path, typer.Argument(help="The new file.")], *, name: Name) -> None:
    """Make a key that signs checkpoints; print the line by which auditors check them.

    For example:

      deskline archive key /etc/deskline/seal.pem --name archive.example.org >> trusted.txt
    """
    typer.echo(signing.make_key(path, name).verifier)


def seal(
    *,
    key: KeyFiles,
    name: Name,
    directory: Directory = None,
    records: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="A segment ends with so many; fewer are sealed after an hour.")
    ] = 10_000,
    publish: Annotated[bool, typer.Option(help="Publish the checkpoints on checkpoints.v1.")] = True,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Seal the records that are due: run it every few minutes, by cron or a timer.

    A topic partition is due with --records records, or with any an hour after its last seal. What a run could not write
    to the directory or publish goes with the next one. Exit code 1 where offsets are missing.

    For example:

      deskline archive seal --key seal.pem --name archive.example.org --directory /mnt/worm/checkpoints --state-dir .deskline
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    keys = [signing.read_key(path, name) for path in key]
    asyncio.run(_seal(settings, keys, records, directory, publish=publish))


async def _seal(
    settings: ServiceSettings,
    keys: list[signing.SigningKey],
    records: int,
    directory: Path | None,
    *,
    publish: bool,
) -> None:
    connection = await connect(settings, "archive")
    publisher = Publisher(settings, "deskline-archive-seal")
    try:
        sealer = sealing.Sealer(connection, keys, settings.topic_prefix)
        try:
            for label, number, size in await sealer.seal(now_us(), records):
                typer.echo(f"{label}: segment {number}, {size} records in the tree")
        finally:
            # Also where one topic partition has a hole: the others are sealed.
            if directory is not None:
                await sealer.write_directory(directory)
            if publish:
                await sealer.publish(publisher)
    finally:
        await publisher.stop()
        await connection.close()


def verify(
    *,
    trust: Trust,
    directory: Directory = None,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Recompute every root from the records and compare: signatures, consistency, and the directory's checkpoints.

    Without --directory a tail that was dropped with its seals cannot be seen. Exit code 1 where anything does not hold.

    For example:

      deskline archive verify --trust trusted.txt --directory /mnt/worm/checkpoints --state-dir .deskline
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    if not asyncio.run(_verify(settings, _trusted(trust), directory)):
        raise typer.Exit(1)


def _trusted(path: Path) -> sealing.Trusted:
    try:
        return verifier.trusted_keys(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}; give the lines that `deskline archive key` printed") from error


async def _verify(settings: ServiceSettings, trusted: sealing.Trusted, directory: Path | None) -> bool:
    connection = await connect(settings, "archive")
    good = True
    try:
        found = await sealing.streams(connection, settings.topic_prefix)
        for stream in found:
            report = await sealing.verify(connection, stream, trusted, directory)
            typer.echo(
                f"{report.label}: {report.segments} segments, {report.records} records, {report.retired} gone by retention: "
                f"{'holds' if not report.findings else f'{len(report.findings)} findings'}"
            )
            for segment, offset, kind in report.findings:
                typer.echo(f"  segment {segment}, offset {'-' if offset is None else offset}: {kind}")
            good = good and not report.findings
        for label in sealing.strangers(found, directory):
            typer.echo(f"{label}: sealed, as the directory says, but not in the archive")
            good = False
    finally:
        await connection.close()
    return good


def export(
    out: Annotated[Path, typer.Argument(help="A new directory: one file per topic partition, and the verifier.")],
    *,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Write everything that is sealed, with its proofs and the verifier, for auditors to check without us.

    For example:

      deskline archive export audit --state-dir .deskline && python audit/verifier.py trusted.txt audit/*.jsonl
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}; name a directory that does not exist yet") from error
    shutil.copyfile(verifier.__file__, out / "verifier.py")
    asyncio.run(_export(settings, out))


async def _export(settings: ServiceSettings, out: Path) -> None:
    connection = await connect(settings, "archive")
    try:
        for stream in await sealing.streams(connection, settings.topic_prefix):
            if stream.number:
                with (out / f"{stream.topic}-{stream.partition}.jsonl").open("w", encoding="utf-8") as file:
                    count = await sealing.export(connection, stream, file.write)
                typer.echo(f"{stream.label}: {count} segments")
    finally:
        await connection.close()
