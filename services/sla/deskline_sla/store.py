"""sla's own SQL beside the engine's: the rows of clocks in shadow. Statements: ``queries.sql``."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from deskline.postgres import Connection
from deskline.sql_files import load_queries
from deskline_sla.model import ShadowClock, Standing

_ABSENT: Final = (None,) * len(Standing._fields)


class ShadowClocks:
    """``deskline.conversations.Effects`` of ``ShadowClock``."""

    def __init__(self) -> None:
        self._record = load_queries("deskline_sla")["record"]

    async def apply(self, connection: Connection, effects: Sequence[ShadowClock]) -> None:
        # One statement cannot change a row twice: of several words on a clock the last counts.
        last = {effect.clock_id: effect for effect in effects}
        await connection.execute(self._record, *zip(*map(_row, last.values()), strict=True))


def _row(clock: ShadowClock) -> tuple[Any, ...]:
    head = (
        clock.clock_id, clock.subject, clock.lane, clock.shop, clock.metric, clock.tier, clock.version, clock.complaint,
        clock.started_at,
    )  # fmt: skip
    return (*head, *_columns(clock.live), *_columns(clock.candidate))


def _columns(standing: Standing | None) -> Iterator[Any]:
    """Zero, of a time that is not known, is null here."""
    return iter(_ABSENT if standing is None else (*standing[:3], standing.due_at or None, standing.met_at or None))
