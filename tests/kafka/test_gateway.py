"""The reference gateway as its people use it: a real stack, the gateway as a process of its own, HTTP, WebSockets, pages.

One stack and one gateway serve the module; what a test needs of a browser, or of newman, is skipped by name without it.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from tests.conftest import dsn_of
from websockets.asyncio.client import connect

from deskline.records import CONVERSATIONS
from deskline.stack.files import free_ports
from deskline.targets import settings_of
from deskline.topic_reader import opened

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("gateway")]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("DESKLINE_")}
AGENTS = """
agents:
  - {agent_id: anna, name: 安娜, skills: {售前: 3}, capacity: 5}
  - {agent_id: ben, name: 小本, skills: {售前: 3}, capacity: 5}
"""
ROUTING = """
mode: offered
accept_s: 60
rules:
  - rule_id: everybody
    steps: [{wait_s: 30}, {keep_skills: false}]
"""
RULES = """
rules:
  - {rule_id: human, priority: 800, when: {any_of: [转人工]}, handover: {reason: asked_for_human}}
  - {rule_id: hello, when: {any_of: [你好, 在吗]}, reply: {kind: greeting, text: 您好，请问有什么可以帮您？}}
"""
# A busy machine may need a minute to start the gateway again: the reply must still be in time by then.
LIMITS = "deliver_by_s: 600\n"
CUSTOMER = {"customer_id": "k-1", "tier": "regular", "name": "小明"}


def deskline(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deskline", *map(str, words)],
        capture_output=True, text=True, timeout=200, check=False, env=ENVIRONMENT, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


class Running:
    """The stack's directory, and the gateway in front of it."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.port = free_ports(1)[0]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["serve", "--state-dir", self.state_dir, "--port", self.port]
        with (self.state_dir / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.gateway", *map(str, words)],
                stdout=log, stderr=log, env=ENVIRONMENT, cwd=ROOT,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.address}/livez").is_success:
                    return
            assert self.process.poll() is None, (self.state_dir / "gateway.log").read_text()
            assert time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    async def told(self, conversation_id: str) -> list[dict]:
        """What stands on conversations.v1 of this conversation."""
        async with opened(settings_of(self.state_dir)) as reader:
            values = [json.loads(record.value) async for record in reader.until_end(CONVERSATIONS)]
        return [value for value in values if value["subject"] == conversation_id]


