"""The request's table, silence, ownership and transfers, case by case (contract §3 Owner, §4)."""

import pytest
from tests.unit.router_driver import Driver, agent, at, told

from deskline.config.documents import (
    AgentsDocument,
    LimitsDocument,
    RoutingCondition,
    RoutingDocument,
    RoutingRule,
    Step,
    TierRule,
)
from deskline.events.models import ComplaintOpened, TransferRequested
from deskline.events.wire import new
from deskline.ids import assignment_id, request_id
from deskline_router.model import State, Told
from deskline_router.policy.table import TABLE, IllegalTransitionError, Trigger, effect, move

OFFERED = RoutingDocument(mode="offered", accept_s=20, pause_after_missed=2)


def queued() -> Driver:
    driver = Driver([agent("anna")])
    assert told(driver.asked("m1")) == ["queued"]
    return driver


def offered() -> Driver:
    driver = Driver([agent("anna")], OFFERED).online("anna")
    assert told(driver.asked("m1")) == ["queued", "assigned anna"]
    return driver


def held() -> Driver:
    driver = Driver([agent("anna")]).online("anna")
    assert told(driver.asked("m1")) == ["queued", "assigned anna"]
    return driver


def none() -> Driver:
    driver = Driver([agent("anna")])
    driver.received("m1")
    driver.replied("m1")
    return driver


def ended() -> Driver:
    driver = queued()
    driver.t = 1
    assert told(driver.closed()) == ["released closed"]
    return driver


STATES = {"none": none, "queued": queued, "offered": offered, "held": held, "ended": ended}


def new_message_handed_over(driver):
    driver.t += 1
    return driver.asked("m9")


def complaint(driver):
    driver.t += 1
    return driver.complaint("k1")


def silence(driver):
    driver.t += 1
    return driver.received("m9") + driver.pass_to(driver.t + 3)


def accepted(driver):
    return driver.accepted("anna", _assignment(driver))


def written_by_her(driver):
    return driver.sent("anna")


def declined(driver):
    return driver.declined("anna", _assignment(driver))


def _assignment(driver):
    request = driver.world.requests.get("c1")
    return (request and request.assignment_id) or assignment_id("nothing", 1)


def goes_away(driver):
    return driver.status("anna", "away")


def goes_offline(driver):
    return driver.status("anna", "offline")


def offline_past_the_grace(driver):
    return driver.status("anna", "offline")[1:] + driver.pass_to(driver.t + 29.9) + driver.pass_to(driver.t + 0.2)


def reassigned_by_policy(driver):
    return driver.breached(("reassign",), agent="anna")


def transferred(driver):
    driver.t += 1
    return driver.transfer("anna")


def closed(driver):
    driver.t += 1
    return driver.closed()


CELLS = [
    # input, then what is told in each state: none, queued, offered, held, ended
    (new_message_handed_over, ["queued"], [], [], [], ["queued"]),
    (complaint, ["queued"], [], [], [], ["queued"]),
    (silence, ["queued"], [], [], [], ["queued"]),
    (accepted, [], [], [], [], []),
    (written_by_her, [], [], [], [], []),
    (declined, [], [], ["revoked declined"], [], []),
    (goes_away, [], [], ["revoked agent_away"], [], []),
    (goes_offline, [], [], ["revoked agent_offline"], [], []),
    (reassigned_by_policy, [], [], ["revoked reassigned"], ["revoked reassigned"], []),
    (transferred, [], [], [], ["released transferred", "queued", "assigned anna"], []),
    (closed, [], ["released closed"], ["released closed"], ["released closed"], []),
]


@pytest.mark.parametrize(
    ("state", "act", "expected"),
    [
        pytest.param(state, row[0], cell, id=f"{row[0].__name__}-{state}")
        for row in CELLS
        for state, cell in zip(STATES, row[1:], strict=True)
    ],
)
def test_every_cell_of_the_table_tells_what_the_contract_says(state, act, expected):
    driver = STATES[state]()
    # In state held the only step agent may get the request again at once; only the first event is the cell's.
    said = told(act(driver))
    assert said[: len(expected)] == expected
    if not expected:
        assert said == []


