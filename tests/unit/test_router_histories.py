"""Random histories of days with everything the engine has switched on and off, against two independent judges.

* The contract's rules 6.2 to 6.5, judged from inputs and outputs alone (``test_router_properties``).
* A naive reference (``router_reference``) that looks at every request and every agent: each time that anybody may be assigned,
  the engine must make the very assignments that it makes, in its order; so too where it makes none.

The histories are numbered: a failure names its own, which ``play(number)`` plays again.
"""

import random
from collections import defaultdict
from typing import Any

import pytest
from tests.unit import test_router_properties as judge
from tests.unit.router_driver import Driver, agent, at
from tests.unit.router_reference import expected
from tests.unit.test_router_properties import AGENTS, SUBJECTS, Player

from deskline.config.documents import (
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
    Calling,
    Choice,
    Complaints,
    Night,
    Notices,
    Order,
    SlaAction,
    SlaActions,
    Surge,
    Threshold,
    Turns,
)
from deskline_router.model import State, Told
from deskline_router.policy import matching

BATCHES = 20
ALWAYS = Weekly(**dict.fromkeys(Weekly.model_fields, ("00:00-24:00",)))


# --- what may be configured -------------------------------------------------------------------------------------------


def configuration(r: random.Random) -> dict[str, Any]:
    team = {
        "anna": agent(
            "anna", skills={"tax": 3}, grade="senior", capacity=1, groups=("front",), languages=("en",),
            shift=r.choice((None, None, "early")),
        ),
        "bo": agent("bo", capacity=2, wrap_up_s=r.choice((None, None, 6)), reserve=r.choice((None, None, True))),
        "carl": agent(
            "carl", skills={"tax": 1, "vip": 5}, grade=r.choice(("trainee", "supervisor")), capacity=3,
            channels=r.choice((None, None, {"web": 1})), shift=r.choice((None, None, "early")),
        ),
    }  # fmt: skip
    steps = [
        Step(own_agent=True, wait_s=4, sla_share=r.choice((None, 0.01))),
        Step(proficiency=2, grades=("senior", "standard", "trainee"), wait_s=6, hand_up_s=r.choice((None, 9))),
        Step(grades=("trainee", "standard"), share=r.choice((None, 0.4)), wait_s=5),
        Step(
            skills=r.choice((None, {"tax": 1})),
            groups=r.choice((None, ("front",))),
            language=r.random() < 0.2,
            wait_s=5,
        ),
    ]
    rules = (
        RoutingRule(
            rule_id="loud",
            when=RoutingCondition(flags=("complaint",)),
            priority=80,
            steps=(Step(grades=("supervisor", "senior"), wait_s=7), Step(keep_skills=False)),
        ),
        RoutingRule(
            rule_id="called",
            when=RoutingCondition(flags=("supervisor_called",)),
            steps=(Step(wait_s=4), Step(grades=("supervisor",), wait_s=7), Step(keep_skills=False)),
        ),
        RoutingRule(
            rule_id="r",
            steps=(*r.sample(steps, r.randint(0, 4)), Step(keep_skills=False)),
        ),
    )
    rules = rules[r.randint(0, 2) :]
    by_step = ("supervisor_step",) if len(rules) > 1 else ()
    surge = Surge(
        enter=Threshold(queue=2), leave=Threshold(queue=0), calm_s=5, capacity_added=r.choice((0, 1)), capacity_limit=3
    )
    routing = RoutingDocument(
        mode=r.choice(("assigned", "offered")),
        accept_s=7,
        pause_after_missed=2,
        rules=rules,
        tiers=r.choice(((), (TierRule(tier="vip", min_orders=3), TierRule(tier="watch", min_complaints=2)))),
        order=Order(
            by=r.choice(("cost", "cost", "priority", "arrival")),
            growth=r.choice((1, 2, 0.5)),
            handling_s=r.choice((None, {"tax": 30})),
        ),
        choice=Choice(surplus=r.choice((0, 0.2, 3))),
        turns=r.choice((Turns(), Turns(), Turns(customer=0.5))),
        sla_actions=SlaActions(
            supervisors=r.choice((("supervisor",), ("supervisor", "senior"))),
            remind=SlaAction(raise_by=r.choice((0, 7))),
            call_supervisor=Calling(
                flags=r.choice(((), ("supervisor_called",), ("complaint",))),
                waiting=r.choice(("supervisors", "supervisors", "keep", *by_step)),
                held=r.choice(("supervisors", "supervisors", "anybody", "keep")),
            ),
        ),
        complaints=r.choice((None, Complaints(), Complaints(take_back=False))),
        surge=r.choice((None, None, surge)),
        night=Night(off_hours=r.choice(("wait", "serve")), gather_s=r.choice((0, 20))),
        notices=Notices(position_every_s=r.choice((None, 30)), most_per_s=2),
    )
    # START is a Wednesday, 09:00: the shop opens after ten seconds, or has been open all night.
    opens = r.choice(("00:00-24:00", "09:00:10-20:00", "09:00:40-20:00"))
    calendars = CalendarsDocument(
        default="shop",
        calendars={
            "shop": Calendar(timezone="UTC", weekly=Weekly(wed=(opens,), thu=(opens,))),
            "early": Calendar(timezone="UTC", weekly=Weekly(wed=("08:00-09:00:30", "09:01-23:00"))),
        },
    )
    targets = r.choice(((), ({"policy_id": "p", "targets": {"agent_response": 20}},)))
    limits = LimitsDocument(
        queue_limit=r.choice((None, None, 1, 3)), offline_grace_s=10, reoffer_s=9, transfer_wait_s=5
    )
    return {
        "team": team, "routing": routing, "limits": limits, "calendars": calendars, "sla": SlaDocument(policies=targets),
    }  # fmt: skip


