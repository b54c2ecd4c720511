"""What warnings and breaches ask for: thresholds and actions of the policy that the clock started under."""

import json

import pytest
from pydantic import ValidationError
from tests.unit.sla_world import END, Log, Service, at, book

from deskline.config.documents import SlaDocument

QUIET = {"instant_reply": 0}


def one_wait(tier=None):
    log = Log()
    log.customer(0, "m1", tier=tier)
    log.handover(0.1, "m1", since=0)
    return log


def told(sla, log, *watermarks):
    """(what, threshold, actions) in order."""
    service = Service(book(sla))
    service.unit(log.events, at(0))
    for watermark in watermarks:
        service.unit([], watermark)
    return [
        (word.type.removeprefix("sla.").removesuffix(".v1"), getattr(word.data, "threshold", None), word.data.actions)
        for word in service.words
    ]


def document(**fields):
    return {"policies": [{"policy_id": "p", "targets": {**QUIET, "agent_response": 100}}], **fields}


def test_warnings_come_at_the_thresholds_written_and_ask_for_what_is_written_there():
    sla = document(warnings=[0.25, 0.9, 0.5], on_warning=[{"at": 0.9, "actions": ["remind", "call_supervisor"]}])
    assert told(sla, one_wait(), at(25), at(50), at(90)) == [
        ("warning", 0.25, None),
        ("warning", 0.5, None),
        ("warning", 0.9, ("remind", "call_supervisor")),
    ]


def test_a_breach_asks_for_what_its_row_says_else_for_what_the_document_says():
    rows = [
        {"policy_id": "vip", "when": {"tiers": ["vip"]}, "targets": {**QUIET, "agent_response": 60}, "on_breach": ["raise_priority"]},
        {"policy_id": "new", "when": {"tiers": ["new"]}, "targets": {**QUIET, "agent_response": 60}, "on_breach": []},
        {"policy_id": "rest", "targets": {**QUIET, "agent_response": 100}},
    ]  # fmt: skip
    sla = {"policies": rows, "warnings": [], "on_breach": ["remind"]}
    asked = {tier: told(sla, one_wait(tier), END) for tier in ("vip", "new", "regular")}
    assert asked == {
        "vip": [("breached", None, ("raise_priority",))],
        "new": [("breached", None, None)],
        "regular": [("breached", None, ("remind",))],
    }


def test_a_clock_of_the_default_target_takes_the_documents_actions():
    log = Log()
    log.customer(0, "m1")
    assert told({"warnings": [], "on_breach": ["remind"]}, log, END) == [("breached", None, ("remind",))]


def test_without_actions_an_event_has_no_such_field():
    service = Service(book(document(warnings=[])))
    service.unit(one_wait().events, END)
    assert [word.data.actions for word in service.words] == [None]


def test_reassign_is_asked_for_from_the_nth_breach_of_a_conversation_on():
    # Three waits of more than 100 s each: breaches at 100, 400 and 700.
    log = one_wait()
    log.wrote(200, "anna")
    for number in (1, 2):
        log.customer(300 * number, f"m{number + 1}")
        log.wrote(300 * number + 200, "anna")
    sla = {
        "policies": [{"policy_id": "p", "targets": {**QUIET, "agent_response": 100, "next_response": 100}}],
        "warnings": [], "on_breach": ["remind"], "reassign_after": 2,
    }  # fmt: skip
    service = Service(book(sla))
    for event in log.events:
        service.unit([event], event.at)
    service.unit([], END)
    assert [word.data.actions for word in service.words if word.type == "sla.breached.v1"] == [
        ("remind",),
        ("remind", "reassign"),
        ("remind", "reassign"),
    ]


def test_a_breach_taken_back_does_not_count_towards_reassign():
    log = one_wait()
    answered = log.wrote(50, "anna", broker=150)  # read only after the breach at 100 was told
    log.customer(300, "m2")
    sla = {
        "policies": [{"policy_id": "p", "targets": {**QUIET, "agent_response": 100, "next_response": 100}}],
        "warnings": [], "reassign_after": 2,
    }  # fmt: skip
    service = Service(book(sla))
    early = [event for event in log.events if event is not answered][:2]
    service.unit(early, at(120))
    service.unit([answered], at(160))
    service.unit(log.events[-1:], END)
    assert [(word.type, getattr(word.data, "actions", None)) for word in service.words] == [
        ("sla.breached.v1", None),
        ("sla.breach_retracted.v1", None),
        ("sla.met.v1", None),
        ("sla.breached.v1", None),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"on_warning": [{"at": 0.7, "actions": ["remind"]}]}, "no warning is told at 0.7; add it to warnings"),
        ({"on_breach": ["shout"]}, "remind"),
        ({"reassign_after": 0}, "greater than or equal to 1"),
        ({"policies": [{"policy_id": "p", "targets": {}, "on_warning": [{"at": 0.3, "actions": []}]}]}, "told at 0.3"),
    ],
)
def test_what_would_never_happen_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        SlaDocument.model_validate_json(json.dumps(fields))
