"""The documents ``agents`` and ``routing``: who the agents are, who a customer is, and who gets which request.

Defaults mean what contract §3 and §4 say where a shop has written nothing: everybody is an equal, nobody is kept in reserve.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from deskline.config.base import Document, Grade, Name, Names, PositiveSeconds, Seconds, Span, once, problem_at

GRADES: tuple[Grade, ...] = ("trainee", "standard", "senior", "supervisor")
"""From the lowest to the highest."""
Proficiency = Annotated[int, Field(ge=1, le=5)]
Share = Annotated[float, Field(gt=0, le=1)]

# --- agents -----------------------------------------------------------------------------------------------------


class Agent(Document):
    """One person. The same ``agent_id`` in two shops is the same person and must state the same capacity."""

    agent_id: Name
    name: str = ""
    skills: dict[Name, Proficiency] = Field(default={})
    """Skill → proficiency, 1 (learning) to 5 (expert)."""
    grade: Grade = "standard"
    languages: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    capacity: Annotated[int, Field(ge=0, le=1000)] = 5
    """Conversations at the same time, offers included; 0 takes nothing."""
    channels: dict[Name, Annotated[int, Field(ge=0, le=1000)]] | None = None
    """Channel → conversations of that channel at the same time. They only lower the capacity; a channel that is not
    named has no limit of its own."""
    reserve: bool | None = None
    """Gets conversations in a surge only. Without anybody marked so, a part of the team is the reserve (``surge.reserve_share``)."""
    shift: Name | None = None
    """The calendar in whose hours he gets something new; absent: whenever he is online."""
    wrap_up_s: Seconds | None = None
    """How long the place of a conversation that has ended stays taken. Absent: not at all."""
    certifications: tuple[Name, ...] | None = None
    training_hours: dict[Name, Annotated[float, Field(ge=0)]] | None = None
    """Training → hours completed."""


class Qualification(Document):
    """Who has all of this has that grade and these skills at least; it never takes anything away."""

    certifications: Names | None = None
    training_hours: dict[Name, Annotated[float, Field(gt=0)]] | None = None
    """Training → the least hours."""
    grade: Grade | None = None
    skills: dict[Name, Proficiency] = Field(default={})

    @model_validator(mode="after")
    def _asks_and_gives(self) -> Self:
        if not self.certifications and not self.training_hours:
            raise ValueError("this rule would hold for everybody; give certifications or training_hours")
        if self.grade is None and not self.skills:
            raise ValueError("this rule gives nothing; add grade or skills")
        return self


class AgentsDocument(Document):
    agents: tuple[Agent, ...] = ()
    qualifications: tuple[Qualification, ...] | None = None
    """What certifications and training hours make of an agent."""

    @model_validator(mode="after")
    def _agentsonce(self) -> Self:
        once("agent", "agents", "agent_id", (agent.agent_id for agent in self.agents))
        return self


# --- who the customer is ----------------------------------------------------------------------------------------


class TierRule(Document):
    """The first that matches names the customer's tier; without one it is the event's ``tier``, else ``regular``.

    What the customer's earlier events said counts where a later one is silent; complaints are those that we have seen.
    """

    tier: Name
    flags: Names | None = None
    """Tiers as the event states them."""
    min_total_spend: Annotated[float, Field(ge=0)] | None = None
    min_average_order: Annotated[float, Field(ge=0)] | None = None
    min_orders: Annotated[int, Field(ge=0)] | None = None
    max_orders: Annotated[int, Field(ge=0)] | None = None
    min_complaints: Annotated[int, Field(ge=1)] | None = None
    max_complaints: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        for what in ("orders", "complaints"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if low is not None and high is not None and low > high:
                raise problem_at(f"nobody has at least {low} and at most {high} {what}", f"min_{what}")
        return self


# --- rules ------------------------------------------------------------------------------------------------------

Cause = Literal["handover", "no_autoreply", "transfer", "complaint", "manual"]


class RoutingCondition(Document):
    tiers: Names | None = None
    skills: Names | None = None
    """Matches where the request asks for any of these."""
    entry_points: Names | None = None
    channels: Names | None = None
    languages: Names | None = None
    flags: Names | None = None
    causes: Annotated[tuple[Cause, ...], Field(min_length=1)] | None = None
    hours: Annotated[tuple[Span, ...], Field(min_length=1)] | None = None
    """Spans of the day, in the zone of the shop's default calendar, in which the request was opened."""


class Step(Document):
    """What is required while this step lasts; ``wait_s`` null: until assigned."""

    own_agent: bool = False
    """Only the customer's own agent: the dedicated one, else who had him last; skipped at once where there is none, or he is
    not online, or may not take it."""
    keep_skills: bool = True
    proficiency: Proficiency = 1
    skills: dict[Name, Proficiency] | None = None
    """Asked for beside those of the request."""
    grades: Annotated[tuple[Grade, ...], Field(min_length=1)] | None = None
    groups: Names | None = None
    language: bool = False
    wait_s: Seconds | None = None
    sla_share: Share | None = None
    """The step lasts at most this part of the SLA time that is left when it begins."""
    share: Share | None = None
    """Of the requests that follow this rule at most this part comes by this step; for the others it is skipped."""
    hand_up_s: PositiveSeconds | None = None
    """Who was chosen by this step has the conversation at most so long; then it goes on with the next step."""


