"""A breach does something: sla and router together on real Kafka and PostgreSQL, from the hand-over to who has it in the end."""

import pytest
from tests.fixtures.deployment import Deployment
from tests.kafka.test_router_service import asked, rules_broken, status
from tests.kafka.test_sla_service import CALENDARS, PATIENCE_S

from deskline.clock import now_us
from deskline.records import ROUTING, SLA

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

AGENTS = """
agents:
  - {agent_id: anna, capacity: 1, skills: {refund: 2}}
  - {agent_id: bo, capacity: 1, skills: {tea: 2}}
  - {agent_id: sue, grade: supervisor, capacity: 1}
"""
ROUTES = "mode: assigned\nrules: [{rule_id: any, steps: [{}]}]\n"
LIMITS = "patience_s: 600\n"
SLA_RULES = """
policies: [{policy_id: p, targets: {instant_reply: 0, agent_response: 2, next_response: 0}}]
warnings: []
on_breach: [raise_priority, call_supervisor]
reassign_after: 1
"""


async def test_a_breach_raises_the_priority_of_who_waits_and_takes_it_back_from_who_does_not_answer(
    topics, tmp_path, eventually
):
    desk = Deployment(topics, 4)
    documents = {"calendars": CALENDARS, "agents": AGENTS, "limits": LIMITS, "routing": ROUTES, "sla": SLA_RULES}
    await desk.configure(tmp_path, documents)

    async def routed():
        outs = await desk.told(ROUTING)
        return {
            subject: [
                f"{out.value['type'].split('.')[1]} {out.data.get('agent_id') or out.data.get('priority')} {out.data.get('reason', '')}".strip()
                for out in outs
                if out.value["subject"] == subject
            ]
            for subject in ("c-has", "c-waits")
        }

    async with desk.running("router"), desk.running("sla"):
        at = now_us()
        # anna is given the first and does not answer; nobody who knows tea is there for the second.
        await desk.send([status("anna", at, "online"), *asked("c-has", at, "m-1", skills=("refund",))])
        await eventually(lambda: desk.has_told(ROUTING, 2), "assigned", PATIENCE_S)
        await desk.send(asked("c-waits", now_us(), "m-2", skills=("tea",)))

        async def acted():
            found = await routed()
            return any("revoked" in word for word in found["c-has"]) and "queued 70" in found["c-waits"]

        await eventually(acted, "taken back, and raised", PATIENCE_S)
        found = await routed()
    assert found["c-waits"][:2] == ["queued 50", "queued 70"], "nobody has it, and it waits before others now"
    assert found["c-has"][:2] == ["queued 50", "assigned anna"]
    assert "revoked anna reassigned" in found["c-has"]
    told = {(out.value["subject"], out.value["type"]): out.data.get("actions") for out in await desk.told(SLA)}
    assert told["c-has", "sla.breached.v1"] == ["raise_priority", "call_supervisor", "reassign"]


CALLING = """
policies: [{policy_id: p, targets: {instant_reply: 0, agent_response: 2, next_response: 0}}]
warnings: []
on_breach: [remind, call_supervisor]
"""


async def test_a_breach_calls_a_supervisor_who_gets_what_nobody_took_and_what_nobody_answered(
    topics, tmp_path, eventually
):
    desk = Deployment(topics, 4)
    two = AGENTS.replace("grade: supervisor, capacity: 1", "grade: supervisor, capacity: 2")
    documents = {"calendars": CALENDARS, "agents": two, "limits": LIMITS, "routing": ROUTES, "sla": CALLING}
    await desk.configure(tmp_path, documents)

    async def assigned():
        outs = await desk.told(ROUTING)
        return [
            (out.value["subject"], out.data["agent_id"])
            for out in outs
            if out.value["type"] == "conversation.assigned.v1"
        ]

    async with desk.running("router"), desk.running("sla"):
        at = now_us()
        # sue is there all the time and knows neither refunds nor tea: by the rules she gets nothing.
        await desk.send([status("anna", at, "online"), status("sue", at, "online")])
        await desk.send([*asked("c-has", at, "m-1", skills=("refund",)), *asked("c-waits", at, "m-2", skills=("tea",))])

        async def called():
            return {("c-has", "sue"), ("c-waits", "sue")} <= set(await assigned())

        await eventually(called, "the supervisor has both", PATIENCE_S)
    assert sorted(await assigned()) == [("c-has", "anna"), ("c-has", "sue"), ("c-waits", "sue")]
    breached = {out.value["subject"]: out for out in await desk.told(SLA) if out.value["type"] == "sla.breached.v1"}
    for out in await desk.told(ROUTING):
        if out.value["type"] == "conversation.assigned.v1" and out.data["agent_id"] == "sue":
            assert out.data["explanation"]["required"] == {"skills": [], "grades": ["supervisor"]}
            assert out.value["time"] >= breached[out.value["subject"]].data["due_at"]
        if out.value["type"] == "assignment.revoked.v1":
            assert (out.value["subject"], out.data["reason"]) == ("c-has", "reassigned")
        assert await rules_broken(desk, eventually) == []