def test_an_accepted_offer_is_held_and_no_longer_expires():
    driver = offered()
    driver.t = 5
    accepted(driver)
    assert driver.request().state is State.HELD
    assert told(driver.pass_to(60)) == []


def test_a_message_of_the_offered_agent_takes_the_offer():
    driver = offered()
    driver.sent("anna")
    assert (driver.request().state, driver.owner()) == (State.HELD, "anna")


def test_an_offer_alone_is_no_ownership():
    assert offered().owner() is None


def test_an_offer_expires_at_accept_by_and_not_before():
    driver = offered()
    assert told(driver.pass_to(19.99)) == []
    said = driver.pass_to(20)
    assert told(said) == ["expired not_accepted"]
    assert said[0].data["agent_paused"] is False
    assert said[0].at == at(20)


def test_held_by_an_agent_who_stays_offline_goes_back_when_the_customer_waits():
    driver = held()
    assert told(driver.status("anna", "offline")) == []
    assert told(driver.pass_to(29.999)) == []
    assert told(driver.pass_to(30)) == ["revoked agent_offline"]
    assert driver.request().state is State.QUEUED


def test_held_by_an_agent_who_stays_offline_ends_when_nobody_waits():
    driver = held()
    driver.t = 1
    driver.sent("anna")
    driver.t = 2
    driver.status("anna", "offline")
    assert told(driver.pass_to(32)) == ["released agent_offline"]


@pytest.mark.parametrize("back", ["online", "away"])
def test_an_agent_back_within_the_grace_keeps_what_he_holds(back):
    driver = held()
    driver.status("anna", "offline")
    driver.t = 29
    driver.status("anna", back)
    assert told(driver.pass_to(100)) == []


def test_what_an_agent_holds_who_is_no_longer_configured_goes_back_when_he_leaves():
    driver = held()
    driver.book.install("_default", "agents", AgentsDocument(), version=2, in_force_at=at(5))
    driver.t = 6
    assert told(driver.status("anna", "offline")) == []
    assert told(driver.pass_to(36)) == ["revoked agent_offline"]


def test_one_from_whom_it_was_taken_back_gets_it_again_where_nobody_else_is():
    driver = held()
    assert told(driver.breached(("reassign",), agent="anna")) == ["revoked reassigned", "assigned anna"]
    driver = Driver([agent("anna"), agent("bo")]).online("anna")
    driver.asked("m1")
    driver.online("bo")
    driver.asked("m1", "c2")
    driver.asked("m1", "c3")
    assert driver.world.agents["anna"].load == 2
    assert told(driver.breached(("reassign",), "c1", agent="anna")) == ["revoked reassigned", "assigned bo"]


@pytest.mark.parametrize("trigger", [Trigger.ASSIGN, Trigger.OFFER, Trigger.FULL])
@pytest.mark.parametrize("state", [State.NONE, State.OFFERED, State.HELD, State.ENDED])
def test_a_decision_that_the_table_does_not_have_raises(trigger, state):
    with pytest.raises(IllegalTransitionError):
        move(trigger, state)


def test_the_table_in_code_has_the_cells_of_the_contract():
    cells = {trigger: "".join("-+"[effect(trigger, state) is not None] for state in State) for trigger in Trigger}
    #        none, queued, offered, held, ended
    assert cells == {
        Trigger.OPEN: "+++++",
        Trigger.ASSIGN: "-+---",
        Trigger.OFFER: "-+---",
        Trigger.ACCEPT: "--+--",
        Trigger.DECLINE: "--+--",
        Trigger.EXPIRE: "--+--",
        Trigger.AWAY: "--+--",
        Trigger.OFFLINE: "--+--",
        Trigger.OFFLINE_WAITED: "---+-",
        Trigger.OFFLINE_IDLE: "---+-",
        Trigger.TAKE_BACK: "--++-",
        Trigger.TRANSFER: "+--++",
        Trigger.FULL: "-+---",
        Trigger.CLOSE: "-+++-",
    }
    assert all(m.told is not Told.EXPIRED or trigger is Trigger.EXPIRE for (trigger, _), m in TABLE.items())


