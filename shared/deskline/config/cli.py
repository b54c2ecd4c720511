"""``deskline config``: what shops' managers and those who look after them do with configuration.

Exit codes: 0; 1 where the configuration has mistakes (each on a line of its own: file, line, column, field, what to do)
or where something is away; 2 where the command was called wrongly.
"""

import asyncio
import getpass
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from deskline.clock import now_us, parse_rfc3339
from deskline.config import schemas
from deskline.config.apply import apply_directory, bodies_of, parse, publish_waiting, rollback
from deskline.config.base import DEFAULT_SHOP, DocumentKind
from deskline.config.cells import shared_by_cells
from deskline.config.loading import KINDS, ConfigurationError, load_directory
from deskline.config.planning import Change, plan_directory
from deskline.config.rendering import difference
from deskline.config.store import Body, ConfigStore, Entry
from deskline.config.telling import (
    plain,
    print_applied,
    print_documents,
    print_history,
    print_json,
    print_overview,
    print_plan,
    print_problems,
    print_warnings,
)
from deskline.errors import UsageError
from deskline.options import AsJson
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import printable

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Check, apply, show and roll back the shops' configuration."
)

T = TypeVar("T")

Directory = Annotated[Path, typer.Argument(help="One folder per shop, one YAML file per document; _default always.")]
Directories = Annotated[
    list[Path],
    typer.Argument(help="As for apply; several are cells beside each other: no shop and no agent may be in two."),
]
Shop = Annotated[str, typer.Argument(help="A shop's id; _default is what shops without their own run on.")]
Document = Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}; all of them without it.")]
EffectiveFrom = Annotated[
    str | None,
    typer.Option(help="RFC 3339 time from which the versions are in force. [default: as soon as services can know it]"),
]
Reevaluate = Annotated[
    bool,
    typer.Option("--reevaluate", help="Clocks that are open and not yet breached take the new policy or calendar."),
]
Comment = Annotated[str, typer.Option(help="Why; kept in the history.")]
By = Annotated[str | None, typer.Option(help="Who, for the history. [default: the login name]")]


@app.command()
def check(directories: Directories, as_json: AsJson = False) -> None:
    """Say everything that is wrong with a directory, without a database or a broker; of several, what two cells may not share.

    For example:

      deskline config check examples/config

      deskline config check conf --json

      deskline config check cell-a cell-b
    """
    cells = {str(each): _guarded(partial(load_directory, each), as_json=as_json) for each in directories}
    shared = shared_by_cells(cells)
    warnings = [warning for configuration in cells.values() for warning in configuration.warnings]
    if as_json:
        shops = sorted({shop for configuration in cells.values() for shop in configuration.shops})
        told = {"problems": [], "warnings": plain(warnings), "shops": shops}
        print_json(told | ({"shared_by_cells": [one._asdict() for one in shared]} if len(cells) > 1 else {}))
    else:
        print_warnings(warnings)
        for one in shared:
            typer.echo(printable(str(one)), err=True)
    if shared:
        raise typer.Exit(1)
    if not as_json:
        shops_ = sum(len(configuration.shops) for configuration in cells.values())
        documents = sum(len(shop) for configuration in cells.values() for shop in configuration.shops.values())
        where = f" in {len(cells)} cells" if len(cells) > 1 else ""
        typer.echo(f"no mistakes: {shops_} shops, {documents} documents{where}")


