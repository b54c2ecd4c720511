"""What happens in a run: records of the three topics that sla reads, and of ``shops.v1``, from a seed. Knows nothing of deskline."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.checker.records import DAY, SECOND, SHOPS
from tests.checker.validity import TYPES, show_time

SHOPS_OF_A_RUN = ("teahouse", "bookshop", "nobody-configured-this")
AGENTS = ("anna", "bo", "chen")
_WRITERS = {
    "conversations.v1": "/gateway/oracle",
    "replies.v1": "/deskline/autoreply",
    "routing.v1": "/deskline/router",
    SHOPS: "/deskline/config",
}
_TARGETS = (4, 30, 60, 180, 300)


class Draft(NamedTuple):
    """A record to be written. ``arrives`` (µs) orders it among the others, and is its broker timestamp where there is no broker."""

    topic: str
    subject: str
    value: bytes
    arrives: int


@dataclass
class History:
    drafts: list[Draft] = field(default_factory=list)
    """In the order in which they arrive."""
    ends_at: int = 0
    """When the last of them has arrived, and everything that they state has happened."""


class Live(NamedTuple):
    """A run on a real broker: everything arrives at about one instant, whatever its event time."""

    at: int


def history(seed: int, conversations: int, begin: int, *, span_s: float = 3600.0, live: Live | None = None) -> History:
    """``begin``: when the first conversation may start, µs; they start within ``span_s``."""
    chance = random.Random(f"oracle {seed}")
    drafts: list[Draft] = []
    for number in range(conversations):
        start = begin + round(chance.random() * span_s) * SECOND
        talk = _Talk(chance, f"o{seed}-{number}", chance.choice(SHOPS_OF_A_RUN), start, live)
        if chance.random() < 0.2:
            talk.wild()
        else:
            talk.sensible()
        drafts += talk.drafts
    drafts += configuration(chance, begin, span_s) if live is None else []
    drafts.sort(key=lambda draft: draft.arrives)
    return History(drafts, max(draft.arrives for draft in drafts))


# --- configuration ------------------------------------------------------------------------------------------------


def document(
    shop: str, kind: str, version: int, body: Any, *, effective_from: int, arrives: int, reevaluate: bool = False
) -> Draft:
    data = {
        "shop_id": shop,
        "version": version,
        "effective_from": show_time(effective_from),
        "document": kind,
        "body": body,
        "reevaluate": reevaluate,
    }
    return _draft("config.applied.v1", shop, f"{shop}-{kind}-{version}", effective_from, data, arrives=arrives)


def policies(chance: random.Random) -> dict[str, Any]:
    """A random SLA document."""
    metrics = (
        "instant_reply",
        "agent_response",
        "next_response",
        "transfer_response",
        "resolution",
        "complaint_closure",
    )
    conditions: tuple[dict[str, Any], ...] = (
        {},
        {"tiers": ["vip"]},
        {"tiers": ["new", "regular"]},
        {"channels": ["app"]},
        {"min_priority": 80},
        {"max_priority": 49, "tiers": ["regular"]},
    )
    rows = []
    for number in range(chance.randint(0, 4)):
        named = chance.sample(metrics, chance.randint(1, 4))
        targets = {metric: chance.choice((*_TARGETS, 0, 30.5, 3600)) for metric in named}
        if "complaint_closure" in targets:
            targets["complaint_closure"] = chance.choice((90, 3600, 172_800))
        rows.append({"policy_id": f"p{number}", "when": chance.choice(conditions), "targets": targets})
    made: dict[str, Any] = {"policies": rows}
    if chance.random() < 0.5:
        made["pause_on_hold"] = chance.sample(metrics, chance.randint(0, 5))
    if chance.random() < 0.3:
        made["warnings"] = sorted(chance.sample((0.25, 0.5, 0.8, 0.9), chance.randint(0, 3)))
    if chance.random() < 0.3:
        made["calendar"] = "night"
    if chance.random() < 0.3:
        made["complaints_count"] = "open_hours"
    return made


def calendars(chance: random.Random, day: str) -> dict[str, Any]:
    """Two calendars; ``day`` (a date) may be a holiday or a special day of them."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    spans = chance.choice(
        (["09:00-22:00"], ["09:00-10:20", "10:25-22:00"], ["00:00-24:00"], ["10:10-10:40", "10:55-11:30"])
    )
    shop: dict[str, Any] = {"timezone": "Asia/Shanghai", "weekly": dict.fromkeys(days, spans)}
    night: dict[str, Any] = {"timezone": "Europe/Berlin", "weekly": {name: ["22:00-03:30"] for name in days}}
    if chance.random() < 0.3:
        shop["special_days"] = {day: ["09:00-10:30", "10:31-18:00"]}
    elif chance.random() < 0.1:
        shop["holidays"] = [day]
    return {"default": "shop", "calendars": {"shop": shop, "night": night}}