# --- opening, joining, ids ----------------------------------------------------------------------------------------


def test_ids_name_the_opener_so_a_silence_of_the_same_message_is_the_same_request():
    driver = queued()
    assert driver.request().request_id == request_id("c1", "message", "m1")
    said = Driver([agent("anna")])
    said.received("m1")
    assert said.pass_to(3)[0].data["request_id"] == request_id("c1", "message", "m1")


def test_a_join_adds_skills_and_only_raises_the_priority():
    driver = queued()
    driver.t = 1
    said = driver.asked("m2", skills=("refund",), priority=70)
    assert told(said) == ["queued"]
    assert (said[0].data["skills"], said[0].data["priority"]) == (["refund"], 70)
    assert told(driver.asked("m3", skills=("refund",), priority=10)) == []
    assert driver.request().priority == 70


def test_a_join_under_an_assignment_is_told_when_the_request_is_back_in_the_queue():
    driver = held()
    driver.t = 1
    assert told(driver.asked("m2", priority=80)) == []
    driver.status("anna", "offline")
    said = driver.pass_to(40)
    assert told(said) == ["revoked agent_offline", "queued"]
    assert said[1].data["priority"] == 80


def test_a_late_word_on_a_message_whose_request_has_ended_opens_nothing():
    driver = held()
    driver.t = 1
    driver.sent("anna")
    driver.status("anna", "offline")
    assert told(driver.pass_to(40)) == ["released agent_offline"]
    assert told(driver.ignored("m1", "human_owned")) == []


def test_a_hand_over_for_a_message_at_or_before_the_last_close_opens_nothing():
    driver = Driver()
    driver.received("m1")
    driver.t = 1
    driver.closed(time=0)
    assert told(driver.handover("m1", since=0)) == []


def test_a_hand_over_read_before_its_message_opens_at_once():
    driver = Driver()
    assert told(driver.handover("m1")) == ["queued"]
    assert told(driver.received("m1")) == []
    assert told(driver.pass_to(150)) == ["queued"]  # the second step of the default rule, and no silence


def test_a_duplicate_has_no_effect():
    driver = Driver()
    event = driver.event("conversations.v1", "complaint.opened", "c1", _complaint("k1"), event_id="same")
    assert told(driver.unit([event])) == ["queued"]
    driver.t = 1
    driver.closed()
    again = driver.event("conversations.v1", "complaint.opened", "c1", _complaint("k2"), event_id="same")
    assert told(driver.unit([again])) == []


def test_an_opener_opens_once_even_when_two_senders_use_one_id():
    """Another source is no duplicate (contract §1), but the request's id names ``id`` alone: same opener, no effect."""
    driver = Driver([agent("anna")])
    first = driver.event("conversations.v1", "complaint.opened", "c1", _complaint("k1"), event_id="1")
    driver.unit([first])
    driver.t = 1
    driver.closed()
    other = driver.event(
        "conversations.v1", "complaint.opened", "c1", _complaint("k2"), event_id="1", source="/gateway/b"
    )
    assert told(driver.unit([other])) == []


def test_a_transfer_with_the_id_of_an_earlier_one_leaves_everything_as_it_is():
    driver = Driver([agent("anna"), agent("bo")]).online("anna")
    driver.asked("m1")
    driver.online("bo")
    transfer = new(TransferRequested, shop_id="shop-1", by_agent_id="anna")
    first = driver.event("conversations.v1", "transfer.requested", "c1", transfer, event_id="1")
    assert told(driver.unit([first]))[-1] == "assigned bo"
    back = new(TransferRequested, shop_id="shop-1", by_agent_id="bo")
    again = driver.event("conversations.v1", "transfer.requested", "c1", back, event_id="1", source="/gateway/b")
    assert told(driver.unit([again])) == []
    assert driver.owner() == "bo"


def test_the_message_of_an_early_hand_over_is_what_opened_the_request():
    """The hand-over, read first, says only since when the customer waits (0); the message is of second 5."""
    driver = Driver()
    driver.t = 6
    driver.handover("m1", since=0)
    driver.received("m1", time=5)
    assert told(driver.closed(time=4)) == []
    assert told(driver.closed(time=5)) == ["released closed"]


