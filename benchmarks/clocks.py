"""A million open clocks in one Postgres: what is told when a tenth is overdue at a start, 2 000 fall due a second, alone and beside
as many that are set and ended by records, or 15 000 at once.

Rows are written as sla itself writes them, while it is stopped, so the clocks are open without a million messages being sent. What
is told is read from ``sla.v1``; lateness is the broker timestamp less the due instant, with an allowed lateness of 0. The baseline
is what is usually written: a loop that takes a hundred due rows with ``SKIP LOCKED``, publishes each and deletes it, at least once,
beside as many rows that are not due.
"""

import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.load.envelopes import Draft
from tests.load.sender import Sender
from tests.unit.sla_world import T0, Log, Service, book

from benchmarks.drain import CONFIG, NoFigureError, caught_up
from benchmarks.figures import Cpu, Figures, Floor
from deskline.clock import DAY, SECOND, now_us, parse_rfc3339, rfc3339
from deskline.kafka import partition_of
from deskline.records import CONVERSATIONS, SLA
from deskline.stack.stack import Options, Stack
from deskline.stack.supervisor import service_command

OPEN: Final = 1_000_000
HERD: Final = 15_000
RATE: Final = 2_000
SPREAD_S: Final = 10
_TARGET_S: Final = 180
_SLA: Final = {
    "policies": [
        {"policy_id": "all", "targets": {"instant_reply": 0, "agent_response": _TARGET_S, "next_response": 0}}
    ],
    "warnings": [],
}
_ALWAYS: Final = {
    "default": "shop",
    "calendars": {
        "shop": {
            "timezone": "Asia/Shanghai",
            "weekly": dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), ("00:00-24:00",)),
        }
    },
}
# A start reads the topics and the configuration first; then there is time to look at the rows.
_LEAD_S: Final = 40
_PAUSE_S: Final = 8
_LIMIT_S: Final = 300
_NEW: Final = 2_000
_BASELINE: Final = 3_000
_BATCH: Final = 100
_TICK_S: Final = 0.05
_TALK_S: Final = 1.0
_OVERDUE_FLOOR: Final = Floor("≥ 2,000 clocks/s", lambda value, _: value >= RATE)
_P99_FLOOR: Final = Floor("< 50 ms", lambda value, _: value < 50)
_HERD_FLOOR: Final = Floor("< 1,000 ms", lambda value, _: value < 1_000)


class Told(NamedTuple):
    subject: str
    type: str
    due: int
    broker_at: int
    partition: int
    offset: int


def body(due: int) -> bytes:
    """The stored state of a conversation that was handed over, and whose agent's answer is due at ``due``."""
    since = (due - T0) / SECOND - _TARGET_S
    log = Log()
    log.customer(since, "m1")
    log.handover(since, "m1", since=since)
    service = Service(book(_SLA, _ALWAYS), lateness=0)
    service.unit(log.events, due - SECOND)
    assert service.folding.due(service.state) == due, "the state wakes at another instant than its clock is due"
    return msgspec.msgpack.encode(service.state)


async def put(connection: Any, prefix: str, dues: Sequence[int], lanes: int) -> None:
    """One conversation for each due instant, in the lane of its key; equal instants share a body."""
    bodies = {due: body(due) for due in set(dues)}
    subjects = [f"{prefix}-{n}" for n in range(len(dues))]
    await connection.copy_records_to_table(
        "conversations",
        records=(
            (partition_of(subject.encode(), lanes), subject, due, bodies[due])
            for subject, due in zip(subjects, dues, strict=True)
        ),
        columns=("lane", "subject", "due", "body"),
    )


