"""One unit of work of one conversation: gather the facts, decide each message in log order, apply.

``Autoreply`` is a ``deskline.conversations.Folding``. The engine gives the routing records of a unit before the
conversation records, so ``positions[routing.v1]`` is how far routing.v1 had been read at every decision of the unit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec
import structlog

from deskline import ids
from deskline.clock import parse_rfc3339, rfc3339
from deskline.config.rule_templates import plain
from deskline.duplicates import Seen
from deskline.events.models import HandoverRequested, MessageFlagged, MessageIgnored, ReplyIssued, Suggestion
from deskline.events.wire import encode, new
from deskline.folding import deep_text
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Event, Output
from deskline.text import fold, readable
from deskline_autoreply.achievements_store import Rest, Resting, load_resting
from deskline_autoreply.knowledge.answers import Context as Asking
from deskline_autoreply.model import SECOND, URGENT, Answered, Decision, HandedOver, Ignore, Ignored, Said
from deskline_autoreply.policy import history as facts
from deskline_autoreply.policy import requests as routing
from deskline_autoreply.policy.achievements import hits_of, hits_of_rating
from deskline_autoreply.policy.border import NOTHING_KNOWN, Message, decide
from deskline_autoreply.policy.history import History
from deskline_autoreply.policy.manners import digests, is_echo
from deskline_autoreply.policy.requests import Requests
from deskline_autoreply.policy.rules import Asked
from deskline_autoreply.policy.sensitive import Direction, Finding
from deskline_autoreply.policy.shadow import ShadowDecision, Tried, beside, is_compared, is_recorded, word_of
from deskline_autoreply.policy.standing import is_owned, request_is_open
from deskline_autoreply.versions import Versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deskline.config.book import ConfigBook
    from deskline.conversations import Context
    from deskline.postgres import Connection
    from deskline_autoreply.knowledge.answers import Answer
    from deskline_autoreply.policy.rules import Compiled

log = structlog.get_logger(__name__)

SOURCE: Final = "/deskline/autoreply"
RECEIVED: Final = "message.received.v1"
# Contract §5: sla and this service take a customer without a tier as regular.
_NO_TIER: Final = "regular"
# Records of some units that were fetched and never decided here: their lanes went to another instance.
_MOST_FORESEEN: Final = 50_000


class State(msgspec.Struct):
    """What is kept of a conversation."""

    seen: Seen = msgspec.field(default_factory=Seen)
    history: History = msgspec.field(default_factory=History)
    requests: Requests = msgspec.field(default_factory=Requests)


class Autoreply:
    """For metrics: ``count(decision)`` is called once for every decision, ``delayed(event, now)`` for every message decided,
    ``count_other_shop()`` for every event that states another shop than its conversation's first message. A redone unit
    calls again.
    """

    name = "autoreply"
    topics: tuple[str, ...] = (ROUTING, CONVERSATIONS)
    state = State

    def __init__(
        self,
        config: ConfigBook,
        count: Callable[[Decision], None],
        count_other_shop: Callable[[], None] = lambda: None,
        delayed: Callable[[Event, int], None] = lambda _event, _now: None,
    ) -> None:
        self._versions = Versions(config)
        self._count = count
        self._count_other_shop = count_other_shop
        self._delayed = delayed
        self._foreseen: dict[tuple[str, int, int], asyncio.Task[None] | None] = {}
        """(topic, partition, offset) → what encodes its text and its neighbours'; None where none of them needs it."""

    @property
    def versions(self) -> Versions:
        return self._versions

    def fresh(self, subject: str) -> State:  # noqa: ARG002
        return State()

    def due(self, state: State) -> int | None:  # noqa: ARG002
        """Nothing happens by time alone: silence is the router's to judge."""
        return None

    def settle(self, now: int, event: Event) -> int | None:
        """Whether this record must wait until routing.v1 of its lane has been read to its end (contract §4, *Silence*),
        and up to which broker timestamp its own topic must be held then: to the end of its patience. What was written
        later than that met a request, of which routing.v1 tells.

        ``now`` is that of the unit that would decide it.
        """
        if event.type != RECEIVED:
            return None
        patience = self._versions.durations(event.data.shop_id, event.at, event.broker_at).limits.patience
        return event.broker_at + patience if max(now, event.at) - event.broker_at > patience else None

    def advance(self, subject: str, state: State, events: Sequence[Event], context: Context) -> list[Output]:
        outputs: list[Output] = []
        for event in events:
            if not state.seen.first(event):
                continue
            if event.topic == ROUTING:
                _follow_routing(state.requests, event)
                continue
            shop = state.history.shop
            if shop and event.data.shop_id != shop:
                self._flag_other_shop(event, shop)
            if event.type == RECEIVED:
                self._answer(subject, state, event, context, outputs)
            else:
                _follow_conversation(state.history, event)
                if event.type == "message.sent.v1" and event.data.author.kind == "agent":
                    outputs += self._screen(subject, state.history.shop or event.data.shop_id, event, context)
                if event.type == "conversation.rated.v1":
                    for hit in hits_of_rating(state.history, event.data.score, context.lane):
                        context.effect(hit)
        return outputs

    def _flag_other_shop(self, event: Event, shop: str) -> None:
        """Contract §3: it is handled under the conversation's own shop, counted and flagged. Here, for all services."""
        self._count_other_shop()
        log.warning(
            "an event states another shop than its conversation's",
            subject=event.subject,
            shop=shop,
            stated=event.data.shop_id,
            type=event.type,
            record=event.coordinates,
        )

    def _answer(self, subject: str, state: State, event: Event, context: Context, outputs: list[Output]) -> None:
        # gather
        data, history = event.data, state.history
        shop = history.shop = history.shop or data.shop_id
        at, broker_at = event.at, event.broker_at
        version, rules = self._versions.rules(shop, at, broker_at)
        durations = self._versions.durations(shop, at, broker_at)
        text = fold(data.text)
        turn, written = facts.arrive(history, data.message_id, at, facts.digest(text))
        behind = context.ahead.get(subject)
        if behind and not written:
            news = [other for other in behind if other.offset > event.offset and not state.seen.knows(other)]
            written = facts.taken_care_of(event, news, broker_at + durations.limits.patience)
        asked = self._asked(event, shop, rules, text, first_message=not history.opened_at)
        time = max(context.now, at)
        customer = data.customer.customer_id
        resting = context.gathered if isinstance(context.gathered, Resting) else Resting()
        message = Message(
            subject,
            turn,
            broker_at,
            written,
            asked,
            customer,
            self._values(event, shop, state) if rules.needs_values else {},
            resting.at(shop, customer, at, rules.cooldowns) if rules.cooldowns else frozenset(),
            nobody=rules.is_bot(customer) or is_echo(history.said, data.text, turn.digest),
            ask=self._asking(event, history, rules),
            suggest=rules.document.knowledge.suggestions,
            question=data.text,
            found=rules.filter.look(data.text, "inbound"),
        )
        # decide
        decision = decide(message, history, state.requests, rules, durations.limits, time=time)
        # apply
        if rules.candidate is not None or rules.shadow:
            row = ShadowDecision(
                subject, data.message_id, Tried.SHOP, context.lane, at, shop, version, word_of(decision)
            )
            if is_recorded(decision, rules, at):
                context.effect(row)
            if rules.candidate is not None and is_compared(decision):
                asked = self._asked(event, shop, rules.candidate, text, first_message=asked.first_message)
                message = message._replace(
                    asked=asked,
                    found=rules.candidate.filter.look(data.text, "inbound"),
                    values=self._values(event, shop, state),
                    resting=resting.at(shop, customer, at, rules.candidate.cooldowns),
                    ask=self._asking(event, history, rules.candidate),
                    suggest=rules.candidate.document.knowledge.suggestions,
                    nobody=rules.candidate.is_bot(customer) or is_echo(history.said, data.text, turn.digest),
                )
                would = decide(message, history, state.requests, rules.candidate, durations.limits, time=time)
                context.effect(beside(row, would))
        self._keep_in_mind(event, history, rules)
        facts.remember(history, turn, decision, time)
        for hit in hits_of(decision, history, at, context.lane):
            context.effect(hit)
        reply, rule_id = _sent(decision)
        if reply is not None:
            facts.say(history, at, digests(reply.text))
            facts.offer(history, at, reply.offers)
            if reply.entry_id is not None and reply.entry_id == history.product:
                history.mind_at = at  # it was about what is in mind
            if rule_id is not None and rule_id in rules.cooldowns:
                rest = Rest(shop, customer, rule_id, at + rules.cooldowns[rule_id])
                resting.add(rest)
                context.effect(rest)
        if not isinstance(decision, Ignored) or decision.instead_of is None:
            facts.tag(history, decision.tagged.tags)
        self._count(decision)
        self._delayed(event, context.now)
        common = {"shop_id": shop, "rules_version": version, "routing_offset": context.positions[ROUTING]}
        outputs += _Telling(subject, event, common, time, time + durations.deliver_by).outputs(decision, message.found)

    def _screen(self, subject: str, shop: str, event: Event, context: Context) -> list[Output]:
        """What an agent wrote has reached the customer: it can be told and masked on screens, not blocked."""
        version, rules = self._versions.rules(shop, event.at, event.broker_at)
        found = rules.filter.look(event.data.text, "outbound")
        if found is None:
            return []
        if found.action == "blocked":
            found = found._replace(action="masked")
        common = {"shop_id": shop, "rules_version": version, "routing_offset": context.positions[ROUTING]}
        time = max(context.now, event.at)
        return [_Telling(subject, event, common, time, time).flagged(found, "outbound", 1)]

    def _asking(self, event: Event, history: History, rules: Compiled) -> Callable[[bool], Answer]:
        """Asks the knowledge base only if somebody wants to know."""
        index = self._versions.knowledge(rules.document)
        if index is None:
            return NOTHING_KNOWN
        window = round(rules.document.knowledge.follow_up_minutes * 60 * SECOND)
        item, _ = facts.in_mind(history, event.at, window)
        offered = tuple(history.offered) if abs(event.at - history.offered_at) <= window else ()
        asked = Asking(event.data.product_id, item, offered)
        return lambda waiting: index.answer(event.data.text, event.at, asked, waiting=waiting)

    def _keep_in_mind(self, event: Event, history: History, rules: Compiled) -> None:
        index = self._versions.knowledge(rules.document)
        named = "" if index is None else index.item_of(event.data.text, event.at, event.data.product_id)
        facts.keep_in_mind(history, event.at, named or event.data.product_id or "", event.data.order_id or "")

    async def gather(
        self, connection: Connection, events: Sequence[Event], states: Mapping[tuple[int, str], State]
    ) -> Resting:
        """Which rules rest for the customers of this unit, where rules have a cooldown at all."""
        await self._encoded(events, states)
        customers = {
            (shop, event.data.customer.customer_id)
            for event in events
            if event.type == RECEIVED
            and self._versions.rules(shop := _shop_of(event, states), event.at, event.broker_at)[1].cooldowns
        }
        return await load_resting(connection, customers) if customers else Resting()

    def foresee(self, events: Sequence[Event], states: Mapping[tuple[int, str], State]) -> None:
        """Begin the sentence vectors of records that come next, in another thread: it takes most of a busy unit's time.

        It saves time and nothing else: what is decided does not depend on it.
        """
        try:
            texts = self.to_be_compared(events, states)
        except Exception as error:  # noqa: BLE001 - whatever it is, the unit that has this record will meet it, and knows what to do
            log.warning("the next records were not looked at beforehand", error=type(error).__name__)
            return
        task = asyncio.create_task(_encode(texts)) if texts else None
        if len(self._foreseen) > _MOST_FORESEEN:
            self._foreseen.clear()
        self._foreseen.update(((event.topic, event.partition, event.offset), task) for event in events)

    async def _encoded(self, events: Sequence[Event], states: Mapping[tuple[int, str], State]) -> None:
        """The vectors of this unit's texts are there, but for few that nobody foresaw."""
        new: list[Event] = []
        tasks: set[asyncio.Task[None]] = set()
        for event in events:
            try:
                task = self._foreseen.pop((event.topic, event.partition, event.offset))
            except KeyError:
                new.append(event)
            else:
                if task is not None:
                    tasks.add(task)
        texts = self.to_be_compared(new, states)
        if len(texts) > 1:
            await _encode(texts)
        for task in tasks:
            await task

    def to_be_compared(self, events: Sequence[Event], states: Mapping[tuple[int, str], State]) -> list[str]:
        """Texts of the unit that the knowledge base will most likely be asked, and compare by their meaning."""
        texts: list[str] = []
        met: set[str] = set()
        for event in events:
            if event.type != RECEIVED:
                continue
            data, subject = event.data, event.subject
            state, shop = states.get((event.partition, subject)), _shop_of(event, states)
            rules = self._versions.rules(shop, event.at, event.broker_at)[1]
            index = self._versions.knowledge(rules.document)
            if index is None:
                continue
            waiting = subject in met  # the message before this one was answered, or handed over
            met.add(subject)
            if state is not None:
                turn = facts.Turn(data.message_id, event.at, 0)
                if is_owned(subject, state.history, state.requests, turn):
                    continue
                waiting = waiting or request_is_open(subject, state.history, state.requests, turn)
            if not index.needs_vector(data.text, waiting=False):
                continue
            first = state is None or not state.history.opened_at
            rule = rules.first(self._asked(event, shop, rules, fold(data.text), first_message=first))
            if rule is None:
                asked = not waiting or index.needs_vector(data.text, waiting=True)
            else:  # for the suggestions that a hand-over carries
                asked = rule.handover is not None and (not waiting or rule.handover.reason in URGENT)
            if asked:
                texts.append(data.text)
        return texts

    def _values(self, event: Event, shop: str, state: State) -> dict[str, str | None]:
        """Of the variables that replies may use; what customers and gateways state is made plain."""
        data = event.data
        document = self._versions.rules(shop, event.at, event.broker_at)[1].document
        window = round(document.knowledge.follow_up_minutes * 60 * SECOND)
        product, order = facts.in_mind(state.history, event.at, window)
        position = routing.queue_position(state.requests)
        return {
            "customer_name": plain(data.customer.name),
            "order_id": plain(data.order_id or order or None),
            "product": plain(data.product_id or product or None),
            "agent_hours": self._versions.agent_hours(shop, event.at, event.broker_at),
            "queue_position": None if position is None else str(position),
            "coupon": None,
        }

    def _asked(self, event: Event, shop: str, rules: Compiled, text: str, *, first_message: bool) -> Asked:
        """What these rules may look at; ``text``: as the contract folds it."""
        data, at, broker_at = event.data, event.at, event.broker_at
        return Asked(
            text=deep_text(data.text),
            plain=text,
            readable=readable(data.text) if rules.needs_readable else "",
            is_open=rules.needs_hours and self._versions.is_open(shop, at, broker_at),
            first_message=first_message,
            attachment=bool(data.attachments),
            tier=data.customer.tier or _NO_TIER,
            channel=data.channel,
            entry_point=data.entry_point,
            language=data.language,
            attachment_kinds=frozenset(attachment.kind for attachment in data.attachments or ()),
            order=bool(data.order_id),
            product=bool(data.product_id),
            surge=self._versions.in_surge(shop, at),
            moment=self._versions.moment(shop, at, broker_at, rules.calendars) if rules.needs_moment else None,
        )


