"""Every event of the contract (§3, §4): one frozen pydantic model per event's ``data``, and ``AnyEvent`` over all.

This is the one source. The hot path (``deskline.events.wire``), the JSON Schemas and the AsyncAPI document are derived
from these classes, so a field is written down once. ``REGISTRY`` gives for each type its model, its topic and who may
write it. Reading is tolerant: unknown fields are ignored here (the archive keeps the raw bytes), a null in an optional
field is an absent one, and the lists of §4 admit values of a later release. Times are RFC 3339 strings, parsed by who
needs them with ``deskline.clock.parse_rfc3339``.

Verdicts on records come from ``wire.decode`` alone; these models agree with it on the ``data`` of a record.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from deskline.events.fields import (
    LONG_LIST,
    PROSE,
    SHORT_LIST,
    Amount,
    Confidence,
    Count,
    Decimal,
    EnvelopeId,
    Id,
    Ids,
    Number,
    Ordinal,
    Priority,
    Prose,
    Score,
    Text,
    Time,
    Word,
    Words,
    known,
)
from deskline.records import AGENTS, CHECKPOINTS, CONVERSATIONS, REPLIES, ROUTING, SHOPS, SLA


class Model(BaseModel):
    """Base of every event's data and of what is nested in it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


Writer = Literal["gateway", "autoreply", "router", "sla", "archive", "config"]
M = TypeVar("M", bound=type[Model])


class Kind(NamedTuple):
    """What the contract says of one event type."""

    name: str
    """The CloudEvents ``type``, version included."""
    model: type[Model]
    topic: str
    writer: Writer
    """``gateway``: any source ``/gateway/<name>`` (a name may hold slashes); else exactly ``/deskline/<writer>``."""


REGISTRY: Final[dict[str, Kind]] = {}


def _event(event_type: str, topic: str, writer: Writer) -> Callable[[M], M]:
    def register(model: M) -> M:
        REGISTRY[event_type] = Kind(event_type, model, topic, writer)
        return model

    return register


# --- conversations.v1: what the gateway tells ---------------------------------------------------------------------


class Attachment(Model):
    kind: Word
    url: Prose
    size: Count | None = None


class Customer(Model):
    customer_id: Id
    tier: Word | None = None
    """vip, regular, new, or a shop's own."""
    total_spend: Decimal | None = None
    average_order: Decimal | None = None
    order_count: Count | None = None
    name: Word | None = None
    dedicated_agent_id: Id | None = None


class Author(Model):
    kind: Literal["agent", "bot", "system"]
    id: Id


class Reader(Model):
    kind: Literal["agent", "customer"]
    id: Id


class Party(Model):
    kind: Word
    id: Id


class TransferTarget(Model):
    agent_id: Id | None = None
    skills: Words | None = None
    grade: Word | None = None


class ConversationEvent(Model):
    shop_id: Id


@_event("message.received.v1", CONVERSATIONS, "gateway")
class MessageReceived(ConversationEvent):
    """The customer wrote."""

    message_id: Id
    channel: Word
    entry_point: Word | None = None
    text: Text
    language: Word | None = None
    attachments: Annotated[tuple[Attachment, ...], *SHORT_LIST] | None = None
    customer: Customer
    order_id: Id | None = None
    product_id: Id | None = None


@_event("message.sent.v1", CONVERSATIONS, "gateway")
class MessageSent(ConversationEvent):
    """A message reached the customer."""

    message_id: Id
    author: Author
    text: Text
    in_reply_to: Id | None = None
    reply_id: Id | None = None


@_event("message.read.v1", CONVERSATIONS, "gateway")
class MessageRead(ConversationEvent):
    """Read receipt."""

    message_id: Id
    reader: Reader


@_event("assignment.accepted.v1", CONVERSATIONS, "gateway")
class AssignmentAccepted(ConversationEvent):
    """The agent takes an offer."""

    assignment_id: Id
    agent_id: Id
    reason: Prose | None = None


@_event("assignment.declined.v1", CONVERSATIONS, "gateway")
class AssignmentDeclined(ConversationEvent):
    """The agent refuses an offer."""

    assignment_id: Id
    agent_id: Id
    reason: Prose | None = None


@_event("transfer.requested.v1", CONVERSATIONS, "gateway")
class TransferRequested(ConversationEvent):
    """The agent hands the conversation on."""

    by_agent_id: Id
    to: TransferTarget | None = None
    note: Prose | None = None


