"""Rows of the routing scenarios by their letters, one test or table each; those of A to E that are about who is chosen
stand in ``test_router_matching``.

Left out, since the contract gives deskline no such thing: limits of a batch (A07) and of a department or everybody (D06 to
D15, apart from what they say of the agent's own), exclusion by age or label (C06, C08), a limit of the time in the queue
(C10, C12), sliding windows and wrap-up (D19, D23), bots and departments (E05), the inbox's own automation (F09, F13),
offline messages (H15), the three-minute rate (H19). G and H13 are about clocks. Judged otherwise: a capacity of 0 takes
nothing, it is not "no limit" (D08, D16).
"""

import pytest
from tests.unit.router_driver import Driver, agent, at, told

from deskline.config.documents import LimitsDocument, RoutingCondition, RoutingDocument, RoutingRule, Step
from deskline_router.model import Status

ANYBODY = RoutingDocument(rules=(RoutingRule(rule_id="any", steps=(Step(),)),))
OFFERED = ANYBODY.model_copy(update={"mode": "offered", "accept_s": 5, "pause_after_missed": 1})


def assigned(said):
    return [f"{e.subject} {e.data['agent_id']}" for e in said if "explanation" in e.data]


def test_a03_of_a_closed_and_an_open_conversation_only_the_open_one_is_assigned():
    driver = Driver([agent("anna")], ANYBODY)
    driver.asked("m1", "c1")
    driver.asked("m1", "c2")
    driver.closed("c1")
    assert assigned(driver.status("anna", "online")) == ["c2 anna"]


def test_a05_what_the_bot_answers_stays_with_the_bot():
    driver = Driver([agent("anna")], ANYBODY).online("anna")
    assert told(driver.received("m1") + driver.replied("m1") + driver.sent("autoreply", kind="bot")) == []
    assert told(driver.pass_to(3600)) == []
    assert driver.owner() is None


def test_a21_when_everybody_goes_the_next_request_waits_without_an_error():
    driver = Driver([agent("anna"), agent("bo")], ANYBODY).online("anna", "bo")
    driver.asked("m1", "c1")
    driver.status("anna", "away")
    driver.status("bo", "away")
    assert told(driver.asked("m1", "c2")) == ["queued"]


def test_b09_the_rotation_goes_on_without_him_who_is_no_longer_there():
    driver = Driver([agent("anna"), agent("bo"), agent("carl")], ANYBODY).online("anna", "bo", "carl")
    driver.asked("m1", "c1")  # anna
    driver.t = 1
    driver.status("bo", "away")
    assert assigned(driver.asked("m1", "c2")) == ["c2 carl"]
    driver.t = 2
    # anna and carl have one of five each; anna has gone longer without a new one.
    assert assigned(driver.asked("m1", "c3")) == ["c3 anna"]


def test_c04_who_comes_back_to_an_old_conversation_waits_since_he_came_back():
    driver = Driver([agent("anna")], ANYBODY)
    driver.asked("m1", "c1")
    driver.t = 10
    driver.closed("c1")
    driver.t = 3600
    driver.asked("m1", "c2")
    driver.t = 3601
    (again,) = driver.asked("m2", "c1")
    assert (again.data["position"], again.data["waiting_since"]) == (2, at(3601))


@pytest.mark.parametrize(
    ("row", "capacity", "load", "taken"),
    [
        ("d03", 1, 0, True),
        ("d04", 1, 1, False),
        ("d06: over all shops", 2, 2, False),
        ("d07: raised", 3, 2, True),
        ("d16: his own limit is what counts", 4, 8, False),
        ("judged: none", 0, 0, False),
    ],
)
def test_d_an_agent_takes_one_more_as_long_as_his_own_limit_allows(row, capacity, load, taken):
    del row
    driver = Driver([agent("anna")], ANYBODY)
    driver.status("anna", "online", capacity=10)
    for n in range(load):
        driver.asked("m1", f"had-{n}")
    driver.status("anna", "online", capacity=capacity)
    assert assigned(driver.asked("m1")) == (["c1 anna"] if taken else [])


def test_e03_without_a_step_that_asks_for_him_the_own_agent_has_no_precedence():
    driver = Driver([agent("anna"), agent("mine")], ANYBODY).online("anna", "mine")
    driver.asked("m1", "c0")  # anna
    driver.received("m1", dedicated_agent_id="anna")
    assert assigned(driver.handover("m1")) == ["c1 mine"]


def test_f01_h21_who_does_not_take_it_in_time_loses_it_to_another_and_is_paused():
    driver = Driver([agent("anna"), agent("bo")], OFFERED).online("anna")
    assert assigned(driver.asked("m1")) == ["c1 anna"]
    driver.online("bo")
    said = driver.pass_to(5)
    assert told(said) == ["expired not_accepted", "assigned bo"]
    assert said[0].data["agent_paused"] is True
    assert told(driver.asked("m1", "c2")) == ["queued", "assigned bo"]


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda d: d.closed(), id="closed"),
        pytest.param(lambda d: d.accepted("anna", d.request().assignment_id), id="taken"),
        pytest.param(lambda d: d.declined("anna", d.request().assignment_id), id="declined"),
    ],
)
def test_f03_a_timer_that_fires_for_what_is_no_longer_so_does_nothing(meanwhile):
    driver = Driver([agent("anna")], OFFERED, LimitsDocument(reoffer_s=600)).online("anna")
    driver.asked("m1")
    driver.t = 1
    meanwhile(driver)
    driver.t = 5
    assert told(driver.unit(due=["c1", "nowhere"])) == []


