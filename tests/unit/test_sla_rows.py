"""Every row of the collected SLA, timer and business-hours scenarios: the test that holds it, or why there is none.

The rows come from the tests and bug threads of other projects (BZ biz, CW Chatwoot, ZM Zammad, LD Libredesk, FR Frappe Helpdesk,
RT Request Tracker, GL GLPI, ZN Znuny, CN China's calendars, TM timers) and from this project (D).
"""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.unit.sla_world import END, Log, Service, at, book

from deskline.calendars import Hours
from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.documents import Calendar, Weekly

H = 3600
COLLECTION = Path(__file__).parents[3] / "shared" / "scenarios" / "sla.md"
ADD = "test_the_target_is_reached_at_the_first_instant_that_counts_enough"
ELAPSED = "test_elapsed_counts_open_time_only"
OPENING = "test_the_next_opening"
STORY = "test_a_story_gives_these_clocks"
SECONDS_ONLY = "because: targets are seconds; days and minutes are no units here"

ROWS = {
    **dict.fromkeys(("BZ1", "CW3", "CW4", "CW8", "CW10", "LD3", "LD4", "LD5", "LD8", "LD12", "LD13", "LD16"), ADD),
    **dict.fromkeys(("FR4", "FR5", "FR6", "RT1", "GL5", "ZN1", "ZN2", "ZN5", "ZN6", "ZN9", "ZN11"), ADD),
    **dict.fromkeys(("D1", "D2", "D3", "D4", "D9", "D17", "D18"), ADD),
    **dict.fromkeys(("BZ8", "GL3", "ZN13", "ZN14", "D8"), ELAPSED),
    **dict.fromkeys(("BZ14", "BZ16", "BZ18", "RT3"), OPENING),
    "BZ3": "test_counting_nothing_takes_no_time_even_when_closed",  # ours: the start itself; nothing is subtracted
    "BZ6": SECONDS_ONLY,
    "BZ10": "test_a_special_day_has_only_its_own_hours",
    "BZ12": "test_breaks_are_written_as_the_spans_between_them",
    "BZ20": "test_shop_hours_count_and_a_target_used_up_at_closing_breaches_at_opening",
    "CW13": "test_a_clock_that_ran_out_hours_ago_is_told_once_with_its_own_due_instant",
    "CW15": "test_a_clock_that_ran_out_hours_ago_is_told_once_with_its_own_due_instant",
    "CW17": "test_an_answer_half_an_hour_before_the_target_is_met_and_nothing_breaches",
    "CW18": "test_each_metric_of_one_conversation_goes_its_own_way",
    "CW20": "test_a_clock_that_ran_out_hours_ago_is_told_once_with_its_own_due_instant",
    "CW22": STORY,
    "ZM2": "test_an_answer_half_an_hour_before_the_target_is_met_and_nothing_breaches",
    "ZM3": "test_a_clock_that_ran_out_hours_ago_is_told_once_with_its_own_due_instant",
    "ZM6": STORY,
    "ZM7": STORY,
    "ZM10": "test_a_later_priority_leaves_an_open_clock_its_row",  # there: cleared (contract §5: priority up to its start)
    "ZM12": "test_where_a_hold_begins_at_due_an_answer_in_the_hold_is_in_time",
    **dict.fromkeys(("ZM14", "ZM15", "ZM16", "ZM24"), "test_only_the_time_outside_holds_counts"),
    "ZM18": "test_a_held_clock_is_due_as_if_it_were_resumed_now",
    "ZM20": STORY,
    "ZM21": STORY,
    "ZM22": STORY,
    "ZM26": "test_a_target_of_null_or_zero_is_no_clock",
    "ZM28": "test_what_was_answered_or_breached_by_then_keeps_its_version",  # there: it leaves (contract §5: versions)
    "LD18": "test_the_target_of_thirty_seconds_is_thirty_seconds",
    "FR8": "test_a_hold_stops_the_count",
    "FR10": "test_a_hold_over_a_holiday_takes_open_time_away_only_once",
    "FR12": "test_a_clock_that_ran_out_hours_ago_is_told_once_with_its_own_due_instant",
    "FR13": "test_reopening_begins_a_new_clock_with_all_of_its_time",  # there: moved by the time it was closed
    "FR14": "test_resolution_is_met_up_to_due_itself",
    "FR15": "test_a_breach_is_told_with_what_happened_up_to_the_late_answer_and_never_with_a_text",
    "RT5": STORY,
    "RT6": STORY,
    "RT8": "test_each_metric_of_one_conversation_goes_its_own_way",
    "RT9": "because: who owns and who asks are never one person here",
    "RT12": "test_a_weekday_with_a_number_is_refused",
    "ZN16": ELAPSED,  # BZ8 reversed: 0; a negative target is refused by the document
    **dict.fromkeys(("CN2", "CN3", "CN5"), "test_the_rows_say_of_every_day_what_their_source_says"),
    "CN6": "test_a_deadline_beyond_the_known_holidays_says_that_it_is_a_guess",
    "CN8": "test_a_row_that_was_announced_is_there",
    "TM2": "test_breaches_and_warnings_are_told_as_soon_as_the_watermark_allows",
    "TM3": "test_kill_9_in_the_middle_and_what_is_told_is_what_an_undisturbed_run_tells",
    "TM4": "because: batches are bounded and do not shrink; a statement that times out fails its unit, which is done again",
    "TM6": "test_a_timer_fires_as_promptly_as_a_record_is_decided",
    "TM7": "test_an_answer_read_before_the_watermark_is_past_is_no_breach",  # the watermark decides, no host's clock
    "TM9": "test_warnings_come_once_at_each_threshold_while_the_clock_is_open",
    "D20": "test_two_instances_share_the_partitions_and_one_leaves",
    "D21": "test_kill_9_in_the_middle_and_what_is_told_is_what_an_undisturbed_run_tells",
    "D22": "test_postgres_is_restarted_fast_and_immediate",
    "D24": "test_an_answer_read_before_the_watermark_is_past_is_no_breach",
    "D25": "test_an_answer_beyond_the_grace_takes_the_breach_back",
    "D29": STORY,
    "D30": STORY,
    "D33": "test_an_open_clock_takes_the_new_target_when_it_comes_into_force",
    "D36": "test_resolution_is_met_up_to_due_itself",
    "D37": "test_a_message_after_a_close_opens_anew_whatever_the_order_in_the_log",
}
COLLECTED = """
BZ1 BZ3 BZ6 BZ8 BZ10 BZ12 BZ14 BZ16 BZ18 BZ20
CW3 CW4 CW8 CW10 CW13 CW15 CW17 CW18 CW20 CW22
ZM2 ZM3 ZM6 ZM7 ZM10 ZM12 ZM14 ZM15 ZM16 ZM18 ZM20 ZM21 ZM22 ZM24 ZM26 ZM28
LD3 LD4 LD5 LD8 LD12 LD13 LD16 LD18
FR4 FR5 FR6 FR8 FR10 FR12 FR13 FR14 FR15
RT1 RT3 RT5 RT6 RT8 RT9 RT12
GL3 GL5
ZN1 ZN2 ZN5 ZN6 ZN9 ZN11 ZN13 ZN14 ZN16
CN2 CN3 CN5 CN6 CN8
TM2 TM3 TM4 TM6 TM7 TM9
D1 D2 D3 D4 D8 D9 D17 D18 D20 D21 D22 D24 D25 D29 D30 D33 D36 D37
""".split()  # noqa: SIM905  # a row of the page a line


