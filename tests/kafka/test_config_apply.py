"""Applying on a real PostgreSQL and a real Kafka: numbers, records, and what a killed command left."""

import asyncio
import json
from textwrap import dedent

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from deskline.clock import SECOND, now_us, parse_rfc3339
from deskline.config import apply as applying
from deskline.config.apply import apply_directory, events, order_of, publish_waiting, rollback
from deskline.config.base import DEFAULT_SHOP
from deskline.config.book import ConfigBook
from deskline.config.documents import DOCUMENTS
from deskline.config.loading import ConfigurationError, load_directory
from deskline.config.planning import numbered, plan_directory
from deskline.config.store import ConfigStore
from deskline.errors import TransientError, UsageError
from deskline.events.wire import decode
from deskline.kafka import to_record
from deskline.records import Event

pytestmark = pytest.mark.kafka


def write(folder, files):
    (folder / DEFAULT_SHOP).mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(dedent(text), encoding="utf-8")
    return folder


async def published(settings, count):
    """The first ``count`` records of shops.v1, by partition and offset; fails where there are more."""
    consumer = AIOKafkaConsumer(
        f"{settings.topic_prefix}shops.v1",
        bootstrap_servers=settings.bootstrap_servers,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    try:
        records = []
        ends = await consumer.end_offsets(consumer.assignment())
        assert sum(ends.values()) == count
        while len(records) < count:
            fetched = await consumer.getmany(timeout_ms=1000)
            records += [to_record(m, len(settings.topic_prefix)) for batch in fetched.values() for m in batch]
    finally:
        await consumer.stop()
    decoded = [decode(record) for record in sorted(records, key=lambda r: (r.partition, r.offset))]
    assert all(isinstance(event, Event) for event in decoded), decoded
    return decoded


def told(events_, shop):
    return [(e.data.document, e.data.version) for e in events_ if e.data.shop_id == shop]


async def test_the_first_apply_publishes_every_document_and_the_book_reads_them(topics, tmp_path):
    settings = topics
    rules = "rules:\n  - {rule_id: greet, reply: {kind: greeting, text: 您好}}\n"
    folder = write(tmp_path, {"_default/rules.yaml": rules, "a/limits.yaml": "patience_s: 2\n"})
    before = now_us()
    applied = await apply_directory(settings, folder, by="li", comment="first")
    assert applied.numbers == {DEFAULT_SHOP: 1, "a": 1}
    records = await published(settings, 7)
    assert sorted(told(records, DEFAULT_SHOP)) == sorted((kind, 1) for kind in DOCUMENTS)
    assert told(records, "a") == [("limits", 1)]
    for event in records:
        assert (event.source, event.subject) == ("/deskline/config", event.data.shop_id)
        assert parse_rfc3339(event.data.effective_from) >= before + 6 * SECOND
        assert not event.data.reevaluate
    book = ConfigBook(settings.config_lead_s)
    connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    # as a service does it, with a service's rights
    await connection.execute("SET ROLE deskline_autoreply")
    for event in records:
        digest = book.wants(event)
        if digest is not None:
            book.put_body(digest, await connection.fetchval("SELECT body FROM config.bodies WHERE sha256 = $1", digest))
        book.admit(event)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("SELECT * FROM config.applies")
    await connection.close()
    assert book.ready
    assert book.refused == []
    at = applied.order.effective_from
    assert book.rules("b", at).rules[0].rule_id == "greet"
    assert (book.limits("a", at).patience_s, book.limits("b", at).patience_s) == (2, 3)
    # the margin is enough: published a lead before, the versions are in force at effective_from itself
    assert book.at(DEFAULT_SHOP, "sla", at).in_force_at == at


async def test_applying_the_same_again_does_nothing_and_a_change_counts_one_shop_on(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {"a/limits.yaml": "patience_s: 2\n", "a/agents.yaml": "agents: []\n", "b/sla.yaml": "{}"})
    await apply_directory(settings, folder)
    again = await apply_directory(settings, folder)
    assert (list(again.changes), again.numbers) == ([], {})
    write(folder, {"a/limits.yaml": "# other words, same meaning\npatience_s: 2.0\n"})
    assert (await apply_directory(settings, folder)).numbers == {}
    write(folder, {"a/limits.yaml": "patience_s: 4\n"})
    assert (await apply_directory(settings, folder, reevaluate=True)).numbers == {"a": 2}
    records = await published(settings, 10)
    assert told(records, "a") == [("agents", 1), ("limits", 1), ("limits", 2)]
    assert [e.data.reevaluate for e in records if e.data.version == 2] == [True]
    assert len({event.id for event in records}) == 10


async def test_a_document_given_up_becomes_a_copy_of_default_and_stays_one(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {"a/limits.yaml": "patience_s: 2\n"})
    await apply_directory(settings, folder)
    (folder / "a" / "limits.yaml").unlink()
    (folder / "a").rmdir()
    assert (await apply_directory(settings, folder)).numbers == {"a": 2}
    write(folder, {"_default/limits.yaml": "patience_s: 5\n"})
    assert (await apply_directory(settings, folder)).numbers == {DEFAULT_SHOP: 2, "a": 3}
    records = await published(settings, 10)
    assert [e.data.body["patience_s"] for e in records if e.data.shop_id == "a"] == [2, 3, 5]
    async with ConfigStore.opened(settings) as store:
        assert [(e.version, e.inherited) for e in await store.history("a", 9)] == [(3, ("limits",)), (2, ("limits",)), (1, ())]  # fmt: skip


async def test_a_refused_directory_changes_nothing(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {"a/limits.yaml": "patience_s: 2\n", "b/limits.yaml": "patience_s: x\n"})
    with pytest.raises(ConfigurationError, match=r"b/limits\.yaml:1:13"):
        await apply_directory(settings, folder)
    await published(settings, 0)


async def test_what_a_command_killed_after_its_commit_left_is_published_before_anything_newer(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {"a/limits.yaml": "patience_s: 2\n"})
    # The killed command, up to and including its commit.
    async with ConfigStore.opened(settings) as store, store.turn():
        changes = plan_directory(applying.bodies_of(load_directory(folder)), {})
        numbers = numbered(changes, {})
        order = order_of(settings, now_us(), by="killed")
        await store.commit(changes, numbers, order, events(changes, numbers, order))
    await published(settings, 0)
    write(folder, {"a/limits.yaml": "patience_s: 4\n"})
    assert (await apply_directory(settings, folder)).numbers == {"a": 2}
    records = await published(settings, 8)
    assert told(records, "a") == [("limits", 1), ("limits", 2)]
    async with ConfigStore.opened(settings) as store, store.turn():
        assert await publish_waiting(settings, store) == 0


async def test_what_was_published_but_not_struck_off_comes_again_with_the_same_id_and_changes_nothing(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {})
    await apply_directory(settings, folder)
    first = await published(settings, 6)
    async with ConfigStore.opened(settings) as store, store.turn():
        changes = plan_directory(applying.bodies_of(load_directory(folder)), {})
        order = (await store.history(None, 1))[0].order
        again = list(events(changes, numbered(changes, {}), order))
        await store._connection.executemany("INSERT INTO outbox (shop_id, value) VALUES ($1, $2)", again)
        assert await publish_waiting(settings, store) == 6
    both = await published(settings, 12)
    assert sorted(e.id for e in both) == sorted(2 * [e.id for e in first])
    book = ConfigBook()
    for event in both:
        if event.data.document != "rules":
            book.admit(event)
    assert book.at("a", "limits", 0).in_force_at == order.effective_from


async def test_without_a_broker_the_versions_are_kept_and_the_person_is_told(topics, tmp_path, monkeypatch):
    settings = topics
    folder = write(tmp_path, {})
    monkeypatch.setattr(publish_waiting, "__defaults__", (1.0,))
    away = settings.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})
    with pytest.raises(TransientError, match="deskline config publish"):
        await apply_directory(away, folder)
    assert (await apply_directory(settings, folder)).numbers == {}
    assert len(await published(settings, 6)) == 6


