"""Applying configuration: gather what is stored, plan, commit versions and events together, publish.

A command that is killed after its commit leaves its events in ``config.outbox``; every later command publishes what
waits before it does anything of its own, in the order of the commits, with the same ids and bytes. Readers count the
first record of a version only, so a record that a crash published twice changes nothing.

``effective_from`` is at least the deployment's lead after the apply (contract §3). By default a second more: committing
and publishing take part of a second, and a version is in force at ``effective_from`` itself only where its record
reaches the broker at least a lead before.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from deskline.clock import SECOND, now_us, rfc3339
from deskline.config.base import DEFAULT_SHOP, Document, DocumentKind
from deskline.config.book import EVENT_TYPE
from deskline.config.documents import DOCUMENTS, body_of
from deskline.config.explain import findings
from deskline.config.loading import KINDS, Configuration, ConfigurationError, Problem, check_together, load_directory
from deskline.config.planning import Change, Stored, numbered, plan_directory, plan_shop
from deskline.config.store import ConfigStore, Order, Scheduled
from deskline.errors import TransientError, UsageError
from deskline.events import wire
from deskline.events.models import ConfigApplied
from deskline.ids import event_id
from deskline.kafka import Publisher
from deskline.records import SHOPS, Output
from deskline.settings import ServiceSettings

SOURCE: Final = "/deskline/config"
_MARGIN: Final = SECOND
# Records of up to 4 MiB: a few at a time keep memory bounded, and what was acknowledged is struck off.
_PUBLISH_AT_ONCE: Final = 16
# A restarting broker is back within this; longer, and the person at the keyboard should know.
_PUBLISH_WITHIN_S: Final = 30.0
_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What a command did. ``changes`` is empty where everything was as it should be."""

    changes: Sequence[Change]
    numbers: Mapping[str, int]
    """shop → its new number."""
    order: Order
    warnings: Sequence[Problem] = ()
    overtaken_by: Sequence[Scheduled] = ()
    """Versions applied earlier for a later instant: they will replace what this command changed."""


def order_of(
    settings: ServiceSettings,
    now: int,
    *,
    by: str,
    effective_from: int | None = None,
    reevaluate: bool = False,
    rollback_to: int | None = None,
    comment: str = "",
) -> Order:
    """Raises ``UsageError`` where ``effective_from`` (µs) is too soon."""
    earliest = now + round(settings.config_lead_s * SECOND)
    if effective_from is None:
        effective_from = earliest + _MARGIN
    if effective_from < earliest:
        raise UsageError(
            f"--effective-from {rfc3339(effective_from)} is too soon: the services must know a version "
            f"{settings.config_lead_s:g} s before it is in force, so {rfc3339(earliest)} at the earliest"
        )
    return Order(now, by, effective_from, reevaluate, rollback_to, comment)


async def apply_directory(
    settings: ServiceSettings,
    directory: Path,
    *,
    effective_from: int | None = None,
    reevaluate: bool = False,
    comment: str = "",
    by: str = "deskline",
) -> Applied:
    """Make the configuration what ``directory`` says, and publish what changed.

    Raises ``ConfigurationError`` (nothing was changed) and ``TransientError`` (the text says what was done by then).
    """
    configuration = load_directory(directory)
    async with ConfigStore.opened(settings) as store, store.turn():
        await publish_waiting(settings, store)
        changes = plan_directory(bodies_of(configuration), await store.last_documents())
        order = order_of(
            settings, now_us(), by=by, effective_from=effective_from, reevaluate=reevaluate, comment=comment
        )
        overtaken_by = await _overtaking(store, changes, order)
        numbers = await _commit_and_publish(settings, store, changes, order)
    return Applied(changes, numbers, order, configuration.warnings, overtaken_by)


async def rollback(
    settings: ServiceSettings,
    shop_id: str,
    version: int,
    *,
    only: frozenset[DocumentKind] = frozenset(KINDS),
    effective_from: int | None = None,
    reevaluate: bool = False,
    comment: str = "",
    by: str = "deskline",
) -> Applied:
    """Give a shop again, as a new version, the documents that its version ``version`` had.

    A document that the shop got only later becomes a copy of ``_default``'s.
    """
    async with ConfigStore.opened(settings) as store, store.turn():
        await publish_waiting(settings, store)
        last = await store.last_versions()
        if not 0 < version <= last.get(shop_id, 0):
            have = f"has the versions 1 to {last[shop_id]}" if shop_id in last else "has no version of its own"
            raise UsageError(f"shop {shop_id!r} {have}; see: deskline config history")
        stored = await store.last_documents()
        desired, inherited = await _as_it_was(store, shop_id, version, stored, only)
        await _check_rollback(store, shop_id, desired, last, stored)
        changes = plan_shop(shop_id, desired, inherited, stored)
        order = order_of(
            settings,
            now_us(),
            by=by,
            effective_from=effective_from,
            reevaluate=reevaluate,
            rollback_to=version,
            comment=comment,
        )
        overtaken_by = await _overtaking(store, changes, order)
        numbers = await _commit_and_publish(settings, store, changes, order)
    return Applied(changes, numbers, order, overtaken_by=overtaken_by)


