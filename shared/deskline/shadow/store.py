"""Reading what the services have recorded, and the table of trials. The only SQL of this package."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from deskline.clock import DAY, from_datetime, to_datetime
from deskline.errors import TransientError, UsageError
from deskline.postgres import TRANSIENT, Connection, connect
from deskline.records import CONVERSATIONS, REPLIES
from deskline.settings import ServiceSettings
from deskline.shadow.comparison import Choice, ClockGroup, Load, RulesGroup
from deskline.shadow.trial import Evidence, Said, Trial, Tried

_RULES: Final = """
    SELECT tried, verdict, live_outcome, live_reason, live_rule_id, live_entry_id, outcome, reason, rule_id, entry_id, kind,
           count(*) AS n, min(live_text) AS live_text, min(text) AS text,
           (array_agg(subject || ' ' || message_id ORDER BY at DESC))[1:3] AS examples
    FROM shadow_decisions WHERE shop_id = $1 AND at >= $2
    GROUP BY tried, verdict, live_outcome, live_reason, live_rule_id, live_entry_id, outcome, reason, rule_id, entry_id, kind
"""
_CHOICES: Final = """
    SELECT agreement, live_rule_id AS live_rule, rule_id AS rule, live_step, step, live_priority, priority, count(*) AS n,
           (array_agg(subject ORDER BY at DESC))[1:3] AS examples
    FROM shadow_decisions WHERE shop_id = $1 AND at >= $2
    GROUP BY agreement, live_rule_id, rule_id, live_step, step, live_priority, priority
"""
_LOADS: Final = """
    SELECT agent_id, sum(live)::bigint AS live, sum(candidate)::bigint AS candidate FROM (
        SELECT live_agent_id AS agent_id, 1 AS live, 0 AS candidate FROM shadow_decisions
        WHERE shop_id = $1 AND at >= $2 AND live_agent_id IS NOT NULL
        UNION ALL
        SELECT agent_id, 0, 1 FROM shadow_decisions WHERE shop_id = $1 AND at >= $2 AND agent_id IS NOT NULL
    ) AS both_sides GROUP BY agent_id ORDER BY live DESC, agent_id
"""
_CLOCKS: Final = """
    SELECT metric, live_state, candidate_state, live_policy_id AS live_policy, candidate_policy_id AS candidate_policy,
           live_target_s, candidate_target_s, count(*) AS n,
           (array_agg(subject ORDER BY started_at DESC))[1:3] AS examples
    FROM shadow_clocks WHERE shop_id = $1 AND started_at >= $2
    GROUP BY metric, live_state, candidate_state, live_policy_id, candidate_policy_id, live_target_s, candidate_target_s
"""
_ADD_TRIAL: Final = """
    INSERT INTO trials (shop_id, rules_version, started_at, until, then_what, started_by) VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING trial_id
"""
_TRIALS: Final = """
    SELECT trial_id, shop_id, rules_version, started_at, until, then_what, started_by, stopped_at
    FROM trials WHERE shop_id = $1 ORDER BY trial_id DESC
"""
_STOP: Final = "UPDATE trials SET stopped_at = $2 WHERE trial_id = $1"
_TRIED: Final = """
    SELECT subject, message_id, at, outcome, reason, rule_id, entry_id, kind, text FROM shadow_decisions
    WHERE shop_id = $1 AND at >= $2 AND at < $3 AND tried = 'shop' ORDER BY at, subject, message_id
"""
# No index leads to a shop in the archive: the days of the trial are read through, newest columns first.
_RECORDS: Final = """
    SELECT type, subject, event_time, value FROM events
    WHERE broker_time >= $1 AND broker_time < $2 AND topic = ANY($3::text[]) AND shop_id = $4
      AND type = ANY($5::text[]) AND validity = 'valid' AND value IS NOT NULL
    ORDER BY broker_time, topic, partition, "offset"
