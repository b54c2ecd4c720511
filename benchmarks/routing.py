"""``python -m benchmarks.routing [--arrivals FILE] [--json FILE]``: our policy against what other systems do, in virtual time.

The arrivals are days of counts in the shape of ``bank_calls``. A team of one shop is there as the mean day of the file asks for, half hour by
half hour; the file is scaled so that the work that comes is 70, 85, 95 and 105 % of what the team can do with all its places taken.
Everybody sees the same customers, the same agents, the same pace of work (``Traffic``): an agent of proficiency 5 is a fifth faster than one
of 3, one without the skill takes half as long again, and conversations at once slow each other down. The rivals know who has a skill
at all (departments), ours also how well, and gives up what it asks for step by step (``routing_policy.yaml``).

Figures, per policy and load: ``share180`` (of everybody who came, in %), ``vip_wait_s`` (mean), ``max_wait_s`` (anybody's longest: starvation), ``fairness`` (Jain's index
of the part of their places that was taken, over agents), ``left`` (%). Waits are those of everybody who came, until taken or gone.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

from benchmarks.figures import Figures, Floor
from deskline.config.book import ConfigBook
from deskline.config.documents import (
    Agent,
    AgentsDocument,
    LimitsDocument,
    RoutingDocument,
    SlaDocument,
    default_document,
)
from deskline.errors import UsageError
from deskline_router.catalog import BookCatalog
from deskline_router.simulation.desk import PolicyDesk
from deskline_router.simulation.engine import Desk, Shift, Simulation
from deskline_router.simulation.figures import figures as of_result
from deskline_router.simulation.model import Arrival, Count, Traffic
from deskline_router.simulation.rivals import RIVALS, RivalDesk
from deskline_router.simulation.setting import arrivals_path
from deskline_router.simulation.traffic import Draw, by_day, read_counts

LOADS: Final = (70, 85, 95, 105)
OURS: Final = "deskline"
SKILLS: Final = ("refund", "delivery", "size", "invoice")
TEAM: Final = 24
_HALF_HOUR: Final = 1800 * 1_000_000
_POLICY: Final = Path(__file__).with_name("routing_policy.yaml")
_GRADES: Final = ("senior", "standard", "standard", "trainee", "senior", "standard", "standard", "supervisor")


def team() -> list[Agent]:
    """Each knows two skills or three: one well, the others less; the first ones are there when few are."""
    found = []
    for n in range(TEAM):
        first, second, third = (SKILLS[(n + step) % len(SKILLS)] for step in (0, 1 + n // 4 % 3, 2 + n // 4 % 2))
        grade = _GRADES[(n + n // 8) % len(_GRADES)]
        skills = {third: 1, second: 2, first: 3} if grade == "trainee" else {third: 1, second: 3, first: 4 + n // 4 % 2}
        if grade == "trainee":
            del skills[third]
        found.append(Agent(agent_id=f"a{n:02}", skills=skills, grade=grade, capacity=3))
    return found


def main(
    arrivals: Annotated[str, typer.Option(help="Counts in the shape of bank_calls.")] = "bank_calls",
    *,
    json: Annotated[Path | None, typer.Option(help="Append one JSON line per figure to this file.")] = None,
    days: Annotated[int, typer.Option(min=1, help="So many days of the file, evenly spread.")] = 6,
    seed: Annotated[int, typer.Option()] = 1,
    policy: Annotated[Path, typer.Option(help="Our routing.yaml.")] = _POLICY,
    more: Annotated[
        bool, typer.Option("--more", help="Also the default policy, and rivals that know no departments.")
    ] = False,
) -> None:
    """Measure our policy against longest idle, least loaded, strict priority and round robin."""
    try:
        counts = read_counts(arrivals_path(arrivals))
    except UsageError as error:
        if arrivals != "bank_calls":
            raise typer.BadParameter(str(error)) from None
        print(f"skipped: {error}")
        return
    if counts is None:
        raise typer.BadParameter(f"{arrivals} holds single arrivals; counts in the shape of bank_calls are needed")
    bench = Bench(counts, days, seed)
    figures = Figures(json)
    for load in LOADS:
        bench.measure(figures, load, policy, more=more)


class Bench:
    def __init__(self, counts: Sequence[Count], days: int, seed: int) -> None:
        every = list(by_day(counts).values())
        step = max(1, len(every) // days)
        self._days = every[::step][:days]
        self._seed = seed
        self._team = {agent.agent_id: agent for agent in team()}
        self._traffic = Traffic(customers=4_000)
        self._shifts = list(shifts(self._days, list(self._team)))

    def customers(self, load: int) -> list[Arrival]:
        agent = next(iter(self._team.values()))
        pace = (
            agent.capacity / (1 + self._traffic.slowdown * (agent.capacity - 1)) / self._traffic.handling_s["default"]
        )
        can = pace * sum(shift.end - shift.begin for shift in self._shifts) / 1e6
        calls = sum(count.calls for day in self._days for count in day)
        draw = Draw(self._traffic, self._seed, SKILLS)
        return list(draw.of_counts([count for day in self._days for count in day], load / 100 * can / calls))

    def run(self, desk: Desk, customers: Sequence[Arrival]) -> dict[str, Any]:
        return of_result(Simulation(desk, self._team, self._traffic).run(customers, self._shifts))

    def ours(self, document: RoutingDocument) -> PolicyDesk:
        book = ConfigBook()
        book.install("_default", "agents", AgentsDocument(agents=tuple(self._team.values())))
        book.install("_default", "routing", document)
        book.install("_default", "limits", LimitsDocument())
        book.install("_default", "sla", SlaDocument())
        book.install("_default", "calendars", default_document("calendars"))
        return PolicyDesk(BookCatalog(book), "_default")

    def measure(self, figures: Figures, load: int, policy: Path, *, more: bool) -> None:
        customers = self.customers(load)
        print(f"{load} % load: {len(customers)} customers, {len(self._team)} agents, {len(self._days)} days")
        document = RoutingDocument.model_validate(yaml.safe_load(policy.read_text(encoding="utf-8")))
        began = time.process_time()
        found = {OURS: self.run(self.ours(document), customers)}
        took = time.process_time() - began
        for rival in RIVALS:
            found[rival] = self.run(RivalDesk(rival, self._team.values()), customers)
        show(figures, found, load)
        speed = Floor("≥ 100 000 a minute", lambda value, _: value >= 100_000)
        figures.show(f"routing_{OURS}_{load}_per_min", 60 * len(customers) / took, "conversations", floor=speed)
        if more:
            beside = {"deskline-default": self.run(self.ours(RoutingDocument()), customers)}
            for rival in RIVALS:
                desk = RivalDesk(rival, self._team.values(), departments=False)
                beside[f"{rival}-anybody"] = self.run(desk, customers)
            show(figures, beside, load)


def show(figures: Figures, found: Mapping[str, Mapping[str, Any]], load: int) -> None:
    for policy, data in found.items():
        every, vip = data["tiers"]["all"], data["tiers"].get("vip", {"mean_s": 0.0})
        name = f"routing_{policy}_{load}"
        values = {
            "share180": (100 * every["inside"], "%", max),
            "vip_wait_s": (vip["mean_s"], "s", min),
            "max_wait_s": (every["max_s"], "s", min),
        }
        for what, (value, unit, _) in values.items():
            figures.show(f"{name}_{what}", value, unit)
        figures.show(f"{name}_fairness", 100 * data["fairness"], "%")
        figures.show(f"{name}_left", 100 * every["left"] / every["came"], "%")


def shifts(days: Sequence[Sequence[Count]], names: Sequence[str]) -> list[Shift]:
    """As many as the mean day asks for, half hour by half hour: the first names stay longest."""
    calls: dict[int, float] = {}
    spans: dict[int, int] = {}
    for day in days:
        for count in day:
            calls[_slot(count.at)] = calls.get(_slot(count.at), 0) + count.calls
            spans[_slot(count.at)] = spans.get(_slot(count.at), 0) + count.span
    # The last slot of a day may be counted in part only.
    profile = {slot: calls[slot] / spans[slot] for slot in calls}
    most = max(profile.values())
    found = []
    for day in days:
        slots = sorted({_slot(count.at) for count in day})
        midnight = day[0].at - day[0].at % (48 * _HALF_HOUR)
        for number, name in enumerate(names):
            there = [slot for slot in slots if number < -int(-len(names) * profile[slot] // most)]
            for begin, end in _runs(there):
                found.append(Shift(name, midnight + begin * _HALF_HOUR, midnight + end * _HALF_HOUR))
    return found


def _slot(at: int) -> int:
    return at // _HALF_HOUR % 48


def _runs(slots: Sequence[int]) -> list[tuple[int, int]]:
    """Slots in a row, as (first, after the last)."""
    runs: list[tuple[int, int]] = []
    for slot in slots:
        if runs and runs[-1][1] == slot:
            runs[-1] = (runs[-1][0], slot + 1)
        else:
            runs.append((slot, slot + 1))
    return runs


if __name__ == "__main__":
    typer.run(main)
