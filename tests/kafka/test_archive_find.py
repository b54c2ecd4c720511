"""Found by whom and how: words, filters, pages, roles, audit, over HTTP; and the same from the cold store."""

import asyncio
import base64
import csv
import hashlib
import io
import itertools
import json
from collections import Counter
from datetime import UTC, datetime

import asyncpg
import duckdb
import pyarrow.parquet as pq
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis.strategies import fixed_dictionaries, sampled_from
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.kafka.test_archive_persons import (  # noqa: F401 - fixtures
    acting,
    ago,
    message,
    schema,
    seal,
    service,
    store,
    vault,
)
from typer.testing import CliRunner

from deskline.clock import DAY, MINUTE, now_us
from deskline.errors import UsageError
from deskline.records import Record
from deskline.settings import ServiceSettings
from deskline_archive import days as closing
from deskline_archive import legal
from deskline_archive.access import Access
from deskline_archive.cli import app
from deskline_archive.cold import copy_segments, search_cold
from deskline_archive.days import close_days
from deskline_archive.find import ERASED, RESTRICTED, Finder, Looker, Question
from deskline_archive.settings import ArchiveSettings
from deskline_archive.shown import as_csv, as_html, as_text
from deskline_archive.store import Store
from deskline_archive.veil import Vault
from deskline_archive.words import folded, pairs

pytestmark = pytest.mark.kafka

READER, SUPERVISOR = Looker("li", "reader"), Looker("han", "supervisor")
INVESTIGATOR = Looker("wu", "investigator", "case 1")


@pytest.fixture
async def filled(service, vault):  # noqa: F811
    """Four days: 201 messages a day of ten conversations of five customers, one in ten about a refund."""
    offset = 0
    for days in (200, 3, 1, 0):
        records = []
        for n in range(201):
            text = f"我要退款 {n}" if n % 10 == 0 else f"什么时候发货 {n}"
            records.append(
                message(offset, ago(days) + n * 1000, subject=f"c-{days}-{n % 10}", customer=f"u-{n % 5}", text=text)
            )
            offset += 1
        await store(service, records, vault)
    await close_days(service, vault)
    return service


def finder(connection, vault):  # noqa: F811
    return Finder(connection, "", Vault.load(vault))


async def everything(found, question, looker=SUPERVISOR):
    hits, cursor, pages = [], None, 0
    while True:
        page = await found.search(question._replace(cursor=cursor), looker)
        assert page.complete
        hits += page.hits
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            return hits, pages


def texts(hits):
    return [hit.value["data"]["text"] for hit in hits]


