"""Random histories against the contract's rules 6.2 to 6.5, judged from inputs and outputs alone."""

from collections import defaultdict

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.router_driver import Driver, agent, at

from deskline.config.documents import LimitsDocument, RoutingDocument, RoutingRule, Step
from deskline.ids import request_id
from deskline_router.model import Told
from deskline_router.policy import World
from deskline_router.telling import id_of, output

AGENTS = ("anna", "bo", "carl")
SUBJECTS = ("c1", "c2", "c3", "c4", "c5")
SKILLS = {"anna": {"tax": 3}, "bo": {}, "carl": {"tax": 1, "vip": 5}}
TEAM = {
    "anna": agent("anna", skills=SKILLS["anna"], grade="senior", capacity=1),
    "bo": agent("bo", skills=SKILLS["bo"], capacity=2),
    "carl": agent("carl", skills=SKILLS["carl"], grade="trainee", capacity=3),
}
STEPS = (
    Step(own_agent=True, wait_s=4),
    Step(proficiency=2, grades=("senior", "standard"), wait_s=6),
    Step(proficiency=1, wait_s=5),
    Step(keep_skills=False),
)
ROUTING = {
    mode: RoutingDocument(mode=mode, accept_s=7, pause_after_missed=2, rules=(RoutingRule(rule_id="r", steps=STEPS),))
    for mode in ("assigned", "offered")
}

subjects = st.sampled_from(SUBJECTS)
agents = st.sampled_from(AGENTS)
skills = st.lists(st.sampled_from(("tax", "vip")), max_size=2, unique=True).map(tuple)
late = st.sampled_from((0, 0, 0, -1, -20, 3))

ORDERS = ("remind", "raise_priority", "reassign", "call_supervisor")
WAIT = st.tuples(st.just("wait"), st.sampled_from((0.1, 0.1, 1, 3, 8, 11, 31)))
ASK = st.tuples(st.just("asked"), subjects, skills, st.sampled_from((20, 50, 50, 90)))
SENT = st.tuples(st.just("sent"), subjects, st.sampled_from((*AGENTS, "holder")), late)
STATUS = st.tuples(
    st.just("status"),
    agents,
    st.sampled_from(("online", "online", "away", "offline")),
    late,
    st.sampled_from((None, None, 0, 1, 4)),
)
ACTIONS = st.one_of(
    WAIT,
    WAIT,
    ASK,
    ASK,
    SENT,
    STATUS,
    STATUS,
    st.tuples(st.just("message"), subjects, late, st.sampled_from((None, "anna", "carl"))),
    st.tuples(st.just("handover"), subjects, skills, st.integers(0, 100)),
    st.tuples(st.just("ahead"), subjects, skills, st.booleans()),
    st.tuples(st.just("reply"), subjects),
    st.tuples(st.just("ignored"), subjects, st.sampled_from(("human_owned", "waiting", "shadow", "empty"))),
    st.tuples(st.just("accepted"), subjects),
    st.tuples(st.just("declined"), subjects),
    st.tuples(st.just("transfer"), subjects, agents, st.sampled_from((None, *AGENTS)), skills),
    st.tuples(st.just("complaint"), subjects, late),
    st.tuples(st.just("complaint_closed"), subjects),
    st.tuples(st.just("closed"), subjects, late),
    st.tuples(st.just("clock"), subjects, st.sets(st.sampled_from(ORDERS), min_size=1), st.booleans()),
    st.tuples(st.just("again"), st.integers(0, 1000)),
    st.tuples(st.just("stale"), st.sampled_from((True, False, False))),
    st.tuples(st.just("batch"), st.booleans()),
)
HISTORIES = st.lists(ACTIONS, min_size=15, max_size=80)


