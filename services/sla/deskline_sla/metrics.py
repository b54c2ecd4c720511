"""What sla counts beside the engine's own figures. Children are looked up once."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Metric

from deskline_sla.model import METRICS, Telling, Word


class Tally:
    """Counts what was decided; shown when the unit of work that decided it is durable."""

    def __init__(self, registry: CollectorRegistry) -> None:
        told = Metric("deskline_sla_told", "Events told, committed.", ["metric", "type"], registry=registry)
        self._children: Final = {
            (number, word): told.labels(metric, word.value) for number, metric in enumerate(METRICS) for word in Word
        }
        self._decided: Counter[tuple[int, Word]] = Counter()

    def add(self, tellings: Iterable[Telling]) -> None:
        self._decided.update((telling.about.metric, telling.word) for telling in tellings)

    def committed(self) -> None:
        for key, count in self._decided.items():
            self._children[key].inc(count)
        self._decided.clear()

    def aborted(self) -> None:
        self._decided.clear()
