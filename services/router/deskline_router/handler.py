"""Gather, decide, apply: one unit of work of the router (``deskline.work.Consumer``).

Gather takes the conversations of the unit, and, if something may be decided, the lock, what others changed since, and
the statuses of agents. ``policy.decide`` decides. Apply writes conversations, then everything shared in one statement.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from deskline.clock import DAY, SECOND
from deskline.config.book import ConfigBook
from deskline.postgres import Connection
from deskline.records import CONVERSATIONS, REPLIES, SLA, Event
from deskline.state_store import StateStore, due_conversations
from deskline.work import Ripe, Tx, Work
from deskline_router.catalog import BookCatalog
from deskline_router.feed import STALE_AFTER, AgentFeed, Taken
from deskline_router.metrics import Metrics
from deskline_router.model import Action, Conversation, Customer, Fate, Input, State
from deskline_router.policy import Unit, World, decide, wakes_at
from deskline_router.policy.agents import grace_ends
from deskline_router.policy.conversation import HANDLERS, LEFT_REASONS, due, stated
from deskline_router.policy.people import covered
from deskline_router.store import Core, LogRow, Owner, Store
from deskline_router.telling import id_of, output, pause_id, pause_output, read, surge_id, surge_output

_LOG_KEPT: Final = 8 * DAY
"""The log is for replays of recent days; a day more than the age at which event times are no longer believed."""
_RETRY: Final = 50_000
"""µs: a grace that the lane's watermark allows but that of ``agents.v1`` does not yet is looked at again so soon."""
_CACHED: Final = 50_000
_ACTIONS_AT_ONCE: Final = 100
_SHOPS_LANE: Final = 0
"""Whose owner publishes what is about no conversation, whoever has decided it: two surges or pauses in a row stay in their order."""
_KNOWN: Final = 100_000
_KNOWN_FOR: Final = 60 * SECOND
"""What is recorded of a customer, read so long ago, is asked for anew: where two instances hear him say two things in turn, the
record is right within this time."""


class _Shared(NamedTuple):
    """The locked part of a unit's snapshot."""

    core: Core
    statuses: Taken
    watermark: int
    fresh: bool


class Owners:
    """Who owns what without an assignment, in the lanes of this instance."""

    def __init__(self, by_subject: dict[str, Owner]) -> None:
        self._by_subject: dict[str, Owner] = {}
        self._by_agent: dict[str, dict[str, Owner]] = {}
        for subject, owner in by_subject.items():
            self.put(subject, owner)

    def get(self, subject: str) -> Owner | None:
        return self._by_subject.get(subject)

    def of(self, agent_id: str) -> Iterable[tuple[str, Owner]]:
        return self._by_agent.get(agent_id, {}).items()

    def put(self, subject: str, owner: Owner | None) -> None:
        """None: nobody owns it any more."""
        before = self._by_subject.pop(subject, None)
        if before is not None:
            del self._by_agent[before.agent_id][subject]
        if owner is not None:
            self._by_subject[subject] = owner
            self._by_agent.setdefault(owner.agent_id, {})[subject] = owner


class _Grace(NamedTuple):
    subject: str
    lane: int
    since: int
    ends: int