def test_an_early_hand_over_that_joined_what_a_close_before_its_message_ends_is_silence():
    """Autoreply had read the close; here the hand-over is read first, and joins the request of the message before."""
    driver = Driver()
    driver.asked("m1")
    driver.t = 5
    assert told(driver.handover("m2")) == []
    assert told(driver.closed(time=3)) == ["released closed"]
    assert told(driver.received("m2")) == ["queued"]
    assert driver.request().waiting_since == at(5)


def test_an_early_hand_over_opens_once():
    driver = Driver()
    driver.handover("m1")
    driver.received("m1")
    assert told(driver.closed()) == ["released closed"]
    assert told(driver.pass_to(60)) == []


def test_an_outcome_of_a_message_that_was_answered_long_ago_is_not_kept():
    driver = owned()
    driver.ignored("m1", "human_owned")
    assert driver.states["c1"].early == {}


def _complaint(name):
    return new(ComplaintOpened, shop_id="shop-1", complaint_id=name)


# --- closes ---------------------------------------------------------------------------------------------------------


def test_a_close_earlier_than_the_opener_does_not_end_the_request():
    driver = Driver()
    driver.t = 10
    driver.asked("m1")
    assert told(driver.closed(time=9.9)) == []
    assert told(driver.closed(time=10)) == ["released closed"]


def test_a_close_before_a_later_message_that_joined_leaves_that_message_to_silence():
    driver = Driver()
    driver.asked("m1")
    driver.t = 10
    driver.asked("m2")
    driver.t = 11
    said = driver.closed(time=5)
    assert told(said) == ["released closed", "queued"]
    assert said[1].data["request_id"] == request_id("c1", "message", "m2")
    assert (said[1].data["cause"], said[1].data["waiting_since"]) == ("no_autoreply", at(10))


def test_after_queue_full_nothing_is_left_over_and_the_next_message_starts_anew():
    driver = Driver(limits=LimitsDocument(queue_limit=1))
    driver.asked("m1", "c0")
    assert told(driver.asked("m1", "c1")) == ["queued", "released queue_full"]
    driver.t = 1
    assert told(driver.closed("c1", time=-5)) == []
    assert told(driver.closed("c0")) == ["released closed"]
    assert told(driver.asked("m2", "c1")) == ["queued"]


def test_queue_full_refuses_no_complaint_no_transfer_and_nobody_who_can_be_served():
    driver = Driver([agent("anna", skills={"vip": 3}, capacity=2)], limits=LimitsDocument(queue_limit=1))
    driver.asked("m1", "c0", skills=("refund",))
    driver.online("anna")
    assert told(driver.asked("m1", "c1", skills=("vip",))) == ["queued", "assigned anna"]
    assert told(driver.complaint("k1", "c2")) == ["queued", "assigned anna"]
    assert told(driver.complaint("k1", "c3")) == ["queued"]
    assert told(driver.transfer("anna", "c1")) == ["released transferred", "queued", "assigned anna"]


def test_nobody_is_refused_while_it_is_not_known_who_is_online():
    driver = Driver([agent("anna")], limits=LimitsDocument(queue_limit=1)).online("anna")
    driver.fresh = False
    assert told(driver.asked("m1", "c0") + driver.asked("m1", "c1")) == ["queued", "queued"]
    driver.fresh = True
    assert told(driver.unit()) == ["assigned anna", "assigned anna"]


def test_who_was_refused_has_waited_since_his_first_message_all_the_same():
    driver = Driver(limits=LimitsDocument(queue_limit=1))
    driver.asked("m1", "c0")
    driver.t = 10
    assert told(driver.asked("m1", "c1")) == ["queued", "released queue_full"]
    driver.closed("c0")
    driver.t = 20
    driver.received("m2", "c1")
    assert driver.pass_to(23)[0].data["waiting_since"] == at(10)


# --- complaints -----------------------------------------------------------------------------------------------------


