"""The shops in which the demo plays: the configuration that is shipped, at the demo's pace.

A minute of the shop lasts ``60 / speed`` seconds, for its clocks and steps as for its people: targets, the time to
accept an offer and the waits of routing steps are divided by the speed, to no less than two seconds (what machines
need stays as it is). Shops are always open, so that the demo looks the same at any hour and on holidays; beside them
``wardrobe-night`` is the clothing shop when it is closed, with the default shop's agents on duty.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from deskline.clock import to_datetime
from deskline.config.base import DEFAULT_SHOP, Document, DocumentKind
from deskline.config.documents import AgentsDocument, body_of
from deskline.config.loading import load_directory

CHINESE_SHOP: Final = "wardrobe"
ENGLISH_SHOP: Final = "support"
NIGHT_SHOP: Final = "wardrobe-night"
# Machines answer within a fraction of a second at any speed; below two seconds a target would measure them, not people.
_SHORTEST_S: Final = 2.0
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SCALED: Final[Mapping[str, tuple[str, ...]]] = {
    "routing": ("accept_s", "wait_s", "hand_up_s", "calm_s", "gather_s"),
    "limits": ("reoffer_s", "transfer_wait_s", "offline_grace_s"),
    "sla": (
        "instant_reply",
        "agent_response",
        "next_response",
        "transfer_response",
        "resolution",
        "complaint_closure",
    ),
}
# The contract's targets, where a policy names none: they have to be at the demo's pace, too.
_DEFAULT_TARGETS: Final = {
    "instant_reply": 30,
    "agent_response": 180,
    "next_response": 180,
    "transfer_response": 300,
    "complaint_closure": 172_800,
}


@dataclass(frozen=True, slots=True)
class Clerk:
    """An agent as configured."""

    agent_id: str
    grade: str
    capacity: int
    skills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shops:
    """``clerks``: who serves in which shop; ``_default`` for those shops that have no agents of their own."""

    clerks: Mapping[str, tuple[Clerk, ...]]

    def of(self, shop_id: str) -> tuple[Clerk, ...]:
        return self.clerks.get(shop_id, self.clerks[DEFAULT_SHOP])


def write(source: Path, target: Path, *, speed: float, now: int) -> Shops:
    """The configuration of ``source`` at this speed as a directory ``target``; says who serves."""
    loaded = load_directory(source)
    shops: dict[str, dict[str, Any]] = {
        shop: {kind: json.loads(body_of(document)) for kind, document in documents.items()}
        for shop, documents in loaded.shops.items()
    }
    if "calendars" in shops.get(CHINESE_SHOP, {}):
        closed = {kind: body for kind, body in shops[CHINESE_SHOP].items() if kind not in ("agents", "calendars")}
        shops[NIGHT_SHOP] = {**closed, "calendars": _closed(shops[CHINESE_SHOP]["calendars"], now)}
    for shop, documents in shops.items():
        for kind, body in documents.items():
            _write(target / shop / f"{kind}.yaml", _paced(kind, body, speed, closed=shop == NIGHT_SHOP))
    return Shops({shop: _clerks(documents) for shop, documents in loaded.shops.items() if "agents" in documents})


def _write(file: Path, body: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    file.write_text(json.dumps(body, ensure_ascii=False, indent=1), encoding="utf-8")


def _clerks(documents: Mapping[DocumentKind, Document]) -> tuple[Clerk, ...]:
    agents = documents["agents"]
    assert isinstance(agents, AgentsDocument)
    return tuple(Clerk(agent.agent_id, agent.grade, agent.capacity, tuple(agent.skills)) for agent in agents.agents)


def _paced(kind: str, body: Any, speed: float, *, closed: bool) -> Any:
    if kind == "calendars":
        return body if closed else _open(body)
    if kind == "sla":
        defaults = {"policy_id": "default", "when": {}, "targets": dict(_DEFAULT_TARGETS)}
        # The last row: it counts only for what no row before it names.
        policies = [*body["policies"], defaults]
        body = {**body, "policies": policies}
    return _scaled(body, _SCALED.get(kind, ()), speed)


def _scaled(value: Any, names: tuple[str, ...], speed: float) -> Any:
    if isinstance(value, list):
        return [_scaled(item, names, speed) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _shorter(item, speed) if name in names and isinstance(item, int | float) else _scaled(item, names, speed)
        for name, item in value.items()
    }


def _shorter(seconds: float, speed: float) -> float:
    """A target of 0 means none, and stays."""
    if seconds == 0:
        return 0
    return min(seconds, max(round(seconds / speed, 3), _SHORTEST_S)) if speed > 1 else round(seconds / speed, 3)


def _open(calendars: Any) -> Any:
    always = {day: ["00:00-24:00"] for day in _WEEKDAYS}
    return {
        "default": calendars["default"],
        "calendars": {
            name: {"timezone": calendar["timezone"], "weekly": always}
            for name, calendar in calendars["calendars"].items()
        },
    }


def _closed(calendars: Any, now: int) -> Any:
    """Calendars that open for an hour in three days: never while the demo runs."""
    opens = _WEEKDAYS[(to_datetime(now) + timedelta(days=3)).weekday()]
    night = {"timezone": "UTC", "weekly": {opens: ["12:00-13:00"]}}
    return {"default": calendars["default"], "calendars": dict.fromkeys(calendars["calendars"], night)}
