"""What people at a desk order: done whole or refused whole, by name, and never above what an agent can take."""

import pytest
from tests.unit.router_driver import SHOP, Driver, agent, told

from deskline.config.documents import LimitsDocument, RoutingDocument, RoutingRule, Step
from deskline.config.routing_document import Surge, Threshold
from deskline.records import SHOPS
from deskline_router.policy.surge import measures
from deskline_router.telling import pause_id, pause_output

RULES = (RoutingRule(rule_id="r", steps=(Step(proficiency=3, wait_s=60), Step(proficiency=2))),)


def desk(mode="assigned", **routing) -> Driver:
    """A request that asks for ``tax``, which nobody has; anna has room for two, bo for one."""
    driver = Driver(
        [agent("anna", capacity=2), agent("bo", capacity=1), agent("boss", grade="supervisor")],
        RoutingDocument(mode=mode, rules=RULES, **routing),
        LimitsDocument(),
    )
    return driver.online("anna", "bo", "boss")


def waiting(subject="c1", mode="assigned", **routing) -> Driver:
    driver = desk(mode, **routing)
    driver.asked("m1", subject, skills=("tax",))
    return driver


def last(driver, count):
    return driver.said[-count:]


def actors(said):
    return [emission.data.get("actor") for emission in said]


@pytest.mark.parametrize("mode", ["assigned", "offered"])
def test_a_supervisor_assigns_what_waits_whatever_it_asks_for(mode):
    driver = waiting(mode=mode)
    outcome = driver.act("assign", "boss", "c1", agent_id="bo")
    assert (outcome.done, outcome.code, outcome.assignment_id) == (True, "done", driver.request().assignment_id)
    (assigned,) = last(driver, 1)
    assert told([assigned]) == ["assigned bo"]
    assert (assigned.data["actor"], assigned.data["mode"], assigned.data["load"]) == ("boss", "assigned", 1)
    assert assigned.data["explanation"]["required"]["skills"] == [{"skill": "tax", "proficiency": 3}]
    assert driver.owner() == "bo"


def test_what_the_policy_does_next_bears_nobodys_name():
    driver = waiting()
    driver.act("assign", "boss", "c1", agent_id="bo")
    driver.asked("m1", "c2")
    assert [a for a in actors(driver.said) if a] == ["boss"]


def test_a_take_over_ends_the_others_assignment_first():
    driver = desk()
    driver.asked("m1")
    assert driver.owner() == "anna"
    assert driver.act("assign", "boss", "c1", agent_id="boss").done
    said = last(driver, 3)
    assert told(said) == ["revoked reassigned", "queued", "assigned boss"] or told(said)[-2:] == [
        "revoked reassigned",
        "assigned boss",
    ]
    assert set(actors(last(driver, 2))) == {"boss"}
    assert driver.world.agents["anna"].taken == 0


@pytest.mark.parametrize("mode", ["assigned", "offered"])
def test_an_agent_picks_what_waits_or_is_offered_to_him_and_nobody_elses(mode):
    driver = waiting(mode=mode)
    assert driver.act("pick", "anna", "c1", agent_id="anna").done
    assert driver.owner() == "anna"
    refused = driver.act("pick", "bo", "c1", agent_id="bo")
    assert (refused.done, refused.code) == (False, "taken")
    driver.asked("m1", "c2")
    if mode == "offered":
        holder = driver.request("c2").agent_id
        assert driver.act("pick", holder, "c2", agent_id=holder).done
        assert driver.owner("c2") == holder
    assert driver.act("pick", "bo", "c9", agent_id="bo").code == "not_waiting"


def test_status_pause_and_capacity_are_waived_for_nobody():
    driver = waiting()
    driver.asked("m1", "c2", skills=("tax",))
    assert driver.act("assign", "boss", "c1", agent_id="bo").done
    before = len(driver.said)
    assert driver.act("assign", "boss", "c2", agent_id="bo").code == "full"
    assert driver.act("assign", "boss", "c2", agent_id="stranger").code == "not_configured"
    driver.status("anna", "away")
    assert driver.act("assign", "boss", "c2", agent_id="anna").code == "not_online"
    driver.status("anna", "online")
    driver.act("pause", "boss", agent_id="anna")
    assert driver.act("assign", "boss", "c2", agent_id="anna").code == "paused"
    assert len(driver.said) == before


def test_a_full_agent_may_not_take_over_but_keeps_what_is_his():
    driver = waiting(mode="offered")
    driver.act("assign", "boss", "c1", agent_id="bo")
    driver.asked("m1", "c2")
    taken = driver.request("c2")
    assert taken.agent_id != "bo"
    assert driver.act("assign", "boss", "c2", agent_id="bo").code == "full"
    assert driver.request("c2").agent_id == taken.agent_id
    assert driver.act("assign", "boss", "c1", agent_id="bo").code == "has_it"


