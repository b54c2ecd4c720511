"""The simulation: agents and customers by hand, against queueing theory, and that the router's own policy decides."""

import json
import math
import random
from pathlib import Path

import pytest

from deskline.clock import SECOND, parse_rfc3339
from deskline.config.book import ConfigBook
from deskline.config.documents import (
    Agent,
    AgentsDocument,
    LimitsDocument,
    RoutingDocument,
    RoutingRule,
    SlaDocument,
    Step,
    default_document,
)
from deskline.errors import UsageError
from deskline_router.catalog import BookCatalog
from deskline_router.simulation.desk import PolicyDesk
from deskline_router.simulation.engine import Given, Shift, Simulation, Taken
from deskline_router.simulation.erlang import Load, agents_needed, service
from deskline_router.simulation.figures import figures, jain, quantile
from deskline_router.simulation.model import Arrival, Count, Traffic
from deskline_router.simulation.rivals import RIVALS, RivalDesk
from deskline_router.simulation.simulate_cli import simulate
from deskline_router.simulation.traffic import Draw, load_traffic, read_arrivals, read_counts
from deskline_router.telling import id_of, output

START = parse_rfc3339("2026-11-25T09:00:00Z")
ANYBODY = RoutingDocument(rules=(RoutingRule(rule_id="any", steps=(Step(keep_skills=False),)),))
PLAIN = Traffic(slowdown=0, accept_s=2)


def at(seconds):
    return START + round(seconds * SECOND)


def catalog(agents, routing=ANYBODY, limits=None):
    book = ConfigBook()
    book.install("_default", "agents", AgentsDocument(agents=tuple(agents)))
    book.install("_default", "routing", routing)
    book.install("_default", "limits", limits or LimitsDocument())
    book.install("_default", "sla", SlaDocument())
    book.install("_default", "calendars", default_document("calendars"))
    return BookCatalog(book)


def comes(second, name, work=100, patience=10_000, **fields):
    return Arrival(at(second), name, f"k-{name}", round(patience * SECOND), round(work * SECOND), **fields)


def run(agents, arrivals, routing=ANYBODY, traffic=PLAIN, *, until=100_000, limits=None, **options):
    desk = PolicyDesk(catalog(agents, routing, limits), "_default", options.pop("seen", None))
    simulation = Simulation(desk, {agent.agent_id: agent for agent in agents}, traffic, **options)
    return simulation.run(arrivals, [Shift(agent.agent_id, START, at(until)) for agent in agents])


def fates(result):
    return {
        one.arrival.subject: (one.agent_id, one.waited / SECOND, (one.ended - START) / SECOND)
        for one in result.outcomes
    }


def one(name="anna", **fields):
    return Agent(agent_id=name, **({"capacity": 1} | fields))


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_the_second_customer_of_one_agent_waits_until_the_first_is_served():
    result = run([one()], [comes(0, "a"), comes(10, "b", work=50)])
    assert fates(result) == {"a": ("anna", 0, 100), "b": ("anna", 90, 150)}


def test_who_has_no_more_patience_leaves_and_the_next_one_is_served():
    result = run([one()], [comes(0, "a"), comes(10, "b", patience=30), comes(20, "c")])
    assert fates(result) == {"a": ("anna", 0, 100), "b": (None, 30, 40), "c": ("anna", 80, 200)}
    assert figures(result)["tiers"]["all"]["left"] == 1


def test_conversations_at_once_share_an_agents_attention():
    half = Traffic(slowdown=1)
    # Alone for 50 s, then both at half the pace: a has 50 s of work left, which takes 100 s; b then 50 s alone.
    result = run([one(capacity=2)], [comes(0, "a"), comes(50, "b")], traffic=half)
    assert fates(result) == {"a": ("anna", 0, 150), "b": ("anna", 0, 200)}
    assert result.spent[0].busy == 200 * SECOND
    assert result.spent[0].places == 300 * SECOND


@pytest.mark.parametrize(("skills", "takes"), [({}, 150), ({"tax": 1}, 125), ({"tax": 3}, 100), ({"tax": 5}, 80)])
def test_the_work_takes_longer_who_is_less_able(skills, takes):
    result = run([one(skills=skills)], [comes(0, "a", skills=("tax",))])
    assert fates(result)["a"][2] == takes


def test_an_agent_finishes_what_he_has_when_his_shift_is_over_and_gets_nothing_new():
    result = run([one()], [comes(0, "a"), comes(60, "b", patience=500)], until=50)
    assert fates(result) == {"a": ("anna", 0, 100), "b": (None, 500, 560)}
    assert result.spent[0].there == 100 * SECOND


def test_an_offer_is_served_from_its_acceptance_on():
    offered = RoutingDocument(mode="offered", rules=ANYBODY.rules)
    assert fates(run([one()], [comes(0, "a")], offered)) == {"a": ("anna", 2, 102)}


