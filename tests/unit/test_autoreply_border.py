"""Every outcome of contract §4 and the borders between them. Times are seconds; see ``tests.fixtures.autoreply``."""

import pytest
import structlog
from tests.fixtures.autoreply import RULES, SHOP, SUBJECT, Log, Service, book, opened_by, tell, us

from deskline import ids
from deskline.clock import rfc3339
from deskline.config.documents import LimitsDocument
from deskline_autoreply.model import OUTCOMES, Ignore, Outcome, Wish


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def service() -> Service:
    return Service()


# --- the four shapes --------------------------------------------------------------------------------------------------


def test_a_reply_carries_what_the_contract_lists(log, service):
    (outcome,) = service.unit(log.says(0, "什么时候发货？", "m-1"), now=0.25)
    assert outcome["type"] == "reply.issued.v1"
    assert outcome["source"] == "/deskline/autoreply"
    assert outcome["subject"] == SUBJECT
    assert outcome["time"] == rfc3339(us(0.25))
    assert outcome["data"] == {
        "shop_id": SHOP,
        "rules_version": 1,
        "routing_offset": 0,
        "reply_id": ids.reply_id(SUBJECT, "m-1"),
        "in_reply_to": "m-1",
        "text": "48 小时内发货。",
        "kind": "faq",
        "handover": False,
        "deliver_by": rfc3339(us(60.25)),
        "rule_id": "shipping",
        "entry_id": "faq-7",
    }


def test_a_hand_over_carries_what_the_contract_lists(log, service):
    (outcome,) = service.unit(log.says(0, "我要投诉", "m-1", language="zh"), now=1)
    assert outcome["type"] == "handover.requested.v1"
    assert outcome["data"] == {
        "shop_id": SHOP,
        "rules_version": 1,
        "routing_offset": 0,
        "message_id": "m-1",
        "waiting_since": rfc3339(us(0)),
        "reason": "complaint",
        "skills": ["complaints"],
        "language": "zh",
        "priority": 90,
        "flags": ["angry"],
    }


def test_a_holding_reply_and_its_hand_over_are_one_outcome(log, service):
    reply, handover = service.unit(log.says(0, "我要退款", "m-1"))
    assert (reply["type"], reply["data"]["handover"]) == ("reply.issued.v1", True)
    assert (handover["type"], handover["data"]["reason"]) == ("handover.requested.v1", "rule")
    assert handover["data"]["message_id"] == reply["data"]["in_reply_to"] == "m-1"


def test_an_output_is_never_earlier_than_the_message_it_answers(log, service):
    # The gateway's clock is three seconds ahead of ours.
    (outcome,) = service.unit(log.says(3, "发货", broker=0), now=0)
    assert outcome["time"] == rfc3339(us(3))


def test_routing_offset_is_how_far_routing_was_read_with_the_message(log, service):
    events = [log.queued(1, "r-1", since=0), log.queued(2, "r-1", since=0), log.says(3, "发货")]
    assert service.unit(*events)[0]["data"]["routing_offset"] == 2


def test_ids_are_the_same_when_a_unit_is_redone(log):
    message = log.says(0, "我要退款")
    first, second = Service(), Service()
    first.unit(message, now=1)
    second.unit(message, now=1)
    assert first.values == second.values


# --- the table: what the rules want, with and without an open request ----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "picture", "free", "waiting"),
    [
        ("几号发货", False, "reply shipping", "reply shipping"),
        ("随便说说", False, "handover no_match", "ignored waiting"),
        ("我要退款", False, "both rule", "ignored waiting"),
        ("我要投诉", False, "handover complaint", "handover complaint"),
        ("转人工", False, "both asked_for_human", "both asked_for_human"),
        ("看图", True, "handover attachment", "handover attachment"),
    ],
)
def test_what_the_rules_want_meets_an_open_request(log, text, picture, free, waiting):
    assert Service().answer(log.says(0, text, picture=picture)) == free
    service = Service()
    assert service.answer(log.queued(1, "r-1", since=0), log.says(2, text, picture=picture)) == waiting