def test_the_rows_are_those_of_the_collection():
    if not COLLECTION.exists():
        pytest.skip("needs ../shared/scenarios/sla.md")
    rows = re.findall(r"\b((?:BZ|CW|ZM|LD|FR|RT|GL|ZN|CN|TM|D)\d+)\b", COLLECTION.read_text(encoding="utf-8"))
    assert sorted(COLLECTED) == sorted(set(rows))


def test_every_row_has_a_test_that_is_there_or_a_reason():
    assert sorted(ROWS) == sorted(COLLECTED)
    files = Path(__file__).parent.parent.rglob("test_*.py")
    there = set(re.findall(r"def (test_\w+)", "\n".join(file.read_text(encoding="utf-8") for file in files)))
    missing = {row: held for row, held in ROWS.items() if not held.startswith("because: ") and held not in there}
    assert missing == {}


# --- rows that no other test holds ----------------------------------------------------------------------------------


def hours(**fields):
    return Hours.of(Calendar(timezone="UTC", **fields))


def test_a_special_day_has_only_its_own_hours():
    # BZ10: shifts 2006-01-04 08-12 and 2006-01-06 09-10 instead of the weekdays' hours.
    week = Weekly(mon=("09:00-17:00",), wed=("09:00-17:00",), fri=("09:00-17:00",))
    calendar = hours(weekly=week, special_days={"2006-01-04": ["08:00-12:00"], "2006-01-06": ["09:00-10:00"]})
    start, end = (parse_rfc3339(f"2006-01-{day}T00:00:00Z") for day in ("02", "07"))
    assert calendar.elapsed(start, end) == (8 + 4 + 1) * H * SECOND


