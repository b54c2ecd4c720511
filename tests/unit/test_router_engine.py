"""The engine's parts, one by one: who people are, who comes next, who is chosen, surges, nights, complaints, estimates."""

import pytest
from tests.unit.router_driver import SHOP, Driver, agent, at, told

from deskline.config.documents import (
    AgentsDocument,
    Calendar,
    CalendarsDocument,
    LimitsDocument,
    RoutingCondition,
    RoutingDocument,
    RoutingRule,
    SlaDocument,
    Step,
    TierRule,
    Weekly,
)
from deskline.config.routing_document import (
    Choice,
    Complaints,
    Night,
    Notices,
    Order,
    Qualification,
    Surge,
    Threshold,
    Trainees,
    Turns,
)
from deskline_router.model import State
from deskline_router.policy.people import qualified, reserve_of

ANYBODY = RoutingRule(rule_id="any", steps=(Step(keep_skills=False),))


def routing(*rules, **fields):
    return RoutingDocument(rules=rules or (ANYBODY,), **fields)


def assigned(said):
    return [f"{e.subject} {e.data['agent_id']}" for e in said if "explanation" in e.data]


def explanation(said):
    return next(e.data["explanation"] for e in reversed(said) if "explanation" in e.data)


# --- who the customer is ------------------------------------------------------------------------------------------------

TIERS = (
    TierRule(tier="vip", flags=("vip",)),
    TierRule(tier="high_spend", min_total_spend=1000),
    TierRule(tier="high_spend", min_average_order=500, min_orders=2),
    TierRule(tier="vip", min_orders=10),
    TierRule(tier="watch", min_complaints=2),
    TierRule(tier="repeat", min_orders=3),
    TierRule(tier="new", max_orders=0),
)


@pytest.mark.parametrize(
    ("customer", "tier"),
    [
        ({"tier": "vip"}, "vip"),
        ({"tier": "gold"}, "gold"),
        ({}, "regular"),
        ({"total_spend": "1000.00"}, "high_spend"),
        ({"total_spend": "999.99"}, "regular"),
        ({"average_order": "500", "order_count": 2}, "high_spend"),
        ({"average_order": "500", "order_count": 1}, "regular"),
        ({"order_count": 10}, "vip"),
        ({"order_count": 3}, "repeat"),
        ({"order_count": 0}, "new"),
        ({"order_count": 1}, "regular"),
    ],
)
def test_a_customers_tier_follows_from_what_is_known_of_him(customer, tier):
    driver = Driver([], routing(tiers=TIERS))
    driver.received("m1", **customer)
    driver.handover("m1")
    assert driver.request().tier == tier


def test_a_thinner_profile_in_another_conversation_lowers_nobody():
    driver = Driver([], routing(tiers=TIERS))
    driver.received("m1", "c1", total_spend="5000", order_count=12)
    driver.replied("m1", "c1")
    driver.t = 100
    driver.received("m1", "c2")
    driver.handover("m1", "c2")
    assert driver.request("c2").tier == "high_spend"


def test_the_newest_statement_of_each_thing_counts_whatever_the_order_of_arrival():
    driver = Driver([], routing(tiers=TIERS))
    driver.t = 100
    driver.received("m1", "c1", tier="gold", time=90)
    driver.received("m1", "c2", tier="vip", time=80)
    driver.asked("m1", "c3")
    assert driver.request("c3").tier == "gold"


def test_complaints_of_all_conversations_are_counted_once_each():
    driver = Driver([], routing(tiers=TIERS))
    for n in range(2):
        driver.received("m1", f"c{n}")
        driver.complaint(f"k{n}", f"c{n}")
        driver.complaint(f"k{n}", f"c{n}")
    driver.asked("m1", "c9")
    assert driver.request("c9").tier == "watch"


# --- who the agent is ---------------------------------------------------------------------------------------------------


