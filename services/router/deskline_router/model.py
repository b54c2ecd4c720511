"""What the router knows and what it says, as plain values. Times are µs since the epoch; nothing here does I/O.

A *place* orders a conversation's messages where times tie: twice the event time, plus one for a message that stands
directly after the one it answers (contract §3). "Later than" is always a comparison of places.

The structs that are kept by the ten thousand form no cycles and are not tracked by the garbage collector (``gc=False``):
its passes over them were a fifth of the time and pauses of 100 ms.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import msgspec

from deskline.calendars import Hours
from deskline.config.documents import Agent as AgentConfig
from deskline.config.documents import LimitsDocument, RoutingPolicy, SlaPolicies
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


class Profile(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What the conversation's messages say of the customer and of how he came in; in a request, with what is recorded."""

    tier: str | None = None
    total_spend: float | None = None
    average_order: float | None = None
    orders: int | None = None
    dedicated: str | None = None
    entry_point: str | None = None
    channel: str | None = None
    complaints: int = 0
    """Opened so far, over all conversations of the customer; of a request only."""
    last_agent: str | None = None
    """Who had a conversation of the customer last; of a request only."""

    @property
    def own_agent(self) -> str | None:
        return self.dedicated or self.last_agent


class Fact(msgspec.Struct, array_like=True, gc=False, frozen=True):
    value: str | float
    at: int
    """Event time of the message that said so."""


FACTS: Final = ("tier", "total_spend", "average_order", "orders", "dedicated")
"""What is recorded of a customer from his messages: the newest statement of each."""


class Customer(msgspec.Struct, gc=False):
    """What is recorded of one customer of a shop, over all his conversations: shared, changed under the lock."""

    shop_id: str
    customer_id: str
    facts: dict[str, Fact] = msgspec.field(default_factory=dict)
    complaints: int = 0
    last_agent: str | None = None
    last_agent_at: int = NEVER


class Served(msgspec.Struct, array_like=True, gc=False):
    """How those who waited under one rule came to their turn: what the estimate goes by."""

    wait: int = 0
    """µs that the last one to enter service had waited."""
    at: int = 0
    """When he did."""
    paces: list[int] = msgspec.field(default_factory=list)
    """µs between an entry and the one before it, of those who were waiting by then already; the newest last."""


class ShopState(msgspec.Struct, gc=False):
    """What a shop's decisions depend on beside its agents and requests: shared, changed under the lock."""

    shop_id: str
    surge_since: int | None = None
    """None: no surge."""
    surge_cause: str = ""
    surge_n: int = 0
    """Surges begun so far."""
    surge_reserve: list[str] = msgspec.field(default_factory=list)
    surge_added: int = 0
    surge_limit: int | None = None
    calm_since: int | None = None
    """In a surge: since when all its parts have been over."""
    surge_by_hand: bool = False
    """A person began it: a person ends it."""
    surge_refused: bool = False
    """A person ended it: thresholds begin none until they have not been reached for once."""
    latest: int = 0
    """Time of the last surge event."""
    arrivals: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """(beginning of a span of ten seconds, requests opened in it), oldest first; of the last minute."""
    credits: dict[str, int] = msgspec.field(default_factory=dict)
    """``rule/step`` → millionths of a request that may still come by a step with a ``share``."""
    served: dict[str, Served] = msgspec.field(default_factory=dict)
    """By rule."""
    told_second: int = 0
    told_positions: int = 0
    """Positions told again in that second."""


