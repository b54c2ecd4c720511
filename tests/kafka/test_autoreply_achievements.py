"""The tables of hits and of resting rules, on a real PostgreSQL, under the service's own role."""

import asyncio

import pytest
from tests.fixtures.autoreply import SHOP, Log, book, us

from deskline.clock import parse_rfc3339
from deskline.config.rules_document import AutoreplyRule, Reply, RulesDocument
from deskline.postgres import connect
from deskline.retention import prune
from deskline_autoreply.achievements_store import Hits, Rest, Rests, load_resting
from deskline_autoreply.handler import Autoreply, State
from deskline_autoreply.policy.achievements import Hit

pytestmark = [pytest.mark.kafka]

AT = parse_rfc3339("2026-11-28T23:59:59.999999Z")
MINUTE = 60_000_000
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
COOLDOWNS = {"welcome": MINUTE}


@pytest.fixture
async def two(settings):
    connections = [await connect(settings, "autoreply") for _ in range(2)]
    yield connections
    for connection in connections:
        await connection.close()


async def test_hits_of_one_unit_and_of_the_next_add_up_by_day_and_lane(two):
    one, _ = two
    hit = Hit("shop", "rule", "welcome", "a", AT, 3, answered=1)
    await Hits().apply(one, [hit, hit, hit._replace(at=AT + 1), hit._replace(lane=4, answered=0, rated=1, score_sum=5)])
    await Hits().apply(one, [hit._replace(at=AT - 10, answered=0, followed=1)])
    rows = await one.fetch(
        "SELECT day::text, lane, answered, followed, rated, score_sum, last_hit_at FROM hits ORDER BY day, lane"
    )
    assert [tuple(row) for row in rows] == [
        ("2026-11-28", 3, 2, 1, 0, 0, AT),
        ("2026-11-28", 4, 0, 0, 1, 5, AT),
        ("2026-11-29", 3, 1, 0, 0, 0, AT + 1),
    ]


async def test_the_second_instance_waits_for_the_first_ones_commit_and_sees_the_rest(two, eventually):
    one, other = two
    customer = ("shop", "u-1")
    first = one.transaction()
    await first.start()
    assert (await load_resting(one, [customer])).at(*customer, AT, COOLDOWNS) == frozenset()

    async def second() -> frozenset[str]:
        async with other.transaction():
            return (await load_resting(other, [("shop", "u-0"), customer])).at(*customer, AT, COOLDOWNS)

    waiting = asyncio.create_task(second())
    # It is in the queue for the lock, not merely not begun.
    await eventually(lambda: one.fetchval(WAITING), "the second waits")
    await Rests().apply(one, [Rest(*customer, "welcome", AT + MINUTE), Rest(*customer, "welcome", AT + 2)])
    await first.commit()
    assert await waiting == {"welcome"}


async def test_what_an_instance_that_was_killed_had_written_is_not_there(two):
    one, other = two
    transaction = one.transaction()
    await transaction.start()
    await load_resting(one, [("shop", "u-1")])
    await Rests().apply(one, [Rest("shop", "u-1", "welcome", AT + MINUTE)])
    one.terminate()
    async with other.transaction():
        assert (await load_resting(other, [("shop", "u-1")])).at("shop", "u-1", AT, COOLDOWNS) == frozenset()


async def test_a_message_that_states_another_shop_is_asked_about_under_the_conversations_own(two):
    one, _ = two
    welcome = AutoreplyRule(rule_id="welcome", cooldown_s=60, reply=Reply(text="您好"))
    service, log = Autoreply(book(RulesDocument(rules=(welcome,))), lambda _: None), Log()
    await Rests().apply(one, [Rest(SHOP, "u-1", "welcome", us(60))])
    event = log.says(1, shop="another")
    state = State()
    state.history.shop = SHOP
    async with one.transaction():
        resting = await service.gather(one, [event], {(event.partition, event.subject): state})
    assert resting.at(SHOP, "u-1", us(1), COOLDOWNS) == {"welcome"}


async def test_a_rest_ends_at_its_instant_and_old_rows_go(two):
    one, _ = two
    await Rests().apply(one, [Rest("shop", f"u-{n}", "welcome", AT + n) for n in range(3)])
    async with one.transaction():
        resting = await load_resting(one, [("shop", f"u-{n}") for n in range(3)])
    assert [bool(resting.at("shop", f"u-{n}", AT + 1, COOLDOWNS)) for n in range(3)] == [False, False, True]
    assert await prune(one, "cooldowns", "until", AT + 2) == 2
