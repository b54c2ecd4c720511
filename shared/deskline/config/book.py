"""Which version of a shop's configuration holds, for a decision about an instant. Pure (contract §3).

The book is fed with the ``config.applied.v1`` events of ``shops.v1`` in offset order and answers ``at(shop, kind, at)``.
All times are µs. Per (shop, kind) it keeps a *timeline*:

* A version is in force from ``max(effective_from, broker timestamp of its record + lead)``. Of those in force the one
  that came into force last counts; at one instant the higher number.
* ``_default``'s first version counts for all earlier times too. A shop's own first version counts for earlier times
  where the broker timestamp of the event decided about is not before that of the version's record. First means the
  first record read of that (shop, kind).
* A shop without a document of its own, or none in force yet, runs on ``_default``'s.
* A second record of a version is a re-publication and has no effect.

A body that does not parse under this release leaves the version before it in force and is listed in ``refused``: a
configuration written by a newer release must not stop an older one that is still running.

The record of ``rules`` carries only the hash of its body. The shell asks ``wants(event)``, fetches the bytes that the
hash names from Postgres (``config.bodies``), gives them to ``put_body`` and then admits the event.
"""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic import ValidationError

from deskline.calendars import Hours
from deskline.clock import SECOND, from_datetime, parse_rfc3339
from deskline.config.base import DEFAULT_SHOP, Document, DocumentKind
from deskline.config.documents import (
    DOCUMENTS,
    Agent,
    AgentsDocument,
    CalendarsDocument,
    LimitsDocument,
    RoutingDocument,
    SlaDocument,
)
from deskline.config.rules_document import RulesDocument
from deskline.errors import TransientError

if TYPE_CHECKING:
    from deskline.records import Event

EVENT_TYPE: Final = "config.applied.v1"
SURGES: Final = {"routing.surge_entered.v1": True, "routing.surge_left.v1": False}
_NEVER_EARLIER: Final = 2**63
"""A broker timestamp later than any: with it a first version counts for all earlier times."""


class Versioned(NamedTuple):
    """A document, its number, and the instant (µs) from which it is in force."""

    version: int
    document: Document
    in_force_at: int


class Serving(NamedTuple):
    """An agent, and the shops whose own ``agents`` document lists him (``_default`` stands for all without one)."""

    agent: Agent
    shops: frozenset[str]


class Refused(NamedTuple):
    """A version that this release could not read; the one before it stays in force."""

    shop_id: str
    kind: str
    version: int
    error: str


class _Timeline:
    __slots__ = ("first", "first_broker_at", "keys", "reevaluating", "versions")

    def __init__(self, first: Versioned, first_broker_at: int) -> None:
        self.first = first
        self.first_broker_at = first_broker_at
        self.keys: list[tuple[int, int]] = []
        self.versions: list[Versioned] = []
        self.reevaluating: set[int] = set()

    def insert(self, versioned: Versioned) -> None:
        key = (versioned.in_force_at, versioned.version)
        index = bisect_right(self.keys, key)
        self.keys.insert(index, key)
        self.versions.insert(index, versioned)

    def find(self, at: int, broker_at: int) -> Versioned | None:
        # Sorted by (in force, number), the winner at an instant is the last that is not after it.
        if self.keys[-1][0] <= at:
            return self.versions[-1]
        index = bisect_right(self.keys, (at, _NEVER_EARLIER))
        if index:
            return self.versions[index - 1]
        return self.first if broker_at >= self.first_broker_at else None


