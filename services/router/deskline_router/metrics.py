"""What the router shows beside the engine's own figures. Children are looked up once."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deskline_router.model import Agreement, Emission, ShadowChoice, Status, Told
from deskline_router.policy import World


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.world: World | None = None
        told = Counter("deskline_router_told", "Events told, committed.", ["type"], registry=registry)
        self._told: Final = {kind: told.labels(kind.value) for kind in Told}
        shadow = Counter(
            "deskline_router_shadow_decisions",
            "Decisions of candidate policies in shadow beside the live ones, committed.",
            ["agreement"],
            registry=registry,
        )
        self._shadow: Final = {kind: shadow.labels(kind.value) for kind in Agreement}
        wrong = Histogram(
            "deskline_router_estimate_error_seconds",
            "How far the estimate told last was off when somebody was assigned, by whether the wait was longer or shorter.",
            ["wait"],
            registry=registry,
            buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
        )
        self._longer: Final = wrong.labels("longer")
        self._shorter: Final = wrong.labels("shorter")
        gauges = {
            "deskline_router_waiting_requests": ("Requests without an assignment, all shops (whole).", self._waiting),
            "deskline_router_last_step_requests": (
                "Of those, requests at their last step: nothing will be relaxed any more (whole).",
                self._last_step,
            ),
            "deskline_router_live_assignments": ("Offered or held assignments, all agents (whole).", self._live),
            "deskline_router_surges": ("Shops in a surge (whole).", self._surges),
            "deskline_router_online_agents": ("Agents who are online (whole).", self._online),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=registry).set_function(read)

    def told(self, emissions: Iterable[Emission]) -> None:
        for emission in emissions:
            self._told[emission.type].inc()

    def estimated(self, errors: Iterable[float]) -> None:
        for error in errors:
            (self._longer if error >= 0 else self._shorter).observe(abs(error))

    def compared(self, choices: Iterable[ShadowChoice]) -> None:
        for choice in choices:
            self._shadow[choice.agreement].inc()

    def _waiting(self) -> float:
        return sum(len(queue) for queue in self.world.queues.values()) if self.world else 0

    def _last_step(self) -> float:
        if self.world is None:
            return 0
        return sum(not request.live and request.step_until is None for request in self.world.requests.values())

    def _live(self) -> float:
        return sum(agent.load for agent in self.world.agents.values()) if self.world else 0

    def _surges(self) -> float:
        return len(self.world.surging) if self.world else 0

    def _online(self) -> float:
        return sum(agent.status is Status.ONLINE for agent in self.world.agents.values()) if self.world else 0
