"""From recorded events to customers whose service is known: what happened, and what a simulation may start from. Pure.

A request is what ``routing.v1`` tells of one ``request_id``. Who was served needed an agent for as long as he had one; who left had
patience until then; who was served had more patience than anybody asks for. Times are µs.
"""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

from deskline.clock import parse_rfc3339
from deskline_router.model import SECOND, Customer, Profile
from deskline_router.policy.conversation import stated
from deskline_router.simulation.engine import Shift
from deskline_router.simulation.model import Arrival

_PATIENT: Final = 7 * 86_400 * SECOND
_USUAL_WORK: Final = 300 * SECOND


class Status(NamedTuple):
    at: int
    agent_id: str
    status: str
    capacity: int | None


class Case(NamedTuple):
    """One request, as it went."""

    request_id: str
    conversation: str
    shop_id: str
    opened: int
    """Its first ``queued``."""
    waiting_since: int
    agent_id: str | None
    """Who had it first; None: nobody."""
    taken: int | None
    """When he did: assigned, or his yes to the offer."""
    ended: int | None
    """When his conversation was over; None: not in what was read."""
    answered: int | None
    """The first message of an agent after it was taken."""
    tier: str
    own_agent: str | None
    """Dedicated, or who had the customer before."""
    arrival: Arrival


class Day(NamedTuple):
    """What was recorded."""

    cases: list[Case]
    """By the time at which they were opened."""
    shifts: list[Shift]
    capacities: dict[str, int]
    """As desktops stated them last."""
    customers: list[Customer]
    """Who had them before the first case."""
    accept_s: float
    """How long a yes to an offer took, in the middle."""


class _Request:
    def __init__(self, event: Any, profile: Profile, customer_id: str, own: str | None) -> None:
        self.event, self.profile, self.customer_id, self.own = event, profile, customer_id, own
        self.offered: dict[str, tuple[str, int]] = {}
        self.agent_id: str | None = None
        self.taken: int | None = None
        self.ended: int | None = None
        self.left: int | None = None
        self.answered: int | None = None


def recorded(events: Iterable[Any], begin: int, end: int) -> Day:
    """``events``: of conversations, routing and agents, by event time. Cases are those opened in ``begin`` ≤ t < ``end``."""
    profiles: dict[str, Profile] = {}
    customers: dict[str, str] = {}
    last: dict[tuple[str, str], tuple[str, int]] = {}
    before: dict[tuple[str, str], tuple[str, int]] = {}
    requests: dict[str, _Request] = {}
    open_: dict[str, str] = {}
    statuses: list[Status] = []
    yes: list[float] = []
    for event in events:
        data, subject = event.data, event.subject
        match event.type:
            case "agent.status_changed.v1":
                statuses.append(Status(event.at, subject, data.status, data.capacity))
            case "message.received.v1":
                said, known = stated(data), profiles.get(subject)
                if known is not None:
                    said = Profile(
                        *(new if new is not None else old for new, old in zip(_of(said), _of(known), strict=True))
                    )
                profiles[subject], customers[subject] = said, data.customer.customer_id
            case "conversation.queued.v1" if data.seq == 1:
                profile, who = profiles.get(subject, Profile()), customers.get(subject, subject)
                served = last.get((data.shop_id, who))
                own = profile.dedicated or (served[0] if served is not None else None)
                requests[data.request_id] = _Request(event, profile, who, own)
                open_[subject] = data.request_id
                if event.at < begin:
                    before = dict(last)
            case "conversation.assigned.v1" if data.request_id in requests:
                request = requests[data.request_id]
                request.offered[data.assignment_id] = data.agent_id, event.at
                if data.mode == "assigned":
                    _take(request, data.agent_id, event.at)
                    last[data.shop_id, request.customer_id] = data.agent_id, event.at
            case "assignment.accepted.v1" | "message.sent.v1" if subject in open_:
                request = requests[open_[subject]]
                who = data.agent_id if event.type == "assignment.accepted.v1" else data.author.id
                if event.type == "message.sent.v1" and data.author.kind != "agent":
                    continue
                offers = [at for agent_id, at in request.offered.values() if agent_id == who]
                if offers and request.taken is None:
                    _take(request, who, event.at)
                    yes.append((event.at - offers[-1]) / SECOND)
                    last[data.shop_id, request.customer_id] = who, event.at
                if event.type == "message.sent.v1" and request.taken is not None and request.answered is None:
                    request.answered = event.at
            case "assignment.revoked.v1" if data.request_id in requests:
                request = requests[data.request_id]
                if request.agent_id == data.agent_id and request.ended is None:
                    request.ended = event.at
            case "conversation.released.v1" if data.request_id in requests:
                request = requests[data.request_id]
                if request.taken is None:
                    request.left = event.at
                elif request.ended is None:
                    request.ended = event.at
                if open_.get(subject) == data.request_id:
                    del open_[subject]
    lengths = [one.ended - one.taken for one in requests.values() if one.ended is not None and one.taken is not None]
    usual = round(median(lengths)) if lengths else _USUAL_WORK
    cases = [_case(name, one, usual) for name, one in requests.items() if begin <= one.event.at < end]
    statuses.sort()
    return Day(
        sorted(cases, key=lambda case: (case.opened, case.request_id)),
        _shifts(statuses, end),
        {one.agent_id: one.capacity for one in statuses if one.capacity is not None},
        [Customer(shop, who, last_agent=agent, last_agent_at=at) for (shop, who), (agent, at) in before.items()],
        median(yes) if yes else 0.0,
    )


def _of(profile: Profile) -> tuple[Any, ...]:
    return (
        profile.tier, profile.total_spend, profile.average_order, profile.orders, profile.dedicated, profile.entry_point,
        profile.channel,
    )  # fmt: skip


def _take(request: _Request, agent_id: str, at: int) -> None:
    if request.taken is None:
        request.agent_id, request.taken = agent_id, at


def _case(name: str, one: _Request, usual: int) -> Case:
    event, data, profile = one.event, one.event.data, one.profile
    work = usual if one.taken is None or one.ended is None else max(1, one.ended - one.taken)
    arrival = Arrival(
        at=event.at,
        subject=name,
        customer_id=one.customer_id,
        patience=_PATIENT if one.left is None else max(1, one.left - event.at),
        work=work,
        tier=profile.tier,
        skills=tuple(data.skills),
        flags=("complaint",) if data.cause == "complaint" else (),
        priority=data.priority,
        channel=profile.channel or "web",
        entry_point=profile.entry_point,
        dedicated=profile.dedicated,
        total_spend=None if profile.total_spend is None else f"{profile.total_spend:f}",
        average_order=None if profile.average_order is None else f"{profile.average_order:f}",
        orders=profile.orders,
        shop_id=data.shop_id,
    )
    return Case(
        name,
        event.subject,
        data.shop_id,
        event.at,
        parse_rfc3339(data.waiting_since),
        one.agent_id,
        one.taken,
        one.ended if one.taken is not None else one.left,
        one.answered,
        profile.tier or "regular",
        one.own,
        arrival,
    )


def _shifts(statuses: Sequence[Status], end: int) -> list[Shift]:
    """From each ``online`` to what ends it, or to ``end``."""
    since: dict[str, int] = {}
    found = []
    for one in statuses:
        if one.status == "online":
            since.setdefault(one.agent_id, one.at)
        elif one.agent_id in since:
            found.append(Shift(one.agent_id, since.pop(one.agent_id), one.at))
    return [*found, *(Shift(name, at, max(end, at) + 3600 * SECOND) for name, at in since.items())]
