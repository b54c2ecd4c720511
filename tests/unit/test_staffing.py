"""How many agents a half hour needs: against simulation, and on real days that the plan has not seen (``../shared/data``)."""

import os
from pathlib import Path

import pytest
from tests.fixtures.image import ROOT

from deskline.clock import SECOND, parse_rfc3339
from deskline.errors import UsageError
from deskline_router.simulation.engine import Shift
from deskline_router.simulation.forecast import Work, fifteens, grouped, history, plan, slots_of
from deskline_router.simulation.model import Count
from deskline_router.simulation.staffing_cli import counted, joined, page, staffed, staffing, tried, wall
from deskline_router.simulation.traffic import by_day, read_counts

WORK = Work(work_s=300, patience_s=600, capacity=3, slowdown=0.15)
MONDAY = parse_rfc3339("2026-11-23T00:00:00Z")
DATA = Path(os.environ.get("DESKLINE_DATA", ROOT / ".." / "shared" / "data")) / "bank_calls" / "bank_calls.csv.gz"


def days(number, calls=(60, 120), start=9 * 3600):
    """Half hours from nine o'clock on."""
    return [
        Count(MONDAY + (day * 86_400 + start + n * 1800) * SECOND, 1800 * SECOND, value + day)
        for day in range(number)
        for n, value in enumerate(calls)
    ]


def test_a_half_hour_is_forecast_from_the_same_weekdays_where_there_are_enough():
    known = by_day(days(28))
    assert history(known, 0) == {18: [60, 67, 74, 81], 19: [120, 127, 134, 141]}
    few = by_day(days(7))
    assert [len(values) for values in history(few, 0).values()] == [7, 7]


def test_a_half_hour_that_was_counted_in_part_stands_for_a_whole_one():
    assert slots_of([Count(MONDAY, 300 * SECOND, 10)]) == {0: 60}


def test_days_are_grouped_by_how_much_came():
    assert grouped([4, 1, 3, 2]) == [(0.25, 1), (0.25, 2), (0.25, 3), (0.25, 4)]
    assert grouped(list(range(12)), 3)[0] == (pytest.approx(1 / 6), 1.5)


def test_the_plan_reaches_its_aim_with_the_least_agents_and_more_uncertainty_needs_more():
    (sure,) = plan({18: [100, 100, 100, 100]}, WORK, 60, 0.9)
    (unsure,) = plan({18: [40, 80, 120, 160]}, WORK, 60, 0.9)
    assert sure.inside >= 0.9
    assert unsure.calls == sure.calls == 100
    assert unsure.agents > sure.agents
    assert sure.busy_agents > 2 * sure.agents
    assert sure.busy_inside < 0.5


def test_one_for_fifteen():
    assert [fifteens(number) for number in (0, 0.1, 15, 15.1, 300)] == [0, 1, 1, 2, 20]


def test_the_plan_holds_in_simulation():
    data = staffed(days(10, (60, 120, 200, 90)), WORK, target_s=60, aim=0.9, held_out=2, weekday=None, seed=1)
    # A whole agent more or less is a lot of so few: rounded up, the plan does better than its aim.
    assert data["simulated"] > 0.88
    fewer = {one["slot"]: one["agents"] - 1 for one in data["slots"]}
    assert (
        tried(fewer, {one["slot"]: one["calls"] for one in data["slots"]}, WORK, 60, 1, repeats=5) < data["simulated"]
    )
    assert [one["day"] for one in data["held_out"]] == ["2026-12-01", "2026-12-02"]
    assert all(one["inside"] > 0.85 for one in data["held_out"])
    assert page(data).tables[0].rows[0][0] == "09:00"


def test_all_days_cannot_be_held_out():
    with pytest.raises(UsageError, match="leave one at least"):
        staffed(days(2), WORK, target_s=60, aim=0.9, held_out=2, weekday=None, seed=1)


def test_shifts_without_a_gap_are_one():
    assert joined([Shift("a", 0, 1), Shift("a", 1, 2), Shift("a", 3, 4), Shift("b", 1, 2)]) == [
        Shift("a", 0, 2), Shift("a", 3, 4), Shift("b", 1, 2),
    ]  # fmt: skip


def test_instants_are_counted_by_the_half_hour_empty_ones_too():
    assert [count.calls for count in counted([MONDAY, MONDAY + SECOND, MONDAY + 3700 * SECOND])] == [2, 0, 1]


def test_the_archives_instants_are_put_by_the_clock_on_the_wall():
    assert wall(MONDAY, "Asia/Shanghai") == MONDAY + 8 * 3600 * SECOND
    with pytest.raises(UsageError, match="write an IANA time zone"):
        wall(MONDAY, "Peking")


def test_the_command_asks_for_one_source():
    with pytest.raises(UsageError, match="either --arrivals or --from-archive"):
        staffing(arrivals=None, from_archive=None, traffic=None)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not DATA.is_file(), reason="the data set bank_calls is not beside the repository")
def test_on_real_days_that_it_has_not_seen_the_plan_reaches_its_aim_over_all_customers():
    counts = [count._replace(calls=count.calls * 0.03) for count in read_counts(DATA)]
    data = staffed(counts, WORK, target_s=180, aim=0.9, held_out=5, weekday=None, seed=1)
    assert data["held_out_inside"] >= 0.88
    assert data["held_out_reached"] >= 3
