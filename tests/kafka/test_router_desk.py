"""``/desk`` on real Kafka and PostgreSQL: who may look and order, what an order does whichever instance is asked, and that the
document says what is answered.
"""

import asyncio
import json
import socket
import urllib.error
import urllib.request

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.fixtures.deployment import Deployment, said
from tests.kafka.test_router_service import asked, rules_broken, status, told

from deskline.access import give
from deskline.clock import now_us
from deskline.records import ROUTING, SHOPS
from deskline_router.desk.web import document
from deskline_router.simulation.replay_store import verify

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PARTITIONS = 4
AGENTS = """
agents:
  - {agent_id: anna, capacity: 2, skills: {refund: 4}}
  - {agent_id: bo, capacity: 1}
  - {agent_id: boss, grade: supervisor, capacity: 3}
"""
ROUTES = """
surge: {enter: {queue: 50}, leave: {queue: 10}, calm_s: 1}
rules:
  - {rule_id: any, steps: [{proficiency: 2}]}
"""


class Surface:
    """One instance's address, and everybody's tokens."""

    def __init__(self, port: int, tokens: dict[str, str]) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.tokens = tokens

    def ask(
        self, who: str | None, path: str, body: object = None, *, post: bool = False, key: str = ""
    ) -> tuple[int, dict]:
        headers = {"content-type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        data = json.dumps(body or {}).encode() if post or body is not None else None
        request = urllib.request.Request(f"{self.address}/desk{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, {}

    async def get(self, who: str | None, path: str) -> tuple[int, dict]:
        return await asyncio.to_thread(self.ask, who, path)

    async def post(self, who: str | None, path: str, body: object = None, key: str = "") -> tuple[int, dict]:
        return await asyncio.to_thread(self.ask, who, path, body, post=True, key=key)

    async def ready(self) -> bool:
        return (await self.get("probe", "/agents"))[0] == 200


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
async def desk(topics, tmp_path, monkeypatch):
    """A deployment, and tokens for anna, bo (agents), boss (supervisor) and two readers."""
    file = tmp_path / "tokens"
    roles = {"anna": "agent", "bo": "agent", "boss": "supervisor", "reader": "reader", "probe": "reader"}
    monkeypatch.setenv("DESKLINE_ROUTER_TOKENS", str(file))
    monkeypatch.setenv("DESKLINE_ROUTER_REQUESTS_PER_S", "1000")
    made = Deployment(topics, PARTITIONS)
    folder = tmp_path / "conf"
    limits = "patience_s: 600\noffline_grace_s: 2\n"
    await made.configure(folder, {"agents": AGENTS, "limits": limits, "routing": ROUTES})
    made.tokens = {name: give(file, name, role) for name, role in roles.items()}  # type: ignore[attr-defined]
    made.file = file  # type: ignore[attr-defined]
    return made


def surface(desk) -> Surface:
    return Surface(free_port(), desk.tokens)


def at_port(made: Surface) -> dict[str, int]:
    return {"http_port": int(made.address.rpartition(":")[2])}


async def test_people_look_and_order_at_any_instance_and_the_log_says_who(desk, eventually):
    one, two = surface(desk), surface(desk)
    async with (
        desk.process("router", **at_port(one)),
        desk.process("router", instance="2", **at_port(two)),
        desk.process("archive"),
    ):
        await eventually(one.ready, "the first answers", 60)
        await eventually(two.ready, "the second answers", 60)
        at = now_us()
        await desk.send([status(name, at, "online") for name in ("anna", "bo", "boss")])
        # Nobody has this skill: they wait until somebody orders.
        subjects = [f"c-{n}" for n in range(6)]
        await desk.send(record for n, s in enumerate(subjects) for record in asked(s, at + n, skills=("tax",)))
        await eventually(told(desk, 6), "queued", 30)

        # Looking, at either of them.
        for look in (one, two):
            code, found = await look.get("reader", "/shops/teahouse/queue?limit=4")
            assert (code, found["waiting"]) == (200, 6)
            assert [row["conversation_id"] for row in found["requests"]] == subjects[:4]
            assert [row["position"] for row in found["requests"]] == [1, 2, 3, 4]
            _, found = await look.get("anna", "/agents?shop_id=teahouse")
            assert {row["agent_id"]: row["status"] for row in found["agents"]} == dict.fromkeys(
                ("anna", "bo", "boss"), "online"
            )

        # Ordering: half of the conversations belong to the other instance.
        for n, subject in enumerate(subjects[:2]):
            code, done = await (one, two)[n % 2].post("anna", f"/conversations/{subject}/pick")
            assert (code, done["state"], done["actor"]) == (200, "done", "anna"), done
        code, refused = await one.post("anna", f"/conversations/{subjects[2]}/pick")
        assert (code, refused["code"]) == (409, "full")
        code, done = await two.post("boss", f"/conversations/{subjects[2]}/assign", {"agent_id": "bo"}, key="k-1")
        assert (code, done["state"]) == (200, "done"), done
        # Again with the same key, at the other one: the same action.
        assert await one.post("boss", f"/conversations/{subjects[2]}/assign", {"agent_id": "bo"}, key="k-1") == (
            200,
            done,
        )
        assert (await one.post("boss", f"/conversations/{subjects[3]}/assign", {"agent_id": "bo"}, key="k-1"))[0] == 409
        assert (await two.get("boss", f"/actions/{done['action_id']}"))[1] == done
        assert (await two.get("anna", f"/actions/{done['action_id']}"))[0] == 404
        # A take-over, and a hand-over by whom it belongs to.
        code, done = await one.post("boss", f"/conversations/{subjects[2]}/assign", {"agent_id": "boss"})
        assert code == 200, done
        assert (await two.post("bo", f"/conversations/{subjects[0]}/transfer"))[1]["code"] == "not_yours"
        code, done = await two.post("anna", f"/conversations/{subjects[0]}/transfer", {"agent_id": "bo"})
        assert code == 200, done

        # Pause and surge are about no conversation: whoever is first decides.
        code, done = await one.post("boss", "/agents/boss/pause")
        assert code == 200, done
        assert (await two.post("boss", f"/conversations/{subjects[4]}/assign", {"agent_id": "boss"}))[1][
            "code"
        ] == "paused"
        code, done = await two.post("boss", "/agents/boss/resume")
        assert code == 200, done
        for word in ("on", "off"):
            code, done = await two.post("boss", f"/shops/teahouse/surge/{word}")
            assert code == 200, done

        _, found = await one.get("reader", "/assignments?agent_id=anna")
        assert [row["conversation_id"] for row in found["assignments"]] == [subjects[1]]
        code, found = await two.get("reader", f"/conversations/{subjects[3]}")
        assert (code, found["request"]["state"]) == (200, "queued")
        assert (await two.get("reader", "/conversations/nobody"))[1]["story_missing"]

        async def story_told() -> bool:
            _, found = await two.get("reader", f"/conversations/{subjects[2]}?lang=en")
            return any("By boss." in line["text"] and "given to bo" in line["text"] for line in found["story"])

        await eventually(story_told, "the archive has it", 60)

        async def decided_again() -> bool:
            checked = await verify(desk.settings, None, now_us())
            assert checked.outputs > 10
            return checked.different == 0

        await eventually(decided_again, "the decision log has what was ordered", 30)

        orders = {
            ("assigned", "anna", "anna"), ("assigned", "bo", "boss"), ("revoked", "bo", "boss"), ("assigned", "boss", "boss"),
            ("released", "anna", "anna"), ("queued", None, "anna"),
        }  # fmt: skip

        async def orders_told() -> bool:
            outs = await desk.told(ROUTING)
            kinds = {(out.value["type"].split(".")[1], out.data.get("agent_id"), out.data.get("actor")) for out in outs}
            return orders <= kinds

        # What one instance decides for the other's partitions, the other may publish a second later.
        await eventually(orders_told, "published", 30)

        async def words() -> list[tuple[str, str | None, str | None]]:
            outs = [out for out in await desk.told(SHOPS) if out.value["type"].startswith("routing.")]
            return [(out.value["type"], out.data.get("actor"), out.data.get("cause")) for out in outs]

        wanted = [
            ("routing.agent_paused.v1", "boss", None),
            ("routing.agent_resumed.v1", "boss", None),
            ("routing.surge_entered.v1", "boss", "manual"),
            ("routing.surge_left.v1", "boss", "manual"),
        ]

        async def words_told() -> bool:
            return len(await words()) >= len(wanted)

        await eventually(words_told, "published", 30)
        assert await words() == wanted
        assert await rules_broken(desk, eventually, "2", "3", "5") == []


async def test_roles_tokens_and_rates_keep_people_to_what_is_theirs(desk, eventually, monkeypatch):
    monkeypatch.setenv("DESKLINE_ROUTER_REQUESTS_PER_S", "5")
    here = surface(desk)
    async with desk.process("router", **at_port(here)):
        await eventually(here.ready, "it answers", 60)
        assert (await here.get(None, "/agents"))[0] == 401
        assert (await here.get("wrong", "/agents"))[0] == 403
        may_not = [
            ("reader", "/conversations/c-1/pick", None),
            ("reader", "/agents/reader/pause", None),
            ("anna", "/conversations/c-1/assign", {"agent_id": "anna"}),
            ("anna", "/agents/bo/pause", None),
            ("anna", "/shops/teahouse/surge/on", None),
        ]
        for who, path, body in may_not:
            assert (await here.post(who, path, body))[1]["code"] == "role", (who, path)
            await asyncio.sleep(0.2)
        assert (await here.post("boss", "/conversations/c-1/assign", {"agent_id": "anna", "more": 1}))[0] == 422
        assert (await here.post("boss", "/conversations/nobody/assign", {"agent_id": "anna"}))[1]["code"] == "unknown"
        codes = [(await here.get("bo", "/agents"))[0] for _ in range(30)]
        assert codes[:10] == [200] * 10
        assert 429 in codes
        # Nobody else waits for him; and a token that is taken away is refused at once.
        assert (await here.get("boss", "/agents"))[0] == 200
        lines = desk.file.read_text().splitlines()
        desk.file.write_text("".join(f"{line}\n" for line in lines if " boss " not in line))
        assert (await here.get("boss", "/agents"))[0] == 403


async def test_an_order_survives_who_was_asked_and_is_decided_when_the_lane_has_an_owner_again(desk, eventually):
    one, two = surface(desk), surface(desk)
    at = now_us()
    async with desk.process("router", **at_port(one)) as first:
        await eventually(one.ready, "it answers", 60)
        await desk.send([status("anna", at, "online"), *asked("c-1", at, skills=("tax",))])
        await eventually(told(desk, 1), "queued", 30)
        first.kill()
        await first.wait()
    async with desk.process("router", instance="2", **at_port(two)):
        await eventually(two.ready, "the other answers", 60)
        # Whoever is gone holds the partitions until his session ends: until then it is kept.
        code, done = await two.post("anna", "/conversations/c-1/pick", key="mine")
        assert code in (200, 202), done
        await desk.send([status("anna", now_us(), "online")])

        async def decided() -> bool:
            return (await two.get("anna", f"/actions/{done['action_id']}"))[1]["state"] == "done"

        await eventually(decided, "decided", 30)
        assert (await two.post("anna", "/conversations/c-1/pick", key="mine"))[0] == 200
    assert [out.data.get("actor") for out in await desk.told(ROUTING)] == [None, "anna"]


async def test_schemathesis_finds_no_answer_that_the_document_does_not_know(desk, eventually):
    here = surface(desk)
    async with desk.process("router", **at_port(here)):
        await eventually(here.ready, "it answers", 60)
        at = now_us()
        await desk.send([status("anna", at, "online"), said("c-1", at, "m-1"), *asked("c-2", at, skills=("tax",))])
        await eventually(told(desk, 1), "queued", 30)
        await asyncio.to_thread(_fuzz, here)
        assert (await here.get("reader", "/agents"))[0] == 200


def _fuzz(here: Surface) -> None:
    schema = schemathesis.openapi.from_dict(document())
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @examples(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def run(case) -> None:
            nonlocal count
            count += 1
            who = ("boss", "anna", "reader")[count % 3]
            if case.path_parameters and "conversation_id" in case.path_parameters and count % 2:
                case.path_parameters["conversation_id"] = ("c-1", "c-2")[count // 2 % 2]
            headers = {"Authorization": f"Bearer {here.tokens[who]}"}
            response = case.call(base_url=here.address, headers=headers)
            case.validate_response(response, checks=checks, additional_checks=[])

        run()
    assert count > 50
