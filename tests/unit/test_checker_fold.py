"""The checker's transcription of the SLA fold, against sentences of contract §5 with the arithmetic shown."""

from __future__ import annotations

from tests.checker.fold import Clock, Fold
from tests.checker.hours import counted, reach
from tests.checker.log import Log, Settings, View
from tests.checker.records import SECOND
from tests.checker.synthetic import SHOP, T0, World, name, show
from tests.checker.validity import parse_time

HOURS = {"timezone": "Asia/Shanghai", "weekly": {"mon": ["09:00-12:00", "13:00-18:00"], "tue": ["09:00-18:00"]}}


def clocks(world: World, subject: str = "c1", end: float = 3600) -> dict[tuple[str, float], Clock]:
    settings = Settings(end_at=T0 + round(end * SECOND))
    view = View(Log(world.records), settings)
    fold = Fold(view.conversations[subject], view.configuration, settings.end_at - settings.lateness)
    return {(clock.metric, (clock.started_at - T0) / SECOND): clock for clock in fold.clocks}


def sla(world: World, *, version: int = 2, at: float = -50, reevaluate: bool = False, **document: object) -> None:
    data = {
        "shop_id": SHOP,
        "version": version,
        "effective_from": show(at),
        "document": "sla",
        "body": document,
        "reevaluate": reevaluate,
    }
    world.put("config.applied.v1", SHOP, data, min(at - 10, -3000))


def test_an_answer_exactly_at_due_at_is_met_and_one_microsecond_later_is_a_breach() -> None:
    for late, state in ((0.0, "met"), (0.000001, "breached")):
        world = World()
        world.message("c1", "m1", 10)
        world.wrote("c1", "bot", "b1", 40 + late, kind="bot")
        clock = clocks(world)["instant_reply", 10]
        assert (clock.state, clock.due_at) == (state, T0 + 40 * SECOND)


def test_an_open_clock_breaches_only_when_its_instant_and_the_lateness_have_passed() -> None:
    world = World()
    world.message("c1", "m1", 10)
    assert clocks(world, end=40.9)["instant_reply", 10].state == "open"
    assert clocks(world, end=41.0)["instant_reply", 10].state == "breached"


def test_a_late_reply_stops_no_clock() -> None:
    world = World()
    message = world.message("c1", "m1", 10)
    reply = world.reply(message, 11)  # to be delivered by 71
    world.records[world.records.index(reply)] = reply._replace(broker_at=T0 + 72 * SECOND)
    assert clocks(world)["instant_reply", 10].state == "breached"


def test_a_hold_stops_next_response_and_not_agent_response() -> None:
    world = World()
    message = world.message("c1", "m1", 10)
    world.handover(message, 11)
    world.gateway("conversation.held.v1", "c1", 20)
    world.gateway("conversation.resumed.v1", "c1", 320)
    world.wrote("c1", "anna", "a1", 330)
    world.message("c1", "m2", 400)  # anna owns without an assignment: in hands
    world.gateway("conversation.held.v1", "c1", 410)
    world.gateway("conversation.resumed.v1", "c1", 710)
    world.wrote("c1", "anna", "a2", 800)
    found = clocks(world)
    assert found["agent_response", 10].state == "breached"
    # 10 s before the hold and 90 s after it: 100 s counted, due 180 s after 400 plus the 300 s held.
    assert (found["next_response", 400].state, found["next_response", 400].elapsed) == ("met", 100 * SECOND)
    assert found["next_response", 400].due_at == T0 + 880 * SECOND


def test_a_hand_over_placed_at_waiting_since_stands_before_an_answer_of_that_instant() -> None:
    world = World()
    message = world.message("c1", "m1", 10)
    world.wrote("c1", "anna", "a1", 10)
    world.handover(message, 11)
    clock = clocks(world)["agent_response", 10]
    assert (clock.state, clock.met_at) == ("met", T0 + 10 * SECOND)


def test_a_message_at_the_instant_of_a_close_stands_before_it_and_reopens_nothing() -> None:
    world = World()
    sla(world, policies=[{"policy_id": "p", "targets": {"resolution": 3600}}])
    world.message("c1", "m1", 10)
    world.gateway("conversation.closed.v1", "c1", 20, resolved=True)
    world.message("c1", "m2", 20)
    world.message("c1", "m3", 21)
    found = clocks(world)
    assert {key for key in found if key[0] == "resolution"} == {("resolution", 10), ("resolution", 21)}
    assert found["instant_reply", 10].reason == "closed"