"""
_RECEIVED, _SENT, _IGNORED = "message.received.v1", "message.sent.v1", "message.ignored.v1"
_ANSWERS_WITHIN: Final = DAY
"""People's answers later than that after the end are no longer the trial's."""


@asynccontextmanager
async def opened(settings: ServiceSettings, schema: str) -> AsyncIterator[Connection]:
    try:
        connection = await connect(settings, schema)
    except (asyncpg.PostgresError, ValueError) as error:
        raise UsageError(f"PostgreSQL cannot be used: {error}. Is --postgres-dsn right?") from error
    try:
        yield connection
    except asyncpg.UndefinedTableError as error:
        raise UsageError(f"a table is missing ({error}); run: deskline migrate") from error
    except TRANSIENT as error:
        raise TransientError(f"PostgreSQL went away: {type(error).__name__}; run the command again") from error
    finally:
        await connection.close()


async def rules_groups(settings: ServiceSettings, shop: str, since: int) -> list[RulesGroup]:
    async with opened(settings, "autoreply") as connection:
        return [RulesGroup(**dict(row)) for row in await connection.fetch(_RULES, shop, since)]


async def choices(settings: ServiceSettings, shop: str, since: int) -> tuple[list[Choice], list[Load]]:
    async with opened(settings, "router") as connection:
        found = [Choice(**dict(row)) for row in await connection.fetch(_CHOICES, shop, since)]
        return found, [Load(**dict(row)) for row in await connection.fetch(_LOADS, shop, since)]


async def clock_groups(settings: ServiceSettings, shop: str, since: int) -> list[ClockGroup]:
    async with opened(settings, "sla") as connection:
        return [ClockGroup(**dict(row)) for row in await connection.fetch(_CLOCKS, shop, since)]


# --- trials -------------------------------------------------------------------------------------------------------------


async def add_trial(settings: ServiceSettings, trial: Trial) -> int:
    """Its number."""
    async with opened(settings, "autoreply") as connection:
        values = (trial.shop_id, trial.rules_version, trial.started_at, trial.until, trial.then_what, trial.started_by)
        return int(await connection.fetchval(_ADD_TRIAL, *values))


async def trials(settings: ServiceSettings, shop: str) -> list[Trial]:
    """The last one first."""
    async with opened(settings, "autoreply") as connection:
        return [Trial(**dict(row)) for row in await connection.fetch(_TRIALS, shop)]


async def stop_trial(settings: ServiceSettings, trial_id: int, at: int) -> None:
    async with opened(settings, "autoreply") as connection:
        await connection.execute(_STOP, trial_id, at)


async def evidence(settings: ServiceSettings, trial: Trial) -> Evidence:
    """What the trial's report is made of: autoreply's rows, and the archive's records of the shop in that time."""
    begin, end = trial.started_at, trial.ends
    async with opened(settings, "autoreply") as connection:
        tried = [Tried(**dict(row)) for row in await connection.fetch(_TRIED, trial.shop_id, begin, end)]
    found = Evidence(tried)
    topics = [settings.topic_prefix + topic for topic in (CONVERSATIONS, REPLIES)]
    window = to_datetime(begin), to_datetime(end + _ANSWERS_WITHIN)
    types = [_RECEIVED, _SENT, _IGNORED]
    async with opened(settings, "archive") as connection, connection.transaction(readonly=True):
        await connection.execute("SET LOCAL statement_timeout = '10min'")
        async for row in connection.cursor(_RECORDS, *window, topics, trial.shop_id, types, prefetch=500):
            _take(found, row, begin, end)
    return found


def _take(found: Evidence, row: asyncpg.Record, begin: int, end: int) -> None:
    kind, subject, at = row["type"], row["subject"], from_datetime(row["event_time"])
    data: dict[str, Any] = json.loads(row["value"])["data"]
    if kind == _SENT:
        if data["author"]["kind"] == "agent":
            found.said.setdefault(subject, []).append(Said(at, data["text"], data.get("in_reply_to")))
    elif kind == _IGNORED:
        if data["reason"] == "shadow":
            found.decided_at.setdefault((subject, data["message_id"]), at)
    elif begin <= at < end:
        found.received.add((subject, data["message_id"]))
        known = (data["customer"].get("name"), data.get("order_id"))
        found.private.setdefault(subject, set()).update(word for word in known if word)