def test_a_complaint_in_a_conversation_that_is_not_open_ends_with_the_complaint():
    driver = Driver()
    assert told(driver.complaint("k1")) == ["queued"]
    driver.t = 1
    assert told(driver.complaint_closed("k1")) == ["released closed"]


def test_a_closed_complaint_leaves_the_request_of_an_open_conversation():
    driver = queued()
    driver.complaint("k1")
    driver.t = 1
    assert told(driver.complaint_closed("k1")) == []


def test_a_complaint_opens_a_request_even_when_it_is_before_the_last_close():
    driver = Driver()
    driver.received("m1")
    driver.t = 10
    driver.closed()
    said = driver.complaint("k1", time=5)
    assert told(said) == ["queued"]
    assert said[0].data["waiting_since"] == at(5)


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_message_without_an_outcome_is_silence_when_patience_is_over():
    driver = Driver()
    driver.received("m1")
    assert told(driver.pass_to(2.999)) == []
    said = driver.pass_to(3)
    assert told(said) == ["queued"]
    assert (said[0].data["cause"], said[0].data["waiting_since"]) == ("no_autoreply", at(0))


@pytest.mark.parametrize(
    ("what", "opens"),
    [
        (lambda d: d.replied("m1"), False),
        (lambda d: d.ignored("m1", "empty"), False),
        (lambda d: d.sent("anna", time=0.5), False),
        (lambda d: d.sent("anna", time=0, to="m1"), False),  # stands directly after the message it answers
        (lambda d: d.sent("anna", time=0), True),
        (lambda d: d.sent("bot", time=0.5, kind="bot"), True),
        (lambda d: d.closed(time=0), False),
        (lambda d: d.closed(time=-1), True),
        (lambda d: d.received("m2", time=0.5), True),
    ],
)
def test_what_stops_the_silence(what, opens):
    driver = Driver()
    driver.received("m1")
    driver.t = 1
    what(driver)
    assert bool(driver.pass_to(3)) is opens


def test_an_outcome_that_comes_after_the_patience_does_not_stop_the_silence():
    driver = Driver()
    driver.received("m1")
    driver.t = 3.5  # the timer has not fired yet: the watermark stood still
    assert told(driver.replied("m1")) == []
    assert told(driver.unit(due=["c1"])) == ["queued"]


def test_a_reply_that_came_too_late_to_be_delivered_counts_as_silence():
    driver = Driver()
    driver.received("m1")
    driver.t = 1
    assert told(driver.replied("m1", deliver_by=0.5)) == ["queued"]


def test_a_reply_that_nobody_got_is_silence_also_where_somebody_owns_who_is_then_asked_first():
    driver = owned()
    driver.t = 2
    driver.received("m2")
    driver.t = 3
    said = driver.replied("m2", deliver_by=2.5)
    assert told(said) == ["queued", "assigned anna"]
    assert said[0].data["required"]["agent"] == "anna"


@pytest.mark.parametrize("reason", ["human_owned", "waiting", "shadow"])
def test_a_message_ignored_for_somebody_who_is_not_there_is_silence_at_once(reason):
    driver = Driver()
    driver.received("m1")
    assert told(driver.ignored("m1", reason)) == ["queued"]


@pytest.mark.parametrize("reason", ["superseded", "empty", "duplicate_text", "cooldown"])
def test_a_message_ignored_for_its_own_sake_is_no_silence(reason):
    driver = Driver()
    driver.received("m1")
    assert told(driver.ignored("m1", reason)) == []
    assert told(driver.pass_to(60)) == []


def test_an_outcome_read_before_its_message_is_remembered():
    driver = Driver()
    driver.replied("m1")
    driver.ignored("m2", "waiting")
    driver.received("m1")
    assert told(driver.received("m2")) == ["queued"]


def test_waiting_since_of_a_silence_is_the_first_message_that_nobody_answered():
    driver = Driver()
    driver.received("m1")
    driver.replied("m1")
    driver.t = 10
    driver.received("m2")
    driver.t = 11
    driver.received("m3")
    driver.t = 11.5
    driver.ignored("m2", "waiting")
    assert driver.said[-1].data["waiting_since"] == at(10)


