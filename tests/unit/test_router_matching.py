"""Who is chosen, in which order, and why (contract §3 Agents, §4, §6.2-6.4); rows of the scenarios by their letters."""

import sys

import pytest
from tests.unit.router_driver import Driver, agent, at, told

from deskline.config.documents import AgentsDocument, LimitsDocument, RoutingDocument, RoutingRule, Step
from deskline.config.routing_document import Surge, Threshold
from deskline_router.model import State

ANYBODY = RoutingDocument(rules=(RoutingRule(rule_id="any", steps=(Step(),)),))
OFFERED = ANYBODY.model_copy(update={"mode": "offered", "accept_s": 20, "pause_after_missed": 2})


def assigned_to(said):
    return [word.split()[1] for word in told(said) if word.startswith("assigned")]


# --- A: who may receive ----------------------------------------------------------------------------------------------


def test_a01_an_agent_online_gets_the_waiting_conversation_once():
    driver = Driver([agent("anna")])
    driver.asked("m1")
    assert assigned_to(driver.status("anna", "online")) == ["anna"]
    assert assigned_to(driver.status("anna", "online")) == []


@pytest.mark.parametrize("status", ["away", "offline", None])
def test_a09_a11_a13_nobody_but_an_agent_who_is_online_receives(status):
    driver = Driver([agent("anna"), agent("bo")]).online("anna")
    if status:
        driver.status("bo", status)
    assert [assigned_to(driver.asked("m1", f"c{n}")) for n in range(3)] == [["anna"]] * 3


def test_a15_an_agent_no_longer_configured_receives_nothing():
    driver = Driver([agent("anna")], ANYBODY).online("anna")
    driver.book.install("_default", "agents", AgentsDocument(), version=2, in_force_at=at(10))
    driver.t = 10
    assert assigned_to(driver.asked("m1")) == []


def test_a17_when_all_are_paused_nobody_is_offered_anything():
    driver = Driver([agent("anna")], OFFERED, LimitsDocument(reoffer_s=0)).online("anna")
    driver.asked("m1")
    said = driver.pass_to(200)
    assert told(said) == ["expired not_accepted", "assigned anna", "expired not_accepted"]
    assert [e.data["agent_paused"] for e in said if "agent_paused" in e.data] == [False, True]
    assert assigned_to(driver.status("anna", "online")) == []  # only after other than online
    driver.status("anna", "away")
    assert assigned_to(driver.status("anna", "online")) == ["anna"]


def test_a19_an_agent_outside_the_required_proficiency_is_never_offered():
    routing = RoutingDocument(rules=(RoutingRule(rule_id="r", steps=(Step(proficiency=3),)),))
    driver = Driver([agent("anna", skills={"tax": 2})], routing).online("anna")
    assert told(driver.asked("m1", skills=("tax",)) + driver.pass_to(3600)) == ["queued"]


def test_events_of_agents_nobody_configured_have_no_effect():
    driver = Driver([agent("anna")])
    assert driver.status("ghost", "online") == []
    assert "ghost" not in driver.world.agents


# --- B: which of the eligible -----------------------------------------------------------------------------------------


def test_b01_the_least_loaded_relative_to_capacity_is_chosen():
    # Loads 3, 1, 2 of 5 (anna, bo, carl); dora has 0 of 5 but is away.
    driver = Driver([agent(name) for name in ("anna", "bo", "carl", "dora")])
    for name, load in (("anna", 3), ("bo", 1), ("carl", 2)):
        driver.online(name)
        for n in range(load):
            driver.asked("m1", f"{name}-{n}")
        driver.status(name, "away")
    driver.online("anna", "bo", "carl")
    assert assigned_to(driver.asked("m1")) == ["bo"]


def test_b03_b07_among_equals_the_longest_without_a_new_one_then_the_smaller_id():
    driver = Driver([agent("bo"), agent("anna"), agent("carl")]).online("carl", "bo", "anna")
    order = []
    for n in range(6):
        driver.t += 1
        order += assigned_to(driver.asked("m1", f"c{n}"))
    assert order == ["anna", "bo", "carl"] * 2


def test_b05_nobody_eligible_is_no_error():
    assert told(Driver([]).asked("m1")) == ["queued"]


# --- C: order of the queue ----------------------------------------------------------------------------------------------


def test_h05_c02_higher_priority_first_then_the_longer_wait():
    driver = Driver([agent("anna", capacity=1)], ANYBODY)
    for n, (priority, since) in enumerate([(50, 10), (50, 5), (80, 20), (20, 1)]):
        driver.t = 30
        driver.received("m1", f"c{n}", time=since)
        driver.handover("m1", f"c{n}", since=since, priority=priority)
    driver.online("anna")
    order = []
    while subject := next((s for s, r in driver.world.requests.items() if r.state is State.HELD), None):
        order.append(subject)
        driver.t += 1
        driver.closed(subject)
    assert order == ["c2", "c1", "c0", "c3"]


