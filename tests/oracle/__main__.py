"""``python -m tests.oracle --runs 50 --processes 10``: exit code 0 where the oracle agrees with every run."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.oracle.judge import Verdict


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description="Random runs of sla against an oracle.")
    parser.add_argument("--runs", type=int, default=40, help="with a clock of their own, on a real PostgreSQL")
    parser.add_argument(
        "--processes", type=int, default=12, help="of real processes on a real Kafka, killed and frozen"
    )
    parser.add_argument("--conversations", type=int, default=2_000, help="in each run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the first run")
    options = parser.parse_args()
    from tests.oracle import servers

    total: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="deskline-oracle-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        with servers.started(Path(folder), kafka=options.processes > 0) as made:
            plan = [(made.in_process, seed) for seed in range(options.seed, options.seed + options.runs)]
            plan += [(made.processes, seed) for seed in range(options.seed, options.seed + options.processes)]
            for play, seed in plan:
                began = time.monotonic()
                verdict, counts = asyncio.run(play(seed, options.conversations))
                wrong += not verdict.right
                total.update(verdict.told)
                total["runs"] += 1
                total["conversations"] += verdict.conversations
                total["records"] += verdict.records
                _say(f"{play.__name__} seed {seed}: {_text(verdict, counts)}, {time.monotonic() - began:.0f} s")
    _say(f"{'all agree' if not wrong else f'{wrong} runs do not agree'}: {dict(total)}")
    return 1 if wrong else 0


def _text(verdict: Verdict, counts: Counter[str]) -> str:
    text = f"{verdict.conversations} conversations, {verdict.records} records ({verdict.duplicates} duplicates), {dict(counts)}, told {dict(verdict.told)}"
    if verdict.right:
        return f"agrees: {text}"
    shown = "\n".join(map(str, verdict.violations[:20]))
    return f"DOES NOT AGREE, {len(verdict.violations)} violations: {text}\n{shown}\n{verdict.stories}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