async def test_rollback_gives_the_old_documents_a_new_number(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {"a/limits.yaml": "patience_s: 2\n"})
    await apply_directory(settings, folder)
    write(folder, {"a/limits.yaml": "patience_s: 4\n", "a/sla.yaml": "warnings: [0.9]\n"})
    await apply_directory(settings, folder)
    rolled = await rollback(settings, "a", 1, by="wu")
    assert rolled.numbers == {"a": 3}
    records = await published(settings, 6 + 1 + 2 + 2)
    last = {e.data.document: e for e in records if e.data.shop_id == "a"}
    assert last["limits"].data.body["patience_s"] == 2
    assert last["sla"].data.body["warnings"] == [0.5, 0.8]  # version 1 had none: _default's
    async with ConfigStore.opened(settings) as store:
        [entry] = await store.history("a", 1)
        assert (entry.version, entry.order.rollback_to, entry.order.applied_by) == (3, 1, "wu")
        assert entry.inherited == ("sla",)
    assert (await rollback(settings, "a", 1)).numbers == {}
    with pytest.raises(UsageError, match="has the versions 1 to 3"):
        await rollback(settings, "a", 4)
    with pytest.raises(UsageError, match="has no version of its own"):
        await rollback(settings, "b", 1)


async def test_a_rollback_that_would_give_one_person_two_capacities_is_refused(topics, tmp_path):
    settings = topics

    def agents(capacity):
        return f"agents:\n  - {{agent_id: li, capacity: {capacity}}}\n"

    folder = write(tmp_path, {"a/agents.yaml": agents(5), "b/agents.yaml": agents(5)})
    await apply_directory(settings, folder)
    write(folder, {"a/agents.yaml": agents(6), "b/agents.yaml": agents(6)})
    await apply_directory(settings, folder)
    with pytest.raises(ConfigurationError, match="capacity 6 here and 5 in shop a"):
        await rollback(settings, "a", 1)


