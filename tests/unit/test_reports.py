"""Reports: stories, rounds and figures of made-up conversations, with the arithmetic shown; pages, CSV, charts.

Seconds count from Friday 2026-11-20 10:00 in Shanghai.
"""

import csv
import io
import json
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from tests.unit.sla_world import END, SHOP, T0, Log, Service, at, book

from deskline.clock import SECOND
from deskline.config.documents import PlatformMeasure, ReportSettings, ScoreWeights
from deskline.conversations import Context
from deskline.events import models
from deskline.events.wire import decode, new
from deskline.records import CONVERSATIONS, SHOPS, SLA, Event, Record
from deskline.report.cli import data_of, period_of
from deskline.report.figures import percentile, report
from deskline.report.pages import bars, html, page, table_csv
from deskline.report.platform import PlatformReading, platform_share
from deskline.report.store import Read
from deskline.report.story import Round, stories
from deskline.report.words import _WORDS

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 11, 20)
PERIOD = period_of(DAY, DAY, "Asia/Shanghai")
H = 3600


def as_conversation(log, subject):
    """The log's events as those of another conversation."""
    return [event._replace(subject=subject, id=f"{subject}-{event.id}") for event in log.events]


def with_clocks(log, subject="c-1", sla=None):
    """The events and what sla tells of them."""
    service, told = Service(book(sla)), []
    for watermark, events in ((at(0), log.events), (END, [])):
        context = Context(watermark, watermark, service.config, {}, 0)
        told += service.folding.advance(subject, service.state, events, context)
    records = [Record(SLA, 0, n, T0, subject.encode(), out.value, ()) for n, out in enumerate(told)]
    return [*as_conversation(log, subject), *map(decode, records)]


def one(log):
    (story,) = stories(log.events)
    return story


def answered_by(agent, took, *, start=0, score=None, order=None, closed=True, resolved=True):
    """Handed over at once, answered after ``took`` seconds."""
    log = Log()
    log.customer(start, "m1")
    log.handover(start + 0.1, "m1", since=start)
    log.queued(start + 0.2, "q1", since=start)
    log.assigned(start + 0.3, "q1", "a1", agent)
    log.wrote(start + took, agent)
    if order is not None:
        log.gateway("order.placed", start + took + 60, order_id="o1", customer_id="k-1", amount=order)
    if closed:
        log.add("conversation.closed.v1", start + took + 100, shop_id=SHOP, resolved=resolved)
    if score is not None:
        log.gateway("conversation.rated", start + took + 120, score=score)
    return log


# --- rounds -------------------------------------------------------------------------------------------------------


def took(rounds):
    return [None if each.took is None else each.took / SECOND for each in rounds]


def test_a_round_runs_from_the_first_unanswered_message_to_the_first_answer():
    log = Log()
    for second in (0, 5, 9):
        log.customer(second, f"m{second}")
    log.wrote(10, "bot", kind="bot")
    log.customer(20, "m4")
    log.wrote(50, "anna")
    assert took(one(log).rounds) == [10, 30]


def test_a_bot_answers_the_customer_and_not_for_the_agent():
    log = Log()
    log.customer(0, "m1")
    log.handover(1, "m1", since=0)
    log.wrote(2, "bot", kind="bot")
    log.wrote(40, "anna")
    assert (took(one(log).rounds), one(log).agent_rounds) == ([2], [Round(T0, at(40), "anna")])


def test_an_answer_before_the_hand_overs_own_time_ends_its_round_and_one_before_its_message_by_the_clock_comes_after_it():
    log = Log()
    log.customer(0, "m1")
    log.wrote(2, "anna")
    log.handover(3, "m1", since=0)
    assert (took(one(log).agent_rounds), one(log).waiting_since) == ([2], None)
    log.customer(20, "m2")
    log.wrote(19.9, "anna", to="m2")  # its author's clock is behind
    assert (took(one(log).agent_rounds)[1:], one(log).waiting_since) == ([0], None)


