"""``deskline rules``: what would answer and why, what candidate rules would change, what each rule achieved."""

import asyncio
import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deskline.clock import DAY, now_us, rfc3339, to_datetime
from deskline.config.book import ConfigBook
from deskline.config.loading import load_directory
from deskline.errors import UsageError
from deskline.options import AsJson, Shop
from deskline.postgres import connect
from deskline.settings import ServiceSettings
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant, printable
from deskline_autoreply.learning.mining import cleaned
from deskline_autoreply.learning.replay import Compared, Replayed, replay
from deskline_autoreply.learning.sources import from_archive, from_file

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Try rules on a text or on recorded traffic; report what they achieved.",
)
_HISTORY = DAY
"""What stands before ``since`` of the conversations replayed, so that owners and repetitions are known."""


def _try(app_: typer.Typer) -> None:
    # One command under two names; the service's own module is imported only here.
    from deskline_autoreply.cli import try_  # noqa: PLC0415

    app_.command(name="try")(try_)


_try(app)


@app.command("replay")
def replay_command(
    *,
    since: Annotated[str, typer.Option(help="From 90s, 15m, 6h, 2d ago, or a time.")],
    shop: Shop,
    config: Annotated[Path, typer.Option(help="The candidate: a directory of configuration.")],
    until: Annotated[str | None, typer.Option(help="Up to then. [default: now]")] = None,
    records: Annotated[Path | None, typer.Option(help="A file of recorded conversations; --since is not used.")] = None,
    examples: Annotated[int, typer.Option(min=0, help="Conversations shown of each kind.")] = 5,
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Show what customers wrote, without personal data.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all of it to this file.")] = None,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Run candidate rules over recorded messages: answers gained, lost and changed against what was really issued.

    Nothing is sent. Exit code 3 where answers would be lost, so that a script can stop there.

    For example:

      deskline rules replay --since 7d --shop wardrobe --config conf --state-dir .deskline

      deskline rules replay --since 7d --shop wardrobe --config conf --records talks.jsonl --show-text
    """
    now = now_us()
    begin, end = instant(since, now), now if until is None else instant(until, now)
    book = ConfigBook()
    for shop_id, documents in load_directory(config).shops.items():
        for kind, document in documents.items():
            book.install(shop_id, kind, document)
    if records is not None:
        events, _ = from_file(records)
        found = replay(events, book, shop, _progress)
    else:
        settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
        events = asyncio.run(from_archive(settings, begin - _HISTORY, end, _progress))
        inside = {(event.subject, event.data.message_id) for event in events if _is_message_since(event, begin)}
        whole = replay(events, book, shop, _progress)
        found = Replayed(tuple(one for one in whole.compared if (one.conversation, one.message_id) in inside))
    if not found.compared:
        raise UsageError(f"no message of shop {shop!r} was recorded then; check --shop and --since")
    if json_file is not None:
        json_file.write_text(
            json.dumps(_plain(found, show_text=show_text), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    for line in lines_of(found, examples, show_text=show_text):
        typer.echo(printable(line))
    if found.counts["lost"]:
        raise typer.Exit(3)


def _is_message_since(event: Any, begin: int) -> bool:
    return bool(event.type == "message.received.v1" and event.broker_at >= begin)


def lines_of(found: Replayed, examples: int, *, show_text: bool) -> list[str]:
    counts, (was, now) = found.counts, found.coverage()
    lines = [
        f"{len(found.compared)} messages",
        f"{counts['gained']} answers gained, {counts['lost']} lost, {counts['changed']} changed, {counts['same']} the same, {counts['unanswered']} left to people both times",
        f"answered: {was:.1%} → {now:.1%}",
    ]
    lines += [f"hand-over {reason}: {before} → {after}" for reason, (before, after) in found.handovers().items()]
    for kind in ("gained", "lost", "changed"):
        these = [one for one in found.compared if one.verdict == kind][:examples]
        lines += [f"{kind}:"] if these else []
        lines += [f"  {_line(one, show_text=show_text)}" for one in these]
    return lines


def _line(one: Compared, *, show_text: bool) -> str:
    was = (
        "nothing recorded"
        if one.was is None
        else f"{one.was.kind} {one.was.by if one.was.answered else one.was.reason}"
    )
    now = f"{one.now.kind} {one.now.by if one.now.answered else one.now.reason}"
    text = f": {cleaned(one.text)[:200]}" if show_text else ""
    return f"{one.conversation} {one.message_id}: {was} → {now}{text}"


def _plain(found: Replayed, *, show_text: bool) -> dict[str, Any]:
    was, now = found.coverage()
    messages = [
        {
            "conversation": one.conversation,
            "message_id": one.message_id,
            "verdict": one.verdict,
            "was": None if one.was is None else {"kind": one.was.kind, "reason": one.was.reason, "by": one.was.by},
            "now": {"kind": one.now.kind, "reason": one.now.reason, "by": one.now.by},
            **({"text": cleaned(one.text)} if show_text else {}),
        }
        for one in found.compared
        if one.verdict in {"gained", "lost", "changed"}
    ]
    handovers = {reason: {"was": a, "now": b} for reason, (a, b) in found.handovers().items()}
    return {"counts": found.counts, "coverage": {"was": was, "now": now}, "handovers": handovers, "messages": messages}


_REPORT = """
SELECT kind, id, CASE WHEN $3 THEN variant ELSE '' END AS variant, sum(answered + handed_over + silenced + tagged)::bigint AS hits, sum(answered)::bigint AS answered,
    sum(handed_over)::bigint AS handed_over, sum(followed)::bigint AS followed, sum(rated)::bigint AS rated,
    sum(score_sum)::bigint AS score_sum, max(last_hit_at)::bigint AS last_hit_at
FROM hits WHERE shop_id = $1 AND day >= $2::timestamptz::date
GROUP BY 1, 2, 3 ORDER BY hits DESC, 1, 2, 3
"""


@app.command()
def report(
    *,
    shop: Shop,
    since: Annotated[str, typer.Option(help="From 6h, 30d ago, or a time; whole days, UTC.")] = "30d",
    variants: Annotated[
        bool, typer.Option("--variants", help="One row for each variant of a reply, to compare them (A/B).")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Per rule and entry: hits, hand-overs that followed its answers, last hit, satisfaction.

    For example:

      deskline rules report --shop wardrobe --since 30d --state-dir .deskline

      deskline rules report --shop wardrobe --variants --csv > rules.csv
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    rows = asyncio.run(_report(settings, shop, instant(since, now_us()), variants=variants))
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    names = ["kind", "id", "hits", "answered", "handed_over", "followed", "satisfaction", "rated", "last_hit"]
    if variants:
        names.insert(2, "variant")
    if as_csv:
        writer = csv.DictWriter(sys.stdout, names)
        writer.writeheader()
        writer.writerows(rows)
        return
    if not rows:
        typer.echo(f"no rule or entry of shop {shop} had a hit since then")
        return
    table = Table(*names)
    for row in rows:
        table.add_row(*("" if row[name] is None else printable(str(row[name])).replace("[", r"\[") for name in names))
    Console().print(table)


async def _report(settings: ServiceSettings, shop: str, since: int, *, variants: bool) -> list[dict[str, Any]]:
    connection = await connect(settings, "autoreply")
    try:
        found = await connection.fetch(_REPORT, shop, to_datetime(since), variants)
    finally:
        await connection.close()
    return [
        {
            **{name: row[name] for name in ("kind", "id", "hits", "answered", "handed_over", "followed", "rated")},
            **({"variant": row["variant"]} if variants else {}),
            "satisfaction": round(row["score_sum"] / row["rated"], 2) if row["rated"] else None,
            "last_hit": rfc3339(row["last_hit_at"]) if row["last_hit_at"] else None,
        }
        for row in found
    ]


def _progress(text: str) -> None:
    typer.echo(text, err=True)
