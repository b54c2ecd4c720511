"""Customers who are handed over, and agents of several shops who come and go: what a router reads, without the other services.

Everything random is drawn from the seed. What autoreply would have said is written in its name: each message is handed over at
once, so that the router is all that decides. A conversation is over when its last request is; how many are open at a time is
bounded, so that a router that is away for a moment finds a queue and not a flood.
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

from tests.load.envelopes import Draft, Gateway, Shape, draft, envelope, show
from tests.load.listener import Listener
from tests.load.sender import Sender

_TICK_S = 0.02
_HEARTBEAT_S = 20.0
_AT_DESK_S, _AWAY_S = (4.0, 20.0), (0.3, 8.0)
_SERVES_S = (0.02, 0.25)
_STUCK_S = 60.0
_SKILLS: tuple[list[str], ...] = ([], [], ["售后"], ["售前"], ["投诉"])


@dataclass
class _Talk:
    subject: str
    shop: str
    assignments: dict[str, str] = field(default_factory=dict)
    """Live as far as heard: assignment → agent."""
    wrote: int = 0
    complaining: bool = False


class Desks:
    """``await Desks(…).run()`` returns when ``arrivals`` conversations have come, or as many as came ``within_s``, and all of them
    are over.
    """

    def __init__(
        self,
        seed: int,
        arrivals: int,
        agents: tuple[str, ...],
        shops: tuple[str, ...],
        address: tuple[str, str],
        *,
        rate: float,
        open_at_once: int,
        within_s: float,
    ) -> None:
        self.arrivals, self.agents, self.shops = arrivals, agents, shops
        self.rate, self.open_at_once, self.within_s = rate, open_at_once, within_s
        self.counts: Counter[str] = Counter()
        self.heard = 0
        """Words of the router, since the start."""
        self.talks: dict[str, _Talk] = {}
        """Those that are not over."""
        self._seed = seed
        self._chance = random.Random(f"desks {seed}")
        self._gateway = Gateway(Shape(), self._chance)
        self._sender, self._listener = Sender(*address), Listener(*address)
        self._status: dict[str, str] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._out: list[Draft] = []
        self._calm = False
        self._moved = 0.0

    async def run(self) -> Counter[str]:
        """Counts of what was done and heard, by kind. At the end everybody is online."""
        async with self._sender, self._listener:
            for agent in self.agents:
                self._say(agent, "online")
                self._later(self._chance.uniform(*_AT_DESK_S), lambda agent=agent: self._leave(agent))
                self._later(_HEARTBEAT_S, lambda agent=agent: self._heartbeat(agent))
            await self._play()
            while self.talks:
                await self._tick()
                if time.monotonic() - self._moved > _STUCK_S:
                    raise TimeoutError(f"{len(self.talks)} conversations do not end, {next(iter(self.talks.values()))}")
            self._calm = True
            for agent in self.agents:
                self._say(agent, "online")
            await self._tick()
        return self.counts

    async def _play(self) -> None:
        begun, credit, last = 0, 0.0, time.monotonic()
        ends = last + self.within_s
        while begun < self.arrivals and last < ends:
            now = time.monotonic()
            credit, last = min(credit + (now - last) * self.rate, self.rate), now
            while credit >= 1 and begun < self.arrivals and len(self.talks) < self.open_at_once:
                self._arrive(begun)
                begun, credit = begun + 1, credit - 1
            await self._tick()

    async def _tick(self) -> None:
        began = time.monotonic()
        for event in await self._listener.read():
            self._moved = began
            self.heard += 1
            talk = self.talks.get(event["subject"])
            if talk is not None:
                self._hear(talk, event["type"], event["data"])
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()
        out, self._out = self._out, []
        if out:
            await self._sender.send(out)
        await asyncio.sleep(max(0.0, _TICK_S - (time.monotonic() - began)))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + seconds, self._order, action))

    @staticmethod
    def _now() -> int:
        return time.time_ns() // 1000

    # --- customers ---------------------------------------------------------------------------------------------------

    def _arrive(self, number: int) -> None:
        chance, at = self._chance, self._now() - self._chance.randrange(20_000)
        talk = _Talk(f"r{self._seed}-{number}", chance.choice(self.shops))
        self.talks[talk.subject] = talk
        self.counts["arrivals"] += 1
        customer = self._gateway.customer(number)
        self._out.append(
            self._gateway.message(talk.subject, at, shop=talk.shop, customer=customer, number=1, text="在吗")
        )
        data = {
            "shop_id": talk.shop, "rules_version": 0, "routing_offset": 0, "message_id": "m1", "waiting_since": show(at),
            "reason": "no_match", "skills": chance.choice(_SKILLS), "priority": chance.choice((20, 50, 80)), "flags": [],
        }  # fmt: skip
        handed = envelope(
            "handover.requested", talk.subject, data, at, id_=f"{talk.subject}-h", source="/deskline/autoreply"
        )
        self._out.append(draft(handed, "replies.v1"))

    def _event(self, talk: _Talk, type_: str, **data: Any) -> None:
        self._out.append(self._gateway.event(type_, talk.subject, self._now(), shop_id=talk.shop, **data))

    def _close(self, talk: _Talk) -> None:
        if talk.complaining:
            talk.complaining = False
            self._event(talk, "complaint.closed", complaint_id=f"k-{talk.subject}")
        self._event(talk, "conversation.closed", resolved=True)

    # --- agents ------------------------------------------------------------------------------------------------------

    def _say(self, agent: str, status: str) -> None:
        self._status[agent] = status
        self.counts[status] += 1
        # The capacity changes with every word of his, mostly downwards from where he may be by then.
        capacity = self._chance.randint(10, 60)
        self._out.append(self._gateway.status(agent, status, self._now(), capacity=capacity))

    def _heartbeat(self, agent: str) -> None:
        self._say(agent, self._status[agent])
        self._later(_HEARTBEAT_S, lambda: self._heartbeat(agent))

    def _leave(self, agent: str) -> None:
        if not self._calm:
            self._say(agent, self._chance.choice(("away", "offline", "offline")))
            self._later(self._chance.uniform(*_AWAY_S), lambda: self._return(agent))

    def _return(self, agent: str) -> None:
        if self._calm:
            return
        self._say(agent, "online")
        self._later(self._chance.uniform(*_AT_DESK_S), lambda: self._leave(agent))

    # --- what is heard -----------------------------------------------------------------------------------------------

    def _hear(self, talk: _Talk, type_: str, data: dict[str, Any]) -> None:
        self.counts[type_.split(".")[1]] += 1
        if type_ == "conversation.assigned.v1":
            self._assigned(talk, data)
            return
        if type_ == "conversation.queued.v1" and data["seq"] == 1 and self._chance.random() < 0.02:
            # A customer who gives up, while somebody may just be taking him.
            self._later(self._chance.uniform(0, 0.5), lambda: self._close(talk))
        talk.assignments.pop(data.get("assignment_id", ""), None)
        if type_ == "conversation.released.v1" and data["reason"] != "transferred":
            self.counts[f"released {data['reason']}"] += 1
            del self.talks[talk.subject]

    def _assigned(self, talk: _Talk, data: dict[str, Any]) -> None:
        assignment, agent = data["assignment_id"], data["agent_id"]
        talk.assignments[assignment] = agent
        draw = self._chance.random()
        if data["mode"] == "assigned":
            self._later(self._chance.uniform(*_SERVES_S), lambda: self._serve(talk, assignment, agent))
        elif draw < 0.93:
            word = "assignment.accepted" if draw < 0.85 else "assignment.declined"
            self._later(self._chance.uniform(*_SERVES_S), lambda: self._answer(talk, word, assignment, agent))

    def _answer(self, talk: _Talk, word: str, assignment: str, agent: str) -> None:
        if self._status[agent] == "online":
            self._event(talk, word, assignment_id=assignment, agent_id=agent)
            if word == "assignment.accepted":
                self._later(self._chance.uniform(*_SERVES_S), lambda: self._serve(talk, assignment, agent))

    def _serve(self, talk: _Talk, assignment: str, agent: str) -> None:
        if talk.assignments.get(assignment) != agent:
            return
        if self._status[agent] == "offline":
            # He does it when he is back, if he still has it by then.
            self._later(0.5, lambda: self._serve(talk, assignment, agent))
            return
        draw = self._chance.random()
        if draw < 0.8:
            talk.wrote += 1
            author = {"kind": "agent", "id": agent}
            self._event(talk, "message.sent", message_id=f"a{talk.wrote}", author=author, text="您好")
        if draw > 0.92 and talk.wrote < 5:
            to = self._chance.choice(({}, {"to": {"agent_id": self._chance.choice(self.agents)}}))
            talk.wrote += 1
            self._event(talk, "transfer.requested", by_agent_id=agent, **to)
            return
        if draw < 0.04 and not talk.complaining:
            talk.complaining = True
            self._event(talk, "complaint.opened", complaint_id=f"k-{talk.subject}")
        self._later(self._chance.uniform(0.0, 0.1), lambda: self._close(talk))
