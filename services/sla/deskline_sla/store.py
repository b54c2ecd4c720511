"""sla's own SQL beside the engine's: clocks in shadow, and those that are overdue. Statements: ``queries.sql``."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from deskline.postgres import Connection
from deskline.sql_files import load_queries
from deskline_sla.model import Overdue, OverdueCount, ShadowClock, Standing

_ABSENT: Final = (None,) * len(Standing._fields)


class ShadowClocks:
    """``deskline.conversations.Effects`` of ``ShadowClock``. ``count``: told of each."""

    def __init__(self, count: Callable[[ShadowClock], None] = lambda _: None) -> None:
        self._count = count
        self._record = load_queries("deskline_sla")["record"]

    async def apply(self, connection: Connection, effects: Sequence[ShadowClock]) -> None:
        # One statement cannot change a row twice: of several words on a clock the last counts.
        last = {effect.clock_id: effect for effect in effects}
        await connection.execute(self._record, *zip(*map(_row, last.values()), strict=True))
        for clock in last.values():
            self._count(clock)


class OverdueClocks:
    """``deskline.conversations.Effects`` of ``Overdue``, and what is asked of them."""

    in_pieces: Final = True

    def __init__(self) -> None:
        self._queries = load_queries("deskline_sla")

    async def apply(self, connection: Connection, effects: Sequence[Overdue]) -> None:
        # Of several words on a clock in one unit the last counts.
        last = {(effect.lane, effect.subject, effect.clock): effect for effect in effects}.values()
        gone = [effect[:3] for effect in last if not effect.due_at]
        come = [effect for effect in last if effect.due_at]
        if gone:
            await connection.execute(self._queries["not_overdue"], *zip(*gone, strict=True))
        if come:
            await connection.execute(self._queries["overdue"], *zip(*come, strict=True))

    async def count(self, connection: Connection, lanes: Iterable[int]) -> list[OverdueCount]:
        """Of these lanes."""
        rows = await connection.fetch(self._queries["count_overdue"], list(lanes))
        return [OverdueCount(row["metric"], row["shop_id"], row["clocks"], row["oldest"]) for row in rows]


def _row(clock: ShadowClock) -> tuple[Any, ...]:
    head = (
        clock.clock_id, clock.subject, clock.lane, clock.shop, clock.metric, clock.tier, clock.version, clock.complaint,
        clock.started_at,
    )  # fmt: skip
    return (*head, *_columns(clock.live), *_columns(clock.candidate))


def _columns(standing: Standing | None) -> Iterator[Any]:
    """Zero, of a time that is not known, is null here."""
    return iter(_ABSENT if standing is None else (*standing[:3], standing.due_at or None, standing.met_at or None))