class Router:
    """``deskline.work.Consumer``."""

    name = "router"
    topics: tuple[str, ...] = (CONVERSATIONS, REPLIES, SLA)
    shared_outbox = True

    def __init__(self, store: Store, book: ConfigBook, feed: AgentFeed, metrics: Metrics) -> None:
        self.world: World
        self._store = store
        self._catalog = BookCatalog(book)
        self._feed = feed
        self._metrics = metrics
        self._states = StateStore(Conversation, _CACHED)
        self._lanes: frozenset[int] = frozenset()
        self._offsets: list[int] | None = None
        self._asked = True
        """There may be actions that nobody has decided."""
        self._acting: frozenset[str] = frozenset()
        """Conversations about which there are, to be decided with the next timers of their lanes."""
        self._forget()

    def _forget(self) -> None:
        """Begin with an empty mirror: what is in memory is not what is in the database."""
        self.world = World(self._catalog)
        self._version = -1
        self._synced = False
        self._owners: Owners | None = None
        self._told_orphans: dict[str, int] = {}
        self._offsets = None
        self._wakes_at: int | None = None
        self._known: dict[tuple[str, str], Customer] = {}
        self._known_since = 0
        self._metrics.world = self.world

    # --- one unit -----------------------------------------------------------------------------------------------

    async def process(self, tx: Tx, work: Work) -> None:
        # gather
        events = [
            (event.partition, read(event))
            for event in work.events
            if event.topic == CONVERSATIONS or (event.type in HANDLERS and not _silent_clock(event))
        ]
        keys = dict.fromkeys((lane, item.event.subject) for lane, item in events)
        keys.update(dict.fromkeys((lane, subject) for subject, lane in work.due.items()))
        actions = await self._ordered(tx, work.due)
        states = await self._states.load(tx.connection, keys)
        conversations = {key[1]: states.get(key) or Conversation() for key in keys}
        if self._catalog.move_to(work.now):
            self.world.configuration_changed()
        shared = None
        if not (self._synced and keys):
            await self._sync(tx, await self._store.look(tx.connection))
        customers = None
        if actions or self._may_decide(events, conversations, work):
            shared = await self._gather_shared(tx, work)
            customers = await self._store.customers(tx.connection, _customers(events, conversations))
        world = self.world
        world.conversations, world.customers = conversations, customers
        # decide
        unit = Unit(now=work.now, events=events, due=work.due, watermarks=work.watermarks, locked=shared is not None)
        actions = await self._store.undecided(tx.connection, actions)
        if shared is not None:
            unit = unit._replace(
                statuses=shared.statuses.changes,
                agents_watermark=shared.watermark,
                agents_fresh=shared.fresh,
                actions=actions,
                lane=_SHOPS_LANE,
            )
        decide(world, unit)
        # apply
        lanes = {subject: lane for lane, subject in keys}
        await self._apply_conversations(tx, lanes)
        if shared is not None:
            await self._apply_shared(tx, work, unit, shared)
        elif world.dirty_requests or world.dirty_agents or world.dirty_shops or world.dirty_customers:
            raise AssertionError("a unit without the lock decided about a request")

    async def _ordered(self, tx: Tx, due: Mapping[str, int]) -> list[Action]:
        """What people have ordered and this unit decides. About no conversation: whoever is first. About one: only as a timer
        of its lane, so that the engine has fenced the lane; others are made due.
        """
        if not (self._lanes and (self._asked or self._acting & due.keys())):
            return []
        found = await self._store.waiting_actions(tx.connection, self._lanes, _ACTIONS_AT_ONCE)
        now: list[Action] = []
        later: dict[str, int] = {}
        for action in found:
            if action.subject is None or action.subject in due:
                now.append(action)
            elif action.lane is not None:
                later[action.subject] = action.lane
        self._asked = len(found) == _ACTIONS_AT_ONCE
        self._acting = frozenset(later)
        for lane in later.values():
            tx.next_due(lane, 0)
        return now

    def _may_decide(
        self, events: Iterable[tuple[int, Input]], conversations: Mapping[str, Conversation], work: Work
    ) -> bool:
        """False where only conversations' own state can change: then others need not wait for this unit."""
        if work.due or self.world.pending_shops or self._feed.waiting or self._woken(work.now):
            return True
        world, known = self.world, self._fresh_customers(work.now)
        return any(may_decide(world, item, conversations[item.event.subject], known) for _, item in events)

    def _woken(self, now: int) -> bool:
        return self._wakes_at is not None and self._wakes_at <= now

    def _fresh_customers(self, now: int) -> Mapping[tuple[str, str], Customer]:
        """What is recorded of customers as it was read lately: others may have learned something else since."""
        if now > self._known_since + _KNOWN_FOR or len(self._known) > _KNOWN:
            self._known, self._known_since = {}, now
        return self._known

    async def _gather_shared(self, tx: Tx, work: Work) -> _Shared:
        # Rather a moment here, where nobody waits for us, than a unit that can assign nobody.
        await self._feed.fresh(work.now - STALE_AFTER)
        core = await self._store.lock(tx.connection)
        await self._sync(tx, core)
        # The watermark first: everything up to it is in the feed.
        watermark = self._feed.watermark
        statuses = self._feed.take(core.agent_offsets)
        fresh = statuses.complete and watermark >= work.now - STALE_AFTER
        return _Shared(core, statuses, watermark, fresh)

    async def _sync(self, tx: Tx, core: Core) -> None:
        """Bring the mirror up to what others have committed."""
        changed = [] if core.version == self._version else await self._read(tx.connection, core)
        self._synced = True
        for subject in changed:
            request = self.world.requests.get(subject)
            if request is not None and request.due is not None and request.lane in self._lanes:
                tx.next_due(request.lane, request.due)

    async def _read(self, connection: Connection, core: Core) -> list[str]:
        world = self.world
        agents, requests, shops, whole = await self._store.changes(connection, core, self._version)
        if whole:
            self._forget()
            world = self.world
        for state in shops:
            world.put_shop(state)
        for agent in agents:
            world.put_agent(agent)
        for request in requests:
            world.put_request(request)
        self._version = core.version
        if whole:
            # What others left unmatched when they went is not known.
            world.pending_shops.update(world.queues)
        return [request.subject for request in requests]

    # --- apply --------------------------------------------------------------------------------------------------

    async def _apply_conversations(self, tx: Tx, lanes: Mapping[str, int]) -> None:
        world = self.world
        changed = []
        for subject in world.dirty_conversations:
            conversation, lane = world.conversations[subject], lanes[subject]
            instant = due(conversation)
            if instant is not None:
                tx.next_due(lane, instant)
            changed.append((lane, subject, instant, conversation))
        await self._states.save(tx.connection, changed)
        owners = await self._known_owners(tx.connection)
        moved: dict[str, tuple[int, Owner | None]] = {}
        for lane, subject, _, conversation in changed:
            owner = None
            if conversation.owner is not None:
                owner = Owner(lane, conversation.owner, conversation.shop_id or "")
            if owners.get(subject) != owner:
                moved[subject] = (lane, owner)
        await self._store.save_owners(tx.connection, moved)
        for subject, (_, owner) in moved.items():
            owners.put(subject, owner)
            self._told_orphans.pop(subject, None)

    async def _apply_shared(self, tx: Tx, work: Work, unit: Unit, shared: _Shared) -> None:
        world = self.world
        outputs = []
        for emission in world.emissions:
            identity = id_of(emission)
            outputs.append(identity)
            tx.emit(emission.lane, output(emission, identity))
        for pause in world.pauses:
            identity = pause_id(pause)
            outputs.append(identity)
            tx.emit(pause.lane, pause_output(pause, identity))
        for word in world.surges:
            identity = surge_id(word)
            outputs.append(identity)
            tx.emit(word.lane, surge_output(word, identity))
        for request in world.dirty_requests.values():
            if request.due is not None and request.lane in self._lanes:
                tx.next_due(request.lane, request.due)
        for grace in self._graces(self._lanes):
            tx.next_due(grace.lane, grace.ends)
        # Also where others have applied them: they are done with.
        self._offsets = shared.statuses.offsets
        moved = shared.statuses.offsets != list(shared.core.agent_offsets)
        await self._store.decided(tx.connection, world.outcomes, work.now)
        shops = [world.shops[shop_id] for shop_id in world.dirty_shops]
        if not (world.dirty_requests or world.dirty_agents or shops or world.dirty_customers or moved):
            return
        core = shared.core._replace(version=shared.core.version + 1, agent_offsets=shared.statuses.offsets)
        log = LogRow(
            now=work.now,
            inputs=[*shared.statuses.ranges, *_ranges(work, self.topics, unit.actions)],
            timers=list(work.due.items()),
            watermarks=work.watermarks,
            agents_watermark=unit.agents_watermark,
            agents_fresh=unit.agents_fresh,
            outputs=outputs,
            actions=[action._asdict() for action in unit.actions],
        )
        agents = [world.agents[agent_id] for agent_id in world.dirty_agents]
        await self._store.apply(tx.connection, core, agents, list(world.dirty_requests.values()), log)
        await self._store.save_shops(tx.connection, core.version, shops)
        await self._store.save_customers(tx.connection, world.dirty_customers.values(), work.now)
        await self._store.save_served(tx.connection, world.served)
        if world.shadows:
            await self._store.record_shadows(tx.connection, world.shadows)
        await self._store.purge(tx.connection, core, work.now - _LOG_KEPT)
        self._version = core.version

    # --- timers -------------------------------------------------------------------------------------------------

    async def due(
        self, connection: Connection, ripe: Mapping[int, Ripe], limit: int
    ) -> tuple[Mapping[str, int], Mapping[int, int]]:
        """Patience of messages, offers and steps of requests, grace of agents who are offline."""
        watermarks = {lane: one.watermark for lane, one in ripe.items()}
        found, remaining = await due_conversations(connection, ripe, limit)
        more, later = await self._store.due(connection, watermarks, limit)
        if self._version < 0:
            await self._read(connection, await self._store.look(connection))
        await self._known_owners(connection)
        over = self._over(watermarks) if limit else {}
        if limit and self._acting:
            ordered = await self._store.waiting_actions(connection, watermarks, _ACTIONS_AT_ONCE)
            more |= {a.subject: a.lane for a in ordered if a.subject is not None and a.lane is not None}
        instants = list(later.items())
        # The lane's watermark may allow what that of agents.v1 does not yet.
        instants += [
            (grace.lane, max(grace.ends, watermarks[grace.lane] + _RETRY))
            for grace in self._graces(watermarks)
            if grace.subject not in over
        ]
        for lane, instant in instants:
            remaining[lane] = min(instant, remaining.get(lane, instant))
        return found | more | over, remaining

    def _over(self, lanes: Iterable[int]) -> dict[str, int]:
        """Subject → lane where a grace is over: the watermark of ``agents.v1`` has reached its end."""
        over: dict[str, int] = {}
        for grace in self._graces(lanes):
            if grace.ends <= self._feed.watermark:
                over[grace.subject] = grace.lane
                self._told_orphans[grace.subject] = grace.since
        return over

    def _graces(self, lanes: Iterable[int]) -> Iterator[_Grace]:
        """What agents who are offline hold or own in these lanes, as far as it has not been dealt with."""
        world, lanes = self.world, frozenset(lanes)
        away = {
            agent_id: agent.offline_since for agent_id, agent in world.agents.items() if agent.offline_since is not None
        }
        for agent_id, since in away.items():
            for subject in world.live.get(agent_id, ()):
                request = world.requests[subject]
                ends = grace_ends(world, request)
                if ends is not None and request.lane in lanes:
                    yield _Grace(subject, request.lane, since, ends)
            for subject, owner in self._owners.of(agent_id) if self._owners is not None else ():
                if owner.lane in lanes and self._told_orphans.get(subject) != since:
                    grace_s = self._catalog.shop(owner.shop_id).limits.offline_grace_s
                    yield _Grace(subject, owner.lane, since, since + round(grace_s * SECOND))

    async def _known_owners(self, connection: Connection) -> Owners:
        if self._owners is None:
            self._owners = Owners(await self._store.owners(connection, self._lanes))
        return self._owners

    # --- life of a unit -----------------------------------------------------------------------------------------

    def committed(self) -> None:
        self._states.committed()
        if self._offsets is not None:
            self._feed.applied(self._offsets)
        self._metrics.told(self.world.emissions)
        self._metrics.compared(self.world.shadows)
        self._metrics.estimated(self.world.errors)
        self._known.update(self.world.customers or {})
        self.world.begin(self.world.now)
        self._wakes_at = wakes_at(self.world)

    def aborted(self) -> None:
        self._states.aborted()
        self._forget()

    def lanes_changed(self, lanes: frozenset[int]) -> None:
        self._states.keep(lanes)
        self._lanes = lanes
        self._owners = None
        self._told_orphans = {}
        # Whoever had these lanes has changed their requests, and may have left something unmatched.
        self._synced = False
        self._asked = True
        self.look_again()

    def look_again(self) -> None:
        """Match every queue anew with the next unit, and look for what people have ordered."""
        self._asked = True
        self.world.pending_shops.update(self.world.queues)

    def asked(self) -> None:
        """Somebody has ordered something: the next unit reads it."""
        self._asked = True

    def wants_unit(self) -> bool:
        """Somebody may be assigned, or statuses be applied, although no record of a lane has come."""
        if self._feed.waiting or self._woken(self._feed.watermark):
            return True
        return bool(self.world.pending_shops) and self._feed.watermark >= self.world.now - STALE_AFTER