def configuration(chance: random.Random, begin: int, span_s: float) -> list[Draft]:
    """``_default`` and two shops before anything happens, and new versions meanwhile, half of them for open clocks."""
    day = show_time(begin)[:10]
    early = begin - 3600 * SECOND
    drafts = []
    numbers: dict[tuple[str, str], int] = {}

    def apply(shop: str, kind: str, effective_from: int, arrives: int, *, reevaluate: bool) -> None:
        numbers[shop, kind] = version = numbers.get((shop, kind), 0) + 1
        body = policies(chance) if kind == "sla" else calendars(chance, day)
        drafts.append(
            document(shop, kind, version, body, effective_from=effective_from, arrives=arrives, reevaluate=reevaluate)
        )

    for shop, kind in (("_default", "sla"), ("_default", "calendars"), ("teahouse", "sla"), ("bookshop", "calendars")):
        apply(shop, kind, early, early - 60 * SECOND, reevaluate=False)
    for _ in range(chance.randint(2, 6)):
        at = begin + round(chance.random() * (span_s + 1200)) * SECOND
        shop = chance.choice(("_default", "teahouse", "bookshop"))
        # Now and then the record comes later than the lead before its instant: then it is in force later.
        arrives = at - chance.choice((600, 60, 7, 2)) * SECOND
        apply(shop, chance.choice(("sla", "sla", "calendars")), at, arrives, reevaluate=chance.random() < 0.5)
    return drafts


# --- conversations ------------------------------------------------------------------------------------------------


def _draft(type_: str, subject: str, id_: str, at: int, data: dict[str, Any], *, arrives: int) -> Draft:
    topic = TYPES[type_][0]
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "source": _WRITERS[topic],
        "type": type_,
        "subject": subject,
        "time": show_time(at),
        "data": data,
    }
    return Draft(topic, subject, json.dumps(envelope, ensure_ascii=False).encode(), arrives)


