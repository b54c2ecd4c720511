"""Every kind of bad input that contract §1 names, what is valid although it looks odd, and evolution."""

import json
from datetime import date, timedelta
from typing import Any

import pytest

from deskline.clock import DAY, SECOND, parse_rfc3339, rfc3339
from deskline.events.structs import _SURELY, _check_time
from deskline.events.verdict import decide
from deskline.events.wire import decode, header_source
from deskline.records import AGENTS, CONVERSATIONS, ROUTING, SHOPS, Event, Invalid, Record, Unknown

NOW = parse_rfc3339("2026-11-25T03:30:00.123456Z")

MESSAGE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/gateway/demo",
    "type": "message.received.v1",
    "subject": "c-1",
    "time": "2026-11-25T03:30:00.123456Z",
    "data": {
        "shop_id": "shop-1",
        "message_id": "m-1",
        "channel": "app",
        "text": "请问什么时候发货？",
        "customer": {"customer_id": "u-1"},
    },
}
STATUS: dict[str, Any] = {
    **MESSAGE,
    "type": "agent.status_changed.v1",
    "subject": "a-1",
    "data": {"agent_id": "a-1", "status": "online"},
}
ASSIGNED: dict[str, Any] = {
    **MESSAGE,
    "type": "conversation.assigned.v1",
    "source": "/deskline/router",
    "data": {
        "request_id": "r-1",
        "shop_id": "shop-1",
        "seq": 2,
        "agent_id": "a-1",
        "agent_seq": 1,
        "load": 1,
        "capacity": 5,
        "assignment_id": "as-1",
        "attempt": 1,
        "mode": "assigned",
        "waited_s": 1.5,
        "policy_version": 1,
        "explanation": {
            "rule": "default",
            "step": 1,
            "required": {"skills": [{"skill": "refund", "proficiency": 1}]},
            "relaxed": [],
            "agent_state_id": "e-0",
            "considered": 3,
            "eligible": 1,
            "rejected": {"skill": 2},
            "chosen": {"score_parts": {"idle": 2.5}},
        },
    },
}
FLAGGED: dict[str, Any] = {
    **MESSAGE,
    "type": "message.flagged.v1",
    "source": "/deskline/autoreply",
    "data": {
        "shop_id": "shop-1",
        "rules_version": 1,
        "routing_offset": 0,
        "message_id": "m-1",
        "direction": "inbound",
        "categories": ["phone"],
        "spans": [[0, 2, "phone"]],
        "action": "masked",
        "masked_text": "**",
    },
}
QUEUED: dict[str, Any] = {
    **MESSAGE,
    "type": "conversation.queued.v1",
    "source": "/deskline/router",
    "data": {
        "request_id": "r-1",
        "shop_id": "shop-1",
        "seq": 1,
        "cause": "handover",
        "skills": ["refund"],
        "priority": 50,
        "step": 1,
        "required": {"skills": []},
        "position": 1,
        "waiting_since": "2026-11-25T03:29:58.000000Z",
    },
}
TOPICS = {"message.flagged.v1": "replies.v1", "agent.status_changed.v1": AGENTS, "config.applied.v1": SHOPS}

GONE = object()


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the member at ``path`` set, or taken away."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    inner = copy
    for parent in parents:
        inner = inner[parent]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return copy


def topic_of(document: dict[str, Any]) -> str:
    name = document.get("type")
    if isinstance(name, str) and name.startswith(("conversation.queued", "conversation.assigned")):
        return ROUTING
    return TOPICS.get(name, CONVERSATIONS) if isinstance(name, str) else CONVERSATIONS


def record(value: bytes | None, *, key: bytes | None = b"c-1", topic: str = CONVERSATIONS, at: int = NOW) -> Record:
    return Record(topic, 3, 7, at, key, value, ())


def record_of(document: dict[str, Any], **options: Any) -> Record:
    subject = document.get("subject")
    options = {"topic": topic_of(document), "key": subject.encode() if isinstance(subject, str) else b"c-1", **options}
    return record(json.dumps(document, ensure_ascii=False).encode(), **options)