def test_the_table_says_something_of_every_wish_twice():
    assert set(OUTCOMES) == {(is_open, wish) for is_open in (False, True) for wish in Wish}
    # An open request takes nothing away from an answer, and adds no second hand-over but an urgent one.
    for wish in Wish:
        free, waiting = OUTCOMES[False, wish], OUTCOMES[True, wish]
        assert waiting in (free, Outcome.IGNORED)
        assert (waiting is Outcome.IGNORED) == (wish in (Wish.HAND_OVER, Wish.HOLD))


# --- reasons to ignore, the first that applies ---------------------------------------------------------------------------


def test_the_order_of_reasons_is_the_contracts():
    contract = "superseded, empty, human_owned, shadow, duplicate_text, cooldown, waiting"
    assert [reason.value for reason in Ignore] == contract.split(", ")


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u3000\n", "\ufeff", "\u2800\u3164", "\x00"])
def test_a_message_that_shows_nothing_is_empty(log, service, text):
    assert service.answer(log.says(0, text)) == "ignored empty"


def test_a_picture_without_text_is_not_empty(log, service):
    assert service.answer(log.says(0, " ", picture=True)) == "handover attachment"


def test_two_pictures_without_text_are_not_the_same_text(log, service):
    assert service.answer(log.says(0, "", picture=True)) == "handover attachment"
    assert service.answer(log.says(5, "", picture=True)) == "handover attachment"


@pytest.mark.parametrize(
    ("at", "outcome"),
    [(9, "ignored superseded"), (10, "ignored superseded"), (10.000001, "reply shipping"), (11, "reply shipping")],
)
def test_a_message_at_or_before_a_close_is_superseded_and_one_after_it_reopens(log, service, at, outcome):
    service.unit(log.says(1, "你好啊"), log.closes(10))
    assert service.answer(log.says(at, "发货了吗")) == outcome


def test_a_late_close_does_not_end_what_is_later(log, service):
    service.unit(log.says(20, "你好啊"))  # handed over
    service.unit(log.closes(10, broker=21))
    assert service.answer(log.says(22, "有人么")) == "ignored waiting"


def test_superseded_goes_before_empty(log, service):
    service.unit(log.closes(10))
    assert service.answer(log.says(9, "")) == "ignored superseded"


def test_empty_goes_before_human_owned(log, service):
    service.unit(log.queued(1, "r-1", since=0), log.assigned(1, "r-1", "a-1"))
    assert service.answer(log.says(2, " ")) == "ignored empty"
    assert service.answer(log.says(3, "发货")) == "ignored human_owned"


def test_a_shop_in_shadow_sends_nothing_but_says_what_it_would_have_sent(log):
    service = Service(book(RULES.model_copy(update={"shadow": True})))
    assert service.answer(log.says(0, "发货")) == "ignored shadow"
    assert service.decisions[-1].instead_of.rule_id == "shipping"
    assert service.answer(log.says(1, "")) == "ignored empty"
    service.unit(log.queued(2, "r-1", since=0), log.assigned(2, "r-1", "a-1"))
    assert service.answer(log.says(3, "发货")) == "ignored human_owned"


# --- the same text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "after", "second", "outcome"),
    [
        # answered, within 60 s: cooldown; later, within 30 min: repeated; later still: a new question
        ("发货", 60, "发货", "ignored cooldown"),
        ("发货", 60.000001, "发货", "handover repeated_question"),
        ("发货", 1800, "发货", "handover repeated_question"),
        ("发货", 1800.000001, "发货", "reply shipping"),
        # NFKC, case and blanks aside
        ("ＡＢ发货？", 5, " ab 发货? ", "ignored cooldown"),
        # another text, which the rule answers in the same words: nobody is told the same twice in a row
        ("发货", 5, "发货!", "handover no_match"),
        ("发货", 5, "我要退款", "both rule"),
        # handed over, the request open
        ("没有规则", 60, "没有规则", "ignored duplicate_text"),
        ("没有规则", 61, "没有规则", "ignored waiting"),
        ("我要投诉", 61, "我要投诉", "handover complaint"),
        ("我要退款", 10, "我要退款", "ignored duplicate_text"),
    ],
)
def test_the_same_text_again(log, first, after, second, outcome):
    service = Service()
    service.unit(log.says(0, first))
    assert service.answer(log.says(after, second)) == outcome


