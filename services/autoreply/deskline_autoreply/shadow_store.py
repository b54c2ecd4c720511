"""The rows of rules in shadow (``shadow_decisions``)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from deskline.postgres import Connection
from deskline_autoreply.policy.shadow import ShadowDecision

# A message has one outcome, so a row is written once. Only an id that a sender uses again after a day (contract §1) meets
# its old row, and must not stop the message: the first stays.
_RECORD: Final = """
INSERT INTO shadow_decisions (
    subject, message_id, tried, lane, at, shop_id, rules_version, verdict, outcome, reason, rule_id, entry_id, kind,
    confidence, text, live_outcome, live_reason, live_rule_id, live_entry_id, live_kind, live_text
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::float8[], $15::text[], $16::text[], $17::text[], $18::text[],
    $19::text[], $20::text[], $21::text[]
)
ON CONFLICT DO NOTHING
"""


class ShadowDecisions:
    """``deskline.conversations.Effects`` of ``ShadowDecision``. ``count``: told of each."""

    def __init__(self, count: Callable[[ShadowDecision], None] = lambda _: None) -> None:
        self._count = count

    async def apply(self, connection: Connection, effects: Sequence[ShadowDecision]) -> None:
        await connection.execute(_RECORD, *zip(*map(_row, effects), strict=True))
        for row in effects:
            self._count(row)


def _row(row: ShadowDecision) -> tuple[Any, ...]:
    would, live = row.would, row.live
    done = (None,) * 6 if live is None else (
        live.outcome, live.reason, live.rule_id, live.entry_id, live.kind, live.text,
    )  # fmt: skip
    return (
        row.subject, row.message_id, row.tried.value, row.lane, row.at, row.shop, row.version,
        None if row.verdict is None else row.verdict.value,
        would.outcome, would.reason, would.rule_id, would.entry_id, would.kind, would.confidence, would.text, *done,
    )  # fmt: skip
