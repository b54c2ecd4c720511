"""Conversations as their customers and the gateway carry them: say the next thing, wait for an answer, give up, end.

A customer's next line comes when the one before has been answered (by an agent, or by a delivered reply without a
hand-over) and the recorded time has passed. What the recorded agent said is left out where a rule answered instead.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deskline.clock import SECOND, parse_rfc3339
from deskline.demo.gateway import BOT, customer_id_of
from deskline.demo.recorded import Conversation, Turn
from deskline.records import Event

if TYPE_CHECKING:
    from deskline.demo.people import Agent
    from deskline.demo.play import Play

# A reply goes through the gateway's own channels; real, not the shop's time.
_DELIVERY_S: Final = 0.05
_AFTER_RULE_S: Final = (3.0, 10.0)
_WRAP_UP_S: Final = (4.0, 12.0)
_PATIENCE_S: Final = (240.0, 600.0)
# Above it a customer is displeased, above twice that angry.
_FINE_WAIT_S: Final = 60.0


@dataclass(slots=True, eq=False)
class Talk:
    subject: str
    shop: str
    recorded: Conversation
    index: int = 0
    """Of the next turn."""
    said: int = 0
    answers: int = 0
    typing: bool = False
    """The customer's next line is under way."""
    unanswered: str | None = None
    asked_at: dict[str, int] = field(default_factory=dict)
    agent_wrote_at: int = 0
    longest_wait: int = 0
    owner: "Agent | None" = None
    assignment: str | None = None
    request: str | None = None
    expects_word: bool = False
    """Somebody new has it, and has said nothing yet."""
    transferred: bool = False
    held: bool = False
    complaint: str | None = None
    closed: bool = False

    def next_by(self) -> str | None:
        turns = self.recorded.turns
        return turns[self.index].by if self.index < len(turns) else None

    def take_turn(self) -> Turn:
        self.index += 1
        return self.recorded.turns[self.index - 1]

    @property
    def first(self) -> bool:
        return self.answers == 0