def test_certifications_and_training_raise_grade_and_skills_and_lower_nothing():
    rules = (
        Qualification(certifications=("refund-1",), skills={"refund": 3}),
        Qualification(certifications=("refund-1",), training_hours={"complaints": 40}, grade="senior"),
    )
    anna = agent("anna", grade="trainee", skills={"refund": 1}, certifications=("refund-1",))
    assert (qualified(anna, rules).grade, qualified(anna, rules).skills) == ("trainee", {"refund": 3})
    trained = anna.model_copy(update={"training_hours": {"complaints": 40}})
    assert qualified(trained, rules).grade == "senior"
    expert = trained.model_copy(update={"grade": "supervisor", "skills": {"refund": 5}})
    assert qualified(expert, rules) is expert


def test_what_a_certificate_gives_counts_when_somebody_is_chosen():
    driver = Driver([agent("anna", certifications=("refund-1",))], routing(RoutingRule(rule_id="r", steps=(Step(),))))
    driver.online("anna")
    assert told(driver.asked("m1", skills=("refund",))) == ["queued"]
    more = AgentsDocument(
        agents=(agent("anna", certifications=("refund-1",)),),
        qualifications=(Qualification(certifications=("refund-1",), skills={"refund": 2}),),
    )
    driver.book.install("_default", "agents", more, version=2, in_force_at=at(10))
    driver.t = 10
    assert assigned(driver.unit()) == ["c1 anna"]


def test_a_channel_has_its_own_limit_below_the_capacity():
    driver = Driver([agent("anna", capacity=5, channels={"phone": 1})], routing()).online("anna")
    said = []
    for n, channel in enumerate(("phone", "phone", "web")):
        said += driver.received("m1", f"c{n}", channel=channel) + driver.handover("m1", f"c{n}")
    assert assigned(said) == ["c0 anna", "c2 anna"]
    assert assigned(driver.closed("c0")) == ["c1 anna"]


def test_whoever_waits_for_the_customer_has_room_for_another():
    turns = Turns(agent=1, customer=0.5)
    driver = Driver([agent("anna", capacity=2)], routing(turns=turns)).online("anna")
    for n in range(4):
        driver.asked("m1", f"c{n}")
    assert driver.world.agents["anna"].load == 2
    driver.t = 1
    assert told(driver.sent("anna", "c0")) == []  # 1.5 taken: no room for one that counts full
    said = driver.sent("anna", "c1")  # 1
    assert (assigned(said), said[0].data["load"]) == (["c2 anna"], 2)
    driver.t = 2
    driver.received("m2", "c0")  # his turn again: above the capacity, and nothing is taken away
    assert driver.world.agents["anna"].load == 2.5
    driver.closed("c2")
    driver.closed("c1")
    assert driver.world.agents["anna"].load == 2  # c0 and c3, which had waited


def test_the_place_of_an_ended_conversation_stays_taken_while_it_is_wrapped_up():
    driver = Driver([agent("anna", capacity=1, wrap_up_s=20)], routing()).online("anna")
    driver.asked("m1", "c1")
    driver.asked("m1", "c2")
    driver.t = 10
    said = driver.closed("c1")
    assert (told(said), said[0].data["load"]) == (["released closed"], 0)
    driver.t = 29.9
    assert driver.unit() == []
    driver.t = 30
    assert assigned(driver.unit()) == ["c2 anna"]


def test_outside_his_shift_an_agent_gets_nothing_new():
    shifts = CalendarsDocument(
        default="always",
        calendars={
            "always": Calendar(timezone="UTC", weekly=Weekly(**dict.fromkeys(Weekly.model_fields, ("00:00-24:00",)))),
            "early": Calendar(timezone="UTC", weekly=Weekly(wed=("09:01-12:00",))),  # START is a Wednesday, 09:00
        },
    )
    driver = Driver([agent("anna", shift="early")], routing(), calendars=shifts).online("anna")
    assert told(driver.asked("m1")) == ["queued"]
    driver.t = 59
    assert driver.unit() == []
    driver.t = 60
    assert assigned(driver.unit()) == ["c1 anna"]


