"""Random runs of sla, and an oracle that shares no code with it agrees on every word and every time.

``DESKLINE_ORACLE_RUNS`` and ``DESKLINE_ORACLE_PROCESSES`` say how many (1 each when not given; ``python -m tests.oracle`` makes fifty), ``DESKLINE_SEED``
which. A seed is printed with every run.
"""

import os

import pytest
from tests.oracle import in_process, processes

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

CONVERSATIONS = 2_000
SEED = int(os.environ.get("DESKLINE_SEED", "20261130"))


def seeds(name, default):
    return range(SEED, SEED + int(os.environ.get(name, default)))


def agrees(verdict, counts, seed):
    print(
        f"seed {seed}: {verdict.records} records, {verdict.duplicates} duplicates, {dict(counts)}, told {dict(verdict.told)}"
    )
    assert verdict.right, "\n".join([*map(str, verdict.violations[:20]), verdict.stories])
    # An oracle that looks at nothing agrees with everything.
    assert verdict.conversations >= CONVERSATIONS * 0.9
    assert verdict.duplicates > 100
    assert all(
        verdict.told[word] > 5 for word in ("met", "breached", "cancelled", "breach_retracted", "retargeted", "warning")
    )


@pytest.mark.parametrize("seed", seeds("DESKLINE_ORACLE_RUNS", "1"))
async def test_the_oracle_agrees_with_units_of_any_size_kills_and_pauses(seed, settings):
    verdict, counts = await in_process.run(seed, CONVERSATIONS, settings)
    agrees(verdict, counts, seed)
    assert counts["killed"] > 20


@pytest.mark.parametrize("seed", seeds("DESKLINE_ORACLE_PROCESSES", "1"))
async def test_the_oracle_agrees_with_real_processes_that_are_killed_and_frozen(seed, topics):
    verdict, counts = await processes.run(seed, CONVERSATIONS, topics)
    agrees(verdict, counts, seed)
    assert counts["killed"] >= 3