@_event("conversation.held.v1", CONVERSATIONS, "gateway")
class ConversationHeld(ConversationEvent):
    """Waiting for the customer or a third party."""

    reason: Prose | None = None


@_event("conversation.resumed.v1", CONVERSATIONS, "gateway")
class ConversationResumed(ConversationEvent):
    """The wait of ``conversation.held`` is over."""

    reason: Prose | None = None


@_event("complaint.opened.v1", CONVERSATIONS, "gateway")
class ComplaintOpened(ConversationEvent):
    """A complaint, to be closed."""

    complaint_id: Id
    category: Word | None = None


@_event("complaint.closed.v1", CONVERSATIONS, "gateway")
class ComplaintClosed(ConversationEvent):
    """The complaint's loop is closed."""

    complaint_id: Id
    category: Word | None = None


@_event("conversation.closed.v1", CONVERSATIONS, "gateway")
class ConversationClosed(ConversationEvent):
    """The conversation ended."""

    resolved: bool
    by: Party | None = None


@_event("conversation.rated.v1", CONVERSATIONS, "gateway")
class ConversationRated(ConversationEvent):
    """The customer's satisfaction."""

    score: Score
    comment: Prose | None = None


@_event("order.placed.v1", CONVERSATIONS, "gateway")
class OrderPlaced(ConversationEvent):
    """An order after advice; for reports only."""

    order_id: Id
    customer_id: Id
    amount: Decimal


# --- agents.v1 ----------------------------------------------------------------------------------------------------


@_event("agent.status_changed.v1", AGENTS, "gateway")
class AgentStatusChanged(Model):
    """An agent's status; desktops repeat it at least every 60 s."""

    agent_id: Id
    status: Literal["online", "away", "offline"]
    reason: Prose | None = None
    capacity: Count | None = None


# --- shops.v1 -----------------------------------------------------------------------------------------------------


@_event("config.applied.v1", SHOPS, "config")
class ConfigApplied(Model):
    """One document of a shop's configuration got a new version."""

    shop_id: Id
    version: Ordinal
    effective_from: Time
    document: Literal["agents", "calendars", "sla", "routing", "limits", "rules"]
    body: Any
    """The document; of ``rules`` its hash only. No limit of this module applies inside it."""
    reevaluate: bool


class Surge(Model):
    shop_id: Id
    cause: Word
    reserve_agents: Ids
    capacity_added: Count
    """Per agent."""
    actor: Word | None = None
    """Who, where a person began or ended it."""


@_event("routing.surge_entered.v1", SHOPS, "router")
class SurgeEntered(Surge):
    """Reserve agents are called in and capacity is raised."""


@_event("routing.surge_left.v1", SHOPS, "router")
class SurgeLeft(Surge):
    """The surge is over."""


class Pause(Model):
    """Of an agent, in all shops; the event is told under the shop for which the person acted."""

    shop_id: Id
    agent_id: Id
    actor: Word


@_event("routing.agent_paused.v1", SHOPS, "router")
class AgentPaused(Pause):
    """A person has paused an agent: he is given nothing more; what he has stays with him."""


@_event("routing.agent_resumed.v1", SHOPS, "router")
class AgentResumed(Pause):
    """A person has ended an agent's pause."""


# --- replies.v1: what autoreply decided ---------------------------------------------------------------------------


class ReplyEvent(Model):
    shop_id: Id
    rules_version: Count
    routing_offset: Count
    """How far autoreply had read ``routing.v1``: the next offset."""


class Suggestion(Model):
    entry_id: Id
    confidence: Confidence


Span = tuple[Count, Count, Word]
"""Start, end (half-open, in code points of the original text), category."""


@_event("reply.issued.v1", REPLIES, "autoreply")
class ReplyIssued(ReplyEvent):
    """The gateway delivers this reply, at most once."""

    reply_id: Id
    in_reply_to: Id
    text: Text
    kind: Annotated[
        str,
        *known(
            "greeting", "rule", "faq", "promotion", "off_hours", "emergency", "queue_notice", "coupon", "suggestions"
        ),
    ]
    handover: bool
    deliver_by: Time
    rule_id: Id | None = None
    entry_id: Id | None = None
    confidence: Confidence | None = None


