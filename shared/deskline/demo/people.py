"""The agents who are played: one thing at a time, at a person's pace, and not for ever.

An agent greets, then types one answer after the other, the recorded one where there is one, and slower the more tired they are. Every
line tires; who is tired enough takes a break (``away``), during which nothing moves at their desk, and comes back
fresh. Offers are taken after a moment's thought, now and then refused or missed.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deskline.demo.recorded import is_chinese, typing_s
from deskline.demo.shops import Clerk
from deskline.demo.talks import Talk
from deskline.records import Event

if TYPE_CHECKING:
    from deskline.demo.play import Play

# Desktops repeat their status every 60 s or less (contract §3); real time.
_HEARTBEAT_S: Final = 25.0
_GRADES: Final = {"trainee": 1.35, "standard": 1.0, "senior": 0.85, "supervisor": 0.9}
_THINKS_S: Final = (1.5, 6.0)
# People have texts at hand for what is long.
_LONGEST_TYPING_S: Final = 25.0
_TIRES: Final = (0.012, 0.03)
_BREAK_S: Final = (60.0, 150.0)
_SLOWER_WHEN_TIRED: Final = 0.8
# Whom they greet first with a text at hand, and how long that takes.
_GREETS: Final = 0.75
_GREETS_S: Final = (2.0, 5.0)
_TAKES, _REFUSES = 0.95, 0.98
_HANDS_ON: Final = 0.04
_HOLDS: Final = 0.05
_WORDS: Final = {
    True: ("好的，我帮您看一下，请稍等~", "收到，马上为您处理。", "您好，我来帮您，请稍等。", "嗯嗯，这边正在为您核实。"),
    False: ("Sure, let me have a look.", "Hi! I'm on it, one moment.", "Got it, checking this for you now.", "Let me find out."),
}  # fmt: skip
_FIRST_WORDS: Final = {
    True: ("您好，请稍等，我看一下~", "亲，在的，马上为您查看。", "您好，很高兴为您服务，请稍等。"),
    False: ("Hi there! Give me a second to read this.", "Hello, taking a look now."),
}
_LAST_WORDS: Final = {
    True: ("不客气，还有问题随时找我们，祝您购物愉快~", "好的，感谢您的咨询，祝您生活愉快！", "应该的，有需要随时联系我们哦~"),
    False: ("You're welcome! Come back any time.", "Glad to help. Have a good day!", "No problem, good luck with it!"),
}  # fmt: skip


@dataclass(slots=True, eq=False)
class Agent:
    clerk: Clerk
    shops: list[str]
    status: str = "offline"
    fatigue: float = 0.0
    """0: fresh; from 1 on a break is due."""
    busy: bool = False
    held: set[str] = field(default_factory=set)
    desk: deque[Talk] = field(default_factory=deque)
    lines: int = 0

    @property
    def slowness(self) -> float:
        return _GRADES.get(self.clerk.grade, 1.0) * (1 + _SLOWER_WHEN_TIRED * min(self.fatigue, 1.5))


class Staff:
    def __init__(self, play: "Play", clerks: Mapping[str, tuple[Clerk, ...]]) -> None:
        self._play = play
        self.agents: dict[str, Agent] = {}
        for shop, team in clerks.items():
            for clerk in team:
                self.agents.setdefault(clerk.agent_id, Agent(clerk, [])).shops.append(shop)
        self._live: dict[str, tuple[Talk, Agent]] = {}
        """Assignments that are ours to act on."""

    # --- coming and going ---------------------------------------------------------------------------------------

    def arrive(self) -> None:
        for agent in self.agents.values():
            agent.fatigue = self._play.chance.uniform(0, 0.95)
            self._say(agent, "online")
            self._heartbeat(agent)

    def leave(self) -> None:
        for agent in self.agents.values():
            self._say(agent, "offline", "end of demo")

    def _say(self, agent: Agent, status: str, reason: str | None = None) -> None:
        agent.status = status
        self._play.put(self._play.gateway.status(agent.clerk.agent_id, status, self._play.now, reason))

    def _heartbeat(self, agent: Agent) -> None:
        def beat() -> None:
            self._say(agent, agent.status)
            self._heartbeat(agent)

        self._play.later_really(_HEARTBEAT_S, beat)

    def _rest(self, agent: Agent) -> bool:
        """Whether the agent takes a break now: tired, and most colleagues are there."""
        resting = sum(other.status == "away" for other in self.agents.values())
        if agent.fatigue < 1 or resting * 5 >= len(self.agents):
            return False
        self._say(agent, "away", "break")
        self._play.later(self._play.chance.uniform(*_BREAK_S), lambda: self._return(agent))
        return True

    def _return(self, agent: Agent) -> None:
        agent.fatigue *= 0.2
        self._say(agent, "online")
        self._work(agent)

    # --- what the router says -----------------------------------------------------------------------------------

    def hear(self, talk: Talk, event: Event) -> None:
        data: Any = event.data
        match event.type:
            case "conversation.assigned.v1":
                agent = self.agents.get(data.agent_id)
                if agent is not None and not talk.closed:
                    self._live[data.assignment_id] = (talk, agent)
                    agent.held.add(data.assignment_id)
                    self._assigned(talk, agent, data)
            case "assignment.expired.v1" | "assignment.revoked.v1" | "conversation.released.v1":
                self._lost(data.assignment_id)
                if getattr(data, "agent_paused", False):
                    self._play.later(10.0, lambda: self._wake(data.agent_id))

    def _assigned(self, talk: Talk, agent: Agent, data: Any) -> None:
        assignment, play = data.assignment_id, self._play
        if data.mode == "assigned":
            self._take(talk, agent, assignment)
            return
        draw = play.chance.random()
        if draw < _REFUSES:
            reaction = play.chance.uniform(1.0, 5.0) * agent.slowness
            play.later(reaction, lambda: self._answer(talk, agent, assignment, take=draw < _TAKES))

    def _answer(self, talk: Talk, agent: Agent, assignment: str, *, take: bool) -> None:
        if assignment not in self._live or agent.status != "online" or talk.closed:
            return
        play = self._play
        play.put(
            play.gateway.answer_offer(
                talk.subject, talk.shop, play.now, take=take, assignment_id=assignment, agent_id=agent.clerk.agent_id
            )
        )
        if take:
            self._take(talk, agent, assignment)

    def _take(self, talk: Talk, agent: Agent, assignment: str) -> None:
        talk.owner, talk.assignment, talk.expects_word = agent, assignment, True
        play = self._play
        if play.chance.random() < _GREETS:
            play.later(play.chance.uniform(*_GREETS_S) * agent.slowness, lambda: self._greet(talk, agent))
        if not talk.typing:
            self.wants(agent, talk)

    def _greet(self, talk: Talk, agent: Agent) -> None:
        """A few words at hand, whatever else is being typed. The answer is still to come."""
        if talk.owner is agent and talk.expects_word and not talk.closed and agent.status == "online":
            chinese = is_chinese(talk.recorded.turns[0].text)
            self._send(agent, talk, self._play.chance.choice(_FIRST_WORDS[chinese]))

    def _lost(self, assignment: str | None) -> None:
        found = self._live.pop(assignment, None) if assignment is not None else None
        if found is None:
            return
        talk, agent = found
        agent.held.discard(str(assignment))
        if talk.assignment == assignment:
            talk.owner = talk.assignment = None

    def _wake(self, agent_id: str) -> None:
        """Who missed offers is paused until he comes online anew."""
        agent = self.agents[agent_id]
        if agent.status == "online":
            self._say(agent, "away", "missed offers")
            self._play.later(5.0, lambda: self._return(agent))

    def forget(self, talk: Talk) -> None:
        if talk.assignment is not None:
            self._lost(talk.assignment)

    # --- work ---------------------------------------------------------------------------------------------------

    def wants(self, agent: Agent, talk: Talk) -> None:
        """The customer waits for this agent. Who has not been greeted yet comes next."""
        if talk not in agent.desk:
            (agent.desk.appendleft if talk.expects_word else agent.desk.append)(talk)
        self._work(agent)

    def _work(self, agent: Agent) -> None:
        if agent.busy or agent.status != "online" or self._rest(agent):
            return
        play = self._play
        while agent.desk:
            talk = agent.desk.popleft()
            waits = talk.unanswered is not None or talk.expects_word
            if talk.owner is agent and not talk.closed and waits and not talk.typing:
                agent.busy = True
                if talk.unanswered is not None:
                    play.put(
                        play.gateway.read(
                            talk.subject, talk.shop, play.now, message_id=talk.unanswered, agent_id=agent.clerk.agent_id
                        )
                    )
                self._type(agent, talk, play.chance.uniform(*_THINKS_S))
                return

    def _type(self, agent: Agent, talk: Talk, thinks_s: float) -> None:
        text = talk.take_turn().text if talk.next_by() == "agent" else self._own_words(talk)
        seconds = (thinks_s + min(typing_s(text), _LONGEST_TYPING_S)) * agent.slowness
        self._play.later(seconds, lambda: self._write(agent, talk, text))

    def _own_words(self, talk: Talk) -> str:
        chinese = is_chinese(talk.recorded.turns[0].text)
        return self._play.chance.choice((_WORDS if talk.next_by() == "customer" else _LAST_WORDS)[chinese])

    def _write(self, agent: Agent, talk: Talk, text: str) -> None:
        agent.busy = False
        if talk.owner is agent and not talk.closed and agent.status == "online":
            self._say_line(agent, talk, text)
            if talk.next_by() == "agent":
                agent.busy = True
                self._type(agent, talk, 0.5)
                return
            self._after_answer(agent, talk)
        self._work(agent)

    def _send(self, agent: Agent, talk: Talk, text: str) -> None:
        play = self._play
        talk.answers += 1
        play.put(
            play.gateway.sent(
                talk.subject, talk.shop, play.now, message_id=f"a{talk.answers}", kind="agent",
                author=agent.clerk.agent_id, text=text, in_reply_to=talk.unanswered,
            )
        )  # fmt: skip
        talk.agent_wrote_at = play.now

    def _say_line(self, agent: Agent, talk: Talk, text: str) -> None:
        play = self._play
        self._send(agent, talk, text)
        if talk.unanswered is not None:
            talk.longest_wait = max(talk.longest_wait, play.now - talk.asked_at[talk.unanswered])
        talk.unanswered, talk.expects_word = None, False
        agent.lines += 1
        agent.fatigue += play.chance.uniform(*_TIRES)

    def _after_answer(self, agent: Agent, talk: Talk) -> None:
        play = self._play
        if talk.next_by() is None:
            play.later(
                play.chance.uniform(3.0, 9.0),
                lambda: play.talks.close(
                    talk, resolved=play.chance.random() < 0.9, kind="agent", by=agent.clerk.agent_id
                ),
            )
            return
        play.talks.type_next(talk)
        draw = play.chance.random()
        if draw < _HANDS_ON and not talk.transferred:
            self._hand_on(agent, talk)
        elif draw < _HANDS_ON + _HOLDS and not talk.held:
            talk.held = True
            play.put(play.gateway.held(talk.subject, talk.shop, play.now))

    def _hand_on(self, agent: Agent, talk: Talk) -> None:
        play = self._play
        skills = sorted(
            {skill for other in self.agents.values() if talk.shop in other.shops for skill in other.clerk.skills}
        )
        skill = play.chance.choice(skills) if skills and play.chance.random() < 0.7 else None
        talk.transferred = True
        play.put(play.gateway.transfer(talk.subject, talk.shop, play.now, agent_id=agent.clerk.agent_id, skill=skill))
        self.forget(talk)