# --- who comes next -----------------------------------------------------------------------------------------------------


def served(driver, name="anna"):
    """The order in which one agent with one place gets those who wait, two seconds each."""
    order = []
    driver.online(name)
    while subject := next((s for s, r in driver.world.requests.items() if r.state is State.HELD), None):
        order.append(subject)
        driver.t += 2
        driver.closed(subject)
    return order


def waiting(order, *arrivals):
    """Each arrival: (name, second, tier, priority)."""
    driver = Driver([agent("anna", capacity=1)], routing(order=order))
    for name, second, tier, priority in arrivals:
        driver.t = second
        driver.received("m1", name, tier=tier, customer=name)
        driver.handover("m1", name, priority=priority)
    driver.t = 200
    return driver


ARRIVALS = (
    ("old", 0, "regular", 50),
    ("vip", 150, "vip", 50),
    ("new", 190, "regular", 50),
    ("urgent", 195, "regular", 70),
)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # index = weight × (0.5 + wait / 180): old 0.5 + 200/180 = 1.61; vip 4 × (0.5 + 50/180) = 3.11; new 0.56;
        # urgent 4 × (0.5 + 5/180) = 2.11
        (Order(), ["vip", "urgent", "old", "new"]),
        (Order(tier_weights={"regular": 1}), ["urgent", "old", "vip", "new"]),
        (Order(by="priority"), ["urgent", "old", "vip", "new"]),
        (Order(by="arrival"), ["old", "vip", "new", "urgent"]),
    ],
)
def test_the_order_of_service_is_the_shops(order, expected):
    assert served(waiting(order, *ARRIVALS)) == expected


def test_nobody_starves_behind_a_stream_of_important_ones():
    """One regular request, and a VIP every two seconds for one agent who needs two: it is served when it has waited for
    0.5 + w/180 > 4 × (0.5 + v/180), where v is what the VIPs wait.
    """
    driver = Driver([agent("anna", capacity=1)], routing()).online("anna")
    driver.received("m1", "first", tier="vip", customer="first")
    driver.handover("m1", "first")
    driver.asked("m1", "regular")
    when = None
    for n in range(400):
        driver.t = 2 * n + 1
        driver.received("m1", f"v{n}", tier="vip", customer=f"v{n}")
        driver.handover("m1", f"v{n}")
        driver.t = 2 * n + 2
        held = next(iter(driver.world.live["anna"]))
        if held == "regular":
            when = driver.t
            break
        driver.closed(held)
    assert when is not None
    assert 270 < when < 290  # 4 × (0.5 + 1/180) × 180 - 90 = 274


def test_the_faster_service_of_two_equals_comes_first():
    order = Order(handling_s={"quick": 60, "slow": 600})
    driver = Driver([agent("anna", capacity=1)], routing(order=order))
    for name in ("slow", "quick"):
        driver.asked("m1", name, skills=(name,))
    assert served(driver) == ["quick", "slow"]


def test_a_shorter_sla_target_counts_sooner():
    sla = SlaDocument(
        policies=({"policy_id": "p", "when": {"channels": ["phone"]}, "targets": {"agent_response": 20}},)
    )
    driver = Driver([agent("anna", capacity=1)], routing(), sla=sla)
    driver.asked("m1", "web")
    driver.t = 5
    driver.received("m1", "phone", channel="phone")
    driver.handover("m1", "phone")
    driver.t = 15  # 0.5 + 10/20 against 0.5 + 15/180
    assert served(driver) == ["phone", "web"]


# --- who is chosen ------------------------------------------------------------------------------------------------------


