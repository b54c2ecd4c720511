"""Where a unit of work spends its time, seen from outside: no service is changed or told.

Two samplers look at a service while it drains a backlog. **py-spy** reads the Python stack whenever the process is on a
processor, the event loop's other tasks included; **pg_stat_activity** says which statement PostgreSQL is at work on for
it, the wait for a lock or for the log to reach the disk included. The samples of each are folded into ``STAGES``.

A stack belongs to the innermost frame that a rule knows: ``encode`` below ``advance`` below ``process`` is *publish*,
``advance`` alone is *decide*. ``docs/performance.md`` says in words which is which.
"""

import asyncio
import contextlib
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg

STAGES: Final = ("decode", "gather", "decide", "apply", "commit", "publish", "timers", "other")

# py-spy holds the process for each stack it reads: at 100 a second that is lost in the noise between two drains, and a
# hundred thousand records last long enough for shares that are right to a few percent.
_RATE: Final = 100
_LOOK_S: Final = 0.005


class Rule(NamedTuple):
    stage: str
    file: str
    """The end of the file's path, or a folder in it (ending in a slash)."""
    names: tuple[str, ...] = ()
    """Functions, without their class; none: every one of the file."""


# Tasks that run beside the units of work: whatever they call is theirs.
_BESIDE: Final = (
    Rule("other", "deskline/consumption.py", ("_watch_ends", "_listen")),
    Rule("other", "deskline/broadcast.py"),
    Rule("other", "deskline/config_feed.py"),
    Rule("other", "deskline/database_watch.py"),
    Rule("other", "aiokafka/consumer/group_coordinator.py"),
    Rule("commit", "deskline/consumption.py", ("_commit_for_tools",)),
)
_RULES: Final = (
    # Fetching, checking and holding records, and what they say.
    Rule("decode", "deskline/intake.py"),
    Rule("decode", "deskline/events/wire.py", ("decode",)),
    Rule("decode", "deskline/events/verdict.py"),
    Rule("decode", "deskline/kafka.py", ("to_record",)),
    Rule("decode", "aiokafka/consumer/"),
    # A connection's bytes; those of acknowledgements are few beside those of records.
    Rule("decode", "aiokafka/conn.py", ("_read",)),
    # Outputs as events, and on their way to the broker.
    Rule("publish", "deskline/events/wire.py", ("encode",)),
    Rule("publish", "deskline/events/structs.py", ("new",)),
    Rule("publish", "deskline/outbox.py", ("add", "room", "run", "_publish")),
    Rule("publish", "deskline/kafka.py", ("publish", "_publish_partition", "_partition", "partition_of")),
    Rule("publish", "aiokafka/producer/"),
    Rule("publish", "deskline_autoreply/handler.py", ("outputs", "_reply", "_handover", "_output")),
    Rule("publish", "deskline_router/telling.py", ("output", "id_of")),
    Rule("publish", "deskline_sla/telling.py"),
    # The price of exactly once: the fence, the outbox rows, the transaction itself.
    Rule("timers", "deskline/lane_store.py", ("postpone",)),
    Rule("commit", "deskline/lane_store.py"),
    Rule("commit", "asyncpg/transaction.py"),
    # The state that a decision needs.
    Rule("gather", "deskline/state_store.py", ("load",)),
    Rule("gather", "deskline_router/handler.py", ("_gather_shared", "_sync", "_read", "_known_owners")),
    # What has been decided, as rows.
    Rule("apply", "deskline/state_store.py", ("save",)),
    Rule("apply", "deskline_router/handler.py", ("_apply_conversations", "_apply_shared")),
    Rule("apply", "deskline_archive/store.py", ("append", "ensure_days", "_rows")),
    Rule("apply", "deskline_archive/rows.py", ("copied",)),
    Rule("apply", "deskline_archive/handler.py", ("_apply",)),
    # Archive's decision is to describe; a conversation service's is whatever else is below ``process``.
    Rule("decide", "deskline_archive/policy.py", ("describe",)),
    Rule("decide", "deskline/conversations.py", ("process",)),
    Rule("decide", "deskline_router/handler.py", ("process",)),
    Rule("decide", "deskline_archive/handler.py", ("process",)),
    # Asking for what is due. The unit that then runs is one like any other, which is why ``_unit`` stands here: what is
    # below it, and no stage's, is the engine's bookkeeping.
    Rule("other", "deskline/consumption.py", ("_unit",)),
    Rule("timers", "deskline/consumption.py", ("_fire", "_refresh_dues")),
)

