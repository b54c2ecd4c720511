"""Agents at their desks: they take offers, answer, hand on, leave and come back, as ``routing.v1`` tells them; and the
gateway's part for the bot: delivering what ``replies.v1`` says, once and in time.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.load.talks import Talk, close

if TYPE_CHECKING:
    from tests.load.traffic import Traffic

_HEARTBEAT_S = 20.0


class Desk:
    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._status: dict[str, str] = {}
        self._delivered: set[str] = set()
        self.calm = False
        """Towards the end nobody leaves any more."""

    # --- coming and going ----------------------------------------------------------------------------------------

    def open(self) -> None:
        for agent in self._traffic.plan.agents:
            self._say(agent, "online")
            self._heartbeat(agent)
            self._plan_absence(agent)

    def everybody_online(self) -> None:
        for agent in self._traffic.plan.agents:
            if self._status[agent] != "online":
                self._say(agent, "online")

    def _say(self, agent: str, status: str) -> None:
        self._status[agent] = status
        traffic = self._traffic
        traffic.put(traffic.gateway.status(agent, status, traffic.now()))

    def _heartbeat(self, agent: str) -> None:
        if not self.calm:
            self._say(agent, self._status[agent])
            self._traffic.later(_HEARTBEAT_S, lambda: self._heartbeat(agent))

    def _plan_absence(self, agent: str) -> None:
        traffic = self._traffic
        traffic.later(traffic.chance.uniform(*traffic.plan.at_desk_s), lambda: self._leave(agent))

    def _leave(self, agent: str) -> None:
        if self.calm:
            return
        traffic = self._traffic
        self._say(agent, traffic.chance.choice(("away", "offline")))
        traffic.later(traffic.chance.uniform(*traffic.plan.away_s), lambda: self._return(agent))

    def _return(self, agent: str) -> None:
        if self._status[agent] != "online":
            self._say(agent, "online")
        if not self.calm:
            self._plan_absence(agent)

    # --- what is heard -------------------------------------------------------------------------------------------

    def hear(self, event: dict[str, Any]) -> None:
        talk = self._traffic.talks.get(event["subject"])
        if talk is None:
            return
        data = event["data"]
        type_ = event["type"].removesuffix(".v1")
        if type_ == "reply.issued":
            self._deliver(talk, data)
        elif type_ == "conversation.assigned":
            self._assigned(talk, data)
        elif type_ in ("assignment.expired", "assignment.revoked", "conversation.released"):
            talk.assignments.pop(data.get("assignment_id", ""), None)

    def _deliver(self, talk: Talk, reply: dict[str, Any]) -> None:
        """At most once, not after ``deliver_by``, and not when an agent has written since."""
        if reply["reply_id"] in self._delivered:
            return
        self._delivered.add(reply["reply_id"])
        traffic = self._traffic
        heard_at = traffic.now()
        by = datetime.fromisoformat(reply["deliver_by"]).timestamp() * 1_000_000

        def send() -> None:
            if traffic.now() <= by and talk.agent_wrote_at < heard_at - 2_000_000:
                traffic.event(
                    talk,
                    "message.sent",
                    message_id=f"b-{reply['in_reply_to']}",
                    author={"kind": "bot", "id": "bot"},
                    text=reply["text"],
                    in_reply_to=reply["in_reply_to"],
                    reply_id=reply["reply_id"],
                )

        traffic.later(0.05, send)

    def _assigned(self, talk: Talk, data: dict[str, Any]) -> None:
        chance = self._traffic.chance
        assignment, agent = data["assignment_id"], data["agent_id"]
        if assignment in talk.assignments:
            return
        talk.assignments[assignment] = agent
        if data["mode"] == "assigned":
            self._serve(talk, assignment, agent)
            return
        draw = chance.random()
        if draw < 0.93:
            type_ = "assignment.accepted" if draw < 0.85 else "assignment.declined"
            self._traffic.later(chance.uniform(0.1, 2.5), lambda: self._answer(talk, type_, assignment, agent))

    def _answer(self, talk: Talk, type_: str, assignment: str, agent: str) -> None:
        self._traffic.event(talk, type_, assignment_id=assignment, agent_id=agent)
        if type_ == "assignment.accepted":
            self._serve(talk, assignment, agent)

    def _serve(self, talk: Talk, assignment: str, agent: str) -> None:
        chance, later = self._traffic.chance, self._traffic.later
        at = chance.uniform(0.2, 3)
        for _ in range(chance.randint(1, 3)):
            later(at, lambda: self._write(talk, assignment, agent))
            at += chance.uniform(0.3, 3)
        if chance.random() < self._traffic.plan.shape.transfer_share:
            later(at, lambda: self._hand_on(talk, assignment, agent))
        elif chance.random() < 0.9:
            later(at + 0.2, lambda: self._finish(talk, assignment, agent))

    def _write(self, talk: Talk, assignment: str, agent: str) -> None:
        if talk.assignments.get(assignment) != agent or talk.closed:
            return
        traffic = self._traffic
        talk.agent_said += 1
        talk.agent_wrote_at = traffic.now()
        answers = traffic.chance.random() < 0.3 and talk.said > 0
        traffic.event(
            talk,
            "message.sent",
            message_id=f"a{talk.agent_said}",
            author={"kind": "agent", "id": agent},
            text=traffic.corpus.agent(traffic.chance),
            **({"in_reply_to": f"m{talk.said}"} if answers else {}),
        )

    def _hand_on(self, talk: Talk, assignment: str, agent: str) -> None:
        if talk.assignments.get(assignment) != agent or talk.closed:
            return
        chance = self._traffic.chance
        to = chance.choice(
            ({}, {"to": {"skills": ["售后"]}}, {"to": {"agent_id": chance.choice(self._traffic.plan.agents)}})
        )
        self._traffic.event(talk, "transfer.requested", by_agent_id=agent, note="请接手", **to)

    def _finish(self, talk: Talk, assignment: str, agent: str) -> None:
        if talk.assignments.get(assignment) == agent:
            close(self._traffic, talk, by=agent)
