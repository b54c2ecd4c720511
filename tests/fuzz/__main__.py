"""``python -m tests.fuzz --inputs 1000000``: mutated inputs for every target; exit code 1 on a crash or on one that took above 100 ms.

Hypothesis draws a seed input and the mutations of it, and shrinks what fails; from each drawn input some dozens follow by a generator
that the draw seeds, so that a million take minutes. ``--seed`` repeats a run. The worst time of each target is printed.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.fuzz.targets import TARGETS, Target

HANG_S = 0.1
_DERIVED = 60
_PIECES = (
    b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"null", b"-0", b"1e999", b"NaN", b'"', b"\\u0000", b"\\ud800", b"[[[[[[[[", b"{", b"}", b"]",
    b"&a", b"*a", b"<<: ", b"!!python/object:os.system ", b"%s", "\u202e".encode(), "龘".encode(), b"9" * 400, b"a" * 3000, b"\r\n", b"\t",
    b"--- ", b"2026-02-30T25:61:61Z", b"0000-00-00T00:00:00Z", b": ", b"- ", b"# ", b"|", b">",
)  # fmt: skip
_op = st.tuples(st.sampled_from(("put", "cut", "flip", "twice", "swap")), st.integers(0, 2**20), st.integers(0, 2**10))


class SlowError(AssertionError):
    """An input took longer than it may."""


def mutated(value: bytes, ops: list[tuple[str, int, int]]) -> bytes:
    for what, where, how in ops:
        at = where % (len(value) + 1)
        until = min(len(value), at + 1 + how % 40)
        match what:
            case "put":
                value = value[:at] + _PIECES[how % len(_PIECES)] + value[at:]
            case "cut":
                value = value[:at] + value[until:]
            case "flip" if at < len(value):
                value = value[:at] + bytes([value[at] ^ (1 << how % 8)]) + value[at + 1 :]
            case "twice":
                value = value[:until] + value[at:until] * (1 + how % 5) + value[until:]
            case "swap":
                value = value[at:] + value[:at]
    return value[:100_000]


def derived(value: bytes, chance: random.Random) -> bytes:
    names = ("put", "cut", "flip", "twice", "swap")
    ops = [
        (chance.choice(names), chance.randrange(2**20), chance.randrange(2**10)) for _ in range(chance.randint(1, 3))
    ]
    return mutated(value, ops)


class Run:
    """How many inputs a target has had, and the slowest."""

    def __init__(self, target: Target) -> None:
        self.target, self.inputs, self.worst_s, self.worst = target, 0, 0.0, b""

    def put(self, value: bytes) -> None:
        took = self._took(value)
        if took > HANG_S:
            # Another process or the collector may have had the processor: the input itself is slow where it is so every time.
            took = min(took, *(self._took(value) for _ in range(3)))
        self.inputs += 1
        if took > self.worst_s:
            self.worst_s, self.worst = took, value
        if took > HANG_S:
            raise SlowError(f"{self.target.name}: {took * 1000:.0f} ms for {value[:300]!r} ({len(value)} bytes)")

    def _took(self, value: bytes) -> float:
        began = time.thread_time()
        self.target.put(value)
        return time.thread_time() - began


def run(target: Target, inputs: int, of_seed: int) -> Run:
    """Raises what a target raises, with the input that hypothesis has shrunk."""
    found = Run(target)

    @seed(of_seed)
    @settings(
        max_examples=max(1, inputs // (_DERIVED + 1)), deadline=None, database=None, derandomize=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(st.sampled_from(target.seeds), st.lists(_op, max_size=6), st.integers(0, 2**32))
    def fuzz(value: bytes, ops: list[tuple[str, int, int]], more: int) -> None:
        value = mutated(value, ops)
        found.put(value)
        chance = random.Random(more)
        for _ in range(_DERIVED):
            found.put(derived(value, chance))

    fuzz()
    # Hypothesis stops early where it has drawn all that it can: the rest comes from the seeds alone.
    chance = random.Random(of_seed)
    while found.inputs < inputs:
        found.put(derived(chance.choice(target.seeds), chance))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="this one alone")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    gc.freeze()
    chosen = [target for target in TARGETS if options.target in (None, target.name)]
    whole = sum(target.share for target in chosen)
    total, began = 0, time.monotonic()
    for target in chosen:
        found = run(target, round(options.inputs * target.share / whole), options.seed)
        total += found.inputs
        sys.stdout.write(
            f"{target.name}: {found.inputs} inputs, the slowest {found.worst_s * 1000:.1f} ms of processor\n"
        )
        sys.stdout.flush()
    sys.stdout.write(
        f"{total} inputs in {time.monotonic() - began:.0f} s: no crash, none above {HANG_S * 1000:.0f} ms\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