def test_the_same_text_again_after_the_request_ended_is_no_duplicate(log, service):
    service.unit(log.says(0, "没有规则", "m-1"))
    service.unit(log.queued(1, opened_by("m-1"), since=0), log.released(2, opened_by("m-1"), "queue_full"))
    assert service.answer(log.says(3, "没有规则")) == "handover no_match"


def test_a_repetition_counts_from_the_last_close_only(log, service):
    service.unit(log.says(0, "发货"), log.closes(100))
    assert service.answer(log.says(200, "发货")) == "reply shipping"


def test_the_cooldown_outlasts_a_close(log, service):
    service.unit(log.says(0, "发货"), log.closes(10))
    assert service.answer(log.says(20, "发货")) == "ignored cooldown"


def test_a_text_that_an_agent_answered_is_in_cooldown_too(log, service):
    service.unit(log.says(0, "没有规则", "m-1"))
    service.unit(log.queued(1, opened_by("m-1"), since=0), log.assigned(1, opened_by("m-1"), "a-1"), log.writes(5))
    service.unit(log.released(8, opened_by("m-1"), "agent_offline"))
    assert service.answer(log.says(9, "没有规则")) == "ignored cooldown"


def test_a_repetition_keeps_the_skills_of_its_rule(log, service):
    service.unit(log.says(0, "我要退款"), log.queued(1, "r-1", since=0), log.released(2, "r-1", "queue_full"))
    (handover,) = service.unit(log.says(70, "我要退款"))  # its holding reply was the last text already
    assert (handover["data"]["reason"], handover["data"]["skills"]) == ("repeated_question", ["refunds"])


# --- the kind of silence after a stop ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "old"), [(13, False), (13.000001, True)])
def test_a_message_is_old_when_its_broker_timestamp_is_longer_ago_than_the_patience(log, service, now, old):
    message = log.says(10, "发货", "m-1")
    assert service.autoreply.settle(us(now), message) == (us(13) if old else None)
    silence = log.queued(13, opened_by("m-1"), since=10, cause="no_autoreply")
    # A request that its silence opened supersedes an old one; one that is not old is answered in the open request.
    assert service.answer(silence, message, now=now) == ("ignored superseded" if old else "reply shipping")


def test_only_messages_wait_for_routing_to_be_read(log, service):
    assert service.autoreply.settle(us(100), log.closes(0)) is None
    assert service.autoreply.settle(us(100), log.writes(0)) is None


@pytest.mark.parametrize(
    ("behind", "outcome"),
    [
        pytest.param(lambda log: log.writes(12), "ignored superseded", id="an agent wrote"),
        pytest.param(lambda log: log.writes(9, broker=12, to="m-1"), "ignored superseded", id="an answer to it"),
        pytest.param(lambda log: log.writes(9, broker=12), "reply shipping", id="an agent wrote before it"),
        pytest.param(lambda log: log.writes(12, broker=13.001), "reply shipping", id="after its patience"),
        pytest.param(lambda log: log.writes(12, kind="bot"), "reply shipping", id="a bot wrote"),
        pytest.param(lambda log: log.closes(10, broker=12), "ignored superseded", id="closed at its instant"),
        pytest.param(lambda log: log.closes(9, broker=12), "reply shipping", id="closed before it"),
    ],
)
def test_what_stands_behind_an_old_message_within_its_patience_supersedes_it(log, service, behind, outcome):
    message = log.says(10, "发货", "m-1")
    ahead = [message, behind(log)]
    assert service.answer(message, now=20, ahead=ahead) == outcome
    assert Service().answer(message, now=12.5, ahead=ahead) == "reply shipping"  # not old