def action(r: random.Random) -> tuple[Any, ...]:
    subject, who, late = r.choice(SUBJECTS), r.choice(AGENTS), r.choice((0, 0, 0, -1, -20, 3))
    skills = tuple(r.sample(("tax", "vip"), r.choice((0, 0, 1, 2))))
    kinds: dict[str, tuple[int, tuple[Any, ...]]] = {
        "wait": (10, (r.choice((0.1, 0.1, 1, 3, 8, 11, 31)),)),
        "asked": (12, (subject, skills, r.choice((20, 50, 50, 90)))),
        "told": (4, (subject, skills, r.choice((None, 0, 5)), r.choice(("web", "phone")), r.choice((None, "en")))),
        "sent": (5, (subject, r.choice((*AGENTS, "holder", "holder")), late)),
        "status": (8, (who, r.choice(("online", "online", "away", "offline")), late, r.choice((None, None, 0, 1, 4)))),
        "message": (3, (subject, late, r.choice((None, "anna", "carl")))),
        "handover": (2, (subject, skills, r.randint(0, 100))),
        "ahead": (1, (subject, skills, r.random() < 0.5)),
        "reply": (2, (subject,)),
        "ignored": (2, (subject, r.choice(("human_owned", "waiting", "shadow", "empty")))),
        "accepted": (4, (subject,)),
        "declined": (2, (subject,)),
        "transfer": (2, (subject, who, r.choice((None, *AGENTS)), skills)),
        "complaint": (2, (subject, late)),
        "complaint_closed": (1, (subject,)),
        "closed": (6, (subject, late)),
        "clock": (3, (subject, r.sample(judge.ORDERS, r.choice((1, 1, 2))), r.random() < 0.5)),
        "again": (1, (r.randint(0, 1000),)),
        "stale": (2, (r.random() < 0.3,)),
        "batch": (2, (r.random() < 0.5,)),
    }
    kind = r.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
    return kind, *kinds[kind][1]


class Everything(Player):
    def __init__(self, conf: dict[str, Any]) -> None:
        self.driver = Driver(
            conf["team"].values(), conf["routing"], conf["limits"], calendars=conf["calendars"], sla=conf["sla"]
        )
        self.messages = {subject: [] for subject in SUBJECTS}
        self.count = 0
        self.driver.online("anna", "bo")

    def do_told(self, subject, skills, orders, channel, language):
        """By a customer of his own, who says more of himself."""
        self.count += 1
        name = f"m{self.count}"
        self.messages[subject].append(name)
        self.driver.received(name, subject, order_count=orders, channel=channel, customer=subject)
        self.driver.handover(name, subject, skills=skills, language=language)

    def do_complaint_closed(self, subject):
        self.driver.complaint_closed(f"k{self.count}", subject)