class Player:
    """Plays actions on a driver; what an action refers to is whatever there is."""

    def __init__(self, mode, queue_limit, driver=Driver):
        limits = LimitsDocument(queue_limit=queue_limit, offline_grace_s=10, reoffer_s=9, transfer_wait_s=5)
        self.driver = driver(TEAM.values(), ROUTING[mode], limits)
        self.messages = {subject: [] for subject in SUBJECTS}
        self.count = 0
        self.driver.online("anna", "bo")

    def play(self, action):
        kind, *rest = action
        getattr(self, f"do_{kind}")(*rest)

    def unit(self, make):
        """Statuses and timers are units of their own; a batch that was being gathered goes first."""
        if self.driver._batch:
            self.driver.flush()
            self.driver.batch()
        make()

    def do_wait(self, seconds):
        self.unit(lambda: self.driver.pass_to(self.driver.t + seconds))

    def do_message(self, subject, late, dedicated):
        self.count += 1
        name = f"m{self.count}"
        self.messages[subject].append(name)
        self.driver.received(name, subject, time=self.driver.t + late, dedicated_agent_id=dedicated)

    def last(self, subject):
        return self.messages[subject][-1] if self.messages[subject] else "unread"

    def do_handover(self, subject, wanted, priority):
        self.driver.handover(self.last(subject), subject, skills=wanted, priority=priority)

    def do_asked(self, subject, wanted, priority):
        self.do_message(subject, 0, None)
        self.do_handover(subject, wanted, priority)

    def do_ahead(self, subject, wanted, closed):
        """``replies.v1`` is read first: the hand-over of a message that perhaps comes after a close."""
        self.driver.handover(f"m{self.count + 1}", subject, skills=wanted)
        if closed:
            self.driver.closed(subject, time=self.driver.t - 0.1)
        self.do_message(subject, 0, None)

    def do_reply(self, subject):
        self.driver.replied(self.last(subject), subject)

    def do_ignored(self, subject, reason):
        self.driver.ignored(self.last(subject), reason, subject)

    def do_sent(self, subject, who, late):
        who = self.offer(subject)[0] if who == "holder" else who
        self.driver.sent(who, subject, time=self.driver.t + late)

    def offer(self, subject):
        request = self.driver.world.requests.get(subject)
        return (request.agent_id, request.assignment_id) if request and request.live else ("anna", "none")

    def do_accepted(self, subject):
        self.driver.accepted(*self.offer(subject), subject)

    def do_declined(self, subject):
        self.driver.declined(*self.offer(subject), subject)

    def do_transfer(self, subject, by, to, wanted):
        request = self.driver.world.requests.get(subject)
        if request and request.live:
            by = request.agent_id
        target = {name: value for name, value in (("agent_id", to), ("skills", wanted)) if value}
        self.driver.transfer(by, subject, **target)

    def do_complaint(self, subject, late):
        self.count += 1
        self.driver.complaint(f"k{self.count}", subject, time=self.driver.t + late)

    def do_complaint_closed(self, subject):
        self.driver.complaint_closed("k", subject)

    def do_closed(self, subject, late):
        self.driver.closed(subject, time=self.driver.t + late)

    def do_clock(self, subject, actions, of_holder):
        self.driver.breached(tuple(sorted(actions)), subject, agent=self.offer(subject)[0] if of_holder else None)

    def do_status(self, who, status, late, capacity):
        self.unit(lambda: self.driver.status(who, status, time=self.driver.t + late, capacity=capacity))

    def do_again(self, number):
        """A sender repeats himself: the same source and id."""
        if self.driver.inputs:
            event = self.driver.inputs[number % len(self.driver.inputs)]
            offset = self.driver._offsets[event.topic]
            self.driver._offsets[event.topic] = offset + 1
            self.driver._give(event._replace(offset=offset, broker_at=at(self.driver.t)))

    def do_stale(self, stale):
        self.driver.fresh = not stale

    def do_batch(self, on):
        if on and self.driver._batch is None:
            self.driver.batch()
        elif not on and self.driver._batch is not None:
            self.driver.flush()

    def finish(self):
        """Everything read, every timer due within two minutes fired."""
        self.do_batch(False)
        self.driver.fresh = True
        self.driver.unit()
        self.driver.pass_to(self.driver.t + 120)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, st.sampled_from(("assigned", "offered")), st.sampled_from((None, None, 1, 2)))
