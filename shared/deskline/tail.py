"""``deskline tail``: follow the topics live, one line per record: when, where, what, whose. Texts only on request."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from deskline.clock import now_us, rfc3339
from deskline.errors import UsageError
from deskline.events.wire import decode
from deskline.letters import read_letter
from deskline.records import ALL_TOPICS, DEAD_LETTERS, Event, Invalid, Record
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant, printable, shown_bytes
from deskline.topic_reader import opened

app = typer.Typer(add_completion=False)

# Beside everything called …_id: fields of closed lists and numbers, by which a line is understood. No prose: a reason
# or a note may be what somebody typed.
_TOLD: Final = frozenset(
    {"status", "metric", "cause", "mode", "n", "seq", "attempt", "priority", "document", "version"}
)
_TEXTS: Final = ("text", "masked_text", "note", "comment", "reason")
_LONGEST_TEXT: Final = 500


@app.callback(invoke_without_command=True)
def tail(
    *,
    topic: Annotated[list[str] | None, typer.Option(help="Only this topic (again for more); default: all.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this conversation, agent or shop.")] = None,
    since: Annotated[str | None, typer.Option(help="Begin at 90s, 15m, 6h, 2d ago, or a time; default: now.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many lines.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Show what people wrote.")] = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Print a line for each record as it comes, until Ctrl-C.

    For example:

      deskline tail --state-dir .deskline

      deskline tail --topic routing --topic sla --since 15m --bootstrap-servers kafka1:9092

      deskline tail --subject c-4711 --since 2d --text --state-dir .deskline
    """
    settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    start = None if since is None else instant(since, now_us())
    topics = [named(name) for name in topic or ALL_TOPICS]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_follow(settings, topics, subject=subject, since=start, count=count, text=text))


def named(name: str) -> str:
    """The topic of this name, with or without its version."""
    for topic in ALL_TOPICS:
        if name in (topic, topic.rpartition(".v")[0]):
            return topic
    raise UsageError(f"no topic {name!r}; there are {', '.join(ALL_TOPICS)}")


async def _follow(
    settings: ServiceSettings,
    topics: Sequence[str],
    *,
    subject: str | None,
    since: int | None,
    count: int | None,
    text: bool,
) -> None:
    shown = 0
    async with opened(settings) as reader:
        async for record in reader.follow(topics, since=since):
            if subject is not None and record.key != subject.encode():
                continue
            typer.echo(line_of(record, text=text))
            shown += 1
            if shown == count:
                return


def line_of(record: Record, *, text: bool = False) -> str:
    """One record on one line: event time, position, type, subject, ids."""
    position = f"{record.topic}/{record.partition}/{record.offset}"
    if record.topic == DEAD_LETTERS:
        letter = read_letter(record)
        of = f"{letter.topic}/{letter.partition}/{letter.offset}"
        words = [rfc3339(record.broker_at), position, "letter", letter.reason, f"service={letter.service}", f"of={of}"]
        return printable(" ".join(words))
    found = decode(record)
    if isinstance(found, Invalid):
        words = [rfc3339(record.broker_at), position, "invalid", found.reason, f"key={shown_bytes(record.key)[:128]}"]
    elif isinstance(found, Event):
        words = [rfc3339(found.at), position, found.type, found.subject, *_fields(found.data, text=text)]
    else:
        words = [rfc3339(record.broker_at), position, found.type, found.subject, "(unknown type)"]
    return printable(" ".join(words))


def _fields(data: Any, *, text: bool) -> list[str]:
    """``name=value`` of the ids, of what is told beside them, and of the texts where they are wanted."""
    words = []
    for name in data.__struct_fields__:
        value = getattr(data, name)
        if isinstance(value, str | int) and (name.endswith("_id") or name in _TOLD):
            words.append(f"{name}={value}")
        elif name == "author":
            words.append(f"author={value.kind}:{value.id}")
    if text:
        for name in _TEXTS:
            value = getattr(data, name, None)
            if isinstance(value, str):
                cut = "" if len(value) <= _LONGEST_TEXT else "…"
                words.append(f"{name}={value[:_LONGEST_TEXT]!r}{cut}")
    return words
