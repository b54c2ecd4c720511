"""What a warning or a breach does to a request, by the shop's ``sla_actions``: by default no customer waits longer for it."""

import pytest
from pydantic import ValidationError
from tests.unit.router_driver import Driver, agent, told

from deskline.config.documents import RoutingCondition, RoutingDocument, RoutingRule, Step
from deskline.config.routing_document import Calling, Raising, SlaAction, SlaActions

TEAM = [
    agent("anna", skills={"tax": 3}, capacity=1),
    agent("bo", capacity=1),
    agent("sue", grade="supervisor", capacity=1),
]
TAX = RoutingRule(rule_id="tax", steps=(Step(),))


def routing(*rules, mode="assigned", **actions):
    return RoutingDocument(mode=mode, rules=rules or (TAX,), sla_actions=SlaActions(**actions))


def waiting(document=None, team=TEAM, online=("sue",)):
    """A request for tax, which none of those online knows."""
    driver = Driver(team, document or routing()).online(*online)
    assert told(driver.asked("m1", skills=("tax",))) == ["queued"]
    driver.pass_to(20)
    return driver


def held(document=None, team=TEAM):
    driver = Driver(team, document or routing()).online("anna")
    assert told(driver.asked("m1", skills=("tax",))) == ["queued", "assigned anna"]
    driver.pass_to(20)
    return driver


# --- while it waits ---------------------------------------------------------------------------------------------------


def test_a_supervisor_who_is_called_gets_what_waits_whatever_the_skills_and_the_explanation_says_why():
    (said,) = waiting().breached(("call_supervisor",))
    assert told([said]) == ["assigned sue"]
    why = said.data["explanation"]
    assert why["required"] == {"skills": [], "grades": ["supervisor"]}
    assert why["relaxed"] == ["skill:tax"]
    assert why["chosen"]["score_parts"]["called"] == 1
    assert why["considered"] == why["eligible"] + sum(why["rejected"].values())


def test_without_room_the_call_stands_until_a_supervisor_has_some():
    driver = waiting(online=())
    assert told(driver.breached(("call_supervisor",))) == []
    assert told(driver.status("sue", "online")) == ["assigned sue"]


def test_whoever_else_may_take_it_still_may():
    driver = waiting(online=())
    driver.breached(("call_supervisor",))
    assert told(driver.status("anna", "online")) == ["assigned anna"]


def test_of_several_who_could_the_supervisor_is_chosen_although_he_has_more_to_do():
    team = [agent("anna", skills={"tax": 3}), agent("sue", grade="supervisor", capacity=2)]
    driver = Driver(team, routing())
    driver.online("sue")
    driver.asked("m0", "c0")
    driver.status("sue", "away")
    driver.asked("m1", "c1", skills=("tax",))
    driver.breached(("call_supervisor",), "c1")
    driver.fresh = False
    driver.online("anna", "sue")
    driver.fresh = True
    said = driver.unit()
    assert told(said) == ["assigned sue"]
    assert said[0].data["load"] == 2


def test_one_who_declined_is_not_asked_again_by_a_call():
    driver = Driver(TEAM, routing(RoutingRule(rule_id="any", steps=(Step(),)), mode="offered")).online("sue")
    (_, offer) = driver.asked("m1")
    driver.declined("sue", offer.data["assignment_id"])
    assert told(driver.breached(("call_supervisor",))) == []


def test_a_call_by_step_goes_on_to_the_step_for_supervisors_and_its_time_begins_then():
    rule = RoutingRule(
        rule_id="r", steps=(Step(wait_s=600), Step(wait_s=600, proficiency=2), Step(grades=("supervisor",), wait_s=30), Step(keep_skills=False)),
    )  # fmt: skip
    driver = waiting(routing(rule, call_supervisor=Calling(waiting="supervisor_step")), online=())
    (said,) = driver.breached(("call_supervisor",))
    assert (said.data["step"], said.data["required"].get("grades")) == (3, ["supervisor"])
    assert [e.data["step"] for e in driver.pass_to(51)] == [4]
    assert told(driver.breached(("call_supervisor",))) == [], "it never goes back"


def test_flags_of_an_action_bring_the_rule_that_matches_them():
    late = RoutingRule(
        rule_id="late", when=RoutingCondition(flags=("supervisor_called",)), priority=80, steps=(Step(grades=("supervisor",), wait_s=5), Step()),
    )  # fmt: skip
    driver = waiting(routing(late, TAX), online=())
    (said,) = driver.breached(("call_supervisor",))
    assert (said.data["step"], said.data["priority"], said.data["required"]["grades"]) == (1, 80, ["supervisor"])


