"""Whether a record is valid (contract §1), judged by the standard library and the tables of §3 and §4 written out here.

``judge`` gives an ``Event``, ``None`` for a valid record of an unknown type name, or the reason of its dead letter. Of
a record with several defects the contract does not say which is named, so callers compare reasons only loosely.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.checker.records import (
    AGENTS,
    CHECKPOINTS,
    CONVERSATIONS,
    DAY,
    REPLIES,
    ROUTING,
    SECOND,
    SHOPS,
    SLA,
    Event,
    Record,
)

REASONS = frozenset(
    [
        "bad_json",
        "bad_envelope",
        "bad_data",
        "key_mismatch",
        "wrong_topic",
        "wrong_source",
        "unsupported_version",
        "too_large",
        "failed",
    ]
)
_KIB = 1024
_MAX_VALUE = {SHOPS: 4 * _KIB * _KIB}
_DEFAULT_MAX_VALUE = 256 * _KIB
_MAX_DEPTH = 32
_MAX_INTEGER = 2**53
_LONG_NUMBER = 400
"""More digits than this are not turned into an int: any such number is beyond every bound of the page."""


class InvalidError(Exception):
    """``args``: the reason of the dead letter, and where."""


# --- the tables ------------------------------------------------------------------------------------------------------
# A field's kind: id, str (512 code points), text (20 000), long (2 048), int, count (not negative), num, dec, time,
# bool, any, obj, a tuple (closed list), [kind] (a list), {…} (an object). "name?" is optional.

_CUSTOMER = {
    "customer_id": "id",
    "tier?": "str",
    "total_spend?": "dec",
    "average_order?": "dec",
    "order_count?": "count",
    "name?": "str",
    "dedicated_agent_id?": "id",
}
_IN: dict[str, dict[str, Any]] = {
    "message.received.v1": {
        "message_id": "id",
        "channel": "str",
        "entry_point?": "str",
        "text": "text",
        "language?": "str",
        "attachments?": [{"kind": "str", "url": "long", "size?": "count"}],
        "customer": _CUSTOMER,
        "order_id?": "id",
        "product_id?": "id",
    },
    "message.sent.v1": {
        "message_id": "id",
        "author": {"kind": ("agent", "bot", "system"), "id": "id"},
        "text": "text",
        "in_reply_to?": "id",
        "reply_id?": "id",
    },
    "message.read.v1": {"message_id": "id", "reader": {"kind": ("agent", "customer"), "id": "id"}},
    "assignment.accepted.v1": {"assignment_id": "id", "agent_id": "id", "reason?": "long"},
    "assignment.declined.v1": {"assignment_id": "id", "agent_id": "id", "reason?": "long"},
    "transfer.requested.v1": {
        "by_agent_id": "id",
        "to?": {"agent_id?": "id", "skills?": ["str"], "grade?": "str"},
        "note?": "long",
    },
    "conversation.held.v1": {"reason?": "long"},
    "conversation.resumed.v1": {"reason?": "long"},
    "complaint.opened.v1": {"complaint_id": "id", "category?": "str"},
    "complaint.closed.v1": {"complaint_id": "id", "category?": "str"},
    "conversation.closed.v1": {"resolved": "bool", "by?": {"kind": "str", "id": "id"}},
    "conversation.rated.v1": {"score": (1, 2, 3, 4, 5), "comment?": "long"},
    "order.placed.v1": {"order_id": "id", "customer_id": "id", "amount": "dec"},
}
_REPLIES: dict[str, dict[str, Any]] = {
    "reply.issued.v1": {
        "reply_id": "id",
        "in_reply_to": "id",
        "text": "text",
        "kind": "str",
        "handover": "bool",
        "deliver_by": "time",
        "rule_id?": "id",
        "entry_id?": "id",
        "confidence?": "num",
    },
    "handover.requested.v1": {
        "message_id": "id",
        "waiting_since": "time",
        "reason": "str",
        "skills": ["str"],
        "language?": "str",
        "priority": "int",
        "flags": ["str"],
        "suggestions?": [{"entry_id": "id", "confidence": "num"}],
    },
    "message.flagged.v1": {
        "message_id": "id",
        "direction": "str",
        "categories": ["str"],
        "spans": ["any"],
        "action": "str",
        "masked_text?": "text",
    },
    "message.ignored.v1": {"message_id": "id", "reason": "str"},
}
_REQUIRED = {"skills?": [{"skill": "str", "proficiency": "int"}], "grades?": ["str"], "agent?": "id"}
_ABOUT_AGENT = {"agent_id": "id", "agent_seq": "count", "load": "count", "capacity": "count"}
_ROUTING: dict[str, dict[str, Any]] = {
    "conversation.queued.v1": {
        "cause": "str",
        "skills": ["str"],
        "priority": "int",
        "step": "int",
        "required": _REQUIRED,
        "position": "count",
        "estimated_wait_s?": "num",
        "waiting_since": "time",
    },
    "conversation.assigned.v1": {
        **_ABOUT_AGENT,
        "assignment_id": "id",
        "attempt": "count",
        "mode": "str",
        "accept_by?": "time",
        "waited_s": "num",
        "policy_version": "count",
        "explanation": {
            "rule": "str",
            "step": "int",
            "required": _REQUIRED,
            "relaxed": ["str"],
            "agent_state_id": "str",
            "considered": "count",
            "eligible": "count",
            "rejected": "obj",
            "chosen": "obj",
        },
    },
    "assignment.expired.v1": {**_ABOUT_AGENT, "assignment_id": "id", "reason": "str", "agent_paused": "bool"},
    "assignment.revoked.v1": {**_ABOUT_AGENT, "assignment_id": "id", "reason": "str", "agent_paused": "bool"},
    "conversation.released.v1": {"assignment_id?": "id", "reason": "str"},
}
_CLOCK = {
    "clock_id": "id",
    "metric": "str",
    "shop_id": "id",
    "policy_id": "id",
    "policy_version": "count",
    "tier": "str",
    "started_at": "time",
    "due_at": "time",
    "target_s": "num",
    "calendar_id?": "id",
    "agent_id?": "id",
}
_SLA: dict[str, dict[str, Any]] = {
    "sla.warning.v1": {**_CLOCK, "threshold": "num", "actions?": ["str"]},
    "sla.breached.v1": {**_CLOCK, "breached_at": "time", "actions?": ["str"]},
    "sla.met.v1": {**_CLOCK, "met_at": "time", "elapsed_s": "num"},
    "sla.cancelled.v1": {**_CLOCK, "reason": "str"},
    "sla.breach_retracted.v1": {**_CLOCK, "reason": "str"},
    "sla.retargeted.v1": {**_CLOCK},
    "sla.reminder.v1": {
        "kind": "str",
        "message_id": "id",
        "shop_id": "id",
        "since": "time",
        "n": "count",
        "agent_id?": "id",
    },
}
_SURGE = {"shop_id": "id", "cause": "str", "reserve_agents": "any", "capacity_added": "count"}
_DOCUMENTS = ("agents", "calendars", "sla", "routing", "limits", "rules")

# type → (topic, the source's form, fields)
TYPES: dict[str, tuple[str, str, dict[str, Any]]] = {}
for _name, _fields in _IN.items():
    TYPES[_name] = (CONVERSATIONS, r"/gateway/.+", {"shop_id": "id", **_fields})
for _name, _fields in _REPLIES.items():
    _common = {"shop_id": "id", "rules_version": "count", "routing_offset": "count"}
    TYPES[_name] = (REPLIES, "/deskline/autoreply", {**_common, **_fields})
for _name, _fields in _ROUTING.items():
    TYPES[_name] = (ROUTING, "/deskline/router", {"request_id": "id", "shop_id": "id", "seq": "count", **_fields})
for _name, _fields in _SLA.items():
    TYPES[_name] = (SLA, "/deskline/sla", _fields)
TYPES["agent.status_changed.v1"] = (
    AGENTS,
    r"/gateway/.+",
    {"agent_id": "id", "status": ("online", "away", "offline"), "reason?": "long", "capacity?": "count"},
)
TYPES["config.applied.v1"] = (
    SHOPS,
    "/deskline/config",
    {
        "shop_id": "id",
        "version": "count",
        "effective_from": "time",
        "document": _DOCUMENTS,
        "body": "any",
        "reevaluate": "bool",
    },
)
TYPES["routing.surge_entered.v1"] = (SHOPS, "/deskline/router", _SURGE)
TYPES["routing.surge_left.v1"] = (SHOPS, "/deskline/router", _SURGE)
TYPES["archive.checkpoint.v1"] = (
    CHECKPOINTS,
    "/deskline/archive",
    {"origin": "str", "tree_size": "count", "root": "str", "note": "any"},
)
_NAMES = {name.rpartition(".v")[0] for name in TYPES}
_VERSIONED = re.compile(r"(.+)\.v(\d+)", re.ASCII)


def judge(record: Record) -> Event | str | None:
    """The event, None for a valid record of an unknown type name, or why the record is not valid."""
    try:
        return _judge(record)
    except InvalidError as error:
        return str(error.args[0])


def _judge(record: Record) -> Event | None:
    envelope = _parse(record)
    if envelope.get("specversion") != "1.0":
        raise InvalidError("bad_envelope", "specversion")
    for name, kind in (("id", "id"), ("source", "str"), ("type", "str"), ("subject", "id"), ("time", "time")):
        _field(envelope.get(name), kind, name, "bad_envelope")
    if not isinstance(envelope.get("data"), dict):
        raise InvalidError("bad_envelope", "data")
    if len(envelope["id"]) > 128 or len(envelope["subject"]) > 128:
        raise InvalidError("bad_envelope", "longer than 128")
    if record.key != envelope["subject"].encode():
        raise InvalidError("key_mismatch", "key")
    type_ = envelope["type"]
    known = TYPES.get(type_)
    if known is None:
        versioned = _VERSIONED.fullmatch(type_)
        if versioned and versioned.group(1) in _NAMES:
            raise InvalidError("unsupported_version", type_)
        return None
    topic, source, fields = known
    if topic != record.topic:
        raise InvalidError("wrong_topic", type_)
    if re.fullmatch(source, envelope["source"]) is None:
        raise InvalidError("wrong_source", envelope["source"])
    _object(envelope["data"], fields, "data")
    time = parse_time(envelope["time"])
    off = time > record.broker_at + 5 * SECOND or time < record.broker_at - 7 * DAY
    at = record.broker_at if off else time
    data = without_nulls(envelope["data"])
    source, subject = envelope["source"], envelope["subject"]
    return Event(type_, envelope["id"], source, subject, at, time, data, record, envelope["time"])


def _parse(record: Record) -> dict[str, Any]:
    value = record.value
    if value is None:
        raise InvalidError("bad_json", "null value")
    if len(value) > _MAX_VALUE.get(record.topic, _DEFAULT_MAX_VALUE):
        raise InvalidError("too_large", "value")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise InvalidError("bad_json", "not UTF-8") from None
    if text.startswith("\ufeff"):
        raise InvalidError("bad_json", "byte order mark")
    if _depth(text) > _MAX_DEPTH:
        raise InvalidError("bad_json", "nesting")
    try:
        parsed = json.loads(text, parse_constant=_no_constant, parse_int=_parse_int)
    except ValueError:
        raise InvalidError("bad_json", "not JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidError("bad_envelope", "no object")
    try:
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidError("bad_json", "lone surrogate") from None
    return parsed


def _depth(text: str) -> int:
    """The deepest nesting of braces and brackets outside strings; of broken JSON, whatever it comes to."""
    if text.count("{") + text.count("[") <= _MAX_DEPTH:
        return 0  # deep enough for nobody: the common case, without looking closer
    depth = deepest = 0
    for character in re.findall(r"[][{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL)):
        depth += 1 if character in "{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _parse_int(digits: str) -> int:
    if len(digits) <= _LONG_NUMBER:
        return int(digits)
    beyond: int = 10**_LONG_NUMBER
    return -beyond if digits.startswith("-") else beyond


# --- fields ----------------------------------------------------------------------------------------------------------


def _object(value: Any, fields: dict[str, Any], where: str) -> None:
    if not isinstance(value, dict):
        raise InvalidError("bad_data", where)
    for name, kind in fields.items():
        given = value.get(name.removesuffix("?"))
        if given is None and name.endswith("?"):
            continue
        if given is None and kind != "any":
            raise InvalidError("bad_data", f"{where}.{name}")
        if given is None and name not in value:
            raise InvalidError("bad_data", f"{where}.{name}")
        _field(given, kind, f"{where}.{name}", "bad_data")


def _field(value: Any, kind: Any, where: str, reason: str) -> None:
    if isinstance(kind, dict):
        _object(value, kind, where)
    elif isinstance(kind, list):
        if not isinstance(value, list) or len(value) > (4096 if where.endswith("spans") else 64):
            raise InvalidError(reason, where)
        for item in value:
            _field(item, kind[0], where, reason)
    elif isinstance(kind, tuple):
        if isinstance(value, (bool, float)) or value not in kind:
            raise InvalidError(reason, where)
    elif not _IS[kind](value):
        raise InvalidError(reason, where)


def _is_string(limit: int) -> Any:
    return lambda value: isinstance(value, str) and len(value) <= limit


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 512 and not re.search(r"[\x00-\x1f\x7f]", value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INTEGER


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and abs(value) != float("inf"))


def _is_time(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parse_time(value)
    except ValueError:
        return False
    return True


_IS: dict[str, Any] = {
    "id": _is_id,
    "str": _is_string(512),
    "text": _is_string(20_000),
    "long": _is_string(2_048),
    "int": _is_int,
    "count": lambda value: _is_int(value) and value >= 0,
    "num": _is_number,
    "dec": lambda value: (
        isinstance(value, str) and len(value) <= 512 and bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value))
    ),
    "time": _is_time,
    "bool": lambda value: isinstance(value, bool),
    "any": lambda value: True,
    "obj": lambda value: isinstance(value, dict),
}

# --- times -----------------------------------------------------------------------------------------------------------

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE_ALL = -(2**62)


def parse_time(text: str) -> int:
    """µs since the epoch, cut to the microsecond. ``ValueError`` where it is no RFC 3339 time with an offset."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if year == 0:
        datetime(2000, month, day, hour, minute, second)  # the year 0 is a leap year, as 2000 is; only checked
        return _BEFORE_ALL
    moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH
    zone = match.group(8)
    east = 0
    if zone not in "Zz":
        east = (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60) * (1 if zone[0] == "+" else -1)
    whole = moment.days * 86_400 + moment.seconds - east
    return whole * SECOND + int((match.group(7) or "0")[:6].ljust(6, "0"))


def is_canonical(text: str) -> bool:
    """UTC with exactly six digits: the one form in which deskline may write a time."""
    return _CANONICAL.fullmatch(text) is not None and _is_time(text)


def show_time(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """A null in an optional field is an absent field."""
    return {name: given for name, given in value.items() if given is not None}