def test_after_a_full_queue_the_next_hand_over_waits_from_its_own_time():
    log = Log()
    log.customer(0, "m1")
    log.handover(1, "m1", since=0)
    log.queued(1.1, "q1", since=0)
    log.released(1.2, "q1", "queue_full")
    log.wrote(10, "anna")
    log.handover(30, "m1", since=0)
    log.wrote(40, "anna")
    assert took(one(log).agent_rounds) == [10, 10]


def test_a_message_after_an_agent_wrote_is_the_agents_turn_until_the_close():
    log = Log()
    log.customer(0, "m1")
    log.handover(1, "m1", since=0)
    log.wrote(10, "anna")
    log.customer(20, "m2")
    log.wrote(50, "anna")
    log.closed(60)
    log.customer(100, "m3")
    log.wrote(101, "bot", kind="bot")
    assert took(one(log).agent_rounds) == [10, 30]
    assert one(log).waiting_since is None


def test_a_close_without_an_answer_ends_the_round_unanswered_and_an_open_one_is_still_waiting():
    log = Log()
    log.customer(0, "m1")
    log.handover(1, "m1", since=0)
    open_story = one(log)
    log.closed(60)
    assert (open_story.waiting_since, open_story.agent_rounds) == (T0, [])
    assert (one(log).waiting_since, took(one(log).agent_rounds)) == (None, [None])


def test_a_system_message_answers_nothing():
    log = Log()
    log.customer(0, "m1")
    log.wrote(1, "system", kind="system")
    assert one(log).rounds == []


def test_duplicates_have_no_effect_and_the_order_of_reading_neither():
    log = answered_by("anna", 30, score=5, order="9.90")
    twice = [*log.events, *(e._replace(offset=e.offset + 1_000) for e in log.events)]
    assert stories(reversed(twice)) == stories(log.events)


# --- figures ------------------------------------------------------------------------------------------------------


def figures(*logs, settings=None, trainees=(), most=50):
    events = [event for number, log in enumerate(logs) for event in as_conversation(log, f"c-{number}")]
    return report(stories(events), PERIOD, settings or ReportSettings(), trainees, most_stories=most)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(50, 20), (90, 40), (95, 40), (25, 10), (26, 20), (1, 10), (100, 40)],  # nearest rank of 10, 20, 30, 40
)
def test_a_percentile_is_the_smallest_wait_that_so_many_do_not_exceed(share, expected):
    assert percentile([10, 20, 30, 40], share) == expected


def test_responses_by_local_hour_with_mean_percentiles_and_share_within_the_target():
    # 10 h: 20, 40 and 90 s; 12 h: 60 s. Mean of the hour 10: 50 s; two of three within 60 s.
    data = figures(*(answered_by("anna", s) for s in (20, 40, 90)), answered_by("bo", 60, start=2 * H))["response"]
    ten, noon = data["agent"]["hours"]
    assert (ten["hour"], ten["answered"], ten["mean_s"], ten["p50_s"], ten["p90_s"]) == (10, 3, 50.0, 40.0, 90.0)
    assert ten["within"] == pytest.approx(2 / 3, abs=1e-6)
    assert (noon["hour"], noon["within"]) == (12, 1.0)  # a wait of exactly the target is within it
    assert data["agent"]["all"]["mean_s"] == 52.5


def test_what_began_outside_the_days_does_not_count():
    # 2026-11-20 ends at 14 h after 10:00.
    data = figures(answered_by("anna", 20, start=14 * H - 1), answered_by("anna", 20, start=14 * H))
    assert data["response"]["agent"]["all"]["answered"] == 1