def test_positions_count_from_1_in_the_order_of_service():
    driver = Driver([])
    positions = []
    for n, priority in enumerate((50, 50, 90)):
        driver.t += 1
        positions.append(driver.asked("m1", f"c{n}", priority=priority)[0].data["position"])
    assert positions == [1, 2, 1]


def test_one_that_nobody_can_serve_does_not_hold_up_those_behind_it():
    driver = Driver([agent("anna")]).online("anna")
    driver.asked("m1", "c1", skills=("tax",), priority=90)
    assert assigned_to(driver.asked("m1", "c2")) == ["anna"]


# --- D: capacity ----------------------------------------------------------------------------------------------------


def test_d04_d05_d07_a_raised_capacity_takes_those_who_wait_without_a_new_message():
    driver = Driver([agent("anna", capacity=1)], ANYBODY).online("anna")
    driver.asked("m1", "c1")
    assert told(driver.asked("m1", "c2")) == ["queued"]
    said = driver.status("anna", "online", capacity=2)
    assert assigned_to(said) == ["anna"]
    assert (said[0].data["load"], said[0].data["capacity"]) == (2, 2)


def test_lowering_the_capacity_takes_nothing_away():
    driver = Driver([agent("anna", capacity=3)]).online("anna")
    for n in range(3):
        driver.asked("m1", f"c{n}")
    assert driver.status("anna", "online", capacity=0) == []
    driver.closed("c0")
    assert told(driver.asked("m1", "c9")) == ["queued"]


def test_d17_h07_a_batch_of_arrivals_never_goes_over_the_limit():
    driver = Driver([agent("anna", capacity=3), agent("bo", capacity=2)], ANYBODY).online("anna", "bo")
    driver.batch()
    for n in range(9):
        driver.asked("m1", f"c{n}")
    said = driver.flush()
    assert sorted(assigned_to(said)) == ["anna"] * 3 + ["bo"] * 2
    counts = [
        (e.data["explanation"]["eligible"], e.data["explanation"]["rejected"]) for e in said if "explanation" in e.data
    ]
    assert counts == [(2, {}), (2, {}), (2, {}), (2, {}), (1, {"full": 1})]


def test_h11_a_backlog_drains_over_all_who_come_online_by_their_capacity():
    driver = Driver([agent("anna", capacity=2), agent("bo", capacity=4)], ANYBODY)
    for n in range(10):
        driver.asked("m1", f"c{n}")
    assert len(assigned_to(driver.status("anna", "online"))) == 2
    assert len(assigned_to(driver.status("bo", "online"))) == 4


def test_one_agent_serves_two_shops_with_one_load():
    driver = Driver([agent("anna", capacity=1)], ANYBODY).online("anna")
    driver.asked("m1", "c1")
    other = driver.event("conversations.v1", "complaint.opened", "c2", _complaint("shop-2"))
    assert told(driver.unit([other])) == ["queued"]
    assert assigned_to(driver.closed("c1")) == ["anna"]


def _complaint(shop):
    from deskline.events.models import ComplaintOpened
    from deskline.events.wire import new

    return new(ComplaintOpened, shop_id=shop, complaint_id="k")


# --- E, H17: own agents, away ------------------------------------------------------------------------------------------


def test_e01_e03_the_own_agent_is_preferred_by_the_step_that_asks_for_him():
    routing = RoutingDocument(rules=(RoutingRule(rule_id="r", steps=(Step(own_agent=True, wait_s=10), Step())),))
    driver = Driver([agent("anna"), agent("mine", capacity=9)], routing).online("anna", "mine")
    driver.asked("m1", "busy")
    driver.received("m1", dedicated_agent_id="mine")
    assert assigned_to(driver.handover("m1")) == ["mine"]


def test_a_step_that_waits_for_an_agent_who_goes_is_left_at_once():
    routing = RoutingDocument(rules=(RoutingRule(rule_id="r", steps=(Step(own_agent=True, wait_s=600), Step())),))
    driver = Driver([agent("anna"), agent("mine", capacity=0)], routing).online("mine", "anna")
    driver.received("m1", dedicated_agent_id="mine")
    assert told(driver.handover("m1")) == ["queued"]
    assert told(driver.status("mine", "away")) == ["queued", "assigned anna"]