def test_a_duplicate_behind_an_old_message_supersedes_nothing(log, service):
    first = log.writes(5)
    service.unit(log.says(1, "在吗", "m-0"), first, log.closes(6))
    message = log.says(10, "发货", "m-1")
    again = first._replace(offset=message.offset + 1, at=us(11), broker_at=us(11))
    assert service.answer(message, now=20, ahead=[again]) == "reply shipping"


def test_patience_is_the_shops(log):
    service = Service(book(limits=LimitsDocument(patience_s=10)))
    assert service.autoreply.settle(us(20), log.says(10)) is None
    assert service.autoreply.settle(us(20.000001), log.says(10)) == us(20)


@pytest.mark.parametrize(
    ("history", "outcome"),
    [
        pytest.param([], "reply shipping", id="nothing happened"),
        pytest.param(["queued"], "ignored superseded", id="its silence opened a request"),
        pytest.param(["queued", "released"], "ignored superseded", id="a request that has ended by now"),
        pytest.param(["other queued"], "ignored superseded", id="it joined one that was open"),
        pytest.param(["other queued", "other released early"], "reply shipping", id="one that ended before"),
        pytest.param(["other queued", "other released late"], "ignored superseded", id="one that ended after"),
        pytest.param(["other queued", "other closed"], "ignored superseded", id="one that a close has ended since"),
        pytest.param(["other queued", "other closed before"], "reply shipping", id="one that a close ended before"),
    ],
)
def test_an_old_message_that_has_had_a_request_is_superseded(log, service, history, outcome):
    message = log.says(10, "发货", "m-1")
    happened = {
        "queued": log.queued(13, opened_by("m-1"), since=10, cause="no_autoreply"),
        "released": log.released(50, opened_by("m-1"), "agent_offline"),
        "other queued": log.queued(5, "r-0", since=4),
        "other released early": log.released(12.9, "r-0", "agent_offline"),
        "other released late": log.released(13, "r-0", "agent_offline"),
        "other closed": log.released(10, "r-0", "closed"),
        "other closed before": log.released(9.9, "r-0", "closed"),
    }
    assert service.answer(*(happened[what] for what in history), message, now=100) == outcome


@pytest.mark.parametrize(
    ("write", "outcome"),
    [
        ({"at": 11}, "ignored superseded"),
        ({"at": 9}, "reply shipping"),
        ({"at": 9, "to": "m-1"}, "ignored superseded"),  # it stands directly after the message that it answers
    ],
)
def test_an_old_message_that_an_agent_has_answered_since_is_superseded(log, service, write, outcome):
    service.unit(log.writes(**write))
    assert service.answer(log.says(10, "发货", "m-1"), now=100) == outcome


@pytest.mark.parametrize(
    ("text", "age", "outcome"),
    [
        # reply_max_age_s is 300
        ("发货", 300, "reply shipping"),
        ("发货", 300.000001, "handover no_match"),
        ("我要退款", 300, "both rule"),
        ("我要退款", 301, "handover rule"),
        ("转人工", 301, "both asked_for_human"),  # a queue notice is still true
        ("", 301, "ignored empty"),
    ],
)
def test_a_message_too_old_for_an_answer_is_handed_over(log, service, text, age, outcome):
    assert service.answer(log.says(0, text), now=age) == outcome


def test_a_message_whose_event_time_alone_is_old_is_answered_as_usual(log, service):
    # It was written 400 s ago but reached the broker just now: nobody has met its silence.
    assert service.answer(log.says(0, "发货", broker=400), now=400) == "reply shipping"


def test_out_of_hours_reply_goes_with_the_hand_over_of_an_old_message(log, service):
    evening = 7 * 3600  # 19:00 in the shop
    assert service.answer(log.says(evening, "发货"), now=evening) == "both rule"
    assert service.answer(log.says(evening + 1, "物流呢"), now=evening + 900) == "ignored waiting"
    assert Service().answer(Log().says(evening, "发货"), now=evening + 900) == "both rule"


# --- waiting_since -----------------------------------------------------------------------------------------------------