def test_random_histories_keep_the_contract(actions, mode, queue_limit):
    player = Player(mode, queue_limit)
    for action in actions:
        player.play(action)
    player.finish()
    driver = player.driver
    check_paths(driver.said)
    check_one_live_assignment(driver.said)
    check_agents(driver.said)
    check_statuses(driver)
    check_abilities(driver.said)
    check_nobody_waits_for_nothing(driver)
    check_every_hand_over_is_heard(driver)
    check_nobody_is_forgotten(driver)
    check_closes(driver)
    check_ids(driver.said)


# --- the independent judge -----------------------------------------------------------------------------------------


def check_paths(said):
    """6.5: queued+ ( assigned ( expired | revoked ) queued* )* assigned? released?, expired only after an offer."""
    paths, numbers, open_request = defaultdict(lambda: "start"), defaultdict(int), {}
    mode = {}
    for e in said:
        request = e.data["request_id"]
        numbers[request] += 1
        assert e.data["seq"] == numbers[request]
        state = paths[request]
        match e.type:
            case Told.QUEUED:
                assert state in ("start", "queued")
                if state == "start":
                    assert e.subject not in open_request
                    open_request[e.subject] = request
                paths[request] = "queued"
            case Told.ASSIGNED:
                assert state == "queued"
                mode[request] = e.data["mode"]
                assert ("accept_by" in e.data) == (e.data["mode"] == "offered")
                paths[request] = "assigned"
            case Told.EXPIRED | Told.REVOKED:
                assert state == "assigned"
                assert e.type is Told.REVOKED or mode[request] == "offered"
                paths[request] = "queued"
            case Told.RELEASED:
                assert state in ("queued", "assigned")
                assert ("agent_id" in e.data) == (state == "assigned")
                if e.data["reason"] == "queue_full":
                    assert e.data["seq"] == 2
                paths[request] = "ended"
                del open_request[e.subject]


def check_one_live_assignment(said):
    """6.2, first half."""
    live = {}
    for e in said:
        if e.type is Told.ASSIGNED:
            assert e.subject not in live
            live[e.subject] = e.data["assignment_id"]
        elif "assignment_id" in e.data:
            assert live.pop(e.subject) == e.data["assignment_id"]


def check_agents(said):
    """6.2, second half: numbers without gaps, load is the number of live assignments, never raised above capacity."""
    load, number = defaultdict(int), defaultdict(int)
    for e in said:
        if "agent_id" not in e.data:
            continue
        who = e.data["agent_id"]
        number[who] += 1
        load[who] += 1 if e.type is Told.ASSIGNED else -1
        assert (e.data["agent_seq"], e.data["load"]) == (number[who], load[who])
        if e.type is Told.ASSIGNED:
            assert e.data["load"] <= e.data["capacity"]


def status_of(driver, who, upto):
    known = [s for s in driver.statuses[:upto] if s.agent_id == who]
    return max(known, key=lambda s: (s.at, s.offset), default=None)


def counted_statuses(driver, who):
    """(index, status) of those that were the agent's last by event time when they were read: an older one says nothing."""
    newest = None
    for index, s in enumerate(driver.statuses):
        if s.agent_id == who and (newest is None or (s.at, s.offset) > newest):
            newest = (s.at, s.offset)
            yield index, s.status


def check_statuses(driver):
    """6.3: every assignment relies on the last status that had been read, and it says online."""
    for number, e in assignments_with_statuses(driver):
        last = status_of(driver, e.data["agent_id"], number)
        assert last is not None
        assert last.status == "online"
        assert last.event_id == e.data["explanation"]["agent_state_id"]
        assert e.data["capacity"] == (last.capacity if last.capacity is not None else TEAM[e.data["agent_id"]].capacity)


def assignments_with_statuses(driver):
    """Each assignment with how many statuses had been read by then (the driver notes it in ``marks``)."""
    return [(number, e) for number, e in driver.marks if e.type is Told.ASSIGNED]


