"""Recorded requests under another policy: what is read from events, and what is compared."""

import pytest
from tests.unit.router_driver import Driver, agent, at

from deskline.config.documents import RoutingCondition, RoutingDocument, RoutingRule, Step
from deskline.events.models import AgentStatusChanged
from deskline.events.wire import decode, new
from deskline.records import AGENTS, ROUTING, Event, Record
from deskline_router.simulation.recorded import recorded
from deskline_router.simulation.whatif import as_recorded, compared, simulated
from deskline_router.telling import id_of, output

ANYBODY = RoutingRule(rule_id="any", steps=(Step(keep_skills=False),))
VIPS_TO_SENIORS = RoutingRule(
    rule_id="vip", when=RoutingCondition(tiers=("vip",)), steps=(Step(grades=("senior",), wait_s=60), Step())
)
TEAM = [agent("anna", capacity=1), agent("zoe", capacity=1, grade="senior")]


def events_of(driver):
    """What an archive would hold of it."""
    found = list(driver.inputs)
    for number, one in enumerate(driver.said):
        out = output(one, id_of(one))
        found.append(decode(Record(ROUTING, 0, number, one.at // 1000 * 1000, out.key, out.value, ())))
    for number, one in enumerate(driver.statuses):
        data = new(AgentStatusChanged, agent_id=one.agent_id, status=one.status.value, capacity=one.capacity)
        found.append(
            Event(
                "agent.status_changed.v1",
                one.event_id,
                "/x",
                one.agent_id,
                one.at,
                False,
                data,
                AGENTS,
                0,
                number,
                one.at,
            )
        )
    return sorted(found, key=lambda event: (event.at, event.topic == ROUTING))


def day():
    """Anna takes a VIP, Zoe a regular customer; a third one leaves after 20 s; the VIP comes again and gets Anna."""
    driver = Driver(TEAM, RoutingDocument(rules=(ANYBODY,))).online("anna", "zoe")
    driver.t = 10
    driver.received("m1", "c1", tier="vip", customer="k1")
    driver.handover("m1", "c1")
    driver.t = 12
    driver.received("m1", "c2", customer="k2")
    driver.handover("m1", "c2")
    driver.t = 15
    driver.sent("anna", "c1")
    driver.received("m1", "c3", customer="k3")
    driver.handover("m1", "c3")
    driver.t = 35
    driver.closed("c3")
    driver.t = 100
    driver.closed("c1")
    driver.t = 130
    driver.closed("c2")
    driver.t = 200
    driver.received("m2", "c4", tier="vip", customer="k1")
    driver.handover("m2", "c4")
    driver.t = 230
    driver.closed("c4")
    return driver


def test_what_happened_is_read_from_the_events():
    found = recorded(events_of(day()), at(0), at(1000))
    cases = {case.conversation: case for case in found.cases}
    assert {name: case.agent_id for name, case in cases.items()} == {
        "c1": "anna",
        "c2": "zoe",
        "c3": None,
        "c4": "anna",
    }
    assert [(case.ended - case.opened) / 1e6 for case in found.cases] == [90, 118, 20, 30]
    assert cases["c1"].answered == at(15)
    assert cases["c1"].own_agent is None
    assert cases["c4"].own_agent == "anna"
    assert {shift.agent_id: shift.begin for shift in found.shifts} == {"anna": at(0), "zoe": at(0)}


def columns(rules):
    driver = day()
    found = recorded(events_of(driver), at(0), at(1000))
    new_driver = Driver(TEAM, RoutingDocument(rules=rules))
    people = {one.agent_id: one for one in TEAM}
    return {
        "recorded": as_recorded(found),
        "simulated": simulated(
            found, Driver(TEAM, RoutingDocument(rules=(ANYBODY,))).catalog, people, "shop", offers=False
        ),
        "new": simulated(found, new_driver.catalog, people, "shop", offers=False),
    }


def test_the_same_policy_gives_what_happened():
    ways = columns((ANYBODY,))
    assert [(way.agent_id, way.wait) for way in ways["simulated"]] == [
        (way.agent_id, way.wait) for way in ways["recorded"]
    ]
    found = compared(ways, 180)
    assert found["elsewhere"] == []
    recorded, same = (found["columns"][name]["tiers"]["all"] for name in ("recorded", "simulated"))
    assert recorded == same
    assert recorded["sla"] == 0.25
    assert (found["elsewhere_simulated"], found["moved_by_policy"]) == (0, 0)


def test_another_policy_sends_elsewhere_whom_it_would_and_says_what_that_does():
    found = compared(columns((VIPS_TO_SENIORS, ANYBODY)), 180)
    assert [(one["conversation"], one["recorded"], one["new"]) for one in found["elsewhere"]] == [
        ("c1", "anna", "zoe"), ("c2", "zoe", "anna"), ("c4", "anna", "zoe"),
    ]  # fmt: skip
    new = found["columns"]["new"]
    assert found["columns"]["recorded"]["tiers"]["vip"]["sticky"] == 1
    assert new["tiers"]["vip"]["sticky"] == 0
    assert new["agents"] == {"anna": 1, "zoe": 2}
    assert new["tiers"]["all"]["served"] == 3
    assert new["tiers"]["all"]["max_s"] == pytest.approx(20)