def test_skills_and_grade_beyond_what_is_asked_for_are_spared():
    team = [
        agent("expert", skills={"tax": 5, "law": 5, "vat": 5}, grade="senior"),
        agent("plain", skills={"tax": 3}, grade="standard"),
    ]
    rule = RoutingRule(rule_id="r", steps=(Step(proficiency=2),))
    driver = Driver(team, routing(rule)).online("expert", "plain")
    assert assigned(driver.asked("m1", skills=("tax",))) == ["c1 plain"]
    blind = Driver(team, routing(rule, choice=Choice(surplus=0))).online("expert", "plain")
    assert assigned(blind.asked("m1", skills=("tax",))) == ["c1 expert"]


def test_among_equals_whoever_has_had_less_work_for_his_capacity_is_chosen():
    team = [agent("big", capacity=4), agent("small", capacity=1)]
    driver = Driver(team, routing()).online("big", "small")
    given = []
    for n in range(10):
        driver.t = 10 * n
        given += [word.split()[1] for word in assigned(driver.asked("m1", f"c{n}"))]
        driver.t += 5
        driver.closed(f"c{n}")
    # Nobody has anything when the next one comes. One of small's is 600 s of work, one of big's 150 s.
    assert given == ["big", "small", "big", "big", "big", "big", "small", "big", "big", "big"]


def test_every_rejected_agent_has_his_first_failed_condition_with_its_numbers():
    team = [
        agent("anna", skills={"tax": 4}),
        agent("full", skills={"tax": 5}, capacity=1),
        agent("low", skills={"tax": 2}),
        agent("none"),
        agent("gone", skills={"tax": 5}),
        agent("young", grade="trainee", skills={"tax": 5}),
    ]
    rule = RoutingRule(rule_id="r", steps=(Step(proficiency=3, grades=("standard", "senior")),))
    driver = Driver(team, routing(rule)).online("full")
    driver.asked("m1", "c0", skills=("tax",))
    driver.online("anna", "low", "none", "young")
    why = explanation(driver.asked("m1", "c1", skills=("tax",)))
    assert why["rejected"] == {"full": 1, "grade": 1, "offline": 1, "proficiency": 1, "skill": 1}
    assert (why["considered"], why["eligible"]) == (6, 1)
    assert {c["agent_id"]: (c.get("failed"), c.get("numbers")) for c in why["candidates"]} == {
        "anna": (None, None),
        "low": ("proficiency", "tax 2, not 3"),
        "none": ("skill", "no tax"),
        "young": ("grade", "trainee, not standard or senior"),
        "full": ("full", "1 of 1"),
        "gone": ("offline", None),
    }
    assert set(why["chosen"]["score_parts"]) == {"load", "surplus", "last", "busy_s", "request"}


def test_an_explanation_is_bounded_however_many_agents_there_are():
    team = [agent(f"a{n:03}", skills={"tax": n % 4} if n % 4 else {}) for n in range(300)]
    driver = Driver(team, routing(RoutingRule(rule_id="r", steps=(Step(proficiency=3),))))
    driver.online(*(a.agent_id for a in team))
    why = explanation(driver.asked("m1", skills=("tax",)))
    assert len(why["candidates"]) == 8
    assert why["considered"] == 300 == why["eligible"] + sum(why["rejected"].values())


# --- VIPs, newcomers, own agents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "flags", "gets"),
    [("regular", (), "tom"), ("vip", (), None), ("high_spend", (), None), ("regular", ("complaint",), None)],
)
def test_a_trainee_gets_neither_important_customers_nor_complaints_whatever_a_step_admits(tier, flags, gets):
    driver = Driver([agent("tom", grade="trainee")], routing()).online("tom")
    driver.received("m1", tier=tier)
    said = driver.handover("m1", flags=flags) + driver.pass_to(7200)
    assert assigned(said) == ([] if gets is None else [f"c1 {gets}"])
    if gets is None:
        assert said[0].data["required"]["grades"] == ["standard", "senior", "supervisor"]