def check_abilities(said):
    for e in said:
        if e.type is not Told.ASSIGNED:
            continue
        required, who = e.data["explanation"]["required"], TEAM[e.data["agent_id"]]
        assert required.get("agent") in (None, who.agent_id)
        assert all(who.skills.get(s["skill"], 0) >= s["proficiency"] for s in required["skills"])
        assert who.grade in required.get("grades", (who.grade,))
        explanation = e.data["explanation"]
        assert explanation["considered"] == len(TEAM) == explanation["eligible"] + sum(explanation["rejected"].values())


def check_nobody_waits_for_nothing(driver):
    """6.4 (b): at rest no queued request's step admits an agent who is online, has room and has not refused it."""
    last, queued, load, refused, paused = {}, {}, defaultdict(int), {}, set()
    events = []
    for number, e in driver.marks:
        request = e.data["request_id"]
        last[request] = e
        if e.type is Told.QUEUED:
            queued[request] = e
        if "agent_id" in e.data:
            load[e.data["agent_id"]] = e.data["load"]
        if e.type is Told.EXPIRED or e.data.get("reason") == "declined":
            refused[request, e.data["agent_id"]] = e.at
        if e.data.get("agent_paused"):
            events.append((number, e.data["agent_id"]))
    for number, who in events:
        later = [status for index, status in counted_statuses(driver, who) if index >= number]
        back = any(a != "online" and "online" in later[i:] for i, a in enumerate(later))
        if not back:
            paused.add(who)
    for request, e in last.items():
        if e.type in (Told.ASSIGNED, Told.RELEASED):
            continue
        required = queued[request].data["required"]
        for who, config in TEAM.items():
            status = status_of(driver, who, len(driver.statuses))
            if status is None or status.status != "online" or who in paused:
                continue
            capacity = config.capacity if status.capacity is None else status.capacity
            able = (
                required.get("agent") in (None, who)
                and all(config.skills.get(s["skill"], 0) >= s["proficiency"] for s in required["skills"])
                and config.grade in required.get("grades", (config.grade,))
            )
            recently = refused.get((request, who), -(2**62)) > at(driver.t - 10)
            assert load[who] >= capacity or not able or recently, (request, who)


def check_every_hand_over_is_heard(driver):
    """6.4 (a): a hand-over for a message later than every close has had a request open since it was read."""
    closes = defaultdict(list)
    for event in driver.inputs:
        if event.type == "conversation.closed.v1":
            closes[event.subject].append(event.at)
    messages = {(e.subject, e.data.message_id): e.at for e in driver.inputs if e.type == "message.received.v1"}
    spans = defaultdict(list)
    for index, (_, e) in enumerate(driver.marks):
        if e.type is Told.QUEUED and e.data["seq"] == 1:
            spans[e.subject].append([index, None])
        elif e.type is Told.RELEASED:
            spans[e.subject][-1][1] = index
    for event, said_before in driver.read_at:
        if event.type != "handover.requested.v1":
            continue
        message = messages.get((event.subject, event.data.message_id))
        if message is None or any(close >= message for close in closes[event.subject]):
            continue
        opened = any(end is None or end >= said_before for start, end in spans[event.subject])
        first = min(b for e, b in driver.read_at if e.data is event.data)  # a repeated one has no effect
        had_one = any(end is None or end >= first for start, end in spans[event.subject])
        # The opener may have had its request before (the table's "same opener").
        assert opened or had_one or spans[event.subject], event