def test_f05_what_was_missed_says_so_and_the_next_attempt_has_its_own_name():
    driver = Driver([agent("anna"), agent("bo")], OFFERED).online("anna", "bo")
    first = driver.asked("m1")[1].data
    expired, second = driver.pass_to(5)
    assert (expired.data["assignment_id"], expired.data["reason"]) == (first["assignment_id"], "not_accepted")
    assert (second.data["attempt"], second.data["seq"]) == (2, 4)


def test_f11_the_first_rule_that_matches_decides():
    rules = (
        RoutingRule(rule_id="app", when=RoutingCondition(channels=("app",)), steps=(Step(),)),
        RoutingRule(rule_id="web", when=RoutingCondition(channels=("web",)), priority=60, steps=(Step(),)),
        RoutingRule(rule_id="too", when=RoutingCondition(channels=("web",)), priority=99, steps=(Step(),)),
    )
    driver = Driver([agent("anna")], RoutingDocument(rules=rules)).online("anna")
    queued, given = driver.asked("m1")
    assert (queued.data["priority"], given.data["explanation"]["rule"]) == (60, "web")


def test_h01_the_waits_of_steps_add_up_across_an_offer_that_was_missed():
    """Steps of 10 s each; an offer of 5 s made at second 3 is missed at 8; step 2 begins at 10 all the same, 3 at 20."""
    steps = (Step(proficiency=5, wait_s=10), Step(proficiency=4, wait_s=10), Step(proficiency=1))
    routing = OFFERED.model_copy(update={"rules": (RoutingRule(rule_id="r", steps=steps),)})
    driver = Driver([agent("anna", skills={"tax": 5})], routing, LimitsDocument(reoffer_s=600))
    driver.asked("m1", skills=("tax",))
    driver.t = 3
    driver.online("anna")
    said = driver.pass_to(30)
    assert [(e.at, *told([e])) for e in said] == [
        (at(8), "expired not_accepted"),
        (at(10), "queued"),
        (at(20), "queued"),
    ]


def test_h03_a_transfer_to_somebody_who_is_not_of_the_shop_goes_on_to_the_policy_at_once():
    driver = Driver([agent("anna"), agent("bo")], ANYBODY).online("anna")
    driver.asked("m1")
    driver.online("bo")
    said = driver.transfer("anna", agent_id="nobody")
    assert told(said) == ["released transferred", "queued", "assigned bo"]
    assert said[2].data["explanation"]["relaxed"] == ["agent"]


def test_h09_after_the_grace_each_open_conversation_finds_its_way_and_waits_visibly_where_nobody_is():
    driver = Driver([agent("anna")], ANYBODY, LimitsDocument(offline_grace_s=60)).online("anna")
    driver.asked("m1", "waits")
    driver.asked("m1", "answered")
    driver.t = 1
    driver.sent("anna", "answered")
    driver.status("anna", "offline")
    assert told(driver.pass_to(60.9)) == []
    said = driver.pass_to(61)
    assert told(e for e in said if e.subject == "answered") == ["released agent_offline"]
    # A minute after its first word, the position is told again.
    assert told(e for e in said if e.subject == "waits") == ["revoked agent_offline", "queued"]
    assert said[-1].data["position"] == 1


# --- what none of the suites has ----------------------------------------------------------------------------------------


def test_a_complaint_raises_what_is_queued_already_by_its_rule():
    rules = (
        RoutingRule(rule_id="c", when=RoutingCondition(flags=("complaint",)), priority=95, steps=(Step(),)),
        RoutingRule(rule_id="any", steps=(Step(),)),
    )
    driver = Driver([agent("anna", capacity=1)], RoutingDocument(rules=rules))
    driver.asked("m1", "c1")
    driver.asked("m1", "c2")
    (again,) = driver.complaint("k1", "c2")
    assert (again.data["priority"], again.data["position"], again.data["cause"]) == (95, 1, "handover")
    assert assigned(driver.status("anna", "online")) == ["c2 anna"]


def test_a_status_that_comes_after_the_message_it_should_have_affected_takes_back_the_offer_only():
    driver = Driver([agent("anna")], OFFERED).online("anna")
    driver.t = 10
    driver.asked("m1")
    driver.t = 11
    assert told(driver.status("anna", "away", time=9)) == ["revoked agent_away"]


def test_trainees_never_get_what_a_rule_keeps_for_seniors_however_long_it_waits():
    steps = (Step(grades=("senior", "supervisor"), wait_s=60), Step(grades=("senior", "standard", "supervisor")))
    routing = RoutingDocument(rules=(RoutingRule(rule_id="vip", steps=steps),))
    driver = Driver([agent("tom", grade="trainee"), agent("sue", grade="standard")], routing).online("tom")
    assert told(driver.asked("m1") + driver.pass_to(86_400)) == ["queued", "queued"]
    driver.online("sue")
    explanation = driver.said[-1].data["explanation"]
    assert (driver.said[-1].data["agent_id"], explanation["relaxed"]) == ("sue", ["grade"])
    assert explanation["rejected"] == {"grade": 1}


def test_skill_ties_are_broken_by_load_and_not_by_proficiency():
    driver = Driver([agent("expert", skills={"tax": 5}), agent("able", skills={"tax": 1})], ANYBODY)
    driver.online("expert", "able")
    driver.asked("m1", "c0", skills=("tax",))
    order = [a.split()[1] for n in range(3) for a in assigned(driver.asked("m1", f"c{n + 1}", skills=("tax",)))]
    assert order == ["expert", "able", "expert"]
    assert driver.world.agents["expert"].status is Status.ONLINE
