"""What the fold works on and what it decides. Times are µs since the epoch; no I/O.

Four layers, each a plain value: a ``Fact`` is what one record means to the clocks; a ``Walk`` is where the fold stands
after the facts so far; a ``Clock`` is one running or ended metric of the conversation; ``Told`` is what ``sla.v1`` was
last told about a clock. ``State`` is all of it for one conversation, the row that the engine keeps.

The structs are encoded as arrays, without field names: a row is written with every unit of work that touches the
conversation, so its size is the service's main cost. New fields go to the end, with a default; an old row then reads on.
"""

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple, Protocol

from msgspec import Struct, field

from deskline.calendars import Hours
from deskline.duplicates import Seen

FOREVER: Final = 2**62
"""Later than every time that can be written: a timer that does not run."""


class Kind(IntEnum):
    """What a record means to the clocks. The numbers are stored: never renumber."""

    RECEIVED = 0
    ANSWERED = 1  # message.sent by an agent
    BOT_SENT = 2
    SYSTEM_SENT = 3  # stops nothing
    REPLIED = 4  # reply.issued in time
    HANDOVER = 5
    QUEUED = 6  # the first of its request
    REQUEUED = 7
    ASSIGNED = 8
    OFFERED = 9
    ACCEPTED = 10
    WITHDRAWN = 11  # expired or revoked
    RELEASED = 12
    TRANSFER = 13
    HELD = 14
    RESUMED = 15
    COMPLAINT_OPENED = 16
    COMPLAINT_CLOSED = 17
    CLOSED = 18


class Cause(IntEnum):
    """Why a request was opened, as far as clocks care."""

    OTHER = 0
    NO_AUTOREPLY = 1
    TRANSFER = 2


class Release(IntEnum):
    """How a request ended, as far as clocks care."""

    OTHER = 0
    CLOSED = 1
    TRANSFERRED = 2
    QUEUE_FULL = 3


class Ignored(IntEnum):
    """Groups of the reasons of ``message.ignored``: what they do to the clocks that its message would start."""

    OTHER = 0  # superseded, shadow, reasons of a later release: as if there were an answer
    HUMAN = 1  # human_owned, waiting: an agent's turn
    SILENT = 2  # empty, duplicate_text, cooldown: nothing to answer


class Metric(IntEnum):
    INSTANT_REPLY = 0
    AGENT_RESPONSE = 1
    NEXT_RESPONSE = 2
    TRANSFER_RESPONSE = 3
    RESOLUTION = 4
    COMPLAINT_CLOSURE = 5


METRICS: Final = tuple(metric.name.lower() for metric in Metric)
"""Names on the wire, by ``Metric``."""


class End(IntEnum):
    """State of a clock in the fold, and of what was told of it. ``OPEN`` of what was told: nothing stands."""

    OPEN = 0
    MET = 1
    BREACHED = 2
    CANCELLED = 3


class Reason(Enum):
    """Why a clock was cancelled or a breach retracted; the words of the contract."""

    CLOSED = "closed"
    QUEUE_FULL = "queue_full"
    LATE_EVENT = "late_event"


Key = tuple[int, ...]
"""Where a fact stands in the fold; see ``policy.order``."""