class Reader:
    """What is told on ``sla.v1``, from now on."""

    def __init__(self, stack: Stack) -> None:
        self._topic = stack.options.topic_prefix + SLA
        self._servers = stack.bootstrap_servers
        self.told: list[Told] = []
        self._messages: list[Any] = []
        """Read, and not looked into yet."""

    async def __aenter__(self) -> Self:
        # The broker's timestamps say when it was told: reading may be late, and must cost those who tell as little as it can.
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers, auto_offset_reset="earliest", enable_auto_commit=False, fetch_min_bytes=1_000_000,
            fetch_max_wait_ms=400,
        )  # fmt: skip
        await self._consumer.start()
        await self._consumer._client.force_metadata_update()  # noqa: SLF001 - the partitions are not known before
        partitions = self._consumer.partitions_for_topic(self._topic) or set()
        self._consumer.assign([TopicPartition(self._topic, number) for number in partitions])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def until(self, prefix: str, count: int, kind: str = "sla.breached.v1") -> list[Told]:
        """The first word of this type on each conversation of this prefix, when there are so many.

        What comes is only counted, by its keys, until it may be enough: reading it must not take the processor from those who tell.
        """
        start = f"{prefix}-".encode()
        found = self._first(start.decode(), kind)
        keys = {told.subject.encode() for told in self.told if told.subject.startswith(start.decode())}
        deadline = asyncio.get_running_loop().time() + _LIMIT_S
        while asyncio.get_running_loop().time() < deadline:
            if len(found) >= count:
                return list(found.values())
            for messages in (await self._consumer.getmany(timeout_ms=500, max_records=50_000)).values():
                self._messages += messages
                keys.update(message.key for message in messages if message.key.startswith(start))
            if len(keys) >= count:
                found = self._first(start.decode(), kind)
        raise NoFigureError(f"{count} clocks of {prefix} were not told in {_LIMIT_S} s")

    def _first(self, start: str, kind: str) -> dict[str, Told]:
        for message in self._messages:
            value = json.loads(message.value)
            due = parse_rfc3339(value["data"]["due_at"])
            self.told.append(
                Told(value["subject"], value["type"], due, message.timestamp * 1000, message.partition, message.offset)
            )
        self._messages = []
        return {
            told.subject: told for told in reversed(self.told) if told.type == kind and told.subject.startswith(start)
        }


async def measure(figures: Figures, clocks: int = OPEN, instances: int = 1) -> None:
    with tempfile.TemporaryDirectory(prefix="deskline-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        options = Options(
            config_dir=CONFIG, state_dir=Path(folder) / "state", replicas={}, kafka_profile="bench", dies_with_parent=True,
            command=service_command, environment={"DESKLINE_ALLOWED_LATENESS_S": "0"},
        )  # fmt: skip
        async with Stack(options) as stack:
            connection = await asyncpg.connect(stack.postgres_dsn, server_settings={"search_path": "sla"})
            try:
                async with Reader(stack) as reader:
                    await _Run(figures, stack, connection, reader, clocks, instances).all()
            finally:
                await connection.close()