@_event("handover.requested.v1", REPLIES, "autoreply")
class HandoverRequested(ReplyEvent):
    """An agent is needed."""

    message_id: Id
    waiting_since: Time
    reason: Annotated[
        str,
        *known(
            "no_match",
            "low_confidence",
            "rule",
            "complaint",
            "asked_for_human",
            "repeated_question",
            "sensitive",
            "attachment",
            limit=PROSE,
        ),
    ]
    skills: Words
    language: Word | None = None
    priority: Priority
    flags: Words
    suggestions: Annotated[tuple[Suggestion, ...], *SHORT_LIST] | None = None


@_event("message.flagged.v1", REPLIES, "autoreply")
class MessageFlagged(ReplyEvent):
    """Sensitive words, and what was done about them."""

    message_id: Id
    direction: Annotated[str, *known("inbound", "outbound")]
    categories: Words
    spans: Annotated[tuple[Span, ...], *LONG_LIST]
    action: Annotated[str, *known("none", "masked", "blocked")]
    masked_text: Text | None = None


@_event("message.ignored.v1", REPLIES, "autoreply")
class MessageIgnored(ReplyEvent):
    """The message gets neither a reply nor a hand-over."""

    message_id: Id
    reason: Annotated[
        str,
        *known("human_owned", "waiting", "superseded", "empty", "duplicate_text", "cooldown", "shadow", limit=PROSE),
    ]
    rule_id: Id | None = None
    """Not on the contract's page, which lets optional fields be added: the rule that wants silence."""


# --- routing.v1: what the router decided --------------------------------------------------------------------------


class RequiredSkill(Model):
    skill: Word
    proficiency: Count


class Required(Model):
    skills: Annotated[tuple[RequiredSkill, ...], *SHORT_LIST]
    grades: Words | None = None
    """The grades admitted; absent: all."""
    agent: Id | None = None


class Chosen(Model):
    score_parts: dict[Word, Number]


class Candidate(Model):
    """One of the agents looked at; ``failed`` is the first condition that he did not meet, else ``score``."""

    agent_id: Id
    failed: Word | None = None
    numbers: Word | None = None
    """Of the condition failed: what he has, and what is asked for."""
    score: Number | None = None


class Explanation(Model):
    """Why this agent."""

    rule: Word
    step: Count
    required: Required
    relaxed: Words
    """What was given up by then: ``skill:<name>``, ``proficiency:<name>``, ``grade``, ``agent``, ``group``, ``language``."""
    agent_state_id: Id
    """``id`` of the ``online`` status that the decision relied on."""
    considered: Count
    eligible: Count
    rejected: dict[Word, Count]
    chosen: Chosen
    candidates: Annotated[tuple[Candidate, ...], *SHORT_LIST] | None = None


class RoutingEvent(Model):
    request_id: Id
    shop_id: Id
    seq: Ordinal
    actor: Word | None = None
    """Who, where a person acted."""


class AgentRoutingEvent(RoutingEvent):
    """An event about an agent: his own numbering and load."""

    agent_id: Id
    agent_seq: Ordinal
    load: Amount
    """After the event."""
    capacity: Count
    """In force."""


@_event("conversation.queued.v1", ROUTING, "router")
class ConversationQueued(RoutingEvent):
    """First event of every request, and again when step, priority or skills change."""

    cause: Annotated[str, *known("handover", "no_autoreply", "transfer", "complaint", "manual")]
    skills: Words
    priority: Priority
    step: Count
    required: Required
    position: Ordinal
    estimated_wait_s: Amount | None = None
    waiting_since: Time


@_event("conversation.assigned.v1", ROUTING, "router")
class ConversationAssigned(AgentRoutingEvent):
    """An agent was chosen: his at once (assigned) or when he accepts (offered)."""

    assignment_id: Id
    attempt: Ordinal
    mode: Annotated[str, *known("assigned", "offered")]
    accept_by: Time | None = None
    waited_s: Number
    policy_version: Count
    explanation: Explanation


@_event("assignment.expired.v1", ROUTING, "router")
class AssignmentExpired(AgentRoutingEvent):
    """The offer was not answered in time; the request is queued again."""

    assignment_id: Id
    reason: Annotated[str, *known("not_accepted", limit=PROSE)]
    agent_paused: bool


@_event("assignment.revoked.v1", ROUTING, "router")
class AssignmentRevoked(AgentRoutingEvent):
    """The assignment was taken back; the request is queued again."""

    assignment_id: Id
    reason: Annotated[str, *known("declined", "agent_offline", "agent_away", "reassigned", limit=PROSE)]
    agent_paused: bool