def test_targets_are_those_of_the_first_row_that_matches_and_names_the_metric() -> None:
    world = World()
    rows = [
        {"policy_id": "vip", "when": {"tiers": ["vip"]}, "targets": {"instant_reply": 5}},
        {"policy_id": "web", "when": {"channels": ["web"]}, "targets": {"instant_reply": None, "next_response": 60}},
    ]
    sla(world, policies=rows)
    world.message("c1", "m1", 10, customer={"customer_id": "u", "tier": "vip"})
    world.message("c2", "m1", 10)
    assert clocks(world)["instant_reply", 10].terms.target_s == 5
    assert ("instant_reply", 10) not in clocks(world, "c2")


def test_the_one_who_transferred_stops_transfer_response_only_as_owner_by_an_assignment() -> None:
    world = World()
    state = world.status("anna", "online", 0)
    world.message("c1", "m1", 10)
    world.wrote("c1", "anna", "a1", 20)
    world.gateway("transfer.requested.v1", "c1", 30, by_agent_id="anna")
    request = name("request", "c1")
    world.queued("c1", request, 30.1, since=30, cause="transfer")
    world.wrote("c1", "anna", "a2", 40)
    world.assigned("c1", request, "anna", state, 50)
    world.wrote("c1", "anna", "a3", 60)
    clock = clocks(world)["transfer_response", 30]
    assert (clock.state, clock.met_at) == ("met", T0 + 60 * SECOND)


def test_counted_time_skips_the_noon_break_and_the_night() -> None:
    start = parse_time("2026-03-02T03:30:00Z")  # Monday 11:30 in Shanghai
    # 30 min to noon, 5 h in the afternoon, the rest on Tuesday from 09:00 (01:00 UTC).
    target = (30 + 5 * 60 + 10) * 60 * SECOND
    due, runs_on = reach(HOURS, start, target, [])
    assert due == runs_on == parse_time("2026-03-03T01:10:00Z")
    assert counted(HOURS, start, due, []) == target


def test_a_target_reached_at_closing_time_runs_on_at_the_next_opening() -> None:
    start = parse_time("2026-03-02T03:30:00Z")
    due, runs_on = reach(HOURS, start, 30 * 60 * SECOND, [])
    assert (due, runs_on) == (parse_time("2026-03-02T04:00:00Z"), parse_time("2026-03-02T05:00:00Z"))


def test_both_changes_of_the_clock_count_real_time() -> None:
    berlin = {"timezone": "Europe/Berlin", "weekly": {"sun": ["00:00-24:00"]}}
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        start = parse_time(f"{day}T00:00:00+02:00") - 10 * 3600 * SECOND
        assert counted(berlin, start, start + 40 * 3600 * SECOND, []) == hours * 3600 * SECOND


def test_an_open_clock_takes_a_version_that_was_applied_for_it_and_is_breached_at_once_where_that_is_over() -> None:
    def policy(seconds: float) -> list[dict[str, object]]:
        return [{"policy_id": "p", "targets": {"instant_reply": seconds}}]

    for new, state, due in ((20, "breached", 30), (50, "met", 60), (31, "met", 41)):
        world = World()
        sla(world, policies=policy(30))
        sla(world, version=3, at=39, reevaluate=True, policies=policy(new))
        world.message("c1", "m1", 10)
        world.wrote("c1", "bot", "b1", 40, kind="bot")
        clock = clocks(world)["instant_reply", 10]
        assert (clock.state, clock.due_at) == (state, T0 + due * SECOND)
        assert clock.retargeted == [(T0 + 39 * SECOND, new, T0 + due * SECOND)]


def test_a_version_that_was_not_applied_for_open_clocks_and_what_had_ended_by_then_are_left_alone() -> None:
    for reevaluate, answered in ((False, 45), (True, 38)):
        world = World()
        sla(world, policies=[{"policy_id": "p", "targets": {"instant_reply": 30}}])
        sla(world, version=3, at=39, reevaluate=reevaluate, policies=[{"policy_id": "p", "targets": {"instant_reply": 99}}])  # fmt: skip
        world.message("c1", "m1", 10)
        world.wrote("c1", "bot", "b1", answered, kind="bot")
        clock = clocks(world)["instant_reply", 10]
        assert (clock.terms.target_s, clock.retargeted) == (30, [])
