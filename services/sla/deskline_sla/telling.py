"""From decisions to records of ``sla.v1``: ids, times and bytes."""

from collections.abc import Callable
from typing import Any, Final

from deskline.clock import SECOND, rfc3339
from deskline.events.models import (
    SlaBreached,
    SlaBreachRetracted,
    SlaCancelled,
    SlaMet,
    SlaReminder,
    SlaRetargeted,
    SlaWarning,
)
from deskline.events.wire import encode, new
from deskline.ids import clock_id, event_id, name_id
from deskline.records import SLA, Event, Output
from deskline_sla.model import METRICS, Nudge, Telling, Word

SOURCE: Final = "/deskline/sla"


def _warning(telling: Telling, fields: dict[str, Any]) -> Any:
    return new(SlaWarning, threshold=telling.threshold, actions=telling.actions or None, **fields)


def _met(telling: Telling, fields: dict[str, Any]) -> Any:
    return new(SlaMet, met_at=rfc3339(telling.met_at), elapsed_s=telling.elapsed / SECOND, **fields)


def _breached(telling: Telling, fields: dict[str, Any]) -> Any:
    return new(SlaBreached, breached_at=fields["due_at"], actions=telling.actions or None, **fields)


def _cancelled(telling: Telling, fields: dict[str, Any]) -> Any:
    assert telling.reason is not None
    return new(SlaCancelled, reason=telling.reason.value, **fields)


def _retracted(telling: Telling, fields: dict[str, Any]) -> Any:
    assert telling.reason is not None
    return new(SlaBreachRetracted, reason=telling.reason.value, **fields)


def _retargeted(_telling: Telling, fields: dict[str, Any]) -> Any:
    return new(SlaRetargeted, **fields)


_DATA: Final[dict[Word, Callable[[Telling, dict[str, Any]], Any]]] = {
    Word.WARNING: _warning,
    Word.MET: _met,
    Word.BREACHED: _breached,
    Word.CANCELLED: _cancelled,
    Word.RETRACTED: _retracted,
    Word.RETARGETED: _retargeted,
}


def reminder(subject: str, shop: str, nudge: Nudge, now: int) -> Output:
    data = new(
        SlaReminder,
        kind=nudge.kind,
        message_id=nudge.message_id,
        shop_id=shop,
        since=rfc3339(nudge.since),
        n=nudge.n,
        agent_id=nudge.agent,
    )
    event_type = "sla.reminder.v1"
    id_ = event_id(subject, event_type, name_id("reminder", nudge.kind, nudge.message_id), nudge.n)
    value = encode(event_type, id=id_, source=SOURCE, subject=subject, time=now, data=data)
    return Output(SLA, subject.encode(), value, None)


def output(subject: str, telling: Telling, cause: Event | None, now: int) -> Output:
    """``cause``: the record that this answers; None where time alone did."""
    about = telling.about
    metric, started_at = METRICS[about.metric], rfc3339(about.started_at)
    clock = clock_id(subject, metric, started_at, about.complaint)
    fields = {
        "clock_id": clock,
        "metric": metric,
        "shop_id": about.shop,
        "policy_id": about.policy_id,
        "policy_version": about.version,
        "tier": about.tier,
        "started_at": started_at,
        "due_at": rfc3339(telling.due),
        "target_s": about.target_s,
        "calendar_id": about.calendar or None,
        "agent_id": telling.agent or None,
        "due_is_guess": True if telling.due >= about.known_until else None,
    }
    event_type = telling.word.value
    value = encode(
        event_type,
        id=event_id(subject, event_type, clock, telling.n),
        source=SOURCE,
        subject=subject,
        time=now if cause is None else max(now, cause.at),
        data=_DATA[telling.word](telling, fields),
    )
    return Output(SLA, subject.encode(), value, None if cause is None else cause.coordinates)
