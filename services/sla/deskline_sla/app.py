"""The composition root of sla."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from deskline.clock import SECOND
from deskline.config.book import ConfigBook
from deskline.conversations import ConversationConsumer
from deskline.postgres import Connection
from deskline.retention import pruning
from deskline.service import Runtime
from deskline.work import Ripe, Tx, Work
from deskline_sla.handler import SlaFolding
from deskline_sla.metrics import Tally
from deskline_sla.model import Overdue, ShadowClock, State
from deskline_sla.reevaluation import Reevaluation
from deskline_sla.store import OverdueClocks, ShadowClocks
from deskline_sla.watch import overdue, watch_horizon

# A version is known ``config_lead_s`` before it is in force; a look costs nothing.
_LOOK_S: Final = 0.25


class SlaConsumer(ConversationConsumer[State]):
    """Counts what was told only when it is durable, and brings new versions to open clocks where they were applied for them."""

    def __init__(self, folding: SlaFolding, config: ConfigBook, tally: Tally) -> None:
        super().__init__(folding, config, effects={ShadowClock: ShadowClocks(tally.compare), Overdue: OverdueClocks()})
        self._tally = tally
        self._reevaluation = Reevaluation(config, folding.lateness_us)

    async def process(self, tx: Tx, work: Work) -> None:
        await super().process(tx, work)
        await self._reevaluation.save(tx.connection)
        for lane, watermark in work.watermarks.items():
            due = self._reevaluation.next_due(lane)
            if due is not None:
                tx.next_due(lane, max(due, watermark))

    async def due(
        self, connection: Connection, ripe: Mapping[int, Ripe], limit: int
    ) -> tuple[Mapping[str, int], Mapping[int, int]]:
        due, earliest = await super().due(connection, ripe, limit)
        watermarks = {lane: one.watermark for lane, one in ripe.items()}
        woken = await self._reevaluation.due(connection, watermarks, limit)
        left = dict(earliest)
        for lane, watermark in watermarks.items():
            waits = self._reevaluation.next_due(lane)
            if waits is not None:
                # There is something to do now, which is not to say that somebody has waited for it: no timer is late.
                waits = max(waits, watermark)
                left[lane] = min(waits, left.get(lane, waits))
        return {**due, **woken}, left

    def lanes_changed(self, lanes: frozenset[int]) -> None:
        super().lanes_changed(lanes)
        self._reevaluation.forget()

    def committed(self) -> None:
        super().committed()
        self._reevaluation.committed()
        self._tally.committed()

    def aborted(self) -> None:
        super().aborted()
        self._tally.aborted()


def build(runtime: Runtime) -> SlaConsumer:
    tally = Tally(runtime.registry)
    runtime.background.append(pruning(runtime.settings, "sla", "shadow_clocks", "started_at"))
    runtime.background.append(overdue(runtime))
    watch_horizon(runtime)
    runtime.background.append(_watch_versions(runtime))
    lateness_us = round(runtime.settings.allowed_lateness_s * SECOND)
    return SlaConsumer(SlaFolding(lateness_us, tally), runtime.config, tally)


def _watch_versions(runtime: Runtime) -> Callable[[], Coroutine[Any, Any, None]]:
    """A task: a version for open clocks has come, so a unit of work must see when it is in force."""

    async def run() -> None:
        known = 0
        while True:
            await asyncio.sleep(_LOOK_S)
            if len(runtime.config.reevaluated_at) != known:
                known = len(runtime.config.reevaluated_at)
                runtime.look()

    return run
