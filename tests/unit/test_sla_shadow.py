"""A candidate SLA policy in shadow: both words on each clock are recorded, and nobody hears of it."""

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.sla_world import END, LATENESS, SHOP, SUBJECT, Log, Service, at, book
from tests.unit.test_sla_fold import POLICIES, expected, histories

from deskline.clock import SECOND, rfc3339
from deskline.config.documents import SlaDocument
from deskline.ids import clock_id
from deskline.records import Event
from deskline_sla.model import ShadowClock, Standing, State

Outcome = tuple[str, int, int, int]


def with_candidate(live: dict[str, Any], candidate: dict[str, Any]) -> dict[str, Any]:
    return {**live, "candidate": candidate}


def words_of(service: Service, side: str) -> dict[tuple[str, int, str], Outcome]:
    """Last rows → (metric, start, clock) → (state, due_at, target in µs, met_at), as the oracle says it; open ones aside."""
    rows = {row.clock_id: row for row in service.rows}
    found = {}
    for row in rows.values():
        standing: Standing | None = getattr(row, side)
        if standing is not None and standing.state != "open":
            outcome = (standing.state, standing.due_at, round(standing.target_s * SECOND), standing.met_at)
            found[row.metric, row.started_at, row.clock_id] = outcome
    return found


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(history=histories(), live=st.sampled_from(POLICIES), candidate=st.sampled_from(POLICIES), stored=st.booleans())
def test_both_words_are_those_of_the_plain_fold_and_what_is_told_is_the_same_without_a_candidate(
    history: tuple[list[list[Event]], list[int]], live: dict[str, Any], candidate: dict[str, Any], stored: bool
):
    alone, service = Service(book(live)), Service(book(with_candidate(live, candidate)))
    read: list[Event] = []
    for unit, watermark in (*zip(*history, strict=True), ([], END)):
        read += unit
        assert alone.unit(unit, watermark) == service.unit(unit, watermark)
        if stored:
            service.state = msgspec.msgpack.decode(msgspec.msgpack.encode(service.state), type=State)
    assert words_of(service, "live") == expected(read, live, END - LATENESS)
    assert words_of(service, "candidate") == expected(read, candidate, END - LATENESS)
    assert not alone.rows


def test_a_shorter_target_is_recorded_as_the_breach_it_would_have_been():
    # Answered after 40 s: in time for the 60 s in force, 20 s too late for the candidate's 20 s.
    service = Service(
        book(
            with_candidate(
                {"policies": [{"policy_id": "now", "targets": {"instant_reply": 60}}]},
                {"policies": [{"policy_id": "next", "targets": {"instant_reply": 20}}]},
            )
        )
    )
    log = Log()
    service.unit([log.customer(0, "m-1")], at(0))
    service.unit([log.reply(40, "m-1")], at(300))
    assert [word.type for word in service.told("sla.met.v1", "sla.breached.v1")] == ["sla.met.v1"]
    assert service.rows[-1] == ShadowClock(
        clock_id=clock_id(SUBJECT, "instant_reply", rfc3339(at(0)), ""),
        subject=SUBJECT,
        lane=0,
        shop=SHOP,
        metric="instant_reply",
        tier="regular",
        version=1,
        complaint="",
        started_at=at(0),
        live=Standing("met", "now", 60, at(60), at(40)),
        candidate=Standing("breached", "next", 20, at(20), 0),
    )


def test_a_candidate_wakes_the_conversation_for_its_own_breach():
    live = {"policies": [{"policy_id": "now", "targets": {"instant_reply": 600}}], "warnings": []}
    service = Service(
        book(with_candidate(live, {"policies": [{"policy_id": "next", "targets": {"instant_reply": 20}}]}))
    )
    log = Log()
    service.unit([log.customer(0, "m-1")], at(0))
    assert service.folding.due(service.state) == at(20) + LATENESS
    service.unit([], at(22))
    (row,) = service.rows
    assert (row.live, row.candidate) == (
        Standing("open", "now", 600, at(600), 0),
        Standing("breached", "next", 20, at(20), 0),
    )
    assert not service.words


def test_a_metric_that_the_candidate_gives_up_has_a_row_without_it():
    live = {"policies": [{"policy_id": "now", "targets": {"instant_reply": 20}}]}
    service = Service(
        book(with_candidate(live, {"policies": [{"policy_id": "next", "targets": {"instant_reply": 0}}]}))
    )
    service.unit([Log().customer(0, "m-1")], at(0))
    service.unit([], at(22))
    (row,) = service.rows
    assert (row.live, row.candidate) == (Standing("breached", "now", 20, at(20), 0), None)


def test_clocks_that_started_without_a_candidate_are_not_compared():
    # Version 1, without a candidate, holds until 100 s; version 2 has one.
    config = book({"policies": [{"policy_id": "now", "targets": {"instant_reply": 20}}]})
    later = {"policies": [], "candidate": {"policies": [{"policy_id": "next", "targets": {"instant_reply": 10}}]}}
    document = SlaDocument.model_validate(later)
    config.install("_default", "sla", document, version=2, in_force_at=at(100), broker_at=at(95))
    service = Service(config)
    log = Log()
    service.unit([log.customer(0, "m-1"), log.reply(5, "m-1"), log.customer(110, "m-2")], at(110))
    service.unit([log.reply(115, "m-2")], at(300))
    assert {row.started_at for row in service.rows} == {at(110)}


def test_without_a_candidate_nothing_is_kept_for_one():
    service = Service(book())
    log = Log()
    service.unit([log.customer(0, "m-1"), log.reply(40, "m-1")], at(300))
    assert service.words
    assert not service.rows
    assert service.state.shadow is None