class Conversation(msgspec.Struct, gc=False):
    """The private state of one conversation: changed by the owner of its lane only."""

    seen: Seen = msgspec.field(default_factory=Seen)
    shop_id: str | None = None
    """The shop of its first ``message.received``; before that None."""
    profile: Profile = msgspec.field(default_factory=Profile)
    customer_id: str | None = None
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
    last_author: str | None = None
    """The agent who wrote last."""
    complaints: dict[str, str] = msgspec.field(default_factory=dict)
    """Open complaint → the agent it is about; empty: nobody had the conversation."""

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
    customer_id: str | None = None
    tier: str = "regular"
    """By the shop's rules, when it was opened or last joined."""
    due_at: int | None = None
    """When its answer is due by the shop's SLA; None: no target."""
    target: int = 0
    """µs of that target; what waiting costs is measured by it."""
    opens_at: int | None = None
    """Opened outside the shop's hours: nobody is sought before."""
    shared_until: int = 0
    """It has waited for the opening, and until then is shared out among those who come in; 0: not so."""
    opened_hours: int = 0
    """When the shop opened, of one that has waited for that."""
    skipped: list[int] = msgspec.field(default_factory=list)
    """Steps of its rule that it does not take part in (``share``)."""
    barred: list[str] = msgspec.field(default_factory=list)
    """Agents who never get it."""
    hand_up_at: int | None = None
    """Held: when it goes on to the next step."""
    weight: int = 100
    """Hundredths of a place that it takes while it is live."""
    told_at: int = 0
    """When its position was told last."""
    estimated: int | None = None
    """The wait told then, µs from ``told_at`` on."""
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
    told_position: int = 0
    called: bool = False
    """The SLA has called supervisors: they may take it whatever its step asks for, and come first."""

    @property
    def live(self) -> bool:
        return self.state is State.OFFERED or self.state is State.HELD

    @property
    def due(self) -> int | None:
        """When the watermark of its lane lets something happen to it."""
        if self.state is State.OFFERED:
            return self.accept_by
        if self.state is State.HELD:
            return self.hand_up_at
        if self.state is not State.QUEUED:
            return None
        instants = list(self.excluded.values())
        if self.opens_at is not None:
            instants.append(self.opens_at)
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
    taken: int = 0
    """Hundredths of places taken by live assignments, offers included."""
    channels: dict[str, int] = msgspec.field(default_factory=dict)
    """Channel → live assignments."""
    overnight: int = 0
    """Live assignments that had waited for the opening."""
    wraps: list[int] = msgspec.field(default_factory=list)
    """When the places of conversations that have ended are free, soonest first."""
    busy_until: int = 0
    """When the work that he has been given would be done at an even pace: the smaller, the less he has had lately."""
    missed: int = 0
    """Offers missed in a row."""
    paused: bool = False
    last_assigned_at: int = 0

    @property
    def load(self) -> float:
        """Weight of his live assignments, offers included; whole where every weight is 1."""
        places, part = divmod(self.taken, 100)
        return self.taken / 100 if part else places


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
    """What certifications and training give is in it."""
    version: int
    hours: Hours
    """Of the shop's default calendar."""
    zone: ZoneInfo
    shifts: Mapping[str, Hours]
    """By the name that agents' ``shift`` states."""
    sla: SlaPolicies
    sla_hours: Hours
    channels_limited: bool = False
    """Some agent has a limit for a channel."""
    has_trainees: bool = False
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

    def agent(self, agent_id: str) -> AgentConfig | None:
        """As he is configured; None for somebody whom no shop lists."""

    def next_change(self) -> int | None:
        """When some version comes into force next."""


class Origin(Protocol):
    """The record that an output answers, an ``Event`` or a status: no output is before it."""

    @property
    def at(self) -> int: ...

    @property
    def coordinates(self) -> str: ...


class SurgeWord(NamedTuple):
    """A surge of a shop has begun or ended; to be published on ``shops.v1``."""

    entered: bool
    shop_id: str
    lane: int
    n: int
    at: int
    data: dict[str, Any]


ActionKind = Literal["assign", "pick", "transfer", "pause", "resume", "surge_on", "surge_off"]


class Action(NamedTuple):
    """What a person at a desktop has ordered, as it was submitted; ``at`` (µs) is when."""

    action_id: str
    kind: ActionKind
    actor: str
    at: int
    subject: str | None = None
    lane: int | None = None
    """Of the conversation; None: it is about no conversation."""
    shop_id: str | None = None
    agent_id: str | None = None
    """assign, pause, resume: who; pick: who takes it; transfer: to whom, if anybody in particular."""
    skills: tuple[str, ...] = ()
    grade: str | None = None
    own_only: bool = False
    """transfer: the actor is an agent, and may hand on what is his alone."""


class Outcome(NamedTuple):
    done: bool
    code: str
    """Done, or why not."""
    words: str
    request_id: str | None = None
    assignment_id: str | None = None


class PauseWord(NamedTuple):
    """A person has paused an agent, or ended his pause; to be published on ``shops.v1``."""

    paused: bool
    shop_id: str
    lane: int
    action_id: str
    at: int
    data: dict[str, Any]


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