def test_a_conversation_that_is_handed_up_goes_on_with_what_is_left_of_it():
    rule = RoutingRule(rule_id="r", steps=(Step(grades=("trainee",), hand_up_s=30, wait_s=5), Step(grades=("senior",))))
    words = []
    result = run(
        [one("tom", grade="trainee"), one("sue", grade="senior")], [comes(0, "a")], RoutingDocument(rules=(rule,)),
        watch=lambda _, word: words.append(word),
    )  # fmt: skip
    assert fates(result) == {"a": ("sue", 0, 100)}
    assert [type(word) for word in words] == [Given, Taken, Given]
    assert figures(result)["moved"] == 1


def test_a_full_queue_refuses_and_the_figures_say_so():
    result = run([one()], [comes(0, "a"), comes(1, "b"), comes(2, "c")], limits=LimitsDocument(queue_limit=1))
    assert [o.refused for o in result.outcomes] == [False, False, True]
    assert figures(result)["tiers"]["all"]["refused"] == 1


# --- against theory ---------------------------------------------------------------------------------------------------


def exponentials(r, count, mean):
    """Exactly so distributed, in an order of chance: a sample's own mean would blur the comparison."""
    drawn = [-mean * math.log(1 - (n + 0.5) / count) for n in range(count)]
    r.shuffle(drawn)
    return drawn


def poisson(rate, count, work, patience, seed=7):
    r, now = random.Random(seed), 0.0
    drawn = (exponentials(r, count, mean) for mean in (1 / rate, work, patience))
    for number, (gap, takes, waits) in enumerate(zip(*drawn, strict=True)):
        now += gap
        yield comes(now, f"c{number}", takes, waits)


@pytest.mark.parametrize(
    ("agents", "capacity", "slowdown", "rate"), [(4, 1, 0, 0.036), (4, 1, 0, 0.05), (3, 4, 0.4, 0.055)]
)
def test_simulated_waits_are_those_of_erlang_a(agents, capacity, slowdown, rate):
    load = Load(rate, 100, 300, capacity, slowdown)
    wanted = service(agents, load, 60)
    team = [one(f"a{n}", capacity=capacity) for n in range(agents)]
    result = run(team, poisson(rate, 12_000, 100, 300), traffic=Traffic(slowdown=slowdown), until=10**7)
    found = figures(result, 60)["tiers"]["all"]
    assert found["inside"] == pytest.approx(wanted.inside, abs=0.02)
    assert found["left"] / found["came"] == pytest.approx(wanted.abandoned, abs=0.015)
    assert found["mean_s"] == pytest.approx(wanted.mean_wait_s, rel=0.12, abs=0.5)


def test_erlang_a_with_endless_patience_is_erlang_c():
    # Two agents, one conversation each, 0.8 of them busy: 0.7111 wait, on average 1 / (2 × 0.01 - 0.016) = 250 s of those.
    found = service(2, Load(0.016, 100, 1e9, 1, 0), 60)
    wait = 2 * 0.8**2 / (1 + 0.8)
    assert found.inside == pytest.approx(1 - wait * math.exp(-60 * 0.004), abs=1e-4)
    assert found.mean_wait_s == pytest.approx(wait * 250, rel=1e-3)
    assert found.occupancy == pytest.approx(0.8, abs=1e-4)


def test_the_least_number_of_agents_is_the_least():
    load = Load(0.2, 200, 400, 3, 0.2)
    needed = agents_needed(((1.0, load),), 60, 0.9)
    assert service(needed, load, 60).inside >= 0.9 > service(needed - 1, load, 60).inside
    assert agents_needed(((1.0, load._replace(per_s=0)),), 60, 0.9) == 0


# --- the policy, and its rivals ---------------------------------------------------------------------------------------


def crowd(count=400, seed=3):
    mix = Traffic(handling_s={"default": 60}, patience_s={"default": 120})
    return mix, list(Draw(mix, seed, ("tax", "size")).of_counts([Count(START, 3600 * SECOND, count)]))


def team():
    return [one(f"a{n}", capacity=2, skills={("tax", "size")[n % 2]: 1 + n % 5}) for n in range(3)]


def test_the_same_seed_gives_the_same_decisions_byte_for_byte():
    def said():
        mix, customers = crowd()
        found = []
        run(
            team(), customers, RoutingDocument(), mix,
            seen=lambda emissions: found.extend(output(e, id_of(e)).value for e in emissions),
        )  # fmt: skip
        return found

    first = said()
    assert len(first) > 800
    assert said() == first


def test_what_a_simulation_is_told_are_events_of_the_contract_and_customers_find_their_own_agents():
    own = RoutingRule(rule_id="own", steps=(Step(own_agent=True, wait_s=60), Step()))
    again = [comes(0, "a", work=10), comes(100, "b", work=10)._replace(customer_id="k-a")]
    assigned = []
    run(
        team(), again, RoutingDocument(rules=(own,)),
        seen=lambda emissions: assigned.extend(e.data for e in emissions if "explanation" in e.data),
    )  # fmt: skip
    assert assigned[0]["agent_id"] == assigned[1]["agent_id"]
    assert assigned[1]["explanation"]["required"]["agent"] == assigned[0]["agent_id"]