def verdict(given: Record) -> Any:
    """The verdict, having seen that the fast and the exact reading give the same one."""
    fast, exact = decode(given), decide(given)
    assert fast == exact
    return fast


def raw(text: str) -> bytes:
    """The message with ``text`` standing where the text's JSON stands."""
    return json.dumps(changed(MESSAGE, "data.text", "@")).replace('"@"', text).encode()


def nested(depth: int) -> bytes:
    """``depth`` braces and brackets inside one another, the record's own and those of ``data`` included."""
    return raw('"", "unknown": ' + "[" * (depth - 2) + "]" * (depth - 2))


@pytest.mark.parametrize("given", [MESSAGE, STATUS, ASSIGNED, FLAGGED, QUEUED], ids=lambda given: given["type"])
def test_a_valid_record_is_an_event_with_its_attributes(given: dict[str, Any]) -> None:
    event = verdict(record_of(given))
    assert isinstance(event, Event)
    assert (event.type, event.id, event.source, event.subject) == tuple(
        given[name] for name in ("type", "id", "source", "subject")
    )
    assert (event.at, event.retimed) == (NOW, False)
    assert (event.topic, event.partition, event.offset, event.broker_at) == (topic_of(given), 3, 7, NOW)
    assert event.coordinates == f"{event.topic}/3/7"


NOT_JSON: list[tuple[str, bytes | None]] = [
    ("a null value", None),
    ("an empty value", b""),
    ("no JSON", b"not json"),
    ("half a record", json.dumps(MESSAGE).encode()[:-1]),
    ("something behind the record", json.dumps(MESSAGE).encode() + b"x"),
    ("two records", json.dumps(MESSAGE).encode() * 2),
    ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(MESSAGE).encode()),
    ("UTF-16", json.dumps(MESSAGE).encode("utf-16")),
    ("GBK text", json.dumps(MESSAGE, ensure_ascii=False).encode("gbk")),
    ("bytes that are not UTF-8 in an unknown member", raw('"", "unknown": "@@"').replace(b"@@", b"\xff\xfe")),
    ("a surrogate as UTF-8", raw('"@@"').replace(b"@@", b"\xed\xa0\x80")),
    ("an overlong slash", raw('"@@"').replace(b"@@", b"\xc0\xaf")),
    ("a lone high surrogate", raw(r'"\ud83d"')),
    ("a lone low surrogate", raw(r'"\ude00"')),
    ("two high surrogates", raw(r'"\ud83d\ud83d"')),
    ("a lone surrogate behind an escaped backslash", raw(r'"\\\uD83D"')),
    ("a lone surrogate in an unknown member", raw(r'"", "unknown": {"a": ["\udc00"]}')),
    ("a lone surrogate in the name of a member", raw(r'"", "\ud800": 1')),
    ("a lone surrogate in a member that a later one replaces", raw(r'"\ud800", "text": ""')),
    ("NaN", raw('"", "unknown": NaN')),
    ("Infinity", raw('"", "unknown": Infinity')),
    ("minus Infinity", raw('"", "unknown": [-Infinity]')),
    ("a control character in a string", raw('"a\nb"')),
    ("a leading zero", raw('"", "unknown": 01')),
    ("a bare point", raw('"", "unknown": 1.')),
    ("a hexadecimal number", raw('"", "unknown": 0x10')),
    ("a trailing comma", raw('"",')),
    ("single quotes", raw("'a'")),
    ("a comment", raw('"" /* a */')),
    ("an unknown escape", raw(r'"\x41"')),
    ("33 deep", nested(33)),
    ("33 deep between escaped quotes", raw(r'"\"", "unknown": ' + "[" * 31 + "]" * 31 + r', "more": "\""')),
    ("100 000 deep", nested(100_000)),
    ("100 000 deep and never closed", b"[" * 100_000),
    ("100 000 objects deep", b'{"a":' * 40_000 + b"1" + b"}" * 40_000),
    ("an unterminated string full of quotes", b'"' + b'\\"' * 100_000),
]


