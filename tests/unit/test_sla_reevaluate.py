"""Versions applied with ``reevaluate``: open clocks take them at the instant at which they come into force, once."""

import json

import msgspec
import pytest
from tests.unit.sla_world import END, LATENESS, SHANGHAI, Log, Service, at, book

from deskline.clock import SECOND, parse_rfc3339, rfc3339
from deskline.config.documents import CalendarsDocument, SlaDocument
from deskline_sla.model import State

BY = "2026-11-20T02:00:00.000000Z"
"""at(0)"""


def agents(seconds, **fields):
    """Only the agent's clocks, after so many seconds."""
    targets = {"instant_reply": 0, "agent_response": seconds, "next_response": seconds}
    return {"policies": [{"policy_id": "p", "targets": targets}], **fields}


def install(config, seconds, document, *, version=2, kind="sla", shop="_default", reevaluate=True):
    parse = {"sla": SlaDocument, "calendars": CalendarsDocument}[kind]
    made = parse.model_validate_json(json.dumps(document))
    config.install(shop, kind, made, version=version, in_force_at=at(seconds), broker_at=0, reevaluate=reevaluate)


def waiting(answered=None):
    """A hand-over at 0, answered at ``answered``."""
    log = Log()
    log.customer(0, "m1")
    log.handover(0.1, "m1", since=0)
    if answered is not None:
        log.wrote(answered, "anna")
    return log


def said(service):
    """(what, due after so many seconds, target) in order, warnings aside."""
    return [
        (
            word.type.removeprefix("sla.").removesuffix(".v1"),
            (parse_rfc3339(word.data.due_at) - at(0)) / SECOND,
            word.data.target_s,
        )
        for word in service.words
        if word.type != "sla.warning.v1"
    ]


def run(config, log, *watermarks):
    service = Service(config)
    service.unit(log.events, at(1))
    for watermark in watermarks:
        service.unit([], watermark)
    return service


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        # 180 → 120 s at 150: the new due instant has passed: breached at once, with that due instant
        (120, [("retargeted", 120, 120), ("breached", 120, 120)]),
        # 180 → 300 s: the clock goes on
        (300, [("retargeted", 300, 300), ("breached", 300, 300)]),
        # used up exactly at the change: met or breached by what comes next
        (150, [("retargeted", 150, 150), ("breached", 150, 150)]),
    ],
)
def test_an_open_clock_takes_the_new_target_when_it_comes_into_force(new, expected):
    config = book(agents(180))
    install(config, 150, agents(new))
    service = run(config, waiting(), at(150), END)
    assert said(service) == expected


def test_it_is_told_when_the_watermark_is_past_the_instant_by_the_allowed_lateness_and_woken_for_it():
    config = book(agents(600))
    install(config, 150, agents(900))
    service = run(config, waiting())
    assert service.folding.due(service.state) == at(150) + LATENESS
    assert service.unit([], at(150) + LATENESS - 1) == []
    (word,) = service.unit([], at(150) + LATENESS)
    assert (word.type, word.data.policy_version) == ("sla.retargeted.v1", 2)
    assert service.folding.due(service.state) == at(450), "the first warning, at half of the new target"


def test_a_version_without_reevaluate_and_one_of_another_shop_leave_open_clocks_alone():
    config = book(agents(180))
    install(config, 100, agents(120), reevaluate=False)
    install(config, 100, agents(110), version=1, shop="bookshop")
    assert said(run(config, waiting(), END)) == [("breached", 180, 180)]


def test_a_later_version_applied_for_open_clocks_is_taken_after_one_that_was_not():
    config = book(agents(180))
    install(config, 50, agents(10), reevaluate=False)
    install(config, 100, agents(150), version=3)
    service = run(config, waiting(), END)
    assert said(service) == [("retargeted", 150, 150), ("breached", 150, 150)]
    assert service.words[-1].data.policy_version == 3


def test_the_shops_own_first_version_is_taken_by_clocks_that_ran_on_the_default():
    config = book(agents(180))
    install(config, 100, agents(150), version=1, shop="teahouse")
    assert said(run(config, waiting(), END)) == [("retargeted", 150, 150), ("breached", 150, 150)]


def test_a_clock_without_a_target_in_the_new_version_keeps_its_own():
    config = book(agents(180))
    install(config, 100, agents(0))
    assert said(run(config, waiting(), END)) == [("breached", 180, 180)]


def test_what_was_answered_or_breached_by_then_keeps_its_version():
    config = book(agents(100))
    install(config, 150, agents(300))
    assert said(run(config, waiting(90), END)) == [("met", 100, 100)]
    assert said(run(config, waiting(), END)) == [("breached", 100, 100)]


def test_a_clock_that_starts_at_the_instant_starts_under_the_version():
    config = book(agents(180))
    install(config, 0, agents(60))
    assert said(run(config, waiting(), END)) == [("breached", 60, 60)]


def test_an_answer_at_the_instant_is_judged_by_the_new_target():
    config = book(agents(180))
    install(config, 150, agents(120))
    assert said(run(config, waiting(150), END)) == [("retargeted", 120, 120), ("breached", 120, 120)]
    config = book(agents(180))
    install(config, 150, agents(150))
    assert said(run(config, waiting(150), END)) == [("retargeted", 150, 150), ("met", 150, 150)]