# --- the judges ---------------------------------------------------------------------------------------------------------


def play(number: int) -> None:
    r = random.Random(number)
    conf = configuration(r)
    actions = [action(r) for _ in range(r.randint(6, 40))]
    check(conf, actions)


def check(conf: dict[str, Any], actions: list[tuple[Any, ...]]) -> None:
    player = Everything(conf)
    for each in actions:
        player.play(each)
    player.finish()
    driver = player.driver
    judge.check_paths(driver.said)
    judge.check_one_live_assignment(driver.said)
    check_agents(driver.said, whole=conf["routing"].turns == Turns())
    check_statuses(driver)
    judge.check_every_hand_over_is_heard(driver)
    judge.check_nobody_is_forgotten(driver)
    judge.check_closes(driver)
    judge.check_ids(driver.said)
    check_surges(driver)
    check_trainees(driver, conf["team"])
    check_last_words(driver)


def check_agents(said, whole):
    """6.2, with weights, too: what is assigned is never above the capacity."""
    number, live = defaultdict(int), defaultdict(int)
    for e in said:
        if "agent_id" not in e.data:
            continue
        who = e.data["agent_id"]
        number[who] += 1
        live[who] += 1 if e.type is Told.ASSIGNED else -1
        assert e.data["agent_seq"] == number[who]
        if whole:
            assert e.data["load"] == live[who]
        if e.type is Told.ASSIGNED:
            assert e.data["load"] <= e.data["capacity"]


def check_statuses(driver):
    """6.3: every assignment relies on the last status that had been read, and it says online."""
    for number, e in judge.assignments_with_statuses(driver):
        last = judge.status_of(driver, e.data["agent_id"], number)
        assert last is not None
        assert last.status == "online"
        assert last.event_id == e.data["explanation"]["agent_state_id"]
        why = e.data["explanation"]
        assert why["considered"] == why["eligible"] + sum(why["rejected"].values())


def check_surges(driver):
    words = [word.entered for word in driver.surges]
    assert words == [index % 2 == 0 for index in range(len(words))]


def check_trainees(driver, team):
    """No complaint, but by a person's own wish; judged in the order of reading."""
    ends = ("complaint.closed.v1", "conversation.closed.v1")
    for index, e in enumerate(driver.said):
        if e.type is not Told.ASSIGNED or team[e.data["agent_id"]].grade != "trainee":
            continue
        required = e.data["explanation"]["required"]
        assert "trainee" in required.get("grades", ("trainee",))
        before = [i.type for i, said in driver.read_at if i.subject == e.subject and said <= index]
        if "complaint.opened.v1" in before and "agent" not in required:
            # A new request after the complaint's or the conversation's end may be no complaint.
            last = len(before) - 1 - before[::-1].index("complaint.opened.v1")
            assert any(kind in ends for kind in before[last:])


def check_last_words(driver):
    """What is told of those who wait is so: their step's requirement and their place in the queue's order of numbers."""
    for request in driver.world.requests.values():
        if request.state is State.QUEUED:
            last = [e for e in driver.said if e.subject == request.subject and e.type is Told.QUEUED][-1]
            assert (last.data["step"], last.data["priority"]) == (request.step + 1, request.priority)
            assert last.data.get("estimated_wait_s", 0) >= 0
            assert last.data["position"] >= 1


@pytest.fixture
def matched(monkeypatch):
    """Every matching is compared with the reference's."""
    real = matching.match

    def compared(world, compare):
        for shop_id in sorted(world.pending_shops):
            matching._prepared(world, shop_id)
        due = expected(world)
        before = len(world.emissions)
        real(world, compare)
        made = [(e.subject, e.data["agent_id"]) for e in world.emissions[before:] if e.type is Told.ASSIGNED]
        assert made == due, at(0)

    monkeypatch.setattr(matching, "match", compared)


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.usefixtures("matched")
def test_random_histories_keep_the_contract_and_agree_with_the_naive_reference(batch, request):
    count = request.config.getoption("--histories") // BATCHES
    for number in range(batch * 1_000_000, batch * 1_000_000 + count):
        try:
            play(number)
        except Exception as error:
            error.add_note(f"history {number}")
            raise