def test_h17_away_keeps_what_is_held_and_gets_nothing_new():
    driver = Driver([agent("anna")]).online("anna")
    driver.asked("m1")
    assert driver.status("anna", "away") == []
    assert told(driver.asked("m1", "c2")) == ["queued"]


# --- offers -------------------------------------------------------------------------------------------------------------


def test_who_declined_is_asked_again_only_after_reoffer_s_and_when_nobody_else_is_there():
    driver = Driver([agent("anna"), agent("bo")], OFFERED).online("anna")
    driver.asked("m1")
    driver.t = 5
    assert told(driver.declined("anna", driver.request().assignment_id)) == ["revoked declined"]
    assert told(driver.pass_to(34.9)) == []
    assert told(driver.pass_to(35)) == ["assigned anna"]  # 5 + 30
    driver.t = 40
    driver.online("bo")
    assert assigned_to(driver.declined("anna", driver.request().assignment_id)) == ["bo"]


def test_expiry_and_a_second_attempt_count_up():
    driver = Driver([agent("anna"), agent("bo")], OFFERED).online("anna", "bo")
    first = driver.asked("m1")[1]
    said = driver.pass_to(20)
    assert told(said) == ["expired not_accepted", "assigned bo"]
    assert (first.data["attempt"], said[1].data["attempt"]) == (1, 2)
    assert first.data["accept_by"] == at(20)
    assert said[1].data["assignment_id"] != first.data["assignment_id"]


def test_accepting_ends_a_row_of_misses():
    driver = Driver([agent("anna")], OFFERED, LimitsDocument(reoffer_s=0)).online("anna")
    driver.asked("m1")
    driver.pass_to(20)
    assert driver.world.agents["anna"].missed == 1
    driver.accepted("anna", driver.request().assignment_id)
    assert driver.world.agents["anna"].missed == 0


# --- statuses -------------------------------------------------------------------------------------------------------------


def test_the_last_status_by_event_time_counts_and_names_the_state_relied_on():
    driver = Driver([agent("anna")])
    driver.t = 10
    driver.status("anna", "online")
    driver.status("anna", "offline", time=5)
    said = driver.asked("m1")
    assert said[-1].data["explanation"]["agent_state_id"] == "s0"
    driver.status("anna", "online", time=11)
    said = driver.asked("m1", "c2")
    assert said[-1].data["explanation"]["agent_state_id"] == "s2"


def test_at_one_instant_the_later_offset_counts():
    driver = Driver([agent("anna")])
    driver.status("anna", "online")
    driver.status("anna", "away")
    assert told(driver.asked("m1")) == ["queued"]


def test_nobody_is_assigned_while_the_statuses_may_be_old_and_then_at_once():
    driver = Driver([agent("anna")]).online("anna")
    driver.fresh = False
    assert told(driver.asked("m1")) == ["queued"]
    driver.fresh = True
    assert told(driver.unit()) == ["assigned anna"]


# --- configuration and numbers ------------------------------------------------------------------------------------------


def test_a_new_version_of_the_team_serves_those_who_wait():
    driver = Driver([agent("anna")], ANYBODY)
    driver.book.install("_default", "agents", AgentsDocument(agents=(agent("bo"),)), version=2, in_force_at=at(10))
    driver.asked("m1")
    driver.t = 10
    driver.online("bo")
    said = driver.said[-1]
    assert (said.data["agent_id"], said.data["policy_version"]) == ("bo", 2)


def test_the_time_is_never_before_the_event_answered_and_waited_s_fits_it():
    driver = Driver([agent("anna")]).online("anna")
    driver.received("m1", time=4)  # a sender whose clock is 4 s ahead
    said = driver.handover("m1", since=4)
    assert [e.at for e in said] == [at(4), at(4)]
    assert said[1].data["waited_s"] == 0
    driver.t = 1
    driver.received("m1", "c2")
    driver.t = 3.5
    assert driver.handover("m1", "c2", since=1)[1].data["waited_s"] == 2.5


def test_steps_that_a_new_version_puts_behind_the_last_one_come_in_their_turn():
    one = (Step(proficiency=5),)
    driver = Driver([agent("anna", skills={"tax": 1})], _rule(one)).online("anna")
    driver.asked("m1", skills=("tax",))
    more = _rule((Step(proficiency=5, wait_s=10), Step(proficiency=1)))
    driver.book.install("_default", "routing", more, version=2, in_force_at=at(60))
    driver.t = 60
    assert told(driver.unit()) == []
    assert told(driver.pass_to(69.9)) == []
    assert told(driver.pass_to(70)) == ["queued", "assigned anna"]


