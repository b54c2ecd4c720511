"""A shop's people and customers at their own pace: calm, a festival of four times the arrivals, calm again. Told and plotted.

``make load`` plays it in small (a minute each, 300 conversations at a time, 60 agents); ``make load ARGS=--long`` as a festival is: ten
minutes each, 1 000 conversations at a time with 200 agents. ``make soak`` plays the calm alone and looks for what grows.

A customer writes, reads the answer, and writes again or goes. Of the calm's customers two in five ask what rules answer; those whom the
festival brings on top ask about the promotion, nine of ten times, and its templates answer while the surge lasts. Agents type one
answer after the other. A seed fixes everything random.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.load.envelopes import Draft, Gateway, Shape
from tests.load.festival_config import everybody
from tests.load.listener import Listener
from tests.load.sender import Sender

SHOP = "节日店"
_TICK_S = 0.05
_HEARTBEAT_S = 20.0
LASTS_S = 82.0
"""About so long a conversation is under way: with it a number of conversations at a time becomes arrivals a second."""
_FAQ = ("什么时候发货", "发什么快递", "怎么退货", "有优惠吗")
_PROMOTION = ("活动什么时候开始", "满减怎么算", "定金能退吗")
_PERSON = ("我的订单有问题想问一下", "这件衣服和上次的不一样", "帮我看看这个能不能改地址", "收到的东西少了一件")


@dataclass(frozen=True)
class Plan:
    seed: int
    agents: int
    """Who work every day; half as many again are in reserve."""
    at_once: int
    """Conversations under way in the calm."""
    phases: tuple[tuple[str, float, float], ...]
    """(name, seconds, arrivals as a multiple of the calm's)."""
    ramp_s: float = 15.0
    """From one phase's arrivals to the next's."""

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds, _ in self.phases)

    def factor(self, at_s: float) -> float:
        begin, before = 0.0, self.phases[0][2]
        for _, seconds, factor in self.phases:
            if at_s < begin + seconds:
                part = min(1.0, (at_s - begin) / self.ramp_s) if self.ramp_s else 1.0
                return before + (factor - before) * part
            begin, before = begin + seconds, factor
        return 0.0

    def phase(self, at_s: float) -> str:
        begin = 0.0
        for name, seconds, _ in self.phases:
            if at_s < begin + seconds:
                return name
            begin += seconds
        return self.phases[-1][0]


@dataclass
class _Talk:
    subject: str
    customer: dict[str, Any]
    promotion: bool
    left: int
    said: int = 0
    wrote: int = 0
    assignment: str | None = None
    agent: str | None = None
    open: bool = True


