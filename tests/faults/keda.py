"""How many instances KEDA's Kafka scaler and the autoscaler behind it would want: their formula, with the chart's behaviour. Pure.

KEDA reports the total lag of a group, of a partition at most what it has, with ``lagThreshold`` as the target's average value; the
autoscaler wants ``ceil(lag / threshold)``, leaves a ratio within a tenth of 1 alone, takes the smallest wish of the scale-up window and
the largest of the scale-down window, and moves by its policies: at most double in a minute upwards, one instance in a while downwards.
https://keda.sh/docs/latest/scalers/apache-kafka/ and https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_TOLERANCE = 0.1


@dataclass(frozen=True)
class Behaviour:
    """As ``scaling`` and a service of the chart's values say it; seconds."""

    threshold: int
    minimum: int
    maximum: int
    up_window_s: float = 30.0
    up_period_s: float = 60.0
    down_window_s: float = 600.0
    down_every_s: float = 300.0


def wish(lag: int, current: int, behaviour: Behaviour) -> int:
    """The formula alone, before windows and policies."""
    ratio = lag / behaviour.threshold / max(1, current)
    wanted = current if current and abs(ratio - 1) <= _TOLERANCE else math.ceil(lag / behaviour.threshold)
    return min(max(wanted, behaviour.minimum), behaviour.maximum)


@dataclass
class Scaler:
    behaviour: Behaviour
    current: int
    _wishes: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)
    """(when, by how many)."""

    def look(self, at: float, lag: int) -> int:
        """Instances from now on; called at each polling interval, ``at`` in seconds."""
        rules = self.behaviour
        wanted = wish(lag, self.current, rules)
        self._wishes.append((at, wanted))
        while self._wishes[0][0] < at - max(rules.up_window_s, rules.down_window_s):
            self._wishes.popleft()
        up = min(n for when, n in self._wishes if when >= at - rules.up_window_s)
        down = max(n for when, n in self._wishes if when >= at - rules.down_window_s)
        target = up if up > self.current else min(down, self.current)
        if target > self.current:
            grown = sum(n for when, n in self._changes if n > 0 and when > at - rules.up_period_s)
            start = self.current - grown
            target = min(target, max(self.current, start * 2))
        elif target < self.current:
            shrunk = -sum(n for when, n in self._changes if n < 0 and when > at - rules.down_every_s)
            target = max(target, self.current - max(0, 1 - shrunk))
        if target != self.current:
            self._changes.append((at, target - self.current))
            self.current = target
        return self.current
