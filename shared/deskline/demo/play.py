"""The play: customers, agents and the gateway, told the time and what the stack said, giving the records to publish.

No clock and no I/O here: ``tick(now)`` and ``hear(event, now)`` are called with the time in µs, and what is random comes
from the plan's seed. All spans are the shop's (``speed`` times as long as ours), but for heartbeats and delivery, which
are machines' business.

How many conversations begin follows from how many the agents can serve: their typing, and the places at their desks.
A third of the way through comes a rush of more than that, so that a queue forms and clocks run out.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from deskline.clock import SECOND
from deskline.demo.gateway import Gateway
from deskline.demo.people import Staff
from deskline.demo.recorded import Conversation, is_chinese, typing_s
from deskline.demo.shops import CHINESE_SHOP, ENGLISH_SHOP, Shops
from deskline.demo.talks import Talk, Talks
from deskline.records import Event, Output

# Of what agents can serve: below it waits stay short, above it they grow. Between the second and the fourth ninth of
# the time, and else.
_RUSH: Final = (0.22, 0.45, 1.4)
_USUAL: Final = 0.8
# Thinking on top of typing, per answer; what fatigue, breaks and hand-overs add to all of it; the part of conversations
# that the rules answer alone.
_BESIDES_TYPING_S: Final = 5.0
_FRICTION: Final = 1.5
_BY_RULE: Final = 0.15
_AT_THE_DOOR: Final = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """``begins``, ``ends``: between them (µs) conversations begin."""

    run: str
    seed: int
    speed: float
    begins: int
    ends: int


class Play:
    def __init__(self, recorded: Sequence[Conversation], shops: Shops, plan: Plan) -> None:
        self.plan = plan
        # Not for secrets: the same seed has to give the same play.
        self.chance = random.Random(plan.seed)  # noqa: S311
        self.gateway = Gateway(plan.run)
        self.now = plan.begins
        self.begun = 0
        self._heard: set[str] = set()
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._out: list[Output] = []
        by_shop = _by_shop(recorded)
        self.shop_names = tuple(sorted(by_shop))
        self.staff = Staff(self, {shop: shops.of(shop) for shop in by_shop})
        self.talks = Talks(self)
        for shop, conversations in sorted(by_shop.items()):
            self._open(shop, conversations, shops)

    # --- what the run does --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Agents come to their desks."""
        self.staff.arrive()

    def tick(self, now: int) -> list[Output]:
        """What is due by now, as records in their order."""
        self.now = now
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        return self._taken()

    def hear(self, event: Event, now: int) -> None:
        """Something of ``replies.v1`` or ``routing.v1``. What was heard before, or is of other runs, does nothing."""
        talk = self.talks.of(event.subject)
        if talk is None or event.id in self._heard:
            return
        self._heard.add(event.id)
        self.now = now
        self.talks.hear(talk, event)
        self.staff.hear(talk, event)

    def close(self, now: int) -> list[Output]:
        """The gateway ends what is still open, and the agents go home. Nothing begins after this."""
        self.now = now
        self._due.clear()
        self.talks.close_all()
        self.staff.leave()
        return self._taken()

    @property
    def open_talks(self) -> int:
        return self.talks.open

    # --- what the parts use -------------------------------------------------------------------------------------

    def later(self, shop_s: float, action: Callable[[], None]) -> None:
        """After so many of the shop's seconds."""
        self.later_really(shop_s / self.plan.speed, action)

    def later_really(self, seconds: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (self.now + round(seconds * SECOND), self._order, action))

    def put(self, output: Output) -> None:
        self._out.append(output)

    def _taken(self) -> list[Output]:
        out, self._out = self._out, []
        return out

    # --- arrivals -----------------------------------------------------------------------------------------------

    def _open(self, shop: str, conversations: list[Conversation], shops: Shops) -> None:
        """Conversations of a shop begin at random, in random order, each again when all have been."""
        a_minute = conversations_a_minute(conversations, shops, shop)
        order: deque[Conversation] = deque()

        def begin() -> None:
            if not order:
                order.extend(self.chance.sample(conversations, len(conversations)))
            self.talks.begin(Talk(f"{self.plan.run}-{self.begun:05d}", shop, order.popleft()))
            self.begun += 1

        def go_on() -> None:
            if self.now < self.plan.ends:
                begin()
                self.later(self.chance.expovariate(a_minute * self._load() / 60), go_on)

        # The doors open, and some have been standing there.
        for _ in range(_AT_THE_DOOR):
            self.later_really(self.chance.uniform(0, 1), begin)
        self.later_really(self.chance.uniform(0, 1), go_on)

    def _load(self) -> float:
        gone = (self.now - self.plan.begins) / max(self.plan.ends - self.plan.begins, 1)
        begins, ends, load = _RUSH
        return load if begins <= gone < ends else _USUAL


def _by_shop(recorded: Sequence[Conversation]) -> dict[str, list[Conversation]]:
    found: dict[str, list[Conversation]] = {}
    for conversation in recorded:
        found.setdefault(conversation.shop or _shop_by_language(conversation), []).append(conversation)
    return found


def _shop_by_language(conversation: Conversation) -> str:
    return CHINESE_SHOP if is_chinese("".join(turn.text for turn in conversation.turns)) else ENGLISH_SHOP


def conversations_a_minute(conversations: Sequence[Conversation], shops: Shops, shop: str) -> float:
    """How many the agents of a shop can serve in one of its minutes: bound by their typing or by their places."""
    clerks = shops.of(shop)
    places = sum(clerk.capacity for clerk in clerks)
    typing = sum(_answering_s(conversation) for conversation in conversations) / len(conversations)
    lasting = sum(_lasting_s(conversation) for conversation in conversations) / len(conversations)
    by_hand = min(60 * len(clerks) / (_FRICTION * typing), 60 * places / (_FRICTION * lasting))
    return max(by_hand / (1 - _BY_RULE), 0.1)


def _answering_s(conversation: Conversation) -> float:
    answers = [turn for turn in conversation.turns if turn.by == "agent"]
    # Somebody has to answer the last word as well.
    return _BESIDES_TYPING_S + sum(_BESIDES_TYPING_S + min(typing_s(turn.text), 25.0) for turn in answers)


def _lasting_s(conversation: Conversation) -> float:
    customers = [index for index, turn in enumerate(conversation.turns) if turn.by == "customer"]
    return 30.0 + sum(conversation.gap_s(index) for index in customers) + _answering_s(conversation)