@_event("conversation.released.v1", ROUTING, "router")
class ConversationReleased(RoutingEvent):
    """The request ended. The fields about an agent are present where it ended a live assignment."""

    assignment_id: Id | None = None
    reason: Annotated[str, *known("closed", "transferred", "agent_offline", "queue_full", limit=PROSE)]
    agent_id: Id | None = None
    agent_seq: Ordinal | None = None
    load: Amount | None = None
    capacity: Count | None = None


# --- sla.v1: what the clocks tell ---------------------------------------------------------------------------------

Actions = Annotated[
    tuple[Annotated[str, *known("remind", "raise_priority", "reassign", "call_supervisor")], ...], *SHORT_LIST
]


class ClockEvent(Model):
    clock_id: Id
    metric: Annotated[
        str,
        *known(
            "instant_reply", "agent_response", "next_response", "transfer_response", "resolution", "complaint_closure"
        ),
    ]
    shop_id: Id
    policy_id: Id
    policy_version: Count
    tier: Word
    started_at: Time
    due_at: Time
    target_s: Amount
    calendar_id: Id | None = None
    agent_id: Id | None = None
    """The owner at that time, or who answered (met)."""
    due_is_guess: bool | None = None
    """True where ``due_at`` lies beyond the days of which the calendar knows the holidays."""


@_event("sla.warning.v1", SLA, "sla")
class SlaWarning(ClockEvent):
    """A share of the target is used up."""

    threshold: Amount
    actions: Actions | None = None


@_event("sla.breached.v1", SLA, "sla")
class SlaBreached(ClockEvent):
    """The target is exceeded."""

    breached_at: Time
    actions: Actions | None = None


@_event("sla.met.v1", SLA, "sla")
class SlaMet(ClockEvent):
    """Answered in time."""

    met_at: Time
    elapsed_s: Amount


@_event("sla.cancelled.v1", SLA, "sla")
class SlaCancelled(ClockEvent):
    """Neither met nor breached."""

    reason: Annotated[str, *known("closed", "queue_full", "late_event", limit=PROSE)]


@_event("sla.breach_retracted.v1", SLA, "sla")
class SlaBreachRetracted(ClockEvent):
    """A breach that was told does not hold."""

    reason: Annotated[str, *known("late_event", limit=PROSE)]


@_event("sla.retargeted.v1", SLA, "sla")
class SlaRetargeted(ClockEvent):
    """An open clock took the target of a new policy version."""


@_event("sla.reminder.v1", SLA, "sla")
class SlaReminder(Model):
    """A nudge, not a breach."""

    kind: Annotated[str, *known("unread", "unanswered")]
    message_id: Id
    shop_id: Id
    since: Time
    n: Ordinal
    agent_id: Id | None = None


# --- checkpoints.v1 -----------------------------------------------------------------------------------------------


@_event("archive.checkpoint.v1", CHECKPOINTS, "archive")
class ArchiveCheckpoint(Model):
    """A signed seal of one archived topic partition; the subject is ``<topic>/<partition>``."""

    origin: Word
    tree_size: Count
    root: Word
    note: Prose
    """The signed C2SP text."""


# --- envelopes ----------------------------------------------------------------------------------------------------

D = TypeVar("D", bound=Model)


class Envelope(Model, Generic[D]):
    """The CloudEvents 1.0 attributes of a record, in structured form (contract §1)."""

    specversion: Literal["1.0"]
    id: EnvelopeId
    source: Annotated[str, Field(min_length=1, max_length=512, json_schema_extra={"format": "uri-reference"})]
    type: str
    subject: EnvelopeId
    time: Time
    data: D


def _envelope(kind: Kind) -> type[Envelope[Any]]:
    fields: dict[str, Any] = {"type": (Literal[kind.name], ...), "data": (kind.model, ...)}
    return create_model(
        f"{kind.model.__name__}Event", __base__=Envelope, __module__=__name__, __doc__=kind.model.__doc__, **fields
    )


ENVELOPES: Final[dict[str, type[Envelope[Any]]]] = {kind.name: _envelope(kind) for kind in REGISTRY.values()}

if TYPE_CHECKING:
    AnyEvent = Envelope[Any]
else:
    AnyEvent = Annotated[Union[tuple(ENVELOPES.values())], Field(discriminator="type")]  # noqa: UP007

ANY_EVENT: Final[TypeAdapter[AnyEvent]] = TypeAdapter(AnyEvent)
"""Reads an envelope of any known type: ``ANY_EVENT.validate_json(value)``."""
