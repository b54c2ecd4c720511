"""``deskline explain CONVERSATION``: its story from the archive."""

import asyncio
import json
from typing import Annotated, Final, NamedTuple, cast

import asyncpg
import typer

from deskline.clock import from_datetime, now_us, rfc3339, to_datetime
from deskline.errors import FatalError, TransientError, UsageError
from deskline.events.wire import decode
from deskline.postgres import TRANSIENT, connect
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA, Event, Record
from deskline.settings import ServiceSettings
from deskline.story.sentences import Language, tell
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant, printable

app = typer.Typer(add_completion=False, help="Tell the story of a conversation, from all services, as sentences.")

_TOPICS: Final = (CONVERSATIONS, REPLIES, ROUTING, SLA)
_RECORDS: Final = """
    SELECT topic, partition, "offset", broker_time, value FROM records
    WHERE key = $1 AND topic = ANY($2::text[]) AND broker_time >= $3
    ORDER BY topic, partition, "offset"
"""


class Found(NamedTuple):
    events: list[Event]
    ignored: int
    """Records that are not valid, or of a type that nobody knows."""


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
    found = asyncio.run(_read(settings, conversation, instant(since, now_us())))
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


async def _read(settings: ServiceSettings, conversation: str, since: int) -> Found:
    try:
        connection = await connect(settings, "archive")
    except TRANSIENT as error:
        raise TransientError(f"the archive cannot be read: {error}") from error
    prefix = settings.topic_prefix
    try:
        async with connection.transaction(readonly=True):
            # There is no index by conversation on the open day: it is a scan of the days asked for.
            await connection.execute("SET LOCAL statement_timeout = 0")
            rows = await connection.fetch(
                _RECORDS, conversation.encode(), [prefix + topic for topic in _TOPICS], to_datetime(since)
            )
    except asyncpg.UndefinedTableError:
        raise FatalError("this database has no archive; name the one that the archive service writes to") from None
    finally:
        await connection.close()
    events, ignored = [], 0
    for topic, partition, offset, broker_time, value in rows:
        record = Record(
            topic[len(prefix) :], partition, offset, from_datetime(broker_time), conversation.encode(), value, ()
        )
        event = decode(record)
        if isinstance(event, Event):
            events.append(event)
        else:
            ignored += 1
    return Found(events, ignored)