@pytest.mark.parametrize(("kind", "value"), NOT_JSON, ids=[kind for kind, _ in NOT_JSON])
def test_what_is_not_rfc_8259_json_in_utf_8_is_bad_json(kind: str, value: bytes | None) -> None:
    answer = verdict(record(value))
    assert isinstance(answer, Invalid), kind
    assert answer.reason == "bad_json", answer


BAD_ENVELOPE: list[tuple[str, Any]] = [
    ("specversion", GONE),
    ("specversion", "1.1"),
    ("specversion", 1.0),
    ("id", GONE),
    ("id", None),
    ("id", ""),
    ("id", 7),
    ("id", "x" * 129),
    ("id", "a\x00b"),
    ("id", "a\nb"),
    ("id", "a\x7fb"),
    ("id", "a\x85b"),
    ("source", GONE),
    ("source", ""),
    ("source", "/gateway/a b"),
    ("source", "/gateway/淘宝"),
    ("source", "/gateway/%zz"),
    ("source", "/" + "g" * 512),
    ("type", GONE),
    ("type", ""),
    ("type", 1),
    ("type", "x" * 513),
    ("subject", GONE),
    ("subject", ""),
    ("subject", "会" * 129),
    ("subject", "a\tb"),
    ("time", GONE),
    ("time", ""),
    ("time", 1_764_041_400),
    ("time", "2026-11-25"),
    ("time", "2026-11-25T03:30:00"),
    ("time", "2026-11-25 03:30:00Z"),
    ("time", "2026-11-25T03:30:60Z"),
    ("time", "2026-11-25T24:00:00Z"),
    ("time", "2026-11-25T03:30:00,5Z"),
    ("time", "2026-11-25T03:30:00.1234567890Z"),
    ("time", "2026-02-29T00:00:00Z"),
    ("time", "2026-11-25T03:30:00+0800"),
    ("time", "2026-11-25T03:30:00+24:00"),
    ("time", "2026-W48-3T03:30:00Z"),
    ("time", "２026-11-25T03:30:00Z"),
    ("data", GONE),
    ("data", None),
    ("data", []),
    ("data", "{}"),
]


@pytest.mark.parametrize(("path", "value"), BAD_ENVELOPE)
def test_a_broken_attribute_is_a_bad_envelope(path: str, value: Any) -> None:
    answer = verdict(record_of(changed(MESSAGE, path, value)))
    assert isinstance(answer, Invalid)
    assert answer.reason == "bad_envelope", answer


@pytest.mark.parametrize("value", [b"[]", b"null", b"1", b'"text"', b"{}"])
def test_json_that_is_no_envelope_is_a_bad_envelope(value: bytes) -> None:
    answer = verdict(record(value))
    assert isinstance(answer, Invalid)
    assert answer.reason == "bad_envelope"