def test_a_step_that_asks_for_something_else_in_a_new_version_is_told_again():
    driver = Driver([agent("anna", skills={"tax": 1})], _rule((Step(proficiency=5),))).online("anna")
    driver.asked("m1", skills=("tax",))
    driver.book.install("_default", "routing", _rule((Step(proficiency=4),)), version=2, in_force_at=at(60))
    driver.t = 60
    (again,) = driver.unit()
    assert again.data["required"] == {"skills": [{"skill": "tax", "proficiency": 4}]}
    driver.book.install("_default", "routing", _rule((Step(proficiency=1),)), version=3, in_force_at=at(70))
    driver.t = 70
    said = driver.unit()
    assert told(said) == ["queued", "assigned anna"]
    assert said[1].data["policy_version"] == 3


def test_a_request_goes_on_by_the_rule_that_matches_where_its_own_is_gone():
    driver = Driver([agent("anna", skills={"tax": 1})], _rule((Step(proficiency=5),))).online("anna")
    driver.asked("m1", skills=("tax",))
    other = RoutingDocument(rules=(RoutingRule(rule_id="other", steps=(Step(proficiency=1),)),))
    driver.book.install("_default", "routing", other, version=2, in_force_at=at(60))
    driver.t = 60
    said = driver.unit()
    assert said[-1].data["explanation"]["rule"] == "other"


def _rule(steps):
    return RoutingDocument(rules=(RoutingRule(rule_id="r", steps=steps),))


def test_a_pause_outlasts_an_away_that_was_sent_before_the_last_online():
    """By event time he has been online all along: it is no ``online`` after other than ``online`` (contract §4)."""
    driver = Driver([agent("anna")], OFFERED, LimitsDocument(reoffer_s=0)).online("anna")
    driver.asked("m1")
    driver.pass_to(40)
    assert driver.world.agents["anna"].paused
    driver.status("anna", "away", time=-20)
    assert told(driver.status("anna", "online")) == []


def test_an_assignment_names_what_made_it_possible_and_is_not_before_it():
    driver = Driver([agent("anna", capacity=1)])
    driver.asked("m1", "c1")
    driver.t = 1
    driver.asked("m1", "c2")
    (assigned,) = driver.status("anna", "online", time=4)  # a desktop whose clock is 4 s ahead
    assert (assigned.source, assigned.at) == ("agents.v1/0/0", at(4))
    driver.t = 10
    released, assigned = driver.closed("c1", time=13)
    assert assigned.subject == "c2"
    assert (released.source, assigned.source) == ("conversations.v1/0/2", "conversations.v1/0/2")
    assert (released.at, assigned.at) == (at(13), at(13))


def test_what_a_timer_told_names_no_record():
    driver = Driver([agent("anna")])
    driver.received("m1")
    assert [e.source for e in driver.pass_to(3)] == [None]


def test_every_output_names_the_record_that_caused_it():
    driver = Driver([agent("anna")]).online("anna")
    driver.received("m1")
    assert {e.source for e in driver.handover("m1")} == {"replies.v1/0/0"}


@pytest.mark.parametrize(("waiting", "agents"), [(100, 20), (3000, 20), (100, 400)])
def test_what_an_assignment_costs_grows_neither_with_the_queue_nor_with_the_agents(waiting, agents):
    """Calls and returns of one close, decoding aside, and the assignment that it makes possible: 765 in each case."""
    team = [agent("anna", capacity=1, skills={"tax": 5}), *(agent(f"a{n}") for n in range(agents))]
    driver = Driver(team, _rule((Step(proficiency=3),))).online(*(a.agent_id for a in team))
    driver.batch()
    for n in range(waiting):
        driver.asked("m1", f"c{n}", skills=("tax",))
    driver.flush()
    (held,) = driver.world.live["anna"]
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        said = driver.closed(held)
    finally:
        sys.setprofile(before)
    assert assigned_to(said) == ["anna"]
    assert calls < 1200


def test_whom_an_explanation_names_does_not_depend_on_the_order_in_which_agents_were_met():
    surge = Surge(enter=Threshold(queue=9), leave=Threshold(queue=1))
    people = [agent("zoe", capacity=9), *(agent(f"r{n:02}", reserve=True) for n in range(40))]
    named = []
    for order in (people, people[::-1]):
        driver = Driver(people, RoutingDocument(rules=(RoutingRule(rule_id="r", steps=(Step(),)),), surge=surge))
        driver.online(*(one.agent_id for one in order))
        said = driver.asked("m1")
        named.append(next(e.data["explanation"]["candidates"] for e in said if "explanation" in e.data))
    assert named[0] == named[1]
    assert [one["agent_id"] for one in named[0]] == ["zoe", *(f"r{n:02}" for n in range(7))]
