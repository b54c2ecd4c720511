"""Deciding again what autoreply decided: the recorded topics through the pure engine, and what came out differently.

Contract §6.7: the same records and configuration give the same outputs, given the ``routing_offset`` and the ``time``
that each output states; whatever was killed in between. Limits that span conversations are not known here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deskline.clock import parse_rfc3339
from deskline.config.book import ConfigBook
from deskline.config.loading import load_directory
from deskline.conversations import Context
from deskline.events.wire import decode
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Event, Record
from deskline_autoreply.handler import Autoreply, State

RECEIVED = "message.received.v1"
SENT = "message.sent.v1"
"""Flagged where an agent's words are sensitive."""


@dataclass
class Compared:
    same: int = 0
    """Messages whose outcome has the same bytes again."""
    missing: list[str] = field(default_factory=list)
    """What has no outcome and would have one, as ``subject type id``."""
    different: list[tuple[list[str], list[str]]] = field(default_factory=list)
    """What was published and what is decided now."""
    repeated: int = 0
    """Outputs published again after a crash, with the same bytes: nobody counts them twice, by their id."""


def compare(book: ConfigBook, records: Mapping[str, Iterable[Record]]) -> Compared:
    """``records``: topic (logical name) → its records, each partition by offset, at least conversations.v1 and replies.v1."""
    result = Compared()
    told = _outcomes(records[REPLIES], result)
    conversations = _by_subject(records[CONVERSATIONS])
    routing = _by_subject(records.get(ROUTING, ()))
    service = Autoreply(book, lambda _decision: None)
    for subject, events in conversations.items():
        _conversation(service, book, subject, events, routing.get(subject, []), told, result)
    return result


def book_of(config: Path) -> ConfigBook:
    """A directory applied once, as the first version of everything."""
    made = ConfigBook()
    for shop, documents in load_directory(config).shops.items():
        for kind, document in documents.items():
            made.install(shop, kind, document)
    return made


def _conversation(  # noqa: PLR0917 - called once, names as the caller has them
    service: Autoreply,
    book: ConfigBook,
    subject: str,
    events: Sequence[Event],
    routing: Sequence[Event],
    told: Mapping[tuple[str, str], list[bytes]],
    result: Compared,
) -> None:
    state: State = service.fresh(subject)
    read = 0
    decided: set[tuple[str, str]] = set()
    for event in events:
        values: Sequence[bytes] = ()
        name = (event.type, event.data.message_id) if event.type in {RECEIVED, SENT} else None
        if name is not None and name not in decided:
            values = told.get((subject, name[1]), ())
        offset, time = read, event.broker_at
        if values:
            stated = json.loads(values[0])
            offset, time = max(read, stated["data"]["routing_offset"]), parse_rfc3339(stated["time"])
        positions = {ROUTING: offset, CONVERSATIONS: event.offset + 1}
        context = Context(time, time, book, positions, event.partition, {subject: events})
        unit = [*(one for one in routing if read <= one.offset < offset), event]
        read = offset
        again = [output.value or b"" for output in service.advance(subject, state, unit, context)]
        if not again:
            continue  # a duplicate, or no message
        if name is not None:
            decided.add(name)
        if again == values:
            result.same += 1
        elif values:
            result.different.append(([value.decode() for value in values], [value.decode() for value in again]))
        else:
            result.missing.append(f"{subject} {event.type} {event.id}")


def _by_subject(records: Iterable[Record]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for record in records:
        event = decode(record)
        if isinstance(event, Event):
            found[event.subject].append(event)
    return found


def _outcomes(records: Iterable[Record], result: Compared) -> dict[tuple[str, str], list[bytes]]:
    """(subject, message) → its outputs in their order, each id once."""
    found: dict[tuple[str, str], list[bytes]] = defaultdict(list)
    seen: dict[str, bytes] = {}
    for record in records:
        of: dict[str, Any] = json.loads(record.value or b"{}")
        if record.value is not None and seen.get(of["id"]) == record.value:
            result.repeated += 1
            continue
        assert of["id"] not in seen, f"two outputs of one id differ: {of['id']}"
        seen[of["id"]] = record.value or b""
        found[of["subject"], of["data"].get("in_reply_to") or of["data"]["message_id"]].append(record.value or b"")
    return found
