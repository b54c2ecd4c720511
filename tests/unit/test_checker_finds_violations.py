"""The checker passes a right log and names the rule that a spoilt one breaks."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.checker import stories
from tests.checker.records import CONVERSATIONS, DEAD_LETTERS
from tests.checker.synthetic import World, name, show


def busy_world() -> World:
    """What a right deskline makes of: an answered question; a hand-over served and closed; an offer that is missed,
    offered again, accepted and transferred; a breach; a duplicate; poison.
    """
    world = World()
    anna = world.status("anna", "online", 0)
    bo = world.status("bo", "online", 1)

    # c1: answered by a rule 1 s later (target 30 s); the same message comes twice.
    first = world.message("c1", "m1", 10)
    world.message("c1", "m1", 10.5)
    world.reply(first, 11)
    world.wrote("c1", "bot", "b1", 12, kind="bot")
    world.met("c1", "instant_reply", started=10, at=11, target=30)

    # c2: handed over at 21, queued, assigned to anna, who writes at 40; the customer writes again and is ignored
    # (human_owned), anna answers after 300 s, which is over the target of 180 s; closed.
    ask = world.message("c2", "m1", 20)
    world.handover(ask, 21)
    r2 = name("request", "c2")
    world.queued("c2", r2, 21.1, since=20)
    world.assigned("c2", r2, "anna", anna, 21.2)
    world.wrote("c2", "anna", "a1", 40)
    world.met("c2", "instant_reply", started=20, at=40, target=30)
    world.met("c2", "agent_response", started=20, at=40, target=180)
    again = world.message("c2", "m2", 60)
    world.ignore(again, 60.5, "human_owned")
    world.clock("sla.breached.v1", "c2", "next_response", 241.2, started=60.0, target=180.0, breached_at=show(240))
    world.wrote("c2", "anna", "a2", 360)
    world.gateway("conversation.closed.v1", "c2", 400, resolved=True)
    world.ends("conversation.released.v1", "c2", r2, 400.1, reason="closed")

    # c3: offered to bo, missed after 20 s, offered to anna, accepted, answered; transferred to bo, who answers.
    ask = world.message("c3", "m1", 500)
    world.reply(ask, 500.9, handover=True)
    world.handover(ask, 501)
    r3 = name("request", "c3")
    world.queued("c3", r3, 501.1, since=500)
    world.assigned("c3", r3, "bo", bo, 501.2, mode="offered")
    world.ends("assignment.expired.v1", "c3", r3, 521.3, reason="not_accepted")
    world.queued("c3", r3, 521.4, since=500)
    offer = world.assigned("c3", r3, "anna", anna, 521.5, mode="offered")
    world.gateway("assignment.accepted.v1", "c3", 525, assignment_id=offer, agent_id="anna")
    world.wrote("c3", "anna", "a1", 530)
    world.met("c3", "instant_reply", started=500, at=500.9, target=30)
    world.met("c3", "agent_response", started=500, at=530, target=180)
    world.gateway("transfer.requested.v1", "c3", 540, by_agent_id="anna")
    world.ends("conversation.released.v1", "c3", r3, 540.1, reason="transferred")
    r3b = name("request", "c3", 2)
    world.queued("c3", r3b, 540.2, since=540, cause="transfer")
    world.assigned("c3", r3b, "bo", bo, 540.3)
    world.wrote("c3", "bo", "a2", 550)
    world.met("c3", "transfer_response", started=540, at=550, target=300)
    world.gateway("conversation.closed.v1", "c3", 600, resolved=True)
    world.ends("conversation.released.v1", "c3", r3b, 600.1, reason="closed")

    # c4: nobody free has the skill: it stays queued, its instant_reply and agent_response are breached.
    ask = world.message("c4", "m1", 700)
    world.handover(ask, 701)
    required = {"skills": [{"skill": "refund", "proficiency": 5}]}
    world.queued("c4", name("request", "c4"), 701.1, since=700, required=required)
    world.clock("sla.breached.v1", "c4", "instant_reply", 731.1, started=700.0, target=30.0, breached_at=show(730))
    world.clock("sla.breached.v1", "c4", "agent_response", 881.1, started=700.0, target=180.0, breached_at=show(880))

    poison = world.raw(CONVERSATIONS, b"c5", b"\xff{", 800, (("deskline-x", b"1"), ("trace", None)))
    world.letter(poison, "bad_json", 801)
    return world


def test_a_right_log_breaks_no_rule() -> None:
    report = busy_world().judge()
    assert report.ok, report.text()
    assert report.counts["conversations"] == 4
    assert report.counts["duplicates"] == 1
    assert report.counts["invalid"] == report.counts["letters"] == 1


Spoil = Callable[[World], Any]


def set_data(type_: str, number: int = 0, **fields: Any) -> Spoil:
    return lambda world: world.edit(world.find(type_, number), lambda envelope: envelope["data"].update(fields))


def drop(type_: str, number: int = 0) -> Spoil:
    return lambda world: world.drop(world.find(type_, number))


def swap_values(type_: str, first: int, second: int) -> Spoil:
    """Two records of a topic in each other's place."""

    def spoil(world: World) -> None:
        a, b = world.find(type_, first), world.find(type_, second)
        one, other = world.records[a], world.records[b]
        world.records[a] = one._replace(value=other.value, key=other.key, headers=other.headers)
        world.records[b] = other._replace(value=one.value, key=one.key, headers=one.headers)

    return spoil


