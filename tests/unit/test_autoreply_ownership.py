"""Who owns the conversation, as autoreply must see it (contract §3 *Owner*, §6 rule 10). Times are seconds.

Every case ends with a message at 100 that the rules would answer; ``human_owned`` says that somebody owns.
"""

from collections.abc import Callable

import pytest
from tests.fixtures.autoreply import Log, Service, book, opened_by

from deskline.config.documents import LimitsDocument
from deskline.records import Event

OWNED, FREE = "ignored human_owned", "reply shipping"
Case = Callable[[Log], list[Event]]


def request(log: Log, *, offered: bool = False) -> list[Event]:
    """A request at 10, given to anna at 11."""
    return [log.queued(10, "r-1", since=9), log.assigned(11, "r-1", "a-1", offered=offered)]


CASES: list[tuple[str, Case, str]] = [
    ("nothing has happened", lambda _: [], FREE),
    # by assignment
    ("assigned", request, OWNED),
    ("assigned and taken back", lambda log: [*request(log), log.revoked(50, "r-1", "a-1")], FREE),
    ("taken back at the instant of the message", lambda log: [*request(log), log.revoked(100, "r-1", "a-1")], OWNED),
    ("taken back after the message", lambda log: [*request(log), log.revoked(101, "r-1", "a-1")], OWNED),
    ("released", lambda log: [*request(log), log.released(50, "r-1", "agent_offline")], FREE),
    ("closed", lambda log: [*request(log), log.closes(50)], FREE),
    ("closed before what opened it", lambda log: [log.closes(5), *request(log)], OWNED),
    ("handed on", lambda log: [*request(log), log.hands_on(50)], FREE),
    ("handed on by another", lambda log: [*request(log), log.hands_on(50, "bo")], OWNED),
    ("handed on at the instant of the message", lambda log: [*request(log), log.hands_on(100)], FREE),
    ("handed on after the message", lambda log: [*request(log), log.hands_on(101)], OWNED),
    ("declared to be assigned after its end", lambda log: [
        log.queued(10, "r-1", since=9), log.released(11, "r-1", "agent_offline"), log.assigned(12, "r-1", "a-1")], FREE),
    ("the next owner", lambda log: [
        *request(log), log.revoked(50, "r-1", "a-1"), log.assigned(51, "r-1", "a-2", "bo")], OWNED),
    ("assigned after the message, as far as read", lambda log: [
        log.queued(99, "r-1", since=98), log.assigned(102, "r-1", "a-1")], OWNED),
    # by an offer
    ("an open offer is not ownership", lambda log: request(log, offered=True), FREE),
    ("accepted", lambda log: [*request(log, offered=True), log.accepts(20, "a-1")], OWNED),
    ("accepted by another", lambda log: [*request(log, offered=True), log.accepts(20, "a-1", "bo")], FREE),
    ("accepted after it expired", lambda log: [
        *request(log, offered=True), log.expired(31, "r-1", "a-1"), log.accepts(32, "a-1")], FREE),
    ("accepted, then taken back", lambda log: [
        *request(log, offered=True), log.accepts(20, "a-1"), log.revoked(50, "r-1", "a-1")], FREE),
    ("accepted, then closed", lambda log: [*request(log, offered=True), log.accepts(20, "a-1"), log.closes(50)], FREE),
    ("wrote while the offer was open", lambda log: [*request(log, offered=True), log.writes(20)], OWNED),
    ("wrote before the offer", lambda log: [
        log.queued(10, "r-1", since=9), log.writes(10.5), log.assigned(11, "r-1", "a-1", offered=True)], FREE),
    ("another wrote while the offer was open", lambda log: [*request(log, offered=True), log.writes(20, "bo")], FREE),
    ("accepted an offer not read yet", lambda log: [log.accepts(20, "a-9")], OWNED),
    ("accepted an offer that routing.v1, read beyond, does not have", lambda log: [
        log.queued(30, "r-1", since=29), log.accepts(20, "a-9")], FREE),
    ("routing.v1 was read to before the acceptance", lambda log: [
        log.queued(10, "r-1", since=9), log.accepts(20, "a-9")], OWNED),
    # by writing
    ("wrote in an open conversation without a request", lambda log: [log.says(5, "甲"), log.writes(20)], OWNED),
    ("a bot wrote", lambda log: [log.says(5, "甲"), log.writes(20, kind="bot")], FREE),
    ("a system message", lambda log: [log.says(5, "甲"), log.writes(20, kind="system")], FREE),
    ("wrote before anybody opened the conversation", lambda log: [log.writes(20)], FREE),
    ("wrote after the close, nobody reopened", lambda log: [log.says(5, "甲"), log.closes(10), log.writes(20)], FREE),
    ("wrote after it was reopened", lambda log: [
        log.says(5, "甲"), log.closes(10), log.says(15, "乙"), log.writes(20)], OWNED),
    ("wrote, then closed", lambda log: [log.says(5, "甲"), log.writes(20), log.closes(50)], FREE),
    ("wrote, a late close before it", lambda log: [
        log.says(5, "甲"), log.says(15, "乙"), log.writes(20), log.closes(10, broker=50)], OWNED),
    ("wrote at the instant of the close", lambda log: [log.says(5, "甲"), log.writes(50), log.closes(50)], FREE),
    ("wrote while a request was open that nobody had", lambda log: [
        log.says(5, "甲"), log.queued(10, "r-1", since=5), log.writes(20), log.queued(30, "r-1", since=5)], FREE),
    ("wrote while a request was open; who has it by then has not been read", lambda log: [
        log.says(5, "甲"), log.queued(10, "r-1", since=5), log.writes(20)], OWNED),
    ("wrote while a request was open, then closed", lambda log: [
        log.says(5, "甲"), log.queued(10, "r-1", since=5), log.writes(20), log.closes(30)], FREE),
    ("wrote before the hand-over was queued", lambda log: [
        log.says(5, "甲"), log.writes(9), log.queued(10, "r-1", since=5)], OWNED),
    ("wrote while another owned, who has left", lambda log: [
        log.says(5, "甲"), *request(log), log.writes(20, "bo"), log.released(50, "r-1", "agent_offline")], FREE),
    ("wrote after the request had ended", lambda log: [
        log.says(5, "甲"), *request(log), log.released(50, "r-1", "agent_offline"), log.writes(60)], OWNED),
    ("wrote, then another was assigned and released", lambda log: [
        log.says(5, "甲"), log.writes(8), *request(log), log.released(50, "r-1", "agent_offline")], FREE),
    ("wrote, then handed on", lambda log: [log.says(5, "甲"), log.writes(20), log.hands_on(50)], FREE),
    ("wrote again after handing on, as far as read", lambda log: [
        log.says(5, "甲"), log.writes(20), log.hands_on(50), log.writes(60)], OWNED),
    ("wrote later than the message, read before it", lambda log: [
        log.says(5, "甲"), log.writes(110, broker=99)], OWNED),
    ("answered the message before it was read", lambda log: [log.writes(90, to="last")], OWNED),
    ("two wrote; the second is no owner, the first has handed on", lambda log: [
        log.says(5, "甲"), log.writes(20), log.writes(21, "bo"), log.hands_on(50)], FREE),
]  # fmt: skip


