"""Conversations as they happen, and what is told of their clocks. Seconds count from Friday 10:00 in Shanghai."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.sla_world import END, LATENESS, SHANGHAI, SHOP, T0, Log, Service, Word, at, book, last_words

from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.documents import SlaDocument

H = 3600


def said(words: list[Word]) -> list[tuple[str, str]]:
    """(what, metric), in order."""
    return [(word.type.removeprefix("sla.").removesuffix(".v1"), word.data.metric) for word in words]


def told(log: Log, watermark: int = END, sla: dict[str, Any] | None = None) -> list[Word]:
    """Everything read at once, then time goes on to the watermark; warnings aside."""
    service = Service(book(sla))
    service.unit(log.events, watermark)
    return [word for word in service.words if word.type != "sla.warning.v1"]


# --- what starts, what stops ----------------------------------------------------------------------------------------


def answered_by_a_rule(log: Log) -> None:
    log.customer(0, "m1")
    log.reply(0.2, "m1")
    log.wrote(0.5, "bot", kind="bot", to="m1")


def handed_over_and_answered(log: Log) -> None:
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    log.queued(0.2, "q1", since=0)
    log.assigned(0.3, "q1", "a1", "anna")
    log.wrote(20, "anna")


def five_messages_in_twenty_seconds(log: Log) -> None:
    for number in range(5):
        log.customer(5 * number, f"m{number}")
    log.wrote(25, "anna")


def a_bot_stops_only_the_instant_clock(log: Log) -> None:
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    log.wrote(1, "bot", kind="bot")


def silence_opens_a_request(log: Log) -> None:
    log.customer(0, "m1")
    log.queued(3.2, "q1", since=0, cause="no_autoreply")
    log.assigned(3.3, "q1", "a1", "anna")
    log.wrote(20, "anna")


def a_message_in_hands_waits_for_the_agent(log: Log) -> None:
    handed_over_and_answered(log)
    log.customer(60, "m2")
    log.ignored(60.1, "m2", "human_owned")
    log.wrote(90, "anna")


def agent_only_then_a_goodbye_and_a_close(log: Log) -> None:
    # CW22: the next-response clock ends with the close, neither met nor breached.
    handed_over_and_answered(log)
    log.customer(60, "bye")
    log.closed(70)


def nothing_to_answer(log: Log) -> None:
    log.customer(0, "m1")
    log.ignored(0.1, "m1", "empty")


def an_agent_writes_first(log: Log) -> None:
    # RT5, ZM20: no clock without a customer's message.
    log.wrote(0, "anna")


def transferred_and_answered_by_the_next(log: Log) -> None:
    handed_over_and_answered(log)
    log.gateway("transfer.requested", 60, by_agent_id="anna")
    log.released(60.1, "q1", "transferred", assignment="a1")
    log.queued(60.1, "q2", since=60, cause="transfer")
    log.wrote(61, "anna")  # the one who transferred stops nothing
    log.assigned(62, "q2", "a2", "bo")
    log.wrote(100, "bo")


def transferred_and_taken_back_by_an_offer(log: Log) -> None:
    handed_over_and_answered(log)
    log.gateway("transfer.requested", 60, by_agent_id="anna")
    log.queued(60.1, "q2", since=60, cause="transfer")
    log.assigned(62, "q2", "a2", "anna", mode="offered")
    log.wrote(100, "anna")  # takes the offer: owner again, by an assignment


def a_complaint_outlives_the_close(log: Log) -> None:
    log.gateway("complaint.opened", 0, complaint_id="k1")
    log.customer(1, "m1")
    log.closed(2)
    log.gateway("complaint.closed", 47 * H, complaint_id="k1")


def queue_full_cancels(log: Log) -> None:
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    log.queued(0.2, "q1", since=0)
    log.released(0.3, "q1", "queue_full")


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        (answered_by_a_rule, [("met", "instant_reply")]),
        (handed_over_and_answered, [("met", "instant_reply"), ("met", "agent_response")]),
        (five_messages_in_twenty_seconds, [("met", "instant_reply")]),
        (a_bot_stops_only_the_instant_clock, [("met", "instant_reply"), ("breached", "agent_response")]),
        (silence_opens_a_request, [("met", "instant_reply"), ("met", "agent_response")]),
        (
            a_message_in_hands_waits_for_the_agent,
            [("met", "instant_reply"), ("met", "agent_response"), ("met", "next_response")],
        ),
        (
            agent_only_then_a_goodbye_and_a_close,
            [("met", "instant_reply"), ("met", "agent_response"), ("cancelled", "next_response")],
        ),
        (nothing_to_answer, []),
        (an_agent_writes_first, []),
        (
            transferred_and_answered_by_the_next,
            [("met", "instant_reply"), ("met", "agent_response"), ("met", "transfer_response")],
        ),
        (
            transferred_and_taken_back_by_an_offer,
            [("met", "instant_reply"), ("met", "agent_response"), ("met", "transfer_response")],
        ),
        (a_complaint_outlives_the_close, [("cancelled", "instant_reply"), ("met", "complaint_closure")]),
        (queue_full_cancels, [("cancelled", "agent_response"), ("breached", "instant_reply")]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_story_gives_these_clocks(story: Callable[[Log], None], expected: list[tuple[str, str]]):
    log = Log()
    story(log)
    assert said(told(log)) == expected


def test_after_queue_full_the_next_hand_over_stands_at_its_own_time():
    log = Log()
    queue_full_cancels(log)
    log.customer(60, "m2")
    log.handover(60.1, "m2", since=0)  # still waiting since the first message
    log.wrote(100, "anna")
    found = {word.clock: word.type for word in told(log)}
    assert found["agent_response", at(0)] == "sla.cancelled.v1"
    assert found["agent_response", at(60.1)] == "sla.met.v1"


def test_a_hand_over_read_after_the_refusal_waits_from_its_own_time_in_whatever_units():
    log = Log()
    queue_full_cancels(log)
    log.customer(60, "m2")
    log.handover(60.1, "m2", since=0)
    whole = last_words(told(log))
    service = Service(book())
    for event in log.events:
        service.unit([event], event.at)
    service.unit([], END)
    assert last_words(service.words) == whole


def test_an_answer_stands_directly_after_its_message_before_another_of_that_instant():
    # Both messages at 0; the answer, stamped 0 too, is to the first. It meets the clock of 0, which cannot start again.
    log = Log()
    log.customer(0, "m1")
    log.customer(0, "m2")
    log.wrote(0, "anna", to="m1")
    words = told(log)
    # m2 stands after the answer, in the hands of anna: next_response.
    assert said(words) == [("met", "instant_reply"), ("breached", "next_response")]


def test_a_message_at_the_instant_of_a_close_stands_before_it_and_reopens_nothing():
    log = Log()
    log.customer(0, "m1")
    log.closed(10)
    log.customer(10, "m2")
    assert said(told(log)) == [("cancelled", "instant_reply")]


def test_a_message_after_a_close_opens_anew_whatever_the_order_in_the_log():
    log = Log()
    log.customer(20, "m2")
    log.closed(10)
    log.customer(0, "m1")
    assert {word.clock: word.type for word in told(log)} == {
        ("instant_reply", at(0)): "sla.cancelled.v1",
        ("instant_reply", at(20)): "sla.breached.v1",
    }


# --- in time or not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("close_at", "expected"),
    # D36: target 100 s from 0. At due − 1 ms and at due it is met, 1 ms later it is breached.
    [(99.999, "met"), (100, "met"), (100.001, "breached")],
)
def test_resolution_is_met_up_to_due_itself(close_at: float, expected: str):
    log = Log()
    log.customer(0, "m1")
    log.closed(close_at)
    words = told(log, sla={"policies": [{"policy_id": "p", "targets": {"resolution": 100, "instant_reply": 0}}]})
    assert said(words) == [(expected, "resolution")]
    assert words[0].data.due_at == rfc3339(at(100))


# 21:59:45 is 10:00 + 11 h 59 min 45 s.
CLOSING = 12 * H
OPENING = 23 * H


@pytest.mark.parametrize(
    ("start", "target", "due", "runs_on"),
    [
        (CLOSING - 15, 30, OPENING + 15, OPENING + 15),  # D1: 15 s today, 15 s tomorrow
        (CLOSING - 30, 30, CLOSING, OPENING),  # D2: used up at closing; breached when the shop opens
        (CLOSING, 30, OPENING + 30, OPENING + 30),  # D3
        (OPENING - 1, 30, OPENING + 30, OPENING + 30),  # D4
    ],
)
def test_shop_hours_count_and_a_target_used_up_at_closing_breaches_at_opening(
    start: float, target: float, due: float, runs_on: float
):
    log = Log()
    log.customer(start, "m1")
    log.handover(start + 0.1, "m1", since=start)
    service = Service(
        book({"policies": [{"policy_id": "p", "targets": {"agent_response": target, "instant_reply": 0}}]})
    )
    service.unit(log.events, at(runs_on) + LATENESS - 1)
    assert service.told("sla.breached.v1") == []
    service.unit([], at(runs_on) + LATENESS)
    (breach,) = service.told("sla.breached.v1")
    assert breach.data.due_at == breach.data.breached_at == rfc3339(at(due))
    assert breach.data.calendar_id == "shop"


@pytest.mark.parametrize(("answer", "expected"), [(OPENING, "met"), (OPENING + 0.001, "breached")])
def test_an_answer_until_counted_time_runs_on_is_in_time(answer: float, expected: str):
    log = Log()
    log.customer(CLOSING - 30, "m1")
    log.handover(CLOSING - 29, "m1", since=CLOSING - 30)
    log.wrote(answer, "anna")
    words = told(log, sla={"policies": [{"policy_id": "p", "targets": {"agent_response": 30, "instant_reply": 0}}]})
    assert said(words) == [(expected, "agent_response")]


@pytest.mark.parametrize("own_time", [60, 61, 200])
def test_an_agents_answer_before_the_hand_overs_own_time_meets_its_clock(own_time: float):
    # The customer waits since 0; the agent wrote at 60, the hand-over is of 60 or later and read last.
    log = Log()
    log.customer(0, "m1")
    log.wrote(60, "anna")
    log.handover(own_time, "m1", since=0)
    met = next(word for word in told(log) if word.data.metric == "agent_response")
    assert (met.type, met.data.met_at, met.data.elapsed_s) == ("sla.met.v1", rfc3339(at(60)), 60)


def test_transfers_back_and_forth_have_a_clock_each_and_the_one_who_passed_it_on_last_stops_none():
    log = Log()
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    log.queued(0.2, "q1", since=0)
    log.assigned(1, "q1", "a1", "anna")
    log.wrote(10, "anna")
    for number, (when, giver, taker) in enumerate(
        [(60, "anna", "bo"), (120, "bo", "anna"), (180, "anna", "bo")], start=2
    ):
        log.gateway("transfer.requested", when, by_agent_id=giver)
        log.released(when + 0.1, f"q{number - 1}", "transferred", assignment=f"a{number - 1}")
        log.queued(when + 0.1, f"q{number}", since=when, cause="transfer")
        log.wrote(when + 5, giver)  # he has passed it on: no answer to the transfer
        log.assigned(when + 10, f"q{number}", f"a{number}", taker)
        log.wrote(when + 30, taker)
    transfers = [word for word in told(log) if word.data.metric == "transfer_response"]
    assert [(word.type, word.data.elapsed_s, word.data.agent_id) for word in transfers] == [
        ("sla.met.v1", 30, "bo"),
        ("sla.met.v1", 30, "anna"),
        ("sla.met.v1", 30, "bo"),
    ]


@pytest.mark.parametrize(
    ("close_at", "expected"), [(179.999_999, "cancelled"), (180, "cancelled"), (180.000_001, "breached")]
)
def test_a_close_cancels_what_is_not_past_its_target(close_at: float, expected: str):
    log = Log()
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    log.closed(close_at)
    word = next(word for word in told(log) if word.data.metric == "agent_response")
    assert word.type == f"sla.{expected}.v1"
    assert word.data.due_at == rfc3339(at(180))


def test_a_complaint_counts_wall_time():
    # D9: 48 h from 10:00 are over at 10:00 two days later, nights included.
    log = Log()
    log.gateway("complaint.opened", 0, complaint_id="k1")
    (breach,) = told(log)
    assert breach.data.due_at == rfc3339(at(48 * H))
    assert breach.data.calendar_id is None


def test_a_complaint_counts_the_shops_hours_where_the_shop_wants_it_and_each_complaint_has_its_own_clock():
    # D9: 48 h of 13 open hours a day from 10:00 are over at 19:00 on the fourth day.
    log = Log()
    log.gateway("complaint.opened", 0, complaint_id="k1")
    log.gateway("complaint.opened", H, complaint_id="k2")
    log.gateway("complaint.closed", 2 * H, complaint_id="k2")
    met, breach = told(log, sla={"complaints_count": "open_hours", "warnings": []})
    assert (met.data.elapsed_s, met.data.calendar_id) == (H, "shop")
    assert breach.data.due_at == rfc3339(at((3 * 24 + 9) * H))
    assert breach.data.calendar_id == "shop"


@pytest.mark.parametrize(
    ("held", "resumed", "due"),
    [
        # FR8: 2 h from 15:00 with a hold of 3600 s is 18:00; of 3601 s, with the shop closing at 18:00, 10:00:01.
        (6 * H, 7 * H, 8 * H),
        (6 * H, 7 * H + 1, 24 * H + 1),
    ],
)
def test_a_hold_stops_the_count(held: float, resumed: float, due: float):
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    weekly = {day: ["10:00-18:00"] for day in days}
    calendars = {"default": "c", "calendars": {"c": {"timezone": "Asia/Shanghai", "weekly": weekly}}}
    log = Log()
    log.customer(5 * H, "m1")
    log.gateway("conversation.held", held)
    log.gateway("conversation.resumed", resumed)
    service = Service(
        book({"policies": [{"policy_id": "p", "targets": {"resolution": 2 * H, "instant_reply": 0}}]}, calendars)
    )
    service.unit(log.events, END)
    (breach,) = service.told("sla.breached.v1")
    assert breach.data.due_at == rfc3339(at(due))


def test_where_a_hold_begins_at_due_an_answer_in_the_hold_is_in_time():
    log = Log()
    handed_over_and_answered(log)
    log.customer(60, "m2")
    log.gateway("conversation.held", 240)
    log.wrote(400, "anna")
    (word,) = [word for word in told(log) if word.data.metric == "next_response"]
    assert (word.type, word.data.due_at, word.data.elapsed_s) == ("sla.met.v1", rfc3339(at(240)), 180)


def test_a_held_clock_is_due_as_if_it_were_resumed_now():
    # 60 s counted before the hold; met at 500 with 120 s left: due at 620.
    log = Log()
    handed_over_and_answered(log)
    log.customer(60, "m2")
    log.gateway("conversation.held", 120)
    log.wrote(500, "anna")
    (word,) = [word for word in told(log) if word.data.metric == "next_response"]
    assert (word.type, word.data.due_at, word.data.elapsed_s) == ("sla.met.v1", rfc3339(at(620)), 60)


def test_a_reply_that_came_too_late_to_be_delivered_stops_nothing():
    log = Log()
    log.customer(0, "m1")
    log.reply(1, "m1", deliver_by=2, broker=3)
    assert said(told(log)) == [("breached", "instant_reply")]


# --- the watermark --------------------------------------------------------------------------------------------------


def test_an_answer_read_before_the_watermark_is_past_is_no_breach():
    # D24: answered 2 s before due, read when the wall clock is 3 s after it.
    log = Log()
    log.customer(0, "m1")
    log.reply(28, "m1", broker=28)
    service = Service(book())
    service.unit(log.events[:1], at(30.9), now=at(33))
    assert service.told("sla.breached.v1") == []
    service.unit(log.events[1:], at(33))
    assert said(service.told("sla.breached.v1", "sla.met.v1")) == [("met", "instant_reply")]


def test_an_answer_beyond_the_grace_takes_the_breach_back():
    # D25
    log = Log()
    log.customer(0, "m1")
    log.reply(28, "m1", broker=40)
    service = Service(book())
    service.unit(log.events[:1], at(31))
    assert said(service.told("sla.breached.v1")) == [("breached", "instant_reply")]
    service.unit(log.events[1:], at(40))
    assert said(service.words[-2:]) == [("breach_retracted", "instant_reply"), ("met", "instant_reply")]
    assert service.words[-2].data.reason == "late_event"
    assert service.words[-1].source == "replies.v1/0/0"


def test_a_late_ignored_takes_a_told_clock_away():
    log = Log()
    log.customer(0, "m1")
    log.ignored(0.1, "m1", "empty", broker=50)
    service = Service(book())
    service.unit(log.events[:1], at(40))
    service.unit(log.events[1:], at(50))
    assert said(service.words[-2:]) == [("breach_retracted", "instant_reply"), ("cancelled", "instant_reply")]
    assert service.words[-1].data.reason == "late_event"


def test_an_ignored_in_time_leaves_nothing_told():
    log = Log()
    log.customer(0, "m1")
    log.ignored(0.1, "m1", "cooldown")
    service = Service(book())
    for event in log.events:
        service.unit([event], event.at)
    service.unit([], END)
    assert service.words == []


def test_nothing_more_is_told_of_a_breached_clock():
    log = Log()
    log.customer(0, "m1")
    service = Service(book())
    service.unit(log.events, at(40))
    log.reply(50, "m1")
    service.unit(log.events[1:], at(60))
    service.unit([], END)
    assert said(service.told("sla.breached.v1", "sla.met.v1")) == [("breached", "instant_reply")]


def test_a_breach_that_an_answer_behind_it_proves_still_waits_for_the_watermark():
    log = Log()
    log.customer(0, "m1")
    log.reply(40, "m1", broker=30.5)  # clocks differ: its time is ahead of the broker's
    service = Service(book())
    service.unit(log.events, at(30.5))
    assert service.told("sla.breached.v1") == []
    assert service.folding.due(service.state) == at(31)
    service.unit([], at(31))
    assert said(service.told("sla.breached.v1")) == [("breached", "instant_reply")]


def test_warnings_come_once_at_each_threshold_while_the_clock_is_open():
    log = Log()
    log.customer(0, "m1")
    service = Service(book())
    service.unit(log.events, at(14.9))
    assert service.words == []
    assert service.folding.due(service.state) == at(15)
    service.unit([], at(15))
    service.unit([], at(24))
    service.unit([], at(25))
    assert [(word.type, word.data.threshold) for word in service.words] == [
        ("sla.warning.v1", 0.5),
        ("sla.warning.v1", 0.8),
    ]
    assert service.folding.due(service.state) == at(31)
    # A late record folds again; what was warned of is not warned of again.
    log.wrote(-5, "bot", kind="bot", broker=25)
    service.unit(log.events[1:], at(25.5))
    assert len(service.words) == 2


def test_an_answered_clock_is_not_warned_of():
    log = Log()
    log.customer(0, "m1")
    log.reply(1, "m1")
    service = Service(book())
    service.unit(log.events, at(100))
    assert service.told("sla.warning.v1") == []


# --- the fields -----------------------------------------------------------------------------------------------------


def test_a_met_says_who_answered_and_a_breach_who_owned_at_due():
    log = Log()
    handed_over_and_answered(log)  # anna owns from 0.3
    log.customer(60, "m2")
    log.revoked(100, "q1", "a1", "anna")
    log.assigned(110, "q1", "a2", "bo")
    log.wrote(300, "bo")
    words = told(log)
    assert [(word.data.metric, word.data.agent_id) for word in words] == [
        ("instant_reply", "anna"),
        ("agent_response", "anna"),
        ("next_response", "bo"),  # due at 240
    ]


def test_ids_name_the_clock_and_count_the_events_of_a_type():
    log = Log()
    log.customer(0, "m1")
    for number in range(3):
        log.reply(28 - number, "m1", broker=40 + number)
    service = Service(book())
    for event in log.events:
        service.unit([event], at(50))
    assert len({word.id for word in service.words}) == len(service.words)
    assert len({word.data.clock_id for word in service.words}) == 1
    met = [parse_rfc3339(word.data.met_at) for word in service.told("sla.met.v1")]
    assert met == [at(28), at(27), at(26)]


def test_time_is_when_it_was_decided_but_never_before_what_it_answers():
    log = Log()
    log.customer(0, "m1")
    log.reply(3, "m1", broker=1)
    service = Service(book())
    service.unit(log.events, at(1), now=at(1))
    assert [word.time for word in service.words] == [at(3)]


def test_a_second_record_of_an_id_has_no_effect():
    log = Log()
    log.customer(0, "m1")
    log.wrote(5, "bot", kind="bot", id_="x")
    log.wrote(1, "bot", kind="bot", id_="x")
    (met,) = told(log)
    assert met.data.met_at == rfc3339(at(5))


def test_the_shop_is_that_of_the_first_message_in_the_log():
    log = Log()
    log.customer(10, "m1", shop="first")
    log.customer(0, "m2", shop="second")
    log.reply(11, "m1")
    (met,) = told(log)
    assert (met.data.shop_id, met.data.started_at) == ("first", rfc3339(at(0)))


def test_a_complaint_before_any_message_keeps_its_own_shop():
    log = Log()
    log.gateway("complaint.opened", 0, complaint_id="k1")
    log.customer(10, "m1", shop="other")
    found = {word.data.metric: word.data.shop_id for word in told(log)}
    assert found == {"complaint_closure": SHOP, "instant_reply": "other"}


# --- configuration --------------------------------------------------------------------------------------------------


def test_a_clock_keeps_the_version_in_force_at_its_start():
    config = book({"policies": [{"policy_id": "old", "targets": {"instant_reply": 60}}]})
    newer = SlaDocument.model_validate_json('{"policies": [{"policy_id": "new", "targets": {"instant_reply": 10}}]}')
    config.install("_default", "sla", newer, version=2, in_force_at=at(5))
    log = Log()
    log.customer(0, "m1")
    log.reply(50, "m1")
    log.customer(51, "m2")
    service = Service(config)
    service.unit(log.events, END)
    assert [
        (word.type, word.data.policy_id, word.data.policy_version, word.data.target_s)
        for word in service.told("sla.met.v1", "sla.breached.v1")
    ] == [("sla.met.v1", "old", 1, 60), ("sla.breached.v1", "new", 2, 10)]


@pytest.mark.parametrize(
    ("tier", "channel", "priority", "expected"),
    [
        ("vip", "web", 50, ("vip", 60)),
        ("regular", "app", 50, ("app", 90)),
        ("vip", "app", 50, ("vip", 60)),  # the first row that matches counts
        ("regular", "web", 90, ("urgent", 30)),
        (None, "web", 50, ("default", 180)),  # no row: the contract's default
    ],
)
def test_the_first_row_that_matches_and_names_the_metric_sets_the_target(
    tier: str | None, channel: str, priority: int, expected: tuple[str, float]
):
    rows = [
        {"policy_id": "other", "targets": {"instant_reply": 5}},
        {"policy_id": "vip", "when": {"tiers": ["vip"]}, "targets": {"agent_response": 60}},
        {"policy_id": "app", "when": {"channels": ["app"]}, "targets": {"agent_response": 90}},
        {"policy_id": "urgent", "when": {"min_priority": 80}, "targets": {"agent_response": 30}},
    ]
    log = Log()
    log.customer(0, "m1", tier=tier, channel=channel)
    log.handover(0.1, "m1", since=0, priority=priority)
    (word,) = [word for word in told(log, sla={"policies": rows}) if word.data.metric == "agent_response"]
    assert (word.data.policy_id, word.data.target_s) == expected


@pytest.mark.parametrize("nothing", [0, None])
def test_a_target_of_null_or_zero_is_no_clock(nothing: float | None):
    log = Log()
    log.customer(0, "m1")
    assert told(log, sla={"policies": [{"policy_id": "p", "targets": {"instant_reply": nothing}}]}) == []


# --- size -----------------------------------------------------------------------------------------------------------


def test_ten_thousand_messages_of_one_conversation_in_one_unit_and_one_late_one():
    log = Log()
    for number in range(5000):
        log.customer(number, f"m{number}")
        log.reply(number + 0.5, f"m{number}")
    conversations = [event for event in log.events if event.topic == "conversations.v1"]
    replies = [event for event in log.events if event.topic == "replies.v1"]
    service = Service(book())
    service.unit([*conversations, *replies], at(5000))
    assert len(service.told("sla.met.v1")) == 5000
    log.customer(-10, "late", broker=5001)
    service.unit(log.events[-1:], at(5002))
    # The late message waited from −10 to the reply of 0.5; the clock that had started at 0 is not there any more.
    assert {(word.type, word.clock[1]) for word in service.words[5000:]} == {
        ("sla.met.v1", at(-10)),
        ("sla.cancelled.v1", at(0)),
    }


def test_the_day_begins_where_the_tables_say():
    assert rfc3339(T0) == "2026-11-20T02:00:00.000000Z"
    assert LATENESS == SECOND


def test_a_deadline_beyond_the_known_holidays_says_that_it_is_a_guess():
    # Holidays are known to the end of 2026-11-21: due that evening is certain, due the next morning is a guess.
    known = {"default": "shop", "calendars": {"shop": {**SHANGHAI["calendars"]["shop"], "holidays_known_until": "2026-11-21"}}}  # fmt: skip
    log = Log()
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    for hours, guess in ((25, None), (26, True)):  # 12 h on the first day, 13 h on the second
        targets = {"instant_reply": 0, "agent_response": hours * 3600}
        service = Service(book({"policies": [{"policy_id": "p", "targets": targets}], "warnings": [0.5]}, known))
        service.unit(log.events, at(24 * 3600))
        service.unit([], END)
        assert [(word.type, word.data.due_is_guess) for word in service.words] == [
            ("sla.warning.v1", guess),
            ("sla.breached.v1", guess),
        ]
