"""The engine's SQL: fence, positions, outbox rows. Tables: ``sql/0001_engine.sql``."""

from collections.abc import Callable, Mapping, Sequence

from deskline.errors import StaleError
from deskline.kafka import Ends
from deskline.lanes import Lane
from deskline.outbox import unpack
from deskline.postgres import Connection
from deskline.records import Output

OutboxRow = tuple[int, str, Sequence[Output]]

_FENCE = """
UPDATE lanes SET version = lanes.version + 1,
                 offsets = ($3::bigint[])[(mine.i - 1) * $4 + 1 : mine.i * $4]
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS mine (lane, version, i)
WHERE lanes.lane = mine.lane AND lanes.version = mine.version
"""
_CREATE = """
INSERT INTO lanes (lane, version, topics, offsets) VALUES ($1, 0, $2, $3) ON CONFLICT (lane) DO NOTHING
"""
_TAKE = """
UPDATE lanes SET version = version + 1 WHERE lane = ANY($1::text[]) RETURNING lane, version, topics, offsets
"""
_EXTEND = "UPDATE lanes SET topics = $2, offsets = $3 WHERE lane = $1"
_OUTBOX = "SELECT seq, lane, payload FROM outbox WHERE lane = ANY($1::text[]) AND seq > $2 ORDER BY seq"
_DELETE = "DELETE FROM outbox WHERE seq = ANY($1::bigint[])"
_REPLACE = """
WITH gone AS (DELETE FROM outbox WHERE seq = ANY($3::bigint[]))
INSERT INTO outbox (lane, payload) SELECT lane, payload FROM unnest($1::text[], $2::bytea[]) AS new (lane, payload)
RETURNING seq, lane
"""
_POSTPONE = "UPDATE conversations SET due = $3 WHERE lane = $1 AND subject = $2"


async def acquire(connection: Connection, ends: Ends, lanes: Mapping[str, Lane]) -> None:
    """Take these lanes: bump their versions (whoever had them can commit nothing more) and read their positions.

    A lane or topic that is new begins where the broker's log begins, so that nothing that is there is passed over.
    """
    if not lanes:
        return
    known = {row["lane"] for row in await connection.fetch("SELECT lane FROM lanes WHERE lane = ANY($1)", list(lanes))}
    for key in lanes.keys() - known:
        lane = lanes[key]
        first = await ends.beginnings([(topic, lane.partition) for topic in lane.topics])
        offsets = [first[topic, lane.partition] for topic in lane.topics]
        await connection.execute(_CREATE, key, list(lane.topics), offsets)
    async with connection.transaction():
        for row in await connection.fetch(_TAKE, sorted(lanes)):
            lane = lanes[row["lane"]]
            positions = dict(zip(row["topics"], row["offsets"], strict=True))
            missing = [topic for topic in lane.topics if topic not in positions]
            if missing:
                first = await ends.beginnings([(topic, lane.partition) for topic in missing])
                positions.update({topic: first[topic, lane.partition] for topic in missing})
            if tuple(row["topics"]) != lane.topics:
                # The service reads another list of topics than it did: keep the fence's order the service's order.
                await connection.execute(
                    _EXTEND, lane.key, list(lane.topics), [positions[topic] for topic in lane.topics]
                )
            lane.reset(row["version"], {topic: positions[topic] for topic in lane.topics})


async def fence(connection: Connection, lanes: Sequence[Lane], after: Mapping[str, Mapping[str, int]]) -> None:
    """Lock the lanes, prove that they are still ours, move their positions; raises ``StaleError`` if one is not."""
    if not lanes:
        return
    width = len(lanes[0].topics)
    status = await connection.execute(
        _FENCE,
        [lane.key for lane in lanes],
        [lane.version for lane in lanes],
        [after[lane.key][topic] for lane in lanes for topic in lane.topics],
        width,
    )
    if status != f"UPDATE {len(lanes)}":
        raise StaleError(f"{status}, expected {len(lanes)} lanes")


async def write_outbox(
    connection: Connection,
    by_lane: Mapping[str, Sequence[Output]],
    pack: Callable[[Sequence[Output]], bytes],
    delete: Sequence[int],
) -> list[OutboxRow]:
    """One row per lane with what it publishes; rows already published go. Returns (seq, lane, outputs)."""
    if not by_lane:
        if delete:
            await connection.execute(_DELETE, delete)
        return []
    payloads = [pack(outputs) for outputs in by_lane.values()]
    rows = await connection.fetch(_REPLACE, list(by_lane), payloads, delete)
    return [(row["seq"], row["lane"], by_lane[row["lane"]]) for row in rows]


async def outbox_rows(connection: Connection, lanes: Sequence[str], above: int = 0) -> list[OutboxRow]:
    """Rows of these lanes that are not yet known to be published, in the order of their commits."""
    rows = await connection.fetch(_OUTBOX, lanes, above)
    return [(row["seq"], row["lane"], unpack(row["payload"])) for row in rows]


async def delete_outbox(connection: Connection, rows: Sequence[int]) -> None:
    await connection.execute(_DELETE, rows)


def channel(schema: str) -> str:
    return f"{schema}_outbox"


async def notify(connection: Connection, schema: str, lanes: Sequence[str]) -> None:
    """Tell the owners of these lanes, with the commit, that there is something to publish."""
    await connection.execute("SELECT pg_notify($1, $2)", channel(schema), ",".join(lanes)[:7000])


async def postpone(connection: Connection, lane: int, subject: str, due: int) -> None:
    """Try this conversation's timer again later."""
    await connection.execute(_POSTPONE, lane, subject, due)
