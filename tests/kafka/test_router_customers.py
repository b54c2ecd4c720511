"""What the router records of customers, on a real PostgreSQL: it goes after its time, and with the person."""

import asyncio

import pytest
from tests.fixtures.deployment import Deployment
from tests.kafka.test_router_service import asked, status

from deskline.clock import DAY, now_us
from deskline.postgres import connect
from deskline.records import ROUTING
from deskline_archive.veil import Vault
from deskline_router.model import Customer, Profile
from deskline_router.policy import people
from deskline_router.store import Store, forget_person

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture
async def desk(settings):
    """A deployment's database, and a connection as its router."""
    made = Deployment(settings, 4)
    made.connection = await connect(made.settings, "router", patient=True)  # type: ignore[attr-defined]
    yield made
    await made.connection.close()  # type: ignore[attr-defined]


def known(customer_id: str, shop: str = "teahouse") -> Customer:
    customer = Customer(shop, customer_id)
    people.learn(customer, Profile(tier="vip", orders=20), 1)
    return customer


async def recorded(connection) -> set[tuple[str, str]]:
    rows = await connection.fetch("SELECT shop_id, customer_id FROM customers")
    return {(row["shop_id"], row["customer_id"]) for row in rows}


async def test_who_has_not_been_heard_of_for_400_days_is_forgotten_by_the_running_service(topics, tmp_path, eventually):
    desk, store = Deployment(topics, 4), Store()
    await desk.configure(
        tmp_path, {"agents": "agents: [{agent_id: anna}]", "routing": "rules: [{rule_id: any, steps: [{}]}]"}
    )
    connection = await connect(desk.settings, "router")
    try:
        now = now_us()
        for name, age in (("silent", 401), ("served", 401), ("heard", 399)):
            await store.save_customers(connection, [known(name)], now - age * DAY)
        # Whoever was served lately has been here, though he said nothing new.
        await store.save_served(connection, {("teahouse", "served"): ("anna", now - DAY)})
        async with desk.running("router"):
            await eventually(lambda: gone(connection, "silent"), "forgotten")
            # What goes on: his next message makes a record again.
            await desk.send([status("anna", now_us(), "online"), *asked("silent", now_us())])
            await eventually(lambda: desk.has_told(ROUTING, 2), "served")
        assert await recorded(connection) == {("teahouse", "served"), ("teahouse", "heard"), ("teahouse", "u-silent")}
    finally:
        await connection.close()


async def gone(connection, name: str) -> bool:
    return ("teahouse", name) not in await recorded(connection)


async def test_forget_takes_one_shop_or_all_and_says_what_it_did(desk):
    everywhere = [known("u-1"), known("u-1", "bakery"), known("u-2")]
    await Store().save_customers(desk.connection, everywhere, now_us())
    assert await desk.command("router", "forget", "u-1", "--shop", "bakery") == "1 records forgotten\n"
    assert await recorded(desk.connection) == {("teahouse", "u-1"), ("teahouse", "u-2")}
    await desk.command("router", "forget", "u-1", "--shop", "bakery", exit_code=1)
    assert await desk.command("router", "forget", "u-1") == "1 records forgotten\n"
    assert await recorded(desk.connection) == {("teahouse", "u-2")}


async def test_a_unit_that_has_read_him_cannot_bring_him_back(desk, eventually):
    store = Store()
    await store.save_customers(desk.connection, [known("u-1")], now_us())
    watching = await connect(desk.settings, "router")
    try:
        async with desk.connection.transaction():
            await store.lock(desk.connection)
            found = await store.customers(desk.connection, [("teahouse", "u-1")])
            forgetting = asyncio.create_task(forget_person(desk.settings, "u-1"))
            await eventually(lambda: watching.fetchval(_WAITS), "it waits for the lock")
            assert not forgetting.done()
            await store.save_customers(desk.connection, found.values(), now_us())
    finally:
        await watching.close()
    assert await forgetting == 1
    assert await recorded(desk.connection) == set()


_WAITS = """
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database())
"""
"""Somebody waits for a lock in this database."""


async def test_a_persons_erasure_from_the_archive_reaches_what_the_router_records(desk, tmp_path):
    vault = tmp_path / "archive" / "vault"
    vault.parent.mkdir()
    Vault.new().save(vault)
    (tmp_path / "stack.json").write_text("{}")
    await Store().save_customers(desk.connection, [known("u-1"), known("u-1", "bakery"), known("u-2")], now_us())
    order = ("--who", "dpo", "--why", "letter", "--yes", "--state-dir", str(tmp_path))
    printed = await desk.command("archive", "erase", "u-1", *order)
    assert "router: 2 records of the person forgotten" in printed
    assert await recorded(desk.connection) == {("teahouse", "u-2")}
    # Again: nothing is left, and nothing fails.
    assert "router: 0 records" in await desk.command("archive", "erase", "u-1", *order)
