"""Properties over every event type, with data drawn from the models themselves.

The fast reading and the exact one agree on anything; what is written is read back; what is read satisfies its schema,
and pydantic's models agree.
"""

import copy
import json
import types
import typing
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from deskline.clock import parse_rfc3339, rfc3339
from deskline.events.fields import FromOne, IsId, IsTime, Known
from deskline.events.models import ANY_EVENT, REGISTRY, Kind
from deskline.events.schemas import event_schema
from deskline.events.structs import struct_of
from deskline.events.verdict import decide
from deskline.events.wire import decode, encode, new
from deskline.records import Event, Invalid, Record, Unknown

NOW = parse_rfc3339("2026-11-25T03:30:00.123456Z")
TYPES = sorted(REGISTRY)

# No lone surrogates (they cannot be written); the rest of Unicode, and often what JSON and regexes trip over.
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['"\\{[', "退款\n\x00", "\x7f", "😀"]),
)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
times = st.integers(parse_rfc3339("0001-01-01T00:00:00Z"), parse_rfc3339("9999-12-31T23:59:59Z")).map(rfc3339)
decimals = st.from_regex(r"-?[0-9]{1,6}(\.[0-9]{1,3})?", fullmatch=True).filter(str.isascii)
sources = st.sampled_from(["/gateway/demo", "/gateway/taobao-1"])


def values(hint: Any) -> st.SearchStrategy[Any]:
    """What a field of this type may be written as."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _limited(arguments[0], arguments[1:])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return values(next(item for item in arguments if item is not types.NoneType))
    if origin is tuple:
        if arguments[-1] is ...:
            return st.lists(values(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*(values(item) for item in arguments))
    if origin is dict:
        return st.dictionaries(texts, values(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return data_of(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: texts,
        bool: st.booleans(),
        Any: st.recursive(st.none() | texts, lambda inner: st.dictionaries(texts, inner, max_size=2), max_leaves=3),
    }
    return plain[hint]


def _limited(inner: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    limits = next(item for item in metadata if isinstance(item, msgspec.Meta))
    for item in metadata:
        if isinstance(item, Known):
            return st.sampled_from(item.values)
        if isinstance(item, IsId):
            return ids
        if isinstance(item, IsTime):
            return times
    if limits.pattern:
        return decimals
    if inner is int:
        low = 1 if any(isinstance(item, FromOne) for item in metadata) else int(limits.ge or 0)
        return st.integers(low, int(limits.le or 0))
    if inner is float:
        return st.floats(limits.ge, limits.le, allow_nan=False) | st.just(float(limits.ge or 0))
    return values(inner)


@cache
def data_of(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Structs of a model, optional fields sometimes absent."""
    hints = typing.get_type_hints(model, include_extras=True)
    required = {name: values(hints[name]) for name, info in model.model_fields.items() if info.is_required()}
    optional = {name: values(hints[name]) for name, info in model.model_fields.items() if not info.is_required()}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: struct_of(model)(**fields))


@st.composite
def records(draw: st.DrawFn, name: str | None = None) -> tuple[Kind, Any, Record]:
    """A kind, its data, and the record that ``encode`` makes of it."""
    kind = REGISTRY[name or draw(st.sampled_from(TYPES))]
    data, subject = draw(data_of(kind.model)), draw(ids)
    source = draw(sources) if kind.writer == "gateway" else f"/deskline/{kind.writer}"
    value = encode(kind.name, id=draw(ids), source=source, subject=subject, time=NOW, data=data)
    return kind, data, Record(kind.topic, 0, 1, NOW, subject.encode(), value, ())


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_what_is_written_is_read_back_and_satisfies_its_schema(name: str, draw: st.DataObject) -> None:
    kind, data, record = draw.draw(records(name))
    assert record.value is not None
    event = decode(record)
    assert isinstance(event, Event), event
    assert event == decide(record)
    assert (event.type, event.at, event.data) == (name, NOW, data)
    envelope = json.loads(record.value)
    assert not list(validator_of(name).iter_errors(envelope))
    assert b":null" not in record.value or kind.name == "config.applied.v1", (
        "an optional field without a value is absent"
    )
    again = encode(name, id=event.id, source=event.source, subject=event.subject, time=event.at, data=event.data)
    assert again == record.value
    parsed = ANY_EVENT.validate_json(record.value)
    assert (parsed.type, parsed.subject) == (name, event.subject)


@cache
def validator_of(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(event_schema(REGISTRY[name]))


# --- mutations: the fast reading against the exact one --------------------------------------------------------------

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 3.0, 2.5, 101, 2**53, 2**53 + 1, 10**30, 1e300, "", "x", "\x00", "\x85", "x" * 600),
    *(
        "字" * 20_001,
        "2026-11-25T03:30:00Z",
        "2026-11-25T03:30:00",
        "1.5",
        "-1",
        [],
        {},
        [None],
        ["x"] * 65,
        {"id": "x"},
    ),
)
SPLICES: tuple[bytes, ...] = (
    *(b"", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"0", b"1", b"e", b"-", b".", b"\xff", b"\xed\xa0\x80"),
    *(b"\x00", b"\n", b"\xc2\x85", b"\x7f", b"NaN", b"null", b'"x":1,', b'"type":"a",', b"\\u0000", b"\\ud800"),
    *(b"\\ud83d\\ude00", b'"u":' + b"[" * 31 + b"]" * 31 + b",", b"\xef\xbb\xbf", b'"data":{},', b'"id":7,'),
)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [place for key, value in list(inner) for place in ((document, key), *places(value))]