BAD_DATA: list[tuple[dict[str, Any], str, Any]] = [
    (MESSAGE, "data.shop_id", GONE),
    (MESSAGE, "data.shop_id", ""),
    (MESSAGE, "data.message_id", "a\x01"),
    (MESSAGE, "data.message_id", "\x9f"),
    (MESSAGE, "data.message_id", "m" * 513),
    (MESSAGE, "data.text", None),
    (MESSAGE, "data.text", 5),
    (MESSAGE, "data.text", "字" * 20_001),
    (MESSAGE, "data.channel", "c" * 513),
    (MESSAGE, "data.channel", None),
    (MESSAGE, "data.language", 1),
    (MESSAGE, "data.order_id", ""),
    (MESSAGE, "data.customer", GONE),
    (MESSAGE, "data.customer", {}),
    (MESSAGE, "data.customer.customer_id", None),
    (MESSAGE, "data.customer.tier", True),
    (MESSAGE, "data.customer.order_count", -1),
    (MESSAGE, "data.customer.order_count", 1.5),
    (MESSAGE, "data.customer.order_count", "3"),
    (MESSAGE, "data.customer.order_count", True),
    (MESSAGE, "data.customer.order_count", 2**53 + 1),
    (MESSAGE, "data.customer.order_count", 10**4_000),
    (MESSAGE, "data.customer.order_count", 1e300),
    (MESSAGE, "data.customer.total_spend", 12.5),
    (MESSAGE, "data.customer.total_spend", ""),
    (MESSAGE, "data.customer.total_spend", "1."),
    (MESSAGE, "data.customer.total_spend", ".5"),
    (MESSAGE, "data.customer.total_spend", "+1"),
    (MESSAGE, "data.customer.total_spend", "1e3"),
    (MESSAGE, "data.customer.total_spend", "1\n"),
    (MESSAGE, "data.customer.total_spend", "１"),
    (MESSAGE, "data.customer.total_spend", "1" * 513),
    (MESSAGE, "data.attachments", {}),
    (MESSAGE, "data.attachments", [{"kind": "image"}]),
    (MESSAGE, "data.attachments", [{"kind": "image", "url": "u" * 2_049}]),
    (MESSAGE, "data.attachments", [{"kind": "image", "url": "u", "size": -1}]),
    (MESSAGE, "data.attachments", [{"kind": "image", "url": "u"}] * 65),
    (STATUS, "data.status", "busy"),
    (STATUS, "data.status", "Online"),
    (STATUS, "data.capacity", -1),
    (STATUS, "data.reason", "r" * 2_049),
    (ASSIGNED, "data.explanation.rejected", {"skill": -1}),
    (ASSIGNED, "data.explanation.rejected", {"s" * 513: 1}),
    (ASSIGNED, "data.explanation.chosen.score_parts", {"idle": "1"}),
    (ASSIGNED, "data.explanation.relaxed", ["grade"] * 65),
    (ASSIGNED, "data.accept_by", "soon"),
    (ASSIGNED, "data.load", -1),
    (ASSIGNED, "data.load", 2**53 + 1),  # as a float it would round to the limit
    (ASSIGNED, "data.waited_s", -(2**53) - 1),
    (ASSIGNED, "data.explanation.required.agent", ""),
    (FLAGGED, "data.spans", [[0, 1]]),
    (FLAGGED, "data.spans", [[0, 1, "phone", 2]]),
    (FLAGGED, "data.spans", [[-1, 1, "phone"]]),
    (FLAGGED, "data.spans", [[0, 1, "phone"]] * 4_097),
    (FLAGGED, "data.masked_text", "*" * 20_001),
    (QUEUED, "data.priority", 101),
    (QUEUED, "data.waiting_since", "2026-11-25T03:29:58"),
    (QUEUED, "data.skills", ["s"] * 65),
    (QUEUED, "data.skills", "refund"),
    (QUEUED, "data.skills", [None]),
]


@pytest.mark.parametrize(("document", "path", "value"), BAD_DATA)
def test_a_field_that_breaks_its_rule_is_bad_data(document: dict[str, Any], path: str, value: Any) -> None:
    answer = verdict(record_of(changed(document, path, value)))
    assert isinstance(answer, Invalid)
    assert answer.reason == "bad_data", answer


@pytest.mark.parametrize("score", [0, 6, None, "5", 4.5])
def test_a_score_is_an_integer_from_one_to_five(score: Any) -> None:
    rated = {**MESSAGE, "type": "conversation.rated.v1", "data": {"shop_id": "s", "score": score}}
    assert verdict(record_of(rated)).reason == "bad_data"
    assert verdict(record_of(changed(rated, "data.score", 5))).data.score == 5


def test_the_kinds_of_authors_are_a_closed_list() -> None:
    sent = {
        **MESSAGE,
        "type": "message.sent.v1",
        "data": {"shop_id": "s", "message_id": "m", "author": {"kind": "agent", "id": "a"}, "text": ""},
    }
    assert isinstance(verdict(record_of(sent)), Event)
    assert verdict(record_of(changed(sent, "data.author.kind", "robot"))).reason == "bad_data"
    assert verdict(record_of(changed(sent, "data.author.id", "a\r"))).reason == "bad_data"


