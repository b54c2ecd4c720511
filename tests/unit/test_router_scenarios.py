"""Rows of the routing scenarios by their letters: ``ROWS`` says of each where it is tested, or why it is not.

G and H13 are about clocks (``test_sla_scenarios``).
"""

import importlib

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


# --- wrap-up ------------------------------------------------------------------------------------------------------------


def test_d23_what_an_agent_wraps_up_takes_his_place_in_every_shop():
    """Calls to two queues that share two members: the first two are taken, the third finds nobody until one has wrapped up."""
    driver = Driver([agent("m1", capacity=1, wrap_up_s=30), agent("m2", capacity=1, wrap_up_s=30)], ANYBODY)
    driver.online("m1", "m2")
    for n in (1, 2):
        assert assigned(driver.asked("m1", f"c{n}")) == [f"c{n} m{n}"]
        driver.t += 1
        driver.closed(f"c{n}")
    assert assigned(driver.asked("m1", "c3")) == []
    driver.t = 31  # m1 was free at 1
    assert assigned(driver.unit()) == ["c3 m1"]


# --- the rows -----------------------------------------------------------------------------------------------------------

MATCHING, REQUESTS, ENGINE = "test_router_matching", "test_router_requests", "test_router_engine"
HERE, HISTORIES, SERVICE = "test_router_scenarios", "test_router_histories", "tests.kafka.test_router_service"
NO_SUCH_THING = "the contract gives deskline no such thing"

