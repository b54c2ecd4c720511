"""What a conversation's events mean for its request (contract §3 *Owner*, §4 *The request* and *Silence*). Pure.

Events come in the order in which the lane has them: ``conversations.v1`` before ``replies.v1`` where both are there.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from deskline.ids import request_id
from deskline.records import CONVERSATIONS
from deskline_router.model import (
    DEFAULT_PRIORITY,
    FACTS,
    SECOND,
    Cause,
    Conversation,
    Customer,
    Early,
    Fate,
    Input,
    Message,
    Profile,
    Request,
    State,
    Status,
    Word,
    place,
)
from deskline_router.policy import escalation, people, requests
from deskline_router.policy.table import Trigger, effect
from deskline_router.policy.world import World

_IGNORED: Final = {
    "human_owned": Word.LEFT,
    "waiting": Word.LEFT,
    "shadow": Word.LEFT,
    "empty": Word.EMPTY,
    "duplicate_text": Word.EMPTY,
    "cooldown": Word.EMPTY,
}
LEFT_REASONS: Final = frozenset(reason for reason, word in _IGNORED.items() if word is Word.LEFT)
_COUNTED: Final = frozenset({Word.HANDED, Word.LEFT, Word.UNHEARD})
"""Somebody is trusted to answer the message; when he is gone it counts as silence."""
_STATED: Final = (*FACTS, "entry_point", "channel")
_COMPLAINTS_KEPT: Final = 64
_MESSAGES_KEPT: Final = 32
"""Customer's messages remembered between two answers of agents; of a longer monologue those in the middle are
forgotten: the first says since when the customer waits, the last is what counts as silence."""
_EARLY_KEPT: Final = 64


def take(world: World, lane: int, item: Input) -> None:
    """Apply one event; a duplicate has no effect."""
    event = item.event
    conversation = world.conversations[event.subject]
    if not conversation.seen.first(event):
        return
    world.origin = event
    world.dirty_conversations.add(event.subject)
    handle = HANDLERS.get(event.type)
    if handle is not None:
        handle(world, conversation, lane, item)
    world.origin = None


# --- who has it -------------------------------------------------------------------------------------------------


def owner(world: World, conversation: Conversation, subject: str) -> str | None:
    """Contract §3, as far as this router has read and decided."""
    request = world.requests.get(subject)
    if request is not None and request.ever_held:
        return request.agent_id if request.state is State.HELD else None
    return conversation.owner


def customer_waits(conversation: Conversation, request: Request) -> bool:
    """No agent's message is later than the request's opening and the last customer's message."""
    return conversation.last_agent <= max(place(request.opened_at), place(conversation.last_received))


def _shop_of(conversation: Conversation, data: Any) -> str:
    return conversation.shop_id or str(data.shop_id)


# --- conversations.v1 -------------------------------------------------------------------------------------------


