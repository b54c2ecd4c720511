"""From decisions to records of ``routing.v1``: ids, times and bytes; and from records to the policy's inputs."""

from functools import lru_cache
from typing import Any, Final

from deskline.clock import parse_rfc3339, rfc3339
from deskline.events.models import (
    AgentPaused,
    AgentResumed,
    AssignmentExpired,
    AssignmentRevoked,
    Candidate,
    Chosen,
    ConversationAssigned,
    ConversationQueued,
    ConversationReleased,
    Explanation,
    Required,
    RequiredSkill,
    RoutingEvent,
    SurgeEntered,
    SurgeLeft,
)
from deskline.events.wire import encode, new
from deskline.ids import event_id
from deskline.records import ROUTING, SHOPS, Event, Output
from deskline_router.model import Emission, Input, PauseWord, SurgeWord, Told

SOURCE: Final = "/deskline/router"

_MODELS: Final[dict[Told, type[RoutingEvent]]] = {
    Told.QUEUED: ConversationQueued,
    Told.ASSIGNED: ConversationAssigned,
    Told.EXPIRED: AssignmentExpired,
    Told.REVOKED: AssignmentRevoked,
    Told.RELEASED: ConversationReleased,
}
_TIMES: Final = ("waiting_since", "accept_by")


def id_of(emission: Emission) -> str:
    return event_id(emission.subject, emission.type.value, emission.thing, emission.n)


def output(emission: Emission, identity: str) -> Output:
    data = dict(emission.data)
    for name in _TIMES:
        if name in data:
            data[name] = rfc3339(data[name])
    if "skills" in data:
        data["skills"] = tuple(data["skills"])
    if "required" in data:
        data["required"] = _required(data["required"])
    if "explanation" in data:
        data["explanation"] = _explanation(data["explanation"])
    value = encode(
        emission.type.value,
        id=identity,
        source=SOURCE,
        subject=emission.subject,
        time=emission.at,
        data=new(_MODELS[emission.type], **data),
    )
    return Output(ROUTING, emission.subject.encode(), value, emission.source)


def _required(required: dict[str, Any]) -> Any:
    fields = dict(required)
    fields["skills"] = tuple(_required_skill(**skill) for skill in required["skills"])
    if "grades" in fields:
        fields["grades"] = tuple(fields["grades"])
    return new(Required, **fields)


def _explanation(explanation: dict[str, Any]) -> Any:
    fields = dict(explanation)
    fields["required"] = _required(fields["required"])
    fields["relaxed"] = tuple(fields["relaxed"])
    fields["chosen"] = new(Chosen, **fields["chosen"])
    fields["candidates"] = tuple(_candidate(**candidate) for candidate in fields["candidates"])
    return new(Explanation, **fields)


# The same few are named again and again, and what is made of them is frozen.


@lru_cache(8192)
def _required_skill(skill: str, proficiency: int) -> Any:
    return new(RequiredSkill, skill=skill, proficiency=proficiency)


@lru_cache(65_536)
def _rejected(agent_id: str, failed: str, numbers: str | None) -> Any:
    return new(Candidate, agent_id=agent_id, failed=failed, numbers=numbers)


def _candidate(agent_id: str, failed: str | None = None, numbers: str | None = None, score: float | None = None) -> Any:
    if failed is None:
        return new(Candidate, agent_id=agent_id, score=score)
    return _rejected(agent_id, failed, numbers)


def surge_id(word: SurgeWord) -> str:
    return event_id(word.shop_id, _surge_type(word), "surge", word.n)


def surge_output(word: SurgeWord, identity: str) -> Output:
    model = SurgeEntered if word.entered else SurgeLeft
    fields = word.data | {"reserve_agents": tuple(word.data["reserve_agents"])}
    value = encode(
        _surge_type(word), id=identity, source=SOURCE, subject=word.shop_id, time=word.at, data=new(model, **fields)
    )
    return Output(SHOPS, word.shop_id.encode(), value, None)


def pause_id(word: PauseWord) -> str:
    return event_id(word.shop_id, _pause_type(word), word.action_id, 1)


def pause_output(word: PauseWord, identity: str) -> Output:
    model = AgentPaused if word.paused else AgentResumed
    value = encode(
        _pause_type(word), id=identity, source=SOURCE, subject=word.shop_id, time=word.at, data=new(model, **word.data)
    )
    return Output(SHOPS, word.shop_id.encode(), value, None)


def _pause_type(word: PauseWord) -> str:
    return "routing.agent_paused.v1" if word.paused else "routing.agent_resumed.v1"


def _surge_type(word: SurgeWord) -> str:
    return "routing.surge_entered.v1" if word.entered else "routing.surge_left.v1"


def read(event: Event) -> Input:
    """The times that an event's data names, parsed once."""
    if event.type == "handover.requested.v1":
        return Input(event, parse_rfc3339(event.data.waiting_since))
    if event.type == "reply.issued.v1":
        return Input(event, parse_rfc3339(event.data.deliver_by))
    return Input(event)
