"""Where recorded events come from: the archive, or a file. Both are read and nothing else.

A file has one JSON object a line, either a conversation of the demo's form (docs/demo.md: what people wrote, without outcomes),
or a record: ``{"topic", "partition", "offset", "broker_time", "value"}``, ``value`` being the event itself.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from deskline.clock import DAY, SECOND, from_datetime, now_us, parse_rfc3339, to_datetime
from deskline.demo.recorded import parse_line
from deskline.errors import UsageError
from deskline.events.models import Author, Customer, MessageReceived, MessageSent
from deskline.events.wire import decode, encode, new
from deskline.postgres import connect
from deskline.records import ALL_TOPICS, CONVERSATIONS, REPLIES, ROUTING, SHOPS, Event, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deskline.demo.recorded import Conversation
    from deskline.settings import ServiceSettings

READ: Final = (CONVERSATIONS, REPLIES, ROUTING, SHOPS)
"""``shops.v1`` for the surges, which rules may ask about."""
_ARCHIVE: Final = """
SELECT topic, partition, "offset", broker_time, key, value FROM archive.records
WHERE topic = ANY($1::text[]) AND broker_time >= $2 AND broker_time < $3
ORDER BY broker_time, topic, partition, "offset"
"""
# Whoever is to be erased is masked in every look at what he wrote, and this is one. A conversation names its customer with each of his
# messages; those of an agent that come later belong to it.
_RESTRICTED: Final = """
SELECT DISTINCT subject FROM archive.all_records
WHERE customer_id = ANY($1::text[]) AND subject IS NOT NULL AND broker_time >= $2 AND broker_time < $3
"""
_BEFORE: Final = 30 * DAY
# A statement may take 20 s: six hours of a busy deployment are read in far less.
_WINDOW: Final = DAY // 4


async def from_archive(
    settings: ServiceSettings, since: int, until: int, say: Callable[[str], None] = lambda _: None
) -> list[Event]:
    """By broker time; outcomes of the first minutes after ``until`` are read too. Conversations of persons who are to be erased are left
    out. ``say`` is told how far it is.
    """
    prefix = settings.topic_prefix
    events: list[Event] = []
    end = min(until + 3_600 * SECOND, now_us() + SECOND)
    connection = await connect(settings, "archive")
    try:
        masked: set[str] = set()
        if persons := [row[0] for row in await connection.fetch("SELECT customer_id FROM archive.restrictions")]:
            span = to_datetime(since - _BEFORE), to_datetime(end)
            masked = {row["subject"] for row in await connection.fetch(_RESTRICTED, persons, *span)}
        begin = since
        while begin < end:
            window = (to_datetime(begin), to_datetime(min(begin + _WINDOW, end)))
            for row in await connection.fetch(_ARCHIVE, [prefix + topic for topic in READ], *window):
                broker_at = from_datetime(row["broker_time"])
                record = Record(
                    row["topic"][len(prefix) :],
                    row["partition"],
                    row["offset"],
                    broker_at,
                    row["key"],
                    row["value"],
                    (),
                )
                found = decode(record)
                if not isinstance(found, Event) or found.subject in masked:
                    continue
                if found.type != "message.received.v1" or broker_at < until:
                    events.append(found)
            begin += _WINDOW
            if begin < end:
                say(f"read up to {to_datetime(begin):%Y-%m-%d %H:%M} UTC: {len(events)} events")
    finally:
        await connection.close()
    return events


def from_file(path: Path) -> tuple[list[Event], bool]:
    """(events in the order of the log, whether the file tells outcomes). ``UsageError`` names the line that is wrong."""
    events: list[Event] = []
    told = False
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            raise UsageError(f"{path}:{number}: this line is no JSON object") from None
        if isinstance(value, dict) and "topic" in value:
            told = True
            event = _recorded(value, f"{path}:{number}")
            events += [event] if event is not None else []
        else:
            conversation = parse_line(line, str(path), number)
            if "id" not in conversation.model_fields_set:
                conversation = conversation.model_copy(update={"id": f"line-{number}"})
            events += _spoken(conversation, number)
    if told:
        events.sort(key=lambda event: (event.broker_at, event.topic, event.partition, event.offset))
    return events, told


def _recorded(value: dict[str, Any], where: str) -> Event | None:
    try:
        body = value["value"]
        topic = next((name for name in ALL_TOPICS if value["topic"].endswith(name)), value["topic"])
        raw = json.dumps(body, ensure_ascii=False).encode()
        at = parse_rfc3339(value["broker_time"])
        record = Record(topic, int(value["partition"]), int(value["offset"]), at, body["subject"].encode(), raw, ())
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(
            f'{where}: expected {{"topic", "partition", "offset", "broker_time", "value": {{…}}}}, as docs/learning.md says'
        ) from None
    found = decode(record)
    return found if isinstance(found, Event) else None


# Recorded conversations have no dates: they are put one behind the other on one day.
_DAY_ZERO: Final = parse_rfc3339("2026-01-05T04:00:00Z")


def _spoken(one: Conversation, number: int) -> Iterator[Event]:
    at = _DAY_ZERO + number * 3_600 * SECOND
    who = one.customer.customer_id if one.customer is not None and one.customer.customer_id else f"customer-{one.id}"
    tier = one.customer.tier if one.customer is not None else None
    shop = one.shop or "_default"
    for index, turn in enumerate(one.turns):
        at += round(one.gap_s(index) * SECOND)
        message_id = f"{one.id}-{index}"
        if turn.by == "customer":
            kind = "message.received.v1"
            data: Any = new(
                MessageReceived,
                shop_id=shop,
                message_id=message_id,
                channel=one.channel or "web",
                entry_point=one.entry_point,
                text=turn.text,
                language=one.language,
                customer=new(Customer, customer_id=who, tier=tier),
            )
        else:
            kind = "message.sent.v1"
            author = new(Author, kind="agent", id="agent")
            data = new(MessageSent, shop_id=shop, message_id=message_id, author=author, text=turn.text)
        raw = encode(kind, id=message_id, source="/gateway/recorded", subject=one.id, time=at, data=data)
        found = decode(Record(CONVERSATIONS, 0, number * 10_000 + index, at // 1000 * 1000, one.id.encode(), raw, ()))
        if isinstance(found, Event):
            yield found