@pytest.fixture(scope="module")
def gateway(kafka, postgres, tmp_path_factory) -> Iterator[Running]:
    state_dir = tmp_path_factory.mktemp("gateway") / "state"
    shop = state_dir.parent / "config" / "_default"
    shop.mkdir(parents=True)
    for name, text in {"agents": AGENTS, "routing": ROUTING, "rules": RULES, "limits": LIMITS}.items():
        (shop / f"{name}.yaml").write_text(text, encoding="utf-8")
    database = f"gateway_{secrets.token_hex(6)}"

    async def sql(text: str) -> None:
        connection = await asyncpg.connect(postgres)
        await connection.execute(text)
        await connection.close()

    asyncio.run(sql(f'CREATE DATABASE "{database}"'))
    running = Running(state_dir)
    try:
        deskline(
            "up", "--state-dir", state_dir, "--config", shop.parent, "--partitions", 2, "--detach", "--bootstrap-servers",
            kafka, "--postgres-dsn", dsn_of(postgres, database), "--topic-prefix", f"{database}-",
            "--replicas", "autoreply=1,router=1,sla=1",
        )  # fmt: skip
        running.start()
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            assert running.stop() == 0, (state_dir / "gateway.log").read_text()
        deskline("down", "--state-dir", state_dir)
        asyncio.run(sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'))


class Customer:
    def __init__(self, client: httpx.AsyncClient, opened: dict) -> None:
        self.client, self.id, self.token = client, opened["conversation_id"], opened["token"]
        self.headers = {"Authorization": f"Bearer {self.token}"}
        self.after = 0

    @classmethod
    async def arrives(cls, client: httpx.AsyncClient) -> "Customer":
        answer = await client.post("/v1/conversations", json={"shop_id": "tea", "channel": "web", "customer": CUSTOMER})
        assert answer.status_code == 201, answer.text
        return cls(client, answer.json())

    async def post(self, what: str, **body) -> httpx.Response:
        return await self.client.post(f"/v1/conversations/{self.id}/{what}", json=body, headers=self.headers)

    async def says(self, text: str, message_id: str | None = None) -> dict:
        answer = await self.post("messages", text=text, message_id=message_id)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def hears(self, kind: str, timeout_s: float = 60) -> dict:
        """The next message by a bot or an agent; what is seen is confirmed by the next question."""
        async with asyncio.timeout(timeout_s):
            while True:
                answer = await self.client.get(
                    f"/v1/conversations/{self.id}/messages",
                    params={"after": self.after, "wait_s": 5}, headers=self.headers,
                )  # fmt: skip
                for message in answer.json()["messages"]:
                    self.after = message["seq"]
                    if message["author"]["kind"] == kind:
                        await self.confirms()
                        return message

    async def confirms(self) -> None:
        await self.client.get(
            f"/v1/conversations/{self.id}/messages", params={"after": self.after}, headers=self.headers
        )


class Agent:
    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self.client, self.name = client, name
        self.path, self.headers = f"/v1/agents/{name}", {}

    async def comes(self) -> None:
        token = (await self.client.post(f"{self.path}/session", json={})).json()["token"]
        self.headers = {"Authorization": f"Bearer {token}"}
        await self.is_("online")

    async def is_(self, status: str) -> None:
        answer = await self.client.put(f"{self.path}/status", json={"status": status}, headers=self.headers)
        assert answer.status_code == 200, answer.text

    async def post(self, what: str, **body) -> httpx.Response:
        return await self.client.post(f"{self.path}/{what}", json=body, headers=self.headers)

    async def desk(self, conversation_id: str) -> dict | None:
        answer = await self.client.get(f"{self.path}/desk", headers=self.headers)
        return next((one for one in answer.json()["conversations"] if one["conversation_id"] == conversation_id), None)


@pytest.fixture
async def client(gateway):
    async with httpx.AsyncClient(base_url=gateway.address, timeout=30) as made:
        yield made


@pytest.fixture
async def anna(client):
    agent = Agent(client, "anna")
    await agent.comes()
    yield agent
    await agent.is_("offline")


def types(told: list[dict]) -> list[str]:
    return [value["type"].removesuffix(".v1") for value in told]


async def test_a_conversation_from_the_first_message_to_the_rating(gateway, client, anna, eventually):
    customer = await Customer.arrives(client)
    asked = await customer.says("你好", "m1")
    assert await customer.says("你好", "m1") == asked, "a retry is the same message"
    reply = await customer.hears("bot")
    assert reply["in_reply_to"] == "m1"

    await customer.says("我要转人工", "m2")
    offer = await eventually(lambda: anna.desk(customer.id), "an offer", 60)
    assert offer["standing"] == "offered"
    assert (await anna.post(f"assignments/{offer['assignment_id']}/accept")).status_code == 200
    mine = f"conversations/{customer.id}"
    assert (await anna.post(f"{mine}/read", message_id="m2")).status_code == 200
    written = await anna.post(f"{mine}/messages", text="您好，我是安娜", in_reply_to="m2", message_id="w1")
    assert written.status_code == 202, written.text
    assert (await customer.hears("agent"))["text"] == "您好，我是安娜"
    await customer.post("read", message_id="w1")
    complaint = (await customer.post("complaints", category="质量")).json()["complaint_id"]
    assert (await anna.post(f"{mine}/hold", reason="问仓库")).status_code == 200
    assert (await anna.post(f"{mine}/resume")).status_code == 200
    assert (await anna.post(f"{mine}/complaints/{complaint}/close")).status_code == 200
    assert (await anna.post(f"{mine}/close", resolved=True)).status_code == 200
    await customer.post("rating", score=5)

    told = await eventually(lambda: _told(gateway, customer.id, "conversation.rated"), "everything in Kafka")
    assert types(told) == [
        "message.received", "message.sent", "message.received", "assignment.accepted", "message.read", "message.sent",
        "message.read", "complaint.opened", "conversation.held", "conversation.resumed", "complaint.closed",
        "conversation.closed", "conversation.rated",
    ]  # fmt: skip
    bot = told[1]["data"]
    assert (bot["author"]["kind"], bot["in_reply_to"], bot["text"]) == ("bot", "m1", reply["text"])
    assert bot["reply_id"]
    assert len({value["id"] for value in told}) == len(told)
    # deskline heard the close: nothing is left on the desk.
    assert await anna.desk(customer.id) is None
    shown = (await client.get("/metrics")).text
    (delivered,) = re.findall(r'^deskline_gateway_replies_total\{fate="delivered"\} (\S+)', shown, re.MULTILINE)
    assert float(delivered) >= 1
    stack = json.loads((gateway.state_dir / "stack.json").read_text())
    delays = (await client.get(f"{stack['services']['autoreply'][0]['http']}/metrics")).text
    for stage in ("to_broker", "to_decision"):
        (count,) = re.findall(
            rf'^deskline_message_delay_seconds_count{{channel="web",stage="{stage}"}} (\S+)', delays, re.MULTILINE
        )
        assert float(count) >= 2, stage


async def _told(gateway: Running, conversation_id: str, last: str) -> list[dict] | None:
    told = await gateway.told(conversation_id)
    return told if last in types(told) else None


async def test_a_transfer_reaches_the_colleague(client, anna, eventually):
    ben = Agent(client, "ben")
    customer = await Customer.arrives(client)
    await customer.says("转人工")
    offer = await eventually(lambda: anna.desk(customer.id), "an offer", 60)
    await anna.post(f"assignments/{offer['assignment_id']}/accept")
    await ben.comes()
    try:
        answer = await anna.post(f"conversations/{customer.id}/transfer", to={"agent_id": "ben"}, note="请接手")
        assert answer.status_code == 200, answer.text
        refused = await anna.post(f"conversations/{customer.id}/messages", text="还有……")
        assert refused.json()["code"] == "not_yours"
        offer = await eventually(lambda: ben.desk(customer.id), "the transfer", 60)
        assert offer["cause"] == "transfer"
        # By writing he takes it.
        written = await ben.post(f"conversations/{customer.id}/messages", text="您好，我是小本")
        assert written.status_code == 202, written.text
        assert (await customer.hears("agent"))["author"]["id"] == "ben"
        await ben.post(f"conversations/{customer.id}/close", resolved=True)
    finally:
        await ben.is_("offline")


async def test_killed_at_any_moment_it_delivers_each_reply_once_and_loses_no_message(gateway, client, eventually):
    """Kill -9 after a message was taken, after a reply was sent, and after it was confirmed."""
    customers = [await Customer.arrives(client) for _ in range(3)]
    for number, customer in enumerate(customers):
        await customer.says("在吗", f"m{number}")
    gateway.stop(signal.SIGKILL)  # what was taken may not be in Kafka, and of replies nothing is known
    gateway.start()

    seen = []
    for customer in customers:
        async with _screen(gateway, customer, 0) as socket:
            seen.append(await _next(socket, "bot"))
    # The first has confirmed it, and it is not yet told; the others have had no time to.
    customers[0].after = seen[0]["seq"]
    await customers[0].confirms()
    gateway.stop(signal.SIGKILL)
    gateway.start()

    # The second shows it already: it is not sent again, and its number confirms it. The third has lost its screen: again.
    async with _screen(gateway, customers[1], seen[1]["seq"]) as socket:
        frame = json.loads(await socket.recv())
        assert "message" not in frame, frame
    async with _screen(gateway, customers[2], 0) as socket:
        again = await _next(socket, "bot")
        assert again["seq"] == seen[2]["seq"], "by its number a screen knows it"
        customers[2].after = again["seq"]
        await customers[2].confirms()
    gateway.stop(signal.SIGKILL)
    gateway.start()

    for number, customer in enumerate(customers):
        told = await eventually(lambda one=customer: _told(gateway, one.id, "message.sent"), "the delivery", 60)
        # What was in the outbox at a kill may stand twice: the same bytes.
        by_id = {value["id"]: value for value in told}
        assert all(by_id[value["id"]] == value for value in told)
        assert sorted(types(list(by_id.values()))) == ["message.received", "message.sent"]
        received, sent = sorted(by_id.values(), key=lambda value: value["type"])
        assert received["data"]["message_id"] == sent["data"]["in_reply_to"] == f"m{number}"
        async with _screen(gateway, customer, 0) as socket:
            assert (await _next(socket, "bot"))["text"] == sent["data"]["text"], "the history has it"
        await customer.post("close", resolved=True)


@contextlib.asynccontextmanager
async def _screen(gateway: Running, customer: Customer, after: int):
    address = f"ws://127.0.0.1:{gateway.port}/v1/conversations/{customer.id}/socket"
    async with connect(address) as socket:
        await socket.send(json.dumps({"token": customer.token, "after": after}))
        yield socket


async def _next(socket, kind: str) -> dict:
    async with asyncio.timeout(60):
        while True:
            message = json.loads(await socket.recv()).get("message")
            if message is not None and message["author"]["kind"] == kind:
                return message


async def test_who_shows_no_token_or_sends_nonsense_is_told_so(gateway, client):
    customer = await Customer.arrives(client)
    path = f"/v1/conversations/{customer.id}/messages"
    assert (await client.post(path, json={"text": "x"})).status_code == 401
    assert (await client.put("/v1/agents/anna/status", json={"status": "online"})).status_code == 401
    assert (await client.post("/v1/agents/nobody/session", json={})).status_code == 404
    for body in (
        {},
        {"text": 1},
        {"text": "x", "message_id": ""},
        {"text": "x" * 20_001},
        {"text": "\ud800"},
        {"txt": "x"},
    ):
        answer = await client.post(
            path, content=json.dumps(body), headers={**customer.headers, "Content-Type": "application/json"}
        )
        assert answer.status_code == 422, body
        assert answer.json()["code"] == "invalid"
    huge = await client.post(path, content=b"x" * 300_000, headers=customer.headers)
    assert huge.status_code == 413
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/conversations/{customer.id}/socket") as socket:
        await socket.send("no json")
        await socket.wait_closed()
        assert socket.close_code == 4401
    assert (await client.get("/livez")).status_code == 200


async def test_it_stops_at_once_though_people_wait_and_comes_back_to_them(gateway, client):
    customer = await Customer.arrives(client)
    taken = await customer.says("转人工")
    log = gateway.state_dir / "gateway.log"
    before = len(log.read_text())
    path, query = f"/v1/conversations/{customer.id}/messages", {"after": taken["seq"], "wait_s": 25}
    poll = asyncio.create_task(client.get(path, params=query, headers=customer.headers))
    async with _screen(gateway, customer, taken["seq"]) as socket:
        assert "state" in json.loads(await socket.recv())
        begun = time.monotonic()
        assert await asyncio.to_thread(gateway.stop) == 0
        assert time.monotonic() - begun < 15
        assert (await poll).json()["messages"] == []
    assert "Traceback" not in log.read_text()[before:]
    gateway.start()
    assert (await client.get(path, headers=customer.headers)).json()["messages"][0]["text"] == "转人工"
    await customer.post("close", resolved=False)


# --- tools ----------------------------------------------------------------------------------------------------------


def test_the_postman_collection_passes(gateway, tmp_path):
    folder = ROOT / "examples" / "gateway" / "postman"
    newman = shutil.which("newman", path=f"{folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if newman is None:
        pytest.skip("newman is not installed (npm ci in examples/gateway/postman)")
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            newman, "run", folder / "deskline-gateway.postman_collection.json", "--color", "off", "--reporters", "cli,json",
            "--reporter-json-export", report, *("--env-var", f"base={gateway.address}"), *("--env-var", "shop=_default"),
            *("--env-var", "agent=anna"),
        ],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(report.read_text())["run"]["executions"]) >= 28


