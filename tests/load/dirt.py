"""Records that no gateway should send and one day will: every kind that contract §1 names."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from tests.load.envelopes import AGENTS, CONVERSATIONS, Draft, draft, envelope

_OVERSIZE = 300 * 1024
"""Above the 256 KiB of a valid value, below the topic's 1 MiB."""


def _base(subject: str, id_: str, at: int, **data: Any) -> dict[str, Any]:
    body = {
        "shop_id": "衣橱",
        "message_id": f"dirty-{id_}",
        "channel": "web",
        "text": "在吗",
        "customer": {"customer_id": "u0"},
        **data,
    }
    return envelope("message.received", subject, body, at, id_=f"dirty-{id_}")


def _text(of: dict[str, Any], old: str, new: str) -> bytes:
    return json.dumps(of, ensure_ascii=False).replace(old, new, 1).encode()


def _bytes(value: bytes | None, subject: str) -> Draft:
    return Draft(CONVERSATIONS, subject.encode(), value)


Maker = Callable[[str, str, int], Draft]

INVALID: dict[str, Maker] = {
    "not JSON": lambda s, i, t: _bytes(b"{hello", s),
    "empty value": lambda s, i, t: _bytes(b"", s),
    "null value": lambda s, i, t: _bytes(None, s),
    "neither key nor value": lambda s, i, t: Draft(CONVERSATIONS, None, None, ()),
    "not UTF-8": lambda s, i, t: _bytes(_text(_base(s, i, t), "在吗", "x").replace(b'"x"', b'"\xff\xfe"'), s),
    "BOM": lambda s, i, t: _bytes(b"\xef\xbb\xbf" + _text(_base(s, i, t), "", ""), s),
    "NaN": lambda s, i, t: _bytes(_text(_base(s, i, t), '"在吗"', "NaN"), s),
    "lone surrogate": lambda s, i, t: _bytes(_text(_base(s, i, t), "在吗", "\\ud83d"), s),
    "nesting of 100 000": lambda s, i, t: _bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", s),
    "nesting of 33": lambda s, i, t: _bytes(_text(_base(s, i, t), '"在吗"', "[" * 31 + "]" * 31), s),
    "key that is not the subject": lambda s, i, t: draft(_base(s, i, t))._replace(key=b"\xff\x00"),
    "no key": lambda s, i, t: draft(_base(s, i, t))._replace(key=None),
    "no data": lambda s, i, t: draft({k: v for k, v in _base(s, i, t).items() if k != "data"}),
    "another specversion": lambda s, i, t: draft(_base(s, i, t) | {"specversion": "0.3"}),
    "missing field": lambda s, i, t: draft(_base(s, i, t, channel=None)),
    "wrong type": lambda s, i, t: draft(_base(s, i, t, text=17)),
    "number of 200 000 digits": lambda s, i, t: draft_text(
        _base(s, i, t, customer={"customer_id": "u", "order_count": 0}),
        '"order_count": 0',
        '"order_count": ' + "9" * 200_000,
        s,
    ),
    "negative count": lambda s, i, t: draft(_base(s, i, t, customer={"customer_id": "u", "order_count": -1})),
    "text too long": lambda s, i, t: draft(_base(s, i, t, text="退" * 20_001)),
    "string too long": lambda s, i, t: draft(_base(s, i, t, order_id="x" * 513)),
    "empty id": lambda s, i, t: draft(_base(s, i, t, message_id="")),
    "control character in an id": lambda s, i, t: draft(_base(s, i, t, message_id="m\n")),
    "decimal in another form": lambda s, i, t: draft(
        _base(s, i, t, customer={"customer_id": "u", "total_spend": "1,5"})
    ),
    "leap second": lambda s, i, t: draft(_base(s, i, t) | {"time": "2026-06-30T23:59:60Z"}),
    "time without offset": lambda s, i, t: draft(_base(s, i, t) | {"time": "2026-06-30T23:59:00"}),
    "closed list": lambda s, i, t: draft(envelope("message.read", s, _read("robot"), t, id_=f"dirty-{i}")),
    "unknown version": lambda s, i, t: draft(_base(s, i, t) | {"type": "message.received.v9"}),
    "another's source": lambda s, i, t: draft(_base(s, i, t) | {"source": "/deskline/router"}),
    "a type of ours": lambda s, i, t: draft(_base(s, i, t) | {"type": "conversation.released.v1"}),
    "too large": lambda s, i, t: draft(_base(s, i, t, filler="x" * _OVERSIZE)),
    "as large as may come in": lambda s, i, t: draft(_base(s, i, t, filler="x" * (1000 * 1024))),
    "an array": lambda s, i, t: _bytes(b"[1,2,3]", s),
    "not JSON, with headers of ours": lambda s, i, t: Draft(
        CONVERSATIONS, s.encode(), b"\x00", (("deskline-source", b"x"), ("trace", None), ("bytes", b"\xff\x00"))
    ),
    "agent status of no list": lambda s, i, t: draft(
        envelope("agent.status_changed", "a-dirty", {"agent_id": "a-dirty", "status": "lunch"}, t, id_=f"dirty-{i}"),
        AGENTS,
    ),
    "a forged assignment": lambda s, i, t: draft(
        envelope("conversation.released", s, {"request_id": "r"}, t, id_=f"dirty-{i}"), "routing.v1"
    ),
}
"""Not valid: each gets one dead letter and has no other effect. Arguments: subject, a unique id, the time (µs)."""

