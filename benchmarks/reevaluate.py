"""A new policy for every open clock (``config apply --reevaluate``): how fast it reaches them, each once."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.unit.sla_world import T0, Log, Service, book

from benchmarks.clocks import _ALWAYS as ALWAYS
from benchmarks.drain import CONFIG, NoFigureError, start
from benchmarks.figures import Figures
from deskline.clock import DAY, SECOND, now_us
from deskline.config.apply import apply_directory
from deskline.records import SLA
from deskline.stack.http import get
from deskline.stack.stack import Options, Stack
from deskline.stack.supervisor import service_command

_POLICY: Final = (
    "policies: [{policy_id: all, targets: {instant_reply: 0, agent_response: 7200, next_response: 0}}]\nwarnings: []\n"
)
_LIMIT_S: Final = 600.0


async def measure(figures: Figures, clocks: int) -> None:
    with tempfile.TemporaryDirectory(prefix="deskline-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        config = Path(folder) / "config"
        shutil.copytree(CONFIG, config)
        options = Options(
            config_dir=config, state_dir=Path(folder) / "state", replicas={}, kafka_profile="bench", dies_with_parent=True,
            command=service_command, environment={"DESKLINE_ALLOWED_LATENESS_S": "0"},
        )  # fmt: skip
        async with Stack(options) as stack:
            connection = await asyncpg.connect(stack.postgres_dsn, server_settings={"search_path": "sla"})
            consumer = AIOKafkaConsumer(bootstrap_servers=stack.bootstrap_servers, auto_offset_reset="earliest")
            await consumer.start()
            try:
                await _measure(figures, stack, connection, consumer, clocks)
            finally:
                await consumer.stop()
                await connection.close()


async def _measure(figures: Figures, stack: Stack, connection: Any, consumer: AIOKafkaConsumer, clocks: int) -> None:
    topic = stack.options.topic_prefix + SLA
    await consumer._client.force_metadata_update()  # noqa: SLF001 - the partitions are not known before
    partitions = consumer.partitions_for_topic(topic) or set()
    consumer.assign([TopicPartition(topic, number) for number in partitions])
    stored, due = _running(now_us())
    await connection.copy_records_to_table(
        "conversations",
        records=((n % len(partitions), f"open-{n}", due, stored) for n in range(clocks)),
        columns=("lane", "subject", "due", "body"),
    )
    await connection.execute("ANALYZE conversations")
    services = start(stack, ["sla"])
    for instance in services["sla"]:
        await _ready(instance["http"])
    (Path(stack.options.config_dir or CONFIG) / "_default" / "sla.yaml").write_text(_POLICY)
    begins = (await apply_directory(stack.settings(), Path(stack.options.config_dir or CONFIG), reevaluate=True)).order
    taken: dict[str, int] = {}
    twice = 0
    deadline = asyncio.get_running_loop().time() + _LIMIT_S
    while len(taken) < clocks:
        if asyncio.get_running_loop().time() > deadline:
            raise NoFigureError(f"only {len(taken)} of {clocks} clocks took the version in {_LIMIT_S:.0f} s")
        for messages in (await consumer.getmany(timeout_ms=200, max_records=20_000)).values():
            for message in messages:
                value = json.loads(message.value)
                if value["type"] == "sla.retargeted.v1":
                    twice += value["id"] in taken
                    taken[value["id"]] = message.timestamp * 1000
    ended = max(taken.values())
    first_ms = (min(taken.values()) - begins.effective_from) / 1000
    rate = clocks * SECOND / max(ended - begins.effective_from, 1)
    figures.show("reevaluated_per_s", rate, "1/s", open=clocks)
    figures.show("reevaluated_first", first_ms, "ms after its instant", open=clocks)
    figures.show("reevaluated_twice", twice, "clocks", open=clocks)


def _running(now: int) -> tuple[bytes, int]:
    """The stored state of a conversation whose clock began a moment ago and has a day, and when it wakes."""
    targets = {"instant_reply": 0, "agent_response": DAY // SECOND, "next_response": 0}
    since = (now - T0) / SECOND - 10
    log = Log()
    log.customer(since, "m1")
    log.handover(since, "m1", since=since)
    service = Service(
        book({"policies": [{"policy_id": "all", "targets": targets}], "warnings": []}, ALWAYS), lateness=0
    )
    service.unit(log.events, now)
    due = service.folding.due(service.state)
    assert due is not None
    return msgspec.msgpack.encode(service.state), due


async def _ready(http: str) -> None:
    deadline = asyncio.get_running_loop().time() + _LIMIT_S
    while asyncio.get_running_loop().time() < deadline:
        answer = await get(f"{http}/readyz")
        if answer is not None and answer[0] == 200 and json.loads(answer[1])["caught_up"]:
            return
        await asyncio.sleep(0.2)
    raise NoFigureError("sla does not catch up")
