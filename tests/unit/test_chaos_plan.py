"""``make chaos`` and ``make load``: what they would play follows from the seed."""

import pytest
from tests.chaos.__main__ import plan
from tests.chaos.faults import FAULTS
from tests.load.festival import Plan
from tests.load.rehearse import growth_per_hour


def test_there_are_thirty_faults_and_more_each_with_what_is_expected():
    assert len(FAULTS) >= 30
    assert all(one.expected for one in FAULTS.values())


def test_a_seed_gives_the_same_faults_in_the_same_order_and_another_seed_another():
    names = [[one.name for one in plan(seed, None, None)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert sorted(names[0]) == sorted(names[2]) == sorted(FAULTS)
    assert FAULTS[names[0][-1]].ends_the_primary, "nothing comes after the database that died for good"
    assert [one.name for one in plan(3, ["poison storm"], None)] == ["poison storm"]
    assert len(plan(4, None, 8)) == 8


def test_arrivals_rise_over_the_ramp_and_fall_again():
    festival = Plan(1, 10, 100, (("calm", 60, 1), ("festival", 60, 4), ("back", 60, 1)), ramp_s=10)
    assert [festival.factor(at) for at in (0, 59, 60, 65, 70, 119, 125, 179, 181)] == [1, 1, 1, 2.5, 4, 4, 2.5, 1, 0]
    assert [festival.phase(at) for at in (0, 60, 179, 500)] == ["calm", "festival", "back", "back"]


def test_growth_is_the_slope_of_the_last_two_thirds():
    at = [float(n) for n in range(30)]
    assert growth_per_hour(at, [100.0 if n < 10 else 200.0 for n in range(30)]) == 0
    assert growth_per_hour(at, [2.0 * n for n in range(30)]) == pytest.approx(7200)