def test_whom_trainees_never_get_is_the_shops_to_say():
    driver = Driver([agent("tom", grade="trainee")], routing(trainees=Trainees(never_tiers=()))).online("tom")
    driver.received("m1", tier="vip")
    assert assigned(driver.handover("m1")) == ["c1 tom"]


def test_of_newcomers_at_most_the_share_comes_by_the_trainees_step():
    steps = (Step(grades=("trainee",), share=0.3, wait_s=60), Step(grades=("standard",)))
    team = [agent("tom", grade="trainee", capacity=100), agent("sue", capacity=100)]
    driver = Driver(team, routing(RoutingRule(rule_id="new", steps=steps))).online("tom", "sue")
    given = [assigned(driver.asked("m1", f"c{n}"))[0].split()[1] for n in range(40)]
    assert given.count("tom") == 12
    for n in range(1, 40):
        assert given[:n].count("tom") <= 0.3 * n


def test_what_a_trainee_has_too_long_is_handed_up():
    steps = (Step(grades=("trainee",), hand_up_s=300, wait_s=60), Step(grades=("standard", "senior")))
    team = [agent("tom", grade="trainee"), agent("sue")]
    driver = Driver(team, routing(RoutingRule(rule_id="new", steps=steps))).online("tom", "sue")
    assert assigned(driver.asked("m1")) == ["c1 tom"]
    assert driver.pass_to(299.9) == []
    said = driver.pass_to(300)
    assert told(said) == ["revoked reassigned", "queued", "assigned sue"]
    assert said[-1].data["explanation"]["step"] == 2
    assert driver.pass_to(3600) == []


def test_a_customer_comes_to_the_agent_who_had_him_last_unless_he_has_one_of_his_own():
    rule = RoutingRule(rule_id="r", steps=(Step(own_agent=True, wait_s=30), Step()))
    driver = Driver([agent("anna"), agent("bo"), agent("carl")], routing(rule)).online("anna", "bo", "carl")
    assert assigned(driver.asked("m1", "c1")) == ["c1 anna"]
    driver.t = 50
    driver.closed("c1")
    driver.t = 100
    assert assigned(driver.asked("m1", "c2")) == ["c2 anna"]
    driver.received("m1", "c3", dedicated_agent_id="carl")
    assert assigned(driver.handover("m1", "c3")) == ["c3 carl"]


def test_the_wait_for_the_own_agent_is_a_part_of_the_sla_time_left():
    rule = RoutingRule(rule_id="r", steps=(Step(own_agent=True, sla_share=0.25), Step()))
    driver = Driver([agent("anna"), agent("mine", capacity=1)], routing(rule)).online("anna", "mine")
    driver.received("m1", "c0", dedicated_agent_id="mine")
    assert assigned(driver.handover("m1", "c0")) == ["c0 mine"]
    driver.t = 10
    driver.received("m1", "c1", dedicated_agent_id="mine")
    driver.t = 70
    # Waited since 10, due at 10 + 180 = 190: 120 s are left, a quarter is 30.
    assert told(driver.handover("m1", "c1", since=10)) == ["queued"]
    assert driver.pass_to(99.9) == []
    assert told(driver.pass_to(100)) == ["queued", "assigned anna"]


def test_an_own_agent_who_may_not_take_it_is_not_waited_for():
    rule = RoutingRule(rule_id="r", steps=(Step(own_agent=True, proficiency=5, wait_s=600), Step()))
    driver = Driver([agent("anna", skills={"tax": 1}), agent("mine", skills={"tax": 2})], routing(rule))
    driver.online("anna", "mine")
    driver.received("m1", dedicated_agent_id="mine")
    assert told(driver.handover("m1", skills=("tax",))) == ["queued", "assigned anna"]


def test_a_rule_may_hold_by_the_hour():
    night = RoutingRule(rule_id="night", when=RoutingCondition(hours=("22:00-09:30",)), steps=(Step(),))
    driver = Driver([agent("anna")], routing(night, ANYBODY)).online("anna")
    assert explanation(driver.asked("m1", "c1"))["rule"] == "night"
    driver.t = 1800
    assert explanation(driver.asked("m1", "c2"))["rule"] == "any"