@pytest.mark.parametrize(("reason", "since"), [("empty", 1), ("duplicate_text", 1), ("cooldown", 1), ("superseded", 0)])
def test_a_message_with_nothing_to_answer_does_not_make_the_wait_begin_earlier(reason, since):
    driver = Driver()
    driver.received("m1")
    driver.ignored("m1", reason)
    driver.t = 1
    driver.received("m2")
    assert driver.pass_to(4)[0].data["waiting_since"] == at(since)


# --- owners without an assignment -------------------------------------------------------------------------------------


def owned() -> Driver:
    """Anna wrote into an open conversation that nobody had: it is hers without an assignment."""
    driver = Driver([agent("anna"), agent("bo")]).online("anna", "bo")
    driver.received("m1")
    driver.replied("m1")
    driver.t = 1
    driver.sent("anna")
    assert driver.owner() == "anna"
    return driver


def test_an_agent_who_writes_where_nobody_owns_becomes_the_owner():
    driver = owned()
    driver.sent("bo")
    assert driver.owner() == "anna"
    driver.t = 2
    driver.closed()
    assert driver.owner() is None


@pytest.mark.parametrize("before", [lambda d: None, lambda d: (d.received("m1"), d.closed(time=1))])
def test_writing_into_a_conversation_that_is_not_open_makes_no_owner(before):
    driver = Driver([agent("anna")]).online("anna")
    before(driver)
    driver.sent("anna", time=0.5)
    assert driver.owner() is None


def test_a_message_that_answers_one_after_the_close_stands_behind_that_close():
    """Her clock is behind: written at 9 in answer to a message of 12, in a conversation that was closed at 10."""
    driver = Driver([agent("anna")]).online("anna")
    driver.received("m1")
    driver.replied("m1")
    driver.closed(time=10)
    driver.received("m2", time=12)
    driver.replied("m2")
    driver.sent("anna", time=9, to="m2")
    assert driver.owner() == "anna"
    driver.closed(time=11)
    assert driver.owner() == "anna"
    driver.closed(time=12)
    assert driver.owner() is None


def test_what_an_agent_wrote_at_the_instant_of_a_message_leaves_no_silence_behind():
    """Later than the last agent's message is what counts when an owner loses the conversation; level with it is not."""
    driver = owned()
    driver.t = 2
    driver.received("m2")
    driver.ignored("m2", "human_owned")
    driver.sent("anna", time=2)
    driver.status("anna", "offline")
    driver.t = 32
    assert told(driver.unit(due=["c1"])) == []


def test_while_the_owner_is_online_an_ignored_message_is_no_silence():
    driver = owned()
    driver.received("m2")
    assert told(driver.ignored("m2", "human_owned")) == []


def test_an_owner_who_stays_offline_leaves_the_last_ignored_message_to_silence():
    driver = owned()
    driver.t = 2
    driver.received("m2")
    driver.ignored("m2", "human_owned")
    driver.status("anna", "offline")
    driver.t = 31.9
    assert told(driver.unit(due=["c1"])) == []
    driver.t = 32
    assert told(driver.unit(due=["c1"])) == ["queued", "assigned bo"]
    assert driver.owner() == "bo"


def test_the_owner_is_the_first_step_of_the_silence_and_waited_for():
    driver = Driver([agent("anna", capacity=0), agent("bo")]).online("anna", "bo")
    driver.received("m1")
    driver.replied("m1")
    driver.t = 1
    driver.sent("anna")
    driver.t = 2
    driver.received("m2")
    said = driver.pass_to(5)
    assert told(said) == ["queued"]
    assert said[0].data["required"] == {"skills": [], "agent": "anna"}
    said = driver.pass_to(35)
    assert told(said) == ["queued", "assigned bo"]
    assert said[1].data["explanation"]["relaxed"] == ["agent"]


# --- transfers --------------------------------------------------------------------------------------------------------


def test_a_transfer_ends_the_request_and_opens_a_new_one_from_its_own_time():
    driver = held()
    driver.t = 7
    released, queued_, _ = driver.transfer("anna")
    assert released.data["reason"] == "transferred"
    assert (released.data["agent_seq"], released.data["load"]) == (2, 0)
    assert (queued_.data["cause"], queued_.data["waiting_since"]) == ("transfer", at(7))
    assert queued_.data["request_id"] != released.data["request_id"]


