"""Reminders: the owner is told, again and again, that a customer's message waits unread or unanswered; nobody else is."""

import msgspec
import pytest
from pydantic import ValidationError
from tests.unit.sla_world import LATENESS, Log, Service, at, book

from deskline.clock import SECOND, parse_rfc3339
from deskline.config.documents import SlaDocument
from deskline.events import models
from deskline.events.wire import new
from deskline_sla.model import State

UNANSWERED = {"unanswered": {"after_s": 60, "every_s": 30, "times": 3}}
UNREAD = {"unread": {"after_s": 20, "every_s": 10, "times": 2}}


def policy(**reminders):
    return {"reminders": reminders, "warnings": []}


def owned(message=0, since=1, agent="anna"):
    """A message at ``message``, handed over, and assigned to the agent at ``since``."""
    log = Log()
    log.customer(message, "m1")
    log.handover(message + 0.1, "m1", since=message)
    log.queued(message + 0.2, "q1", since=message)
    log.assigned(since, "q1", "a1", agent)
    return log


def read(log, seconds, message, agent="anna", kind="agent"):
    reader = new(models.MessageRead.model_fields["reader"].annotation, kind=kind, id=agent)
    return log.gateway("message.read", seconds, message_id=message, reader=reader)


def reminded(service):
    """(kind, message, the how-manieth, told after so many seconds, whom)"""
    return [
        (word.data.kind, word.data.message_id, word.data.n, (word.time - at(0)) / SECOND, word.data.agent_id)
        for word in service.told("sla.reminder.v1")
    ]


def play(log, reminders, until, *, step=0.5):
    """Events as they come, with the timers between them; the allowed lateness is a second."""
    service = Service(book(policy(**reminders)))
    events = sorted(log.events, key=lambda event: event.broker_at)
    instant = 0.0
    while instant <= until:
        come = [event for event in events if event.broker_at <= at(instant)]
        events = events[len(come) :]
        service.unit(come, at(instant))
        service.state = msgspec.msgpack.decode(msgspec.msgpack.encode(service.state), type=State)
        instant += step
    return service


def test_an_unanswered_message_is_reminded_of_after_n_seconds_and_again_at_intervals_so_many_times():
    service = play(owned(), UNANSWERED, 400)
    # Owned since 1 s: 61, 91, 121, each a second of allowed lateness later.
    assert reminded(service) == [
        ("unanswered", "m1", 1, 62, "anna"),
        ("unanswered", "m1", 2, 92, "anna"),
        ("unanswered", "m1", 3, 122, "anna"),
    ]
    assert {parse_rfc3339(word.data.since) for word in service.told("sla.reminder.v1")} == {at(0)}
    assert len({word.id for word in service.told("sla.reminder.v1")}) == 3


def test_an_answer_ends_it_and_the_next_message_begins_anew():
    log = owned()
    log.wrote(70, "anna")
    log.customer(100, "m2")
    log.customer(110, "m3")
    assert reminded(play(log, UNANSWERED, 200)) == [
        ("unanswered", "m1", 1, 62, "anna"),
        ("unanswered", "m2", 1, 161, "anna"),
        ("unanswered", "m2", 2, 191, "anna"),
    ]


def test_a_bots_words_are_no_answer_and_a_close_ends_it():
    log = owned()
    log.wrote(50, "bot", kind="bot")
    log.closed(80)
    assert reminded(play(log, UNANSWERED, 200)) == [("unanswered", "m1", 1, 62, "anna")]


def test_an_answer_at_the_very_instant_and_one_read_within_the_allowed_lateness_are_in_time():
    log = owned()
    log.wrote(61, "anna", broker=61.9)
    assert reminded(play(log, UNANSWERED, 200)) == []


def test_unread_ends_with_reading_though_unanswered_goes_on():
    log = owned()
    read(log, 25, "m1")
    assert reminded(play(log, {**UNREAD, **UNANSWERED}, 70)) == [
        ("unread", "m1", 1, 22, "anna"),
        ("unanswered", "m1", 1, 62, "anna"),
    ]


def test_reading_a_message_reads_those_before_it_and_the_first_behind_it_is_unread():
    log = owned()
    log.customer(5, "m2")
    log.customer(6, "m3")
    read(log, 10, "m2")
    assert reminded(play(log, UNREAD, 60)) == [("unread", "m3", 1, 27, "anna"), ("unread", "m3", 2, 37, "anna")]


@pytest.mark.parametrize(("agent", "kind"), [("bo", "agent"), ("k-1", "customer")])
def test_what_somebody_else_has_read_the_owner_has_not(agent, kind):
    log = owned()
    read(log, 10, "m1", agent, kind)
    assert [n for _, _, n, _, _ in reminded(play(log, UNREAD, 60))] == [1, 2]


def test_nobody_is_reminded_while_nobody_owns_and_the_next_owner_is_from_his_own_time_on():
    log = owned(since=100)
    log.revoked(180, "q1", "a1", "anna")
    log.assigned(300, "q1", "a2", "bo")
    assert reminded(play(log, UNANSWERED, 400)) == [
        ("unanswered", "m1", 1, 161, "anna"),
        ("unanswered", "m1", 2, 361, "bo"),
        ("unanswered", "m1", 3, 391, "bo"),
    ]


def test_a_hold_is_no_time_to_remind_and_afterwards_it_counts_anew():
    log = owned()
    log.gateway("conversation.held", 30)
    log.gateway("conversation.resumed", 200)
    assert reminded(play(log, UNANSWERED, 280)) == [("unanswered", "m1", 1, 261, "anna")]


def test_time_outside_the_shops_hours_does_not_count():
    # 21:59:30 in Shanghai; the shop closes at 22:00 and opens at 09:00, 43 200 s and 82 800 s after 10:00.
    log = owned(43_170, 43_171)
    assert reminded(play(log, UNANSWERED, 82_840, step=10)) == [("unanswered", "m1", 1, 82_840, "anna")]


def test_what_nobody_need_answer_is_not_reminded_of():
    log = owned()
    log.wrote(5, "anna")
    log.customer(10, "m2")
    log.ignored(10.1, "m2", "empty")
    assert reminded(play(log, {**UNREAD, **UNANSWERED}, 100)) == []


def test_after_a_stop_one_is_told_for_all_that_were_missed():
    service = Service(book(policy(**UNANSWERED)))
    log = owned()
    service.unit(log.events, at(2))
    service.unit([], at(100))
    assert [(n, told) for _, _, n, told, _ in reminded(service)] == [(1, 100)]
    assert service.folding.due(service.state) == at(121) + LATENESS


def test_a_shop_without_reminders_keeps_nothing_for_them():
    service = Service(book({}))
    service.unit(owned().events, at(1000))
    assert service.state.nudges is None
    assert reminded(service) == []


def test_a_late_answer_is_seen_in_event_time():
    log = owned()
    log.wrote(10, "anna", broker=80)
    log.customer(90, "m2")
    assert reminded(play(log, UNANSWERED, 160)) == [
        ("unanswered", "m1", 1, 62, "anna"),  # the answer had not come yet; a reminder is not taken back
        ("unanswered", "m2", 1, 151, "anna"),
    ]


@pytest.mark.parametrize(("rule", "message"), [({"after_s": 0}, "greater than 0"), ({"after_s": 5, "times": 0}, "than or equal to 1"), ({}, "after_s")])  # fmt: skip
def test_what_would_never_or_always_remind_is_refused(rule, message):
    with pytest.raises(ValidationError, match=message):
        SlaDocument.model_validate({"reminders": {"unread": rule}})