class RoutingRule(Document):
    rule_id: Name
    when: RoutingCondition = RoutingCondition()
    priority: Annotated[int, Field(ge=0, le=100)] | None = None
    """Raises the request's priority to at least this."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _last_waits_longest(self) -> Self:
        for index, step in enumerate(self.steps[:-1]):
            if step.wait_s is None and step.sla_share is None:
                raise problem_at(
                    "this step lasts until somebody is assigned, so the steps behind it never come; give it wait_s",
                    "steps",
                    index,
                )
        for name in ("share", "hand_up_s"):
            if getattr(self.steps[-1], name) is not None:
                raise problem_at(
                    f"{name} needs a step behind this one; add the step that takes over",
                    "steps",
                    len(self.steps) - 1,
                    name,
                )
        return self


DEFAULT_STEPS: Final = (Step(wait_s=120), Step(keep_skills=False))
"""Where nothing is configured, or nothing fits. Two thirds of the promise for somebody with the skills: whoever lacks them takes half as
long again, and under load everybody behind waits for that (docs/performance.md, routing policies)."""


# --- the policy beside its rules --------------------------------------------------------------------------------


class Order(Document):
    """Which waiting request comes next."""

    by: Literal["cost", "priority", "arrival"] = "cost"
    """cost: weight × what waiting costs, which grows with every second × speed, so nobody waits for ever; priority: the
    greater number always first, then the longest wait; arrival: the longest wait."""
    tier_weights: dict[Name, Annotated[float, Field(gt=0, le=1000)]] = Field(default={"vip": 4, "high_spend": 2})
    """A tier that is not named weighs 1. Ten more of ``priority`` double a request's weight."""
    growth: Annotated[float, Field(ge=0.5, le=4)] = 1
    """How steeply a second more costs: with the part of the SLA time that has gone, to this power."""
    handling_s: dict[Name, PositiveSeconds] | None = None
    """Skill → the usual length of such a conversation: the shorter of two equals is served first. Absent: all alike."""


class Choice(Document):
    """Which of the agents who may take it: the smallest sum. Among equals, who has had the least work lately for his
    capacity, and so has been idle longest.
    """

    load: Annotated[float, Field(ge=0, le=100)] = 1
    """Of his load in parts of his capacity."""
    surplus: Annotated[float, Field(ge=0, le=100)] = 0.2
    """Of skills and grade beyond what is asked for, which are spared for those who need them."""


class Turns(Document):
    """What a held conversation weighs, by whose turn it is."""

    agent: Annotated[float, Field(gt=0, le=1, multiple_of=0.01)] = 1
    """The customer waits for the agent."""
    customer: Annotated[float, Field(gt=0, le=1, multiple_of=0.01)] = 1
    """The agent waits for the customer."""


class Trainees(Document):
    """Whom an agent of the grade trainee never gets, whatever a step admits."""

    never_tiers: tuple[Name, ...] = ("vip", "high_spend")
    never_flags: tuple[Name, ...] = ("complaint",)


class Complaints(Document):
    """What an open complaint does, until it is closed. Whom the complaint is about: who had the conversation."""

    never_same_agent: bool = True
    """He never gets the conversation again while the complaint is open; else he is chosen last."""
    take_back: bool = True
    """He loses the conversation at once."""


class Night(Document):
    """Requests that were opened outside the shop's hours."""

    off_hours: Literal["wait", "serve"] = "wait"
    """wait: until the shop opens; serve: who is online gets them."""
    gather_s: Seconds = 300
    """So long after opening nobody gets more of what came outside hours than his part by capacity, counted over all whose
    shift has begun. Without shifts all who are online share it, each up to his capacity."""


class Threshold(Document):
    """A surge begins where one of these is reached, and ends when all of its ends hold."""

    queue: Annotated[int, Field(ge=0)] | None = None
    """Waiting requests of the shop."""
    wait_s: Seconds | None = None
    """The longest wait."""
    arrivals_per_min: Annotated[float, Field(ge=0)] | None = None
    """New requests in the last minute."""

    def given(self) -> Iterator[tuple[str, float]]:
        for name in ("queue", "wait_s", "arrivals_per_min"):
            value = getattr(self, name)
            if value is not None:
                yield name, value