@dataclass
class Festival:
    """``await Festival(plan, bootstrap, prefix).run()``; ``counts`` and ``under_way`` say how it goes."""

    plan: Plan
    bootstrap_servers: str
    topic_prefix: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    talks: dict[str, _Talk] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"festival {self.plan.seed}")
        self._gateway = Gateway(Shape(shops=(SHOP,)), self._chance)
        self._sender = Sender(self.bootstrap_servers, self.topic_prefix)
        self._listener = Listener(self.bootstrap_servers, self.topic_prefix)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._out: list[Draft] = []
        self._typing: dict[str, float] = defaultdict(float)
        """Agent → when he has typed what he is typing."""
        self._began = 0.0
        self.began_us = 0
        self._calm = self.plan.at_once / LASTS_S

    @property
    def under_way(self) -> int:
        return sum(talk.open for talk in self.talks.values())

    @property
    def at_s(self) -> float:
        return time.monotonic() - self._began if self._began else 0.0

    async def run(self) -> Counter[str]:
        async with self._sender, self._listener:
            for agent in everybody(self.plan.agents):
                self._heartbeat(agent)
            await self._flush()
            self._began, self.began_us = time.monotonic(), self._now()
            credit, last = 0.0, 0.0
            while (at := self.at_s) < self.plan.seconds:
                credit, last = credit + (at - last) * self._calm * self.plan.factor(at), at
                while credit >= 1:
                    self._arrive(self.plan.factor(at))
                    credit -= 1
                await self._tick()
            deadline = time.monotonic() + 30
            while self.under_way and time.monotonic() < deadline:
                await self._tick()
            for talk in self.talks.values():
                if talk.open:
                    self._close(talk)
            await self._flush()
        return self.counts

    async def _tick(self) -> None:
        began = time.monotonic()
        for event in await self._listener.read():
            talk = self.talks.get(event["subject"])
            if talk is not None and talk.open:
                self._hear(talk, event["type"], event["data"])
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        await self._flush()
        await asyncio.sleep(max(0.0, _TICK_S - (time.monotonic() - began)))

    async def _flush(self) -> None:
        out, self._out = self._out, []
        if out:
            await self._sender.send(out)
            self.counts["records"] += len(out)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._order, action))

    @staticmethod
    def _now() -> int:
        return time.time_ns() // 1000

    # --- customers ----------------------------------------------------------------------------------------------------

    def _arrive(self, factor: float) -> None:
        number = len(self.talks)
        # Who comes on top of the calm comes for the promotion.
        promotion = self._chance.random() < max(0.0, 1 - 1 / max(factor, 1e-9))
        subject = f"f{self.plan.seed}-{number}"
        talk = _Talk(subject, self._gateway.customer(number), promotion, self._chance.randint(1, 4))
        self.talks[subject] = talk
        self.counts["conversations"] += 1
        self._write(talk)

    def _write(self, talk: _Talk) -> None:
        if not talk.open:
            return
        talk.said += 1
        talk.left -= 1
        draw = self._chance.random()
        texts = _PERSON
        if talk.promotion and draw < 0.9:
            texts = _PROMOTION
        elif not talk.promotion and draw < 0.4 and talk.agent is None:
            texts = _FAQ
        text = f"{self._chance.choice(texts)} {talk.said}"
        self.counts["messages"] += 1
        at = self._now()
        self._out.append(
            self._gateway.message(talk.subject, at, shop=SHOP, customer=talk.customer, number=talk.said, text=text)
        )

    def _go_on(self, talk: _Talk) -> None:
        """The customer has an answer."""
        if talk.left > 0:
            self._later(self._chance.uniform(20, 70), lambda: self._write(talk))
        else:
            self._later(self._chance.uniform(2, 8), lambda: self._close(talk))

    def _close(self, talk: _Talk) -> None:
        if talk.open:
            talk.open = False
            self._event(talk, "conversation.closed", resolved=True)

    def _event(self, talk: _Talk, type_: str, **data: Any) -> None:
        self._out.append(self._gateway.event(type_, talk.subject, self._now(), shop_id=SHOP, **data))

    # --- agents -------------------------------------------------------------------------------------------------------

    def _heartbeat(self, agent: str) -> None:
        self._out.append(self._gateway.status(agent, "online", self._now()))
        self._later(_HEARTBEAT_S, lambda: self._heartbeat(agent))

    def _hear(self, talk: _Talk, type_: str, data: dict[str, Any]) -> None:
        if type_ == "reply.issued.v1":
            self.counts["answered by rule"] += 1
            reply = {"in_reply_to": data["in_reply_to"], "reply_id": data["reply_id"]}
            author = {"kind": "bot", "id": "bot"}
            self._event(talk, "message.sent", message_id=f"b{talk.said}", author=author, text=data["text"], **reply)
            if not data["handover"]:
                self._go_on(talk)
        elif type_ == "conversation.assigned.v1":
            self.counts["assigned"] += 1
            talk.assignment, talk.agent = data["assignment_id"], data["agent_id"]
            self._type(talk, data["agent_id"])
        elif type_ == "message.ignored.v1" and talk.agent is not None:
            self._type(talk, talk.agent)

    def _type(self, talk: _Talk, agent: str) -> None:
        """He answers when he has typed what came before; typing takes two to four seconds, most of it a phrase from a list."""
        begins = max(time.monotonic(), self._typing[agent])
        done = begins + self._chance.uniform(2, 4)
        self._typing[agent] = done
        self._later(done - time.monotonic(), lambda: self._answer(talk, agent))

    def _answer(self, talk: _Talk, agent: str) -> None:
        if not talk.open or talk.agent != agent:
            return
        talk.wrote += 1
        self.counts["answered by people"] += 1
        author = {"kind": "agent", "id": agent}
        self._event(talk, "message.sent", message_id=f"a{talk.wrote}", author=author, text="您好，已经为您处理。")
        self._go_on(talk)
