"""Services that nobody has configured yet: they wait, answer, and go on as soon as there is something to decide by."""

import asyncio
import json
from signal import SIGTERM

import psutil
import pytest
from tests.fixtures.deployment import Deployment, said

from deskline.clock import now_us
from deskline.stack.files import free_ports
from deskline.stack.http import get

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
RULES = "rules:\n  - {rule_id: greet, when: {any_of: [在吗]}, reply: {kind: greeting, text: 您好}}\n"


@pytest.mark.parametrize("service", ["autoreply", "router", "sla"])
async def test_a_service_without_configuration_is_idle_answers_and_ends_when_asked(topics, eventually, service):
    desk = Deployment(topics, 4)
    (port,) = free_ports(1)
    async with desk.process(service, http_port=port) as process:

        async def acquired():
            answer = await get(f"http://127.0.0.1:{port}/readyz", 1)
            return answer is not None and json.loads(answer[1])["assigned"]

        await eventually(acquired, "partitions acquired", 60)
        await desk.send([said("c-1", now_us(), "m-1")])
        await asyncio.sleep(1)
        before = psutil.Process(process.pid).cpu_times()
        await asyncio.sleep(3)
        after = psutil.Process(process.pid).cpu_times()
        assert after.user - before.user < 1.5, "it does not merely wait"
        assert await get(f"http://127.0.0.1:{port}/readyz", 10) is not None
        process.send_signal(SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_what_came_before_the_configuration_is_answered_once_it_is_there(topics, eventually, tmp_path):
    desk = Deployment(topics, 4)
    async with desk.running("autoreply"):
        await desk.send([said("c-1", now_us(), "m-1")])
        await asyncio.sleep(1)
        assert not await desk.records("replies.v1")
        await desk.configure(tmp_path, {"rules": RULES})
        await eventually(lambda: desk.has_told("replies.v1", 1), "answered", 30)
    (out,) = await desk.told("replies.v1")
    assert (out.value["subject"], out.data["text"]) == ("c-1", "您好")