def bodies_of(configuration: Configuration) -> dict[str, dict[DocumentKind, bytes]]:
    return {
        shop_id: {kind: body_of(document) for kind, document in documents.items()}
        for shop_id, documents in configuration.shops.items()
    }


async def _as_it_was(
    store: ConfigStore,
    shop_id: str,
    version: int,
    stored: Mapping[tuple[str, DocumentKind], Stored],
    only: frozenset[DocumentKind],
) -> tuple[dict[DocumentKind, bytes], frozenset[DocumentKind]]:
    then = await store.as_of(shop_id, version)
    default = await store.as_of(DEFAULT_SHOP, 2**62)
    desired: dict[DocumentKind, bytes] = {}
    inherited: set[DocumentKind] = set()
    for kind in KINDS:
        if kind not in only or (shop_id, kind) not in stored:
            continue
        if kind in then and not then[kind].inherited:
            desired[kind] = then[kind].body
        else:
            desired[kind] = default[kind].body
            inherited.add(kind)
    return desired, frozenset(inherited)


async def _check_rollback(
    store: ConfigStore,
    shop_id: str,
    desired: Mapping[DocumentKind, bytes],
    last: Mapping[str, int],
    stored: Mapping[tuple[str, DocumentKind], Stored],
) -> None:
    """The result must be one that ``check`` would admit: it parses under this release, and its parts fit together."""
    shops: dict[str, dict[DocumentKind, Document]] = {}
    for other, number in last.items():
        bodies = {kind: body.body for kind, body in (await store.as_of(other, number)).items()}
        if other == shop_id:
            bodies |= desired
        shops[other] = {kind: parse(other, kind, body) for kind, body in bodies.items() if (other, kind) in stored}
    problems = check_together(shops)
    if problems:
        raise ConfigurationError(problems)


def parse(shop_id: str, kind: DocumentKind, body: bytes) -> Document:
    """A stored body under this release; raises ``ConfigurationError`` where it no longer is one."""
    try:
        return DOCUMENTS[kind].model_validate_json(body, strict=True)
    except ValidationError as error:
        where = f"{shop_id}/{kind} as stored"
        raise ConfigurationError(
            [
                Problem(where, 0, 0, ".".join(str(part) for part in finding.path), finding.message)
                for finding in findings(kind, error)
            ]
        ) from None


# --- committing and publishing --------------------------------------------------------------------------------------


async def _overtaking(store: ConfigStore, changes: Sequence[Change], order: Order) -> list[Scheduled]:
    changed = {(change.shop_id, change.document) for change in changes}
    return [each for each in await store.scheduled(order.effective_from) if (each.shop_id, each.document) in changed]


async def _commit_and_publish(
    settings: ServiceSettings, store: ConfigStore, changes: Sequence[Change], order: Order
) -> dict[str, int]:
    if not changes:
        return {}
    numbers = numbered(changes, await store.last_versions())
    await store.commit(changes, numbers, order, events(changes, numbers, order))
    try:
        await publish_waiting(settings, store)
    except TransientError as error:
        raise TransientError(
            f"{error}. The new versions are stored and will be published, before anything newer, by the next "
            "`deskline config` command that reaches the broker: run `deskline config publish`"
        ) from error
    return numbers


def events(changes: Sequence[Change], numbers: Mapping[str, int], order: Order) -> Iterator[tuple[str, bytes]]:
    """(shop, record value) per changed document, in the order in which they are to stand on the topic."""
    for change in changes:
        number = numbers[change.shop_id]
        body = {"sha256": change.sha256} if change.document == "rules" else json.loads(change.body)
        data = wire.new(
            ConfigApplied,
            shop_id=change.shop_id,
            version=number,
            effective_from=rfc3339(order.effective_from),
            document=change.document,
            body=body,
            reevaluate=order.reevaluate,
        )
        value = wire.encode(
            EVENT_TYPE,
            id=event_id(change.shop_id, EVENT_TYPE, change.document, number),
            source=SOURCE,
            subject=change.shop_id,
            time=order.applied_at,
            data=data,
        )
        yield change.shop_id, value


async def publish_waiting(settings: ServiceSettings, store: ConfigStore, within_s: float = _PUBLISH_WITHIN_S) -> int:
    """Publish what committed commands left, in order; how many records there were. Call it inside ``store.turn()``."""
    count = 0
    publisher = Publisher(settings, "deskline-config")
    try:
        while waiting := await store.waiting(_PUBLISH_AT_ONCE):
            outputs = [Output(SHOPS, each.shop_id.encode(), each.value) for each in waiting]
            await _publish(publisher, outputs, within_s)
            await store.published([each.seq for each in waiting])
            count += len(waiting)
    finally:
        await publisher.stop()
    return count


async def _publish(publisher: Publisher, outputs: Sequence[Output], within_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await publisher.publish(outputs)
        except TimeoutError:
            raise TransientError(f"the broker did not take the records within {within_s:g} s") from None
        except TransientError:
            if asyncio.get_running_loop().time() + _PAUSE_S >= deadline:
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return
