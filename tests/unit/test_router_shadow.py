"""A candidate routing policy in shadow: whom it would choose is noted beside each decision, and changes none."""

import json

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.router_driver import Driver, agent, at, told
from tests.unit.test_router_properties import HISTORIES, ROUTING, Player

from deskline.config.documents import RoutingCondition, RoutingDocument, RoutingPolicy, RoutingRule, Step, TierRule
from deskline_router.model import Agreement
from deskline_router.telling import id_of, output

TEAM = (agent("anna", skills={"tax": 3}), agent("bo"), agent("carl", skills={"tax": 1}))
ANYBODY = RoutingRule(rule_id="anybody", steps=(Step(keep_skills=False),))
SKILLED = RoutingRule(rule_id="skilled", priority=80, steps=(Step(proficiency=2, wait_s=10), Step(keep_skills=False)))
CANDIDATES = {
    "anybody": RoutingPolicy(rules=(ANYBODY,)),
    "skilled": RoutingPolicy(
        mode="offered",
        tiers=(TierRule(tier="vip", min_orders=1),),
        rules=(
            RoutingRule(rule_id="own", when=RoutingCondition(tiers=("vip",)), steps=(Step(own_agent=True),)),
            SKILLED,
        ),
    ),
}


def driver(live: RoutingRule, candidate: RoutingRule, team=TEAM) -> Driver:
    routing = RoutingDocument(rules=(live,), candidate=RoutingPolicy(rules=(candidate,)))
    return Driver(team, routing).online(*(each.agent_id for each in team))


def noted(made: Driver) -> list[tuple[str, str | None, str | None, str, int, int]]:
    """(agreement, live agent, the candidate's, its rule, step, priority) of the last unit."""
    return [
        (row.agreement.value, row.live_agent, row.agent, row.rule, row.step, row.priority) for row in made.world.shadows
    ]


def test_the_same_choice_is_noted_as_such():
    made = driver(ANYBODY, ANYBODY)
    assert told(made.asked("m1")) == ["queued", "assigned bo"]
    assert noted(made) == [("same", "bo", "bo", "anybody", 1, 50)]


def test_another_agent_is_noted_with_the_rule_and_its_priority():
    # Anybody: all are idle, and bo has no skills to be spared for others; then carl, who has less of them than anna. Of those
    # with a tax of 2 there is only anna.
    made = driver(ANYBODY, SKILLED)
    made.asked("m1", "c1", skills=("tax",))
    assert noted(made) == [("other_agent", "bo", "anna", "skilled", 1, 80)]
    made.asked("m2", "c2", skills=("tax",))
    assert noted(made) == [("other_agent", "carl", "anna", "skilled", 1, 80)]


def test_a_candidate_that_admits_nobody_yet_waits():
    team = (agent("bo"),)
    made = driver(ANYBODY, SKILLED, team)
    assert told(made.asked("m1", skills=("tax",))) == ["queued", "assigned bo"]
    assert noted(made) == [("waits", "bo", None, "skilled", 1, 80)]


def test_a_request_that_waits_although_the_candidate_would_have_taken_somebody_is_noted_once():
    team = (agent("bo"),)
    made = driver(SKILLED, ANYBODY, team)
    assert told(made.asked("m1", skills=("tax",))) == ["queued"]
    # The live rule raised the priority to 80; what it was before is not kept, so the default stands.
    assert noted(made) == [("earlier", None, "bo", "anybody", 1, 50)]
    # After ten seconds the live rule relaxes: the step of the candidate is still its only one.
    assert "assigned bo" in told(made.pass_to(11))
    assert noted(made) == [("same", "bo", "bo", "anybody", 1, 50)]


def test_the_candidate_stands_at_the_step_at_which_it_would_be_by_now():
    # Live: tax is asked for during 20 s. The candidate asks for 10 s: at 20 s it is at its second step.
    live = RoutingRule(rule_id="slow", steps=(Step(proficiency=2, wait_s=20), Step(keep_skills=False)))
    made = driver(live, SKILLED, (agent("bo"),))
    made.asked("m1", skills=("tax",))
    assert noted(made) == []
    assert "assigned bo" in told(made.pass_to(21))
    assert noted(made) == [("same", "bo", "bo", "skilled", 2, 80)]


def test_without_a_candidate_nothing_is_noted():
    made = Driver(TEAM, RoutingDocument(rules=(ANYBODY,))).online("anna")
    made.asked("m1")
    assert noted(made) == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(HISTORIES, st.sampled_from(("assigned", "offered")), st.sampled_from(sorted(CANDIDATES)))
def test_a_candidate_changes_no_byte_of_what_is_told(history, mode, name):
    candidate = CANDIDATES[name]
    rows = []

    class Watched(Driver):
        def __init__(self, team, routing, limits):
            super().__init__(team, routing.model_copy(update={"candidate": candidate}), limits)

        def unit(self, *args, **kwargs):
            said = super().unit(*args, **kwargs)
            rows.extend(self.world.shadows)
            assigned = [(e.subject, e.data["agent_id"]) for e in said if e.type.value == "conversation.assigned.v1"]
            compared = [(row.subject, row.live_agent) for row in self.world.shadows if row.live_agent is not None]
            assert compared == assigned, "each assignment, in order, and nothing else"
            return said

    alone, beside = Player(mode, 2), Player(mode, 2, Watched)
    assert alone.driver.book.routing("x", at(0)) == ROUTING[mode]
    for action in history:
        alone.play(action)
        beside.play(action)
    for player in (alone, beside):
        player.driver.pass_to(player.driver.t + 60)
    values = [
        [output(emission, id_of(emission)).value for emission in player.driver.said] for player in (alone, beside)
    ]
    assert values[0] == values[1]
    states = [
        msgspec.msgpack.encode(
            [sorted(player.driver.world.agents.items()), sorted(player.driver.world.requests.items())]
        )
        for player in (alone, beside)
    ]
    assert states[0] == states[1], "and nothing of what is kept"
    assert len({(row.request_id, row.attempt) for row in rows}) == len(rows)
    for row in rows:
        assert (row.agreement is Agreement.SAME) == (row.agent == row.live_agent), json.dumps(
            row._asdict(), default=str
        )