def check_nobody_is_forgotten(driver):
    """Contract §4: when a request ends and a later message than the last close had been handed over, another is open."""
    events = [event for index, (event, _) in enumerate(driver.read_at) if not _seen_before(driver, index)]
    closed, spoken, messages, handed, last = defaultdict(int), set(), {}, set(), {}
    for event in events:
        if event.type == "conversation.closed.v1":
            closed[event.subject] = max(closed[event.subject], event.at)
        elif event.type == "message.sent.v1":
            spoken.add(event.subject)
        elif event.type == "message.received.v1":
            messages[event.subject, event.data.message_id] = event.at
        elif event.type == "handover.requested.v1":
            handed.add((event.subject, event.data.message_id))
    refused = {e.data["request_id"] for e in driver.said if e.data.get("reason") == "queue_full"}
    for e in driver.said:
        last[e.subject] = e
    for e in last.values():
        if e.type is not Told.RELEASED or e.data["reason"] in ("queue_full", "transferred") or e.subject in spoken:
            continue
        for subject, message in handed:
            if request_id(subject, "message", message) in refused:
                continue  # It has had its request (the table's "same opener"), and that was refused.
            assert subject != e.subject or messages.get((subject, message), 0) <= closed[subject], (subject, message)


def check_closes(driver):
    """6.4 (c): at rest, no open request was opened by something at or before a close that was read after it."""
    for index, (event, said_before) in enumerate(driver.read_at):
        if event.type != "conversation.closed.v1" or _seen_before(driver, index):
            continue
        before = [e for _, e in driver.marks[:said_before] if e.subject == event.subject]
        opened = [e for e in before if e.type is Told.QUEUED and e.data["seq"] == 1]
        if not opened:
            continue
        first = opened[-1]
        ended = any(
            e.type is Told.RELEASED and e.data["request_id"] == first.data["request_id"] for _, e in driver.marks
        )
        # The time of ``queued`` is never before the opener's event time.
        assert first.at > event.at or ended


def _seen_before(driver, index):
    event = driver.read_at[index][0]
    return any(other.id == event.id and other.topic == event.topic for other, _ in driver.read_at[:index])


def check_ids(said):
    """Contract §1: an id names one event."""
    assert len({id_of(e) for e in said}) == len(said)


# --- several instances decide as one does ----------------------------------------------------------------------------------


class Instances(Driver):
    """Three routers that take turns: each knows the others' decisions from rows alone, and one of them now and then
    starts with nothing.
    """

    def __init__(self, *configuration):
        super().__init__(*configuration)
        self.worlds = [self.world, World(self.catalog), World(self.catalog)]
        self.turn = 0

    def unit(self, events=(), statuses=(), due=()):
        self.turn += 1
        self.world = self.worlds[self.turn % 3]
        if self.turn % 7 == 0:
            self.world = self.worlds[self.turn % 3] = self.restarted(self.world)
        said = super().unit(events, statuses, due)
        for other in self.worlds:
            if other is not self.world:
                for request in self.world.dirty_requests.values():
                    other.put_request(row(request))
                for agent_id in self.world.dirty_agents:
                    other.put_agent(row(self.world.agents[agent_id]))
                for shop_id in self.world.dirty_shops:
                    other.put_shop(row(self.world.shops[shop_id]))
                # What could not be matched yet: each instance looks again by itself, after a while.
                other.pending_shops |= self.world.pending_shops & set(other.queues)
        self.states = {subject: row(state) for subject, state in self.states.items()}
        return said

    def restarted(self, world):
        fresh = World(self.catalog)
        for agent_id in reversed(world.agents):
            fresh.put_agent(row(world.agents[agent_id]))
        for shop_id in reversed(world.shops):
            fresh.put_shop(row(world.shops[shop_id]))
        for subject in reversed(world.requests):
            fresh.put_request(row(world.requests[subject]))
        fresh.pending_shops |= world.pending_shops
        return fresh


def row(state):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, st.sampled_from(("assigned", "offered")), st.sampled_from((None, None, 1, 2)))
def test_several_instances_say_what_one_says_to_the_last_byte(actions, mode, queue_limit):
    one, several = Player(mode, queue_limit), Player(mode, queue_limit, Instances)
    for action in actions:
        one.play(action)
        several.play(action)
    one.finish()
    several.finish()
    for first, second in zip(one.driver.said, several.driver.said, strict=True):
        assert output(first, id_of(first)) == output(second, id_of(second))