async def test_effective_from_may_not_be_sooner_than_the_lead(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {})
    with pytest.raises(UsageError, match="too soon"):
        await apply_directory(settings, folder, effective_from=now_us() + 4 * SECOND)
    later = now_us() + 3600 * SECOND
    await apply_directory(settings, folder, effective_from=later)
    write(folder, {"_default/limits.yaml": "patience_s: 9\n"})
    overtaken = (await apply_directory(settings, folder)).overtaken_by
    assert [(each.document, each.version, each.effective_from) for each in overtaken] == [("limits", 1, later)]


async def test_in_force_by_effective_from(topics, tmp_path):
    settings = topics
    folder = write(tmp_path, {"_default/limits.yaml": "patience_s: 1\n"})
    now = now_us()
    await apply_directory(settings, folder, effective_from=now + 100 * SECOND)
    for patience, seconds in ((2, 300), (3, 200), (4, 300)):
        write(folder, {"_default/limits.yaml": f"patience_s: {patience}\n"})
        await apply_directory(settings, folder, effective_from=now + seconds * SECOND)
    async with ConfigStore.opened(settings) as store:

        async def seen(seconds):
            return json.loads((await store.in_force(DEFAULT_SHOP, now + seconds * SECOND))["limits"].body)["patience_s"]

        assert [await seen(seconds) for seconds in (0, 199, 200, 299, 300)] == [1, 1, 3, 3, 4]


async def test_a_document_of_four_mebibytes_passes(topics, tmp_path):
    settings = topics
    agents = "agents:\n" + "".join(f"  - {{agent_id: a{n}, name: {'x' * 1000}}}\n" for n in range(3700))
    await apply_directory(settings, write(tmp_path, {"_default/agents.yaml": agents}))
    records = await published(settings, 6)
    assert max(len(e.data.body.get("agents", ())) for e in records) == 3700


async def test_commands_at_the_same_time_take_turns(topics, tmp_path):
    settings = topics
    folders = [tmp_path / str(n) for n in range(4)]
    for n, folder in enumerate(folders):
        folder.mkdir()
        write(folder, {"_default/limits.yaml": f"patience_s: {n + 1}\n"})
    await asyncio.gather(*(apply_directory(settings, folder) for folder in folders))
    records = await published(settings, 6 + 3)
    assert [e.data.version for e in records if e.data.document == "limits"] == [1, 2, 3, 4]


async def test_a_database_that_is_missing_is_said_plainly(settings):
    broken = settings.model_copy(update={"postgres_dsn": SecretStr("postgresql://nobody@127.0.0.1:9/x")})
    with pytest.raises(TransientError, match="no connection to PostgreSQL"):
        async with ConfigStore.opened(broken):
            pass