@pytest.mark.parametrize(("case", "outcome"), [pytest.param(c, o, id=name) for name, c, o in CASES])
def test_ownership(case, outcome):
    log = Log()
    events = case(log)
    message = log.says(100, "发货了吗", "last")
    assert Service().answer(*events, message, now=102) == outcome


@pytest.mark.parametrize(("case", "outcome"), [pytest.param(c, o, id=name) for name, c, o in CASES])
def test_ownership_does_not_depend_on_when_routing_was_read(case, outcome):
    """The same records one by one, routing last, then the message: the first decisions may differ, the last may not.

    ``甲`` and ``乙`` are handed over or ignored, which neither answers nor owns.
    """
    log = Log()
    events = case(log)
    message = log.says(100, "发货了吗", "last")
    service = Service()
    for event in sorted(events, key=lambda event: event.topic):
        service.unit(event, now=99)
    assert service.answer(message, now=102) == outcome


def test_a_request_that_was_opened_after_a_close_read_later_goes_on():
    # m-2 was handed over at 21 for a customer waiting since 5; then a close of 10 is read. It is earlier than what
    # opened the request (m-2 at 20), so anna, who was assigned it at 22, owns.
    log, service = Log(), Service()
    service.unit(log.says(5, "甲", "m-1"))
    service.unit(log.says(20, "投诉", "m-2"))
    service.unit(log.queued(21, opened_by("m-2"), since=5), log.assigned(22, opened_by("m-2"), "a-1"))
    service.unit(log.closes(10, broker=23))
    assert service.answer(log.says(100, "发货了吗")) == OWNED


