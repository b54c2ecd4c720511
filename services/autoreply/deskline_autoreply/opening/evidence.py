"""What was tried: trials from autoreply's table, load from the archive. Reads, and decides nothing."""

import json
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

from deskline.clock import SECOND, from_datetime, now_us, to_datetime
from deskline.records import CONVERSATIONS, REPLIES
from deskline.settings import ServiceSettings
from deskline.shadow import store
from deskline.shadow.private import mask
from deskline.shadow.trial import report
from deskline_autoreply.opening.checking import Trial, Tried

REHEARSAL: Final = "rehearsal-"
"""Conversations of ``deskline shop load`` begin so."""
_BUSIEST: Final = """
    SELECT date_trunc('minute', broker_time) AS minute, count(DISTINCT subject) AS n FROM events
    WHERE broker_time >= $1 AND topic = $2 AND shop_id = $3 AND type = 'message.received.v1' AND validity = 'valid'
    GROUP BY 1 ORDER BY n DESC, 1 DESC LIMIT 1
"""
_MINUTE: Final = """
    SELECT type, subject, broker_time, value FROM events
    WHERE broker_time >= $1 AND broker_time < $2 AND topic = ANY($3::text[]) AND shop_id = $4 AND validity = 'valid'
      AND value IS NOT NULL AND type = ANY($5::text[])
"""
_STRANGERS: Final = """
    SELECT EXISTS (
        SELECT FROM events WHERE broker_time >= $1 AND topic = $2 AND type = 'message.received.v1' AND NOT starts_with(subject, $3)
    )
"""
_RECEIVED: Final = "message.received.v1"
_OUTCOMES: Final = ("reply.issued.v1", "handover.requested.v1", "message.ignored.v1")
_LOOKED_BACK: Final = timedelta(days=7)
_READING_S: Final = 600.0
"""No index leads to a shop in the archive: its days are read through."""
_OUTCOME_WITHIN: Final = timedelta(minutes=10)


async def trials(settings: ServiceSettings, shop: str) -> list[Trial]:
    """The last one first."""
    found = []
    now = now_us()
    for trial in await store.trials(settings, shop):
        data = report(trial, await store.evidence(settings, trial), mask)
        hours = (min(now, trial.ends) - trial.started_at) / SECOND / 3600
        speed, coverage = data["speed"]["autoreply"], data["coverage"]
        found.append(
            Trial(hours, trial.ends <= now, trial.ends < trial.until, coverage["asked"], coverage["answered"], speed.get("p90_s"))
        )  # fmt: skip
    return found


async def load(settings: ServiceSettings, shop: str) -> Tried | None:
    """The shop's busiest minute of seven days; None where nobody wrote."""
    topic, replies = (settings.topic_prefix + name for name in (CONVERSATIONS, REPLIES))
    async with store.opened(settings, "archive") as connection, connection.transaction(readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = '{_READING_S:.0f}s'")
        since = to_datetime(now_us()) - _LOOKED_BACK
        row = await connection.fetchrow(_BUSIEST, since, topic, shop, timeout=_READING_S)
        if row is None:
            return None
        begin: datetime = row["minute"]
        until = begin + timedelta(minutes=1)
        wanted = ([topic, replies], shop, [_RECEIVED, *_OUTCOMES])
        rows = await connection.fetch(_MINUTE, begin, until + _OUTCOME_WITHIN, *wanted, timeout=_READING_S)
    return tried((dict(row) for row in rows), from_datetime(until))


def tried(rows: Any, until: int) -> Tried:
    """Of the messages before ``until`` (µs): how many, of how many conversations, and how soon they were decided."""
    came: dict[tuple[str, str], int] = {}
    decided: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        data, at = json.loads(row["value"])["data"], from_datetime(row["broker_time"])
        if row["type"] != _RECEIVED:
            decided[row["subject"], data.get("in_reply_to") or data["message_id"]].append(at)
        elif at < until:
            came.setdefault((row["subject"], data["message_id"]), at)
    delays = sorted((min(decided[which]) - at) / SECOND for which, at in came.items() if which in decided)
    p99 = delays[-(-len(delays) * 99 // 100) - 1] if delays else 0.0
    return Tried(len({subject for subject, _ in came}), len(came), len(came) - len(delays), max(0.0, p99))


async def customers_use_it(settings: ServiceSettings) -> bool:
    """Whether anybody but a rehearsal wrote in the last day."""
    since = to_datetime(now_us()) - timedelta(days=1)
    async with store.opened(settings, "archive") as connection:
        return bool(await connection.fetchval(_STRANGERS, since, settings.topic_prefix + CONVERSATIONS, REHEARSAL))
