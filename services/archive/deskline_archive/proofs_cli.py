"""``deskline archive key|seal|gap|verify|export``: seals, and the checks of them."""

import asyncio
import getpass
import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated, cast

import typer

from deskline.clock import now_us, rfc3339
from deskline.errors import UsageError
from deskline.kafka import Publisher
from deskline.postgres import connect
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline_archive import gaps, home, sealing, signing, verifier
from deskline_archive.places import Place, place
from deskline_archive.settings import ArchiveSettings, archive_settings
from deskline_archive.store import load_queries
from deskline_archive.veil import Vault, vault_of

KeyFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", envvar="DESKLINE_ARCHIVE_KEY", help="A private key; again for a second signature (rotation)."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(envvar="DESKLINE_ARCHIVE_NAME", help="Of the keys and the trees: archive.example.org, for instance."),
]
Trust = Annotated[Path | None, typer.Option("--trust", help="Trusted verifier keys, one a line, as `key` prints them.")]
Directory = Annotated[
    str | None,
    typer.Option(
        "--directory",
        envvar="DESKLINE_ARCHIVE_CHECKPOINTS",
        help="Where checkpoints are kept beside the database, out of its reach: a directory, or a store's URL.",
    ),
]


def add_to(app: typer.Typer) -> None:
    for command in (key, seal, gap, verify, export):
        app.command()(command)


def key(
    path: Annotated[
        Path | None, typer.Argument(help="The new file; without: the next one of the stack's own keys.")
    ] = None,
    *,
    name: Name = None,
    state_dir: StateDir = None,
) -> None:
    """Make a key that signs checkpoints; print the line by which auditors check them.

    With --state-dir (or DESKLINE_ARCHIVE_HOME) the running service signs with it, and with the keys that were there,
    from its next seal on: that is how a rotation begins. It ends when the old key's file is taken away.

    For example:

      deskline archive key /etc/deskline/seal.pem --name archive.example.org >> trusted.txt

      deskline archive key --state-dir .deskline
    """
    settings = archive_settings(state_dir, name=name)
    if path is not None:
        typer.echo(signing.make_key(path, settings.name).verifier)
        return
    if settings.home is None:
        raise UsageError("name a file for the key, or give --state-dir or DESKLINE_ARCHIVE_HOME")
    folder = settings.home / "keys"
    last = max((int(file.stem) for file in folder.glob("*.pem") if file.stem.isdecimal()), default=0)
    made = signing.make_key(folder / f"{last + 1:04d}.pem", settings.name)
    home.trust(settings.home, made.verifier)
    typer.echo(made.verifier)