def test_satisfaction_is_the_share_of_four_and_five_of_the_last_ratings():
    again = answered_by("anna", 20, score=1)
    again.gateway("conversation.rated", 500, score=5)
    data = figures(again, answered_by("anna", 20, score=4), answered_by("bo", 20, score=3), answered_by("bo", 20))
    assert data["satisfaction"] == {
        "target": 0.95,
        "rated": 3,
        "satisfied": pytest.approx(2 / 3, abs=1e-6),
        "mean": 4.0,
        "scores": {"1": 0, "2": 0, "3": 1, "4": 1, "5": 1},
    }


def test_resolution_counts_the_last_close_of_each_conversation():
    reopened = answered_by("anna", 20, resolved=False)
    reopened.customer(1_000, "m2")
    reopened.closed(1_100)
    data = figures(reopened, answered_by("anna", 20), answered_by("bo", 20, resolved=False))
    assert data["resolution"] == {"target": 0.9, "closed": 3, "resolved": pytest.approx(2 / 3, abs=1e-6)}


def test_an_agents_score_is_the_weighted_mean_of_speed_satisfaction_and_conversion():
    # anna: 1 of 2 within 60 s, 1 of 1 satisfied, 1 of 2 with an order: 0.4 · 50 + 0.4 · 100 + 0.2 · 50 = 70.
    logs = [answered_by("anna", 20, score=5, order="10.00"), answered_by("anna", 90), answered_by("bo", 30)]
    anna, bo = sorted(figures(*logs)["agents"], key=lambda row: row["agent_id"])
    assert (anna["speed"], anna["satisfaction"], anna["conversion"], anna["score"]) == (0.5, 1.0, 0.5, 70.0)
    # bo: all in time, no rating, no order: (0.4 · 100 + 0.2 · 0) / 0.6 = 66.67.
    assert (bo["satisfaction"], bo["conversion"], bo["score"]) == (None, 0.0, 66.67)


def test_without_order_events_conversion_is_unknown_and_drops_out_of_the_score():
    data = figures(answered_by("anna", 20, score=4))
    assert data["conversion"] == {"orders": 0, "advised": 1, "converted": 0, "share": None, "amount": "0"}
    assert (data["agents"][0]["conversion"], data["agents"][0]["score"]) == (None, 100.0)


def test_the_weights_are_the_shops():
    weights = ScoreWeights(speed=0, satisfaction=0, conversion=1)
    logs = [answered_by("anna", 20, order="10.00"), answered_by("anna", 20)]
    assert figures(*logs, settings=ReportSettings(weights=weights))["agents"][0]["score"] == 50.0


def test_an_order_before_anybody_advised_is_no_conversion_and_money_is_exact():
    early = Log()
    early.gateway("order.placed", 1, order_id="o0", customer_id="k-1", amount="99.99")
    early.customer(2, "m1")
    early.wrote(10, "anna")
    data = figures(early, answered_by("anna", 20, order="0.10"), answered_by("anna", 20, order="0.20"))["conversion"]
    assert (data["orders"], data["advised"], data["converted"], data["amount"]) == (3, 3, 2, "0.30")


def test_trainees_are_shown_day_by_day_with_the_change_between_the_halves():
    period = period_of(date(2026, 11, 20), date(2026, 11, 23), "Asia/Shanghai")
    logs = [answered_by("tom", s, start=day * 24 * H) for day, s in enumerate((100, 90, 30, 20))]
    events = [event for number, log in enumerate(logs) for event in as_conversation(log, f"c-{number}")]
    data = report(stories(events), period, ReportSettings(), ["tom"])["trainees"]
    assert [(row["day"], row["mean_s"]) for row in data[0]["days"]] == [
        ("2026-11-20", 100.0),
        ("2026-11-21", 90.0),
        ("2026-11-22", 30.0),
        ("2026-11-23", 20.0),
    ]
    assert data[0]["change"] == 1.0  # 0 of 2 within 60 s, then 2 of 2


