"""What ``deskline config`` prints: one line a fact for people, or one JSON value for programs.

Names come from files and from other people: nothing unprintable reaches the terminal.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

import typer
from rich.console import Console
from rich.table import Table

from deskline.clock import rfc3339
from deskline.config.apply import Applied, parse
from deskline.config.base import DocumentKind
from deskline.config.loading import Problem
from deskline.config.planning import Change, Stored
from deskline.config.rendering import as_yaml
from deskline.config.store import Body, Entry, Scheduled
from deskline.terminal_text import printable


def print_problems(problems: Sequence[Problem], *, as_json: bool) -> None:
    if as_json:
        print_json({"problems": plain(problems), "warnings": []})
        return
    for problem in problems:
        typer.echo(printable(str(problem)), err=True)
    typer.echo(f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}; nothing was changed", err=True)


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def plain(problems: Iterable[Problem]) -> list[dict[str, object]]:
    return [problem._asdict() for problem in problems]


def print_warnings(warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        typer.echo(f"warning: {printable(str(warning))}", err=True)


def _plain_change(change: Change) -> dict[str, object]:
    replaces = None if change.replaces is None else change.replaces.version
    return {
        "shop": change.shop_id,
        "document": change.document,
        "sha256": change.sha256,
        "inherited": change.inherited,
        "replaces": replaces,
    }


def _change_line(change: Change) -> str:
    how = "new" if change.replaces is None else f"replaces version {change.replaces.version}"
    copy = ", a copy of _default's" if change.inherited else ""
    return f"{printable(change.shop_id)}/{change.document}: {how}{copy}"


def print_plan(changes: Sequence[Change], *, as_json: bool) -> None:
    if as_json:
        print_json([_plain_change(change) for change in changes])
        return
    for change in changes:
        typer.echo(_change_line(change))
    typer.echo(f"{len(changes)} documents would change" if changes else "nothing would change")


def print_applied(applied: Applied, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "versions": dict(applied.numbers),
                "effective_from": rfc3339(applied.order.effective_from),
                "changes": [_plain_change(change) for change in applied.changes],
                "warnings": plain(applied.warnings),
                "overtaken_by": [
                    each._asdict() | {"effective_from": rfc3339(each.effective_from)} for each in applied.overtaken_by
                ],
            }
        )
        return
    print_warnings(applied.warnings)
    for each in applied.overtaken_by:
        typer.echo(
            f"warning: {printable(each.shop_id)}/{each.document}: version {each.version}, applied earlier, comes into force "
            f"at {rfc3339(each.effective_from)} and replaces this one then",
            err=True,
        )
    for change in applied.changes:
        typer.echo(f"{_change_line(change)} → version {applied.numbers[change.shop_id]}")
    if applied.changes:
        typer.echo(f"in force from {rfc3339(applied.order.effective_from)}")
    else:
        typer.echo("nothing to change")


def print_overview(
    stored: Mapping[tuple[str, DocumentKind], Stored], scheduled: Iterable[Scheduled], *, as_json: bool
) -> None:
    coming = {(each.shop_id, each.document): each for each in scheduled}
    if as_json:
        print_json(
            [
                {"shop": shop_id, "document": kind, "version": last.version, "inherited": last.inherited}
                for (shop_id, kind), last in stored.items()
            ]
        )
        return
    table = Table("shop", "document", "last version", "")
    for (shop_id, kind), last in sorted(stored.items()):
        later = coming.get((shop_id, kind))
        notes = ["a copy of _default's"] if last.inherited else []
        if later is not None:
            notes.append(f"version {later.version} comes into force at {rfc3339(later.effective_from)[:19]}Z")
        table.add_row(printable(shop_id), kind, str(last.version), "; ".join(notes))
    Console().print(table)


def print_documents(
    shop: str, found: dict[DocumentKind, Body], kinds: Sequence[DocumentKind], *, as_json: bool
) -> None:
    shown = [(kind, found[kind]) for kind in kinds if kind in found]
    if as_json:
        print_json(
            {
                kind: {"version": body.version, "inherited": body.inherited, "body": json.loads(body.body)}
                for kind, body in shown
            }
        )
        return
    for kind, body in shown:
        origin = "_default's" if body.inherited else "the shop's own"
        typer.echo(f"# {printable(shop)}/{kind}.yaml, version {body.version}, {origin}")
        typer.echo(as_yaml(parse(shop, kind, body.body)))


def print_history(entries: Sequence[Entry], *, as_json: bool) -> None:
    if as_json:
        print_json([_plain_entry(entry) for entry in entries])
        return
    table = Table("shop", "version", "documents", "applied (UTC)", "by", "in force from (UTC)", "note")
    for entry in entries:
        table.add_row(
            printable(entry.shop_id),
            str(entry.version),
            ", ".join(entry.documents),
            rfc3339(entry.order.applied_at)[:19],
            printable(entry.order.applied_by),
            rfc3339(entry.order.effective_from)[:19],
            printable(_note(entry)),
        )
    Console().print(table)


def _plain_entry(entry: Entry) -> dict[str, object]:
    order = entry.order
    return {
        "shop": entry.shop_id,
        "version": entry.version,
        "documents": entry.documents,
        "inherited": entry.inherited,
        "applied_at": rfc3339(order.applied_at),
        "applied_by": order.applied_by,
        "effective_from": rfc3339(order.effective_from),
        "reevaluate": order.reevaluate,
        "rollback_to": order.rollback_to,
        "comment": order.comment,
    }


def _note(entry: Entry) -> str:
    parts = [f"as version {entry.order.rollback_to}"] if entry.order.rollback_to is not None else []
    parts += ["open clocks too"] if entry.order.reevaluate else []
    parts += [f"{', '.join(entry.inherited)} from _default"] if entry.inherited else []
    return "; ".join([*parts, *([entry.order.comment] if entry.order.comment else [])])