class _Talk:
    """One conversation. ``at`` is its time, which its steps move on."""

    def __init__(self, chance: random.Random, subject: str, shop: str, at: int, live: Live | None) -> None:
        self.chance = chance
        self.subject = subject
        self.shop = shop
        self.at = at
        self.live = live
        self.drafts: list[Draft] = []
        self.count = 0
        self.requests = 0
        self.request = ""
        self.assignment = ""
        self.owner = ""
        self.complaints: list[str] = []
        self.queued: dict[str, int] = {}
        """Request → when its last ``queued`` arrived."""
        self.ignored: set[str] = set()

    # --- writing ---------------------------------------------------------------------------------------------------

    def put(self, type_: str, at: int, **data: Any) -> None:
        """With all that may go wrong on the way."""
        chance = self.chance
        self.count += 1
        shop = self.shop if chance.random() > 0.01 else chance.choice(SHOPS_OF_A_RUN)
        data = {"shop_id": shop, **data}
        arrives = at + self._delay()
        if type_ == "conversation.queued.v1":
            # One writer, in the order of ``seq``.
            arrives = self.queued[data["request_id"]] = max(arrives, self.queued.get(data["request_id"], 0))
        stated = at
        if chance.random() < 0.004 and "waiting_since" not in data:
            # More than five seconds ahead or a week ago: the broker's time counts.
            stated = arrives + chance.choice((600 * SECOND, 6 * SECOND, -8 * DAY))
        made = _draft(type_, self.subject, f"{type_}-{self.count}", stated, data, arrives=arrives)
        self.drafts.append(made)
        draw = chance.random()
        if draw < 0.02:
            self.drafts.append(made._replace(arrives=arrives + round(chance.uniform(0, 900) * SECOND)))
        elif draw < 0.03:
            # The same id and another body: the first counts.
            other = _draft(
                type_, self.subject, f"{type_}-{self.count}", at + 5 * SECOND, data, arrives=arrives + 7 * SECOND
            )
            self.drafts.append(other)
        elif draw < 0.045 and "message_id" in data:
            # Another id, the same message.
            other = _draft(type_, self.subject, f"again-{self.count}", at + SECOND, data, arrives=arrives + 2 * SECOND)
            self.drafts.append(other)

    def _delay(self) -> int:
        draw = self.chance.random()
        if draw < 0.93:
            seconds = self.chance.uniform(0.002, 0.4)
        elif draw < 0.98:
            seconds = self.chance.uniform(0.4, 20)
        else:
            seconds = self.chance.uniform(20, 1800)
        return round(seconds * SECOND)

    def wait(self, *, target: float = 0) -> int:
        """Some seconds, often whole ones, now and then exactly a target or a microsecond beside it."""
        draw = self.chance.random()
        if target and draw < 0.2:
            return round(target * SECOND) + self.chance.choice((-1, 0, 0, 1))
        if draw < 0.6:
            return self.chance.choice((0, 1, 2, 3, 10, 30, 60, 100, 180, 200, 300, 400)) * SECOND
        return round(self.chance.expovariate(1 / 60) * SECOND)

    # --- what people and services write ------------------------------------------------------------------------------

    def customer(self, at: int) -> str:
        message = f"m{self.count}"
        customer: dict[str, Any] = {"customer_id": f"of-{self.subject}"}
        if self.chance.random() < 0.5:
            customer["tier"] = self.chance.choice(("vip", "new", "regular", "gold"))
        channel = self.chance.choice(("web", "app"))
        self.put("message.received.v1", at, message_id=message, channel=channel, text="在吗", customer=customer)
        return message

    def wrote(self, at: int, who: str, *, kind: str = "agent", to: str | None = None) -> None:
        more = {"in_reply_to": to} if to is not None else {}
        author = {"kind": kind, "id": who}
        self.put("message.sent.v1", at, message_id=f"s{self.count}", author=author, text="您好", **more)

    def reply(self, at: int, message: str, *, handover: bool = False) -> None:
        base = at if self.live is None else self.live.at + 3600 * SECOND
        deliver_by = show_time(base + (60 if self.chance.random() > 0.05 else -7200) * SECOND)
        self.put(
            "reply.issued.v1", at, rules_version=1, routing_offset=0, reply_id=f"r-{self.subject}-{message}", in_reply_to=message,
            text="好", kind="faq", handover=handover, deliver_by=deliver_by,
        )  # fmt: skip

    def hand_over(self, at: int, message: str, since: int, priority: int = 50) -> None:
        self.put(
            "handover.requested.v1", at, rules_version=1, routing_offset=0, message_id=message, waiting_since=show_time(since),
            reason="no_match", skills=[], priority=priority, flags=[],
        )  # fmt: skip

    def ignore(self, at: int, message: str, reason: str) -> None:
        if message in self.ignored:
            return  # a message has one outcome
        self.ignored.add(message)
        self.put("message.ignored.v1", at, rules_version=1, routing_offset=0, message_id=message, reason=reason)

    def queue(self, at: int, request: str, since: int, *, cause: str, priority: int = 50, seq: int = 1) -> None:
        self.put(
            "conversation.queued.v1", at, request_id=request, seq=seq, cause=cause, skills=[], priority=priority, step=1,
            required={"skills": []}, position=1, waiting_since=show_time(since),
        )  # fmt: skip

    def assign(self, at: int, request: str, assignment: str, agent: str, *, mode: str = "assigned") -> None:
        explanation = {
            "rule": "r", "step": 1, "required": {"skills": []}, "relaxed": [], "agent_state_id": "s", "considered": 1,
            "eligible": 1, "rejected": {}, "chosen": {"score_parts": {}},
        }  # fmt: skip
        self.put(
            "conversation.assigned.v1", at, request_id=request, seq=2, **self._about(agent), assignment_id=assignment, attempt=1,
            mode=mode, waited_s=0, policy_version=1, explanation=explanation,
            **({"accept_by": show_time(at + 20 * SECOND)} if mode == "offered" else {}),
        )  # fmt: skip

    def _about(self, agent: str) -> dict[str, Any]:
        return {"agent_id": agent, "agent_seq": 1, "load": 1, "capacity": 5}

    def take_back(self, at: int, request: str, assignment: str, agent: str, *, expired: bool = False) -> None:
        type_, reason = (
            ("assignment.expired.v1", "not_accepted") if expired else ("assignment.revoked.v1", "agent_offline")
        )
        self.put(
            type_, at, request_id=request, seq=3, **self._about(agent), assignment_id=assignment, reason=reason, agent_paused=False,
        )  # fmt: skip

    def release(self, at: int, request: str, reason: str, assignment: str = "") -> None:
        more = {"assignment_id": assignment} if assignment else {}
        self.put("conversation.released.v1", at, request_id=request, seq=9, reason=reason, **more)

    # --- a sensible course -------------------------------------------------------------------------------------------

    def sensible(self) -> None:
        chance = self.chance
        for _ in range(chance.randint(1, 4)):
            self.round()
            self._between()
            if chance.random() < 0.3:
                self.close()
            self.at += self.wait() + SECOND
        if chance.random() < 0.7:
            self.close()
        for complaint in self.complaints:
            if chance.random() < 0.7:
                later = round(chance.choice((30, 89, 90, 91, 3600, 90_000, 172_800, 200_000)) * SECOND)
                self.put("complaint.closed.v1", self.at + later, complaint_id=complaint)

    def round(self) -> None:
        chance = self.chance
        since = self.at
        message = self.customer(since)
        for _ in range(chance.choice((0, 0, 0, 1, 3))):
            self.customer(since + chance.randint(0, 20) * SECOND)
        if self.owner:
            if chance.random() < 0.7:
                self.ignore(since + SECOND // 2, message, chance.choice(("human_owned", "waiting")))
            self.answered(since)
            return
        draw = chance.random()
        if draw < 0.4:
            self.at += self.wait(target=30)
            self.reply(self.at, message)
        elif draw < 0.5:
            self.at += self.wait(target=30)
            self.wrote(self.at, "bot", kind="bot", to=message)
        elif draw < 0.58:
            self.ignore(
                since + SECOND, message, chance.choice(("empty", "duplicate_text", "cooldown", "superseded", "shadow"))
            )
        elif draw < 0.63:
            self.answered(since)
        else:
            self.handed_over(message, since)

    def handed_over(self, message: str, since: int) -> None:
        chance = self.chance
        priority = chance.choice((50, 50, 90, 10))
        silent = chance.random() < 0.25
        at = since + chance.choice((0, 100_000, 700_000, 3_200_000))
        if not silent:
            if chance.random() < 0.4:
                self.reply(at, message, handover=True)
            self.hand_over(at, message, since, priority)
        self.open_request(at + 50_000, since, cause="no_autoreply" if silent else "handover", priority=priority)
        if not self.request:
            return
        self.answered(since)

    def open_request(self, at: int, since: int, *, cause: str, priority: int = 50) -> None:
        chance = self.chance
        self.requests += 1
        request = self.request = f"q-{self.subject}-{self.requests}"
        self.queue(at, request, since, cause=cause, priority=priority)
        if cause != "transfer" and chance.random() < 0.06:
            self.release(at, request, "queue_full")
            self.request = ""
            return
        if chance.random() < 0.2:
            self.queue(at + 40 * SECOND, request, since, cause=cause, priority=chance.choice((priority, 95)), seq=2)
        self.take(at + chance.choice((0, 0, 5, 40, 170)) * SECOND)

    def take(self, at: int) -> None:
        """An agent gets it, perhaps only the second one."""
        chance = self.chance
        request = self.request
        agent = chance.choice(AGENTS)
        number = 1
        if chance.random() < 0.3:
            offered = f"a-{request}-0"
            self.assign(at, request, offered, agent, mode="offered")
            if chance.random() < 0.5:
                self.put("assignment.accepted.v1", at + 5 * SECOND, assignment_id=offered, agent_id=agent)
                self.owner, self.assignment = agent, offered
                return
            self.take_back(at + 20 * SECOND, request, offered, agent, expired=chance.random() < 0.5)
            at += 21 * SECOND
            agent = chance.choice(AGENTS)
        elif chance.random() < 0.1:
            self.assign(at, request, f"a-{request}-0", agent)
            self.take_back(at + 15 * SECOND, request, f"a-{request}-0", agent)
            at += 16 * SECOND
        self.assignment = f"a-{request}-{number}"
        self.assign(at, request, self.assignment, agent)
        self.owner = agent

    def answered(self, since: int) -> None:
        """By whoever owns, or somebody who comes by; perhaps not at all."""
        chance = self.chance
        if chance.random() < 0.1:
            return
        at = max(self.at, since) + self.wait(target=chance.choice((60, 180, 300)))
        self.wrote(at, self.owner or chance.choice(AGENTS))
        self.at = max(self.at, at)

    def _between(self) -> None:
        chance = self.chance
        if chance.random() < 0.12:
            self.hold()
        if self.owner and self.request and chance.random() < 0.2:
            self.transfer()
        if chance.random() < 0.1:
            complaint = f"k{self.count}"
            self.put("complaint.opened.v1", self.at + SECOND, complaint_id=complaint)
            self.complaints.append(complaint)

    def hold(self) -> None:
        at = self.at + self.chance.choice((0, 10, 60)) * SECOND
        self.put("conversation.held.v1", at)
        if self.chance.random() < 0.2:
            self.put("conversation.held.v1", at + 3 * SECOND)
        if self.chance.random() < 0.5:
            self.customer(at + 5 * SECOND)
        if self.chance.random() < 0.8:
            at += self.wait()
            self.put("conversation.resumed.v1", at)
            self.at = max(self.at, at)

    def transfer(self) -> None:
        """To another, back again, or to nobody for a while."""
        for _ in range(self.chance.choice((1, 1, 2))):
            at = self.at + self.chance.choice((1, 5, 30)) * SECOND
            self.put("transfer.requested.v1", at, by_agent_id=self.owner)
            self.release(at + 100_000, self.request, "transferred", self.assignment)
            self.open_request(at + 150_000, at, cause="transfer")
            self.at = at
            if self.chance.random() < 0.8:
                self.at += self.wait(target=300)
                self.wrote(self.at, self.chance.choice((self.owner, *AGENTS)))

    def close(self) -> None:
        at = self.at + self.chance.choice((0, 0, 1, 30, 179, 180)) * SECOND
        self.put("conversation.closed.v1", at, resolved=self.chance.random() < 0.8)
        if self.request and self.chance.random() < 0.9:
            self.release(at + 200_000, self.request, "closed", self.assignment)
        self.owner = self.request = self.assignment = ""
        self.at = at

    # --- anything at all ---------------------------------------------------------------------------------------------

    def wild(self) -> None:
        """Few names, few instants, no sense: ties and clashes."""
        chance = self.chance
        base = self.at

        def instant() -> int:
            return base + chance.choice((0, 0, 10, 30, 30, 60, 120, 180, 210, 300)) * SECOND

        def earlier() -> tuple[int, int]:
            """Its own time, and since when somebody waited."""
            since, at = sorted((instant(), instant()))
            return at, since

        def request() -> str:
            return f"q-{self.subject}-{chance.randint(1, 3)}"

        def assignment() -> str:
            return f"a-{self.subject}-{chance.randint(1, 3)}"

        names: list[str] = []

        def said() -> None:
            names.append(self.customer(instant()))

        def message() -> str:
            return chance.choice(names) if names else "m-nobody-wrote"

        def handed_over() -> None:
            at, since = earlier()
            self.hand_over(at, message(), since, chance.choice((50, 90)))

        steps: tuple[Callable[[], None], ...] = (
            said,
            said,
            lambda: self.wrote(instant(), chance.choice(AGENTS), to=chance.choice((None, message()))),
            lambda: self.wrote(instant(), "bot", kind=chance.choice(("bot", "system")), to=chance.choice((None, message()))),
            lambda: self.put("assignment.accepted.v1", instant(), assignment_id=assignment(), agent_id=chance.choice(AGENTS)),
            lambda: self.put("transfer.requested.v1", instant(), by_agent_id=chance.choice(AGENTS)),
            lambda: self.put(f"conversation.{chance.choice(('held', 'resumed'))}.v1", instant()),
            lambda: self.put("conversation.closed.v1", instant(), resolved=True),
            lambda: self.put(f"complaint.{chance.choice(('opened', 'closed'))}.v1", instant(), complaint_id="k"),
            lambda: self.reply(instant(), message()),
            handed_over,
            lambda: self.ignore(instant(), message(), chance.choice(("human_owned", "waiting", "empty", "shadow"))),
            lambda: self.release(instant(), request(), chance.choice(("closed", "transferred", "queue_full")), chance.choice(("", assignment()))),
            lambda: self.assign(instant(), request(), assignment(), chance.choice(AGENTS), mode=chance.choice(("assigned", "offered"))),
            lambda: self.take_back(instant(), request(), assignment(), chance.choice(AGENTS)),
        )  # fmt: skip
        queued: set[str] = set()
        for _ in range(chance.randint(4, 14)):
            if chance.random() < 0.15:
                name = request()
                cause = chance.choice(("handover", "no_autoreply", "transfer", "complaint"))
                at, since = earlier()
                self.queue(at, name, since, cause=cause, priority=chance.choice((50, 90)), seq=1 + (name in queued))
                queued.add(name)
            else:
                chance.choice(steps)()