def test_a_step_may_ask_for_skills_of_its_own():
    rule = RoutingRule(rule_id="r", steps=(Step(skills={"vip": 3}, wait_s=10), Step()))
    driver = Driver([agent("anna"), agent("bo", skills={"vip": 3, "a": 5, "b": 5})], routing(rule)).online("anna", "bo")
    said = driver.asked("m1")
    assert assigned(said) == ["c1 bo"]
    assert explanation(said)["required"]["skills"] == [{"skill": "vip", "proficiency": 3}]


# --- complaints ---------------------------------------------------------------------------------------------------------

ESCALATE = (
    RoutingRule(
        rule_id="complaints",
        when=RoutingCondition(flags=("complaint",)),
        priority=90,
        steps=(Step(grades=("supervisor",), wait_s=60), Step(grades=("senior", "supervisor"))),
    ),
    ANYBODY,
)
TEAM = [agent("anna"), agent("boss", grade="supervisor"), agent("sam", grade="senior")]


def test_a_complaint_is_taken_from_him_whom_it_is_about_and_goes_to_a_supervisor():
    driver = Driver(TEAM, routing(*ESCALATE, complaints=Complaints())).online("anna", "boss", "sam")
    assert assigned(driver.asked("m1")) == ["c1 anna"]
    driver.t = 10
    assert told(driver.complaint("k1")) == ["revoked reassigned", "queued", "assigned boss"]


def test_while_the_complaint_is_open_he_never_gets_the_conversation_and_afterwards_he_may():
    team = [agent("boss", grade="supervisor"), agent("other", grade="supervisor")]
    driver = Driver(team, routing(*ESCALATE, complaints=Complaints())).online("boss")
    driver.asked("m1")
    driver.t = 10
    assert told(driver.complaint("k1")) == ["revoked reassigned", "queued"]
    driver.t = 20
    driver.closed()
    driver.t = 3600
    said = driver.asked("m2")
    assert (told(said), said[0].data["priority"]) == (["queued"], 90)  # still a complaint
    assert driver.pass_to(7200)[-1].type.value == "conversation.queued.v1"
    assert assigned(driver.complaint_closed("k1")) == ["c1 boss"]


def test_without_that_policy_he_is_chosen_last():
    team = [agent("anna"), agent("bo", skills={"a": 5, "b": 5})]
    driver = Driver(team, routing()).online("anna", "bo")
    assert assigned(driver.asked("m1")) == ["c1 anna"]
    driver.t = 10
    assert told(driver.complaint("k1")) == []
    driver.t = 20
    driver.closed()
    driver.t = 30
    assert assigned(driver.asked("m2")) == ["c1 bo"]


def test_a_complaint_without_a_request_goes_past_who_wrote_last():
    driver = Driver([agent("anna"), agent("bo")], routing(complaints=Complaints())).online("anna", "bo")
    driver.received("m1")
    driver.sent("anna")
    driver.t = 10
    assert assigned(driver.complaint("k1")) == ["c1 bo"]


# --- surge --------------------------------------------------------------------------------------------------------------

SURGE = Surge(enter=Threshold(queue=3), leave=Threshold(queue=1), calm_s=60, capacity_added=1, capacity_limit=3)


