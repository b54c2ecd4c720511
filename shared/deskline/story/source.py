"""A conversation's events as the archive has them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from deskline.clock import from_datetime, to_datetime
from deskline.errors import FatalError, TransientError
from deskline.events.wire import decode
from deskline.postgres import TRANSIENT, connect
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, SLA, Event, Record
from deskline.settings import ServiceSettings

_TOPICS: Final = (CONVERSATIONS, REPLIES, ROUTING, SLA)
_RECORDS: Final = """
    SELECT topic, partition, "offset", broker_time, value FROM records
    WHERE key = $1 AND topic = ANY($2::text[]) AND broker_time >= $3
    ORDER BY topic, partition, "offset"
"""


class Found(NamedTuple):
    events: Sequence[Event]
    ignored: int
    """Records that are not valid, or of a type that nobody knows."""


async def read_story(settings: ServiceSettings, conversation: str, since: int, *, within_s: float = 0) -> Found:
    """Everything since that instant (µs). ``within_s``: the archive is asked no longer; 0: until it has answered.

    Raises ``TransientError`` where it cannot be read now, and ``FatalError`` where this login or database never will.
    """
    try:
        connection = await connect(settings, "archive")
    except TRANSIENT as error:
        raise TransientError(f"the archive cannot be read: {error}") from error
    except asyncpg.PostgresError as error:
        raise FatalError(f"this login may not read the archive: {type(error).__name__}") from None
    prefix = settings.topic_prefix
    try:
        async with connection.transaction(readonly=True):
            # There is no index by conversation on the open day: it is a scan of the days asked for.
            await connection.execute(f"SET LOCAL statement_timeout = {round(within_s * 1000)}")
            rows = await connection.fetch(
                _RECORDS, conversation.encode(), [prefix + topic for topic in _TOPICS], to_datetime(since)
            )
    except asyncpg.UndefinedTableError:
        raise FatalError("this database has no archive; name the one that the archive service writes to") from None
    except TRANSIENT as error:
        raise TransientError(f"the archive cannot be read: {type(error).__name__}") from error
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
