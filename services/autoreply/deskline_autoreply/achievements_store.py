"""The tables ``hits`` and ``cooldowns``: read before a unit decides, written in its own transaction."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from deskline.postgres import Connection
from deskline_autoreply.policy.achievements import Hit

# One owner a lane, so nobody waits for anybody's row here.
_ADD: Final = """
INSERT INTO hits AS known (
    shop_id, kind, id, variant, day, lane, answered, handed_over, silenced, tagged, followed, rated, score_sum, last_hit_at
)
SELECT shop_id, kind, id, variant, to_timestamp(day * 86400) AT TIME ZONE 'UTC', lane,
    answered, handed_over, silenced, tagged, followed, rated, score_sum, last_hit_at
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]
) AS new (
    shop_id, kind, id, variant, day, lane, answered, handed_over, silenced, tagged, followed, rated, score_sum, last_hit_at
)
ON CONFLICT (shop_id, kind, id, variant, day, lane) DO UPDATE SET
    answered = known.answered + excluded.answered,
    handed_over = known.handed_over + excluded.handed_over,
    silenced = known.silenced + excluded.silenced,
    tagged = known.tagged + excluded.tagged,
    followed = known.followed + excluded.followed,
    rated = known.rated + excluded.rated,
    score_sum = known.score_sum + excluded.score_sum,
    last_hit_at = greatest(known.last_hit_at, excluded.last_hit_at)
"""
# Two conversations of one customer may be decided by two instances at once. Whoever comes second waits here until the first
# has committed, and then reads what it wrote. The lanes are locked before, by the engine, and these keys in one order, so no
# two instances wait for each other. Read committed: the statement behind the locks sees the commit.
_LOCK: Final = "SELECT count(pg_advisory_xact_lock(key)) FROM unnest($1::bigint[]) AS key"
_RESTING: Final = """
SELECT shop_id, customer_id, rule_id, until FROM cooldowns
WHERE (shop_id, customer_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
_REST: Final = """
INSERT INTO cooldowns AS known (shop_id, customer_id, rule_id, until)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
ON CONFLICT (shop_id, customer_id, rule_id) DO UPDATE SET until = greatest(known.until, excluded.until)
"""
_DAY_US: Final = 86_400_000_000

Customer = tuple[str, str]
"""(shop, customer)."""


class Rest(NamedTuple):
    """A rule has replied to a customer and rests until then (µs)."""

    shop: str
    customer: str
    rule_id: str
    until: int


class Resting:
    """Which rules rest for the customers of one unit of work, its own decisions included."""

    def __init__(self, rows: Iterable[Rest] = ()) -> None:
        self._until: dict[Customer, dict[str, int]] = {}
        for row in rows:
            self.add(row)

    def add(self, rest: Rest) -> None:
        known = self._until.setdefault((rest.shop, rest.customer), {})
        known[rest.rule_id] = max(known.get(rest.rule_id, 0), rest.until)

    def at(self, shop: str, customer: str, at: int, cooldowns: Mapping[str, int]) -> frozenset[str]:
        """Of the rules in ``cooldowns``, those that rest for a message of event time ``at``."""
        known = self._until.get((shop, customer))
        if not known:
            return frozenset()
        return frozenset(rule for rule, until in known.items() if until > at and rule in cooldowns)


async def load_resting(connection: Connection, customers: Iterable[Customer]) -> Resting:
    """Locks these customers until the end of the transaction."""
    ordered = sorted(customers)
    await connection.execute(_LOCK, sorted({_key(customer) for customer in ordered}))
    rows = await connection.fetch(_RESTING, [shop for shop, _ in ordered], [customer for _, customer in ordered])
    return Resting(Rest(*row) for row in rows)


def _key(customer: Customer) -> int:
    digest = blake2b("\0".join(("deskline.cooldowns", *customer)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class Rests:
    """``deskline.conversations.Effects`` of ``Rest``."""

    async def apply(self, connection: Connection, effects: Sequence[Rest]) -> None:
        longest: dict[tuple[str, str, str], int] = {}
        for rest in effects:
            longest[rest[:3]] = max(longest.get(rest[:3], 0), rest.until)
        rows = [(*key, until) for key, until in sorted(longest.items())]
        await connection.execute(_REST, *map(list, zip(*rows, strict=True)))


class Hits:
    """``deskline.conversations.Effects`` of ``Hit``."""

    async def apply(self, connection: Connection, effects: Sequence[Hit]) -> None:
        rows: dict[tuple[str | int, ...], list[int]] = {}
        for hit in effects:
            counts = rows.setdefault((*hit[:4], hit.at // _DAY_US, hit.lane), [0] * 8)
            for index, count in enumerate(hit[6:]):
                counts[index] += count
            counts[7] = max(counts[7], hit.at)
        flat = [(*key, *counts) for key, counts in sorted(rows.items())]
        await connection.execute(_ADD, *map(list, zip(*flat, strict=True)))