def test_in_a_surge_the_reserve_is_called_and_capacities_rise_and_both_end_with_it():
    team = [agent("anna", capacity=1), agent("kept", capacity=1, reserve=True)]
    driver = Driver(team, routing(surge=SURGE)).online("anna", "kept")
    said = []
    for n in range(4):
        driver.t = n
        said.append(assigned(driver.asked("m1", f"c{n}")))
    # anna; two wait, with the third the surge begins: kept has two places, anna one more. At half of their capacity each,
    # kept is the one who has had less work for it.
    assert said == [["c0 anna"], [], [], ["c1 kept", "c2 kept", "c3 anna"]]
    (word,) = driver.surges
    assert word.entered
    assert word.data == {"shop_id": SHOP, "cause": "queue", "reserve_agents": ["kept"], "capacity_added": 1}
    assert driver.said[-1].data["capacity"] == 2
    driver.t = 10
    driver.closed("c1")
    for t in (69, 70):
        driver.t = t
        driver.unit()
    left = driver.surges[-1]
    assert (left.entered, left.data["cause"], left.at) == (False, "calm", at(70))
    driver.closed("c3")  # anna has one of one
    assert assigned(driver.asked("m1", "c8")) == []
    assert driver.world.capacity(driver.world.agents["anna"]) == 1


def test_what_comes_and_goes_around_the_threshold_is_one_surge():
    driver = Driver([agent("anna", capacity=1)], routing(surge=SURGE))
    for n in range(3):
        driver.asked("m1", f"c{n}")
    for n in range(20):
        driver.t = 30 * n
        driver.closed(f"c{n}")
        driver.t += 1
        driver.unit()
        driver.asked("m1", f"c{n + 3}")
    assert [word.entered for word in driver.surges] == [True]


@pytest.mark.parametrize("part", ["wait_s", "arrivals_per_min"])
def test_a_surge_begins_by_the_wait_or_the_rate_as_well(part):
    surge = Surge(enter=Threshold(**{part: 5}), leave=Threshold(**{part: 1}))
    driver = Driver([agent("anna", capacity=0)], routing(surge=surge))
    if part == "wait_s":
        driver.asked("m1")
        driver.t = 4.9
        driver.unit()
        assert driver.surges == []
        driver.t = 5
        driver.unit()
    else:
        for n in range(5):
            assert driver.surges == []
            driver.t = n
            driver.asked("m1", f"c{n}")
    assert [word.data["cause"] for word in driver.surges] == [part]


def test_a_third_of_each_grade_is_the_reserve_where_nobody_is_marked():
    agents = {
        name: agent(name, grade=grade)
        for grade in ("standard", "senior")
        for name in (f"{grade}-{n}" for n in range(10))
    }
    assert reserve_of(agents, 0.3) == {f"{grade}-{n}" for grade in ("standard", "senior") for n in (7, 8, 9)}
    marked = agents | {"x": agent("x", reserve=True)}
    assert reserve_of(marked, 0.3) == {"x"}


# --- nights -------------------------------------------------------------------------------------------------------------

HOURS = CalendarsDocument(
    default="shop",
    calendars={
        "shop": Calendar(timezone="UTC", weekly=Weekly(wed=("10:00-18:00",))),
        "day": Calendar(timezone="UTC", weekly=Weekly(wed=("08:00-20:00",))),
    },
)
OPENS = 3600  # START is 09:00


def test_what_comes_outside_hours_waits_for_opening_and_its_steps_begin_then():
    rule = RoutingRule(rule_id="r", steps=(Step(grades=("senior",), wait_s=30), Step()))
    driver = Driver([agent("anna")], routing(rule), calendars=HOURS).online("anna")
    assert told(driver.asked("m1")) == ["queued"]
    assert assigned(driver.pass_to(OPENS + 29.9)) == []
    assert driver.request().step == 0
    assert assigned(driver.pass_to(OPENS + 30)) == ["c1 anna"]


def test_a_shop_may_serve_outside_its_hours():
    driver = Driver([agent("anna")], routing(night=Night(off_hours="serve")), calendars=HOURS).online("anna")
    assert assigned(driver.asked("m1")) == ["c1 anna"]


