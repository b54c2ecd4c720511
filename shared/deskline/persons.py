"""What services other than the archive record of a customer, forgotten by one command.

Services do not import each other. One that records something of customers beyond their conversations names, under the entry
point ``deskline.persons``, a function ``forget(settings, customer_id) -> rows`` and has a command ``deskline <name> forget``.
"""

import shlex
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import NamedTuple

import asyncpg

from deskline.errors import TransientError
from deskline.settings import ServiceSettings

Forget = Callable[[ServiceSettings, str], Awaitable[int]]
"""Removes what is recorded of a customer in every shop; how many records went."""


class Forgotten(NamedTuple):
    """``rows``: None where this login may not do it, or the service's tables are in another database."""

    service: str
    rows: int | None
    command: str
    """What does it, where its tables can be reached."""


async def forget_elsewhere(settings: ServiceSettings, customer_id: str) -> list[Forgotten]:
    """By every installed service that records something of customers. Raises nothing where one cannot be reached."""
    done = []
    for entry in sorted(entry_points(group="deskline.persons"), key=lambda entry: entry.name):
        forget: Forget = entry.load()
        rows = None
        with suppress(asyncpg.PostgresError, TransientError):
            rows = await forget(settings, customer_id)
        done.append(Forgotten(entry.name, rows, f"deskline {entry.name} forget {shlex.quote(customer_id)}"))
    return done