@st.composite
def mutated(draw: st.DrawFn) -> Record:
    """A valid record with members replaced, taken away or spliced into, its key or its topic changed."""
    kind, _, record = draw(records())
    assert record.value is not None
    document, value = json.loads(record.value), record.value
    for _ in range(draw(st.integers(0, 2))):
        found = places(document)
        if not found:
            break
        container, key = found[draw(st.integers(0, len(found) - 1))]
        if draw(st.booleans()):
            container[key] = copy.deepcopy(ODD[draw(st.integers(0, len(ODD) - 1))])
        else:
            del container[key]
        value = json.dumps(document, ensure_ascii=draw(st.booleans())).encode()
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(value)))
        value = value[:at] + draw(st.sampled_from(SPLICES)) + value[at + draw(st.integers(0, 2)) :]
    subject = document.get("subject")
    key_bytes = draw(st.sampled_from([record.key, record.key, record.key, None, b"\xff"]))
    if isinstance(subject, str) and draw(st.booleans()):
        key_bytes = subject.encode()
    topic = draw(st.sampled_from([kind.topic, kind.topic, kind.topic, "conversations.v1", "shops.v1"]))
    return record._replace(value=value, key=key_bytes, topic=topic)


@settings(max_examples=1_500, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_the_fast_reading_and_the_exact_one_agree(record: Record) -> None:
    fast = decode(record)
    assert fast == decide(record)
    assert isinstance(fast, Event | Unknown | Invalid)
    if isinstance(fast, Event) and record.value is not None:
        assert not list(validator_of(fast.type).iter_errors(json.loads(record.value)))


@settings(max_examples=500)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass")))
@example(b"")
@example(b"{}")
def test_any_bytes_have_one_verdict(value: bytes) -> None:
    record = Record("conversations.v1", 0, 1, NOW, b"c", value, ())
    assert decode(record) == decide(record)


# --- writing is strict ----------------------------------------------------------------------------------------------


def ignored(**fields: Any) -> Any:
    model = REGISTRY["message.ignored.v1"].model
    return new(
        model,
        **{"shop_id": "s", "rules_version": 1, "routing_offset": 0, "message_id": "m", "reason": "empty"} | fields,
    )


def write(data: Any, **envelope: Any) -> bytes:
    attributes = {"id": "e", "source": "/deskline/autoreply", "subject": "c", "time": NOW} | envelope
    return encode("message.ignored.v1", data=data, **attributes)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"reason": "bored"}, "reason"),
        ({"rules_version": -1}, "rules_version"),
        ({"rules_version": 2**53 + 1}, "rules_version"),
        ({"rules_version": "1"}, "rules_version"),
        ({"shop_id": ""}, "shop_id"),
        ({"shop_id": None}, "shop_id"),
        ({"message_id": "a\n"}, "message_id"),
        ({"message_id": "\x85"}, "message_id"),
    ],
)
def test_what_breaks_a_rule_is_not_written(fields: dict[str, Any], where: str) -> None:
    assert isinstance(write(ignored()), bytes)
    with pytest.raises(ValueError, match=where):
        write(ignored(**fields))


@pytest.mark.parametrize(
    "envelope",
    [{"id": ""}, {"id": "a\x00"}, {"subject": "s" * 129}, {"source": "/deskline/router"}, {"source": "/gateway/a"}],
)
def test_a_broken_envelope_is_not_written(envelope: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        write(ignored(), **envelope)


def test_ordinals_are_written_from_one_and_numbers_are_never_nan() -> None:
    reminder = REGISTRY["sla.reminder.v1"].model
    fields = {"kind": "unread", "message_id": "m", "shop_id": "s", "since": rfc3339(NOW)}
    issued = REGISTRY["reply.issued.v1"].model
    reply = {
        "shop_id": "s",
        "rules_version": 1,
        "routing_offset": 0,
        "reply_id": "r",
        "in_reply_to": "m",
        "text": "你好",
    }
    reply |= {"kind": "faq", "handover": False, "deliver_by": rfc3339(NOW)}
    with pytest.raises(ValueError, match=r"\$\.data\.n"):
        encode(
            "sla.reminder.v1", id="e", source="/deskline/sla", subject="c", time=NOW, data=new(reminder, n=0, **fields)
        )
    for confidence in (float("nan"), 1.5):
        with pytest.raises(ValueError, match="confidence"):
            encode(
                "reply.issued.v1",
                id="e",
                source="/deskline/autoreply",
                subject="c",
                time=NOW,
                data=new(issued, confidence=confidence, **reply),
            )


def test_a_field_that_is_missing_or_unknown_is_noticed_when_the_data_is_built() -> None:
    with pytest.raises(TypeError, match="rules_version"):
        new(REGISTRY["message.ignored.v1"].model, shop_id="s")
    with pytest.raises(TypeError, match="colour"):
        ignored(colour="red")


def test_data_is_frozen() -> None:
    with pytest.raises(AttributeError):
        ignored().reason = "waiting"


def test_the_models_refuse_what_the_verdict_refuses() -> None:
    good = json.loads(write(ignored()))
    assert ANY_EVENT.validate_json(json.dumps(good)).type == "message.ignored.v1"
    for path, value in (("id", "a\x00"), ("time", "now"), ("type", "message.forgotten.v1"), ("data", None)):
        with pytest.raises(ValidationError):
            ANY_EVENT.validate_json(json.dumps({**good, path: value}))