def test_attainment_counts_the_last_word_on_each_clock_by_metric_and_tier():
    logs = {"c-0": answered_by("anna", 30), "c-1": answered_by("anna", 300)}
    events = [event for subject, log in logs.items() for event in with_clocks(log, subject)]
    rows = report(stories(events), PERIOD, ReportSettings())["attainment"]
    found = {(row["metric"], row["tier"]): (row["met"], row["breached"], row["attainment"]) for row in rows}
    # instant_reply (30 s) is answered by anna after 30 s, in time to the microsecond, and after 300 s.
    assert found == {
        ("agent_response", "all"): (1, 1, 0.5),
        ("agent_response", "regular"): (1, 1, 0.5),
        ("instant_reply", "all"): (1, 1, 0.5),
        ("instant_reply", "regular"): (1, 1, 0.5),
    }


def test_a_breach_that_was_taken_back_is_none():
    log = answered_by("anna", 100)
    *early, answer = log.events[:5]
    service, told = Service(book()), []
    for watermark, events in (
        (at(1), early),
        (at(200), []),
        (at(300), [answer._replace(broker_at=at(290))]),
        (END, []),
    ):
        context = Context(watermark, watermark, service.config, {}, 0)
        told += service.folding.advance("c-1", service.state, events, context)
    sla = [decode(Record(SLA, 0, n, T0, b"c-1", out.value, ())) for n, out in enumerate(told)]
    assert "sla.breach_retracted.v1" in {event.type for event in sla}
    data = report(stories([*log.events, *sla]), PERIOD, ReportSettings())
    assert [each["metric"] for each in data["breaches"]["stories"]] == ["instant_reply"]


def test_a_breach_is_told_with_what_happened_up_to_the_late_answer_and_never_with_a_text():
    sla = {"policies": [{"policy_id": "p", "targets": {"instant_reply": 0, "agent_response": 180}}]}
    data = report(stories(with_clocks(answered_by("anna", 200), sla=sla)), PERIOD, ReportSettings())["breaches"]
    (breach,) = data["stories"]
    assert (breach["due_at"], breach["answered_late_by_s"]) == ("2026-11-20T02:03:00.000000Z", 20.0)
    assert [(line["what"], line["who"], line["detail"]) for line in breach["story"]] == [
        ("customer_wrote", "", ""),
        ("handed_over", "", "no_match"),
        ("queued", "", "handover"),
        ("assigned", "anna", ""),
        ("agent_wrote", "anna", ""),
    ]


def test_more_breaches_than_asked_for_are_counted_as_left_off():
    events = [event for n in range(3) for event in with_clocks(answered_by("anna", 300), f"c-{n}")]
    data = report(stories(events), PERIOD, ReportSettings(), most_stories=2)["breaches"]
    assert (data["count"], len(data["stories"]), data["left_off"]) == (6, 2, 4)


# --- the platform's measure ---------------------------------------------------------------------------------------

EIGHT = -2 * H
"""08:00:00 in seconds after 10:00."""
ELEVEN = 13 * H
"""23:00:00"""


def platform(*logs, **reading):
    events = [event for number, log in enumerate(logs) for event in as_conversation(log, f"c-{number}")]
    return platform_share(stories(events), PERIOD.begin, PERIOD.end, ZONE, PlatformReading(**reading))


@pytest.mark.parametrize(
    ("start", "took_s", "expected"),
    [
        (0, 180, (1, 1)),  # exactly 180 s is inside
        (0, 180.000_001, (1, 0)),
        (EIGHT, 10, (1, 1)),
        (EIGHT - 0.000_001, 10, (0, 0)),
        (ELEVEN - 0.000_001, 10, (1, 1)),  # 22:59:59.999999 is still 22:59:59
        (ELEVEN, 10, (0, 0)),
    ],
)
def test_answered_inside_180_s_between_eight_and_the_end_of_22_59_59(start, took_s, expected):
    found = platform(answered_by("anna", took_s, start=start))
    assert (found.conversations, found.counted) == expected


def two_rounds(first, second):
    log = answered_by("anna", first, closed=False)
    log.customer(1_000, "m2")
    log.wrote(1_000 + second, "anna")
    return log