_FRAME: Final = re.compile(r"(?P<name>.+) \((?P<file>[^()]*?)(?::\d+)?\)")
_EXACTLY_ONCE: Final = re.compile(r"^(BEGIN|COMMIT|ROLLBACK)|\b(UPDATE lanes|outbox|pg_notify)\b", re.IGNORECASE)
_DUE: Final = re.compile(r"\bdue <=|ORDER BY (\w+\.)?due\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"^COPY|\b(INSERT INTO|UPDATE|DELETE FROM) [a-z]|^SELECT ensure_days", re.IGNORECASE)


def rules() -> tuple[Rule, ...]:
    return (*_BESIDE, *_RULES)


def stage_of_stack(frames: Sequence[str]) -> str:
    """``frames`` as py-spy writes them, outermost first: ``Class.function (file.py:line)``."""
    parsed = [(found["name"].rsplit(".", 1)[-1], found["file"]) for one in frames if (found := _FRAME.fullmatch(one))]
    for table in (_BESIDE, _RULES):
        for name, file in reversed(parsed):
            for rule in table:
                if _applies(rule, name, file):
                    return rule.stage
    return "other"


def _applies(rule: Rule, name: str, file: str) -> bool:
    inside = f"/{rule.file}" in f"/{file}" if rule.file.endswith("/") else f"/{file}".endswith(f"/{rule.file}")
    return inside and (not rule.names or name in rule.names)


def stage_of_statement(sql: str) -> str:
    """By what the statement does, not by its text: that changes."""
    text = " ".join(line for line in (line.strip() for line in sql.splitlines()) if not line.startswith("--"))
    if _EXACTLY_ONCE.search(text):
        return "commit"
    if _WRITES.search(text):
        return "apply"
    if _DUE.search(text):
        return "timers"
    return "gather" if re.search(r"\bFROM [a-z]", text) else "other"


@dataclass
class Profile:
    """What the samplers saw."""

    own: Counter[str] = field(default_factory=Counter)
    """Stage → samples in which the process was on a processor."""
    leaves: Mapping[str, Counter[str]] = field(default_factory=lambda: {stage: Counter() for stage in STAGES})
    """Stage → function at work → samples."""
    database: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    """At the database, busy or not: what the samples of ``database`` are a share of."""
    problem: str = ""
    """Why there is nothing in ``own``."""

    def add(self, raw: str) -> None:
        """The lines of ``py-spy record --format raw``: frames, joined by semicolons, and how often they were seen."""
        for line in raw.splitlines():
            stack, _, count = line.rpartition(" ")
            frames = stack.split(";")
            # py-spy may still see the last of the start: modules being imported are no work on records.
            if any("_find_and_load" in frame for frame in frames):
                continue
            stage = stage_of_stack(frames)
            self.own[stage] += int(count)
            self.leaves[stage][re.sub(r":\d+\)$", ")", frames[-1])] += int(count)


class Samplers:
    """Both samplers on one service, from ``start`` to ``stop``; looks at the database are kept with their instants, so
    that those outside the drain can be left out.
    """

    def __init__(self, service: str, pid: int, dsn: str, folder: Path) -> None:
        self._service = service
        self._pid = pid
        self._dsn = dsn
        self._raw = folder / f"{service}.raw"
        self._spy: asyncio.subprocess.Process | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looks: list[tuple[float, Sequence[str]]] = []

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._spy = await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name("py-spy"), "record", "--pid", str(self._pid), "--format", "raw",
                "--rate", str(_RATE), "--output", str(self._raw),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            while True:
                rows = await connection.fetch(
                    "SELECT query FROM pg_stat_activity WHERE application_name LIKE $1 AND state = 'active'",
                    f"deskline-{self._service}-%",
                )
                self._looks.append((time.monotonic(), [row["query"] for row in rows]))
                await asyncio.sleep(_LOOK_S)
        finally:
            connection.terminate()

    async def stop(self, began: float, ended: float) -> Profile:
        """What was seen; of the database, between these instants of the monotonic clock."""
        assert self._looking is not None
        self._looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._looking
        said = await self._end_spy()
        profile = Profile()
        if self._raw.exists():
            profile.add(self._raw.read_text())
        if not profile.own:
            profile.problem = said
        for _, queries in [look for look in self._looks if began <= look[0] <= ended]:
            profile.looks += 1
            # DatabaseWatch asks ``SELECT 1`` on a connection of its own.
            profile.database.update({stage_of_statement(query) for query in queries if query != "SELECT 1"})
        return profile

    async def _end_spy(self) -> str:
        """Let it write what it has; its own words."""
        if self._spy is None:
            return "it is not installed (make setup-dev)"
        with contextlib.suppress(ProcessLookupError):
            self._spy.send_signal(signal.SIGINT)
        said, _ = await self._spy.communicate()
        return " ".join(said.decode(errors="replace").split())


def readable(command: Iterable[str]) -> list[str]:
    """``command``, started so that py-spy may read it without root. Where the kernel lets nobody read but a parent
    (Yama, the default of many distributions), a process has to allow it; the permission outlives exec.
    """
    allow = (
        "import ctypes, os, sys\n"
        "if sys.platform == 'linux':\n"
        "    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    return [sys.executable, "-c", allow, *command]
