"""The play without a stack: a stand-in for the services hears what is published and answers as they might, at once.

What it answers goes through the real encoding and decoding; what is published is checked to be valid by the contract.
"""

import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from tests.unit.demo_records import EXPLANATION, QUEUED, RUN, T0, Log

from deskline.clock import SECOND, rfc3339
from deskline.demo import readers, recount
from deskline.demo.figures import differences
from deskline.demo.play import Plan, Play
from deskline.demo.recorded import Conversation
from deskline.demo.shops import Clerk, Shops
from deskline.demo.tally import Tally
from deskline.events.wire import decode
from deskline.records import Event

TEAM = tuple(Clerk(f"a{n}", ("trainee", "standard", "senior")[n % 3], 4, ("退款",)) for n in range(6))
STEP = SECOND // 20


@dataclass
class StandIn:
    """Answers texts with 你好 by rule; gives everything else to the agents in turn, offered or assigned."""

    play: Play
    mode: str = "offered"
    silent: bool = False
    log: Log = field(default_factory=Log)
    owner: dict[str, tuple[str, str]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    given: int = 0
    online: set[str] = field(default_factory=set)

    def publish(self, outputs, now):
        for output in outputs:
            self.log.at = now
            self.log.raw(output.topic, output.key.decode(), output.value)
            event = decode(self.log.records[output.topic][-1])
            assert isinstance(event, Event), event
            self.react(event, now)

    def react(self, event, now):
        if event.topic == "agents.v1":
            (self.online.add if event.data.status == "online" else self.online.discard)(event.subject)
        if self.silent:
            return
        match event.type:
            case "message.received.v1":
                self.received(event, now)
            case "transfer.requested.v1" | "assignment.declined.v1":
                self.end(event.subject, now, "transferred")
                self.assign(event.subject, now, "transfer")
            case "conversation.closed.v1":
                self.end(event.subject, now, "closed")

    def received(self, event, now):
        subject, name = event.subject, event.data.message_id
        if subject in self.owner:
            self.tell(now, "replied", "message.ignored", subject, message_id=name, reason="human_owned")
        elif "你好" in event.data.text:
            self.tell(
                now, "replied", "reply.issued", subject, reply_id=f"p-{subject}-{name}", in_reply_to=name, text="您好",
                kind="greeting", handover=False, deliver_by=rfc3339(now + 60 * SECOND),
            )  # fmt: skip
        else:
            self.tell(
                now, "replied", "handover.requested", subject, message_id=name, waiting_since=rfc3339(now),
                reason="no_match", skills=[], priority=50, flags=[],
            )  # fmt: skip
            self.assign(subject, now, "handover")

    def assign(self, subject, now, cause):
        self.requests[subject] += 1
        request = f"{subject}-r{self.requests[subject]}"
        self.tell(now, "routed", "conversation.queued", subject, request_id=request, **{**QUEUED, "cause": cause})
        free = sorted(self.online)
        if not free:
            return
        self.given += 1
        agent, assignment = free[self.given % len(free)], f"{request}-a"
        self.owner[subject] = (request, assignment)
        more = {"accept_by": rfc3339(now + 20 * SECOND)} if self.mode == "offered" else {}
        about = {"agent_id": agent, "agent_seq": self.given, "load": 1, "capacity": 4}
        self.tell(
            now, "routed", "conversation.assigned", subject, request_id=request, assignment_id=assignment, attempt=1,
            mode=self.mode, waited_s=0.5, policy_version=1, explanation=EXPLANATION, **about, **more,
        )  # fmt: skip

    def end(self, subject, now, reason):
        request, assignment = self.owner.pop(subject, (None, None))
        if request is not None:
            about = {"agent_id": "a0", "agent_seq": 1, "load": 0, "capacity": 4}
            ids = {"request_id": request, "assignment_id": assignment}
            self.tell(now, "routed", "conversation.released", subject, reason=reason, **ids, **about)

    def tell(self, now, by, type_, subject, **data):
        self.log.at = now
        getattr(self.log, by)(type_, subject, **data)
        topic = {"replied": "replies.v1", "routed": "routing.v1"}[by]
        event = decode(self.log.records[topic][-1])
        assert isinstance(event, Event), event
        self.play.hear(event, now)


def scripts(count=12, answers=3):
    """Conversations that go to an agent; every third begins with what the rule answers."""
    found = []
    for number in range(count):
        turns = [{"at_s": 0, "from": "customer", "text": "你好" if number % 3 == 0 else "我要退款"}]
        for line in range(answers):
            turns += [
                {"at_s": 20 * line + 10, "from": "agent", "text": f"回答{line}"},
                {"at_s": 20 * line + 20, "from": "customer", "text": f"还有问题{line}"},
            ]
        complaint = {"complaint": "物流"} if number % 4 == 0 else {}
        found.append(Conversation.model_validate({"id": f"c{number}", "shop": "s", "turns": turns, **complaint}))
    return found


def played(recorded=None, seconds=40, *, seed=1, speed=10, **options):
    """(the play, the stand-in) after so many seconds; all conversations closed."""
    shops = Shops({"_default": TEAM})
    plan = Plan(RUN, seed, speed, T0, T0 + round(seconds * 0.8 * SECOND))
    play = Play(recorded or scripts(), shops, plan)
    world = StandIn(play, **options)
    play.open()
    for now in range(T0, T0 + seconds * SECOND, STEP):
        world.publish(play.tick(now), now)
    world.publish(play.close(T0 + seconds * SECOND), T0 + seconds * SECOND)
    return play, world


def by_type(world):
    found = defaultdict(list)
    for _, event in world.log.decoded():
        found[event.type].append(event)
    return found


def test_all_that_is_played_happens():
    _, world = played(seconds=60)
    found = by_type(world)
    for type_ in (
        "message.received.v1", "message.sent.v1", "message.read.v1", "assignment.accepted.v1", "assignment.declined.v1",
        "transfer.requested.v1", "conversation.held.v1", "conversation.resumed.v1", "complaint.opened.v1",
        "complaint.closed.v1", "conversation.closed.v1", "conversation.rated.v1", "order.placed.v1",
        "agent.status_changed.v1",
    ):  # fmt: skip
        assert found[type_], type_


def test_the_same_seed_gives_the_same_play_and_another_another():
    once, again, other = (played(seconds=20, seed=seed)[1].log.records for seed in (3, 3, 4))
    assert once == again
    assert once != other


def test_every_conversation_ends_once_and_nothing_is_said_behind_it():
    play, world = played()
    ended = Counter()
    for _, event in world.log.decoded():
        if event.topic != "conversations.v1":
            continue
        if event.type == "conversation.closed.v1":
            ended[event.subject] += 1
        elif event.type in ("message.received.v1", "message.sent.v1", "conversation.held.v1"):
            assert event.subject not in ended
    assert len(ended) == play.begun
    assert set(ended.values()) == {1}
    assert play.open_talks == 0


def test_agents_greet_and_say_what_was_recorded_in_its_order_one_answer_at_a_time():
    _, world = played(mode="assigned")
    by_agent, by_talk = defaultdict(list), defaultdict(list)
    for event in by_type(world)["message.sent.v1"]:
        if event.data.author.kind == "agent":
            by_talk[event.subject].append(event.data.text)
            # Greetings are sent by a key, beside what is being typed.
            if event.data.text.startswith("回答"):
                by_agent[event.data.author.id].append(event.at)
    assert any(not said[0].startswith("回答") for said in by_talk.values())
    recorded = [[text for text in said if text.startswith("回答")] for said in by_talk.values()]
    assert any(len(said) == 3 for said in recorded)
    assert all(said == sorted(said) for said in recorded)
    # Three characters and a thought take more than the shop's 1.5 s: 0.15 s at ten times the speed, here cut to ticks.
    for times in by_agent.values():
        assert all(later - earlier >= 2 * STEP for earlier, later in itertools.pairwise(times))


def test_a_rule_s_answer_is_delivered_once_and_what_the_agent_would_have_said_is_left_out():
    answered = [Conversation.model_validate({"id": "x", "shop": "s", "turns": [
        {"from": "customer", "text": "你好"}, {"from": "agent", "text": "不会说"}, {"from": "customer", "text": "你好呀"},
    ]})]  # fmt: skip
    _, world = played(answered, seconds=20)
    sent = by_type(world)["message.sent.v1"]
    assert sent
    assert {event.data.author.kind for event in sent} == {"bot"}
    names = [event.data.reply_id for event in sent]
    assert len(names) == len(set(names))
    assert not by_type(world)["conversation.queued.v1"]


def test_agents_take_breaks_when_tired_and_come_back():
    play, world = played(scripts(answers=5), seconds=120)
    breaks = defaultdict(list)
    for event in by_type(world)["agent.status_changed.v1"]:
        breaks[event.subject].append((event.data.status, event.data.reason))
    rested = [agent for agent, said in breaks.items() if ("away", "break") in said]
    assert rested
    for agent in rested:
        after = breaks[agent][breaks[agent].index(("away", "break")) + 1 :]
        assert any(status in ("online", "offline") for status, _ in after)
    assert all(agent.fatigue < 1.5 for agent in play.staff.agents.values())


def test_the_more_tired_the_slower_and_trainees_more_than_seniors():
    play, _ = played(seconds=5)
    trainee, senior = play.staff.agents["a0"], play.staff.agents["a2"]
    trainee.fatigue = senior.fatigue = 0
    assert trainee.slowness == pytest.approx(1.35)
    assert senior.slowness == pytest.approx(0.85)
    senior.fatigue = 1.0
    assert senior.slowness == pytest.approx(0.85 * 1.8)


def test_statuses_are_repeated_within_a_minute_and_all_go_home():
    _, world = played(seconds=90)
    said = defaultdict(list)
    for event in by_type(world)["agent.status_changed.v1"]:
        said[event.subject].append(event)
    assert set(said) == {clerk.agent_id for clerk in TEAM}
    for events in said.values():
        assert events[-1].data.status == "offline"
        gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(events)]
        assert max(gaps) <= 60 * SECOND