def test_one_late_round_and_the_conversation_counts_zero_or_its_share():
    logs = [two_rounds(10, 200), two_rounds(10, 10)]
    assert (platform(*logs).share, platform(*logs).late) == (0.5, 1)
    assert platform(*logs, late="share").share == 0.75  # (1/2 + 1) / 2


def test_never_assigned_counts_zero_or_is_left_out():
    alone = Log()
    alone.customer(0, "m1")
    alone.wrote(1, "bot", kind="bot")
    logs = [alone, answered_by("anna", 10)]
    assert (platform(*logs).share, platform(*logs).unassigned) == (0.5, 1)
    assert platform(*logs, unassigned="leave_out").share == 1.0


def test_an_open_wait_is_late_once_180_s_are_over_at_the_end_of_the_days():
    waiting = answered_by("anna", 10, closed=False)
    waiting.customer(12 * H, "m2")
    assert platform(waiting).share == 0.0


def test_a_night_round_counts_only_where_whole_conversations_do():
    # In time at 22:59, then a late round at 23:10.
    log = answered_by("anna", 10, start=ELEVEN - 60, closed=False)
    log.customer(ELEVEN + 600, "m2")
    log.wrote(ELEVEN + 900, "anna")
    assert platform(log).share == 1.0
    assert platform(log, window="conversations").share == 0.0


def test_nothing_in_the_window_is_no_share():
    assert platform().share is None


def test_the_switch_in_the_configuration_is_the_readings():
    assert set(PlatformMeasure.model_fields) == set(PlatformReading._fields)
    assert PlatformReading(**PlatformMeasure().model_dump()) == PlatformReading()


# --- the whole, and how it is shown ---------------------------------------------------------------------------------


def applied(document, body, version=1, shop="_default"):
    data = new(models.REGISTRY["config.applied.v1"].model, shop_id=shop, version=version, effective_from="2026-11-01T00:00:00Z", document=document, body=body, reevaluate=False)  # fmt: skip
    return Event("config.applied.v1", f"{document}-{version}", "/deskline/config", shop, T0, False, data, SHOPS, 0, version, at(-30 * 24 * H))  # fmt: skip


CONFIGURATION = [
    applied("calendars", {"default": "d", "calendars": {"d": {"timezone": "Asia/Shanghai", "weekly": {"mon": ["09:00-18:00"]}}}}),
    applied("agents", {"agents": [{"agent_id": "tom", "grade": "trainee"}, {"agent_id": "anna"}]}),
    applied("sla", {"report": {"weights": {"speed": 1.0, "satisfaction": 0.0, "conversion": 0.0}, "response_s": 25.0}}),
]  # fmt: skip


def whole(*logs, shop=SHOP, **fields):
    events = [event for number, log in enumerate(logs) for event in with_clocks(log, f"c-{number}")]
    read = Read(events, CONFIGURATION, len(events) + len(CONFIGURATION), "f" * 16)
    return data_of(read, shop, (DAY, DAY), **fields)


def test_zone_weights_and_trainees_come_from_the_configuration_in_the_log():
    data = whole(answered_by("tom", 20), answered_by("tom", 30), answered_by("anna", 300))
    assert (data["time_zone"], data["response"]["target_s"]) == ("Asia/Shanghai", 25)
    assert [each["agent_id"] for each in data["trainees"]] == ["tom"]
    assert data["agents"][0]["score"] == 50.0  # one of two within 25 s, and nothing but speed counts
    assert whole(answered_by("tom", 20), zone="UTC")["response"]["agent"]["hours"][0]["hour"] == 2


def test_without_configuration_in_the_log_the_defaults_hold_in_utc():
    log = answered_by("anna", 20)
    data = data_of(Read(log.events, [], 5, "0"), SHOP, (DAY, DAY))
    assert (data["time_zone"], data["trainees"], data["response"]["target_s"]) == ("UTC", [], 60)