def test_an_answer_before_the_instant_read_after_it_is_judged_by_the_old_target():
    config = book(agents(180))
    install(config, 150, agents(120))
    log = waiting()
    late = log.wrote(140, "anna", broker=200)
    service = Service(config)
    service.unit(log.events[:2], at(1))
    service.unit([], at(199))
    service.unit([late], at(201))
    service.unit([], END)
    assert said(service) == [
        ("retargeted", 120, 120),
        ("breached", 120, 120),
        ("breach_retracted", 120, 120),
        ("met", 180, 180),
    ]


def test_a_warning_is_not_repeated_and_the_new_target_warns_at_its_own_share():
    config = book(agents(180))
    install(config, 150, agents(300))  # 80 % of 180 s was told at 144 s
    service = run(config, waiting(), at(150), END)
    warned = [(word.data.threshold, word.time) for word in service.words if word.type == "sla.warning.v1"]
    assert [threshold for threshold, _ in warned] == [0.5, 0.8]
    config = book(agents(600))
    install(config, 150, agents(200))  # 50 % of 600 would be at 300 s; of 200 it has passed by 150 s
    service = run(config, waiting(), at(150), at(152), END)
    times = {word.data.threshold: word.time for word in service.words if word.type == "sla.warning.v1"}
    assert times[0.5] == at(152)


def test_a_new_calendar_counts_anew_from_the_start():
    late = {**SHANGHAI["calendars"]["shop"], "special_days": {"2026-11-20": ["10:01-22:00"]}}
    config = book(agents(180))
    install(config, 100, {"default": "shop", "calendars": {"shop": late}}, kind="calendars")
    service = run(config, waiting(), END)
    assert said(service) == [("retargeted", 240, 180), ("breached", 240, 180)]
    assert service.words[-1].data.policy_version == 1, "the policy is the same"


def test_a_calendar_that_was_not_applied_for_open_clocks_stays_away_from_them_with_a_policy_that_was():
    late = {**SHANGHAI["calendars"]["shop"], "special_days": {"2026-11-20": ["10:01-22:00"]}}
    config = book(agents(180))
    install(config, 100, {"default": "shop", "calendars": {"shop": late}}, kind="calendars", reevaluate=False)
    install(config, 100, agents(200))
    assert said(run(config, waiting(), END)) == [("retargeted", 200, 200), ("breached", 200, 200)]


def test_holds_count_by_the_new_policy_the_ones_before_it_too():
    # Held 20..60; by the first policy the hold stops nothing, by the second it does.
    config = book(agents(100))
    install(config, 80, agents(100, pause_on_hold=["agent_response"]))
    log = waiting()
    log.gateway("conversation.held", 20)
    log.gateway("conversation.resumed", 60)
    assert said(run(config, log, END)) == [("retargeted", 140, 100), ("breached", 140, 100)]


def test_a_held_clock_takes_the_version_in_its_hold_and_is_found_by_its_timer():
    config = book(agents(100, pause_on_hold=["agent_response"]))
    log = waiting()
    log.gateway("conversation.held", 20)
    service = run(config, log)
    assert service.folding.due(service.state) == 2**62 - 1, "no timer runs, and yet there is one to be found by"
    install(config, 80, agents(50, pause_on_hold=["agent_response"]))
    service.unit([], at(90))
    assert said(service) == [("retargeted", 110, 50)]  # as if it were resumed at 80: 30 s are left
    log.gateway("conversation.resumed", 200)
    service.unit(log.events[-1:], at(201))
    service.unit([], END)
    assert said(service)[1:] == [("breached", 230, 50)]


def test_a_target_used_up_before_a_hold_of_the_past_has_its_due_instant_there():
    config = book(agents(500, pause_on_hold=["agent_response"]))
    install(config, 300, agents(40, pause_on_hold=["agent_response"]))
    log = waiting()
    log.gateway("conversation.held", 20)
    log.gateway("conversation.resumed", 100)
    assert said(run(config, log, END)) == [("retargeted", 120, 40), ("breached", 120, 40)]


def test_several_versions_are_taken_one_after_the_other_whatever_the_units_and_told_once_by_different_ids():
    def config():
        made = book(agents(900))
        for version, seconds, target in ((2, 50, 800), (3, 60, 700), (4, 100, 950)):
            install(made, seconds, agents(target), version=version)
        return made

    log = waiting(940)
    whole = Service(config())
    whole.unit(log.events, END)
    parts = Service(config())
    for event in log.events[:2]:
        parts.unit([event], at(1))
    for watermark in (at(55), at(61.5), at(61.5), at(200)):
        parts.unit([], watermark)
        parts.state = msgspec.msgpack.decode(msgspec.msgpack.encode(parts.state), type=State)
    parts.unit(log.events[2:], at(941))
    parts.unit([], END)
    expected = [("retargeted", 800, 800), ("retargeted", 700, 700), ("retargeted", 950, 950), ("met", 950, 950)]
    assert said(whole) == said(parts) == expected
    assert {word.id for word in whole.words} <= {word.id for word in parts.words}, "the same words under the same ids"
    assert rfc3339(at(0)) == BY


def test_actions_are_those_of_the_version_taken():
    config = book(agents(180, warnings=[]))
    install(config, 100, agents(150, warnings=[], on_breach=["remind"]))
    service = run(config, waiting(), END)
    assert service.words[-1].data.actions == ("remind",)


def test_complaints_may_come_to_count_the_shops_hours():
    log = Log()
    log.gateway("complaint.opened", 0, complaint_id="k1")
    config = book({"warnings": []})
    install(config, 3600, {"complaints_count": "open_hours", "warnings": []})
    day = 86_400
    due = 3 * day + 9 * 3600  # 48 of the 13 h a day from 10:00
    assert said(run(config, log, END)) == [("retargeted", due, 172_800), ("breached", due, 172_800)]