@pytest.mark.parametrize(
    ("actions", "document", "priority"),
    [
        (("raise_priority",), routing(), 70),
        (("raise_priority",), routing(raise_priority=Raising(raise_by=5)), 55),
        (("raise_priority", "remind"), routing(remind=SlaAction(raise_by=90)), 100),
    ],
)
def test_the_priority_rises_by_what_the_shop_says_to_a_hundred_at_most(actions, document, priority):
    (said,) = waiting(document, online=()).breached(actions)
    assert said.data["priority"] == priority


@pytest.mark.parametrize("actions", [("remind",), (), ("an action of a later release",)])
def test_what_orders_nothing_changes_nothing(actions):
    assert told(waiting().breached(actions)) == []


# --- while somebody has it --------------------------------------------------------------------------------------------


def test_who_does_not_answer_loses_it_to_a_supervisor_with_room():
    driver = held().online("sue")
    assert told(driver.breached(("call_supervisor",), agent="anna")) == ["revoked reassigned", "assigned sue"]


def test_where_no_supervisor_has_room_he_keeps_it():
    assert told(held().breached(("call_supervisor",), agent="anna")) == []
    driver = held().online("sue")
    assert told(driver.asked("m2", "c2", skills=())) == ["queued", "assigned sue"]
    assert told(driver.breached(("call_supervisor",), agent="anna")) == []


def test_who_keeps_it_may_lose_it_later_and_then_the_call_still_stands():
    driver = held()
    driver.breached(("call_supervisor",), agent="anna")
    driver.online("sue")
    driver.status("anna", "offline")
    assert told(driver.pass_to(60)) == ["revoked agent_offline", "assigned sue"]


def test_who_has_answered_meanwhile_loses_nothing():
    driver = held().online("sue")
    driver.sent("anna")
    for actions in (("call_supervisor",), ("reassign",)):
        assert told(driver.breached(actions, agent="anna")) == []


def test_the_clock_of_another_agent_takes_nothing():
    assert told(held().online("sue").breached(("call_supervisor", "reassign"), agent="bo")) == []


def test_a_supervisor_who_has_it_himself_is_not_called_to_it():
    driver = Driver(TEAM, routing()).online("sue")
    driver.asked("m1")
    assert told(driver.breached(("call_supervisor",), agent="sue")) == []


def test_a_shop_may_leave_it_where_it_is_or_take_it_back_for_anybody():
    kept = held(routing(call_supervisor=Calling(held="keep"))).online("sue")
    assert told(kept.breached(("call_supervisor",), agent="anna")) == []
    anybody = held(routing(RoutingRule(rule_id="any", steps=(Step(keep_skills=False),)))).online("bo")
    assert told(anybody.breached(("reassign",), agent="anna")) == ["revoked reassigned", "assigned bo"]


def test_an_open_offer_is_taken_back_too():
    driver = Driver(TEAM, routing(mode="offered")).online("anna")
    driver.asked("m1", skills=("tax",))
    driver.online("sue")
    assert told(driver.breached(("call_supervisor",), agent="anna")) == ["revoked reassigned", "assigned sue"]


def test_what_has_no_request_is_left_alone():
    driver = Driver(TEAM, routing()).online("sue")
    driver.received("m1")
    driver.sent("anna")
    assert told(driver.breached(("call_supervisor", "reassign", "raise_priority"))) == []


# --- the document -----------------------------------------------------------------------------------------------------


def test_an_action_that_is_named_keeps_its_other_defaults():
    document = RoutingDocument.model_validate({"sla_actions": {"call_supervisor": {"raise_by": 30}}})
    call = document.sla_actions.call_supervisor
    assert (call.raise_by, call.waiting, call.held, call.flags) == (
        30,
        "supervisors",
        "supervisors",
        ("supervisor_called",),
    )


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        ({"supervisors": ["trainee"]}, "trainees help nobody"),
        ({"supervisors": []}, "at least 1"),
        ({"call_supervisor": {"waiting": "supervisor_step"}}, "no step of any rule is for supervisor alone"),
        ({"remind": {"raise_by": 101}}, "less than or equal to 100"),
        ({"page": {}}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(actions, says):
    with pytest.raises(ValidationError, match=says):
        RoutingDocument.model_validate({"sla_actions": actions})