class Surge(Document):
    enter: Threshold
    leave: Threshold
    """For each that ``enter`` names, the lower value at which that part is over."""
    calm_s: Seconds = 60
    """So long all parts must be over."""
    reserve_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """The part of the team that is the reserve where nobody is marked so: the last by id, of each grade."""
    capacity_added: Annotated[int, Field(ge=0, le=100)] = 0
    """What each agent's capacity rises by."""
    capacity_limit: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Nobody's capacity rises above this."""

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        entered, left = dict(self.enter.given()), dict(self.leave.given())
        if not entered:
            raise problem_at("nothing begins the surge; give queue, wait_s or arrivals_per_min", "enter")
        for name, value in entered.items():
            if name not in left:
                raise problem_at(f"{name} is missing here; write at what value it is over, below {value:g}", "leave")
            if left[name] >= value:
                raise problem_at(
                    f"must be below enter's {value:g}, or the surge comes and goes with every request", "leave", name
                )
        for name in left:
            if name not in entered:
                raise problem_at(f"enter does not name {name}; add it there, or remove it here", "leave", name)
        return self


class Notices(Document):
    position_every_s: Annotated[float, Field(ge=30, le=86_400)] | None = 60
    """A waiting request's position and estimate are told again after so long, where they have changed. Null: never."""
    most_per_s: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Of a shop, such repetitions per second."""


WhileWaiting = Literal["keep", "supervisors", "supervisor_step"]
WhileHeld = Literal["keep", "anybody", "supervisors"]


class SlaAction(Document):
    """What one action that ``sla.yaml`` asks for, by a warning or a breach, does to the conversation's open request."""

    raise_by: Annotated[int, Field(ge=0, le=100)] = 0
    """Its priority rises by so much, to 100 at most."""
    flags: tuple[Name, ...] = ()
    """Added to it: a rule that matches one of them takes it over, from its first step on."""
    waiting: WhileWaiting = "keep"
    """While it waits. supervisors: from now on they may take it, too, whatever the step and the skills, and are chosen first;
    supervisor_step: it also goes on at once to the next step of its rule that is for them alone, if there is one."""
    held: WhileHeld = "keep"
    """While the agent whose clock it is has it, or the offer of it. anybody: it is taken back, and he is chosen last; supervisors:
    it is taken back where one of them has room for it at this moment, and else stays with him."""


class Raising(SlaAction):
    raise_by: Annotated[int, Field(ge=0, le=100)] = 20


class Reassigning(SlaAction):
    held: WhileHeld = "anybody"


class Calling(SlaAction):
    flags: tuple[Name, ...] = ("supervisor_called",)
    waiting: WhileWaiting = "supervisors"
    held: WhileHeld = "supervisors"


class SlaActions(Document):
    """By action. What it does not name happens as it says here."""

    supervisors: Annotated[tuple[Grade, ...], Field(min_length=1)] = ("supervisor",)
    """Grades that are meant."""
    remind: SlaAction = SlaAction()
    """The agents' desktop shows it; here nothing happens."""
    raise_priority: Raising = Raising()
    reassign: Reassigning = Reassigning()
    call_supervisor: Calling = Calling()

    @model_validator(mode="after")
    def _who_can_be_called(self) -> Self:
        if "trainee" in self.supervisors:
            raise problem_at(
                "trainees help nobody whose time is up; name other grades",
                "supervisors",
                self.supervisors.index("trainee"),
            )
        return self

    def given(self) -> Iterator[tuple[str, SlaAction]]:
        for name in ("remind", "raise_priority", "reassign", "call_supervisor"):
            yield name, getattr(self, name)


class RoutingPolicy(Document):
    mode: Literal["assigned", "offered"] = "assigned"
    accept_s: PositiveSeconds = 20
    """How long an offer waits for the agent's yes."""
    pause_after_missed: Annotated[int, Field(ge=1)] = 3
    """Offers missed in a row before the agent is paused."""
    tiers: tuple[TierRule, ...] = ()
    rules: tuple[RoutingRule, ...] = (RoutingRule(rule_id="default", steps=DEFAULT_STEPS),)
    """First match wins. The last rule should match everything; without one the default rule stands behind."""
    order: Order = Order()
    choice: Choice = Choice()
    turns: Turns = Turns()
    trainees: Trainees = Trainees()
    night: Night = Night()
    notices: Notices = Notices()
    sla_actions: SlaActions = SlaActions()
    complaints: Complaints | None = None
    """Absent: who is complained about is chosen last."""
    surge: Surge | None = None
    """Absent: nobody is kept in reserve."""

    @model_validator(mode="after")
    def _rulesonce(self) -> Self:
        once("rule", "rules", "rule_id", (rule.rule_id for rule in self.rules))
        return self

    @model_validator(mode="after")
    def _supervisors_have_a_step(self) -> Self:
        grades = set(self.sla_actions.supervisors)
        steps = [step for rule in self.rules for step in rule.steps if step.grades and set(step.grades) <= grades]
        for name, action in self.sla_actions.given():
            if action.waiting == "supervisor_step" and not steps:
                raise problem_at(
                    f"no step of any rule is for {' and '.join(sorted(grades))} alone; add one with these grades, or write "
                    "waiting: supervisors",
                    "sla_actions",
                    name,
                    "waiting",
                )
        return self


class RoutingDocument(RoutingPolicy):
    candidate: RoutingPolicy | None = None
    """A policy in shadow: whom it would choose is recorded beside each decision, and nothing of it is done. Usually in a
    file of its own: ``shadow/routing.yaml``."""