def may_decide(
    world: World, item: Input, conversation: Conversation, known: Mapping[tuple[str, str], Customer]
) -> bool:
    """The mirror's request is as good as the row: the owner of its lane alone opens, accepts and ends it; others only take
    it from the queue, or put an offer back there: what is not queued or offered here is not so anywhere.

    ``known``: what is recorded of customers, as far as it has been read.
    """
    event = item.event
    request = world.requests.get(event.subject)
    match event.type:
        case "message.received.v1":
            # An outcome that was read before its message may be silence.
            turns = request is not None and world.weighs_turns(request)
            return bool(conversation.early) or turns or _news(event, conversation, known)
        case "message.sent.v1":
            unheld = request is not None and (request.state is not State.HELD or world.weighs_turns(request))
            return unheld and bool(event.data.author.kind == "agent")
        case "reply.issued.v1":
            return item.stated is not None and event.broker_at > item.stated
        case "message.ignored.v1":
            return request is None and event.data.reason in LEFT_REASONS
        case "conversation.closed.v1":
            return request is not None or any(message.fate is Fate.COUNTED for message in conversation.messages)
        case _:
            return event.type in HANDLERS


def _news(event: Event, conversation: Conversation, known: Mapping[tuple[str, str], Customer]) -> bool:
    """The message says something of its customer that is not recorded."""
    him = event.data.customer
    if him.tier is him.total_spend is him.average_order is him.order_count is him.dedicated_agent_id is None:
        return False
    customer = known.get((conversation.shop_id or event.data.shop_id, him.customer_id))
    return customer is None or not covered(customer, stated(event.data))