class _Run:
    """The phases, one after the other, on one stack."""

    def __init__(  # noqa: PLR0917 - made once, names as the caller has them
        self, figures: Figures, stack: Stack, connection: Any, reader: Reader, clocks: int, instances: int
    ) -> None:
        self._figures = figures
        self._stack = stack
        self._connection = connection
        self._reader = reader
        self._clocks = clocks
        self._instances = instances
        self._lanes = len(reader._consumer.assignment())  # noqa: SLF001
        self._baseline = 0.0
        """Clocks a second."""

    async def all(self) -> None:
        await put(self._connection, "open", [now_us() + DAY] * self._clocks, self._lanes)
        await self._settled()
        self._baseline = await self._poll()
        await self._overdue()
        begins = await self._started_again()
        await self._due_at_a_rate("spread", begins, {})
        await self._herd(begins + (SPREAD_S + _PAUSE_S) * SECOND)
        begins += (SPREAD_S + 2 * _PAUSE_S + 10) * SECOND
        talks = asyncio.create_task(self._talk(begins))
        try:
            await self._due_at_a_rate("beside", begins, {"records_per_s": RATE})
        finally:
            await talks
        told = Counter((told.subject, told.type, told.due) for told in self._reader.told)
        twice = sum(count - 1 for count in told.values())
        self._show("clocks_told_twice", twice, "records", told=len(told))

    def _show(self, name: str, value: float, unit: str, **params: Any) -> None:
        self._figures.show(name, value, unit, **params, open=self._clocks, instances=self._instances)

    def _cpu(self) -> Cpu:
        known = self._stack.describe()
        services = [instance["pid"] for instance in self._stack.services.describe().get("sla", []) if instance["pid"]]
        return Cpu(sla=services, kafka=known["broker"]["pids"], postgres=known["postgres"]["pids"])

    async def _settled(self) -> None:
        """What so many rows written at once leave behind for disk and planner is this benchmark's doing, and is over before it measures."""
        await self._connection.execute("VACUUM ANALYZE conversations")
        await self._connection.execute("CHECKPOINT")
        await asyncio.to_thread(os.sync)

    async def _poll(self) -> float:
        """The baseline: clocks a second."""
        connection, topic = self._connection, self._stack.options.topic_prefix + SLA
        await put(connection, "poll", [now_us() - SECOND] * _BASELINE, self._lanes)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._stack.bootstrap_servers, acks="all", enable_idempotence=True
        )
        await producer.start()
        began, left = time.monotonic(), _BASELINE
        try:
            while left:
                async with connection.transaction():
                    rows = await connection.fetch(
                        "SELECT lane, subject, due FROM conversations WHERE lane = ANY($1::int[]) AND due <= $2"
                        " ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED",
                        [*range(self._lanes)], now_us(), _BATCH,
                    )  # fmt: skip
                    for row in rows:
                        value = json.dumps(
                            {"subject": row["subject"], "type": "baseline", "data": {"due_at": rfc3339(row["due"])}}
                        )
                        await producer.send(topic, value.encode(), key=row["subject"].encode(), partition=row["lane"])
                        await connection.execute(
                            "DELETE FROM conversations WHERE lane = $1 AND subject = $2", row["lane"], row["subject"]
                        )
                    await producer.flush()
                left -= len(rows)
        finally:
            await producer.stop()
        return _BASELINE / (time.monotonic() - began)

    async def _overdue(self) -> None:
        """A start with a tenth of the clocks overdue; new ones fall due while these are told."""
        count = self._clocks // 10
        first = now_us() - 1_000 * SECOND
        await put(self._connection, "overdue", [first + n // 100 * SECOND for n in range(count)], self._lanes)
        # Over so long a time that some fall into the telling, whenever the service has started.
        begins = now_us()
        await put(self._connection, "new", [begins + n * SECOND // 20 for n in range(_NEW)], self._lanes)
        self._stack.services.start({"sla": self._instances})
        cpu = self._cpu()
        overdue = await self._reader.until("overdue", count)
        others = cpu.others()
        began, ended = min(t.broker_at for t in overdue), max(t.broker_at for t in overdue)
        rate = count * SECOND / max(ended - began, 1)
        self._show(
            "clocks_overdue_per_s",
            rate,
            "1/s",
            baseline=self._baseline,
            floor=_OVERDUE_FLOOR,
            others=others,
            overdue=count,
        )
        self._show("clocks_overdue_out_of_order", _out_of_order(overdue), "clocks")
        new = [told for told in await self._reader.until("new", _NEW) if began <= told.due <= ended]
        if not new:
            return
        self._show(
            "clocks_new_beside_overdue_p99",
            _p99(new),
            "ms",
            baseline=(ended - began) / 1000,
            others=others,
            told=len(new),
        )

    async def _started_again(self) -> int:
        """Stopped, the rows of the phases that follow written, and started: when the first of them is due."""
        await self._stack.services.pause("sla")
        begins = now_us() + _LEAD_S * SECOND
        at_once = [begins + (SPREAD_S + _PAUSE_S) * SECOND] * HERD
        beside = begins + (SPREAD_S + 2 * _PAUSE_S + 10) * SECOND
        for prefix, dues in (("spread", _spread(begins)), ("herd", at_once), ("beside", _spread(beside))):
            await put(self._connection, prefix, dues, self._lanes)
        await self._settled()
        await self._stack.services.resume("sla")
        while not await caught_up(self._stack.services.describe()["sla"]):
            await asyncio.sleep(0.2)
            if now_us() > begins:
                raise NoFigureError(f"sla was not ready {_LEAD_S} s after its rows were written")
        # Who sends and who reads stand elsewhere in earnest: here they give way to what is measured.
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        return begins

    async def _due_at_a_rate(self, prefix: str, begins: int, params: dict[str, Any]) -> None:
        await asyncio.sleep((begins - now_us()) / SECOND)
        cpu = self._cpu()
        await asyncio.sleep(SPREAD_S)
        others, used = cpu.others(), cpu.seconds()
        told = await self._reader.until(prefix, RATE * SPREAD_S)
        self._show(
            f"clocks_{prefix}_told_p99", _p99(told), "ms", floor=_P99_FLOOR, others=others, p50=round(_share(told, 0.5), 1),
            rate=RATE, **params, cpu={name: round(seconds / SPREAD_S, 2) for name, seconds in used.items()},
        )  # fmt: skip

    async def _herd(self, at: int) -> None:
        await asyncio.sleep((at - now_us()) / SECOND)
        cpu = self._cpu()
        herd = await self._reader.until("herd", HERD)
        others = cpu.others()
        used = {name: round(seconds / HERD * 1e6, 1) for name, seconds in cpu.seconds().items()}
        last = _share(herd, 1)
        self._show(
            "clocks_herd_told_last", last, "ms", baseline=HERD / self._baseline * 1000, floor=_HERD_FLOOR, others=others,
            herd=HERD, p50=round(_share(herd, 0.5)), us_per_clock=used,
        )  # fmt: skip

    async def _talk(self, begins: int) -> None:
        """Half as many conversations a second as clocks fall due: each sets two clocks, and ends both a second later."""
        count = RATE // 2 * SPREAD_S
        each = round(RATE // 2 * _TICK_S)
        at = [begins + n * SECOND * 2 // RATE for n in range(count + round(RATE // 2 * _TALK_S))]
        received = [_received(n, at[n]) for n in range(count)]
        closed = [_closed(n, at[n + round(RATE // 2 * _TALK_S)]) for n in range(count)]
        await asyncio.sleep((begins - now_us()) / SECOND)
        async with Sender(self._stack.bootstrap_servers, self._stack.options.topic_prefix) as sender:
            cpu = self._cpu()
            sent, all_set_at = 0, 0
            while sent < count + round(RATE // 2 * _TALK_S):
                ended = sent - round(RATE // 2 * _TALK_S)
                await sender.send([*received[sent : sent + each], *closed[max(ended, 0) : max(ended + each, 0)]])
                sent += each
                if sent >= count and not all_set_at:
                    all_set_at = now_us()
                await asyncio.sleep(max(0.0, (begins - now_us()) / SECOND + sent / (RATE // 2)))
            others = cpu.others()
        last = now_us()
        cancelled = await self._reader.until("talk", count, "sla.cancelled.v1")
        await self._reader.until("talk", count, "sla.met.v1")
        behind = (max(told.broker_at for told in cancelled) - last) / SECOND
        self._show(
            "clocks_set_and_ended_per_s",
            2 * count * SECOND / (all_set_at - begins),
            "1/s",
            others=others,
            behind_s=round(behind, 2),
        )


def _spread(begins: int) -> list[int]:
    """Ten clocks every five milliseconds: of so many instants each has a state of its own to be made."""
    return [begins + n * 200 // RATE * (SECOND // 200) for n in range(RATE * SPREAD_S)]


def _received(number: int, at: int) -> Draft:
    data = {
        "shop_id": "teahouse", "message_id": f"m-{number}", "channel": "web", "text": "在吗", "customer": {"customer_id": "k"},
    }  # fmt: skip
    return _draft("message.received.v1", number, at, data)


def _closed(number: int, at: int) -> Draft:
    return _draft("conversation.closed.v1", number, at, {"shop_id": "teahouse", "resolved": True})


def _draft(type_: str, number: int, at: int, data: dict[str, Any]) -> Draft:
    value = {
        "specversion": "1.0", "id": f"{type_}-{number}", "source": "/gateway/bench", "type": type_, "subject": f"talk-{number}",
        "time": rfc3339(at), "data": data,
    }  # fmt: skip
    return Draft(CONVERSATIONS, f"talk-{number}".encode(), json.dumps(value, ensure_ascii=False).encode())


def _share(told: Sequence[Told], share: float) -> float:
    """Lateness, ms, that this share of them does not exceed."""
    late = sorted((each.broker_at - each.due) / 1000 for each in told)
    return late[min(int(len(late) * share), len(late) - 1)]


def _p99(told: Sequence[Told]) -> float:
    return _share(told, 0.99)


def _out_of_order(told: Sequence[Told]) -> int:
    """Clocks told after one of their partition that was due later."""
    latest: dict[int, int] = {}
    wrong = 0
    for each in sorted(told, key=lambda each: (each.partition, each.offset)):
        wrong += each.due < latest.get(each.partition, each.due)
        latest[each.partition] = max(latest.get(each.partition, each.due), each.due)
    return wrong
