"""The poison breaker: too many records that fail for good mean that the fault is ours, not theirs."""

from collections import deque
from typing import Final

from deskline.clock import MINUTE

# Of the records of the last minute, the share that must have failed as well: a busy shop with a few bad records goes on.
_SHARE: Final = 0.1


class PoisonBreaker:
    """Trips when ``limit`` records failed within a minute and they are at least a tenth of all records handled."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures: deque[int] = deque(maxlen=limit)
        self._handled = 0
        self._handled_at_first = 0

    def handled(self, records: int) -> None:
        self._handled += records

    def failed(self, now: int) -> bool:
        """Count one failure at ``now`` (µs); True: stop."""
        if not self._failures or now - self._failures[-1] > MINUTE:
            self._failures.clear()
            self._handled_at_first = self._handled
        self._failures.append(now)
        if len(self._failures) < self._limit or now - self._failures[0] > MINUTE:
            return False
        return self._limit >= _SHARE * max(1, self._handled - self._handled_at_first)
