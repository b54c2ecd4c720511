"""What the router knows and what it says, as plain values. Times are µs since the epoch; nothing here does I/O.

A *place* orders a conversation's messages where times tie: twice the event time, plus one for a message that stands
directly after the one it answers (contract §3). "Later than" is always a comparison of places.

The structs that are kept by the ten thousand form no cycles and are not tracked by the garbage collector (``gc=False``):
its passes over them were a fifth of the time and pauses of 100 ms.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from deskline.config.documents import Agent as AgentConfig
from deskline.config.documents import LimitsDocument, RoutingPolicy
from deskline.duplicates import Seen
from deskline.records import Event

SECOND: Final = 1_000_000
NEVER: Final = -(2**62)
"""Before every event time and every place."""
DEFAULT_PRIORITY: Final = 50


def place(at: int) -> int:
    return 2 * at


class State(StrEnum):
    NONE = "none"
    QUEUED = "queued"
    OFFERED = "offered"
    HELD = "held"
    ENDED = "ended"


class Cause(StrEnum):
    HANDOVER = "handover"
    NO_AUTOREPLY = "no_autoreply"
    TRANSFER = "transfer"
    COMPLAINT = "complaint"
    MANUAL = "manual"


class Status(StrEnum):
    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class Told(StrEnum):
    """The events of ``routing.v1``."""

    QUEUED = "conversation.queued.v1"
    ASSIGNED = "conversation.assigned.v1"
    EXPIRED = "assignment.expired.v1"
    REVOKED = "assignment.revoked.v1"
    RELEASED = "conversation.released.v1"


class Fate(StrEnum):
    """What became of a customer's message, as far as ``replies.v1`` has been read."""

    AWAITING = "awaiting"
    """No outcome in time so far; its patience runs."""
    DONE = "done"
    """Answered by the bot, or nothing to answer; remembered because an agent's message may name it."""
    COUNTED = "counted"
    """Handed over, met with silence, or ignored because somebody has or waits for it: if the request ends without
    an answer to it, it counts as silence."""


class Word(StrEnum):
    """What an outcome says of its message."""

    ANSWERED = "answered"
    """By the bot, and with it those before it."""
    EMPTY = "empty"
    """There was nothing to answer: ignored as empty, as said before, or as answered a moment ago."""
    PAST = "past"
    """Ignored because the conversation had gone on without it."""
    HANDED = "handed"
    """Handed over."""
    LEFT = "left"
    """Ignored because somebody has the conversation or waits for it: silence where nobody does."""
    UNHEARD = "unheard"
    """Answered too late for the answer to be delivered, or handed over before it could be told whether a close has
    ended it: silence."""


class Message(msgspec.Struct, array_like=True, gc=False):
    """A customer's message that no agent has answered and no close has ended."""

    message_id: str
    at: int
    offset: int
    deadline: int
    """Broker time up to which an outcome comes in time."""
    fate: Fate = Fate.AWAITING
    answered: bool = False
    """By the bot, this one or a later one, or nothing to answer: it does not make a wait begin earlier."""
    language: str | None = None


class Early(msgspec.Struct, array_like=True, gc=False):
    """An outcome that was read before its message."""

    broker_at: int
    word: Word


class Profile(msgspec.Struct, array_like=True, gc=False):
    """What the conversation's messages say of the customer and of how he came in."""

    tier: str | None = None
    total_spend: float | None = None
    average_order: float | None = None
    orders: int | None = None
    dedicated: str | None = None
    entry_point: str | None = None
    channel: str | None = None


class Conversation(msgspec.Struct, gc=False):
    """The private state of one conversation: changed by the owner of its lane only."""

    seen: Seen = msgspec.field(default_factory=Seen)
    shop_id: str | None = None
    """The shop of its first ``message.received``; before that None."""
    profile: Profile = msgspec.field(default_factory=Profile)
    messages: list[Message] = msgspec.field(default_factory=list)
    early: dict[str, Early] = msgspec.field(default_factory=dict)
    last_received: int = NEVER
    """Event time of the latest customer's message."""
    last_agent: int = NEVER
    """Place of the latest agent's message."""
    last_closed: int = NEVER
    """Event time of the latest close."""
    owner: str | None = None
    """Owner without an assignment; one by assignment is the agent of the held request."""
    owner_since: int = NEVER
    openers: list[str] = msgspec.field(default_factory=list)
    """What has opened a request here, as ``kind:opener``, newest last."""
    priority: int = DEFAULT_PRIORITY
    skills: list[str] = msgspec.field(default_factory=list)
    """Priority and skills of the last request: a transfer by an owner without a request starts from them."""

    @property
    def open(self) -> bool:
        return self.last_received > self.last_closed