class Fact(Struct, array_like=True, gc=False):
    """One record that counts, without its texts. Ids that are only compared are 64-bit hashes (``reading.hashed``): two
    of the 10 000 of one conversation are taken for one with a probability of 3e-12.

    By kind: RECEIVED has ``ref`` (message), ``who`` (tier, if stated), ``text`` (channel), ``number`` (1: met in hands);
    ANSWERED, BOT_SENT, SYSTEM_SENT ``ref`` (the message answered, if stated), ``who``; HANDOVER ``number`` (priority),
    ``since``; QUEUED, REQUEUED ``request``, ``number`` (priority), ``since``, ``code`` (``Cause``); ASSIGNED, OFFERED,
    ACCEPTED, WITHDRAWN, RELEASED ``ref`` (assignment), ``request``, ``who``, ``code`` (``Release``); TRANSFER, CLOSED
    ``who``; COMPLAINT_* ``text`` (complaint id).
    """

    kind: int
    at: int
    """Event time."""
    topic: int
    """0 conversations, 1 replies, 2 routing: the sequence in which topics stand at one instant."""
    offset: int
    lag_ms: int
    """Broker timestamp less event time, of whole milliseconds each."""
    ref: int = 0
    who: str = ""
    text: str = ""
    request: int = 0
    number: int = 0
    since: int = 0
    """``waiting_since``, where the kind has one."""
    code: int = 0
    shop: str = ""
    """Its own shop, where it was read before any message of the conversation."""
    key: Key = ()
    """Empty: the usual one."""

    @property
    def broker_at(self) -> int:
        return (self.at // 1000 + self.lag_ms) * 1000


class Terms(Struct, frozen=True):
    """The target of one clock and where it comes from."""

    target_us: int
    target_s: float
    policy_id: str
    version: int
    calendar: str
    """Name of the calendar; empty: always open."""
    hours: Hours
    pausable: bool
    thresholds: tuple[float, ...]
    known_until: int = FOREVER
    """From here on the calendar's holidays are not known."""


class Retarget(NamedTuple):
    """New terms for a clock that is open, and the instants whose policies and calendars these are (``Clock``)."""

    terms: Terms
    sla_at: int
    hours_at: int


class Case(NamedTuple):
    """What rows of the SLA document ask about."""

    tier: str
    channel: str
    """Empty where no message stated one."""
    priority: int


class TermsBook(Protocol):
    """The configuration, as the fold asks for it."""

    def find(self, shop: str, metric: Metric, case: Case, at: int, broker_at: int) -> Terms | None:
        """The terms of a clock of this metric that starts at ``at``; None where there is no target."""

    def hours(self, clock: "Clock") -> Hours:
        """The calendar of a clock that has one."""

    @property
    def reevaluated_at(self) -> Sequence[int]:
        """When versions that open clocks take come into force, of all shops, in order."""

    def reevaluated(self, clock: "Clock", at: int) -> "Retarget | None":
        """What a clock that is open at ``at``, one of these instants, takes then; None: it keeps its version."""


class Clock(Struct, array_like=True, gc=False):
    """One metric of the conversation, from its start on. ``policy.clock`` changes it; nothing else does."""

    metric: int
    started_at: int
    complaint: str
    shop: str
    tier: str
    policy_id: str
    version: int
    target_us: int
    target_s: float
    calendar: str
    """Empty: always open."""
    pausable: bool
    thresholds: tuple[float, ...]
    topic: int
    """Topic, offset and broker timestamp of the record that started it."""
    offset: int
    broker_at: int

    spent: int = 0
    """Counted time up to ``since``."""
    since: int = 0
    """Counting since then; -1: held."""
    due: int = 0
    """First instant at which counted time reaches the target; 0 while that is unknown (held, with time left)."""
    runs_on: int = FOREVER
    """Counted time exceeds the target from directly after this instant: when a breach is."""
    over: bool = False
    """Counted time has exceeded the target: nothing that stands later in the fold changes that."""
    warned: int = 0
    """Thresholds dealt with, from the first."""
    warn_at: int = FOREVER
    by: str = ""
    """transfer_response: who transferred."""
    request: int = 0
    """transfer_response: the request whose ``queued`` started it."""

    end: int = End.OPEN
    ended_at: int = 0
    elapsed: int = 0
    """Counted time when it was met."""
    agent: str = ""
    reason: str = ""
    end_topic: int = 0
    end_offset: int = -1
    known_until: int = FOREVER
    """A due instant from here on is a guess: the calendar does not know its holidays."""
    channel: str = ""
    priority: int = 50
    sla_at: int = 0
    """The policies are those in force at this instant; 0: at the start."""
    hours_at: int = 0
    """The same of the calendar."""


Name = int | str
"""What a clock is called inside its conversation; see ``policy.tell``."""


class Told(Struct, array_like=True, gc=False):
    """What ``sla.v1`` was last told of a clock, enough to take it back, and how often each type was used."""

    metric: int
    started_at: int
    complaint: str
    shop: str
    tier: str
    policy_id: str
    version: int
    target_s: float
    calendar: str
    end: int = End.OPEN
    due: int = 0
    met_at: int = 0
    agent: str = ""
    warnings: tuple[float, ...] = ()
    met: int = 0
    breached: int = 0
    cancelled: int = 0
    retracted: int = 0
    known_until: int = FOREVER
    retargeted: tuple[int, ...] = ()
    """Instants at which it took a new version, as far as told."""


class Walk(Struct, array_like=True):
    """Where the fold stands. Everything is of the *place* reached, not of the time at which records were read."""

    place: int = 0
    live: bool = False
    """Opened by a message, not closed since."""
    owner: str = ""
    owner_assignment: int = 0
    """0: he owns by a message alone."""
    owner_request: int = 0
    offer: int = 0
    """The open offer's assignment."""
    offer_agent: str = ""
    offer_request: int = 0
    requests: list[int] = field(default_factory=list)
    """Queued and not released."""
    bridged: bool = False
    """Between a hand-over or a transfer and the request that follows."""
    ended_requests: set[int] = field(default_factory=set)
    ended_assignments: set[int] = field(default_factory=set)
    held: bool = False
    tier: str = ""
    channel: str = ""
    priority: int = 50
    transfers: dict[int, str] = field(default_factory=dict)
    """Instant → who asked for a transfer then."""
    transferred_by: str = ""
    owners: list[tuple[int, str]] = field(default_factory=list)
    """Place → owner from there on."""
    clocks: list[Clock | None] = field(default_factory=lambda: [None] * 5)
    """The open clock of each metric but complaint_closure."""
    complaints: dict[str, Clock] = field(default_factory=dict)
    """The open clocks of complaint_closure."""
    last_start: list[int] = field(default_factory=lambda: [-(2**62)] * 5)
    """Places only grow in a walk, so "at the started_at of an ended one" is "at that of the last"."""
    complaint_starts: dict[str, int] = field(default_factory=dict)
    priorities: dict[int, int] = field(default_factory=dict)
    """Request → priority of its last ``queued``."""
    holds: list[tuple[int, int]] = field(default_factory=list)
    """Place → place of its end; ``FOREVER`` while it lasts."""
    reevaluated: int = 0
    """Up to here open clocks have taken the versions that were applied for them, too."""


class Shadow(Struct, array_like=True):
    """The side of the shop's candidate policy: the same facts, other targets. Nothing of it is told on ``sla.v1``."""

    walk: Walk = field(default_factory=Walk)
    pending: list[Clock] = field(default_factory=list)
    told: dict[Name, Told] = field(default_factory=dict)
    """What would have been told."""
    wake: int = FOREVER
    recorded: set[Name] = field(default_factory=set)
    """Clocks that have a row."""


class ReminderRule(NamedTuple):
    after_us: int
    every_us: int
    times: int


class ReminderRules(NamedTuple):
    """Of a shop at one instant, and the hours in which they count; None: none of that kind."""

    unread: ReminderRule | None
    unanswered: ReminderRule | None
    hours: Hours


class Nudged(Struct, array_like=True, gc=False):
    """How often was reminded of one message."""

    n: int = 0
    since: int = 0
    """From where the present owner's reminders count."""
    ticks: int = 0
    """How many of them have come."""


class Nudges(Struct, array_like=True):
    """What is known for reminders. Everything is of messages that wait."""

    names: dict[int, str] = field(default_factory=dict)
    """Message → its id as it is written."""
    reads: dict[str, int] = field(default_factory=dict)
    """Agent → place up to which he has read."""
    unread: dict[int, Nudged] = field(default_factory=dict)
    unanswered: dict[int, Nudged] = field(default_factory=dict)
    wake: int = FOREVER
    """The next one's instant."""


class Nudge(NamedTuple):
    """One reminder to say."""

    kind: str
    """unread | unanswered"""
    message_id: str
    since: int
    n: int
    agent: str


class Side(Protocol):
    """What one fold over a conversation's facts has come to: the live one (``State``) or the candidate's (``Shadow``)."""

    walk: Walk
    pending: list[Clock]
    told: dict[Name, Told]
    wake: int


class State(Struct, array_like=True):
    """One conversation."""

    seen: Seen = field(default_factory=Seen)
    shop: str = ""
    """That of its first ``message.received`` in the log."""
    facts: list[Fact] = field(default_factory=list)
    """In fold order."""
    ignored: dict[int, int] = field(default_factory=dict)
    """Message → ``Ignored``."""
    requests: set[int] = field(default_factory=set)
    """Whose first ``queued`` has been read."""
    orphans: set[int] = field(default_factory=set)
    """Messages that an answer named before they were read."""
    refusals: bool = False
    """A ``queue_full`` has been read."""
    walk: Walk = field(default_factory=Walk)
    pending: list[Clock] = field(default_factory=list)
    """Ended past their target, but the watermark does not yet allow to say so."""
    told: dict[Name, Told] = field(default_factory=dict)
    wake: int = FOREVER
    shadow: Shadow | None = None
    """Once a record came while the shop had a candidate policy."""
    overdue: set[Name] = field(default_factory=set)
    """Clocks that have a row among the overdue: breached, and nobody has stopped them yet."""
    nudges: Nudges | None = None
    """Once a message came while some shop had reminders."""


class Word(Enum):
    """What is said of a clock; the values are event types."""

    WARNING = "sla.warning.v1"
    MET = "sla.met.v1"
    BREACHED = "sla.breached.v1"
    CANCELLED = "sla.cancelled.v1"
    RETRACTED = "sla.breach_retracted.v1"
    RETARGETED = "sla.retargeted.v1"


class Telling(NamedTuple):
    """One decision: what to say. ``subject`` has the clock's fields, as they stand or as they were told."""

    word: Word
    about: Clock | Told
    n: int
    """The how-manieth of its type about this clock."""
    due: int
    agent: str = ""
    reason: Reason | None = None
    met_at: int = 0
    elapsed: int = 0
    threshold: float = 0.0
    cause: tuple[int, int] | None = None
    """(topic, offset) of the record that decided it; None: time did."""
    actions: tuple[str, ...] = ()
    """What a warning or a breach asks for."""


class Standing(NamedTuple):
    """One side's word on a clock, as it stands."""

    state: str
    """open | met | breached | cancelled"""
    policy_id: str
    target_s: float
    due_at: int
    """0: not known, the clock is held."""
    met_at: int
    """0: not met."""


class ShadowClock(NamedTuple):
    """A clock that started while the shop had a candidate policy: what becomes of it by either."""

    clock_id: str
    subject: str
    lane: int
    shop: str
    metric: str
    tier: str
    version: int
    complaint: str
    started_at: int
    live: Standing | None
    """None: no such clock on this side."""
    candidate: Standing | None


class Overdue(NamedTuple):
    """A clock whose breach stands told and that nobody has stopped; ``due_at`` 0: it is not so any more."""

    lane: int
    subject: str
    clock: str
    """Its name inside the conversation."""
    metric: str
    due_at: int
    shop: str


class OverdueCount(NamedTuple):
    """The overdue clocks of one metric in one shop."""

    metric: str
    shop: str
    """Empty: not known."""
    clocks: int
    oldest: int
    """The earliest ``due_at`` among them."""