@pytest.mark.parametrize(
    ("question", "count"),
    [
        (Question(text="退款"), 4 * 21),
        (Question(text="我要退款"), 4 * 21),
        (Question(text="退款 200"), 4),
        (Question(text="退货"), 0),
        (Question(text="ＷＯ"), 0),
        (Question(text="退"), 4 * 21),
        (Question(text="发货", customer="u-1"), 4 * 40),
        (Question(customer="u-0", conversation="c-3-0"), 21),
        (Question(conversation="c-1-4"), 20),
        (Question(shop="s-1", first=None, kind="message.received.v1"), 4 * 201),
        (Question(shop="s-2"), 0),
        (Question(agent="a-1"), 0),
        (Question(customer="nobody"), 0),
    ],
)
async def test_every_record_that_is_meant_is_found_once_over_pages_newest_first(filled, vault, question, count):  # noqa: F811
    hits, pages = await everything(finder(filled, vault), question._replace(limit=17))
    assert len(hits) == count == len({(hit.topic, hit.partition, hit.offset) for hit in hits})
    assert [hit.broker_time for hit in hits] == sorted((hit.broker_time for hit in hits), reverse=True)
    assert pages == max(1, -(-count // 17))


async def test_a_period_narrows_and_a_closed_day_is_asked_by_its_index(filled, vault):  # noqa: F811
    day = (await filled.fetchrow("SELECT min(day) AS day FROM closed_days"))["day"]
    hits, _ = await everything(finder(filled, vault), Question(text="退款", first=day, last=day))
    assert len(hits) == 21
    # The index holds no word in the clear, and the open day has none.
    tables = await filled.fetch("SELECT tablename FROM pg_tables WHERE tablename LIKE 'words_%'")
    assert len(tables) == 3
    await filled.execute("SET enable_seqscan = off")
    plan = "".join(
        row[0] for row in await filled.fetch(f"EXPLAIN SELECT 1 FROM {tables[0]['tablename']} WHERE grams @> ARRAY[1]")
    )
    assert "Bitmap Index Scan" in plan


async def test_days_that_were_analysed_while_they_were_empty_are_searched_and_closed(service, vault, schema):  # noqa: F811 - a fixture's name
    """As a nightly ``vacuumdb --analyze`` does with the days ahead; a small shop's day is not analysed again for long."""
    today = now_us() // DAY
    await Store("").ensure_days(service, range(today - 1, today + 8))
    owner = await asyncpg.connect(schema, server_settings={"search_path": "archive"})
    await owner.execute("ANALYZE raw_records")
    await owner.close()
    await store(
        service, [message(n, ago(1 - n), subject="c-1", customer="u-1", text=f"第{n}句话") for n in (0, 1)], vault
    )
    for question in (Question(conversation="c-1"), Question(text="句话"), Question(customer="u-1")):
        assert texts((await finder(service, vault).search(question, SUPERVISOR)).hits) == ["第1句话", "第0句话"]
    assert [row[1] for row in await close_days(service, vault)] == [1]


async def test_what_came_after_its_day_was_closed_is_found_once_the_day_is_closed_anew(filled, vault):  # noqa: F811 - a fixture's name
    """The archive was away at midnight: the day was closed in the next hour, and then it caught up."""
    question = Question(text="迟到的")
    await store(filled, [message(804, ago(1), subject="c-late", customer="u-1", text="迟到的话")], vault)
    assert [row[1] for row in await close_days(filled, vault)] == [202]
    hits, _ = await everything(finder(filled, vault), question)
    assert texts(hits) == ["迟到的话"]
    assert await close_days(filled, vault) == []


async def test_what_comes_while_its_day_is_being_closed_is_not_forgotten(filled, vault, schema, monkeypatch):  # noqa: F811 - a fixture's name
    real = closing._fill

    async def filled_meanwhile(*told):
        count = await real(*told)
        async with acting(schema) as another:
            await store(another, [message(805, ago(1), subject="c-late", customer="u-1", text="刚刚到")], vault)
        return count

    await store(filled, [message(804, ago(1), subject="c-late", customer="u-1", text="迟到的话")], vault)
    with monkeypatch.context() as patched:
        patched.setattr(closing, "_fill", filled_meanwhile)
        assert [row[1] for row in await close_days(filled, vault)] == [202]
    assert [row[1] for row in await close_days(filled, vault)] == [203]
    hits, _ = await everything(finder(filled, vault), Question(text="刚到"))
    assert texts(hits) == ["刚刚到"]


async def test_a_search_that_takes_too_long_says_so_and_where_to_go_on(filled, vault):  # noqa: F811
    page = await finder(filled, vault).search(Question(text="退款", time_box_s=0), SUPERVISOR)
    assert (page.hits, page.complete) == ([], False)


async def test_roles_see_what_they_may_and_every_look_is_kept(filled, vault):  # noqa: F811
    await store(filled, [message(5000, ago(0), subject="c-9", customer="u-9", text="电话13812345678")], vault)
    found = finder(filled, vault)
    assert texts(await found.transcript("c-9", READER)) == ["电话138******78"]
    assert texts(await found.transcript("c-9", SUPERVISOR)) == ["电话13812345678"]
    await legal.order(filled, "", "u-9", who="dpo", why="letter")
    assert [hit.value for hit in await found.transcript("c-9", SUPERVISOR)] == [RESTRICTED]
    page = await found.search(Question(customer="u-9"), READER)
    assert [hit.value for hit in page.hits] == [RESTRICTED]
    assert page.hits[0].customer_id is None
    # That a word of his is found would tell that he said it.
    for text, limit in (("电话", 50), ("电话", 1), ("话", 1)):
        page = await found.search(Question(text=text, limit=limit), SUPERVISOR)
        assert (page.hits, page.cursor, page.complete) == ([], None, True), text
    assert texts((await found.search(Question(text="电话"), INVESTIGATOR)).hits) == ["电话13812345678"]
    with pytest.raises(UsageError, match="says why"):
        await found.transcript("c-9", INVESTIGATOR._replace(reason=" "))
    assert texts(await found.transcript("c-9", INVESTIGATOR)) == ["电话13812345678"]
    looks = [json.loads(row["detail"]) for row in await filled.fetch("SELECT detail FROM looks ORDER BY id")]
    assert [look["restricted_shown"] for look in looks] == [False] * 7 + [True] * 2
    assert (looks[-1]["reason"], looks[-1]["restricted"]) == ("case 1", ["c-9"])
    assert "电话" not in json.dumps(looks, ensure_ascii=False)


async def test_what_is_not_valid_is_masked_with_the_person_whose_key_it_has(filled, vault, tmp_path):  # noqa: F811 - a fixture's name
    """A poison record and its letter belong to no conversation that was decoded, and need not name the customer."""
    poison = b'{"data": {"text": "' + "身份证".encode() + b'"}}'
    late = ago(0) + 60 * MINUTE
    await store(
        filled,
        [
            message(804, late, subject="c-9", customer="u-9", text="你好"),
            Record("conversations.v1", 0, 805, late, b"c-9", poison, ()),
            Record("dead-letters.v1", 0, 0, late, b"c-9", poison, ()),
            Record("dead-letters.v1", 0, 1, late, b"c-8\xff\0", poison, ()),
        ],
        vault,
    )
    await legal.order(filled, "", "u-9", who="dpo", why="letter")
    today = datetime.now(UTC).date()
    question = Question(first=today, limit=3)
    page = await finder(filled, vault).search(Question(text="身份证"), SUPERVISOR)
    assert [(hit.topic, hit.offset) for hit in page.hits] == [("dead-letters.v1", 1)]
    await seal(filled, vault)
    own = ArchiveSettings(home=tmp_path / "archive")
    await copy_segments(filled, own, "")
    for found in (
        await everything(finder(filled, vault), question),
        [(await search_cold(filled, own, "", question._replace(limit=200), SUPERVISOR)).hits],
    ):
        shown = {(hit.topic, hit.offset): hit.value for hit in found[0]}
        assert [shown[at] for at in (("conversations.v1", 804), ("conversations.v1", 805))] == [RESTRICTED] * 2
        assert shown["dead-letters.v1", 0] == RESTRICTED
        assert shown["dead-letters.v1", 1] == json.loads(poison)
    page = await search_cold(filled, own, "", Question(text="身份证"), SUPERVISOR)
    assert [(hit.topic, hit.offset) for hit in page.hits] == [("dead-letters.v1", 1)]


async def test_an_erased_person_is_found_by_no_word_and_the_old_index_is_noise(filled, vault):  # noqa: F811
    before = await everything(finder(filled, vault), Question(text="退款"))
    day = (await filled.fetchrow("SELECT min(day) AS day FROM closed_days"))["day"]
    await legal.order(filled, "", "u-0", who="dpo", why="letter")
    (done,) = await legal.erase_due(filled, "", vault)
    assert (done.conversations, len(done.waiting)) == (2, 6)
    assert [row[0] for row in await close_days(filled, vault)] == [day]
    after, _ = await everything(finder(filled, vault), Question(text="退款"), INVESTIGATOR)
    assert len(after) == len(before[0]) - 21
    assert Vault.load(vault).key(b"\0words " + day.isoformat().encode(), 0) is None
    assert [hit.value for hit in await finder(filled, vault).transcript("c-200-0", INVESTIGATOR)] == [ERASED] * 21


# --- shown ------------------------------------------------------------------------------------------------------------


async def test_nothing_that_is_shown_is_a_formula_a_tag_or_a_terminals_command(service, vault):  # noqa: F811
    hostile = ["=cmd|' /C calc'!A0", "<script>alert(1)</script>", "\x1b[31mred", "+1", " =1", 'a\nb,"c"']
    await store(
        service, [message(n, ago(0), subject="=c", customer="@u", text=text) for n, text in enumerate(hostile)], vault
    )
    hits = await finder(service, vault).transcript("=c", SUPERVISOR)
    table = as_csv([hit._replace(value=hit.value["data"]["text"]) for hit in hits])
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["value"] for row in rows] == ["'" + hostile[0], hostile[1], hostile[2], "'+1", "' =1", hostile[5]]
    assert {row["conversation"] for row in rows} == {"'=c"}
    assert "<script>" not in as_html("<c>", hits)
    assert "&lt;script&gt;" in as_html("<c>", hits)
    assert "\x1b" not in as_text(hits)


def test_words_are_folded_and_paired():
    assert folded("Ｈｅ llo　退 款") == "hello退款"
    assert pairs("退款了") == {"退款", "款了"}
    assert pairs("退") == set()


# --- HTTP -------------------------------------------------------------------------------------------------------------


async def ask(access, path, query="", token=None, **headers):
    (route,) = [app for name, app in access.routes() if name == path]
    given = [(b"authorization", b"Bearer " + token.encode())] if token else []
    given += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": given}
    await route(scope, receive, send)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent).decode(), dict(sent[0]["headers"])