def seal(
    *,
    key: KeyFiles = None,
    name: Name = None,
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
    """Seal the records that are due now. A service that has a key does it by itself.

    A topic partition is due with --records records, or with any an hour after its last seal. What a run could not write
    to the directory or publish goes with the next one. Exit code 1 where offsets are missing.

    For example:

      deskline archive seal --state-dir .deskline

      deskline archive seal --key seal.pem --name archive.example.org --directory /mnt/worm/checkpoints
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    own = archive_settings(state_dir, name=name, checkpoints=directory)
    keys = [signing.read_key(path, own.name) for path in key or own.key_files()]
    if not keys:
        raise UsageError("which key signs? Give --key, --state-dir, DESKLINE_ARCHIVE_KEY or DESKLINE_ARCHIVE_HOME")
    kept = place(own.checkpoint_place) if own.checkpoint_place else None
    asyncio.run(_seal(settings, keys, records, kept, vault_of(own), publish=publish))


async def _seal(
    settings: ServiceSettings,
    keys: list[signing.SigningKey],
    records: int,
    directory: Place | None,
    vault: Vault | None,
    *,
    publish: bool,
) -> None:
    connection = await connect(settings, "archive", patient=True)
    publisher = Publisher(settings, "deskline-archive-seal")
    try:
        sealer = sealing.Sealer(connection, keys, settings.topic_prefix, vault)
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


def gap(
    partition: Annotated[str, typer.Argument(help="The stopped topic partition: conversations.v1/0.")],
    *,
    why: Annotated[str, typer.Option(help="How the records were lost: it is sealed, and auditors read it.")],
    who: Annotated[str, typer.Option(help="Who answers for it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Explain offsets that Kafka no longer has, and let a stopped topic partition go on behind them.

    The broker is asked what it still has; only what it really lacks can be explained. The running service goes on by
    itself; the explanation is sealed like a record and stands in every export.

    For example:

      deskline archive gap conversations.v1/0 --who "Li Lei" --why "disk of broker 2 lost, incident 471" --state-dir .deskline
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    topic, slash, number = partition.rpartition("/")
    if not slash or not number.isdecimal():
        raise UsageError("name one topic partition, as /readyz shows it: conversations.v1/0")

    def agreed(first: int, following: int) -> bool:
        return yes or typer.confirm(f"{partition}: go on without offsets {first} to {following - 1}, for ever?")

    first, following = asyncio.run(gaps.explain(settings, topic, int(number), who=who, why=why, agreed=agreed))
    typer.echo(f"{partition}: offsets {first} to {following - 1} are explained; it goes on at {following}")


def verify(
    *,
    trust: Trust = None,
    directory: Directory = None,
    auditor: Annotated[
        bool, typer.Option("--auditor", help="Act as deskline_auditor, for a login that may only read.")
    ] = False,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Recompute every root from the records and compare: signatures, consistency, and the directory's checkpoints.

    A login of an auditor needs no more than GRANT deskline_auditor, and --auditor; where contents are veiled, the vault too.
    Without --directory a tail that was dropped with its seals cannot be seen. Exit code 1 where anything does not hold.

    For example:

      deskline archive verify --state-dir .deskline

      deskline archive verify --trust trusted.txt --directory /mnt/worm/checkpoints
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    own = archive_settings(state_dir, checkpoints=directory)
    trusted = trusted_by(trust, own)
    kept = place(own.checkpoint_place) if own.checkpoint_place else None
    role = "deskline_auditor" if auditor else None
    if not asyncio.run(_verify(settings, trusted, kept, vault_of(own), role)):
        raise typer.Exit(1)


def trusted_by(path: Path | None, own: ArchiveSettings) -> sealing.Trusted:
    """The keys of this file, else of the home."""
    if path is None and own.home is None:
        raise UsageError("whom to trust? Give --trust, or --state-dir")
    return _trusted(path or cast("Path", own.home) / "trusted.txt")


def _trusted(path: Path) -> sealing.Trusted:
    try:
        return verifier.trusted_keys(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}; give the lines that `deskline archive key` printed") from error


async def _verify(
    settings: ServiceSettings,
    trusted: sealing.Trusted,
    directory: Place | None,
    vault: Vault | None,
    role: str | None,
) -> bool:
    connection = await connect(settings, "archive", patient=True, role=role)
    good = True
    try:
        found = await sealing.streams(connection, settings.topic_prefix)
        for stream in found:
            report = await sealing.verify(connection, stream, trusted, directory, vault)
            typer.echo(
                f"{report.label}: {report.segments} segments, {report.records} records, {report.retired} gone by retention"
                f"{f', {report.erased} erased' if report.erased else ''}: "
                f"{'holds' if not report.findings else f'{len(report.findings)} findings'}"
            )
            for segment, offset, kind in report.findings:
                typer.echo(f"  segment {segment}, offset {'-' if offset is None else offset}: {kind}")
            good = good and not report.findings
        if unknown := sealing.strangers(found, directory):
            # An archive at work may have begun to seal one meanwhile.
            known = {stream.label for stream in await sealing.streams(connection, settings.topic_prefix)}
            for label in sorted(set(unknown) - known):
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

    ``manifest.json`` names each file with its SHA-256. That an export was made, by whom and of what, is kept: an erasure
    names the exports whose holders have to be told.

    For example:

      deskline archive export audit --state-dir .deskline && python audit/verifier.py trusted.txt audit/*.jsonl
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror}; name a directory that does not exist yet") from error
    shutil.copyfile(verifier.__file__, out / "verifier.py")
    asyncio.run(_export(settings, out, vault_of(archive_settings(state_dir))))


async def _export(settings: ServiceSettings, out: Path, vault: Vault | None) -> None:
    connection = await connect(settings, "archive", patient=True)
    segments: dict[str, int] = {}
    try:
        for stream in await sealing.streams(connection, settings.topic_prefix):
            if stream.number:
                with (out / f"{stream.topic}-{stream.partition}.jsonl").open("w", encoding="utf-8") as file:
                    segments[stream.label] = await sealing.export(connection, stream, file.write, vault)
                typer.echo(f"{stream.label}: {segments[stream.label]} segments")
        manifest = _manifest(out)
        (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        # What of them has not ended stands in the export: how many, since an erasure's record names it.
        restricted = len(await connection.fetch(load_queries()["restricted"]))
        told = {"folder": out.name, "segments": segments, "restricted_persons": restricted}
        who, detail = f"{getpass.getuser()} at the keyboard", {**manifest, **told}
        await connection.execute(load_queries()["add_look"], who, "auditor", "export", json.dumps(detail))
    finally:
        await connection.close()


def _manifest(out: Path) -> dict[str, object]:
    sums = {}
    for path in sorted(out.iterdir()):
        with path.open("rb") as file:
            sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"made_at": rfc3339(now_us()), "sha256": sums}