def test_a_complaint_read_after_a_close_keeps_its_request_and_its_agent():
    log, service = Log(), Service()
    from deskline.ids import request_id

    r = request_id("c-1", "complaint", "complaint-1")
    service.unit(log.says(5, "甲"), log.closes(50), log.complains(40))
    service.unit(log.queued(51, r, since=40, cause="complaint"), log.assigned(51, r, "a-1"))
    assert service.answer(log.says(100, "发货了吗")) == OWNED
    # Read before the close, it ends with it.
    log, service = Log(), Service()
    service.unit(log.says(5, "甲"), log.complains(40), log.closes(50))
    service.unit(log.queued(41, r, since=40, cause="complaint"), log.assigned(41, r, "a-1"))
    assert service.answer(log.says(100, "发货了吗")) == FREE


@pytest.mark.parametrize(
    ("routing", "outcome"),
    [
        # Our hand-over at 50 counts as an open request until the router has said what became of it.
        (lambda log: [], "ignored waiting"),
        (lambda log: [log.queued(51, "r-1", since=50)], "ignored waiting"),
        (lambda log: [log.queued(51, "r-1", since=50), log.released(60, "r-1", "queue_full")], "handover no_match"),
        (lambda log: [log.queued(5, "r-0", since=4), log.released(49, "r-0", "agent_offline")], "ignored waiting"),
        (lambda log: [log.queued(5, "r-0", since=4), log.released(51, "r-0", "agent_offline")], "handover no_match"),
        # The new request of a transfer stands right behind.
        (lambda log: [log.queued(51, "r-1", since=50), log.released(60, "r-1", "transferred")], "ignored waiting"),
    ],
)
def test_a_hand_over_is_an_open_request_before_the_router_has_queued_it(routing, outcome):
    log, service = Log(), Service()
    service.unit(log.says(50, "甲"), now=50)
    assert service.answer(*routing(log), log.says(100, "乙"), now=100) == outcome


def test_a_close_ends_a_hand_over_that_was_not_queued():
    log, service = Log(), Service()
    service.unit(log.says(50, "甲"), log.closes(60))
    assert service.answer(log.says(100, "乙")) == "handover no_match"


def test_a_close_does_not_end_the_request_that_the_silence_of_the_message_itself_opened():
    """What opened it is later than the close, whatever the ``waiting_since`` says."""
    log = Log()
    service = Service(book(limits=LimitsDocument(patience_s=3600)))
    routing = [log.queued(104, opened_by("m-9"), since=20, cause="no_autoreply")]
    routing.append(log.assigned(105, opened_by("m-9"), "a-1"))
    assert service.answer(*routing, log.closes(50), log.says(100, "发货", "m-9"), now=106) == OWNED