VALID: dict[str, Maker] = {
    "unknown type": lambda s, i, t: draft(_base(s, i, t) | {"type": "parcel.scanned.v1"}),
    "unknown fields": lambda s, i, t: draft(
        envelope(
            "order.placed",
            s,
            {"shop_id": "衣橱", "order_id": f"o{i}", "customer_id": "u", "amount": "12.50", "extra": {"deep": [1, 2]}},
            t,
            id_=f"dirty-{i}",
        )
    ),
    "number of 200 000 digits in an unknown field": lambda s, i, t: draft_text(
        envelope("conversation.rated", s, {"shop_id": "衣橱", "score": 5, "odd": 0}, t, id_=f"dirty-{i}"),
        '"odd": 0',
        '"odd": ' + "9" * 200_000,
        s,
    ),
    "agent nobody configured": lambda s, i, t: draft(
        envelope("agent.status_changed", "stranger", {"agent_id": "stranger", "status": "online"}, t, id_=f"d-{i}"),
        AGENTS,
    ),
    "acceptance of an offer that never was": lambda s, i, t: draft(
        envelope(
            "assignment.accepted",
            s,
            {"shop_id": "衣橱", "assignment_id": "0" * 32, "agent_id": "stranger"},
            t,
            id_=f"dirty-{i}",
        )
    ),
    "transfer by one who is not the owner": lambda s, i, t: draft(
        envelope("transfer.requested", s, {"shop_id": "衣橱", "by_agent_id": "stranger"}, t, id_=f"dirty-{i}")
    ),
}
"""Valid, and without effect on a conversation (its shop aside)."""


def draft_text(of: dict[str, Any], old: str, new: str, subject: str) -> Draft:
    """``of`` with a piece of its text exchanged: for numbers that Python would not write."""
    return Draft(CONVERSATIONS, subject.encode(), _text(of, old, new))


def _read(kind: str) -> dict[str, Any]:
    return {"shop_id": "衣橱", "message_id": "m1", "reader": {"kind": kind, "id": "u0"}}


def any_invalid(chance: random.Random, subject: str, id_: str, at: int) -> tuple[str, Draft]:
    kind = chance.choice(list(INVALID))
    return kind, INVALID[kind](subject, id_, at)


def any_valid(chance: random.Random, subject: str, id_: str, at: int) -> tuple[str, Draft]:
    kind = chance.choice(list(VALID))
    return kind, VALID[kind](subject, id_, at)