def test_the_night_is_shared_out_over_those_whose_shift_has_begun_oldest_first():
    team = [agent(name, capacity=5, shift="day") for name in ("anna", "bo", "carl")]
    driver = Driver(team, routing(notices=Notices(position_every_s=None)), calendars=HOURS).online("anna")
    for n in range(6):
        driver.t = n
        driver.asked("m1", f"c{n}")
    # Six over three: two each. anna alone is there, and takes her two.
    assert assigned(driver.pass_to(OPENS)) == ["c0 anna", "c1 anna"]
    driver.t = OPENS + 10
    assert assigned(driver.status("bo", "online")) == ["c2 bo", "c3 bo"]
    # carl does not come: after five minutes what is left of the night is anybody's.
    assert driver.pass_to(OPENS + 299) == []
    driver.t = OPENS + 300
    assert sorted(word.split()[0] for word in assigned(driver.unit())) == ["c4", "c5"]


def test_during_the_sharing_those_who_come_by_day_are_not_held_back():
    team = [agent(name, capacity=5, shift="day") for name in ("anna", "bo")]
    driver = Driver(team, routing(), calendars=HOURS).online("anna")
    for n in range(4):
        driver.asked("m1", f"c{n}")
    driver.pass_to(OPENS)
    driver.t = OPENS + 5
    assert assigned(driver.asked("m1", "day")) == ["day anna"]


# --- positions and estimates --------------------------------------------------------------------------------------------


def test_positions_and_estimates_are_told_again_where_they_have_changed_and_not_more_often():
    notices = Notices(position_every_s=30)
    driver = Driver([agent("anna", capacity=1)], routing(notices=notices)).online("anna")
    for n in range(8):
        driver.t = (n - 7) / 1000
        driver.asked("m1", f"c{n}")
    for n in range(6):
        driver.t = 20 * (n + 1)
        driver.closed(f"c{n}")
    words = [e for e in driver.said if e.subject == "c7" and "position" in e.data]
    # Told at 0 as the seventh who waits, and then not within 30 s: in the units of 40, 80 and 120.
    assert [(e.at - at(0)) / 1e6 for e in words] == [0, 40, 80, 120]
    assert [e.data["position"] for e in words] == [7, 5, 3, 1]
    # One comes to his turn every 20 s, which is known from the second on.
    assert [e.data.get("estimated_wait_s") for e in words] == [None, 100, 60, 20]


def test_no_more_positions_are_told_in_a_second_than_the_shop_allows():
    driver = Driver([], routing(notices=Notices(position_every_s=30, most_per_s=5)))
    driver.batch()
    for n in range(20):
        driver.received("m1", f"c{n}", time=n / 1000)
        driver.handover("m1", f"c{n}", since=n / 1000)
    driver.flush()
    driver.closed("c0")
    driver.t = 31
    assert [len(driver.unit()) for _ in range(2)] == [5, 0]
    driver.t = 32
    assert len(driver.unit()) == 5


def test_the_error_of_an_estimate_is_what_the_wait_was_longer():
    driver = Driver([agent("anna", capacity=1)], routing()).online("anna")
    errors = []
    for n in range(12):
        driver.asked("m1", f"c{n}")
    for n in range(12):
        # Every 10 s, until the last ones have to wait 5 s longer than they were told after a minute.
        driver.t = 10 * (n + 1) + (5 if n > 8 else 0)
        driver.closed(next(iter(driver.world.live["anna"])))
        errors += driver.world.errors
    assert errors == [0, 0, 0, 5, 5]
    driver.t = 200
    assert told(driver.asked("m1", "z")) == ["queued", "assigned anna"]
    assert driver.said[-2].data["estimated_wait_s"] == 0  # somebody was free


def test_the_limit_of_the_queue_does_not_count_who_is_served_at_once():
    driver = Driver([agent("anna", capacity=1)], routing(), LimitsDocument(queue_limit=1)).online("anna")
    driver.asked("m1", "c0")
    driver.asked("m1", "c1")
    assert told(driver.asked("m1", "c2")) == ["queued", "released queue_full"]