class ConfigBook:
    """``lead_s`` is the deployment's ``config_lead_s``."""

    def __init__(self, lead_s: float = 5.0) -> None:
        self._lead = round(lead_s * SECOND)
        self._timelines: dict[tuple[str, str], _Timeline] = {}
        self._numbers: set[tuple[str, str, int]] = set()
        self._rules: dict[str, RulesDocument | str] = {}
        """sha256 → the parsed body, or why it does not parse."""
        self._hours: dict[tuple[int, str], Hours] = {}
        self._changes: list[int] = []
        self._agent_changes: list[int] = []
        self._agents_cache: tuple[int, int, dict[str, Serving]] = (-1, -1, {})
        self._surges: dict[str, list[tuple[int, int, bool]]] = {}
        """By shop: (from when it counts, offset of its record, whether it begins a surge), in order."""
        self._surge_ids: set[str] = set()
        self.refused: list[Refused] = []
        self.candidates: set[DocumentKind] = set()
        """Kinds of which some version has a candidate in shadow: of others, nobody need ask."""
        self.reminds = False
        """Whether some version of the policies has reminders: otherwise nobody need ask."""
        self.reevaluated_at: list[int] = []
        """When versions of policies or calendars that were applied with ``reevaluate`` come into force, of all shops, in order."""
        self.generation = 0
        """Grows with every version admitted: caches built on the book are stale when it has changed."""

    # --- feeding ------------------------------------------------------------------------------------------------

    def names(self, event: Event) -> str | None:
        """The sha256 by which the event names the body of ``rules``; None of all other events."""
        if event.type != EVENT_TYPE or event.data.document != "rules":
            return None
        return _body_hash(event.data.body)

    def wants(self, event: Event) -> str | None:
        """The sha256 of the body that must be given to ``put_body`` before ``admit(event)``, if one is missing."""
        digest = self.names(event)
        return digest if digest is not None and digest not in self._rules else None

    def put_body(self, digest: str, body: bytes) -> None:
        """``body``: the JSON bytes whose sha256 is ``digest``."""
        if sha256(body).hexdigest() != digest:
            raise ValueError(f"the body stored under {digest} has another hash: the table config.bodies is damaged")
        self._rules[digest] = _parse("rules", body)  # type: ignore[assignment]

    def body(self, digest: str) -> RulesDocument | None:
        """The rules that hash names; None where they are not here or this release cannot read them."""
        found = self._rules.get(digest)
        return found if isinstance(found, RulesDocument) else None

    def admit(self, event: Event) -> None:
        """Take a record of ``shops.v1`` in: a version, or a surge of the router; events of other types have no effect.

        Raises ``TransientError`` where a body was not given first: going on without it would decide by the wrong rules.
        """
        if event.type in SURGES and event.id not in self._surge_ids:
            self._surge_ids.add(event.id)
            insort(
                self._surges.setdefault(event.subject, []),
                (max(event.at, event.broker_at + self._lead), event.offset, SURGES[event.type]),
            )
        if event.type != EVENT_TYPE:
            return
        data = event.data
        kind = cast("DocumentKind", data.document)
        if (data.shop_id, kind, data.version) in self._numbers:
            return
        document = self._document(kind, data.body)
        if isinstance(document, str):
            self.refused.append(Refused(data.shop_id, kind, data.version, document))
            self._numbers.add((data.shop_id, kind, data.version))
            return
        in_force_at = max(_instant(data.effective_from), event.broker_at + self._lead)
        self.install(
            data.shop_id,
            kind,
            document,
            version=data.version,
            in_force_at=in_force_at,
            broker_at=event.broker_at,
            reevaluate=bool(getattr(data, "reevaluate", False)),
        )

    def install(
        self,
        shop_id: str,
        kind: DocumentKind,
        document: Document,
        *,
        version: int = 1,
        in_force_at: int = 0,
        broker_at: int = 0,
        reevaluate: bool = False,
    ) -> None:
        """Put a parsed version in, in force from ``in_force_at``; ``broker_at`` is its record's broker timestamp."""
        number = (shop_id, kind, version)
        if number in self._numbers:
            return
        self._numbers.add(number)
        if getattr(document, "candidate", None) is not None:
            self.candidates.add(kind)
        self.reminds = self.reminds or getattr(document, "reminders", None) is not None
        versioned = Versioned(version, document, in_force_at)
        timeline = self._timelines.get((shop_id, kind))
        if timeline is None:
            timeline = self._timelines[shop_id, kind] = _Timeline(versioned, broker_at)
            insort(self._changes, broker_at)
            if kind == "agents":
                insort(self._agent_changes, broker_at)
        timeline.insert(versioned)
        if reevaluate:
            timeline.reevaluating.add(version)
            if kind in {"sla", "calendars"} and in_force_at not in self.reevaluated_at:
                insort(self.reevaluated_at, in_force_at)
        insort(self._changes, in_force_at)
        if kind == "agents":
            insort(self._agent_changes, in_force_at)
        self.generation += 1

    def _document(self, kind: DocumentKind, body: Any) -> Document | str:
        if kind not in DOCUMENTS:
            return f"this release knows no document {kind!r}"
        if kind != "rules":
            return _parse(kind, body)
        digest = _body_hash(body)
        if digest is None:
            return 'the body of rules must be {"sha256": "<64 hexadecimal digits>"}'
        if digest not in self._rules:
            raise TransientError(f"the rules with the hash {digest} have not been fetched from config.bodies")
        return self._rules[digest]

    # --- asking -------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether every shop has a document of every kind: those of ``_default`` have been read."""
        return all((DEFAULT_SHOP, kind) in self._timelines for kind in DOCUMENTS)

    def at(self, shop_id: str, kind: DocumentKind, at: int, broker_at: int | None = None) -> Versioned:
        """The version that a decision about the instant ``at`` uses.

        ``broker_at``: the broker timestamp of the event decided about; None for a decision that is made at ``at``.
        Raises ``TransientError`` while not even ``_default`` has such a document.
        """
        timeline = self._timelines.get((shop_id, kind))
        if timeline is not None:
            earlier = _NEVER_EARLIER if shop_id == DEFAULT_SHOP else at if broker_at is None else broker_at
            found = timeline.find(at, earlier)
            if found is not None:
                return found
        timeline = self._timelines.get((DEFAULT_SHOP, kind))
        if timeline is None:
            raise TransientError(f"no {kind} of the shop {DEFAULT_SHOP} have been applied yet: deskline config apply")
        return timeline.find(at, _NEVER_EARLIER) or timeline.first

    def agents(self, shop_id: str, at: int, broker_at: int | None = None) -> AgentsDocument:
        return cast("AgentsDocument", self.at(shop_id, "agents", at, broker_at).document)

    def calendars(self, shop_id: str, at: int, broker_at: int | None = None) -> CalendarsDocument:
        return cast("CalendarsDocument", self.at(shop_id, "calendars", at, broker_at).document)

    def calendars_in_force(self, at: int) -> list[CalendarsDocument]:
        """Of every shop that has calendars of its own, ``_default`` included."""
        shops = [shop for shop, kind in self._timelines if kind == "calendars"]
        return [self.calendars(shop, at) for shop in shops]

    def sla(self, shop_id: str, at: int, broker_at: int | None = None) -> SlaDocument:
        return cast("SlaDocument", self.at(shop_id, "sla", at, broker_at).document)

    def routing(self, shop_id: str, at: int, broker_at: int | None = None) -> RoutingDocument:
        return cast("RoutingDocument", self.at(shop_id, "routing", at, broker_at).document)

    def limits(self, shop_id: str, at: int, broker_at: int | None = None) -> LimitsDocument:
        return cast("LimitsDocument", self.at(shop_id, "limits", at, broker_at).document)

    def rules(self, shop_id: str, at: int, broker_at: int | None = None) -> RulesDocument:
        return cast("RulesDocument", self.at(shop_id, "rules", at, broker_at).document)

    def hours(self, shop_id: str, at: int, broker_at: int | None = None, calendar: str | None = None) -> Hours:
        """The compiled calendar of that name; without one, or where it is gone, the shop's default calendar.

        A name can be gone: the documents that refer to calendars switch when they are applied, not together with them.
        """
        document = self.calendars(shop_id, at, broker_at)
        name = calendar if calendar is not None and calendar in document.calendars else document.default
        # By identity: the book keeps every document that it was given, so an id is never used again.
        key = (id(document), name)
        if key not in self._hours:
            self._hours[key] = Hours(document.calendars[name])
        return self._hours[key]

    def in_surge(self, shop_id: str, at: int) -> bool:
        """Whether the router is in a surge for this shop, as everybody can know it: like a version, its beginning and its end
        count from ``lead_s`` after their records' broker timestamp, so that all instances decide alike.
        """
        surges = self._surges.get(shop_id)
        if not surges:
            return False
        index = bisect_right(surges, (at, _NEVER_EARLIER, True))
        return index > 0 and surges[index - 1][2]

    def has(self, shop_id: str, kind: DocumentKind) -> bool:
        """Whether the shop has, or will have, a document of its own."""
        return (shop_id, kind) in self._timelines

    def shops(self) -> frozenset[str]:
        """The shops that have a document of their own, ``_default`` among them."""
        return frozenset(shop_id for shop_id, _ in self._timelines)

    def all_agents(self, at: int) -> dict[str, Serving]:
        """Everybody whom some shop's document in force at ``at`` lists. Do not change the dict: it is cached.

        Where two shops state different things of one person (one of them switches later), what came into force last
        counts, at one instant the higher version, then the later shop id.
        """
        index = bisect_right(self._agent_changes, at)
        if self._agents_cache[:2] != (self.generation, index):
            self._agents_cache = (self.generation, index, self._collect_agents(at))
        return self._agents_cache[2]

    def _collect_agents(self, at: int) -> dict[str, Serving]:
        listed: dict[str, list[tuple[int, int, str, Agent]]] = {}
        for (shop_id, kind), timeline in self._timelines.items():
            if kind != "agents":
                continue
            found = timeline.find(at, _NEVER_EARLIER if shop_id == DEFAULT_SHOP else at)
            if found is None:
                continue
            for agent in cast("AgentsDocument", found.document).agents:
                listed.setdefault(agent.agent_id, []).append((found.in_force_at, found.version, shop_id, agent))
        return {
            agent_id: Serving(max(entries, key=lambda entry: entry[:3])[3], frozenset(entry[2] for entry in entries))
            for agent_id, entries in listed.items()
        }

    def reevaluations(self, shop_id: str, kind: DocumentKind, after: int, until: int) -> list[Versioned]:
        """Versions applied with ``reevaluate`` that come into force for this shop in ``after`` < t ≤ ``until``, by t."""
        found = []
        for owner in {shop_id, DEFAULT_SHOP}:
            timeline = self._timelines.get((owner, kind))
            if timeline is None or not timeline.reevaluating:
                continue
            low, high = (bisect_right(timeline.keys, (t, _NEVER_EARLIER)) for t in (after, until))
            found += [
                versioned
                for versioned in timeline.versions[low:high]
                if versioned.version in timeline.reevaluating
                and self.at(shop_id, kind, versioned.in_force_at) is versioned
            ]
        return sorted(found, key=lambda versioned: versioned.in_force_at)

    def next_change(self, after: int) -> int | None:
        """The earliest instant later than ``after`` at which some version comes into force."""
        index = bisect_right(self._changes, after)
        return self._changes[index] if index < len(self._changes) else None


def _parse(kind: DocumentKind, body: Any) -> Document | str:
    text = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    try:
        return DOCUMENTS[kind].model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else str(first["msg"])


def _body_hash(body: Any) -> str | None:
    digest = body.get("sha256") if isinstance(body, dict) else body
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _instant(value: Any) -> int:
    """``effective_from`` as the wire's struct, or the edge's model, has it."""
    if isinstance(value, int):
        return value
    return parse_rfc3339(value) if isinstance(value, str) else from_datetime(value)