async def test_http_answers_those_with_a_token_and_their_role(filled, vault, schema, tmp_path):  # noqa: F811
    tokens = {}
    for role in ("reader", "investigator"):
        done = await asyncio.to_thread(
            CliRunner().invoke, app, ["token", f"n-{role}", "--role", role, "--state-dir", str(tmp_path)]
        )
        assert done.exit_code == 0, done.output
        tokens[role] = done.output.strip()
    assert tokens["reader"] not in (tmp_path / "archive" / "tokens").read_text()
    access = Access(ServiceSettings(postgres_dsn=schema), ArchiveSettings(home=tmp_path / "archive"))
    search, transcript = "/archive/search", "/archive/transcript"
    assert (await ask(access, search))[0] == 401
    assert (await ask(access, search, token="wrong"))[0] == 403
    status, body, _ = await ask(access, search, "text=%E9%80%80%E6%AC%BE&limit=5", tokens["reader"])
    found = json.loads(body)
    assert (status, len(found["hits"]), found["complete"]) == (200, 5, True)
    status, body, _ = await ask(
        access, search, f"text=%E9%80%80%E6%AC%BE&limit=5&cursor={found['cursor']}", tokens["reader"]
    )
    assert not {hit["offset"] for hit in json.loads(body)["hits"]} & {hit["offset"] for hit in found["hits"]}
    status, body, headers = await ask(access, search, "conversation=c-1-4&limit=15&format=csv", tokens["reader"])
    assert (status, len(body.splitlines()), headers[b"x-complete"]) == (200, 16, b"true")
    rest = f"conversation=c-1-4&limit=15&format=csv&cursor={headers[b'x-cursor'].decode()}"
    status, body, headers = await ask(access, search, rest, tokens["reader"])
    assert (status, len(body.splitlines()), b"x-cursor" in headers) == (200, 6, False)
    for wrong in (
        "limit=x",
        "limit=0",
        "nope=1",
        "text=a&text=b",
        "from=2026-13-01",
        "cursor=zz",
        "text=%ff",
        "text=",
        "from=2026-02-02&to=2026-02-01",
    ):
        assert (await ask(access, search, wrong, tokens["reader"]))[0] == 400, wrong
    status, body, _ = await ask(access, transcript, "conversation=c-1-4&format=html", tokens["reader"])
    assert (status, body.count("<tr>")) == (200, 20)
    assert (await ask(access, transcript, "conversation=c-1-4", tokens["investigator"]))[0] == 400
    assert (await ask(access, transcript, "conversation=c-1-4", tokens["investigator"], x_reason="case"))[0] == 200
    kept = await filled.fetch("SELECT who, role FROM looks")
    assert {tuple(row) for row in kept} == {("n-reader", "reader"), ("n-investigator", "investigator")}


