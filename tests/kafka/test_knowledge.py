"""The knowledge base on real Kafka and PostgreSQL: live without a restart, searched over HTTP, unused entries listed."""

import asyncio
import json
import time
import urllib.request
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr
from tests.fixtures.deployment import SHOP, Deployment, caught_up, said
from typer.testing import CliRunner

from deskline.cli import app
from deskline.clock import now_us
from deskline.config.knowledge_document import Knowledge
from deskline.postgres import connect
from deskline.records import REPLIES
from deskline.stack.files import free_ports
from deskline_autoreply.knowledge.lookups import Lookups, last_used
from deskline_autoreply.knowledge.vector_store import VectorStore, texts_of
from deskline_autoreply.knowledge.vectors import Encoder

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
PATIENCE_S = 60
ENTRY = "entries: [{{entry_id: invoice, phrasings: [怎么开发票, 能开发票吗], answer: {answer}}}]"
DEFAULT = {
    "rules": "rules: []",
    "agents": "agents: [{agent_id: anna, capacity: 5}]",
    "limits": "patience_s: 600\nreply_max_age_s: 3600\n",
}


@pytest.fixture
def desk(topics):
    return Deployment(topics, PARTITIONS)


async def test_a_new_version_of_an_entry_answers_without_a_restart(desk, tmp_path, eventually):
    in_force = await desk.configure(tmp_path, {**DEFAULT, "knowledge": ENTRY.format(answer="旧的")})
    await eventually(lambda: now_us() > in_force, "in force")
    async with desk.running("autoreply") as autoreply:
        await desk.send([said("c-1", now_us(), "m-1", "怎么开发票")])
        await eventually(lambda: desk.has_told(REPLIES, 1), "answered", PATIENCE_S)
        in_force = await desk.configure(tmp_path, {**DEFAULT, "knowledge": ENTRY.format(answer="新的")})
        await eventually(lambda: now_us() > in_force, "in force")
        await desk.send([said("c-2", now_us(), "m-2", "怎么开发票"), said("c-3", now_us(), "m-3", "xyzzy")])
        await eventually(lambda: desk.has_told(REPLIES, 3), "answered", PATIENCE_S)
        await eventually(caught_up(autoreply), "caught up", PATIENCE_S)
    told = {out.value["subject"]: out.value["data"] for out in await desk.told(REPLIES)}
    assert (told["c-1"]["text"], told["c-2"]["text"]) == ("旧的", "新的")
    assert told["c-1"]["rules_version"] < told["c-2"]["rules_version"]
    assert told["c-2"]["entry_id"] == "invoice"
    assert told["c-3"]["reason"] == "no_match"

    connection = await connect(desk.settings, "autoreply")
    try:
        lookups = Lookups(desk.settings)
        lookups.count(SHOP, ["looked-at"], 5_000_000)
        lookups.count(SHOP, ["looked-at"], 7_000_000)
        await lookups.flush(connection)
        lookups.count(SHOP, ["looked-at"], 6_000_000)
        await lookups.flush(connection)
        used = await last_used(connection, SHOP)
        assert used["looked-at"] == 7_000_000
        assert used["invoice"] > 7_000_000
        assert await connection.fetchval("SELECT shown FROM lookups WHERE entry_id = 'looked-at'") == 3
    finally:
        await connection.close()

    assert "0 of 1 unused" in await asyncio.to_thread(stale, desk, tmp_path)


def stale(desk: Deployment, folder) -> str:
    dsn = desk.settings.postgres_dsn.get_secret_value()
    result = CliRunner().invoke(app, ["knowledge", "stale", "--config", str(folder), "--postgres-dsn", dsn])
    assert result.exit_code == 0, result.output
    return result.output


SEARCHED = """
precision_target: 0.999
entries:
  - {entry_id: invoice, phrasings: [怎么开发票, 能开发票吗, 发票在哪里申请], answer: 在订单页申请。}
  - {entry_id: returns, phrasings: [怎么退货, 衣服不合适能退吗, 可以七天无理由退货吗], answer: 七天内可退。}
  - {entry_id: delivery, phrasings: [多久能到货, 快递几天到, 什么时候送到], answer: 一般三天。}
  - {entry_id: unused, phrasings: [你们有实体店吗], answer: 没有。}
"""


def ask(http: str, token: str | None, **query: str) -> tuple[int, dict]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{http}/knowledge?{urlencode(query)}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def is_ready(http: str) -> bool:
    try:
        with urllib.request.urlopen(f"{http}/readyz") as answer:
            return json.load(answer)["ready"]
    except OSError:
        return False


