"""``deskline archive``: run the service. ``… retain``: drop the days whose time has come. The rest: ``proofs_cli``."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deskline.errors import UsageError
from deskline.postgres import connect
from deskline.service import run
from deskline.settings import ServiceSettings
from deskline.targets import PostgresDsn, StateDir, settings_of
from deskline_archive import drill_cli, find_cli, legal_cli, proofs_cli
from deskline_archive.app import build
from deskline_archive.settings import ArchiveSettings, archive_settings
from deskline_archive.store import Day, Store, load_queries

app = typer.Typer(add_completion=False, no_args_is_help=False)
proofs_cli.add_to(app)
legal_cli.add_to(app)
find_cli.add_to(app)
drill_cli.add_to(app)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """The archive: every record, byte for byte, for 180 full days at least. Without a command: run the service until SIGTERM.

    Its settings come from the environment (DESKLINE_…); exit code 0 after a graceful stop, 1 where going on would do
    harm, 2 where a setting is wrong.

    For example:

      DESKLINE_BOOTSTRAP_SERVERS=kafka1:9092 DESKLINE_POSTGRES_DSN=postgresql://… deskline archive

      deskline archive retain --dry-run --state-dir .deskline
    """
    if context.invoked_subcommand is None:
        run("archive", build, needs_config=False)


@app.command()
def retain(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the days.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    keep_days: Annotated[
        int, typer.Option(min=180, help="Full days to keep; the database refuses to drop a younger day.")
    ] = 180,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """List the archive's days, say which would go and why not, and drop those that may.

    The database's own function decides: a day goes when it is older than 180 full days, under no legal hold, sealed, and in
    the cold store. Records of classes that are kept longer (table archive.classes) move aside first. Before a day goes, each of its
    files in the cold store is read: one that is gone, or is not what was written, is made anew.

    For example:

      deskline archive retain --dry-run --state-dir .deskline

      DESKLINE_ARCHIVE_COLD=s3://… deskline archive retain --keep-days 400 --yes --postgres-dsn postgresql://…@db/deskline
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    asyncio.run(_retain(settings, archive_settings(state_dir), keep_days, dry_run=dry_run, yes=yes))


async def _retain(settings: ServiceSettings, own: ArchiveSettings, keep_days: int, *, dry_run: bool, yes: bool) -> None:
    store = Store(settings.topic_prefix)
    connection = await connect(settings, "archive", patient=True)
    try:
        days = await store.retention(connection, keep_days)
        due = [day for day in days if day.due and day.why is None]
        _show(days)
        if dry_run or not due:
            return
        if not yes and not typer.confirm(f"Drop {len(due)} days for good, {due[0].day} to {due[-1].day}?"):
            raise UsageError("nothing was dropped")
        if not own.cold_place:
            raise UsageError(
                "which cold store? Its files are looked at before a day goes: --state-dir or DESKLINE_ARCHIVE_COLD"
            )
        for day in due:
            mended = await find_cli.cold_store().mend_copies(connection, own, settings.topic_prefix, day.day)
            if mended:
                typer.echo(f"{day.day}: {mended} files of the cold store were gone or altered, and are made anew")
            freed = await store.drop_day(connection, day.day)
            typer.echo(f"dropped {day.day}: {freed} bytes freed")
        kept = await connection.fetchval(load_queries()["drop_kept"])
        if kept:
            typer.echo(f"dropped {kept} records whose class is no longer kept")
    finally:
        await connection.close()


def _show(days: list[Day]) -> None:
    table = Table("day (UTC)", "rows, estimated", "bytes", "kept at least until", "")
    for day in days:
        rows = "?" if day.rows < 0 else f"{day.rows:,}"
        table.add_row(
            str(day.day),
            rows,
            f"{day.bytes:,}",
            f"{day.droppable_from:%Y-%m-%d}",
            ("goes" if day.why is None else day.why.replace("[", r"\[")) if day.due else "too young",
        )
    Console().print(table)
