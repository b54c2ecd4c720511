"""``python -m tests.checker --stack DIR/stack.json``: exit code 0 where no rule is broken, 1 where one is."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.checker.judge import check
from tests.checker.source import Addresses, read, settings
from tests.checker.story import stories


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.checker", description="Judge what deskline put out.")
    parser.add_argument("--stack", type=Path, help="stack.json of `deskline up`")
    parser.add_argument("--bootstrap-servers")
    parser.add_argument("--postgres-dsn", help="without it the archive is not judged")
    parser.add_argument("--topic-prefix", default="")
    parser.add_argument("--allowed-lateness-s", type=float, default=1.0)
    parser.add_argument("--config-lead-s", type=float, default=5.0)
    parser.add_argument("--running", action="store_true", help="not at rest: do not judge what is missing")
    parser.add_argument("--limit", type=int, default=20, help="violations shown of each kind")
    parser.add_argument("--stories", type=int, default=0, help="conversations told whole of each kind")
    options = parser.parse_args()
    if options.stack is not None:
        addresses = Addresses.of_stack(options.stack)
    elif options.bootstrap_servers is not None:
        addresses = Addresses(options.bootstrap_servers, options.postgres_dsn, options.topic_prefix)
    else:
        parser.error("give --stack, or --bootstrap-servers")
    log, end_at = asyncio.run(read(addresses))
    deployment = settings(
        end_at,
        allowed_lateness_s=options.allowed_lateness_s,
        config_lead_s=options.config_lead_s,
        caught_up=not options.running,
    )
    report = check(log, deployment)
    sys.stdout.write(report.text(options.limit) + "\n")
    sys.stdout.write(stories(log, deployment, report.violations, options.stories) + "\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