def swap_outcomes(world: World) -> None:
    """c2: that of m2 stands before that of m1."""
    first, second = world.find("handover.requested.v1"), world.find("message.ignored.v1")
    one, other = world.records[first], world.records[second]
    world.records[first] = one._replace(value=other.value, headers=other.headers)
    world.records[second] = other._replace(value=one.value, headers=one.headers)


def archived(change: Callable[[list[Any]], list[Any]]) -> Spoil:
    def spoil(world: World) -> None:
        world.archived = change

    return spoil


def explain(**fields: Any) -> Spoil:
    def change(envelope: dict[str, Any]) -> None:
        envelope["data"]["explanation"].update(fields)

    return lambda world: world.edit(world.find("conversation.assigned.v1"), change)


def nobody_came(world: World) -> None:
    """c4: its second breach calls a supervisor; bo is one, and has room."""

    def promote(envelope: dict[str, Any]) -> None:
        if envelope["data"]["document"] == "agents":
            for agent in envelope["data"]["body"]["agents"]:
                agent["grade"] = "supervisor" if agent["agent_id"] == "bo" else "standard"

    for number in range(sum(b"config.applied" in (record.value or b"") for record in world.records)):
        world.edit(world.find("config.applied.v1", number), promote)
    set_data("sla.breached.v1", 2, actions=["raise_priority", "call_supervisor"])(world)


def offline_before(assignment: int, seconds: float) -> Spoil:
    """The assigned agent of the first assignment went offline so long before it."""

    def spoil(world: World) -> None:
        world.status("anna", "offline", 21.2 - seconds)
        world.status("anna", "online", 30)

    return spoil


def late_duplicate_letter(world: World) -> None:
    world.again(world.records.index(next(r for r in world.records if r.topic == DEAD_LETTERS)), 900)


def letter_of_a_valid_record(world: World) -> None:
    world.letter(world.records[world.find("message.received.v1")], "bad_data", 900)


def altered_letter(world: World) -> None:
    index = next(i for i, record in enumerate(world.records) if record.topic == DEAD_LETTERS)
    world.records[index] = world.records[index]._replace(value=b"\xff")


def no_letter(world: World) -> None:
    world.raw(CONVERSATIONS, b"c6", b"[]", 900)


def reply_over_anna(world: World) -> None:
    """c2: anna wrote at 40; the customer's m2 at 60 is answered by the bot instead of being left to her."""
    message = world.records[world.find("message.received.v1", message_id="m2")]
    world.drop(world.find("message.ignored.v1"))
    world.reply(message, 61)


def second_open_request(world: World) -> None:
    world.queued("c4", name("request", "c4", "other"), 900, since=700)


def forgotten_customer(world: World) -> None:
    """Anna went offline; the request ended although the customer had been told to wait."""
    world.status("bo", "away", 1000)
    ask = world.message("c7", "m1", 1100)
    world.handover(ask, 1101)
    request = name("request", "c7")
    world.queued("c7", request, 1101.1, since=1100)
    world.assigned("c7", request, "anna", name("status", "anna", 0), 1101.2)
    world.ends("conversation.released.v1", "c7", request, 1200, reason="agent_offline")
    for metric, target in (("instant_reply", 30), ("agent_response", 180)):
        world.clock(
            "sla.breached.v1", "c7", metric, 1300, started=1100.0, target=target, breached_at=show(1100 + target)
        )


