"""What reads bytes from outside, each with seeds to begin from and the errors that it may raise. Anything else is a crash."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.load import dirt
from tests.load.envelopes import Gateway, Shape

from deskline.config.base import Document
from deskline.config.documents import DOCUMENTS
from deskline.config.explain import findings
from deskline.config.knowledge_import import parse
from deskline.config.yaml_source import read
from deskline.errors import UsageError
from deskline.events.verdict import Invalid
from deskline.events.wire import decode
from deskline.records import CO_PARTITIONED, CONVERSATIONS, Event, Record
from deskline_autoreply.opening.plan import read_plan

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "config"


@dataclass(frozen=True)
class Target:
    name: str
    share: float
    """Of all inputs."""
    seeds: tuple[bytes, ...]
    put: Callable[[bytes], None]
    """Raises nothing, or ``UsageError``."""


def _envelopes() -> tuple[bytes, ...]:
    chance = random.Random(1)
    gateway = Gateway(Shape(), chance)
    made = [
        gateway.message("c-1", 1_790_000_000_000_000, shop="s", customer=gateway.customer(n), number=n, text="你好")
        for n in range(10)
    ]
    made += [gateway.status("a", "online", 1_790_000_000_000_000, capacity=3)]
    made += [gateway.event("conversation.closed", "c-1", 1_790_000_000_000_000, shop_id="s", resolved=True)]
    made += [maker("c-1", "x", 1_790_000_000_000_000) for maker in dirt.INVALID.values()]
    return tuple(value for draft in made if (value := draft.value) is not None and len(value) < 20_000)


def _envelope(value: bytes) -> None:
    topic = sorted(CO_PARTITIONED)[len(value) % len(CO_PARTITIONED)] if value[:1] == b"[" else CONVERSATIONS
    found = decode(Record(topic, 0, 0, 1_790_000_000_000_000, b"c-1", value, ()))
    assert isinstance(found, (Event, Invalid)) or found is None or type(found).__module__.startswith("deskline"), found


def _configuration(data: bytes) -> None:
    source = read(data)
    if source.mistakes or not isinstance(source.value, dict):
        return
    text = json.dumps(source.value, ensure_ascii=False)
    for kind, model in DOCUMENTS.items():
        _validated(kind, model, text)


def _validated(kind: str, model: type[Document], text: str) -> None:
    from pydantic import ValidationError

    try:
        model.model_validate_json(text, strict=True)
    except ValidationError as error:
        if not list(findings(kind, error)):  # type: ignore[arg-type]  # a key of DOCUMENTS is a DocumentKind
            raise AssertionError("refused without a reason") from error


def _imports(form: str) -> Callable[[bytes], None]:
    return lambda data: _said(lambda: parse(data, form))


def _said(work: Callable[[], object]) -> None:
    try:
        work()
    except UsageError as error:
        if not str(error):
            raise AssertionError("refused without a reason") from error


_CSV = "entry_id,question,answer\nreturns,怎么退货|能退吗,七天内可退。\ninvoice,怎么开发票,订单页申请。\n".encode()
_JSONL = '{"entry_id": "gift", "phrasings": ["有礼品袋吗"], "answer": "有的。"}\n{"entry_id": "b"}\n'.encode()
_YAML = "entries:\n  - {entry_id: gift, phrasings: [有礼品袋吗], answer: 有的。}\nproducts: []\n".encode()
_ANSWERS = 'shop: t\nhours: {daily: "09:00-22:00"}\nagents: [{agent_id: a, skills: {售前: 3}}]\n'.encode()

TARGETS: tuple[Target, ...] = (
    Target("envelope", 0.85, _envelopes(), _envelope),
    Target(
        "configuration", 0.04, tuple(p.read_bytes()[:6_000] for p in sorted(SAMPLES.glob("*/*.yaml"))), _configuration
    ),
    Target("import csv", 0.04, (_CSV,), _imports("csv")),
    Target("import jsonl", 0.03, (_JSONL,), _imports("jsonl")),
    Target("import yaml", 0.02, (_YAML,), _imports("yaml")),
    Target("answers of shop init", 0.02, (_ANSWERS,), lambda data: _said(lambda: read_plan(data))),
)
