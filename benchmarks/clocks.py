"""A million open clocks in one Postgres: what is told when a tenth is overdue at a start, 2 000 fall due a second, or 15 000 at once.

Rows are written as sla itself writes them, before it is started, so the clocks are open without a million messages being sent. What
is told is read from ``sla.v1``; lateness is the broker timestamp less the due instant, with an allowed lateness of 0.
"""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.unit.sla_world import T0, Log, Service, book

from benchmarks.drain import CONFIG, start
from benchmarks.figures import Figures
from deskline.clock import DAY, SECOND, now_us, parse_rfc3339
from deskline.records import SLA
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
_LEAD_S: Final = 25
_LIMIT_S: Final = 240


class Told(NamedTuple):
    subject: str
    due: int
    broker_at: int


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
    """One conversation for each due instant, over all lanes; equal instants share a body."""
    bodies = {due: body(due) for due in set(dues)}
    await connection.copy_records_to_table(
        "conversations",
        records=((n % lanes, f"{prefix}-{n}", due, bodies[due]) for n, due in enumerate(dues)),
        columns=("lane", "subject", "due", "body"),
    )


class Reader:
    """What is told on ``sla.v1``, from now on."""

    def __init__(self, stack: Stack) -> None:
        self._topic = stack.options.topic_prefix + SLA
        self._servers = stack.bootstrap_servers
        self.told: list[Told] = []

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._servers, auto_offset_reset="earliest", enable_auto_commit=False)  # fmt: skip
        await self._consumer.start()
        await self._consumer._client.force_metadata_update()  # noqa: SLF001 - the partitions are not known before
        partitions = self._consumer.partitions_for_topic(self._topic) or set()
        self._consumer.assign([TopicPartition(self._topic, number) for number in partitions])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def until(self, prefix: str, count: int) -> list[Told]:
        deadline = asyncio.get_running_loop().time() + _LIMIT_S
        while asyncio.get_running_loop().time() < deadline:
            found = [told for told in self.told if told.subject.startswith(f"{prefix}-")]
            if len(found) >= count:
                return found
            for messages in (await self._consumer.getmany(timeout_ms=200, max_records=20_000)).values():
                for message in messages:
                    value = json.loads(message.value)
                    due = parse_rfc3339(value["data"]["due_at"])
                    self.told.append(Told(value["subject"], due, message.timestamp * 1000))
        raise TimeoutError(f"{count} clocks of {prefix} were not told in {_LIMIT_S} s")


async def measure(figures: Figures, clocks: int = OPEN) -> None:
    with tempfile.TemporaryDirectory(prefix="deskline-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        options = Options(
            config_dir=CONFIG, state_dir=Path(folder) / "state", replicas={}, kafka_profile="bench", dies_with_parent=True,
            command=service_command, environment={"DESKLINE_ALLOWED_LATENESS_S": "0"},
        )  # fmt: skip
        async with Stack(options) as stack:
            connection = await asyncpg.connect(stack.postgres_dsn, server_settings={"search_path": "sla"})
            try:
                await _measure(figures, stack, connection, clocks)
            finally:
                await connection.close()


async def _measure(figures: Figures, stack: Stack, connection: Any, clocks: int) -> None:
    async with Reader(stack) as reader:
        lanes = len(reader._consumer.assignment())  # noqa: SLF001
        await put(connection, "open", [now_us() + DAY] * clocks, lanes)
        overdue_ones = clocks // 10
        first = now_us() - 1_000 * SECOND
        await put(connection, "overdue", [first + n // 100 * SECOND for n in range(overdue_ones)], lanes)
        await connection.execute("ANALYZE conversations")
        params = {"open": clocks}
        # New ones fall due while the old ones are told.
        begins = now_us() + 8 * SECOND
        await put(connection, "new", [begins + n // 10 * (SECOND // 10) for n in range(1_000)], lanes)
        instances = start(stack, ["sla"])
        overdue = await reader.until("overdue", overdue_ones)
        began, ended = min(t.broker_at for t in overdue), max(t.broker_at for t in overdue)
        figures.show(
            "clocks_overdue_per_s", overdue_ones * SECOND / max(ended - began, 1), "1/s", overdue=overdue_ones, **params
        )
        figures.show("clocks_overdue_out_of_order", _out_of_order(overdue), "clocks", **params)
        new = [told for told in await reader.until("new", 1_000) if told.due <= ended]
        if new:
            figures.show("clocks_new_beside_overdue_p99", _p99(new), "ms", samples_told=len(new), **params)
        # What falls due at a rate, and at once: a service that starts finds the rows that were written behind its back. The one
        # that was killed is missed by its group after its session, which is longer than the lead on a slow machine.
        begins = now_us() + _LEAD_S * SECOND
        spread = [
            begins + n * SPREAD_S * SECOND // (RATE * SPREAD_S) // 100_000 * 100_000 for n in range(RATE * SPREAD_S)
        ]
        await put(connection, "spread", spread, lanes)
        herd_at = begins + (SPREAD_S + 10) * SECOND
        await put(connection, "herd", [herd_at] * HERD, lanes)
        for instance in instances["sla"]:
            os.kill(instance["pid"], signal.SIGKILL)
        figures.show(
            "clocks_spread_told_p99", _p99(await reader.until("spread", len(spread))), "ms", rate=RATE, **params
        )
        herd = await reader.until("herd", HERD)
        late = [(told.broker_at - told.due) / 1000 for told in herd]
        figures.show("clocks_herd_told_p99", _p99(herd), "ms", herd=HERD, **params)
        figures.show("clocks_herd_told_last", max(late), "ms", herd=HERD, **params)
        counted = len({told.subject for told in reader.told})
        figures.show("clocks_told_twice", len(reader.told) - counted, "clocks", told=counted, **params)


def _p99(told: Sequence[Told]) -> float:
    late = sorted((each.broker_at - each.due) / 1000 for each in told)
    return late[min(len(late) * 99 // 100, len(late) - 1)]


def _out_of_order(told: Sequence[Told]) -> int:
    """Clocks told after one that was due more than 10 s later: lanes go on side by side, each in the order of its clocks."""
    latest, wrong = 0, 0
    for each in sorted(told, key=lambda each: each.broker_at):
        wrong += each.due < latest - 10 * SECOND
        latest = max(latest, each.due)
    return wrong