@app.command("apply")
def apply_command(
    directory: Directory,
    *,
    effective_from: EffectiveFrom = None,
    reevaluate: Reevaluate = False,
    comment: Comment = "",
    by: By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    as_json: AsJson = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Make the configuration what a directory says: number what changed, keep it, publish it. All of it or nothing.

    For example:

      deskline config apply conf --state-dir .deskline

      deskline config apply conf --effective-from 2026-11-26T00:00:00+08:00 --comment "双十二 hours"

      deskline config apply conf --reevaluate
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    if dry_run:
        print_plan(_guarded(lambda: asyncio.run(_planned(settings, directory)), as_json=as_json), as_json=as_json)
        return
    applied = _guarded(
        lambda: asyncio.run(
            apply_directory(
                settings,
                directory,
                effective_from=_instant(effective_from),
                reevaluate=reevaluate,
                comment=comment,
                by=by or getpass.getuser(),
            )
        ),
        as_json=as_json,
    )
    print_applied(applied, as_json=as_json)


@app.command("rollback")
def rollback_command(
    shop: Shop,
    version: Annotated[int, typer.Argument(help="The version whose documents the shop shall have again.")],
    *,
    document: Annotated[list[str] | None, typer.Option(help="Only this document; may be given again.")] = None,
    effective_from: EffectiveFrom = None,
    reevaluate: Reevaluate = False,
    comment: Comment = "",
    by: By = None,
    as_json: AsJson = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Give a shop the documents of an earlier version again, as a new version.

    The directory does not change: the next apply of it puts its own words back.

    For example:

      deskline config rollback wardrobe 3 --comment "the new hours were wrong"

      deskline config rollback _default 7 --document rules
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    applied = _guarded(
        lambda: asyncio.run(
            rollback(
                settings,
                shop,
                version,
                only=frozenset(_kind(name) for name in document) if document else frozenset(KINDS),
                effective_from=_instant(effective_from),
                reevaluate=reevaluate,
                comment=comment,
                by=by or getpass.getuser(),
            )
        ),
        as_json=as_json,
    )
    print_applied(applied, as_json=as_json)


@app.command()
def publish(
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Publish what an interrupted command stored and could not publish. Every other command does so too, first.

    For example:

      deskline config publish --state-dir .deskline
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )

    async def work() -> int:
        async with ConfigStore.opened(settings) as store, store.turn():
            return await publish_waiting(settings, store)

    typer.echo(f"{asyncio.run(work())} records published")


@app.command()
def show(
    shop: Annotated[str | None, typer.Argument(help="A shop's id; without it, the last version of everything.")] = None,
    document: Document = None,
    *,
    at: Annotated[str | None, typer.Option(help="In force at this RFC 3339 time. [default: now]")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="As this version left it, instead of --at.")] = None,
    as_json: AsJson = False,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Show what a shop runs on, as YAML that can be applied again; without a shop, an overview.

    For example:

      deskline config show

      deskline config show wardrobe sla

      deskline config show wardrobe --at 2026-11-20T09:00:00Z
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    kinds = KINDS if document is None else (_kind(document),)

    async def work() -> None:
        async with ConfigStore.opened(settings) as store:
            if shop is None:
                print_overview(await store.last_documents(), await store.scheduled(now_us()), as_json=as_json)
            else:
                print_documents(shop, await _found(store, shop, _instant(at), version), kinds, as_json=as_json)

    asyncio.run(work())


@app.command()
def diff(
    where: Annotated[str, typer.Argument(help="A directory; or a shop's id, with --from.")],
    document: Document = None,
    *,
    from_version: Annotated[int | None, typer.Option("--from", min=1, help="Version of the shop on the left.")] = None,
    to_version: Annotated[
        int | None, typer.Option("--to", min=1, help="Version on the right. [default: the last]")
    ] = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Show, line by line, what applying a directory would change, or how two versions of a shop differ.

    Exit code 0 either way.

    For example:

      deskline config diff conf

      deskline config diff wardrobe rules --from 3 --to 5
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    kinds = KINDS if document is None else (_kind(document),)

    async def work() -> list[str]:
        if from_version is None:
            changes = await _planned(settings, Path(where))
            return await _diff_plan(settings, [change for change in changes if change.document in kinds])
        async with ConfigStore.opened(settings) as store:
            to = to_version or (await store.last_versions()).get(where, 0)
            return _diff_versions(where, await store.as_of(where, from_version), await store.as_of(where, to), kinds)

    lines = _guarded(lambda: asyncio.run(work()), as_json=False)
    for line in lines:
        typer.echo(line)
    if not lines:
        typer.echo("no difference")


@app.command()
def history(
    shop: Annotated[str | None, typer.Argument(help="A shop's id; all shops without it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest first, at most so many.")] = 50,
    as_json: AsJson = False,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Show who changed what, when, and from when it is in force.

    For example:

      deskline config history wardrobe

      deskline config history --limit 5 --json
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)

    async def work() -> list[Entry]:
        async with ConfigStore.opened(settings) as store:
            return await store.history(shop, limit)

    print_history(asyncio.run(work()), as_json=as_json)


@app.command()
def schema(
    document: Document = None,
    write: Annotated[Path | None, typer.Option(help="Write the schemas of all documents into this folder.")] = None,
    check_folder: Annotated[
        Path | None, typer.Option("--check", help="Exit code 1 where this folder's schemas are out of date.")
    ] = None,
) -> None:
    """Print a document's JSON Schema, or write all of them for editors.

    For example:

      deskline config schema sla

      deskline config schema --write docs/config
    """
    if check_folder is not None:
        stale = [
            name
            for name, text in schemas.files().items()
            if not (check_folder / name).is_file() or (check_folder / name).read_text(encoding="utf-8") != text
        ]
        if stale:
            typer.echo(f"out of date: {', '.join(stale)}; run: deskline config schema --write {check_folder}", err=True)
            raise typer.Exit(1)
    elif write is not None:
        write.mkdir(parents=True, exist_ok=True)
        for name, text in schemas.files().items():
            (write / name).write_text(text, encoding="utf-8")
    elif document is not None:
        typer.echo(schemas.files()[schemas.file_name(_kind(document))], nl=False)
    else:
        raise UsageError(f"name a document ({', '.join(KINDS)}), or give --write or --check a folder")


# --- gathering ------------------------------------------------------------------------------------------------------


async def _planned(settings: ServiceSettings, directory: Path) -> list[Change]:
    configuration = load_directory(directory)
    async with ConfigStore.opened(settings) as store:
        return plan_directory(bodies_of(configuration), await store.last_documents())


async def _found(store: ConfigStore, shop: str, at: int | None, version: int | None) -> dict[DocumentKind, Body]:
    """The shop's documents; those that it has not, of ``_default``, with version 0 to tell them apart."""
    if version is not None:
        own = await store.as_of(shop, version)
        default: dict[DocumentKind, Body] = {}
    else:
        instant = now_us() if at is None else at
        own = await store.in_force(shop, instant)
        default = await store.in_force(DEFAULT_SHOP, instant)
    found = {kind: body._replace(inherited=True) for kind, body in default.items()} | own
    if not found:
        raise UsageError("nothing has been applied yet; run: deskline config apply DIRECTORY")
    return found


async def _diff_plan(settings: ServiceSettings, changes: Sequence[Change]) -> list[str]:
    lines: list[str] = []
    async with ConfigStore.opened(settings) as store:
        for change in changes:
            old = None
            name = "(none)"
            if change.replaces is not None:
                stored = (await store.as_of(change.shop_id, change.replaces.version))[change.document]
                old = parse(change.shop_id, change.document, stored.body)
                name = f"{change.shop_id}/{change.document} version {change.replaces.version}"
            new = parse(change.shop_id, change.document, change.body)
            lines += difference(old, new, name, f"{change.shop_id}/{change.document} in the directory")
    return lines


def _diff_versions(
    shop: str,
    left: dict[DocumentKind, Body],
    right: dict[DocumentKind, Body],
    kinds: Iterable[DocumentKind],
) -> list[str]:
    if not left or not right:
        raise UsageError(f"shop {shop!r} has no such version; see: deskline config history")
    lines: list[str] = []
    for kind in kinds:
        old, new = left.get(kind), right.get(kind)
        if new is None or (old is not None and old.body == new.body):
            continue
        before = None if old is None else parse(shop, kind, old.body)
        old_name = "(none)" if old is None else f"{shop}/{kind} version {old.version}"
        lines += difference(before, parse(shop, kind, new.body), old_name, f"{shop}/{kind} version {new.version}")
    return lines


def _instant(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write 2026-11-26T09:00:00+08:00") from None


def _kind(name: str) -> DocumentKind:
    for kind in KINDS:
        if kind == name:
            return kind
    raise UsageError(f"{name!r} is no document; the documents are {', '.join(KINDS)}")


def _guarded(work: Callable[[], T], *, as_json: bool) -> T:
    """Run it; mistakes in the configuration end the command with exit code 1, one line each."""
    try:
        return work()
    except ConfigurationError as error:
        print_problems(error.problems, as_json=as_json)
        raise typer.Exit(1) from None