GOOD: list[tuple[dict[str, Any], str, Any]] = [
    (MESSAGE, "data.text", ""),
    (MESSAGE, "data.text", "字" * 20_000),
    (MESSAGE, "data.text", "😀" * 20_000),
    (MESSAGE, "data.text", "nul \x00 and \x7f and \x85 in a text"),
    (MESSAGE, "data.text", "{[" * 1_000),
    (MESSAGE, "data.text", 'quoted " {[ \\ ' * 100),
    (MESSAGE, "data.channel", ""),
    (MESSAGE, "data.message_id", "消息 1"),
    (MESSAGE, "data.message_id", "m" * 512),
    (MESSAGE, "data.language", None),
    (MESSAGE, "data.attachments", None),
    (MESSAGE, "data.attachments", []),
    (MESSAGE, "data.attachments", [{"kind": "image", "url": "u" * 2_048, "size": 2**53}] * 64),
    (MESSAGE, "data.customer.order_count", 3.0),
    (MESSAGE, "data.customer.order_count", -0.0),
    (MESSAGE, "data.customer.total_spend", "-0012.50"),
    (MESSAGE, "data.customer.tier", "钻石"),
    (MESSAGE, "data.unknown", "x" * 100_000),
    (MESSAGE, "data.unknown", 10**4_000),
    (MESSAGE, "data.unknown", [1.5e300] * 1_000),
    (MESSAGE, "data.unknown", [{"a": []}] * 500),
    (MESSAGE, "unknown", None),
    (MESSAGE, "datacontenttype", 7),
    (MESSAGE, "id", "i" * 128),
    (MESSAGE, "subject", "会" * 128),
    (MESSAGE, "source", "/gateway/a%20b:c@d"),
    (MESSAGE, "source", "/gateway/taobao/shop-1"),
    (ASSIGNED, "data.load", 1.25),
    (ASSIGNED, "data.load", 2**53),
    (ASSIGNED, "data.mode", "a mode of a later release"),
    (FLAGGED, "data.spans", [[0, 1, "phone"]] * 4_096),
    (FLAGGED, "data.action", "hidden"),
    (QUEUED, "data.cause", "a cause of a later release"),
    (QUEUED, "data.waiting_since", "0000-01-01T00:00:00+23:59"),
]


@pytest.mark.parametrize(("document", "path", "value"), GOOD)
def test_what_looks_odd_but_keeps_the_rules_is_valid(document: dict[str, Any], path: str, value: Any) -> None:
    assert isinstance(verdict(record_of(changed(document, path, value))), Event)


def test_32_deep_is_valid_and_counts_the_records_own_braces() -> None:
    assert isinstance(verdict(record(nested(32))), Event)


def test_brackets_in_strings_do_not_nest() -> None:
    deep = '"' + "[{" * 40 + '", "unknown": ' + "[" * 30 + "]" * 30
    assert isinstance(verdict(record(raw(deep))), Event)
    assert isinstance(verdict(record(raw(deep.replace("[{", r"\"[{", 1)))), Event)
    assert verdict(record(raw(deep + ', "more": ' + "[" * 31 + "]" * 31))).reason == "bad_json"


def test_an_unknown_number_of_200_000_digits_is_valid_and_a_known_one_is_not() -> None:
    digits = "9" * 200_000
    assert isinstance(verdict(record(raw(f'"", "unknown": {digits}'))), Event)
    assert isinstance(verdict(record(raw(f'"", "unknown": -{digits}.{"1" * 10}e99999999'))), Event)
    known = json.dumps(changed(MESSAGE, "data.customer.order_count", 1)).replace(": 1}", f": {digits}}}")
    assert verdict(record(known.encode())).reason == "bad_data"


@pytest.mark.parametrize("digits", ["1e999", "-1e999", "1" * 400])
def test_a_number_beyond_the_floats_is_no_number_of_a_field(digits: str) -> None:
    value = json.dumps(changed(ASSIGNED, "data.waited_s", "@")).replace('"@"', digits).encode()
    assert verdict(record(value, topic=ROUTING)).reason == "bad_data"


