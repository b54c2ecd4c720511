"""Customers, the gateway and agents, played against a running stack.

One loop of 20 ms: what is due is written and sent, what the stack says on ``routing.v1`` and ``replies.v1`` becomes
things to do later. A conversation is a ``Talk``; everything random is drawn from the plan's seed.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.load import dirt
from tests.load.agents import Desk
from tests.load.corpus import Corpus
from tests.load.envelopes import Draft, Gateway, Shape
from tests.load.listener import Listener
from tests.load.sender import Sender
from tests.load.talks import Talk, complaints, messages

_TICK_S = 0.02
_RECORDS_PER_TALK = 9
"""About so many records a conversation makes, reactions included: it turns a rate of records into one of talks."""
_QUIET_S = 5.0
_MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Plan:
    """``records``: when so many have been sent no conversation begins any more; those under way are finished."""

    seed: int
    records: int
    agents: tuple[str, ...]
    rate: float = 200.0
    """Records a second that are aimed at."""
    shape: Shape = field(default_factory=Shape)
    settle_s: float = 60.0
    """At most so long conversations under way may take to come to an end."""
    at_desk_s: tuple[float, float] = (5.0, 60.0)
    """Between how many seconds an agent is there before he leaves."""
    away_s: tuple[float, float] = (0.5, 8.0)


class Traffic:
    """``await Traffic(plan, bootstrap_servers, prefix).run()`` returns when the plan is done and nothing moves."""

    def __init__(self, plan: Plan, bootstrap_servers: str, topic_prefix: str = "") -> None:
        self.plan = plan
        self.chance = random.Random(f"traffic {plan.seed}")
        self.gateway = Gateway(plan.shape, self.chance)
        self.corpus = Corpus.from_environment()
        self.talks: dict[str, Talk] = {}
        self.counts: Counter[str] = Counter()
        self._sender = Sender(bootstrap_servers, topic_prefix)
        self._listener = Listener(bootstrap_servers, topic_prefix)
        self._desk = Desk(self)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._out: list[Draft] = []
        self._recent: list[Draft] = []
        self._moved = 0.0
        self._stopped = False

    def stop(self) -> None:
        """No new conversation begins; those under way are finished."""
        self._stopped = True

    @property
    def sent(self) -> int:
        return sum(self._sender.sent.values())

    def now(self) -> int:
        """µs."""
        return time.time_ns() // 1000

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._order, action))

    def put(self, draft: Draft) -> None:
        """Send with the next batch; where the plan has dirt, sometimes with something that should not be there."""
        self._out.append(draft)
        self._moved = time.monotonic()
        if self.chance.random() < self.plan.shape.dirt_share:
            self._dirty(draft)

    async def run(self, played: Callable[[], None] = lambda: None) -> Counter[str]:
        """Counts of what was done, by kind. ``played`` is called when no new conversation will begin any more."""
        async with self._sender, self._listener:
            self._desk.open()
            await self._play()
            played()
            self._desk.everybody_online()
            await self._settle()
            self._desk.everybody_online()
            await self._flush()
        self.counts["sent"] = self.sent
        return self.counts

    async def _play(self) -> None:
        started = time.monotonic()
        begun = 0
        while not self._stopped and self.sent + len(self._out) < self.plan.records:
            due = (time.monotonic() - started) * self.plan.rate / _RECORDS_PER_TALK
            while begun < due:
                self._begin(begun)
                begun += 1
            await self._tick()
        self.counts["talks"] = begun

    async def _settle(self) -> None:
        """Until nothing has been said or done for a while."""
        deadline = time.monotonic() + self.plan.settle_s
        self._desk.calm = True
        while time.monotonic() < deadline and (self._due or time.monotonic() - self._moved < _QUIET_S):
            await self._tick()

    async def _tick(self) -> None:
        began = time.monotonic()
        for event in await self._listener.read():
            self._moved = began
            self._desk.hear(event)
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        await self._flush()
        await asyncio.sleep(max(0.0, _TICK_S - (time.monotonic() - began)))

    async def _flush(self) -> None:
        out, self._out = self._out, []
        if out:
            await self._sender.send(out)

    def _begin(self, number: int) -> None:
        chance = self.chance
        shape = self.plan.shape
        unknown = chance.random() < shape.unknown_shop_share
        shop = "nobody-configured-this-shop" if unknown else chance.choice(shape.shops)
        subject = f"t{self.plan.seed}-{number}"
        talk = Talk(subject, shop, self.gateway.customer(number))
        self.talks[subject] = talk
        messages(self, talk)
        if chance.random() < shape.complaint_share:
            complaints(self, talk)

    # --- dirt ----------------------------------------------------------------------------------------------------

    def _dirty(self, draft: Draft) -> None:
        chance = self.chance
        self._recent.append(draft)
        del self._recent[:-200]
        self._order += 1
        subject = (draft.key or b"nobody").decode(errors="replace")
        at = self.now()
        draw = chance.random()
        if draw < 0.35:
            kind, bad = dirt.any_invalid(chance, subject, str(self._order), at)
            self._count_and_send(f"invalid: {kind}", bad)
        elif draw < 0.5:
            kind, odd = dirt.any_valid(chance, subject, str(self._order), at)
            self._count_and_send(f"odd: {kind}", odd)
        elif draw < 0.75:
            again = chance.choice(self._recent)
            self.later(chance.uniform(0, 8), lambda: self._count_and_send("duplicate", again))
        elif subject in self.talks:
            self._strange_time(self.talks[subject], draw)

    def _count_and_send(self, kind: str, draft: Draft) -> None:
        self.counts[kind] += 1
        self._out.append(draft)

    def _strange_time(self, talk: Talk, draw: float) -> None:
        """A message that comes minutes late, out of order, from the future, from long ago, or twice by its name."""
        chance = self.chance
        if draw < 0.81:
            off = -chance.uniform(0.5, 10) * _MINUTE_US
        elif draw < 0.87:
            off = chance.choice((chance.uniform(1, 4.9) / 60, 60, 600)) * _MINUTE_US
        elif draw < 0.9:
            off = -chance.uniform(8, 400) * 1440 * _MINUTE_US
        elif draw < 0.95:
            made = self.message(talk, self.now())
            self.counts["out of order"] += 1
            self.later(chance.uniform(0.2, 3), lambda: self._out.append(made))
            return
        else:
            talk.said -= 1  # the name of the last message once more, under a new id
            self._count_and_send("same message_id", self.message(talk, self.now()))
            return
        self._count_and_send("strange time", self.message(talk, self.now() + round(off)))

    def message(self, talk: Talk, at: int) -> Draft:
        """The customer's next message, not sent yet."""
        talk.said += 1
        text = self.corpus.customer(self.chance)
        return self.gateway.message(
            talk.subject, at, shop=talk.shop, customer=talk.customer, number=talk.said, text=text
        )

    def event(self, talk: Talk, type_: str, **data: Any) -> None:
        """Something of this conversation, now, less up to 50 ms on its way."""
        at = self.now() - self.chance.randrange(50_000)
        self.put(self.gateway.event(type_, talk.subject, at, shop_id=talk.shop, **data))