def silent_customer(world: World) -> None:
    world.message("c8", "m1", 1100)


def false_breach(world: World) -> None:
    """c3 was answered at 530, long before 680: telling a breach and taking it back does not make it right."""
    of = {"started": 500.0, "target": 180.0}
    world.clock("sla.breached.v1", "c3", "agent_response", 681.1, breached_at=show(680), **of)
    world.clock("sla.breach_retracted.v1", "c3", "agent_response", 681.2, reason="late_event", **of)
    world.clock("sla.met.v1", "c3", "agent_response", 681.3, met_at=show(530), elapsed_s=30.0, **of)


def breach_again(world: World) -> None:
    of = {"started": 700.0, "target": 30.0}
    world.clock("sla.breached.v1", "c4", "instant_reply", 900, breached_at=show(730), **of)


VIOLATIONS: list[tuple[str, str, Spoil]] = [
    ("1", "not_archived", archived(lambda records: records[:-1])),
    ("1", "archived_twice", archived(lambda records: [*records, records[3]])),
    ("1", "archived_differently", archived(lambda records: [records[0]._replace(value=b"{}"), *records[1:]])),
    ("1", "archived_differently", archived(lambda records: [records[0]._replace(headers=(("a", b""),)), *records[1:]])),
    ("2", "two_live_assignments", drop("assignment.expired.v1")),
    ("2", "over_capacity", set_data("conversation.assigned.v1", 0, capacity=0)),
    ("2", "load_is_not_live_assignments", set_data("conversation.assigned.v1", 0, load=2)),
    ("2", "agent_seq_gap", set_data("conversation.released.v1", 2, agent_seq=9)),
    ("2", "agent_seq_order", swap_values("conversation.assigned.v1", 0, 2)),
    ("3", "no_such_online_status", explain(agent_state_id="nobody-said-so")),
    ("3", "agent_not_online", offline_before(0, 3)),
    ("3", "agent_not_able", explain(required={"skills": [{"skill": "refund", "proficiency": 4}]})),
    ("3", "agent_not_able", explain(required={"grades": ["supervisor"]})),
    ("3", "agent_not_configured", set_data("conversation.assigned.v1", 0, agent_id="carla")),
    ("4a", "silence_without_request", silent_customer),
    ("4a", "hand_over_without_request", drop("conversation.queued.v1", 4)),
    ("4a", "forgotten", forgotten_customer),
    (
        "4b",
        "idle_agent",
        set_data("conversation.queued.v1", 4, required={"skills": [{"skill": "refund", "proficiency": 2}]}),
    ),
    ("4b", "idle_agent", nobody_came),
    ("4c", "close_left_a_request", drop("conversation.released.v1", 0)),
    ("5", "not_queued_first", drop("conversation.queued.v1", 0)),
    ("5", "seq_gap", drop("conversation.queued.v1", 2)),
    ("5", "expired_unoffered", set_data("conversation.assigned.v1", 1, mode="assigned")),
    ("5", "two_open_requests", second_open_request),
    ("5", "waited_s", set_data("conversation.assigned.v1", 0, waited_s=9.0)),
    ("5", "queue_full_late", set_data("conversation.released.v1", 0, reason="queue_full")),
    ("6", "not_told", drop("sla.met.v1", 0)),
    ("6", "not_told", drop("sla.breached.v1", 1)),
    ("6", "last_word_terms", set_data("sla.met.v1", 0, met_at=show(11.5))),
    ("6", "last_word_terms", set_data("sla.breached.v1", 0, target_s=181.0)),
    ("6", "last_word", drop("message.sent.v1", 1)),
    ("6", "false_breach", false_breach),
    ("6", "two_breaches_without_retraction", breach_again),
    ("6", "no_such_clock", lambda world: world.met("c1", "next_response", started=10, at=11, target=180)),
    ("8", "no_letter", no_letter),
    ("8", "letter_with_other_bytes", altered_letter),
    ("8", "letter_for_the_wrong_record", letter_of_a_valid_record),
    ("9", "no_outcome", drop("reply.issued.v1", 0)),
    ("9", "not_one_outcome", set_data("reply.issued.v1", 1, handover=False)),
    ("9", "outcome_of_no_message", set_data("reply.issued.v1", 0, in_reply_to="m9")),
    ("9", "outcomes_out_of_order", swap_outcomes),
    ("10", "reply_over_an_agents_head", reply_over_anna),
    ("outputs", "null", set_data("sla.met.v1", 0, agent_id=None)),
    ("outputs", "time_form", set_data("sla.met.v1", 0, met_at="2026-03-02T02:00:11Z")),
    ("outputs", "id_form", set_data("reply.issued.v1", 0, reply_id="reply-1")),
    (
        "outputs",
        "said_again_differently",
        lambda world: world.again(world.find("reply.issued.v1"), 12, lambda e: e["data"].update(text="!")),
    ),
    ("outputs", "invalid_output", set_data("conversation.queued.v1", 0, position=-1)),
]


