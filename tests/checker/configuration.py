"""Which configuration was in force (contract §3), from the bodies of ``config.applied`` on ``shops.v1``.

Written from the contract's sentences alone. Per shop and document: a version is in force from the later of
``effective_from`` and its record's broker timestamp plus the lead; of those in force the one that came into force
last counts, at one instant the higher number. ``_default``'s first counts for all earlier times, a shop's own first
for those events of earlier times whose broker timestamp is not before its record's. Without one of its own a shop runs
on ``_default``'s.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.checker.records import Event
from tests.checker.validity import parse_time

DEFAULT_SHOP = "_default"


class Version(NamedTuple):
    number: int
    in_force_at: int
    broker_at: int
    body: Any
    reevaluate: bool


class Configuration:
    """``lead``: the deployment's ``config_lead_s``, µs."""

    def __init__(self, lead: int) -> None:
        self._lead = lead
        self._versions: dict[tuple[str, str], list[Version]] = {}

    def add(self, event: Event) -> None:
        data = event.data
        versions = self._versions.setdefault((data["shop_id"], data["document"]), [])
        if any(version.number == data["version"] for version in versions):
            return
        in_force_at = max(parse_time(data["effective_from"]), event.broker_at + self._lead)
        body = data.get("body")
        versions.append(Version(data["version"], in_force_at, event.broker_at, body, bool(data["reevaluate"])))

    def own(self, shop_id: str, document: str) -> list[Version]:
        """In the order of the records."""
        return self._versions.get((shop_id, document), [])

    def shops(self) -> set[str]:
        return {shop_id for shop_id, _ in self._versions}

    def at(self, shop_id: str, document: str, at: int, broker_at: int | None = None) -> Version | None:
        """``broker_at``: of the event decided about; None for a decision that is made at ``at``."""
        earlier = at if broker_at is None else broker_at
        for owner in (shop_id, DEFAULT_SHOP):
            versions = self.own(owner, document)
            in_force = [version for version in versions if version.in_force_at <= at]
            if in_force:
                return max(in_force, key=lambda version: (version.in_force_at, version.number))
            if versions and (owner == DEFAULT_SHOP or earlier >= versions[0].broker_at):
                return versions[0]
        return None

    def numbered(self, shop_id: str, document: str, number: int) -> list[Version]:
        """What a shop's version ``number`` may mean for a document: that number of its own, or of ``_default``'s, or
        the highest number below it (a version that changed other documents leaves this one as it was).
        """
        found = []
        for owner in (shop_id, DEFAULT_SHOP):
            below = [version for version in self.own(owner, document) if version.number <= number]
            if below:
                found.append(max(below, key=lambda version: version.number))
        return found

    def reevaluations(self, shop_id: str, document: str, after: int, until: int) -> list[Version]:
        """Versions applied with ``reevaluate`` that this shop comes to run on in ``after`` < t ≤ ``until``, in order."""
        found = [
            version
            for owner in (shop_id, DEFAULT_SHOP)
            for version in self.own(owner, document)
            if version.reevaluate
            and after < version.in_force_at <= until
            and self.at(shop_id, document, version.in_force_at) is version
        ]
        return sorted(found, key=lambda version: version.in_force_at)

    def limit(self, shop_id: str, name: str, default: float, at: int, broker_at: int | None = None) -> float:
        """One of the named durations of a shop, in seconds."""
        version = self.at(shop_id, "limits", at, broker_at)
        value = (version.body or {}).get(name) if version is not None else None
        return default if value is None else float(value)
