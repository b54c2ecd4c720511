"""``deskline archive hold|erase|keys``: legal holds, the erasure of a person, and the keys of the database's views."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from deskline.clock import now_us, to_datetime
from deskline.errors import UsageError
from deskline.persons import forget_elsewhere
from deskline.postgres import Connection, connect
from deskline.settings import ServiceSettings
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline_archive import legal
from deskline_archive.settings import archive_settings
from deskline_archive.store import load_keyring, load_queries
from deskline_archive.veil import Vault

R = TypeVar("R")

Who = Annotated[str, typer.Option(help="Who orders it, and answers for it.")]
Why = Annotated[str, typer.Option(help="Why: the case, the letter, the law.")]

holds = typer.Typer(add_completion=False, no_args_is_help=True, help="Legal holds: what must not go, by whose order.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(holds, name="hold")
    for command in (erase, keys):
        app.command()(command)
    app.command("rotate-vault")(rotate_vault)


def working(settings: ServiceSettings, work: Callable[[Connection], Awaitable[R]]) -> R:
    """Run ``work`` on a connection as the archive."""

    async def run() -> R:
        connection = await connect(settings, "archive", patient=True)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day; write 2026-11-30") from None


@holds.command("add")
def add(
    *,
    who: Who,
    why: Why,
    conversation: Annotated[str | None, typer.Option(help="One conversation.")] = None,
    customer: Annotated[str | None, typer.Option(help="All conversations of a customer.")] = None,
    shop: Annotated[str | None, typer.Option(help="Everything of a shop.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="A period: its first day (UTC).")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Its last day.")] = None,
    until: Annotated[
        str | None, typer.Option(help="The day on which the hold ends by itself; without: until it is lifted.")
    ] = None,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Lay a hold: no day with such a record is dropped, and no such conversation erased, while it is in force.

    For example:

      deskline archive hold add --customer u-17 --who "legal" --why "case 4711" --until 2028-01-01 --state-dir .deskline

      deskline archive hold add --from 2026-06-01 --to 2026-06-30 --who "legal" --why "inquiry" --state-dir .deskline
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    named = {"conversation": conversation, "customer": customer, "shop": shop}
    given = [(kind, value) for kind, value in named.items() if value]
    period = first is not None or last is not None
    if len(given) + period != 1 or (period and (first is None or last is None)):
        raise UsageError("name one: --conversation, --customer, --shop, or --from with --to")
    days = _day(first), _day(last)
    if days[0] is not None and days[1] is not None and days[1] < days[0]:
        raise UsageError("--to is before --from")
    what = legal.Hold("period", None, *days) if period else legal.Hold(*given[0], None, None)
    ends = _day(until)
    end = None if ends is None else datetime(ends.year, ends.month, ends.day, tzinfo=UTC)
    if end is not None and end <= to_datetime(now_us()):
        raise UsageError(f"a hold until {end:%Y-%m-%d} (00:00 UTC) would be over already")
    prefix = settings.topic_prefix
    number = working(settings, lambda connection: legal.hold(connection, prefix, what, who=who, why=why, until=end))
    typer.echo(f"hold {number} is in force")


@holds.command("list")
def list_holds(*, state_dir: StateDir = None, postgres_dsn: PostgresDsn = None) -> None:
    """Every hold there was: who, why, until when, and who lifted it.

    For example:

      deskline archive hold list --state-dir .deskline
    """
    rows = working(
        settings_of(state_dir, postgres_dsn=postgres_dsn),
        lambda connection: connection.fetch(load_queries()["holds"]),
    )
    table = Table("hold", "of", "what", "who", "why", "since", "until", "lifted")
    for row in rows:
        end = "until lifted" if row["until"] is None else f"{row['until']:%Y-%m-%d}"
        lifted = "" if row["lifted_at"] is None else f"{row['lifted_at']:%Y-%m-%d} by {row['lifted_by']}"
        cells = (str(row["id"]), row["kind"], row["what"], row["who"], row["why"], f"{row['at']:%Y-%m-%d}", end, lifted)
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    Console(soft_wrap=True).print(table)


@holds.command()
def lift(
    number: Annotated[int, typer.Argument(help="The hold, as `list` shows it.")],
    *,
    who: Who,
    why: Why,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """End a hold before its time. That it was there stays on record.

    For example:

      deskline archive hold lift 3 --who "legal" --why "case closed" --state-dir .deskline
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    prefix = settings.topic_prefix
    working(settings, lambda connection: legal.lift(connection, prefix, number, who=who, why=why))
    typer.echo(f"hold {number} is lifted")


