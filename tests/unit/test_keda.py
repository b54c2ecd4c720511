"""KEDA's formula as the rehearsal of scaling by lag uses it."""

import itertools

import pytest
from tests.faults.keda import Behaviour, Scaler, wish

RULES = Behaviour(threshold=60_000, minimum=2, maximum=6)


@pytest.mark.parametrize(
    ("lag", "current", "wanted"),
    [
        (0, 2, 2),  # never below the minimum
        (60_000, 2, 2),
        (125_000, 2, 2),  # within a tenth of what two instances are for: left alone
        (140_000, 2, 3),
        (180_000, 3, 3),
        (1_000_000, 2, 6),  # never above the maximum
    ],
)
def test_the_formula_is_the_lag_by_the_threshold(lag, current, wanted):
    assert wish(lag, current, RULES) == wanted


def test_a_peak_shorter_than_the_window_starts_nobody():
    scaler = Scaler(RULES, 2)
    assert [scaler.look(at, lag) for at, lag in ((0, 0), (15, 900_000), (30, 0), (45, 900_000))] == [2, 2, 2, 2]


def test_upwards_at_most_double_in_a_minute_downwards_one_at_a_time_and_late():
    scaler = Scaler(RULES, 2)
    seen = {at: scaler.look(at, 900_000) for at in range(0, 180, 15)}
    assert seen[0] == 4, "nothing else was wished in the window"
    assert seen[45] == 4
    assert seen[60] == 6
    began = 180
    after = {at: scaler.look(at, 0) for at in range(began, began + 2400, 15)}
    steps = [at for at in range(began + 15, began + 2400, 15) if after[at] != after[at - 15]]
    assert after[began + 585] == 6, "ten minutes after the last wish for six"
    assert [after[at] for at in steps] == [5, 4, 3, 2]
    assert all(later - earlier >= 300 for earlier, later in itertools.pairwise(steps))
