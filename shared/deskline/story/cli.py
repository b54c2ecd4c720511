"""``deskline explain CONVERSATION``: its story from the archive."""

import asyncio
import json
from typing import Annotated, cast

import typer

from deskline.clock import now_us, rfc3339
from deskline.errors import UsageError
from deskline.story.sentences import Language, tell
from deskline.story.source import read_story
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant, printable

app = typer.Typer(add_completion=False, help="Tell the story of a conversation, from all services, as sentences.")


@app.command()
def explain(
    conversation: Annotated[str, typer.Argument(help="The conversation's id.")],
    *,
    since: Annotated[
        str, typer.Option(help="From 90s, 15m, 6h, 2d ago, or a time; days before it are not read.")
    ] = "30d",
    lang: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value on standard output instead of text.")] = False,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Tell what happened in a conversation, in order: messages, replies, each decision about agents and why, SLA clocks.

    What people wrote is not shown. Exit code 1 where the archive knows nothing of the conversation.

    For example:

      deskline explain c-20261125-0001 --state-dir .deskline

      deskline explain c-20261125-0001 --since 2026-11-25T00:00:00+08:00 --lang zh
    """
    if lang not in ("en", "zh"):
        raise UsageError(f"--lang {lang}: write en or zh")
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    found = asyncio.run(read_story(settings, conversation, instant(since, now_us())))
    lines = tell(found.events, cast("Language", lang))
    if as_json:
        told = [{"time": rfc3339(line.at), "text": line.text} for line in lines]
        typer.echo(
            json.dumps({"conversation": conversation, "story": told, "ignored": found.ignored}, ensure_ascii=False)
        )
    else:
        for line in lines:
            typer.echo(f"{rfc3339(line.at)}  {printable(line.text)}")
        if found.ignored:
            typer.echo(f"{found.ignored} records are not valid, or of an unknown type, and had no effect", err=True)
    if not lines:
        typer.echo(f"the archive has no record of {printable(conversation)} since then", err=True)
        raise typer.Exit(1)
