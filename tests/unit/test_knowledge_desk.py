"""What the agents' desktop gets from ``GET /knowledge``, and who gets nothing."""

import asyncio
import itertools
import json
from collections import Counter
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis.strategies import sampled_from
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.fixtures.autoreply import RULES, book

from deskline.clock import DAY
from deskline.config.knowledge_document import Knowledge
from deskline.settings import ServiceSettings
from deskline_autoreply.knowledge.desk import Desk, described, routes
from deskline_autoreply.knowledge.lookups import Lookups, stale
from deskline_autoreply.versions import Versions

KNOWLEDGE = Knowledge.model_validate_json(
    json.dumps(
        {
            "entries": [
                {"entry_id": "returns", "phrasings": ["怎么退货", "能退吗"], "answer": "七天内可退。"},
                {"entry_id": "invoice", "phrasings": ["怎么开发票", "能开发票吗"], "answer": "订单页申请。"},
            ],
            "products": [{"product_id": "P1", "names": ["羊毛大衣"], "price": "899 元"}],
        }
    )
)
TOKEN = "s3cret"
BEARER = f"Bearer {TOKEN}"


def ask(query: str | dict, authorization: str | None = BEARER, token: str | None = TOKEN, *, ready: bool = True):
    versions = Versions(book(RULES.model_copy(update={"knowledge": KNOWLEDGE})))
    lookups = Lookups(ServiceSettings())
    desk = Desk(versions, lookups, None if token is None else SecretStr(token), lambda: ready)
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    text = query if isinstance(query, str) else urlencode(query)
    status, body = asyncio.run(desk.answer({"query_string": text.encode(), "headers": headers}))
    return status, body, lookups


def test_an_agent_gets_candidates_with_answers_best_first():
    status, body, lookups = ask({"q": "怎么开发票", "shop": "s-1", "limit": 2})
    assert status == 200
    assert body["shop_id"] == "s-1"
    assert body["rules_version"] == 1
    first = body["candidates"][0]
    assert first == {
        "entry_id": "invoice",
        "confidence": 1.0,
        "kind": "faq",
        "question": "怎么开发票",
        "answer": "订单页申请。",
    }
    assert len(body["candidates"]) <= 2
    assert next((key.shop, key.entry_id) for key in lookups._waiting) == ("s-1", "invoice")


def test_a_products_field_is_found_too():
    _, body, _ = ask({"q": "羊毛大衣多少钱"})
    assert body["candidates"][0]["answer"] == "羊毛大衣的价格是 899 元。"


@pytest.mark.parametrize(
    ("authorization", "token", "status"),
    [
        (None, TOKEN, 401),
        ("Basic abc", TOKEN, 401),
        ("Bearer ", TOKEN, 401),
        ("Bearer wrong", TOKEN, 403),
        (BEARER, None, 403),
        ("bearer s3cret", TOKEN, 200),
    ],
)
def test_without_the_token_nobody_is_answered(authorization, token, status):
    found, body, lookups = ask({"q": "怎么退货"}, authorization, token)
    assert found == status
    assert ("error" in body) is (status != 200)
    assert status == 200 or not lookups._waiting


@pytest.mark.parametrize(
    "query",
    [
        "",
        "q=",
        "q=%20",
        "q=a&limit=0",
        "q=a&limit=11",
        "q=a&limit=x",
        "q=a&q=b",
        "q=a&colour=red",
        "q=%ff",
        "q=a&shop=",
        f"q={quote('长' * 401)}",
    ],
)
def test_a_query_that_means_nothing_is_refused_with_what_to_write(query):
    status, body, _ = ask(query)
    assert status == 400
    assert body["error"]


def test_before_the_configuration_is_read_it_says_so():
    assert ask({"q": "怎么退货"}, ready=False)[0] == 503


def test_entries_unused_for_a_month_are_listed_the_longest_unused_first():
    now = 100 * DAY
    used = {"a": 99 * DAY, "b": 70 * DAY - 1, "c": 70 * DAY, "d": 10 * DAY}
    assert stale(["a", "b", "c", "d", "e"], used, 30, now) == [("e", 0), ("d", 10 * DAY), ("b", 70 * DAY - 1)]


def test_what_could_not_be_written_is_counted_again():
    class Away:
        async def execute(self, *_):
            raise OSError("away")

    lookups = Lookups(ServiceSettings())
    lookups.count("s", ["a", "a"], 5)
    with pytest.raises(OSError, match="away"):
        asyncio.run(lookups.flush(Away()))
    lookups.count("s", ["a"], 9)
    assert list(lookups._waiting.values()) == [(3, 9)]


@pytest.mark.parametrize("ready", [True, False])
def test_schemathesis_finds_no_answer_that_the_document_does_not_know(ready):
    versions = Versions(book(RULES.model_copy(update={"knowledge": KNOWLEDGE})))
    served = dict(routes(versions, Lookups(ServiceSettings()), SecretStr(TOKEN), lambda: ready))
    schema = schemathesis.openapi.from_dict(json.loads(described()))
    schema.app = served["/knowledge"]
    (operation,) = [result.ok() for result in schema.get_all_operations()]
    tokens, seen = itertools.cycle((BEARER, BEARER, BEARER, "Bearer wrong", "Basic x")), Counter()

    @examples(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(), shop=sampled_from(["s-1", None]))
    def run(case, shop):
        case.query = {**case.query, **({"shop": shop} if shop else {})}
        response = case.call(headers={"Authorization": next(tokens)})
        seen[response.status_code] += 1
        checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
        case.validate_response(response, checks=checks if ready else checks[1:], additional_checks=[])

    run()
    assert {200 if ready else 503, 401, 403} <= seen.keys(), seen
