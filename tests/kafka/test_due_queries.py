"""The hot queries of timers use their index, whatever the number of open clocks: what is due is found without looking at the rest."""

import asyncpg
import pytest

from deskline import state_store
from deskline.migrate import migrate
from deskline.sql_files import load_queries
from deskline.work import Ripe

pytestmark = pytest.mark.kafka

OPEN = 50_000
LANES = [0, 1, 2, 3]
NOW = 1_000_000


@pytest.fixture
async def clocks(database):
    """50 000 open conversations on four lanes, a hundred of them due; half as many without a timer. The connection."""
    await migrate(database, say=lambda _: None)
    connection = await asyncpg.connect(database, server_settings={"search_path": "sla"})
    await connection.execute(
        """INSERT INTO conversations (lane, subject, due, body)
           SELECT n % 4, 'c-' || n, CASE WHEN n <= 100 THEN n ELSE $1::bigint + n END, ''::bytea FROM generate_series(1, $2::int) AS n
           UNION ALL SELECT n % 4, 'idle-' || n, NULL, ''::bytea FROM generate_series(1, $2::int / 2) AS n""",
        NOW,
        OPEN,
    )
    await connection.execute("ANALYZE conversations")
    yield connection
    await connection.close()


async def plan(connection, query, *arguments):
    return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {query}", *arguments))


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        (state_store._DUE, (LANES, [-1] * 4, [NOW] * 4, 500)),
        (state_store._NEXT, (LANES, [NOW] * 4)),
        (load_queries("deskline_sla")["with_timers"], (1, NOW + 2_000, "c-5", 500)),
    ],
    ids=["due", "next", "reevaluate"],
)
async def test_what_is_due_is_found_by_the_index_and_nothing_is_scanned(clocks, query, arguments):
    shown = await plan(clocks, query, *arguments)
    assert "conversations_due" in shown
    assert "Seq Scan on conversations" not in shown


async def test_what_is_due_comes_in_due_order_over_all_lanes_and_no_more_than_asked_for(clocks):
    due, following = await state_store.due_conversations(clocks, dict.fromkeys(LANES, Ripe(NOW)), 10)
    assert list(due) == [f"c-{n}" for n in range(1, 11)]
    assert following == dict.fromkeys(LANES, 10), "no other is due before the last one taken"


async def test_where_all_that_is_due_was_taken_the_next_ones_are_known_exactly(clocks):
    due, following = await state_store.due_conversations(clocks, dict.fromkeys(LANES, Ripe(NOW)), 101)
    assert len(due) == 100
    assert following == {lane: NOW + next(n for n in range(101, 105) if n % 4 == lane) for lane in LANES}
    _, following = await state_store.due_conversations(clocks, dict.fromkeys(LANES, Ripe(-1)), 0)
    assert following == {lane: next(n for n in range(1, 5) if n % 4 == lane) for lane in LANES}


async def test_overdue_and_new_ones_have_half_a_unit_each_and_what_one_leaves_is_the_others(clocks):
    """c-1 to c-100 are due; those up to 60 have been left over."""

    async def taken(border, limit):
        due, _ = await state_store.due_conversations(clocks, dict.fromkeys(LANES, Ripe(NOW, border)), limit)
        return [int(subject[2:]) for subject in due]

    assert await taken(60, 20) == [*range(61, 71), *range(1, 11)]
    assert await taken(60, 90) == [*range(61, 101), *range(1, 51)]
    assert await taken(5, 20) == [*range(6, 21), *range(1, 6)]
    assert await taken(95, 20) == [*range(96, 101), *range(1, 16)]
    assert await taken(NOW + 1, 20) == [*range(1, 21)]


async def test_no_other_one_is_due_before_the_instant_that_is_given_for_what_remains(clocks):
    """c-1 to c-100 are due; those up to 60 have been left over."""
    for limit, border, instant in ((20, 60, 10), (90, 60, 50), (110, 105, NOW + 101), (30, 0, 30)):
        _, following = await state_store.due_conversations(clocks, dict.fromkeys(LANES, Ripe(NOW, border)), limit)
        assert min(following.values()) == instant, (limit, border)


async def test_what_will_soon_be_due_is_found_between_two_instants(clocks):
    found = await state_store.soon_due(clocks, dict.fromkeys(LANES, 10), dict.fromkeys(LANES, 20), 100)
    assert found == [(n % 4, f"c-{n}", n) for n in range(11, 21)]