def erase(
    customer: Annotated[str | None, typer.Argument(help="The customer's id.")] = None,
    *,
    who: Who,
    why: Why,
    record: Annotated[
        str | None,
        typer.Option(help="Instead: one record that has no key, with its dead letter: TOPIC/PARTITION/OFFSET."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Erase a person: masked everywhere at once; the texts end, for good, as soon as the floor of 180 days allows it.

    Each conversation ends by itself when its newest record is old enough and no hold concerns it: the running archive
    looks every hour. Proofs go on holding. The order and what was done are records of the archive themselves. Records without a
    key that name the person or a conversation of his go as well; one that does not is named by --record. What the router records
    of customers (tier, spend, orders, complaints) goes at once; where this login may not, the command that does it is printed.

    For example:

      deskline archive erase u-17 --who "data protection" --why "letter of 2026-11-30" --state-dir .deskline

      deskline archive erase --record conversations.v1/0/4711 --who "data protection" --why "letter" --state-dir .deskline
    """
    customer, record = customer or None, record or None
    if (customer is None) == (record is None):
        raise UsageError("name a customer, or --record TOPIC/PARTITION/OFFSET")
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    prefix = settings.topic_prefix
    whom = customer if customer is not None else f"{prefix}{record}"
    file = _vault(state_dir)

    async def work(connection: Connection) -> legal.Erasure:
        if record is not None:
            await legal.check_keyless(connection, whom)
        await legal.order(connection, prefix, whom, who=who, why=why)
        (done,) = await legal.erase_due(connection, prefix, file, [whom])
        return done

    if not yes and not typer.confirm(f"Erase {whom}, for ever?"):
        raise UsageError("nothing was changed")
    done = working(settings, work)
    typer.echo(f"{whom}: masked from now on; {done.conversations} conversations erased, {done.records} records")
    if not done.conversations and not done.waiting:
        typer.echo("  the archive has nothing of them that is still to be erased: is the id right?", err=True)
    for conversation, reason in done.waiting:
        typer.echo(f"  {conversation} stays for now: {reason}")
    if customer is not None:
        for service in asyncio.run(forget_elsewhere(settings, customer)):
            if service.rows is None:
                typer.echo(f"  {service.service} was not reached by this login; run there: {service.command}", err=True)
            else:
                typer.echo(f"  {service.service}: {service.rows} records of the person forgotten")


def keys(*, state_dir: StateDir = None, postgres_dsn: PostgresDsn = None) -> None:
    """Give the database the keys of the vault, so that archive.records can be read while no archive runs.

    The running archive does it by itself. The database forgets them when it crashes, and they are in none of its backups.

    For example:

      deskline archive keys --state-dir .deskline
    """
    file = _vault(state_dir)
    working(
        settings_of(state_dir, postgres_dsn=postgres_dsn), lambda connection: load_keyring(connection, Vault.load(file))
    )
    typer.echo("the keys are loaded")


def rotate_vault(
    *,
    who: Who,
    why: Why,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Veil what comes from now on under new secrets: when somebody may have seen the vault, or once a year.

    What is stored stays under the old secrets, which stay in the vault: whoever has seen them and gets at the database can
    read it still, until it goes. The running archive takes the new ones by itself. Copy the vault anew.

    For example:

      deskline archive rotate-vault --who "Li Lei" --why "laptop lost" --state-dir .deskline
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    file, prefix = _vault(state_dir), settings.topic_prefix
    trees = working(settings, lambda connection: legal.rotate(connection, prefix, file, who=who, why=why))
    typer.echo(f"new records are veiled under new secrets (rotation {trees - 1}); copy {file} anew")


def _vault(state_dir: Path | None) -> Path:
    own = archive_settings(state_dir)
    if own.vault_file is None:
        raise UsageError("which vault? Give --state-dir, DESKLINE_ARCHIVE_VAULT or DESKLINE_ARCHIVE_HOME")
    return own.vault_file