def test_an_open_conversation_without_a_request_gets_one_by_hand_and_a_closed_one_none():
    driver = desk()
    driver.received("m1")
    outcome = driver.act("assign", "boss", "c1", agent_id="bo")
    queued, assigned = last(driver, 2)
    assert outcome.done
    assert queued.data["cause"] == "manual"
    assert told([queued, assigned]) == ["queued", "assigned bo"]
    assert actors([queued, assigned]) == ["boss", "boss"]
    driver.t = 5
    driver.closed()
    driver.t = 6
    assert driver.act("assign", "boss", "c1", agent_id="bo").code == "not_open"
    assert driver.act("assign", "boss", "c7", agent_id="bo").code == "unknown"


def test_whom_a_complaint_is_about_is_not_given_it_by_hand_either():
    from deskline.config.routing_document import Complaints

    driver = desk(complaints=Complaints())
    driver.asked("m1")
    assert driver.owner() == "anna"
    driver.complaint("k1")
    assert driver.act("assign", "boss", "c1", agent_id="anna").code == "complaint"


def test_a_transfer_by_hand_is_one_of_its_owner():
    driver = desk()
    driver.asked("m1")
    assert driver.act("transfer", "bo", "c1", own_only=True).code == "not_yours"
    driver.t = 3
    assert driver.act("transfer", "anna", "c1", own_only=True, agent_id="bo").done
    assert told(last(driver, 3)) == ["released transferred", "queued", "assigned bo"]
    assert actors(last(driver, 3)) == ["anna", "anna", None]
    assert last(driver, 3)[1].data["cause"] == "transfer"
    driver.t = 6
    assert driver.act("transfer", "boss", "c1", agent_id="boss").done
    assert driver.owner() == "boss"


def test_what_is_handed_on_does_not_go_round_among_those_who_handed_it_on():
    driver = desk()
    driver.asked("m1")
    passed = [driver.owner()]
    for n in range(2):
        driver.t += 3
        driver.transfer(passed[-1])
        passed.append(driver.owner())
        assert n or driver.act("transfer", "nobody", "c1", own_only=True).code == "not_yours"
    assert sorted(passed) == ["anna", "bo", "boss"]
    driver.t += 3
    # By name he gets it back: it is asked for.
    driver.transfer(passed[-1], agent_id=passed[0])
    assert driver.owner() == passed[0]


def test_a_paused_agent_is_given_nothing_until_he_is_resumed_and_keeps_what_he_has():
    driver = desk()
    driver.asked("m1")
    assert driver.owner() == "anna"
    assert driver.act("pause", "boss", agent_id="anna").done
    (word,) = driver.world.pauses
    output = pause_output(word, pause_id(word))
    assert (output.topic, output.key) == (SHOPS, b"_default")
    assert b'"actor":"boss"' in output.value
    driver.asked("m1", "c2")
    driver.asked("m1", "c3")
    driver.asked("m1", "c4")
    assert driver.owner() == "anna"
    assert "anna" not in {driver.owner(subject) for subject in ("c2", "c3", "c4")}
    assert driver.act("pause", "boss", agent_id="anna").code == "paused"
    driver.status("anna", "online")
    assert driver.world.agents["anna"].paused
    assert driver.act("resume", "anna", agent_id="anna").done
    assert driver.act("resume", "anna", agent_id="anna").code == "not_paused"


def test_who_is_resumed_gets_what_waits_at_once():
    driver = desk()
    for name in ("bo", "boss"):
        driver.status(name, "offline")
    driver.act("pause", "boss", agent_id="anna")
    driver.asked("m1")
    assert driver.request().agent_id is None
    driver.act("resume", "boss", agent_id="anna")
    assert driver.owner() == "anna"


SURGE = Surge(enter=Threshold(queue=2), leave=Threshold(queue=0), calm_s=5, capacity_added=1)


def test_a_surge_by_hand_lasts_until_it_is_ended_by_hand():
    driver = desk(surge=SURGE)
    assert driver.act("surge_on", "boss", shop_id=SHOP).done
    assert driver.surges[-1].data["cause"] == "manual"
    assert driver.surges[-1].data["actor"] == "boss"
    assert driver.act("surge_on", "boss", shop_id=SHOP).code == "in_surge"
    driver.t = 60
    driver.unit()
    driver.t = 120
    driver.unit()
    assert driver.world.in_surge(SHOP)
    assert driver.act("surge_off", "boss", shop_id=SHOP).done
    assert not driver.surges[-1].entered
    assert driver.act("surge_off", "boss", shop_id=SHOP).code == "no_surge"
    assert desk().act("surge_on", "boss", shop_id=SHOP).code == "no_surge"


def test_a_surge_ended_by_hand_does_not_begin_again_by_itself_before_it_was_calm():
    driver = desk(surge=SURGE)
    for n in range(3):
        driver.asked("m1", f"c{n}", skills=("tax",))
    assert driver.world.in_surge(SHOP)
    assert driver.act("surge_off", "boss", shop_id=SHOP).done
    driver.t = 10
    driver.asked("m1", "c5", skills=("tax",))
    assert measures(driver.world, SHOP)["queue"] == 4
    assert not driver.world.in_surge(SHOP)
    for n in (0, 1, 2):
        driver.closed(f"c{n}")
    driver.asked("m1", "c6", skills=("tax",))
    driver.closed("c6")
    driver.t = 20
    for n in range(7, 10):
        driver.asked("m1", f"c{n}", skills=("tax",))
    assert driver.world.in_surge(SHOP)