ROWS = {
    "A01": (MATCHING, "test_a01_an_agent_online_gets_the_waiting_conversation_once"),
    "A03": (HERE, "test_a03_of_a_closed_and_an_open_conversation_only_the_open_one_is_assigned"),
    "A05": (HERE, "test_a05_what_the_bot_answers_stays_with_the_bot"),
    "A07": f"no limit of a run: {NO_SUCH_THING}; capacities and the night's shares bound what one agent gets (H11)",
    "A09": (MATCHING, "test_a09_a11_a13_nobody_but_an_agent_who_is_online_receives"),
    "A11": (MATCHING, "test_a09_a11_a13_nobody_but_an_agent_who_is_online_receives"),
    "A13": (MATCHING, "test_a09_a11_a13_nobody_but_an_agent_who_is_online_receives"),
    "A15": (MATCHING, "test_a15_an_agent_no_longer_configured_receives_nothing"),
    "A17": (MATCHING, "test_a17_when_all_are_paused_nobody_is_offered_anything"),
    "A19": (MATCHING, "test_a19_an_agent_outside_the_required_proficiency_is_never_offered"),
    "A21": (HERE, "test_a21_when_everybody_goes_the_next_request_waits_without_an_error"),
    "B01": (MATCHING, "test_b01_the_least_loaded_relative_to_capacity_is_chosen"),
    "B03": (MATCHING, "test_b03_b07_among_equals_the_longest_without_a_new_one_then_the_smaller_id"),
    "B05": (MATCHING, "test_b05_nobody_eligible_is_no_error"),
    "B07": (MATCHING, "test_b03_b07_among_equals_the_longest_without_a_new_one_then_the_smaller_id"),
    "B09": (HERE, "test_b09_the_rotation_goes_on_without_him_who_is_no_longer_there"),
    "C02": (MATCHING, "test_h05_c02_higher_priority_first_then_the_longer_wait"),
    "C04": (HERE, "test_c04_who_comes_back_to_an_old_conversation_waits_since_he_came_back"),
    "C06": f"exclusion by age: {NO_SUCH_THING}; nothing waits too long to be served",
    "C08": f"exclusion by age and label: {NO_SUCH_THING}",
    "C10": f"a limit of the time in the queue: {NO_SUCH_THING}; a request stays queued after its last step (contract §4)",
    "C12": f"a limit of the time in the queue: {NO_SUCH_THING}",
    "D01": (HERE, "test_d_an_agent_takes_one_more_as_long_as_his_own_limit_allows"),
    "D03": (HERE, "test_d_an_agent_takes_one_more_as_long_as_his_own_limit_allows"),
    "D04": (HERE, "test_d_an_agent_takes_one_more_as_long_as_his_own_limit_allows"),
    "D05": (MATCHING, "test_d04_d05_d07_a_raised_capacity_takes_those_who_wait_without_a_new_message"),
    "D06": (MATCHING, "test_one_agent_serves_two_shops_with_one_load"),
    "D07": (MATCHING, "test_d04_d05_d07_a_raised_capacity_takes_those_who_wait_without_a_new_message"),
    "D08": (HERE, "test_d_an_agent_takes_one_more_as_long_as_his_own_limit_allows"),  # judged: 0 takes nothing
    "D09": f"a limit of a department: {NO_SUCH_THING}; a channel's limit is tested in its place",
    "D10": f"a limit of everybody: {NO_SUCH_THING}",
    "D11": f"a limit of everybody: {NO_SUCH_THING}",
    "D12": f"a limit of everybody: {NO_SUCH_THING}",
    "D13": f"a limit of everybody: {NO_SUCH_THING}",
    "D14": f"a limit of everybody: {NO_SUCH_THING}",
    "D15": f"a limit of a department: {NO_SUCH_THING}",
    "D16": (HERE, "test_d_an_agent_takes_one_more_as_long_as_his_own_limit_allows"),
    "D17": (MATCHING, "test_d17_h07_a_batch_of_arrivals_never_goes_over_the_limit"),
    "D19": f"a limit of assignments in a window: {NO_SUCH_THING}; recent work decides among equals",
    "D21": (SERVICE, "test_several_instances_share_agents_and_shops_and_every_rule_of_routing_holds"),
    "D23": (HERE, "test_d23_what_an_agent_wraps_up_takes_his_place_in_every_shop"),
    "E01": (MATCHING, "test_e01_e03_the_own_agent_is_preferred_by_the_step_that_asks_for_him"),
    "E03": (HERE, "test_e03_without_a_step_that_asks_for_him_the_own_agent_has_no_precedence"),
    "E05": f"bots of departments: {NO_SUCH_THING}",
    "F01": (HERE, "test_f01_h21_who_does_not_take_it_in_time_loses_it_to_another_and_is_paused"),
    "F03": (HERE, "test_f03_a_timer_that_fires_for_what_is_no_longer_so_does_nothing"),
    "F05": (HERE, "test_f05_what_was_missed_says_so_and_the_next_attempt_has_its_own_name"),
    "F07": "a record whose handling raises goes to the dead letters (tests.kafka.test_engine)",
    "F09": f"rules that answer each other: {NO_SUCH_THING}; a transfer's loop ends with the one who transferred, chosen last",
    "F11": (HERE, "test_f11_the_first_rule_that_matches_decides"),
    "F13": f"rules over changes of assignee: {NO_SUCH_THING}",
    "H01": (HERE, "test_h01_the_waits_of_steps_add_up_across_an_offer_that_was_missed"),
    "H03": (HERE, "test_h03_a_transfer_to_somebody_who_is_not_of_the_shop_goes_on_to_the_policy_at_once"),
    "H05": (ENGINE, "test_the_order_of_service_is_the_shops"),
    "H07": (MATCHING, "test_d17_h07_a_batch_of_arrivals_never_goes_over_the_limit"),
    "H09": (
        HERE,
        "test_h09_after_the_grace_each_open_conversation_finds_its_way_and_waits_visibly_where_nobody_is",
    ),
    "H11": (ENGINE, "test_the_night_is_shared_out_over_those_whose_shift_has_begun_oldest_first"),
    "H13": "it is about clocks, see test_sla_scenarios",
    "H15": f"offline messages: {NO_SUCH_THING}; what comes outside hours waits in the queue (H11)",
    "H17": (MATCHING, "test_h17_away_keeps_what_is_held_and_gets_nothing_new"),
    "H19": "the platform's three-minute rate: deskline report (test_reports)",
    "H21": (HERE, "test_f01_h21_who_does_not_take_it_in_time_loses_it_to_another_and_is_paused"),
    # what none of the suites has
    "skill ties": (HERE, "test_skill_ties_are_broken_by_load_and_not_by_proficiency"),
    "tier fallback": (HERE, "test_trainees_never_get_what_a_rule_keeps_for_seniors_however_long_it_waits"),
    "trainee share": (ENGINE, "test_of_newcomers_at_most_the_share_comes_by_the_trainees_step"),
    "own agent, bounded": (ENGINE, "test_the_wait_for_the_own_agent_is_a_part_of_the_sla_time_left"),
    "late or duplicated event": (
        HISTORIES,
        "test_random_histories_keep_the_contract_and_agree_with_the_naive_reference",
    ),
    "two partitions of one customer": (ENGINE, "test_a_thinner_profile_in_another_conversation_lowers_nobody"),
    "the same decisions again": ("test_router_properties", "test_several_instances_say_what_one_says_to_the_last_byte"),
    "a status after its message": (
        HERE,
        "test_a_status_that_comes_after_the_message_it_should_have_affected_takes_back_the_offer_only",
    ),
    "a conversation of two shops": (HERE, "test_a_conversation_stays_with_the_shop_of_its_first_message"),
    "complaint while queued": (HERE, "test_a_complaint_raises_what_is_queued_already_by_its_rule"),
    "the words of an explanation": (
        ENGINE,
        "test_every_rejected_agent_has_his_first_failed_condition_with_its_numbers",
    ),
}


def test_a_conversation_stays_with_the_shop_of_its_first_message():
    driver = Driver([agent("anna")], ANYBODY).online("anna")
    driver.asked("m1")
    other = driver.event("conversations.v1", "complaint.opened", "c1", _complaint("shop-2"))
    assert told(driver.unit([other])) == []
    assert driver.request().shop_id == "shop-1"


def _complaint(shop):
    from deskline.events.models import ComplaintOpened
    from deskline.events.wire import new

    return new(ComplaintOpened, shop_id=shop, complaint_id="k")


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_test_or_its_reason(row):
    where = ROWS[row]
    if isinstance(where, str):
        assert len(where.split()) > 3
    else:
        module, name = where
        path = module if module.startswith("tests.") else f"tests.unit.{module}"
        assert callable(getattr(importlib.import_module(path), name))


def test_no_row_of_the_suites_is_missing():
    given = {
        "A": range(1, 22, 2), "B": range(1, 10, 2), "C": range(2, 13, 2), "D": (1, *range(3, 18), 19, 21, 23),
        "E": range(1, 6, 2), "F": range(1, 14, 2), "H": range(1, 22, 2),
    }  # fmt: skip
    assert {f"{letter}{n:02}" for letter, numbers in given.items() for n in numbers} == {
        row for row in ROWS if row[0].isupper()
    }