def test_of_a_member_given_twice_the_last_counts_whatever_the_first_is() -> None:
    twice = raw(r'[1], "text": "last"')
    assert verdict(record(twice)).data.text == "last"
    assert verdict(record(raw('"first", "text": 7'))).reason == "bad_data"
    renamed = json.dumps(MESSAGE)[:-1] + ', "type": "order.paid.v1"}'
    assert isinstance(verdict(record(renamed.encode())), Unknown)
    again = json.dumps({**MESSAGE, "type": "order.paid.v1"})[:-1] + ', "type": "message.received.v1"}'
    assert isinstance(verdict(record(again.encode())), Event)


def test_pairs_of_surrogates_and_escaped_backslashes_are_fine() -> None:
    assert verdict(record(raw(r'"\ud83d\ude00 \\ud800 \uFEFF \u0000"'))).data.text == "😀 \\ud800 \ufeff \x00"
    assert verdict(record(raw(r'"\ud55c\uD55C"'))).data.text == "한한"


@pytest.mark.parametrize("key", [None, b"", b"c-2", b"\xff\xfe", "c-1".encode("utf-16"), b"c-1 ", b"C-1"])
def test_a_key_other_than_the_subject_is_a_mismatch(key: bytes | None) -> None:
    answer = verdict(record_of(MESSAGE, key=key))
    assert isinstance(answer, Invalid)
    assert answer.reason == "key_mismatch"


@pytest.mark.parametrize(
    "name",
    ["message.received.v2", "message.received.v0", "message.received.v01", "message.received.v1.1", "message.received"],
)
def test_a_known_name_in_another_version_is_unsupported(name: str) -> None:
    answer = verdict(record_of({**MESSAGE, "type": name, "data": {}}))
    assert isinstance(answer, Invalid)
    assert answer.reason == "unsupported_version"


@pytest.mark.parametrize(
    "name",
    ["order.paid.v1", "message.received.again.v1", "Message.received.v1", "message.receivedv1", "message.v1", "类型"],
)
def test_an_unknown_name_is_passed_on_as_unknown(name: str) -> None:
    given = {**MESSAGE, "type": name, "source": "urn:other:system", "data": {"anything": [None]}}
    assert verdict(record_of(given)) == Unknown(name, "e-1", "urn:other:system", "c-1", NOW)


@pytest.mark.parametrize("topic", ["replies.v1", "routing.v1", "sla.v1", "agents.v1", "shops.v1", "checkpoints.v1"])
def test_a_known_type_on_a_topic_that_is_not_its_own_is_refused(topic: str) -> None:
    answer = verdict(record_of(MESSAGE, topic=topic))
    assert isinstance(answer, Invalid)
    assert answer.reason == "wrong_topic"


@pytest.mark.parametrize(
    "source",
    [
        "/deskline/router",
        "/gateway",
        "/gateway/",
        "gateway/demo",
        "/gateway/a?b",
        "//gateway/a",
        "urn:a",
    ],
)
def test_an_event_of_the_gateway_comes_from_a_gateway(source: str) -> None:
    answer = verdict(record_of({**MESSAGE, "source": source}))
    assert isinstance(answer, Invalid)
    assert answer.reason == "wrong_source"


@pytest.mark.parametrize(
    "source", ["/gateway/demo", "/deskline/sla", "/deskline/router/", "/deskline", "/deskline/config"]
)
def test_our_own_types_from_anothers_source_are_refused(source: str) -> None:
    answer = verdict(record_of({**ASSIGNED, "source": source}))
    assert isinstance(answer, Invalid)
    assert answer.reason == "wrong_source"


def of_size(size: int) -> bytes:
    base = json.dumps({**MESSAGE, "unknown": ""}).encode()
    return base.replace(b'"unknown": ""', b'"unknown": "' + b"x" * (size - len(base)) + b'"')


def test_a_value_of_256_kib_is_read_and_one_byte_more_is_too_large() -> None:
    limit = 256 * 1024
    assert len(of_size(limit)) == limit
    assert isinstance(verdict(record(of_size(limit))), Event)
    answer = verdict(record(of_size(limit + 1)))
    assert isinstance(answer, Invalid)
    assert answer.reason == "too_large"
    assert verdict(record(b"\xff" * (limit + 1))).reason == "too_large"