class Talks:
    def __init__(self, play: "Play") -> None:
        self._play = play
        self._talks: dict[str, Talk] = {}
        self.open = 0

    def of(self, subject: str) -> Talk | None:
        return self._talks.get(subject)

    def begin(self, talk: Talk) -> None:
        self._talks[talk.subject] = talk
        self.open += 1
        self._speak(talk)

    def hear(self, talk: Talk, event: Event) -> None:
        data: Any = event.data
        match event.type:
            case "reply.issued.v1":
                self._play.later_really(_DELIVERY_S, lambda: self._deliver(talk, data))
            case "message.ignored.v1" if data.reason not in ("human_owned", "waiting"):
                self._settled(talk, data.message_id)
            case "conversation.queued.v1":
                talk.request = data.request_id
            case "conversation.released.v1" if data.request_id == talk.request:
                talk.request = None

    # --- the customer -------------------------------------------------------------------------------------------

    def _speak(self, talk: Talk) -> None:
        play = self._play
        talk.typing = False
        if talk.closed:
            return
        if talk.held:
            talk.held = False
            play.put(play.gateway.resumed(talk.subject, talk.shop, play.now))
        turn = talk.take_turn()
        talk.said += 1
        name = f"m{talk.said}"
        talk.unanswered = name
        talk.asked_at[name] = play.now
        play.put(play.gateway.message(talk.subject, talk.shop, talk.recorded, turn, play.now, message_id=name))
        if talk.recorded.complaint is not None and talk.complaint is None:
            talk.complaint = f"c-{talk.subject}"
            play.later(2.0, lambda: self._complain(talk, talk.recorded.complaint or "other"))
        play.later(play.chance.uniform(*_PATIENCE_S), lambda: self._lose_patience(talk, name))
        if talk.next_by() == "customer":
            self.type_next(talk)
        elif talk.owner is not None:
            play.staff.wants(talk.owner, talk)

    def type_next(self, talk: Talk, at_least_s: float = 0.0) -> None:
        """The customer's next line, after the recorded time."""
        if not talk.typing:
            talk.typing = True
            self._play.later(max(talk.recorded.gap_s(talk.index), at_least_s), lambda: self._speak(talk))

    def _complain(self, talk: Talk, category: str) -> None:
        if not talk.closed and talk.complaint is not None:
            self._play.put(
                self._play.gateway.complaint(
                    talk.subject,
                    talk.shop,
                    self._play.now,
                    complaint_id=talk.complaint,
                    category=category,
                    closed=False,
                )
            )

    def _lose_patience(self, talk: Talk, name: str) -> None:
        if talk.closed or talk.unanswered != name:
            return
        if self._play.chance.random() < 0.5:
            self._go_on(talk)
        else:
            self.close(talk, resolved=False, kind="system", by="timeout")

    # --- without an agent ---------------------------------------------------------------------------------------

    def _deliver(self, talk: Talk, reply: Any) -> None:
        """At most once, not after ``deliver_by``, and not when an agent has written since the message answered."""
        play = self._play
        asked_at = talk.asked_at.get(reply.in_reply_to, 0)
        if talk.closed or play.now > parse_rfc3339(reply.deliver_by) or talk.agent_wrote_at > asked_at:
            return
        play.put(
            play.gateway.sent(
                talk.subject, talk.shop, max(play.now, asked_at + 1), message_id=f"b-{reply.in_reply_to}", kind="bot",
                author=BOT, text=reply.text, in_reply_to=reply.in_reply_to, reply_id=reply.reply_id,
            )
        )  # fmt: skip
        if not reply.handover:
            self._settled(talk, reply.in_reply_to)

    def _settled(self, talk: Talk, name: str) -> None:
        """Nobody else answers this message; where no agent has the conversation or will have it, it goes on."""
        if talk.unanswered == name:
            talk.unanswered = None
            if talk.owner is None and talk.request is None:
                self._go_on(talk)

    def _go_on(self, talk: Talk) -> None:
        while talk.next_by() == "agent":
            talk.take_turn()
        if talk.next_by() == "customer":
            self.type_next(talk, self._play.chance.uniform(*_AFTER_RULE_S))
        else:
            self._play.later(self._play.chance.uniform(*_WRAP_UP_S), lambda: self._wrap_up(talk))

    def _wrap_up(self, talk: Talk) -> None:
        if talk.owner is None and talk.request is None:
            self.close(talk, resolved=True, kind="system", by="timeout")

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self, talk: Talk, *, resolved: bool, kind: str, by: str) -> None:
        if talk.closed:
            return
        play = self._play
        talk.closed = True
        self.open -= 1
        play.staff.forget(talk)
        play.put(play.gateway.closed(talk.subject, talk.shop, play.now, resolved=resolved, kind=kind, by=by))
        if talk.complaint is not None:
            category = talk.recorded.complaint or "other"
            play.put(
                play.gateway.complaint(
                    talk.subject, talk.shop, play.now + 1, complaint_id=talk.complaint, category=category, closed=True
                )
            )
        if play.chance.random() < 0.4:
            play.later(3.0, lambda: self._rate(talk, resolved=resolved))
        if resolved and play.chance.random() < 0.15:
            play.later(5.0, lambda: self._order(talk))

    def _rate(self, talk: Talk, *, resolved: bool) -> None:
        play = self._play
        waited_s = talk.longest_wait / SECOND * play.plan.speed
        score = 5 - (waited_s > _FINE_WAIT_S) - (waited_s > 2 * _FINE_WAIT_S) - (0 if resolved else 2)
        score -= play.chance.random() < 0.2
        play.put(play.gateway.rated(talk.subject, talk.shop, play.now, score=max(score, 1)))

    def _order(self, talk: Talk) -> None:
        play = self._play
        play.put(
            play.gateway.ordered(
                talk.subject, talk.shop, play.now, order_id=f"o-{talk.subject}",
                customer_id=customer_id_of(talk.recorded), amount=f"{play.chance.randrange(3000, 90000) / 100:.2f}",
            )
        )  # fmt: skip

    def close_all(self) -> None:
        for talk in self._talks.values():
            self.close(talk, resolved=False, kind="system", by="end-of-demo")
