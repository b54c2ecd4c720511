"""Whatever the order, the units, the watermarks and the duplicates: the last words are the plain fold's outcomes."""

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.sla_oracle import TOPICS, Oracle
from tests.unit.sla_world import END, LATENESS, SHANGHAI, SUBJECT, Log, Service, at, book, last_words

from deskline.calendars import Hours
from deskline.clock import rfc3339
from deskline.config.documents import Calendar
from deskline.ids import clock_id
from deskline.records import Event
from deskline_sla.model import State

# Few instants, few names: ties and clashes are the point. 43 140 s is 21:59 in Shanghai, where the shop closes at 22:00.
TIMES = st.sampled_from(
    [0, 0, 10, 20, 30, 30, 60, 90, 120, 180, 210, 300, 330, 400, 43_140, 43_200, 43_230, 82_800, 82_830, 83_000]
)
MESSAGES = st.sampled_from(["m1", "m2", "m3", "m4"])
AGENTS = st.sampled_from(["anna", "bo"])
REQUESTS = st.sampled_from(["q1", "q2", "q3"])
ASSIGNMENTS = st.sampled_from(["a1", "a2", "a3"])
COMPLAINTS = st.sampled_from(["k1", "k2"])
PRIORITIES = st.sampled_from([50, 50, 90])
REASONS = st.sampled_from(["human_owned", "waiting", "empty", "cooldown", "superseded", "shadow"])

EVENTS = st.one_of(
    st.tuples(st.just("customer"), TIMES, st.tuples(MESSAGES, st.sampled_from([None, "vip", "new"]), st.sampled_from(["web", "app"]))),
    st.tuples(st.just("customer"), TIMES, st.tuples(MESSAGES, st.none(), st.just("web"))),
    st.tuples(st.just("wrote"), TIMES, st.tuples(AGENTS, st.sampled_from(["agent", "agent", "bot", "system"]), st.one_of(st.none(), MESSAGES))),
    st.tuples(st.just("wrote"), TIMES, st.tuples(AGENTS, st.just("agent"), st.none())),
    st.tuples(st.just("accepted"), TIMES, st.tuples(ASSIGNMENTS, AGENTS)),
    st.tuples(st.just("transfer"), TIMES, AGENTS),
    st.tuples(st.sampled_from(["held", "resumed", "closed"]), TIMES, st.none()),
    st.tuples(st.sampled_from(["opened", "settled"]), TIMES, COMPLAINTS),
    st.tuples(st.just("reply"), TIMES, st.tuples(MESSAGES, st.sampled_from([60, -1]))),
    st.tuples(st.just("handover"), TIMES, st.tuples(MESSAGES, TIMES, PRIORITIES)),
    st.tuples(st.just("ignored"), TIMES, st.tuples(MESSAGES, REASONS)),
    st.tuples(st.just("queued"), TIMES, st.tuples(REQUESTS, TIMES, st.sampled_from(["handover", "no_autoreply", "transfer", "complaint"]), PRIORITIES)),
    st.tuples(st.just("assigned"), TIMES, st.tuples(REQUESTS, ASSIGNMENTS, AGENTS, st.sampled_from(["assigned", "offered"]))),
    st.tuples(st.just("revoked"), TIMES, st.tuples(REQUESTS, ASSIGNMENTS, AGENTS)),
    st.tuples(st.just("released"), TIMES, st.tuples(REQUESTS, st.sampled_from(["closed", "transferred", "agent_offline", "queue_full"]), st.one_of(st.none(), ASSIGNMENTS))),
)  # fmt: skip

POLICIES: list[dict[str, Any]] = [
    {},
    {"policies": [{"policy_id": "all", "targets": {"resolution": 300, "instant_reply": 20, "complaint_closure": 90}}]},
    {
        "policies": [
            {"policy_id": "vip", "when": {"tiers": ["vip"]}, "targets": {"instant_reply": 10, "next_response": 60}},
            {
                "policy_id": "urgent",
                "when": {"min_priority": 80},
                "targets": {"agent_response": 30, "transfer_response": 0},
            },
            {"policy_id": "app", "when": {"channels": ["app"]}, "targets": {"instant_reply": None, "resolution": 120}},
            {"policy_id": "rest", "when": {"tiers": ["regular"]}, "targets": {"resolution": 30.5}},
        ],
        "pause_on_hold": ["next_response", "resolution", "complaint_closure", "instant_reply"],
        "warnings": [0.5],
    },
]
HOURS = Hours.of(Calendar.model_validate_json(json.dumps(SHANGHAI["calendars"]["shop"])))