def test_a_configuration_may_have_4_mib() -> None:
    applied = {
        **MESSAGE,
        "type": "config.applied.v1",
        "source": "/deskline/config",
        "subject": "shop-1",
        "data": {
            "shop_id": "shop-1",
            "version": 3,
            "effective_from": "2026-11-25T03:30:05Z",
            "document": "agents",
            "body": {"agents": ["x" * 10_000] * 300},
            "reevaluate": False,
        },
    }
    event = verdict(record_of(applied))
    assert isinstance(event, Event)
    assert event.data.body == applied["data"]["body"], "no limit of the page holds inside body"
    assert isinstance(verdict(record_of(changed(applied, "data.body", "sha256:00"))), Event)
    assert verdict(record_of(changed(applied, "data.body", ["x" * 2**20] * 4))).reason == "too_large"
    assert verdict(record_of(changed(applied, "data.document", "colours"))).reason == "bad_data"
    assert verdict(record_of(changed(applied, "data.body", GONE))).reason == "bad_data"


@pytest.mark.parametrize(
    ("ahead_us", "retimed"),
    [
        (0, False),
        (5 * SECOND, False),
        (5 * SECOND + 1, True),
        (-7 * DAY, False),
        (-7 * DAY - 1, True),
    ],
)
def test_event_time_is_the_brokers_where_time_is_too_far_off(ahead_us: int, retimed: bool) -> None:
    event = verdict(record_of({**MESSAGE, "time": rfc3339(NOW + ahead_us)}))
    assert event.retimed is retimed
    assert event.at == (NOW if retimed else NOW + ahead_us)


@pytest.mark.parametrize(
    "time", ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999999Z"]
)
def test_times_in_the_far_past_and_future_are_valid(time: str) -> None:
    event = verdict(record_of({**MESSAGE, "time": time}))
    assert (event.at, event.retimed) == (NOW, True)


def test_time_is_cut_to_the_microsecond_and_may_have_any_offset() -> None:
    event = verdict(record_of({**MESSAGE, "time": "2026-11-25t11:30:00.123456999+08:00"}))
    assert event.at == NOW


def test_an_error_never_quotes_what_a_customer_wrote() -> None:
    secret = "我的密码是 hunter2 - at `$.data`"
    for path in ("specversion", "data.text", "data.customer.total_spend", "type", "time", "source"):
        value = [secret] if path == "data.text" else secret
        answer = verdict(record_of(changed(MESSAGE, path, value)))
        assert "hunter2" not in getattr(answer, "error", ""), path
    for status in (secret, [secret], {secret: 1}):
        assert "hunter2" not in verdict(record_of(changed(STATUS, "data.status", status))).error
    assert "hunter2" not in verdict(record(raw(f'"{secret}'))).error
    assert "hunter2" not in verdict(record_of(changed(ASSIGNED, "data.explanation.rejected", {secret: -1}))).error


def test_an_error_says_where() -> None:
    assert "`$.customer.order_count`" in verdict(record_of(changed(MESSAGE, "data.customer.order_count", -1))).error
    assert "`message_id`" in verdict(record_of(changed(MESSAGE, "data.message_id", "\x01"))).error
    assert "`$.status`" in verdict(record_of(changed(STATUS, "data.status", "busy"))).error


def test_the_source_header_is_read_from_any_headers() -> None:
    assert header_source((("a", b"1"), ("deskline-source", b"p.conversations.v1/3/7"))) == "p.conversations.v1/3/7"
    assert header_source((("deskline-source", None),)) is None
    assert header_source((("deskline-source", b"\xff"),)) == "�"
    assert header_source(()) is None


def test_times_are_checked_fast_on_every_day_of_a_year_and_on_no_other():
    days = {(date(2023, 1, 1) + timedelta(number)).isoformat() for number in range(365)}
    shown = {f"2023-{month:02}-{day:02}" for month in range(14) for day in range(33)}
    assert {day for day in shown if _SURELY(f"{day}T00:00:00.5Z")} == days
    # The other way is slower, and right.
    assert not _SURELY("2024-02-29T00:00:00Z")
    assert _check_time("2024-02-29T00:00:00Z") is None
    assert _check_time("2023-02-29T00:00:00Z") is not None