def since(outcomes: list[dict]) -> str:
    return next(o["data"]["waiting_since"] for o in outcomes if o["type"] == "handover.requested.v1")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(lambda log: [], 100, id="alone"),
        pytest.param(lambda log: [log.says(50, "甲")], 50, id="handed over before"),
        pytest.param(lambda log: [log.says(50, "甲"), log.says(60, "发货")], 100, id="a reply answers those before it"),
        pytest.param(lambda log: [log.says(50, "")], 100, id="empty does not wait"),
        pytest.param(lambda log: [log.says(40, "发货"), log.says(50, "发货")], 100, id="cooldown does not wait"),
        pytest.param(lambda log: [log.says(50, "甲"), log.closes(50)], 100, id="closed at its instant"),
        pytest.param(lambda log: [log.says(50, "甲"), log.says(60, "乙"), log.closes(55)], 60, id="closed between"),
        pytest.param(lambda log: [log.says(50, "甲"), log.writes(51)], 100, id="an agent answered"),
        pytest.param(lambda log: [log.says(50, "甲"), log.writes(50)], 50, id="an agent at its instant did not"),
        pytest.param(lambda log: [log.says(50, "甲", "m-1"), log.writes(49, to="m-1")], 100, id="named as answered"),
        pytest.param(lambda log: [log.writes(70), log.says(60, "甲")], 100, id="late, answered before it came"),
        pytest.param(lambda log: [log.writes(49, to="m-1"), log.says(50, "甲", "m-1")], 100, id="answered, then read"),
        pytest.param(lambda log: [log.says(50, "甲"), log.writes(51, kind="bot")], 50, id="a bot answers nothing"),
        pytest.param(lambda log: [log.says(50, "甲"), log.says(45, "乙")], 45, id="the earliest by event time"),
        pytest.param(lambda log: [log.says(120, "甲")], 100, id="itself"),
    ],
)
def test_waiting_since(log, service, before, expected):
    for event in before(log):
        service.unit(event)
    # By writing, an agent has become the owner; he hands on, so that the last message is handed over again.
    service.unit(log.hands_on(99))
    assert since(service.unit(log.says(100, "投诉"), now=130)) == rfc3339(us(expected))


# --- what else the rules may ask -----------------------------------------------------------------------------------------


def test_every_outcome_is_under_the_shop_of_the_first_message(log, service):
    (first,) = service.unit(log.says(0, "发货", shop="shop-a"))
    (second,) = service.unit(log.says(5, "物流", shop="shop-b"))
    assert [first["data"]["shop_id"], second["data"]["shop_id"]] == ["shop-a", "shop-a"]


def test_events_that_state_another_shop_are_counted_and_flagged_with_ids_once_the_first_message_has_fixed_it(
    log, service
):
    before = log.closes(0, shop="shop-b")
    first = log.says(1, "发货", "m-1", shop="shop-a")
    with structlog.testing.capture_logs() as logs:
        service.unit(before, first)
        assert (service.other_shops, logs) == (0, []), "before any message an event's own shop counts"
        service.unit(log.says(2, "物流", shop="shop-a"))
        service.unit(log.says(3, "物流", "m-1", shop="shop-b"))
        assert service.other_shops == 0, "a duplicate has no effect"
        others = [log.says(4, "退款", shop="shop-b"), log.closes(5, shop="shop-b")]
        service.unit(*others)
    assert service.other_shops == len(logs) == 2
    assert (logs[1]["subject"], logs[1]["shop"], logs[1]["stated"]) == ("c-1", "shop-a", "shop-b")
    assert [line["record"] for line in logs] == [event.coordinates for event in others]
    assert "退款" not in str(logs)


def test_a_second_record_of_a_message_has_no_outcome(log, service):
    events = [
        log.says(0, "发货", "m-1", event_id="e-1"),
        log.says(1, "转人工", "m-2", event_id="e-1"),  # same source and id
        log.says(2, "转人工", "m-1", event_id="e-3"),  # same message_id
    ]
    assert tell(service.unit(*events)) == ["reply shipping"]