class Request(msgspec.Struct, gc=False):
    """One hand-over, from its ``queued`` to its ``released``. Matching changes nothing else, in any instance."""

    request_id: str
    subject: str
    lane: int
    shop_id: str
    cause: Cause
    opened_at: int
    """Event time of the opener: a close earlier than this does not end the request, and no output is before it."""
    waiting_since: int
    priority: int
    skills: list[str]
    flags: list[str]
    profile: Profile
    latest: int
    """Time of the last event told, at first ``opened_at``: the next is not before it."""
    language: str | None = None
    first_agent: str | None = None
    """The transfer's agent, or the owner without an assignment: the first stage."""
    first_skills: list[str] | None = None
    first_grade: str | None = None
    """The transfer's wishes: the second stage."""
    transferrer: str | None = None
    refuses_limit: bool = True
    """``queue_full`` may end it: not a complaint, not a transfer."""
    state: State = State.NONE
    rule_id: str = ""
    step: int = 0
    """Index into the request's stages; events show it counted from 1."""
    step_until: int | None = None
    seq: int = 0
    queued_n: int = 0
    attempt: int = 0
    agent_id: str | None = None
    assignment_id: str | None = None
    accept_by: int | None = None
    assigned_at: int = 0
    ever_held: bool = False
    excluded: dict[str, int] = msgspec.field(default_factory=dict)
    """Agents not to be offered this request before the instant: they declined it or let it expire."""
    refused_by: list[str] = msgspec.field(default_factory=list)
    """Everybody who ever did: chosen last."""
    told: tuple[int, int, list[str], str] | None = None
    """Step, priority, skills and requirement of the last ``queued``."""

    @property
    def live(self) -> bool:
        return self.state is State.OFFERED or self.state is State.HELD

    @property
    def due(self) -> int | None:
        """When the watermark of its lane lets something happen to it."""
        if self.state is State.OFFERED:
            return self.accept_by
        if self.state is not State.QUEUED:
            return None
        instants = list(self.excluded.values())
        if self.step_until is not None:
            instants.append(self.step_until)
        return min(instants, default=None)


class Agent(msgspec.Struct, gc=False):
    """One person, over all shops."""

    agent_id: str
    status: Status = Status.OFFLINE
    status_at: int = NEVER
    status_offset: int = -1
    online_id: str | None = None
    """``id`` of the last ``online`` status."""
    stated_capacity: int | None = None
    offline_since: int | None = None
    seq: int = 0
    load: int = 0
    """Live assignments, offers included."""
    missed: int = 0
    """Offers missed in a row."""
    paused: bool = False
    last_assigned_at: int = 0


class Input(NamedTuple):
    """An event of a lane. ``stated``: the time that its data names (µs): ``waiting_since`` or ``deliver_by``."""

    event: Event
    stated: int | None = None


class Shop(NamedTuple):
    """A shop's configuration in force at the instant of the decision."""

    shop_id: str
    routing: RoutingPolicy
    limits: LimitsDocument
    agents: Mapping[str, AgentConfig]
    version: int
    candidate: "Shop | None" = None
    """The same shop under the policy that it tries in shadow."""


class Agreement(StrEnum):
    """The candidate policy's choice against the live one."""

    SAME = "same"
    OTHER_AGENT = "other_agent"
    WAITS = "waits"
    """Somebody was assigned; the candidate admits nobody yet."""
    EARLIER = "earlier"
    """Nobody was assigned when the request came; the candidate would have taken somebody at once."""


class ShadowChoice(NamedTuple):
    """One decision as the shop's candidate policy would have made it on the same snapshot."""

    request_id: str
    attempt: int
    """Of the live assignment; 0: the request came and had to wait."""
    subject: str
    shop_id: str
    version: int
    at: int
    live_agent: str | None
    live_rule: str
    live_step: int
    live_priority: int
    agent: str | None
    rule: str
    step: int
    priority: int
    agreement: Agreement


class Catalog(Protocol):
    """The configuration, for the instant of the unit of work."""

    def shop(self, shop_id: str) -> Shop:
        """The same object as long as nothing in it has changed."""

    def capacity(self, agent_id: str) -> int | None:
        """The configured capacity; None for somebody whom no shop lists."""


class Origin(Protocol):
    """The record that an output answers, an ``Event`` or a status: no output is before it."""

    @property
    def at(self) -> int: ...

    @property
    def coordinates(self) -> str: ...


class Emission(NamedTuple):
    """An event to publish; times in ``data`` are µs."""

    type: Told
    subject: str
    lane: int
    thing: str
    n: int
    at: int
    data: dict[str, Any]
    source: str | None
    """Coordinates of the record that it answers; None for a timer."""
