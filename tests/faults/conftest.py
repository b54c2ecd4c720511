"""Servers of the fault plan's own, because it stops them; every test gets its prefix, its database and its services."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.world import Servers, say, seed


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """As many brokers as the module's ``BROKERS`` says, and a PostgreSQL, for a module."""
    with tempfile.TemporaryDirectory(prefix="deskline-faults-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL runs under another account and must be able to walk in.
        Path(folder).chmod(0o711)
        started = Servers(Path(folder), request.module.BROKERS).start()
        yield started
        started.stop()


@pytest.fixture(scope="session")
def run_seed() -> int:
    drawn = seed()
    say(f"DESKLINE_SEED={drawn}")
    return drawn
