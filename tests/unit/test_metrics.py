"""What the services show: every label set from the start, bounded labels, boundaries on the targets, gauges that add up."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from tests.unit.sla_world import Log, Service, at, book

from deskline.calendars import horizon
from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.documents import Calendar, CalendarsDocument, SlaDocument, Weekly
from deskline.lanes import Lane
from deskline.metrics import EngineMetrics
from deskline.outbox import Outbox
from deskline.records import ALL_TOPICS
from deskline_archive.metrics import INVALID_REASONS
from deskline_archive.metrics import Metrics as ArchiveMetrics
from deskline_autoreply.metrics import CHANNELS, DELAY_BUCKETS
from deskline_autoreply.metrics import Metrics as AutoreplyMetrics
from deskline_router.metrics import Metrics as RouterMetrics
from deskline_sla.metrics import AGREEMENTS, ANSWER_BUCKETS, REMINDERS, TIERS, OverdueGauges, Tally
from deskline_sla.model import METRICS, OverdueCount, ShadowClock, Standing, Word
from deskline_sla.policy.targets import DEFAULTS
from deskline_sla.watch import overdue_ages

MINUTE = 60 * SECOND
ROOT = Path(__file__).parents[2]

BOUNDED = {
    "service", "topic", "partition", "metric", "tier", "type", "reason", "outcome", "agreement", "le", "generation",
    "stage", "channel", "task", "wait", "implementation", "kind", "major", "minor", "patchlevel", "version",
}  # fmt: skip


@pytest.fixture
def registry():
    made = CollectorRegistry()
    engine = EngineMetrics(made)
    engine.start("sla", ("conversations.v1", "replies.v1"))
    Tally(made)
    OverdueGauges(made)
    ArchiveMetrics(made)
    AutoreplyMetrics(made)
    RouterMetrics(made)
    return made


def samples(registry):
    return [sample for family in registry.collect() for sample in family.samples]


def test_no_label_names_a_conversation_a_customer_or_an_agent(registry):
    assert {name for sample in samples(registry) for name in sample.labels} <= BOUNDED


def test_what_rules_ask_for_is_there_at_zero_before_anything_happens(registry):
    def shown(name, **labels):
        return registry.get_sample_value(name, labels)

    for metric in METRICS:
        for tier in TIERS:
            for word in Word:
                assert shown("deskline_sla_told_total", metric=metric, tier=tier, type=word.value) == 0
        assert shown("deskline_sla_overdue_clocks", metric=metric) == 0
    for name in ("conversations", "in_time", "late", "unassigned"):
        assert shown(f"deskline_platform_{name}_total") == 0
    for kind in REMINDERS:
        assert shown("deskline_sla_reminders_total", kind=kind) == 0
        assert shown("deskline_sla_answer_seconds_count", metric=metric) == 0
    for agreement in AGREEMENTS:
        assert shown("deskline_sla_shadow_clocks_total", metric="instant_reply", agreement=agreement) == 0
    for kind, agreement in (("candidate", "gained"), ("candidate", "same"), ("shop", "answered"), ("shop", "left")):
        assert shown("deskline_autoreply_shadow_decisions_total", kind=kind, agreement=agreement) == 0
    for reason in INVALID_REASONS:
        assert shown("deskline_archive_invalid_records_total", reason=reason) == 0
    for name in (
        "deskline_failed_total",
        "deskline_outbox_age_seconds",
        "deskline_timer_overdue_seconds",
        "deskline_ready",
    ):
        assert shown(name, service="sla") == 0, name
    assert shown("deskline_offset_gaps_total", service="sla", topic="replies.v1") == 0
    assert {
        sample.labels["topic"] for sample in samples(registry) if sample.name == "deskline_archive_retention_seconds"
    } == {*ALL_TOPICS}


def test_every_family_has_its_label_sets_before_anything_happens(registry):
    # Which variants there are, rules say: they are there as soon as these are known. Lanes come with their owner.
    bare = {
        family.name for family in registry.collect() if family.type in {"counter", "histogram"} and not family.samples
    }
    assert bare == {"deskline_autoreply_variants"}


def test_names_end_in_base_units_and_gauges_say_how_instances_are_put_together(registry):
    for family in registry.collect():
        assert not re.search(r"_(ms|millis\w*|minutes|hours|kb|mb|percent)$", family.name), family.name
        if family.type == "gauge":
            assert re.search(r"\((share|whole|worst)(: min)?\)|page when 0", family.documentation), family.name


def test_every_default_target_and_its_warnings_are_boundaries_of_the_answers():
    targets = {target for target in DEFAULTS.values() if target}
    wanted = {share * target for target in targets for share in (0.5, 0.8, 1)} | {60}
    assert wanted <= set(ANSWER_BUCKETS)


def test_the_targets_of_the_shops_in_the_examples_are_boundaries_too():
    written = [path.read_text(encoding="utf-8") for path in (ROOT / "examples" / "config").glob("*/sla.yaml")]
    targets = {target for text in written for row in yaml.safe_load(text)["policies"] for target in row["targets"].values()}  # fmt: skip
    assert len(targets) > 5
    assert targets - {0, None} <= set(ANSWER_BUCKETS)


def test_the_time_to_an_answer_names_the_clock_that_it_is_of():
    made = CollectorRegistry()
    tally = Tally(made)
    service, log = Service(book()), Log()
    service.folding.tally = tally
    service.unit([log.customer(0, "m-1"), log.reply(12, "m-1")], at(12))
    tally.committed()
    (met,) = service.told("sla.met.v1")
    line = f'deskline_sla_answer_seconds_bucket{{le="15.0",metric="instant_reply"}} 1.0 # {{clock_id="{met.data.clock_id}"}} 12'
    assert line in generate_latest(made).decode()


def test_an_aborted_unit_counts_nothing_and_a_committed_one_once():
    made = CollectorRegistry()
    tally = Tally(made)
    service, log = Service(book()), Log()
    service.folding.tally = tally

    def breached():
        return made.get_sample_value(
            "deskline_sla_told_total", {"metric": "instant_reply", "tier": "other", "type": "sla.breached.v1"}
        )

    service.unit([log.customer(0, "m-1", tier="platinum")], at(600))
    tally.aborted()
    tally.committed()
    assert breached() == 0
    service.state = service.folding.fresh("c-1")
    service.unit(log.events, at(600))
    tally.committed()
    tally.committed()
    assert breached() == 1
    # Due at 30, to be told from 31 on, told at 600 because nobody asked before: 569 s late.
    assert made.get_sample_value("deskline_sla_breach_lateness_seconds_sum") == pytest.approx(569)
    exemplar = re.search(r'le="600\.0"\} 1\.0 # \{clock_id="\w+"\} 569', generate_latest(made).decode())
    assert exemplar, "the observation names its clock"


@pytest.mark.parametrize(
    ("live", "candidate", "agreement"),
    [
        ("met", "met", "same"), ("breached", "breached", "same"), ("met", "breached", "gained"), ("breached", "met", "lost"),
        (None, "breached", "gained"), ("breached", None, "lost"), ("met", "cancelled", "other"), ("met", None, "other"),
        ("open", "breached", None), ("met", "open", None), (None, None, None),
    ],
)  # fmt: skip
def test_a_clock_in_shadow_is_counted_when_both_sides_have_their_last_word(live, candidate, agreement):
    made = CollectorRegistry()
    tally = Tally(made)
    standing = {state: state and Standing(state, "p", 30.0, at(30), 0) for state in (live, candidate)}
    clock = ShadowClock("k", "c", 0, "s", "instant_reply", "vip", 1, "", at(0), standing[live], standing[candidate])
    tally.compare(clock)
    tally.aborted()
    tally.compare(clock)
    tally.committed()
    counted = {
        one: made.get_sample_value("deskline_sla_shadow_clocks_total", {"metric": "instant_reply", "agreement": one})
        for one in AGREEMENTS
    }
    assert counted == {one: float(one == agreement) for one in AGREEMENTS}


def test_a_breached_clock_is_overdue_until_it_is_stopped_or_the_breach_is_taken_back():
    service, log = Service(book()), Log()

    def changes():
        found = [(row.metric, row.due_at) for row in service.overdue]
        service.overdue.clear()
        return found

    service.unit([log.customer(0, "m-1"), log.handover(1, "m-1", since=0)], at(20))
    assert changes() == []
    service.unit([], at(400))
    assert sorted(changes()) == [("agent_response", at(180)), ("instant_reply", at(30))]
    service.unit([], at(500))
    assert changes() == [], "once"
    # The agent's answer at 200 stops both; nothing is told of it, and yet nobody need look any more.
    service.unit([log.wrote(200, "anna")], at(501))
    assert changes() == [("", 0), ("", 0)]


def test_a_breach_that_is_retracted_is_no_longer_overdue():
    service, log = Service(book()), Log()
    service.unit([log.customer(0, "m-1")], at(60))
    assert [row.due_at for row in service.overdue] == [at(30)]
    service.unit([log.reply(10, "m-1", broker=61)], at(61))
    assert service.told("sla.breach_retracted.v1")
    assert service.overdue[-1].due_at == 0
    assert not service.state.overdue


def test_overdue_gauges_show_count_and_age_and_fall_back_to_zero():
    made = CollectorRegistry()
    gauges = OverdueGauges(made)
    gauges.show({"complaint_closure": (2, 90 * SECOND)})
    assert made.get_sample_value("deskline_sla_overdue_clocks", {"metric": "complaint_closure"}) == 2
    assert made.get_sample_value("deskline_sla_overdue_age_seconds", {"metric": "complaint_closure"}) == 90
    gauges.show({})
    assert made.get_sample_value("deskline_sla_overdue_clocks", {"metric": "complaint_closure"}) == 0
    assert made.get_sample_value("deskline_sla_overdue_age_seconds", {"metric": "complaint_closure"}) == 0


def test_what_is_overdue_at_closing_does_not_grow_older_by_the_night():
    closing, opening = at(12 * 3600), at(23 * 3600)
    config = book()

    def age(metric, due, now):
        return overdue_ages([OverdueCount(metric, "", 1, due)], config, now)[metric][1] // SECOND

    # Due a minute before closing; one whose target is used up at closing itself is due then, and breached at opening.
    assert age("next_response", closing - MINUTE, closing + 3600 * SECOND) == 60
    assert age("next_response", closing - MINUTE, opening + 30 * SECOND) == 90
    assert age("agent_response", closing, opening + 30 * SECOND) == 30
    # A complaint and a first reply count every hour there is.
    assert age("complaint_closure", closing - MINUTE, opening) == 11 * 3600 + 60
    assert age("instant_reply", closing - MINUTE, opening) == 11 * 3600 + 60
    config.install("_default", "sla", SlaDocument.model_validate_json('{"complaints_count": "open_hours"}'), version=2, in_force_at=at(0))  # fmt: skip
    assert age("complaint_closure", closing - MINUTE, opening) == 60


def test_overdue_clocks_are_counted_over_shops_and_the_oldest_is_that_of_the_hours_of_its_own():
    config, now = book(), at(14 * 3600)  # midnight
    always = {"default": "a", "calendars": {"a": {"timezone": "UTC", "weekly": {key: ["00:00-24:00"] for key in Weekly.model_fields}}}}  # fmt: skip
    config.install("night", "calendars", CalendarsDocument.model_validate_json(json.dumps(always)))
    counts = [
        OverdueCount("next_response", "day", 3, at(12 * 3600) - MINUTE),
        OverdueCount("next_response", "night", 2, now - 5 * MINUTE),
        OverdueCount("transfer_response", "day", 1, at(12 * 3600) - MINUTE),
    ]
    assert overdue_ages(counts, config, now) == {"next_response": (5, 5 * MINUTE), "transfer_response": (1, MINUTE)}


def test_lag_and_watermark_of_a_lane_that_went_elsewhere_are_dropped_so_that_sums_hold():
    made = CollectorRegistry()
    metrics = EngineMetrics(made)
    lane = Lane("0", 0, ("replies.v1",))
    lane.reset(1, {"replies.v1": 5})
    lane.heard("replies.v1", at(0), 9)
    metrics.observe_lanes("sla", [lane])
    labels = {"service": "sla", "topic": "replies.v1", "partition": "0"}
    assert made.get_sample_value("deskline_lag_records", labels) == 4
    metrics.observe_lanes("sla", [])
    assert made.get_sample_value("deskline_lag_records", labels) is None
    assert made.get_sample_value("deskline_watermark_timestamp_seconds", labels) is None


async def test_the_age_of_the_outbox_is_that_of_its_oldest_unit():
    outbox = Outbox(publisher=None)
    assert outbox.age_s(at(0)) == 0
    await outbox.add([(1, "0", [])])
    first = outbox.age_s(at(10**9))
    await outbox.add([(2, "0", [])])
    assert outbox.age_s(at(10**9)) == first > 0


@pytest.mark.parametrize(
    ("holidays", "until"),
    [
        ([], None),
        (["2026-01-01"], "2027-01-01T00:00:00+08:00"),
        (["2026-01-01", "2027-02-06"], "2028-01-01T00:00:00+08:00"),
    ],
)
def test_a_calendar_knows_its_holidays_to_the_end_of_the_last_year_that_it_lists(holidays, until):
    calendar = Calendar.model_validate(
        {"timezone": "Asia/Shanghai", "weekly": {"mon": ["09:00-18:00"]}, "holidays": holidays}
    )
    known = horizon(calendar)
    assert known == (None if until is None else parse_rfc3339(until))
    assert known is None or rfc3339(known + SECOND)


def test_the_delay_of_a_message_is_shown_by_channel_and_stage_with_bounded_labels():
    made = CollectorRegistry()
    metrics = AutoreplyMetrics(made)
    log = Log()

    def delays(stage, channel):
        labels = {"stage": stage, "channel": channel}
        return tuple(
            made.get_sample_value(f"deskline_message_delay_seconds_{name}", labels) for name in ("count", "sum")
        )

    assert {delays(stage, channel) for stage in ("to_broker", "to_decision") for channel in CHANNELS} == {(0, 0)}
    event = log.customer(10, "m-1", broker=12, channel="web")
    metrics.delayed(event, at(12.5))
    assert delays("to_broker", "web") == (1, pytest.approx(2))
    assert delays("to_decision", "web") == (1, pytest.approx(0.5))
    # A time that was not believed is the broker's: it says nothing of the way there. Clocks differ a little.
    metrics.delayed(event._replace(retimed=True), at(11.99))
    assert delays("to_broker", "web") == (1, pytest.approx(2))
    assert delays("to_decision", "web") == (2, pytest.approx(0.5))
    metrics.delayed(log.customer(20, "m-2", channel="a channel nobody knows"), at(20))
    assert delays("to_decision", "other")[0] == 1
    assert {3, 60} <= set(DELAY_BUCKETS), "the router's patience, and the end of a reply's delivery"