async def test_an_agent_searches_over_http_and_gets_suggestions_with_a_hand_over(desk, tmp_path, eventually):
    """The service as it runs, in its own process. What agents were shown is no longer stale."""
    await desk.configure(tmp_path, {**DEFAULT, "knowledge": SEARCHED})
    assert "4 of 4 unused" in await asyncio.to_thread(stale, desk, tmp_path)
    (port,) = free_ports(1)
    http = f"http://127.0.0.1:{port}"
    async with desk.process("autoreply", http_port=port, desktop_token=SecretStr("s3cret")):
        await eventually(lambda: asyncio.to_thread(is_ready, http), "ready", PATIENCE_S)
        # Ready means that nothing is left to be loaded or compiled: the very first question is answered at once.
        times = []
        for text in ["发票怎么申请", "想退货", "快递什么时候到", "申请一下发票", "衣服能退不"] * 4:
            began = time.perf_counter()
            status, body = await asyncio.to_thread(ask, http, "s3cret", q=text, shop=SHOP)
            times.append((time.perf_counter() - began) * 1e3)
            assert status == 200
            assert body["candidates"][0]["answer"]
        # No measurement (that is ``make bench-quality``): bounds that a busy machine keeps, and loading the model would not.
        assert min(times) < 30, f"ms: {times}"
        assert times[0] < 1_000, "the first question met something cold"
        assert (await asyncio.to_thread(ask, http, None, q="发票"))[0] == 401
        assert (await asyncio.to_thread(ask, http, "wrong", q="发票"))[0] == 403
        assert (await asyncio.to_thread(ask, http, "s3cret"))[0] == 400

        await desk.send([said("c-1", now_us(), "m-1", "请问发票和快递的事问谁")])
        await eventually(lambda: desk.has_told(REPLIES, 1), "handed over", PATIENCE_S)

        async def looked_at() -> bool:
            text = await asyncio.to_thread(stale, desk, tmp_path)
            return "invoice" not in text and "unused: never" in text

        await eventually(looked_at, "look-ups written", PATIENCE_S)
    (told,) = await desk.told(REPLIES)
    assert told.value["type"] == "handover.requested.v1"
    assert told.data["reason"] == "low_confidence"
    suggestions = told.data["suggestions"]
    assert 1 <= len(suggestions) <= 3
    assert {one["entry_id"] for one in suggestions} <= {"invoice", "returns", "delivery", "unused"}
    assert [one["confidence"] for one in suggestions] == sorted(
        (one["confidence"] for one in suggestions), reverse=True
    )


async def test_a_start_and_a_new_version_encode_only_what_is_new(desk, tmp_path, eventually):
    entry = "entries: [{{entry_id: invoice, phrasings: [{phrasings}], answer: 在订单页申请。}}]"
    both = ["礼品卡怎么充值", "礼品卡能充多少"]  # of no other test: what this process has encoded it does not ask for
    before = {**DEFAULT, "knowledge": entry.format(phrasings=", ".join(both))}
    in_force = await desk.configure(tmp_path, before)
    await eventually(lambda: now_us() > in_force, "in force")
    store = VectorStore(desk.settings)

    async def missing(texts: list[str]) -> list[str]:
        return await store.load(Encoder(), texts)

    assert await missing(both) == both
    async with desk.running("autoreply") as autoreply:
        await eventually(lambda: autoreply.config.ready, "configured", PATIENCE_S)
        assert await missing([*both, "礼品卡在哪里充"]) == ["礼品卡在哪里充"]
        after = entry.format(phrasings=", ".join([*both, "礼品卡在哪里充"]))
        await desk.configure(tmp_path, {**DEFAULT, "knowledge": after})

        async def kept() -> bool:
            return not await missing([*both, "礼品卡在哪里充"])

        await eventually(kept, "kept", PATIENCE_S)
    # Another instance, or this one after a restart, compiles the same to the last bit and without the model.
    learned, made = Encoder(), Encoder()
    texts = texts_of(Knowledge.model_validate_json(json.dumps({"entries": [_entry(both)]})))
    assert await store.load(learned, texts) == []
    assert (learned.phrasings(texts) == made.phrasings(texts)).all()
    assert learned._forward is None


def _entry(phrasings: list[str]) -> dict:
    return {"entry_id": "invoice", "phrasings": phrasings, "answer": "在订单页申请。"}


async def test_without_the_database_vectors_are_made(desk):
    settings = desk.with_(postgres_dsn=SecretStr("postgresql://nobody@127.0.0.1:1/none"))
    encoder = Encoder()
    assert await VectorStore(settings).load(encoder, ["怎么开发票"]) == ["怎么开发票"]
    await VectorStore(settings).save(encoder, ["怎么开发票"])