def test_the_same_records_give_the_same_report_in_whatever_order_they_are_read():
    logs = [answered_by("tom", 20, score=4), answered_by("anna", 300, order="1.00")]
    first = whole(*logs)
    events = [event for number, log in enumerate(logs) for event in with_clocks(log, f"c-{number}")]
    again = data_of(Read(events[::-1], CONFIGURATION, first["source"]["records"], "f" * 16), SHOP, (DAY, DAY))
    assert json.dumps(again) == json.dumps(first)


def test_another_shops_conversations_are_not_in_it():
    data = whole(answered_by("anna", 20), shop="other")
    assert data["conversations"] == 0
    assert page(data, "en").tables == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_states_zone_period_and_source_and_whether_targets_are_reached(language):
    shown = page(whole(answered_by("tom", 20, score=5), answered_by("anna", 300)), language)
    assert "Asia/Shanghai" in shown.lines[0]
    assert "ffffffffffffffff" in shown.lines[1]
    rows = {row[0]: row[1:] for row in shown.tables[0].rows}
    # (20 + 300) / 2 = 160 s, not below 25 s; the one rating is a 5.
    mean, satisfied = (rows[_WORDS[name][language == "zh"]] for name in ("mean_response", "satisfied"))
    yes, no = (_WORDS[name][language == "zh"] for name in ("yes", "no"))
    assert mean == ("160.0 s", "< 25 s", no)
    assert satisfied == ("100.0 %", "> 95.0 %", yes)
    breach = next(table for table in shown.tables if table.title == _WORDS["breach_title"][language == "zh"])
    assert breach.rows[-1][4] == "2026-11-20 10:03:00"


def test_the_csv_has_one_figure_a_row_and_no_formula():
    rows = list(csv.DictReader(io.StringIO(table_csv(whole(answered_by("=cmd", 20), answered_by("tom", 30))))))
    found = {(row["section"], row["key"], row["figure"]): row["value"] for row in rows}
    assert found["report", "", "time_zone"] == "Asia/Shanghai"
    assert found["response_agent", "10", "mean_s"] == "25.0"
    assert found["attainment", "agent_response/all", "attainment"] == "1.0"
    assert found["agent", "'=cmd", "speed"] == "1.0"
    assert found["satisfaction", "", "satisfied"] == ""


def test_the_html_holds_charts_and_nothing_from_outside_is_markup():
    text = html(whole(answered_by("<script>x</script>", 20)), "zh")
    assert text.count("<svg") == 3  # responses, attainment, scores
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text


def test_bars_are_drawn_for_values_only_and_red_from_the_target_on():
    drawn = bars("t", [("09", 30.0), ("10", None), ("11", 60.0)], 60)
    assert drawn.count("<rect") == 2
    assert drawn.count("#c0504d") == 1
    assert bars("t", [("09", None)], 60) == ""


def test_every_line_of_a_story_has_its_words_in_both_languages():
    log = answered_by("anna", 10)
    log.gateway("conversation.held", 11)
    log.gateway("conversation.resumed", 12)
    log.gateway("complaint.opened", 13, complaint_id="k")
    log.gateway("complaint.closed", 14, complaint_id="k")
    log.gateway("transfer.requested", 15, by_agent_id="anna")
    log.revoked(16, "q1", "a1", "anna")
    log.assigned(17, "q1", "a2", "bo", mode="offered")
    log.wrote(18, "bot", kind="bot")
    kinds = {line.what for line in one(log).lines}
    assert {"held", "complained", "transferred", "taken_back", "offered", "bot_wrote"} <= kinds <= set(_WORDS)


def test_a_conversation_topic_event_without_any_message_keeps_its_own_shop():
    log = Log()
    log.gateway("complaint.opened", 13, complaint_id="k")
    assert (one(log).shop, one(log).opened_at) == (SHOP, 0)
    assert log.events[0].topic == CONVERSATIONS
