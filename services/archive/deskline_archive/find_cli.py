"""``deskline archive search|transcript|token|tidy``."""

import asyncio
import getpass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deskline.access import give
from deskline.errors import UsageError
from deskline.postgres import Connection
from deskline.settings import ServiceSettings
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline_archive import legal
from deskline_archive.days import close_days
from deskline_archive.find import ROLES, Finder, Looker, Page, Question
from deskline_archive.legal_cli import working
from deskline_archive.settings import ArchiveSettings, archive_settings
from deskline_archive.shown import as_csv, as_html, as_json, as_text
from deskline_archive.veil import vault_of

RoleOption = Annotated[str, typer.Option(help=f"What may be seen: {', '.join(ROLES)}.")]
Reason = Annotated[str, typer.Option(help="Why an investigator looks: it is kept.")]


def add_to(app: typer.Typer) -> None:
    for command in (search, transcript, token, tidy):
        app.command()(command)


def looker(role: str, reason: str) -> Looker:
    if role not in ROLES:
        raise UsageError(f"--role is one of {', '.join(ROLES)}")
    return Looker(f"{getpass.getuser()} at the keyboard", role, reason)


def day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day; write 2026-11-30") from None


def search(
    text: Annotated[str | None, typer.Argument(help="Words; two Chinese characters are enough: 退款.")] = None,
    *,
    conversation: Annotated[str | None, typer.Option(help="Of this conversation.")] = None,
    customer: Annotated[str | None, typer.Option(help="Of this customer's conversations.")] = None,
    shop: Annotated[str | None, typer.Option(help="Of this shop.")] = None,
    agent: Annotated[str | None, typer.Option(help="That name this agent.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this type: message.received.v1.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="Not before this day (UTC).")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Not after this day.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Records of a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where a page before ended, as it said.")] = None,
    seconds: Annotated[float, typer.Option(help="Answer with what is found in this time.")] = 30.0,
    form: Annotated[Literal["text", "json", "csv"], typer.Option("--format", help="How to show it.")] = "text",
    role: RoleOption = "reader",
    reason: Reason = "",
    cold: Annotated[bool, typer.Option("--cold", help="Look into the cold store, not into the database.")] = False,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Find records, newest first, a page at a time. Closed days are asked by index; the open day is read.

    For example:

      deskline archive search 退款 --shop s-1 --from 2026-11-01 --state-dir .deskline

      deskline archive search --customer u-17 --role investigator --reason "case 4711" --format csv --state-dir .deskline
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    own = archive_settings(state_dir)
    question = Question(conversation, customer, shop, agent, kind, day(first), day(last), text, limit, cursor, seconds)
    who = looker(role, reason)

    async def work(connection: Connection) -> Page:
        if cold:
            page: Page = await cold_store().search_cold(connection, own, settings.topic_prefix, question, who)
            return page
        return await Finder(connection, settings.topic_prefix, vault_of(own)).search(question, who)

    page = working(settings, work)
    typer.echo({"text": as_text, "json": as_json, "csv": as_csv}[form](page.hits), nl=False)
    if not page.complete:
        why = "the cold store shows one page: narrow the period" if cold else "the time was over"
        typer.echo(f"{why}: there may be more", err=True)
    if page.cursor is not None:
        typer.echo(f"more: --cursor {page.cursor}", err=True)


def transcript(
    conversation: Annotated[str, typer.Argument(help="The conversation's id.")],
    *,
    form: Annotated[Literal["text", "html", "json"], typer.Option("--format", help="How to show it.")] = "text",
    role: RoleOption = "reader",
    reason: Reason = "",
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """One conversation from its first record to its last.

    For example:

      deskline archive transcript c-4711 --format html --state-dir .deskline > c-4711.html
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    vault, who, prefix = vault_of(archive_settings(state_dir)), looker(role, reason), settings.topic_prefix
    hits = working(settings, lambda connection: Finder(connection, prefix, vault).transcript(conversation, who))
    if not hits:
        raise UsageError(f"the archive has nothing of conversation {conversation}")
    shown = as_html(conversation, hits) if form == "html" else {"text": as_text, "json": as_json}[form](hits)
    typer.echo(shown, nl=False)


def token(
    name: Annotated[str, typer.Argument(help="Whose it is; every look is kept under this name.")],
    *,
    role: RoleOption = "reader",
    state_dir: StateDir = None,
) -> None:
    """Give somebody access to the archive's HTTP search; print the token, which is kept nowhere.

    For example:

      deskline archive token li.lei --role supervisor --state-dir .deskline
    """
    looker(role, "")
    file = archive_settings(state_dir).tokens_file
    if file is None or not name or any(character.isspace() for character in name):
        raise UsageError(
            "give a name without blanks, and --state-dir, DESKLINE_ARCHIVE_TOKENS or DESKLINE_ARCHIVE_HOME"
        )
    typer.echo(give(file, name, role))


def tidy(*, state_dir: StateDir = None, topic_prefix: TopicPrefix = None, postgres_dsn: PostgresDsn = None) -> None:
    """What the running archive does every hour: end the keys that are due, close days, copy segments to the cold store.

    For example:

      deskline archive tidy --state-dir .deskline
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    for told in working(settings, lambda connection: tidied(connection, settings, archive_settings(state_dir))):
        typer.echo(told)


def cold_store() -> Any:
    """Late: pyarrow is heavy, and not everywhere installed."""
    try:
        return import_module("deskline_archive.cold")
    except ModuleNotFoundError as error:
        raise UsageError(f'the cold store needs {error.name}: pip install "deskline[cold]"') from None


async def tidied(connection: Connection, settings: ServiceSettings, own: ArchiveSettings) -> list[str]:
    """Each thing that was done, in words."""
    told = []
    file: Path | None = own.vault_file
    if file is not None and not await asyncio.to_thread(file.exists):
        file = None
    if file is not None:
        told += [
            f"erased: {done.conversations} conversations, {done.records} records"
            for done in await legal.erase_due(connection, settings.topic_prefix, file)
            if done.conversations
        ]
    told += [
        f"closed {closed}: {count} messages can be searched" for closed, count in await close_days(connection, file)
    ]
    if own.cold_place:
        copied = await cold_store().copy_segments(connection, own, settings.topic_prefix)
        if copied:
            told.append(f"copied {copied} segments to the cold store")
    return told