def _shop_of(event: Event, states: Mapping[tuple[int, str], State]) -> str:
    """The conversation's, where it is known already: an event may state another one."""
    state = states.get((event.partition, event.subject))
    return str((state.history.shop if state is not None else "") or event.data.shop_id)


async def _encode(texts: Sequence[str]) -> None:
    # Only here, because it brings numpy.
    from deskline_autoreply.knowledge.vectors import encoder  # noqa: PLC0415

    await asyncio.to_thread(encoder().foresee, texts)


class _Telling:
    """A decision as events."""

    __slots__ = ("common", "deliver_by", "event", "subject", "time")

    def __init__(self, subject: str, event: Event, common: dict[str, Any], time: int, deliver_by: int) -> None:
        self.subject, self.event, self.common, self.time, self.deliver_by = subject, event, common, time, deliver_by

    def outputs(self, decision: Decision, found: Finding | None) -> list[Output]:
        """The outcome, and around it what is said of sensitive words: the customer's before it, ours behind."""
        inbound = [] if found is None else [self.flagged(found, "inbound", 1)]
        match decision:
            case Answered(screened=Finding() as screened) | HandedOver(screened=Finding() as screened):
                outbound = [self.flagged(screened, "outbound", len(inbound) + 1)]
            case _:
                outbound = []
        return [*inbound, *self._outcome(decision), *outbound]

    def flagged(self, found: Finding, direction: Direction, n: int) -> Output:
        """``n``: the how manieth of this message."""
        message_id = self.event.data.message_id
        data = new(
            MessageFlagged,
            **self.common,
            message_id=message_id,
            direction=direction,
            categories=found.categories,
            spans=found.spans,
            action=found.action,
            masked_text=found.masked_text,
        )
        return self._output("message.flagged.v1", message_id, data, n)

    def _outcome(self, decision: Decision) -> list[Output]:
        match decision:
            case Answered(reply=reply, rule_id=rule_id):
                return [self._reply(reply, rule_id, handover=False)]
            case HandedOver(reply=reply, rule_id=rule_id):
                holding = [] if reply is None else [self._reply(reply, rule_id, handover=True)]
                return [*holding, self._handover(decision)]
            case Ignored(reason=reason, rule_id=rule_id):
                if reason is Ignore.SHADOW:
                    self._record(decision)
                message_id = self.event.data.message_id
                data = new(MessageIgnored, **self.common, message_id=message_id, reason=reason.value, rule_id=rule_id)
                return [self._output("message.ignored.v1", message_id, data)]
            case _:
                assert_never(decision)

    def _reply(self, reply: Said, rule_id: str | None, *, handover: bool) -> Output:
        reply_id = ids.reply_id(self.subject, self.event.data.message_id)
        data = new(
            ReplyIssued,
            **self.common,
            reply_id=reply_id,
            in_reply_to=self.event.data.message_id,
            text=reply.text,
            kind=reply.kind,
            handover=handover,
            deliver_by=rfc3339(self.deliver_by),
            rule_id=rule_id,
            entry_id=reply.entry_id,
            confidence=reply.confidence,
        )
        return self._output("reply.issued.v1", reply_id, data)

    def _handover(self, decision: HandedOver) -> Output:
        message_id = self.event.data.message_id
        data = new(
            HandoverRequested,
            **self.common,
            message_id=message_id,
            waiting_since=rfc3339(decision.waiting_since),
            reason=decision.reason.value,
            skills=decision.handover.skills,
            language=self.event.data.language,
            priority=decision.handover.priority,
            flags=decision.handover.flags,
            suggestions=tuple(new(Suggestion, entry_id=entry, confidence=p) for entry, p in decision.suggestions)
            or None,
        )
        return self._output("handover.requested.v1", message_id, data)

    def _output(self, event_type: str, thing: str, data: Any, n: int = 1) -> Output:
        value = encode(
            event_type,
            id=ids.event_id(self.subject, event_type, thing, n),
            source=SOURCE,
            subject=self.subject,
            time=self.time,
            data=data,
        )
        return Output(REPLIES, self.subject.encode(), value, self.event.coordinates)

    def _record(self, decision: Ignored) -> None:
        would = decision.instead_of
        log.info(
            "shadow",
            subject=self.subject,
            message_id=self.event.data.message_id,
            would=type(would).__name__,
            reason=would.reason.value if would is not None else None,
            rule_id=None if would is None or isinstance(would, Ignored) else would.rule_id,
            rules_version=self.common["rules_version"],
        )