def test_customers_of_a_silent_stack_lose_patience_and_leave():
    _, world = played(seconds=90, silent=True)
    closed = [event for event in by_type(world)["conversation.closed.v1"] if event.data.by.id == "timeout"]
    assert closed
    assert not any(event.data.resolved for event in closed)
    assert not by_type(world)["message.sent.v1"]


def test_faster_means_more_in_the_same_time():
    slow, fast = (played(seconds=30, speed=speed)[0].begun for speed in (4, 16))
    assert fast > 2 * slow


def test_what_was_heard_before_or_is_somebody_else_s_does_nothing():
    play, world = played(seconds=10)
    before = play.close(T0 + 11 * SECOND)  # whatever agents say once more
    for event in by_type(world)["conversation.assigned.v1"]:
        play.hear(event, T0 + 12 * SECOND)
    assert [o for o in play.tick(T0 + 60 * SECOND) if o.topic == "conversations.v1"] == []
    assert all(output.topic == "agents.v1" for output in before)


def test_both_ways_of_counting_agree_on_a_whole_play():
    play, world = played(readers.shipped(), seconds=60)
    tally = Tally(RUN)
    for record, decoded in world.log.decoded():
        tally.add(record, decoded)
    whole = world.log.whole()
    counted = recount.count(whole, RUN)
    assert differences(tally.figures(), counted.figures) == []
    assert counted.wrong == []
    assert counted.figures["conversations"] == play.begun
    assert min(counted.figures[name] for name in ("messages", "handed_over", "assigned", "agent_messages")) > 20
    assert recount.sent_but_missing(play.gateway.made, whole, RUN) == []