@pytest.mark.parametrize("at", ["1/99999999999/1", "1/1/9223372036854775808", "1/-1/1", f"{10**40}/1/1"])
async def test_a_cursor_that_no_page_gave_is_refused(service, vault, at):  # noqa: F811 - a fixture's name
    cursor = base64.urlsafe_b64encode(at.encode()).decode()
    with pytest.raises(UsageError, match="no cursor"):
        await finder(service, vault).search(Question(cursor=cursor), SUPERVISOR)


async def test_what_cannot_be_answered_in_time_is_said_over_http(filled, vault, schema, tmp_path):  # noqa: F811 - a fixture's name
    words = ["token", "li", "--role", "reader", "--state-dir", str(tmp_path)]
    token = (await asyncio.to_thread(CliRunner().invoke, app, words)).output.strip()
    settings = ServiceSettings(postgres_dsn=schema, database_timeout_s=1)
    access = Access(settings, ArchiveSettings(home=tmp_path / "archive"))
    async with acting(schema, "none") as owner, owner.transaction():
        await owner.execute("LOCK TABLE raw_records IN ACCESS EXCLUSIVE MODE")
        for path, query in (("transcript", "conversation=c-1-4"), ("search", "conversation=c-1-4")):
            status, body, _ = await ask(access, f"/archive/{path}", query, token)
            assert (status, json.loads(body)["error"]) == (
                503,
                "the archive does not answer, or not in time; try again",
            )
    with pytest.raises(TimeoutError):
        await finder(filled, vault).transcript("c-1-4", READER, 0)


