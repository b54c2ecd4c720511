"""The composition root of sla."""

from deskline.clock import SECOND
from deskline.config.book import ConfigBook
from deskline.conversations import ConversationConsumer
from deskline.retention import pruning
from deskline.service import Runtime
from deskline_sla.handler import SlaFolding
from deskline_sla.metrics import Tally
from deskline_sla.model import Overdue, ShadowClock, State
from deskline_sla.store import OverdueClocks, ShadowClocks
from deskline_sla.watch import overdue, watch_horizon


class SlaConsumer(ConversationConsumer[State]):
    """Counts what was told only when it is durable."""

    def __init__(self, folding: SlaFolding, config: ConfigBook, tally: Tally) -> None:
        super().__init__(folding, config, effects={ShadowClock: ShadowClocks(), Overdue: OverdueClocks()})
        self._tally = tally

    def committed(self) -> None:
        super().committed()
        self._tally.committed()

    def aborted(self) -> None:
        super().aborted()
        self._tally.aborted()


def build(runtime: Runtime) -> SlaConsumer:
    tally = Tally(runtime.registry)
    runtime.background.append(pruning(runtime.settings, "sla", "shadow_clocks", "started_at"))
    runtime.background.append(overdue(runtime))
    watch_horizon(runtime)
    lateness_us = round(runtime.settings.allowed_lateness_s * SECOND)
    return SlaConsumer(SlaFolding(lateness_us, tally), runtime.config, tally)
