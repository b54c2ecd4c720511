"""``deskline deadletters``: look at dead letters, and send their records again.

Of a value only ids, times and words of the contract's lists are shown unless ``--reveal`` is given. A replayed record
is a new record on its topic, at its end: it is handled like any other, and gets a new letter if nothing has changed.
"""

import asyncio
import heapq
from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from deskline.clock import now_us, rfc3339
from deskline.errors import UsageError
from deskline.events.masking import masked
from deskline.events.wire import decode
from deskline.kafka import partition_of, producer
from deskline.letters import Letter, original, read_letter
from deskline.records import DEAD_LETTERS, Invalid, Record
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant, printable, shown_bytes
from deskline.topic_reader import opened

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Dead letters: records that are not valid or could not be handled."
)

# Headers whose values are ours or technical: shown although customers' words are masked.
_OPEN_HEADERS: Final = frozenset({"content-type", "original-deskline-source"})

Position = Annotated[str, typer.Argument(help="PARTITION/OFFSET of a letter, as `list` shows it.")]
Positions = Annotated[list[str], typer.Argument(help="PARTITION/OFFSET of each letter, as `list` shows it.")]


class Filters(NamedTuple):
    """What ``list`` shows; None is everything."""

    reason: str | None = None
    service: str | None = None
    topic: str | None = None
    """Logical or full name."""

    def admit(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.service in (None, letter.service)
            and (self.topic is None or letter.topic == self.topic or letter.topic.endswith(self.topic))
        )


@app.command("list")
def list_letters(
    *,
    reason: Annotated[str | None, typer.Option(help="Only this reason, e.g. bad_json or failed.")] = None,
    service: Annotated[str | None, typer.Option(help="Only letters that this service wrote.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only records of this topic.")] = None,
    since: Annotated[str | None, typer.Option(help="Not before: 90s, 15m, 6h, 2d ago, or a time.")] = None,
    until: Annotated[str | None, typer.Option(help="Not after.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 50,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """The newest letters first.

    For example:

      deskline deadletters list --state-dir .deskline

      deskline deadletters list --reason failed --service router --since 6h --bootstrap-servers kafka1:9092
    """
    settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    now = now_us()
    first = None if since is None else instant(since, now)
    last = None if until is None else instant(until, now)
    letters = asyncio.run(newest(settings, Filters(reason, service, topic), since=first, until=last, limit=limit))
    if not letters:
        typer.echo("no letters")
        return
    table = Table("letter", "written", "reason", "service", "record", "key", "bytes", "error")
    for letter in letters:
        row = (
            letter.position,
            rfc3339(letter.record.broker_at),
            letter.reason,
            letter.service,
            f"{letter.topic}/{letter.partition}/{letter.offset}",
            shown_bytes(letter.record.key)[:40],
            str(len(letter.record.value or b"")),
            letter.error[:120],
        )
        table.add_row(*(printable(text).replace("[", r"\[") for text in row))
    Console(soft_wrap=True).print(table)


@app.command()
def show(
    position: Position,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show all texts and the raw bytes.")] = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """One letter: its headers, its key and its value, of whose texts only ids, times and listed words are shown.

    For example:

      deskline deadletters show 3/17 --state-dir .deskline
    """
    settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    (letter,) = asyncio.run(letters_at(settings, [position]))
    for line in lines_of(letter, reveal=reveal):
        typer.echo(line)


@app.command()
def replay(
    positions: Positions,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Send the original bytes to their topic again, as new records, in the order given.

    For example:

      deskline deadletters replay 3/17 3/18 --state-dir .deskline
    """
    settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    letters = asyncio.run(letters_at(settings, positions))
    records = [original(letter, settings.topic_prefix) for letter in letters]
    for letter, record in zip(letters, records, strict=True):
        typer.echo(f"{letter.position} → {settings.topic_prefix}{record.topic}: {prospect(record)}")
    if not yes and not typer.confirm(f"Send {len(records)} records again?"):
        raise UsageError("nothing was sent")
    for record, sent in zip(records, asyncio.run(send_again(settings, records)), strict=True):
        typer.echo(f"sent {len(record.value or b'')} bytes to {sent}")


async def newest(
    settings: ServiceSettings, filters: Filters, *, since: int | None, until: int | None, limit: int
) -> list[Letter]:
    """The newest letters that the filters admit, newest first, each once however often a crash repeated it."""
    kept: list[tuple[int, int, int, Letter]] = []
    async with opened(settings) as reader:
        async for record in reader.until_end(DEAD_LETTERS, since=since):
            letter = read_letter(record)
            if filters.admit(letter) and (until is None or record.broker_at <= until):
                entry = (record.broker_at, record.partition, record.offset, letter)
                (heapq.heappush if len(kept) < limit else heapq.heappushpop)(kept, entry)
    once: dict[object, Letter] = {}
    for *_, letter in sorted(kept, key=lambda entry: entry[:3], reverse=True):
        # One that states no record is its own identity.
        once.setdefault(letter.identity if letter.topic else letter.position, letter)
    return list(once.values())


async def letters_at(settings: ServiceSettings, positions: Sequence[str]) -> list[Letter]:
    """The letters at these positions of ``dead-letters.v1``."""
    parsed = [_parse_position(position) for position in positions]
    async with opened(settings) as reader:
        return [read_letter(await reader.at(DEAD_LETTERS, partition, offset)) for partition, offset in parsed]


def _parse_position(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition("/")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise UsageError(f"{text!r} is no position: write PARTITION/OFFSET, as `list` shows it")
    return int(partition), int(offset)


def lines_of(letter: Letter, *, reveal: bool) -> list[str]:
    """A letter for people. Without ``reveal`` nothing that somebody may have written."""
    record = letter.record
    lines = [f"letter    {letter.position}", f"written   {rfc3339(record.broker_at)}"]
    for name, value in record.headers:
        open_value = reveal or name.startswith("deskline-") or name in _OPEN_HEADERS
        text = shown_bytes(value) if open_value or value is None else f"({len(value)} bytes)"
        lines.append(f"header    {printable(name)}: {text}")
    lines.append(f"key       {shown_bytes(record.key)}")
    if record.value is None:
        lines.append("value     null")
    elif reveal:
        lines += [f"value     {len(record.value)} bytes", shown_bytes(record.value), record.value.hex()]
    else:
        lines += [f"value     {len(record.value)} bytes, masked (--reveal shows it)", masked(record.value)]
    return lines


def prospect(record: Record) -> str:
    """What will become of a record that is sent again, as far as it alone decides."""
    # Judged as a record of this moment, which it will be.
    verdict = decode(record._replace(broker_at=now_us()))
    if isinstance(verdict, Invalid):
        return f"still not valid ({verdict.reason}), it will get another letter"
    return "valid now"


async def send_again(settings: ServiceSettings, records: Sequence[Record]) -> list[str]:
    """Append the records to their topics; where each one stands now."""
    client = producer(settings, "deskline-cli")
    sent: list[str] = []
    try:
        await client.start()
        for record in records:
            topic = settings.topic_prefix + record.topic
            count = len(await client.partitions_for(topic))
            # Without a key nothing says where it belongs but where it stood.
            partition = record.partition % count if record.key is None else partition_of(record.key, count)
            metadata = await client.send_and_wait(
                topic, record.value, key=record.key, partition=partition, headers=list(record.headers)
            )
            sent.append(f"{topic}/{metadata.partition}/{metadata.offset}")
    except KafkaError as error:
        raise UsageError(f"{len(sent)} records were sent, then: {type(error).__name__}: {error}") from error
    finally:
        await client.stop()
    return sent
