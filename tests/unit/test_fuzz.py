"""A part of ``make fuzz``: whatever bytes come in, nothing crashes, nothing hangs."""

import pytest
from tests.fuzz.__main__ import Run, SlowError, mutated, run
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_thousand_mutated_inputs_are_read_or_refused(target):
    found = run(target, 1000, 5)
    assert found.inputs >= 1000


def test_a_crash_and_a_hang_are_seen():
    def crash(value):
        if b"\xff" in value:
            raise ZeroDivisionError

    def hang(value):
        if value.startswith(b"slow"):
            sum(range(20_000_000))

    with pytest.raises(ZeroDivisionError):
        run(Target("t", 1, (b"abc",), crash), 2000, 1)
    with pytest.raises(SlowError):
        Run(Target("t", 1, (b"slow",), hang)).put(b"slow")


def test_mutations_change_what_they_say():
    assert mutated(b"abc", [("cut", 1, 0)]) == b"ac"
    assert mutated(b"abc", [("put", 3, 1)]) == b"abc\x00"
    assert mutated(b"abc", [("swap", 1, 0)]) == b"bca"
    assert mutated(b"abc", [("flip", 0, 0)]) == b"`bc"
    assert mutated(b"ab", [("twice", 0, 40)]) == b"aab"