def test_breaks_are_written_as_the_spans_between_them():
    # BZ12: breaks 10-11:30 and 13-14 of a day from 9 to 17.
    calendar = hours(weekly=Weekly(mon=("09:00-10:00", "11:30-13:00", "14:00-17:00")))
    start = parse_rfc3339("2006-01-02T00:00:00Z")
    assert rfc3339(calendar.add(start, round(timedelta(hours=2).total_seconds()) * SECOND)) == "2006-01-02T12:30:00.000000Z"  # fmt: skip
    assert calendar.elapsed(start, start + 24 * H * SECOND) == 5.5 * H * SECOND


def handed_over():
    log = Log()
    log.customer(0, "m1")
    log.handover(0, "m1", since=0)
    return log


def told(log, targets, *, calendars=None, pause=("next_response", "resolution"), watermark=END):
    sla = {"policies": [{"policy_id": "p", "targets": targets}], "warnings": [], "pause_on_hold": list(pause)}
    service = Service(book(sla, calendars))
    service.unit(log.events, watermark)
    return service.words


def states(words):
    return [(word.data.metric, word.type.removeprefix("sla.").removesuffix(".v1")) for word in words]


OFF = {"instant_reply": 0, "next_response": 0, "transfer_response": 0}


@pytest.mark.parametrize("metric", ["agent_response", "resolution"])  # CW13, CW15
def test_a_clock_that_ran_out_hours_ago_is_told_once_with_its_own_due_instant(metric):
    words = told(handed_over(), {**OFF, "agent_response": 0, metric: H}, watermark=at(6 * H))
    assert states(words) == [(metric, "breached")]
    assert words[0].data.breached_at == words[0].data.due_at == rfc3339(at(H))  # CW20: not when it was found


def test_an_answer_half_an_hour_before_the_target_is_met_and_nothing_breaches():
    log = handed_over()
    log.wrote(5.5 * H, "anna")
    words = told(log, {**OFF, "agent_response": 6 * H}, watermark=at(9 * H))
    assert states(words) == [("agent_response", "met")]
    assert words[0].data.elapsed_s == 5.5 * H


def test_each_metric_of_one_conversation_goes_its_own_way():
    # CW18: in at 0 h, out at 1 h, in at 2 h and at 3 h, closed at 6 h; targets 2 h, 1 h, 4 h. The second message of one
    # wait starts no second clock (ZM21), so one next_response breaches where Chatwoot counts two.
    log = handed_over()
    log.wrote(H, "anna")
    log.customer(2 * H, "m2")
    log.customer(3 * H, "m3")
    log.closed(6 * H)
    words = told(log, {**OFF, "agent_response": 2 * H, "next_response": H, "resolution": 4 * H}, watermark=at(8 * H))
    assert sorted(states(words)) == [("agent_response", "met"), ("next_response", "breached"), ("resolution", "breached")]  # fmt: skip
    due = {word.data.metric: word.data.due_at for word in words}
    assert (due["next_response"], due["resolution"]) == (rfc3339(at(3 * H)), rfc3339(at(4 * H)))