@pytest.mark.parametrize("rival", RIVALS)
def test_every_rival_serves_within_capacity_and_department(rival):
    mix, customers = crowd()
    people = {agent.agent_id: agent for agent in team()}
    live = dict.fromkeys(people, 0)
    desk = RivalDesk(rival, people.values())
    result = Simulation(desk, people, mix).run(customers, [Shift(name, START, at(4000)) for name in people])
    assert len(result.outcomes) == len(customers)
    for outcome in result.outcomes:
        if outcome.agent_id is not None:
            assert outcome.arrival.skills[0] in people[outcome.agent_id].skills
    events = [(o.arrival.at + o.waited, 1, o.agent_id) for o in result.outcomes if o.agent_id]
    events += [(o.ended, -1, o.agent_id) for o in result.outcomes if o.agent_id]
    for _, change, name in sorted(events):
        live[name] += change
        assert live[name] <= people[name].capacity


def test_strict_priority_serves_vips_first_and_the_others_do_not():
    def order(rival):
        desk = RivalDesk(rival, [one()])
        customers = [comes(0, "a"), comes(1, "b", tier="regular"), comes(2, "c", tier="vip")]
        result = Simulation(desk, {"anna": one()}, PLAIN).run(customers, [Shift("anna", START, at(9999))])
        return [o.arrival.subject for o in sorted(result.outcomes, key=lambda o: o.waited + o.arrival.at)]

    assert order("strict_priority") == ["a", "c", "b"]
    assert order("longest_idle") == ["a", "b", "c"]


# --- figures and files ------------------------------------------------------------------------------------------------


def test_fairness_and_quantiles_are_what_they_are_called():
    assert jain([0.5, 0.5, 0.5]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) is None
    assert [quantile([1, 2, 3, 4], part) for part in (0.01, 0.25, 0.5, 0.9, 1)] == [1, 1, 2, 4, 4]


def test_counts_are_read_and_a_smaller_shop_has_their_shape(tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("DateTime,Calls\n2003-03-03 07:00:00,100\n2003-03-03 07:05:00,300\n")
    counts = read_counts(path)
    assert [(count.span, count.calls) for count in counts] == [(300 * SECOND, 100), (300 * SECOND, 300)]
    drawn = list(Draw(Traffic(), 1).of_counts(counts, 0.5))
    halves = [sum(a.at < counts[1].at for a in drawn), sum(a.at >= counts[1].at for a in drawn)]
    assert halves[0] == pytest.approx(50, abs=25)
    assert halves[1] == pytest.approx(150, abs=45)
    assert len(list(Draw(Traffic(), 1).of_counts(counts))) == 400


def test_single_arrivals_keep_what_they_state(tmp_path):
    path = tmp_path / "come.jsonl"
    path.write_text(
        '{"at": "2026-11-25T09:00:10Z", "tier": "vip", "skills": ["tax"], "patience_s": 9, "work_s": 5}\n'
        '{"at": "2026-11-25T09:00:00Z"}\n'
    )
    drawn, stated = read_arrivals(path, Draw(Traffic(), 1))
    assert drawn.at == START
    assert (stated.tier, stated.skills, stated.patience, stated.work) == ("vip", ("tax",), 9 * SECOND, 5 * SECOND)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "DateTime and Calls"),
        ("DateTime,Calls\n2003-03-03 07:00:00,x\n", ":2: expected a time and a number"),
        ("DateTime,Calls\n2003-03-03 07:00:00,1\n2003-03-03 06:00:00,1\n", ":3: times must rise"),
        ("DateTime,Calls\n2003-03-03 07:00:00,1\n", "give two at least"),
        ('{"at": "now"}\n', ":1: expected"),
        ('{"at": "2026-11-25T09:00:00Z", "tyre": 1}\n', ":1: tyre"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(tmp_path, text, says):
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_counts(path) or read_arrivals(path, Draw(Traffic(), 1))


def test_a_wrong_mix_is_refused(tmp_path):
    path = tmp_path / "mix.yaml"
    path.write_text("patience_s: {vip: 3}\n")
    with pytest.raises(UsageError, match="add default"):
        load_traffic(path)


def test_the_command_prints_draws_and_writes(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    come = tmp_path / "calls.csv"
    come.write_text("DateTime,Calls\n2026-11-25 09:00:00,40\n2026-11-25 09:30:00,60\n")
    files = {name: tmp_path / f"out.{name}" for name in ("html", "png", "json")}
    simulate(
        config=Path("examples/config"), shop="wardrobe", arrivals=str(come), agents="14", scale=1.0, seed=5,
        target=180.0, traffic=None, first=None, last=None,
        html_file=files["html"], png_file=files["png"], json_file=files["json"],
    )  # fmt: skip
    assert "100 customers, 14 agents" in capsys.readouterr().out
    assert files["png"].read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in files["html"].read_text()
    data = json.loads(files["json"].read_text())
    assert data["tiers"]["all"]["came"] == 100
    # The file says when by the shop's clock.
    assert {slot["at"] for slot in data["half_hours"]} == {
        parse_rfc3339("2026-11-25T01:00:00Z"),
        parse_rfc3339("2026-11-25T01:30:00Z"),
    }
    assert {one["agent_id"] for one in data["agents"]} >= {"w-chen", "w-chen-2"}