def _sent(decision: Decision) -> tuple[Said | None, str | None]:
    """What a decision sends to the customer, and which rule says it."""
    match decision:
        case Answered(reply=reply, rule_id=rule_id) | HandedOver(reply=reply, rule_id=rule_id):
            return reply, rule_id
        case Ignored():
            return None, None


def _follow_conversation(history: History, event: Event) -> None:
    """Everything in conversations.v1 that bears on later messages; what is not named here does not."""
    data, at = event.data, event.at
    match event.type:
        case "message.sent.v1":
            if data.author.kind == "agent":
                facts.speak(history, data.author.id, at, data.in_reply_to, event.broker_at)
        case "assignment.accepted.v1":
            facts.accept(history, data.assignment_id, data.agent_id, at, event.broker_at)
        case "transfer.requested.v1":
            facts.transfer(history, data.by_agent_id, at)
        case "complaint.opened.v1":
            facts.complain(history, event.id, at)
        case "conversation.closed.v1":
            facts.close(history, at)
        case _:
            pass


def _follow_routing(requests: Requests, event: Event) -> None:
    data, at = event.data, event.at
    requests.read_at = event.broker_at
    match event.type:
        case "conversation.queued.v1":
            routing.queue(requests, data, at, parse_rfc3339(data.waiting_since))
        case "conversation.assigned.v1":
            routing.assign(requests, data, at)
        case "assignment.expired.v1" | "assignment.revoked.v1":
            routing.take_back(requests, data, at)
        case "conversation.released.v1":
            routing.release(requests, data, at)
        case _:
            pass
