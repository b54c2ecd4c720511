"""What the gateway publishes, as docs/contract.md says: strict envelopes with ids that follow from a count."""

from collections import Counter
from typing import Any, Final

from deskline.demo.recorded import Conversation, Turn, made_up
from deskline.events import models, wire
from deskline.records import AGENTS, CONVERSATIONS, Output

SOURCE: Final = "/gateway/demo"
BOT: Final = "assistant"


class Gateway:
    """Records of one run; its name is part of every conversation's id, so that runs on one stack do not meet."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.made: Counter[str] = Counter()
        """Records made, by topic."""
        self._counts: Counter[str] = Counter()

    def _event(self, type_: str, subject: str, at: int, data: Any, topic: str = CONVERSATIONS) -> Output:
        self._counts[subject] += 1
        self.made[topic] += 1
        identity = f"{self.run}-{subject}-{self._counts[subject]}"
        value = wire.encode(f"{type_}.v1", id=identity, source=SOURCE, subject=subject, time=at, data=data)
        return Output(topic, subject.encode(), value)

    def status(self, agent_id: str, status: str, at: int, reason: str | None = None) -> Output:
        data = wire.new(models.AgentStatusChanged, agent_id=agent_id, status=status, reason=reason)
        return self._event("agent.status_changed", agent_id, at, data, AGENTS)

    def message(
        self, subject: str, shop: str, recorded: Conversation, turn: Turn, at: int, *, message_id: str
    ) -> Output:
        attachments = (
            (wire.new(models.Attachment, kind=turn.attachment, url="https://example.invalid/attachment"),)
            if turn.attachment is not None
            else None
        )
        data = wire.new(
            models.MessageReceived,
            shop_id=shop,
            message_id=message_id,
            channel=recorded.channel or "web",
            entry_point=recorded.entry_point,
            text=_without_surrogates(turn.text),
            language=recorded.language,
            attachments=attachments,
            customer=_customer(recorded),
        )
        return self._event("message.received", subject, at, data)

    def sent(
        self,
        subject: str,
        shop: str,
        at: int,
        *,
        message_id: str,
        kind: str,
        author: str,
        text: str,
        in_reply_to: str | None,
        reply_id: str | None = None,
    ) -> Output:
        data = wire.new(
            models.MessageSent,
            shop_id=shop,
            message_id=message_id,
            author=wire.new(models.Author, kind=kind, id=author),
            text=_without_surrogates(text),
            in_reply_to=in_reply_to,
            reply_id=reply_id,
        )
        return self._event("message.sent", subject, at, data)

    def read(self, subject: str, shop: str, at: int, *, message_id: str, agent_id: str) -> Output:
        reader = wire.new(models.Reader, kind="agent", id=agent_id)
        data = wire.new(models.MessageRead, shop_id=shop, message_id=message_id, reader=reader)
        return self._event("message.read", subject, at, data)

    def answer_offer(
        self, subject: str, shop: str, at: int, *, take: bool, assignment_id: str, agent_id: str
    ) -> Output:
        model = models.AssignmentAccepted if take else models.AssignmentDeclined
        data = wire.new(model, shop_id=shop, assignment_id=assignment_id, agent_id=agent_id)
        return self._event("assignment.accepted" if take else "assignment.declined", subject, at, data)

    def transfer(self, subject: str, shop: str, at: int, *, agent_id: str, skill: str | None) -> Output:
        to = wire.new(models.TransferTarget, skills=(skill,)) if skill is not None else None
        data = wire.new(models.TransferRequested, shop_id=shop, by_agent_id=agent_id, to=to)
        return self._event("transfer.requested", subject, at, data)

    def held(self, subject: str, shop: str, at: int) -> Output:
        return self._event("conversation.held", subject, at, wire.new(models.ConversationHeld, shop_id=shop))

    def resumed(self, subject: str, shop: str, at: int) -> Output:
        return self._event("conversation.resumed", subject, at, wire.new(models.ConversationResumed, shop_id=shop))

    def complaint(self, subject: str, shop: str, at: int, *, complaint_id: str, category: str, closed: bool) -> Output:
        model = models.ComplaintClosed if closed else models.ComplaintOpened
        data = wire.new(model, shop_id=shop, complaint_id=complaint_id, category=category)
        return self._event("complaint.closed" if closed else "complaint.opened", subject, at, data)

    def closed(self, subject: str, shop: str, at: int, *, resolved: bool, kind: str, by: str) -> Output:
        party = wire.new(models.Party, kind=kind, id=by)
        data = wire.new(models.ConversationClosed, shop_id=shop, resolved=resolved, by=party)
        return self._event("conversation.closed", subject, at, data)

    def rated(self, subject: str, shop: str, at: int, *, score: int) -> Output:
        return self._event(
            "conversation.rated", subject, at, wire.new(models.ConversationRated, shop_id=shop, score=score)
        )

    def ordered(self, subject: str, shop: str, at: int, *, order_id: str, customer_id: str, amount: str) -> Output:
        data = wire.new(models.OrderPlaced, shop_id=shop, order_id=order_id, customer_id=customer_id, amount=amount)
        return self._event("order.placed", subject, at, data)


def customer_id_of(recorded: Conversation) -> str:
    stated = recorded.customer.customer_id if recorded.customer is not None else None
    return stated or f"of-{recorded.id}"[:128]


def _customer(recorded: Conversation) -> Any:
    if recorded.customer is None:
        known: dict[str, Any] = made_up(recorded.id)
    else:
        known = recorded.customer.model_dump(exclude_none=True, exclude={"customer_id"})
    return wire.new(models.Customer, customer_id=customer_id_of(recorded), **known)


def _without_surrogates(text: str) -> str:
    """JSON can spell halves of characters, which no event may hold."""
    return text.encode("utf-8", "replace").decode()