async def test_schemathesis_finds_no_answer_that_the_document_does_not_know(filled, vault, schema, tmp_path):  # noqa: F811
    tokens = {}
    for role in ("reader", "investigator"):
        words = ["token", f"n-{role}", "--role", role, "--state-dir", str(tmp_path)]
        tokens[role] = (await asyncio.to_thread(CliRunner().invoke, app, words)).output.strip()
    access = Access(ServiceSettings(postgres_dsn=schema), ArchiveSettings(home=tmp_path / "archive"))
    document = schemathesis.openapi.from_dict(json.loads((await ask(access, "/archive/openapi.json"))[1]))
    seen = await asyncio.to_thread(
        _fuzz, document, dict(access.routes()), [*tokens.values(), tokens["reader"], "wrong"]
    )
    assert {200, 400, 403} <= seen.keys(), seen


def _fuzz(document, routes, tokens):
    seen, whose = Counter(), itertools.cycle(tokens)
    known = {
        "conversation": ("c-1-4", None),
        "text": ("退款", None),
        "cursor": (None,),
        "format": ("csv", "html", None),
    }

    async def served(scope, receive, send):
        await routes[scope["path"]](scope, receive, send)

    document.app = served
    for result in document.get_all_operations():
        operation = result.ok()

        @examples(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(
            case=operation.as_strategy(),
            known=fixed_dictionaries({name: sampled_from(those) for name, those in known.items()}),
        )
        def run(case, known):
            # Half of what is asked is asked for what is there.
            if sum(seen.values()) % 2:
                case.query = {name: value for name, value in {**case.query, **known}.items() if value is not None}
            response = case.call(headers={"Authorization": f"Bearer {next(whose)}"})
            seen[response.status_code] += 1
            checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
            case.validate_response(response, checks=checks, additional_checks=[])

        run()
    return seen


# --- cold -------------------------------------------------------------------------------------------------------------


async def test_the_cold_store_is_read_by_duckdb_and_by_search_and_an_erasure_reaches_it(filled, vault, tmp_path):  # noqa: F811
    await store(filled, [Record("sla.v1", 2, 0, ago(0), None, b"poison", ())], vault)
    await seal(filled, vault)
    own = ArchiveSettings(home=tmp_path / "archive")
    assert await copy_segments(filled, own, "") == 2
    assert await copy_segments(filled, own, "") == 0
    cold = tmp_path / "archive" / "cold"
    files = str(cold / "**" / "*.parquet")
    count, said = duckdb.sql(
        f"SELECT count(*), count(*) FILTER (decode(value) LIKE '%\"text\"%') FROM read_parquet('{files}')"
    ).fetchall()[0]
    assert (count, said) == (805, 804)
    name = next((cold / "conversations.v1" / "0").glob("*.json"))
    manifest = json.loads(name.read_text())
    assert hashlib.sha256((cold / manifest["file"]).read_bytes()).hexdigest() == manifest["sha256"]
    assert pq.ParquetFile(cold / manifest["file"]).metadata.row_group(0).column(6).compression == "ZSTD"
    assert "segment 1 0 804" in manifest["seal"]["note"]
    for question in (
        Question(text="退款", limit=200),
        Question(customer="u-0", limit=200, text="退款"),
        Question(conversation="c-3-0"),
    ):
        live = await finder(filled, vault).search(question, SUPERVISOR)
        assert (await search_cold(filled, own, "", question, SUPERVISOR)).hits == live.hits, question
    await legal.order(filled, "", "u-0", who="dpo", why="letter")
    await legal.erase_due(filled, "", vault)
    assert await copy_segments(filled, own, "") == 1
    left = duckdb.sql(
        f"SELECT count(*) FROM read_parquet('{files}') WHERE erased AND value IS NULL AND leaf IS NOT NULL AND salt IS NULL"
    ).fetchall()[0]
    assert left == (41,)
    page = await search_cold(filled, own, "", Question(conversation="c-200-0"), INVESTIGATOR)
    assert {hit.value for hit in page.hits} == {ERASED}