def _customers(events: Iterable[tuple[int, Input]], conversations: Mapping[str, Conversation]) -> set[tuple[str, str]]:
    """(shop, customer) of all conversations of the unit."""
    found = {
        (conversation.shop_id, conversation.customer_id)
        for conversation in conversations.values()
        if conversation.shop_id is not None and conversation.customer_id is not None
    }
    for _, item in events:
        if item.event.type == "message.received.v1":
            shop = conversations[item.event.subject].shop_id or item.event.data.shop_id
            found.add((shop, item.event.data.customer.customer_id))
    return found


def _silent_clock(event: Event) -> bool:
    """A clock's event that orders nothing."""
    return event.topic == SLA and not event.data.actions


def _ranges(work: Work, topics: Sequence[str], actions: Sequence[Action]) -> list[tuple[str, int, int, int]]:
    """The records of the unit as (topic, partition, from, to), in the order in which they counted; then, of the other topics
    of its lanes, how far they have been read, as empty ranges: what stands below decided nothing, and counts before this unit.
    """
    found: list[tuple[str, int, int, int]] = []
    for record in work.records:
        if found and found[-1][:2] == (record.topic, record.partition):
            found[-1] = (record.topic, record.partition, found[-1][2], record.offset + 1)
        else:
            found.append((record.topic, record.partition, record.offset, record.offset + 1))
    there = {entry[:2] for entry in found}
    ordered = [action.lane for action in actions if action.lane is not None]
    for lane in dict.fromkeys([*(record.partition for record in work.records), *work.due.values(), *ordered]):
        for topic in topics:
            at = work.positions.get((topic, lane))
            if at is not None and (topic, lane) not in there:
                found.append((topic, lane, at, at))
    return found