# --- pages ----------------------------------------------------------------------------------------------------------


def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    return found


async def test_one_person_plays_both_sides_in_a_browser(gateway, tmp_path):
    executable = chromium()
    from playwright.async_api import async_playwright, expect

    problems: list[str] = []
    async with async_playwright() as playwright:
        # As root Chromium's sandbox cannot be had.
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            customer, agent = [await (await browser.new_context()).new_page() for _ in range(2)]
            for page in (customer, agent):
                page.set_default_timeout(60_000)
                page.on("pageerror", lambda error: problems.append(str(error)))
                page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            expect.set_options(timeout=60_000)

            await agent.goto(f"{gateway.address}/agent.html")
            await agent.select_option("#agent", "anna")
            await agent.click("#login [type=submit]")
            await expect(agent.locator("[data-status=online]")).to_have_attribute("aria-pressed", "true")

            await customer.goto(f"{gateway.address}/customer.html")
            await customer.fill("#name", "小明")
            await customer.select_option("#tier", "vip")
            await customer.click("#begin [type=submit]")
            await say(customer, "你好")
            await expect(customer.locator("#messages li.bot")).to_contain_text("请问有什么可以帮您")
            await say(customer, "<b>转人工</b>")

            await agent.click("#conversations .accept")
            await expect(agent.locator("#open #messages li").last).to_contain_text("<b>转人工</b>")
            await say(agent, "您好，我是安娜")
            await expect(customer.locator("#messages li.agent")).to_contain_text("您好，我是安娜")
            await expect(customer.locator("#messages li.mine").last).to_contain_text("已读")
            await expect(agent.locator("#open #messages li.mine")).to_contain_text("已读")

            # A reload loses nothing and shows nothing twice.
            await customer.reload()
            await expect(customer.locator("#messages li")).to_have_count(4)
            await customer.click(".chat .switch-language")
            await expect(customer.locator("#close")).to_have_text("End")

            await agent.click("#resolved")
            await expect(customer.locator("#rating")).to_be_visible()
            await customer.click("[data-score='5']")
            await expect(customer.locator("#queue")).to_have_text("Thank you!")
            await expect(agent.locator("#conversations li")).to_have_count(0)
            await customer.screenshot(path=tmp_path / "customer.png")
            await agent.click("#log-out")
            await expect(agent.locator("#login")).to_be_visible()
        finally:
            await browser.close()
    assert problems == []


async def say(page, text: str) -> None:
    await page.fill("#text", text)
    await page.click("#say [type=submit]")
