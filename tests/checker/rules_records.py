"""Rules about records as such: the archive (1), the dead letters (8), and what §1 demands of every output."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.checker.log import OUTPUTS, View, header
from tests.checker.records import CONVERSATIONS, REPLIES, ROUTING, SLA, TOPICS, Event, Record, Violation
from tests.checker.validity import REASONS, TYPES, is_canonical

_ID = re.compile(r"[0-9a-f]{32}")
"""Ids of things are 32 hexadecimal digits in this release; the contract asks only that they are deterministic."""
_SERVICES = ("autoreply", "router", "sla", "archive")
_THINGS = ("request_id", "assignment_id", "reply_id", "clock_id")


def archive(view: View) -> Iterator[Violation]:
    """Rule 1."""
    if view.log.archive is None:
        return
    seen: set[str] = set()
    last = {(record.topic, record.partition): record.offset for record in view.log.records}
    for kept in view.log.archive:
        if kept.where in seen:
            yield Violation("1", "archived_twice", "two rows for one record", kept.where)
        seen.add(kept.where)
        record = view.by_where.get(kept.where)
        if record is None:
            place = (kept.topic, kept.partition)
            if view.log.starts.get(place, 0) <= kept.offset <= last.get(place, -1):
                yield Violation("1", "archived_nothing", "a row for a record that Kafka does not have", kept.where)
            continue
        for name in ("key", "value", "headers", "broker_at"):
            if getattr(kept, name) != getattr(record, name):
                yield Violation("1", "archived_differently", f"its {name} differs from the record's", kept.where)
    for record in view.log.records:
        if record.where not in seen:
            yield Violation("1", "not_archived", "no row for this record", record.where)


def dead_letters(view: View) -> Iterator[Violation]:
    """Rule 8: every invalid record has one letter of the archive with its bytes; valid ones have none."""
    invalid = {record.where: reason for record, reason in view.invalid}
    by_identity: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for letter in view.letters:
        origin = _origin(view, letter)
        service = header(letter, "deskline-service")
        reason = header(letter, "deskline-reason")
        if origin is None or service not in _SERVICES or reason not in REASONS:
            yield Violation("8", "letter_without_origin", "its headers name no record, service or reason", letter.where)
            continue
        by_identity[service, origin.where].append(letter)
        if (reason == "failed") == (origin.where in invalid):
            yield Violation("8", "letter_for_the_wrong_record", f"{reason} of {service}", origin.where)
        if reason != "failed" and service != "archive":
            yield Violation("8", "letter_of_the_wrong_service", f"{reason} of {service}", origin.where)
        if not _same_bytes(letter, origin):
            yield Violation("8", "letter_with_other_bytes", f"letter {letter.where}", origin.where)
    for (service, origin_at), letters in by_identity.items():
        if len({(letter.key, letter.value, letter.headers) for letter in letters}) > 1:
            yield Violation("8", "letters_that_differ", f"{len(letters)} letters of {service}", origin_at)
    for where, reason in invalid.items():
        if view.settings.caught_up and ("archive", where) not in by_identity:
            yield Violation("8", "no_letter", f"an invalid record ({reason})", where)


def _origin(view: View, letter: Record) -> Record | None:
    topic, partition, offset = (header(letter, f"deskline-{name}") for name in ("topic", "partition", "offset"))
    if topic is None or partition is None or offset is None:
        return None
    known = next((name for name in TOPICS if topic.endswith(name)), topic)
    return view.by_where.get(f"{known}/{partition}/{offset}")


def _same_bytes(letter: Record, origin: Record) -> bool:
    null = header(letter, "deskline-null") == "1"
    if null != (origin.key is None and origin.value is None):
        return False
    kept = tuple(
        (f"original-{name}" if name.startswith("deskline-") else name, value) for name, value in origin.headers
    )
    own = tuple((name, value) for name, value in letter.headers if not name.startswith("deskline-"))
    values = (b"",) if null else (origin.value,)
    return letter.key == origin.key and letter.value in values and own == kept


def outputs(view: View) -> Iterator[Violation]:
    """§1 for what deskline put out: valid, said again only with the same bytes, canonical times, no nulls, ids that
    name things, and the header that names the cause.
    """
    for record, reason in view.invalid:
        if record.topic in OUTPUTS and (header(record, "deskline-source") or _claims_to_be_ours(record)):
            yield Violation("outputs", "invalid_output", reason, record.where)
    for event, first in view.duplicates:
        if event.source.startswith("/deskline/") and event.record.value != first.record.value:
            yield Violation("outputs", "said_again_differently", f"first {first.where}", event.where)
    names: dict[tuple[str, str], Any] = {}
    for event in view.counted:
        if event.record.topic in OUTPUTS and event.type != "config.applied.v1":
            yield from _times_and_nulls(event)
            yield from _names(event, names)
            yield from _cause(view, event)


def _claims_to_be_ours(record: Record) -> bool:
    """Whether a service wrote it, not somebody else with access to the topic: it names itself as the source."""
    writer = {REPLIES: b"autoreply", ROUTING: b"router", SLA: b"sla"}.get(record.topic)
    return writer is not None and b'"/deskline/' + writer + b'"' in (record.value or b"")


def _times_and_nulls(event: Event) -> Iterator[Violation]:
    if not is_canonical(event.time_text):
        yield Violation("outputs", "time_form", "the envelope's time is not UTC with microseconds", event.where)
    for name, kind in TYPES[event.type][2].items():
        given = event.data.get(name.removesuffix("?"))
        if kind == "time" and given is not None and not is_canonical(given):
            yield Violation("outputs", "time_form", f"{name} is not UTC with microseconds", event.where)
    if re.search(rb"[:\[,]\s*null\s*[,\]}]", _outside_strings(event.record.value or b"")):
        yield Violation("outputs", "null", "a null where the field should be absent", event.where)


def _outside_strings(value: bytes) -> bytes:
    return re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', value)


def _names(event: Event, names: dict[tuple[str, str], Any]) -> Iterator[Violation]:
    """One id for one thing, one thing for one id."""
    data = event.data
    things: dict[str, Any] = {
        "request_id": (event.subject,) if "request_id" in data else None,
        "assignment_id": (data.get("request_id"), data["attempt"]) if "attempt" in data else None,
        "reply_id": (event.subject, data["in_reply_to"]) if "in_reply_to" in data else None,
        "clock_id": (event.subject, data["metric"], data["started_at"]) if "metric" in data else None,
    }
    for name in _THINGS:
        if name in data and _ID.fullmatch(data[name]) is None:
            yield Violation("outputs", "id_form", f"{name} {data[name]!r}", event.where)
        thing = things[name]
        if thing is None or name not in data:
            continue
        if names.setdefault((name, data[name]), thing) != thing:
            yield Violation("outputs", "id_of_two_things", f"{name} {data[name]}", event.where)
        unique = name != "request_id" and data.get("metric") != "complaint_closure"
        if unique and names.setdefault((f"{name} of", repr(thing)), data[name]) != data[name]:
            yield Violation("outputs", "two_ids_of_a_thing", f"{name} {data[name]}", event.where)


def _cause(view: View, event: Event) -> Iterator[Violation]:
    source = header(event.record, "deskline-source")
    if source is None:
        if event.record.topic == REPLIES or event.type == "sla.met.v1":
            yield Violation("outputs", "no_cause", f"{event.type} without deskline-source", event.where)
        return
    cause = view.event_at.get(source)
    if cause is None:
        # A letter, or a record that retention took, may be the cause; a record that is there and is not valid may not.
        if source in view.by_where and view.by_where[source].topic == CONVERSATIONS:
            yield Violation("outputs", "caused_by_an_invalid_record", source, event.where)
        return
    if event.time < cause.at:
        yield Violation("outputs", "before_its_cause", f"cause {source}", event.where)


def counts(view: View) -> Counter[str]:
    found: Counter[str] = Counter(event.type.removesuffix(".v1") for event in view.counted)
    found["records"] = len(view.log.records)
    found["invalid"] = len(view.invalid)
    found["duplicates"] = len(view.duplicates)
    found["letters"] = len(view.letters)
    found["letters failed"] = sum(header(letter, "deskline-reason") == "failed" for letter in view.letters)
    found["conversations"] = len(view.conversations)
    return found