def _received(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    event, data = item.event, item.event.data
    if conversation.shop_id is None:
        conversation.shop_id = data.shop_id
    _learn(world, conversation, event.at, data)
    conversation.last_received = max(conversation.last_received, event.at)
    held = world.requests.get(event.subject)
    if held is not None and place(event.at) > conversation.last_agent:
        requests.turn(world, held, customer=False)
    early = conversation.early.pop(data.message_id, None)
    if early is not None:
        _learn_opening(world, event.subject, data.message_id, event.at)
    if event.at <= conversation.last_closed or place(event.at) < conversation.last_agent:
        return  # Superseded, or answered before it was read.
    limits = world.catalog.shop(conversation.shop_id).limits
    message = Message(
        message_id=data.message_id,
        at=event.at,
        offset=event.offset,
        deadline=event.broker_at + round(limits.patience_s * SECOND),
        language=data.language,
    )
    conversation.messages.append(message)
    _forget_old(conversation)
    if early is not None:
        _apply_word(conversation, message, early.word, early.broker_at)
        _judge_word(world, conversation, event.subject, lane, message, word=early.word)


def _learn_opening(world: World, subject: str, message_id: str, at: int) -> None:
    request = world.requests.get(subject)
    if request is not None and request.request_id == request_id(subject, "message", message_id):
        requests.learn_opening(world, request, at)


def stated(data: Any) -> Profile:
    """What one message says of the customer and of how he came in."""
    customer = data.customer
    return Profile(
        tier=customer.tier,
        total_spend=_amount(customer.total_spend),
        average_order=_amount(customer.average_order),
        orders=customer.order_count,
        dedicated=customer.dedicated_agent_id,
        entry_point=data.entry_point,
        channel=data.channel,
    )


def _learn(world: World, conversation: Conversation, at: int, data: Any) -> None:
    """The newest statement of each thing counts, in the conversation, and of the customer over all his conversations."""
    said, before = stated(data), conversation.profile
    conversation.profile = Profile(*(_newer(getattr(said, name), getattr(before, name)) for name in _STATED))
    conversation.customer_id = data.customer.customer_id
    if world.customers is None:
        return
    key = (_shop_of(conversation, data), data.customer.customer_id)
    customer = world.customers.get(key)
    if customer is None:
        customer = world.customers[key] = Customer(*key)
    if people.learn(customer, said, at):
        world.dirty_customers[key] = customer


def _newer(stated: Any, known: Any) -> Any:
    return known if stated is None else stated


def _amount(text: str | None) -> float | None:
    return None if text is None else float(text)


def _forget_old(conversation: Conversation) -> None:
    messages = conversation.messages
    while len(messages) > _MESSAGES_KEPT:
        done = (index for index, message in enumerate(messages) if message.fate is Fate.DONE)
        del messages[next(done, 1)]


def _sent(world: World, conversation: Conversation, _lane: int, item: Input) -> None:
    event, data = item.event, item.event.data
    if data.author.kind != "agent":
        return
    at = _place_of_answer(conversation, event.at, data.in_reply_to)
    conversation.last_agent = max(conversation.last_agent, at)
    conversation.last_author = data.author.id
    conversation.messages = [message for message in conversation.messages if place(message.at) >= at]
    request = world.requests.get(event.subject)
    if request is not None:
        if request.agent_id == data.author.id and effect(Trigger.ACCEPT, request.state):
            requests.accept(world, request)
        if request.agent_id == data.author.id and conversation.last_agent > place(conversation.last_received):
            requests.turn(world, request, customer=True)
    elif conversation.owner is None and conversation.open and at > place(conversation.last_closed):
        conversation.owner, conversation.owner_since = data.author.id, at // 2


def _place_of_answer(conversation: Conversation, at: int, in_reply_to: str | None) -> int:
    if in_reply_to is not None:
        for message in conversation.messages:
            if message.message_id == in_reply_to:
                return max(place(at), place(message.at) + 1)
    return place(at)


def _accepted(world: World, _conversation: Conversation, _lane: int, item: Input) -> None:
    request = _offer(world, item)
    if request is not None:
        requests.accept(world, request)


def _declined(world: World, _conversation: Conversation, _lane: int, item: Input) -> None:
    request = _offer(world, item)
    if request is not None:
        requests.put_back(world, request, Trigger.DECLINE)


def _offer(world: World, item: Input) -> Request | None:
    """The open offer that the agent's answer is about; None where by ``routing.v1`` he has none."""
    request, data = world.requests.get(item.event.subject), item.event.data
    if request is None or request.state is not State.OFFERED:
        return None
    same = request.assignment_id == data.assignment_id and request.agent_id == data.agent_id
    return request if same else None


class Wish(NamedTuple):
    """To whom a conversation is handed on; empty: whom the policy finds."""

    agent_id: str | None = None
    skills: tuple[str, ...] = ()
    grade: str | None = None


def _transfer(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    event, data = item.event, item.event.data
    if event.at <= conversation.last_closed or owner(world, conversation, event.subject) != data.by_agent_id:
        return
    if requests.used(conversation, "transfer", event.id):
        return
    to = data.to
    wish = Wish() if to is None else Wish(to.agent_id, tuple(to.skills or ()), to.grade)
    hand_on(
        world, conversation, event.subject, lane, by=data.by_agent_id, wish=wish, at=event.at,
        shop_id=_shop_of(conversation, data), opener=("transfer", event.id),
    )  # fmt: skip


def hand_on(
    world: World,
    conversation: Conversation,
    subject: str,
    lane: int,
    *,
    by: str,
    wish: Wish,
    at: int,
    shop_id: str,
    opener: tuple[str, str],
) -> Request | None:
    """The owner ``by`` has it no more; the new request, None where it waits for somebody already.

    Everybody who has handed it on, declined or lost it since the customer came is asked after everybody else, so that it does not
    go round among those who do not want it.
    """
    conversation.owner = None
    request = world.requests.get(subject)
    if request is not None:
        if effect(Trigger.TRANSFER, request.state) is None:
            return None  # He owned it without an assignment.
        requests.end(world, conversation, request, Trigger.TRANSFER)
    skills = list(wish.skills) or list(conversation.skills)
    opened = new_request(conversation, subject, lane, shop_id, Cause.TRANSFER, opened_at=at)
    opened.skills, opened.priority = skills, conversation.priority
    opened.transferrer, opened.refuses_limit = by, False
    if request is not None:
        opened.flags, opened.language = list(request.flags), request.language
        before = [*request.refused_by, *filter(None, [request.transferrer])]
        opened.refused_by = [name for name in dict.fromkeys(before) if name != wish.agent_id]
    opened.first_agent, opened.first_grade = wish.agent_id, wish.grade
    opened.first_skills = list(wish.skills) or None
    requests.open_request(world, conversation, opened, *opener)
    return opened


def _complaint_opened(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    """Whom it is about: who has the conversation, else who wrote in it last."""
    event, data = item.event, item.event.data
    request = world.requests.get(event.subject)
    about = owner(world, conversation, event.subject) or conversation.last_author
    if request is not None and request.state is State.OFFERED and about is None:
        about = request.agent_id
    if data.complaint_id not in conversation.complaints:
        _count_complaint(world, conversation, data)
        conversation.complaints[data.complaint_id] = about or ""
        for old in list(conversation.complaints)[:-_COMPLAINTS_KEPT]:
            del conversation.complaints[old]
    if request is not None:
        requests.join(
            world, conversation, request, skills=[], flags=["complaint"], priority=0, language=None, refusable=False
        )
        requests.complain(world, request, about)
        return
    if requests.used(conversation, "complaint", event.id):
        return
    opened = new_request(
        conversation, event.subject, lane, _shop_of(conversation, event.data), Cause.COMPLAINT, opened_at=event.at
    )
    opened.flags, opened.refuses_limit = ["complaint"], False
    requests.open_request(world, conversation, opened, "complaint", event.id)


def _count_complaint(world: World, conversation: Conversation, data: Any) -> None:
    if world.customers is None or conversation.customer_id is None:
        return
    key = (_shop_of(conversation, data), conversation.customer_id)
    customer = world.customers.get(key)
    if customer is None:
        customer = world.customers[key] = Customer(*key)
    customer.complaints += 1
    world.dirty_customers[key] = customer


def _complaint_closed(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    """It ends a request only in a conversation that is not open: there nothing else would."""
    conversation.complaints.pop(item.event.data.complaint_id, None)
    request = world.requests.get(item.event.subject)
    if request is None:
        return
    if not conversation.open and item.event.at >= request.opened_at:
        requests.end(world, conversation, request, Trigger.CLOSE)
        settle(world, conversation, item.event.subject, lane)
    else:
        requests.settle_complaint(world, request, conversation)


def _closed(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    """A close earlier than what opened the request does not end it; so too with an ownership by message."""
    subject, at = item.event.subject, item.event.at
    conversation.last_closed = max(conversation.last_closed, at)
    conversation.messages = [message for message in conversation.messages if message.at > conversation.last_closed]
    request = world.requests.get(subject)
    ended = request is not None and at >= request.opened_at
    if request is not None and ended:
        requests.end(world, conversation, request, Trigger.CLOSE)
    if conversation.owner is not None and at >= conversation.owner_since:
        conversation.owner = None
        ended = True
    if ended:
        settle(world, conversation, subject, lane)


# --- replies.v1 -------------------------------------------------------------------------------------------------


def _handed_over(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    event, data = item.event, item.event.data
    waiting_since = event.at if item.stated is None else item.stated
    message = _outcome(conversation, item, data.message_id, Word.HANDED)
    opened_at = waiting_since if message is None else message.at
    if opened_at <= conversation.last_closed:
        early = conversation.early.get(data.message_id)
        if early is not None:
            # Not read yet, it may still be later than that close; then it is silence when it is read.
            early.word = Word.UNHEARD
        return
    request = world.requests.get(event.subject)
    if request is not None:
        requests.join(
            world,
            conversation,
            request,
            skills=list(data.skills),
            flags=list(data.flags),
            priority=data.priority,
            language=data.language,
        )
    elif not requests.used(conversation, "message", data.message_id):
        opened = new_request(
            conversation, event.subject, lane, _shop_of(conversation, data), Cause.HANDOVER, opened_at=opened_at
        )
        opened.waiting_since, opened.priority = waiting_since, data.priority
        opened.skills, opened.flags = list(dict.fromkeys(data.skills)), list(dict.fromkeys(data.flags))
        opened.language, opened.first_agent = data.language, conversation.owner
        requests.open_request(world, conversation, opened, "message", data.message_id)


def _replied(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    event, data = item.event, item.event.data
    if data.handover:
        return  # The hand-over that comes with it is the word on the message.
    word = Word.UNHEARD if item.stated is not None and event.broker_at > item.stated else Word.ANSWERED
    message = _outcome(conversation, item, data.in_reply_to, word)
    if message is not None:
        _judge_word(world, conversation, event.subject, lane, message, word=word)


def _ignored(world: World, conversation: Conversation, lane: int, item: Input) -> None:
    data = item.event.data
    # A reason of a later release is "other": nothing is known to be wrong with that.
    word = _IGNORED.get(data.reason, Word.PAST)
    message = _outcome(conversation, item, data.message_id, word)
    if message is not None:
        _judge_word(world, conversation, item.event.subject, lane, message, word=word)


def _outcome(conversation: Conversation, item: Input, message_id: str, word: Word) -> Message | None:
    """Note the outcome of a message; None where it has not been read, or was answered or ended before."""
    broker_at = item.event.broker_at
    for message in conversation.messages:
        if message.message_id == message_id:
            _apply_word(conversation, message, word, broker_at)
            return message
    if not conversation.seen.has_counted(CONVERSATIONS, "message.received.v1", message_id):
        conversation.early[message_id] = Early(broker_at, word)
        if len(conversation.early) > _EARLY_KEPT:
            del conversation.early[next(iter(conversation.early))]
    return None


def _apply_word(conversation: Conversation, message: Message, word: Word, broker_at: int) -> None:
    """One that comes after the message's patience leaves it ``AWAITING``: its silence is judged all the same, when the
    watermark is there. What has been handed over stays so, whatever else is said of it.
    """
    if broker_at <= message.deadline and message.fate is not Fate.COUNTED:
        message.fate = Fate.COUNTED if word in _COUNTED else Fate.DONE
    if word is Word.EMPTY:
        message.answered = True
    elif word is Word.ANSWERED:
        for other in conversation.messages:
            other.answered = other.answered or other.offset <= message.offset


# --- silence ----------------------------------------------------------------------------------------------------


def _judge_word(
    world: World, conversation: Conversation, subject: str, lane: int, message: Message, *, word: Word
) -> None:
    """What is silence at once: a reply that nobody got, what was left to somebody who is not there, and what had been
    handed over before it was read, to a request that a close has ended since.
    """
    if word in (Word.UNHEARD, Word.HANDED) or (
        word is Word.LEFT and not _owner_is_online(world, conversation, subject)
    ):
        silence(world, conversation, subject, lane, message)


def _owner_is_online(world: World, conversation: Conversation, subject: str) -> bool:
    """Of the owner without an assignment; where a request is open, nothing is silence anyway."""
    agent = world.agents.get(owner(world, conversation, subject) or "")
    return agent is not None and agent.status is Status.ONLINE


def silence(world: World, conversation: Conversation, subject: str, lane: int, message: Message) -> None:
    """The message was met with silence: it opens a request, unless it has one or has been answered."""
    message.fate = Fate.COUNTED
    answered = conversation.last_agent > place(message.at) or conversation.last_closed >= message.at
    if answered or subject in world.requests or requests.used(conversation, "message", message.message_id):
        return
    opened = new_request(
        conversation, subject, lane, conversation.shop_id or "", Cause.NO_AUTOREPLY, opened_at=message.at
    )
    opened.waiting_since = min(
        (other.at for other in conversation.messages if other.offset <= message.offset and not other.answered),
        default=message.at,
    )
    opened.language, opened.first_agent = message.language, conversation.owner
    requests.open_request(world, conversation, opened, "message", message.message_id)


def settle(world: World, conversation: Conversation, subject: str, lane: int) -> None:
    """Whoever had the conversation has it no more: the last message that he was trusted to answer is silence now.

    Only one that is later than the last agent's message; those at or before a close are no longer here.
    """
    left = [m for m in conversation.messages if m.fate is Fate.COUNTED and place(m.at) > conversation.last_agent]
    if left:
        last = max(left, key=lambda message: (message.at, message.offset))
        silence(world, conversation, subject, lane, last)


# --- timers -----------------------------------------------------------------------------------------------------


def due(conversation: Conversation) -> int | None:
    """When the patience with a message of this conversation ends."""
    return min((m.deadline for m in conversation.messages if m.fate is Fate.AWAITING), default=None)


def judge_silence(world: World, subject: str, lane: int, watermark: int) -> None:
    conversation = world.conversations[subject]
    for message in list(conversation.messages):
        if message.fate is Fate.AWAITING and message.deadline <= watermark:
            world.dirty_conversations.add(subject)
            silence(world, conversation, subject, lane, message)


def orphaned(world: World, subject: str, lane: int, agents_watermark: int) -> None:
    """An owner without an assignment has been offline for the grace: what he left unanswered is silence."""
    conversation = world.conversations[subject]
    if conversation.owner is None or subject in world.requests or conversation.shop_id is None:
        return
    agent = world.agents.get(conversation.owner)
    if agent is None or agent.offline_since is None:
        return
    grace = round(world.catalog.shop(conversation.shop_id).limits.offline_grace_s * SECOND)
    if agent.offline_since + grace <= agents_watermark:
        settle(world, conversation, subject, lane)


# --- sla.v1 -----------------------------------------------------------------------------------------------------


def _clock(world: World, conversation: Conversation, _lane: int, item: Input) -> None:
    request = world.requests.get(item.event.subject)
    if request is not None:
        answered = not customer_waits(conversation, request)
        escalation.act(world, request, item.event.data, answered=answered)


def new_request(
    conversation: Conversation, subject: str, lane: int, shop_id: str, cause: Cause, *, opened_at: int
) -> Request:
    return Request(
        request_id="",
        subject=subject,
        lane=lane,
        shop_id=shop_id,
        cause=cause,
        opened_at=opened_at,
        waiting_since=opened_at,
        priority=DEFAULT_PRIORITY,
        skills=[],
        flags=[],
        profile=conversation.profile,
        latest=opened_at,
    )


Handler = Callable[[World, Conversation, int, Input], None]
HANDLERS: Final[dict[str, Handler]] = {
    "message.received.v1": _received,
    "message.sent.v1": _sent,
    "assignment.accepted.v1": _accepted,
    "assignment.declined.v1": _declined,
    "transfer.requested.v1": _transfer,
    "complaint.opened.v1": _complaint_opened,
    "complaint.closed.v1": _complaint_closed,
    "conversation.closed.v1": _closed,
    "handover.requested.v1": _handed_over,
    "reply.issued.v1": _replied,
    "message.ignored.v1": _ignored,
    "sla.warning.v1": _clock,
    "sla.breached.v1": _clock,
}