def test_a_transfer_by_somebody_who_is_not_the_owner_has_no_effect():
    assert told(held().transfer("bo")) == []


def test_an_owner_without_a_request_can_transfer():
    driver = owned()
    assert told(driver.transfer("anna")) == ["queued", "assigned bo"]


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda d: d.online("bo"), ["released transferred", "queued", "assigned bo"]),
        (lambda d: None, ["released transferred", "queued", "assigned carl"]),  # not online: skipped at once
    ],
)
def test_a_named_agent_is_asked_first_and_skipped_when_he_is_not_there(prepare, expected):
    driver = Driver([agent("anna"), agent("bo", skills={}), agent("carl")]).online("anna")
    driver.asked("m1", skills=())
    driver.online("carl")
    prepare(driver)
    assert told(driver.transfer("anna", agent_id="bo")) == expected


def test_a_named_agent_without_room_is_waited_for_and_then_given_up():
    driver = Driver([agent("anna"), agent("bo", capacity=0), agent("carl")]).online("anna")
    driver.asked("m1")
    driver.online("bo", "carl")
    assert told(driver.transfer("anna", agent_id="bo")) == ["released transferred", "queued"]
    assert told(driver.pass_to(29.9)) == []
    assert told(driver.pass_to(30)) == ["queued", "assigned carl"]


def test_a_transfer_to_a_grade_admits_that_grade_and_those_above():
    driver = Driver([agent("anna"), agent("bo", grade="supervisor"), agent("carl")]).online("anna")
    driver.asked("m1")
    driver.online("bo", "carl")
    said = driver.transfer("anna", grade="senior")
    assert told(said)[-1] == "assigned bo"
    assert said[-1].data["explanation"]["required"]["grades"] == ["senior", "supervisor"]


def test_the_one_who_transferred_is_chosen_last():
    driver = Driver([agent("anna"), agent("bo")]).online("anna")
    driver.asked("m1")
    driver.online("bo")
    driver.asked("m1", "c2")  # bo, who is idle, gets it: now anna would be as good
    assert told(driver.transfer("anna")) == ["released transferred", "queued", "assigned bo"]


# --- rules ------------------------------------------------------------------------------------------------------------


def test_steps_relax_in_turn_and_their_waits_add_up():
    routing = RoutingDocument(
        tiers=(TierRule(tier="vip", min_total_spend=1000),),
        rules=(
            RoutingRule(
                rule_id="vip",
                when=RoutingCondition(tiers=("vip",)),
                priority=90,
                steps=(
                    Step(own_agent=True, wait_s=5),
                    Step(proficiency=4, grades=("senior",), wait_s=10),
                    Step(proficiency=1, wait_s=10),
                    Step(keep_skills=False),
                ),
            ),
        ),
    )
    team = [
        agent("own", skills={"tax": 5}),
        agent("junior", skills={"tax": 1}),
        agent("other"),
    ]
    driver = Driver(team, routing).online("other")
    driver.received("m1", total_spend="1000.00", dedicated_agent_id="own")
    said = driver.handover("m1", skills=("tax",))
    # The own agent is offline: skipped at once.
    assert [(e.data["step"], e.data["priority"]) for e in said] == [(2, 90)]
    said = driver.pass_to(10)
    assert [e.data["step"] for e in said] == [3]
    said = driver.pass_to(20)
    assert told(said) == ["queued", "assigned other"]
    explanation = said[1].data["explanation"]
    assert explanation["step"] == 4
    assert explanation["relaxed"] == ["agent", "grade", "skill:tax"]
    assert (explanation["considered"], explanation["eligible"]) == (3, 1)
    assert explanation["rejected"] == {"offline": 2}


def test_a_clock_that_raises_the_priority_is_told():
    driver = queued()
    said = driver.breached(("raise_priority",))
    assert told(said) == ["queued"]
    assert said[0].data["priority"] == 70