@pytest.mark.parametrize(
    ("rule", "code", "spoil"), VIOLATIONS, ids=[f"{rule}-{code}-{n}" for n, (rule, code, _) in enumerate(VIOLATIONS)]
)
def test_a_planted_violation_is_named(rule: str, code: str, spoil: Spoil) -> None:
    world = busy_world()
    spoil(world)
    report = world.judge()
    assert (rule, code) in {(found.rule, found.code) for found in report.violations}, report.text()


def test_who_takes_an_offer_that_a_close_has_ended_owns_nothing() -> None:
    """The router was away, and says only at 908 that the offer ended with the close at 904."""
    world = busy_world()
    world.handover(world.message("c6", "m1", 900), 901)
    request = name("request", "c6")
    world.queued("c6", request, 901.1, since=900)
    offer = world.assigned("c6", request, "bo", name("status", "bo", 1), 902, mode="offered")
    world.gateway("conversation.closed.v1", "c6", 904, resolved=False)
    world.gateway("assignment.accepted.v1", "c6", 905, assignment_id=offer, agent_id="bo")
    world.reply(world.message("c6", "m2", 906), 907)
    world.ends("conversation.released.v1", "c6", request, 908, reason="closed")
    assert "reply_over_an_agents_head" not in world.judge().codes()
    world.drop(world.find("conversation.closed.v1", 2))
    assert "reply_over_an_agents_head" in world.judge().codes()


def test_the_reason_of_a_cancelling_may_be_the_one_that_was_read_first() -> None:
    world = busy_world()
    world.handover(world.message("c6", "m1", 900), 901)
    request = name("request", "c6")
    world.queued("c6", request, 901.1, since=900)
    world.ends("conversation.released.v1", "c6", request, 901.2, reason="queue_full")
    world.gateway("conversation.closed.v1", "c6", 905, resolved=False)
    world.clock("sla.cancelled.v1", "c6", "agent_response", 906, started=900.0, target=180.0, reason="closed")
    assert "last_word_terms" not in world.judge().codes()
    world.drop(world.find("conversation.closed.v1", 2))
    assert "last_word_terms" in world.judge().codes()


def test_who_was_refused_by_a_full_queue_is_not_forgotten() -> None:
    world = busy_world()
    forgotten_customer(world)
    assert "forgotten" in world.judge().codes()
    refused = name("request", "c7", "refused")
    world.queued("c7", refused, 1101.0, since=1100)
    world.ends("conversation.released.v1", "c7", refused, 1101.05, reason="queue_full")
    assert "forgotten" not in world.judge().codes()


def test_a_report_tells_the_conversation_of_a_violation_whole() -> None:
    world = busy_world()
    reply_over_anna(world)
    violations = [one for one in world.judge().violations if one.code == "reply_over_an_agents_head"]
    lines = stories(world.log(), world.settings(), violations).splitlines()
    assert lines[0] == str(violations[0])
    assert sum("message.received.v1" in line for line in lines) == 2
    assert all(kind in "\n".join(lines) for kind in ("handover.requested.v1", "conversation.closed.v1", "sla.met.v1"))


def test_the_checker_and_the_oracles_histories_share_no_code_with_what_they_judge() -> None:
    tests = Path(__file__).parents[1]
    files = [*(tests / "checker").glob("*.py"), tests / "oracle" / "histories.py", tests / "oracle" / "judge.py"]
    imported = {
        (path.name, name)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert ("rules_sla.py", "tests.checker.fold") in imported
    own = [(file, name) for file, name in imported if name.startswith(("deskline", "tests."))]
    assert [each for each in own if not each[1].startswith(("tests.checker", "tests.oracle"))] == []