def build(log: Log, kind: str, seconds: float, arguments: Any, broker: float) -> Event:
    match kind:
        case "customer":
            message, tier, channel = arguments
            return log.customer(seconds, message, tier=tier, channel=channel, broker=broker)
        case "wrote":
            who, author, to = arguments
            return log.wrote(seconds, who, kind=author, to=to, broker=broker)
        case "accepted":
            return log.gateway(
                "assignment.accepted", seconds, assignment_id=arguments[0], agent_id=arguments[1], broker=broker
            )
        case "transfer":
            return log.gateway("transfer.requested", seconds, by_agent_id=arguments, broker=broker)
        case "held" | "resumed":
            return log.gateway(f"conversation.{kind}", seconds, broker=broker)
        case "closed":
            return log.closed(seconds, broker=broker)
        case "opened":
            return log.gateway("complaint.opened", seconds, complaint_id=arguments, broker=broker)
        case "settled":
            return log.gateway("complaint.closed", seconds, complaint_id=arguments, broker=broker)
        case "reply":
            message, slack = arguments
            return log.reply(seconds, message, deliver_by=broker + slack, broker=broker)
        case "handover":
            message, since, priority = arguments
            return log.handover(seconds, message, since=since, priority=priority, broker=broker)
        case "ignored":
            return log.ignored(seconds, arguments[0], arguments[1], broker=broker)
        case "queued":
            request, since, cause, priority = arguments
            return log.queued(seconds, request, since=since, cause=cause, priority=priority, broker=broker)
        case "assigned":
            request, assignment, agent, mode = arguments
            return log.assigned(seconds, request, assignment, agent, mode=mode, broker=broker)
        case "revoked":
            return log.revoked(seconds, *arguments, broker=broker)
        case "released":
            request, reason, assignment = arguments
            return log.released(seconds, request, reason, assignment=assignment, broker=broker)
    raise AssertionError(kind)


def expected(
    events: list[Event], policy: dict[str, Any], horizon: int
) -> dict[tuple[str, int, str], tuple[str, int, int, int]]:
    outcomes = Oracle(events, policy, HOURS).outcomes(horizon)
    return {
        (metric, start, clock_id(SUBJECT, metric, rfc3339(start), complaint)): outcome
        for (metric, start, complaint), outcome in outcomes.items()
    }


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[Event]], list[int]]:
    """Units of events in arrival order, and a watermark for each."""
    log = Log()
    broker = 0.0
    for kind, seconds, arguments in draw(st.lists(EVENTS, min_size=1, max_size=14)):
        broker = max(broker, seconds) + draw(st.sampled_from([0, 0.5, 30]))
        build(log, kind, seconds, arguments, broker)
    again = draw(st.lists(st.sampled_from(log.events), max_size=2))
    for event in again:
        # A sender's second record: same source and id, another offset, later.
        offset = 1 + max(e.offset for e in log.events if e.topic == event.topic)
        log.events.append(event._replace(offset=offset, broker_at=log.events[-1].broker_at))
    count = draw(st.integers(1, 6))
    units: list[list[Event]] = [[] for _ in range(count)]
    for topic in TOPICS:
        mine = [event for event in log.events if event.topic == topic]
        cuts = sorted(draw(st.lists(st.integers(0, len(mine)), min_size=count - 1, max_size=count - 1)))
        for index, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(mine)], strict=True)):
            units[index] += mine[start:end]
    steps = draw(st.lists(st.sampled_from([0, 1, 25, 200, 40_000]), min_size=count, max_size=count))
    watermarks = [at(sum(steps[: index + 1])) for index in range(count)]
    return units, watermarks


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(history=histories(), policy=st.sampled_from(POLICIES), stored=st.booleans())
def test_the_last_words_are_the_outcomes_of_the_plain_fold_at_every_watermark(
    history: tuple[list[list[Event]], list[int]], policy: dict[str, Any], stored: bool
):
    service = Service(book(policy))
    read: list[Event] = []
    for unit, watermark in zip(*history, strict=True):
        read += unit
        service.unit(unit, watermark)
        if stored:
            service.state = msgspec.msgpack.decode(msgspec.msgpack.encode(service.state), type=State)
        told = last_words(service.words)
        due = expected(read, policy, watermark - LATENESS)
        # A met or cancelled clock that turned out to be past its target may stand until the breach may be told.
        final = expected(read, policy, END - LATENESS)
        for clock in due.keys() | told.keys():
            waits = clock not in due and final.get(clock, ("",))[0] == "breached" and told[clock][0] != "breached"
            assert waits or told.get(clock) == due.get(clock), clock
    service.unit([], END)
    assert last_words(service.words) == expected(read, policy, END - LATENESS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(), policy=st.sampled_from(POLICIES))
def test_one_unit_or_many_the_same_last_words(history: tuple[list[list[Event]], list[int]], policy: dict[str, Any]):
    units, watermarks = history
    many, one = Service(book(policy)), Service(book(policy))
    for unit, watermark in zip(units, watermarks, strict=True):
        many.unit(unit, watermark)
    many.unit([], END)
    one.unit([event for topic in TOPICS for unit in units for event in unit if event.topic == topic], END)
    assert last_words(many.words) == last_words(one.words)
    assert not [word for word in one.words if word.type == "sla.breach_retracted.v1"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_a_unit_done_again_says_the_same_bytes(history: tuple[list[list[Event]], list[int]]):
    first, second = Service(book()), Service(book())
    for unit, watermark in zip(*history, strict=True):
        assert first.unit(unit, watermark) == second.unit(unit, watermark)
