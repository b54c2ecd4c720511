"""The engine on a real Kafka and a real PostgreSQL, with a service that only counts."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from statistics import median
from typing import Any

import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import CollectorRegistry

from deskline.clock import SECOND, now_us, rfc3339
from deskline.config.book import ConfigBook
from deskline.consumption import Engine
from deskline.conversations import Context, ConversationConsumer
from deskline.errors import FatalError
from deskline.events import wire
from deskline.events.models import MessageIgnored
from deskline.kafka import Ends, partition_of
from deskline.metrics import EngineMetrics
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Event, Output
from deskline.settings import ServiceSettings

pytestmark = pytest.mark.kafka
PARTITIONS = 3


class Counted(msgspec.Struct):
    seen: list[str] = []
    timer: int | None = None
    fired: int = 0


class Counting:
    """Answers each message with one event; fails for texts that say so; keeps a timer one second after each message."""

    name = "autoreply"
    topics = (ROUTING, CONVERSATIONS)
    state = Counted

    def __init__(self) -> None:
        self.fired: list[tuple[str, int, int]] = []
        self.taken_us: list[int] = []
        """Of each message, how long after its broker timestamp it was decided."""
        self.old_waits = False
        self.look_ahead = 0
        self.behind: dict[str, list[str]] = {}
        """message → what stood behind it when it was decided, where one was settled."""
        self.unwritable: str | None = None
        self.failing: str | None = None
        self.together = False

    def fresh(self, subject: str) -> Counted:
        return Counted(seen=[])

    def settle(self, now: int, event: Event) -> int | None:
        return event.broker_at + self.look_ahead if self.old_waits and event.topic == CONVERSATIONS else None

    def advance(self, subject: str, state: Counted, events: Sequence[Event], context: Context) -> list[Output]:
        outputs = []
        if subject == self.failing:
            raise ValueError("cannot")
        for event in events:
            if event.type != "message.received.v1":
                continue
            if event.data.text == "poison":
                raise ValueError("cannot")
            state.seen.append(event.data.message_id)
            self.behind[event.data.message_id] = [
                other.data.message_id for other in context.ahead.get(subject, ()) if other.offset > event.offset
            ]
            self.taken_us.append(context.now - event.broker_at)
            state.timer = event.broker_at + SECOND
            data = wire.new(
                MessageIgnored,
                message_id=event.data.message_id,
                reason="empty",
                shop_id="s",
                rules_version=1,
                routing_offset=context.positions[ROUTING],
            )
            value = wire.encode(
                "message.ignored.v1",
                id=f"o-{event.data.message_id}",
                source="/deskline/autoreply",
                subject=subject,
                time=context.now,
                data=data,
            )
            outputs.append(Output(REPLIES, subject.encode(), value, event.coordinates))
        if state.timer is not None and context.watermark >= state.timer:
            self.fired.append((subject, state.timer, now_us()))
            state.fired += 1
            state.timer = None
        return outputs

    def due(self, state: Counted) -> Any:
        return "soon" if self.unwritable in state.seen else state.timer


def message(number: int, conversation: str, text: str = "你好") -> tuple[bytes, bytes]:
    value = {
        "specversion": "1.0",
        "id": f"m-{number}",
        "source": "/gateway/test",
        "type": "message.received.v1",
        "subject": conversation,
        "time": rfc3339(now_us()),
        "data": {
            "shop_id": "s",
            "message_id": f"m-{number}",
            "channel": "app",
            "text": text,
            "customer": {"customer_id": "c"},
        },
    }
    return conversation.encode(), json.dumps(value, ensure_ascii=False).encode()


class Bench:
    """One test's topics, tables and clients."""

    def __init__(self, kafka: str, dsn: str, prefix: str) -> None:
        self.kafka, self.dsn, self.prefix = kafka, dsn, prefix
        self.producer: AIOKafkaProducer = None

    def settings(self, **changes: Any) -> ServiceSettings:
        given = {
            "bootstrap_servers": self.kafka,
            "postgres_dsn": self.dsn,
            "topic_prefix": self.prefix,
            "session_timeout_s": 6,
            "drain_s": 5,
        }
        return ServiceSettings(**(given | changes))

    async def send(
        self, messages: Sequence[tuple[bytes | None, bytes | None]], topic: str = CONVERSATIONS, **more: Any
    ) -> None:
        for key, value in messages:
            partition = partition_of(key, PARTITIONS) if key else 0
            await self.producer.send(self.prefix + topic, key=key, value=value, partition=partition, **more)
        await self.producer.flush()

    async def put(self, timers: Sequence[tuple[str, int]]) -> None:
        """Conversations with a timer, as a service leaves them: (subject, due)."""
        connection = await asyncpg.connect(self.dsn, server_settings={"search_path": "autoreply"})
        records = [
            (n % PARTITIONS, subject, due, msgspec.msgpack.encode(Counted(seen=[], timer=due)))
            for n, (subject, due) in enumerate(timers)
        ]
        await connection.copy_records_to_table(
            "conversations", records=records, columns=("lane", "subject", "due", "body")
        )
        await connection.close()

    async def stored(self) -> dict[str, Counted]:
        connection = await asyncpg.connect(self.dsn, server_settings={"search_path": "autoreply"})
        rows = await connection.fetch("SELECT subject, body FROM conversations")
        await connection.close()
        return {row["subject"]: msgspec.msgpack.decode(row["body"], type=Counted) for row in rows}

    async def replies(self, topic: str = REPLIES) -> list[Any]:
        """Everything on the topic, partition by partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        try:
            tps = [TopicPartition(self.prefix + topic, p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            ends = await consumer.end_offsets(tps)
            found = []
            for tp in tps:
                while await consumer.position(tp) < ends[tp]:
                    found += (await consumer.getmany(tp, timeout_ms=1000)).get(tp, [])
            return found
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def running(self, folding: Counting, **changes: Any) -> AsyncIterator[Engine]:
        settings = self.settings(**changes)
        ends = Ends(settings, "test-ends")
        metrics = EngineMetrics(CollectorRegistry())
        engine = Engine(settings, ConversationConsumer(folding, ConfigBook()), ends=ends, metrics=metrics)
        task = asyncio.create_task(engine.run())
        try:
            yield engine
        finally:
            engine.stop()
            async with asyncio.timeout(20):
                await task
            await ends.stop()


@pytest.fixture
async def bench(kafka: str, database: str, topic_prefix: str) -> AsyncIterator[Bench]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics(
        [
            NewTopic(topic_prefix + topic, PARTITIONS, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
            for topic in (CONVERSATIONS, REPLIES, ROUTING, "dead-letters.v1")
        ]
    )
    await admin.close()
    connection = await asyncpg.connect(database)
    await connection.execute(
        "DO $$ BEGIN CREATE ROLE deskline_autoreply NOLOGIN; EXCEPTION WHEN OTHERS THEN NULL; END $$;"
        "CREATE SCHEMA autoreply; GRANT USAGE ON SCHEMA autoreply TO deskline_autoreply; SET search_path TO autoreply;"
    )
    sql = (files("deskline") / "sql" / "0001_engine.sql").read_text()
    await connection.execute(sql.replace("{{role}}", "deskline_autoreply"))
    await connection.close()
    bench = Bench(kafka, database, topic_prefix)
    bench.producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await bench.producer.start()
    yield bench
    await bench.producer.stop()


def answered(records: list[Any]) -> list[str]:
    return [json.loads(record.value)["data"]["message_id"] for record in records]


async def test_every_message_is_answered_once_and_in_the_order_of_its_conversation(
    bench: Bench, eventually: Any
) -> None:
    async with bench.running(Counting()) as engine:
        await bench.send([message(n, f"c{n % 7}") for n in range(500)])
        await eventually(lambda: engine.caught_up and engine.outbox.published_total >= 500, "caught up")
    found = answered(await bench.replies())
    assert sorted(found) == sorted(f"m-{n}" for n in range(500))
    for conversation in range(7):
        mine = [name for name in found if int(name[2:]) % 7 == conversation]
        assert mine == sorted(mine, key=lambda name: int(name[2:]))


async def test_a_second_instance_takes_over_where_the_first_one_ended(bench: Bench, eventually: Any) -> None:
    async with bench.running(Counting()) as engine:
        await bench.send([message(n, f"c{n % 7}") for n in range(50)])
        await eventually(lambda: engine.outbox.published_total >= 50, "first half")
    async with bench.running(Counting()) as engine:
        await bench.send([message(n, f"c{n % 7}") for n in range(50, 100)])
        await eventually(lambda: engine.outbox.published_total >= 50, "second half")
    assert sorted(answered(await bench.replies())) == sorted(f"m-{n}" for n in range(100))


async def test_two_instances_share_the_lanes_and_answer_each_message_once(bench: Bench, eventually: Any) -> None:
    async with bench.running(Counting()) as one, bench.running(Counting()) as two:
        await eventually(lambda: one.lanes and two.lanes and one.caught_up and two.caught_up, "both own lanes")
        assert set(one.lanes).isdisjoint(two.lanes)
        await bench.send([message(n, f"c{n % 50}") for n in range(300)])
        await eventually(lambda: one.outbox.published_total + two.outbox.published_total >= 300, "answered")
    assert sorted(answered(await bench.replies())) == sorted(f"m-{n}" for n in range(300))


async def test_what_one_instance_has_published_the_next_owner_does_not_publish_again(
    bench: Bench, eventually: Any
) -> None:
    sent = 0
    left_in_the_table: list[bool] = []
    async with bench.running(Counting()) as one:
        await eventually(lambda: one.lanes, "owned by one")
        lanes_changed = one.consumer.lanes_changed

        def watched(lanes: frozenset[int]) -> None:
            left_in_the_table.append(one.outbox.has_published)
            lanes_changed(lanes)

        one.consumer.lanes_changed = watched  # type: ignore[method-assign]
        async with bench.running(Counting()) as two:
            # It joins while there is always something that has just been published.
            while not two.lanes:
                await bench.send([message(n, f"c{n % 50}") for n in range(sent, sent + 20)])
                sent += 20
                await asyncio.sleep(0.02)
            await eventually(lambda: one.lanes and one.caught_up and two.caught_up, "both own lanes")
            await eventually(lambda: one.outbox.published_total + two.outbox.published_total >= sent, "answered")
            assert left_in_the_table[0] is False
    assert sorted(answered(await bench.replies())) == sorted(f"m-{n}" for n in range(sent))


async def test_a_record_that_cannot_be_handled_gets_a_letter_and_the_rest_goes_on(
    bench: Bench, eventually: Any
) -> None:
    async with bench.running(Counting()) as engine:
        await bench.send([message(n, "c1", "poison" if n == 37 else "ok") for n in range(100)])
        await eventually(lambda: engine.outbox.published_total >= 100, "answered and one letter")
    assert answered(await bench.replies()) == [f"m-{n}" for n in range(100) if n != 37]
    (letter,) = await bench.replies("dead-letters.v1")
    headers = dict(letter.headers)
    assert headers["deskline-reason"] == b"failed"
    assert headers["deskline-service"] == b"autoreply"
    assert headers["deskline-offset"] == b"37"
    assert letter.value == message(37, "c1", "poison")[1] or b"m-37" in letter.value


async def test_what_the_driver_cannot_write_is_the_records_fault(bench: Bench, eventually: Any) -> None:
    """It is not waited out as an absent database is: that would be for ever."""
    folding = Counting()
    folding.unwritable = "m-7"
    async with bench.running(folding) as engine:
        await bench.send([message(n, f"c{n}") for n in range(20)])
        await eventually(lambda: engine.outbox.published_total >= 20, "answered and one letter")
    assert len(await bench.replies()) == 19
    (letter,) = await bench.replies("dead-letters.v1")
    assert dict(letter.headers)["deskline-error"].startswith(b"DataError")


async def test_where_everything_fails_the_process_stops_instead_of_emptying_the_topic(bench: Bench) -> None:
    folding = Counting()
    settings = bench.settings(poison_limit=5)
    ends = Ends(settings, "test-ends")
    engine = Engine(
        settings, ConversationConsumer(folding, ConfigBook()), ends=ends, metrics=EngineMetrics(CollectorRegistry())
    )
    await bench.send([message(n, "c1", "poison") for n in range(40)])
    with pytest.raises(FatalError, match="stopped before the topic is emptied"):
        await asyncio.wait_for(engine.run(), 60)
    await ends.stop()
    assert len(await bench.replies("dead-letters.v1")) <= 5


async def test_a_timer_fires_as_promptly_as_a_record_is_decided(bench: Bench, eventually: Any) -> None:
    """That is some 50 ms after its instant; a machine that is busy is so for both."""
    folding = Counting()
    async with bench.running(folding) as engine:
        await eventually(lambda: engine.caught_up, "caught up")
        for first in range(0, 100, 20):  # not all in one instant, at which the machine may have been busy
            await bench.send([message(n, f"c{n}") for n in range(first, first + 20)])
            await eventually(lambda wanted=first + 20: len(folding.fired) >= wanted, "all timers")
    late_ms = sorted((fired - due) / 1000 for _, due, fired in folding.fired)
    assert len(folding.fired) == 100
    assert late_ms[0] >= 0
    taken_ms = median(folding.taken_us) / 1000
    print(f"median {median(late_ms):.0f} ms after its instant, records {taken_ms:.0f} ms after theirs")
    assert median(late_ms) < 50 + 10 * max(taken_ms, 0)


async def test_records_and_timers_of_one_moment_share_a_unit_and_none_suffers_from_another_that_fails(
    bench: Bench, eventually: Any
) -> None:
    first = now_us() + 2 * SECOND
    await bench.put([(f"t-{n}", first + n * 10_000) for n in range(200)])
    folding = Counting()
    folding.together, folding.failing = True, "t-100"
    shared: list[bool] = []
    sent = 0
    async with bench.running(folding) as engine:
        unit = engine._unit

        async def spied(batch: Any, due: Any, **more: Any) -> None:
            shared.append(bool(batch and due))
            await unit(batch, due, **more)

        engine._unit = spied  # type: ignore[method-assign]  # to see what shares one
        await eventually(lambda: engine.caught_up, "caught up")
        while now_us() < first + 3 * SECOND or sent <= 500:
            await bench.send([message(n, f"c-{n}", "poison" if n == 500 else "ok") for n in range(sent, sent + 5)])
            sent += 5
        wanted = {f"c-{n}" for n in range(sent) if n != 500} | {f"t-{n}" for n in range(200) if n != 100}
        # A unit that fails is decided again in parts: what is kept says when all have fired, not how often it was tried.
        await eventually(
            lambda: wanted <= {subject for subject, _, _ in folding.fired}, "all timers but those of what fails"
        )
        await eventually(lambda: engine.outbox.published_total >= sent, "answered and one letter")
    assert any(shared)
    assert {subject for subject, _, _ in folding.fired} == wanted
    stored = await bench.stored()
    assert set(stored) == wanted | {"t-100"}
    assert {state.fired for subject, state in stored.items() if subject != "t-100"} == {1}
    assert stored["t-100"].fired == 0
    assert sorted(answered(await bench.replies())) == sorted(f"m-{n}" for n in range(sent) if n != 500)
    assert len(await bench.replies("dead-letters.v1")) == 1
    assert all(late >= 0 for late in (at - due for _, due, at in folding.fired))


async def test_timers_left_over_from_a_stop_fire_in_their_order_and_new_ones_do_not_queue_behind_them(
    bench: Bench, eventually: Any
) -> None:
    count = 30_000
    now = now_us()
    await bench.put([(f"old-{n}", now - (count - n + 60) * SECOND) for n in range(count)])
    folding = Counting()
    async with bench.running(folding):
        await eventually(lambda: folding.fired, "the first of them")
        await bench.put([(f"new-{n}", now_us()) for n in range(50)])
        await eventually(lambda: len(folding.fired) >= count + 50, "all timers")
    fired = [subject for subject, _, _ in folding.fired]
    assert len(set(fired)) == len(fired) == count + 50
    old = [due for subject, due, _ in folding.fired if subject.startswith("old")]
    assert old == sorted(old)
    last_new = max(place for place, subject in enumerate(fired) if subject.startswith("new"))
    assert last_new < count - 5_000, "the new ones had to wait for the backlog"


@pytest.mark.parametrize("failing", [0, 800, 1999])
async def test_a_large_unit_that_is_written_in_pieces_happens_whole_or_not_at_all(
    bench: Bench, eventually: Any, failing: int
) -> None:
    """One decision raises when pieces of its unit have been written: all others are fired once, that one never."""
    await bench.put([(f"c-{n}", 1000 + n) for n in range(2_000)])
    folding = Counting()
    folding.failing = f"c-{failing}"
    async with bench.running(folding) as engine:
        await eventually(lambda: engine.caught_up and len(folding.fired) >= 1_999, "all other timers")
        stored = await bench.stored()
    assert {subject for subject, state in stored.items() if state.fired != 1} == {folding.failing}
    assert all(state.timer is None for subject, state in stored.items() if subject != folding.failing)


async def test_the_states_of_timers_that_will_soon_be_due_are_in_memory_when_they_are(
    bench: Bench, eventually: Any
) -> None:
    due = now_us() + 8 * SECOND
    await bench.put([(f"c-{n}", due) for n in range(1_000)])
    folding = Counting()
    async with bench.running(folding) as engine:
        consumer: Any = engine.consumer
        await eventually(lambda: len(consumer._states._cache) == 1_000, "all states")
        assert not folding.fired
        await eventually(lambda: len(folding.fired) >= 1_000, "all timers")
    assert {state.fired for state in (await bench.stored()).values()} == {1}


async def test_what_a_crash_left_in_the_outbox_is_published_before_anything_newer(
    bench: Bench, eventually: Any
) -> None:
    async with bench.running(Counting()) as engine:
        await bench.send([message(0, "c1")])
        await eventually(lambda: engine.outbox.published_total >= 1, "answered")
    lane = str(partition_of(b"c1", PARTITIONS))
    left = [Output(REPLIES, b"c1", json.dumps({"data": {"message_id": "left"}}).encode(), None)]
    connection = await asyncpg.connect(bench.dsn)
    from deskline.outbox import pack

    await connection.execute("INSERT INTO autoreply.outbox (lane, payload) VALUES ($1, $2)", lane, pack(left))
    await bench.send([message(1, "c1")])
    async with bench.running(Counting()) as engine:
        await eventually(lambda: engine.outbox.published_total >= 2, "both")
    assert answered(await bench.replies()) == ["m-0", "left", "m-1"]
    rows = await connection.fetchval("SELECT count(*) FROM autoreply.outbox")
    await connection.close()
    assert rows == 0


async def test_an_owner_that_was_overtaken_commits_nothing(bench: Bench, eventually: Any) -> None:
    async with bench.running(Counting()) as engine:
        await eventually(lambda: engine.caught_up, "caught up")
        connection = await asyncpg.connect(bench.dsn)
        await connection.execute("UPDATE autoreply.lanes SET version = version + 1")
        await connection.close()
        await bench.send([message(n, f"c{n}") for n in range(30)])
        # It finds out at its next unit, reads anew, and loses and repeats nothing.
        await eventually(lambda: engine.outbox.published_total >= 30, "answered")
    assert sorted(answered(await bench.replies())) == sorted(f"m-{n}" for n in range(30))


async def test_odd_records_do_not_stop_the_lane(bench: Bench, eventually: Any) -> None:
    """Bytes that are no events are passed over (the archive writes their letters), headers of any bytes included."""
    async with bench.running(Counting()) as engine:
        await bench.send([(b"c1", b"{"), (b"c1", None), (None, b"x"), (b"\xff\xfe", b"[]")])
        batch = bench.producer.create_batch()
        key, value = message(1, "c1")
        batch.append(key=key, value=value, timestamp=None, headers=[("x", b"\xff")])
        await (
            await bench.producer.send_batch(
                batch, bench.prefix + CONVERSATIONS, partition=partition_of(key, PARTITIONS)
            )
        )
        await eventually(lambda: engine.outbox.published_total >= 1, "answered")
    assert answered(await bench.replies()) == ["m-1"]


async def test_an_old_message_waits_until_the_other_topic_has_been_read_to_its_end(
    bench: Bench, eventually: Any
) -> None:
    folding = Counting()
    folding.old_waits = True
    partition = partition_of(b"c1", PARTITIONS)
    for n in range(200):
        await bench.producer.send(bench.prefix + ROUTING, key=b"c1", value=b"%d" % n, partition=partition)
    await bench.send([message(1, "c1")])
    async with bench.running(folding, max_unit_records=20) as engine:
        await eventually(lambda: engine.outbox.published_total >= 1, "answered")
    (reply,) = await bench.replies()
    assert json.loads(reply.value)["data"]["routing_offset"] == 200


async def test_many_old_messages_do_not_keep_what_they_wait_for_from_being_fetched(
    bench: Bench, eventually: Any
) -> None:
    folding = Counting()
    folding.old_waits = True
    await bench.send([message(n, "c1") for n in range(300)])
    for n in range(200):
        partition = partition_of(b"c1", PARTITIONS)
        await bench.producer.send(bench.prefix + ROUTING, key=b"c1", value=b"%d" % n, partition=partition)
    await bench.producer.flush()
    async with bench.running(folding, max_unit_records=10) as engine:
        await eventually(lambda: engine.outbox.published_total >= 300, "answered")
    assert {json.loads(reply.value)["data"]["routing_offset"] for reply in await bench.replies()} == {200}


async def test_what_stands_behind_an_old_message_within_its_time_is_known_when_it_is_decided(
    bench: Bench, eventually: Any
) -> None:
    folding = Counting()
    folding.old_waits, folding.look_ahead = True, 60 * SECOND
    await bench.send([message(n, "c1") for n in range(100)])
    async with bench.running(folding, max_unit_records=7) as engine:
        await eventually(lambda: engine.outbox.published_total >= 100, "answered")
    for n in range(100):
        assert folding.behind[f"m-{n}"] == [f"m-{later}" for later in range(n + 1, 100)]


async def test_to_look_for_something_is_no_sign_of_being_behind(bench: Bench, eventually: Any) -> None:
    async with bench.running(Counting()) as engine:
        await eventually(lambda: engine.caught_up, "caught up")
        engine.look()
        assert engine.caught_up
        engine.poke()
        assert not engine.caught_up
        await eventually(lambda: engine.caught_up, "caught up again")