@pytest.mark.parametrize(
    ("holds", "elapsed_s"),
    [
        ([(0, 2)], 0),  # ZM14: held from the start to the close
        ([(0, 0.5), (1, 2)], 0.5 * H),  # ZM15
        ([(0, 0.5), (1, 1.25), (1.75, 2)], H),  # ZM16
        ([(1.5, 2)], 1.5 * H),  # ZM24: new and open for 90 minutes, pending until the close
    ],
)
def test_only_the_time_outside_holds_counts(holds, elapsed_s):
    log = handed_over()
    for start, end in holds:
        log.gateway("conversation.held", start * H)
        if end < 2:
            log.gateway("conversation.resumed", end * H)
    log.closed(2 * H)
    (word,) = told(log, {**OFF, "agent_response": 0, "resolution": 4 * H})
    assert (states([word]), word.data.elapsed_s) == ([("resolution", "met")], elapsed_s)


def test_a_hold_over_a_holiday_takes_open_time_away_only_once():
    # FR10: Thursday 17:30, held 17:50, Friday a holiday, resumed Monday 12:30, closed 13:00, open Mon-Fri 10-18: 20 + 30 min.
    week = {key: ["10:00-18:00"] for key in ("mon", "tue", "wed", "thu", "fri")}
    office = {"timezone": "Asia/Shanghai", "weekly": week, "holidays": ["2026-11-20"]}
    log = Log()
    log.customer(-16.5 * H, "m1")
    log.gateway("conversation.held", -16.5 * H + 1200)
    log.gateway("conversation.resumed", 74.5 * H)
    log.closed(75 * H)
    words = told(log, {**OFF, "agent_response": 0, "resolution": 4 * H}, calendars={"default": "o", "calendars": {"o": office}})  # fmt: skip
    assert [(word.data.metric, word.data.elapsed_s) for word in words] == [("resolution", 50 * 60)]


def test_the_target_of_thirty_seconds_is_thirty_seconds():
    # LD18: no rounding to minutes.
    log = Log()
    log.customer(0, "m1")
    (word,) = told(log, {"instant_reply": 30})
    assert (word.data.target_s, word.data.due_at) == (30, rfc3339(at(30)))


def test_a_later_priority_leaves_an_open_clock_its_row():
    # ZM10: at 20 s the priority falls below what the row asks for, and no other row matches.
    log = Log()
    log.customer(0, "m1")
    log.handover(0, "m1", since=0, priority=90)
    log.queued(1, "q1", since=0, priority=90)
    log.queued(20, "q1", since=0, priority=10, seq=2)
    urgent = {"policy_id": "urgent", "when": {"min_priority": 80}, "targets": {"agent_response": 60}}
    none = {"policy_id": "none", "targets": {**OFF, "agent_response": 0}}
    service = Service(book({"policies": [urgent, none], "warnings": []}))
    service.unit(log.events, END)
    assert [(word.data.policy_id, word.data.breached_at) for word in service.words] == [("urgent", rfc3339(at(60)))]


def test_reopening_begins_a_new_clock_with_all_of_its_time():
    # FR13: closed after 10 minutes, reopened after 20, closed again at 135: due at 140, not at 120 and not at 130.
    log = Log()
    log.customer(0, "m1")
    log.closed(600)
    log.customer(1200, "m2")
    log.closed(135 * 60)
    words = told(log, {**OFF, "agent_response": 0, "resolution": 2 * H})
    assert [(word.type, word.data.due_at, word.data.elapsed_s) for word in words] == [
        ("sla.met.v1", rfc3339(at(120 * 60)), 600),
        ("sla.met.v1", rfc3339(at(140 * 60)), 115 * 60),
    ]


def test_a_weekday_with_a_number_is_refused():
    # RT12: is 7 a Sunday, and 0?
    with pytest.raises(ValidationError, match="7"):
        Weekly.model_validate({"7": ["09:00-17:00"]})
