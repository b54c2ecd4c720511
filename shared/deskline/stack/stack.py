"""The whole of deskline in one state directory: servers, migrations, topics, configuration, services.

``async with Stack(Options(state_dir=…)) as stack:`` is what ``deskline up``, the demo, the benchmarks and the end-to-end
tests use. Order of start: Kafka and PostgreSQL side by side; then migrations and topics; then the configuration; then
the services, until each says it is ready; then ``stack.json``. Order of stop: services, PostgreSQL, Kafka.

One process at a time works on a directory (``up.lock``, freed by the kernel when its holder dies). What a killed holder
left is taken over (servers) or stopped (services).
"""

import asyncio
import contextlib
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any, Final, Literal, Self
from urllib.parse import urlsplit

import deskline
from deskline import topics
from deskline.errors import UsageError
from deskline.migrate import GROUP, migrate
from deskline.settings import ServiceSettings
from deskline.stack.files import write_atomically
from deskline.stack.kafka import EmbeddedKafka, Profile
from deskline.stack.postgres import EmbeddedPostgres
from deskline.stack.processes import OwnedProcess
from deskline.stack.supervisor import Supervisor, dump, service_command
from deskline.targets import settings_of

# Four services join their groups and read their topics: seconds; on a machine with three jobs per core, a minute.
READY_S: Final = 120.0
_WATCH_S: Final = 0.25
_LONGEST_DELAY_S: Final = 10.0
MADE_BY_US: Final = (
    "kafka", "postgres", "archive", "router-tokens", "logs", "run", "stack.json", "prometheus-targets.json", "up.lock", "up.pid",
)  # fmt: skip


def service_names() -> tuple[str, ...]:
    """Every installed service."""
    return tuple(sorted(entry.name for entry in entry_points(group=GROUP)))


def sample_config() -> Path:
    """The configuration shipped with the code, used when none is given."""
    package = Path(deskline.__file__).resolve().parent
    # A wheel has it inside the package; a checkout at its root, two folders above.
    for root in (package, package.parents[1]):
        if (root / "examples" / "config").is_dir():
            return root / "examples" / "config"
    raise UsageError("This installation of deskline came without its sample configuration. Pass --config DIR.")


@dataclass(frozen=True, slots=True)
class Options:
    """What to run and where. Addresses that are None are started from ``state_dir``."""

    state_dir: Path
    config_dir: Path | None = None
    """None: the shipped sample. Not applied when ``apply_config`` is False."""
    apply_config: bool = True
    bootstrap_servers: str | None = None
    postgres_dsn: str | None = None
    topic_prefix: str = ""
    replicas: Mapping[str, int] | None = None
    """Instances per service; None: one of each. A service that is not named does not run."""
    partitions: int | None = None
    """Of the co-partitioned topics; None: as they are, 12 when they are new."""
    kafka_port: int | None = None
    kafka_nodes: Literal[1, 3] = 1
    kafka_profile: Profile = "lean"
    postgres_port: int | None = None
    durable: bool = True
    dies_with_parent: bool = False
    keep_servers: bool = True
    """Start Kafka and PostgreSQL again when they die. Fault tests do that themselves."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further ``DESKLINE_…`` variables for the services."""
    command: Callable[[str], list[str]] = service_command
    """The words that run a service. Tests put a defect of their own before it."""


class Stack:
    """A running deskline."""

    def __init__(self, options: Options, *, progress: Callable[[str], None] = lambda _: None) -> None:
        self.options = options
        self.state_dir = options.state_dir.resolve()
        self.kafka: EmbeddedKafka | None = None
        self.postgres: EmbeddedPostgres | None = None
        self.supervisor: Supervisor | None = None
        self._progress = progress
        self._lock: IO[str] | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._ready = False

    # --- what others use ----------------------------------------------------------------------------------------

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers if self.kafka is not None else self.options.bootstrap_servers or ""

    @property
    def postgres_dsn(self) -> str:
        return self.postgres.dsn if self.postgres is not None else self.options.postgres_dsn or ""

    @property
    def config_dir(self) -> Path:
        return (self.options.config_dir or sample_config()).resolve()

    @property
    def services(self) -> Supervisor:
        if self.supervisor is None:
            raise RuntimeError("the stack has not started its services")
        return self.supervisor

    def settings(self) -> ServiceSettings:
        """For clients of this stack in this process."""
        return settings_of(
            bootstrap_servers=self.bootstrap_servers,
            # An embedded one has no address before it is started, and none is no wrong one.
            postgres_dsn=self.postgres_dsn or None,
            topic_prefix=self.options.topic_prefix,
        )

    def describe(self) -> dict[str, Any]:
        """The content of stack.json (contract §7)."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "postgres_dsn": self.postgres_dsn,
            "topic_prefix": self.options.topic_prefix,
            "config_dir": str(self.config_dir) if self.options.apply_config else None,
            "broker": {
                "kind": "embedded" if self.kafka is not None else "external",
                "pids": self.kafka.pids() if self.kafka is not None else [],
            },
            "postgres": {"pids": self.postgres.pids() if self.postgres is not None else []},
            "services": self.supervisor.describe() if self.supervisor is not None else {},
        }

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- start --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything up and ready, or nothing left running and the reason raised."""
        self._take_lock()
        try:
            self._file.unlink(missing_ok=True)
            # What is wrong with either is said before anything starts.
            self.settings()
            if self.options.apply_config:
                _ = self.config_dir
            await asyncio.to_thread(self._clear_leftovers)
            await self._start_servers()
            await self._prepare()
            await self._start_services()
        except BaseException:
            await self.stop()
            raise

    def _clear_leftovers(self) -> None:
        count = self._new_supervisor().clear_leftovers()
        if count:
            self._progress(f"stopped {count} services that an earlier run left")

    async def _start_servers(self) -> None:
        options, jobs = self.options, []
        if options.bootstrap_servers is None:
            self.kafka = EmbeddedKafka(
                self.state_dir / "kafka",
                nodes=options.kafka_nodes,
                port=options.kafka_port,
                profile=options.kafka_profile,
                dies_with_parent=options.dies_with_parent,
                progress=self._progress,
            )
            jobs.append(self._start_server("Kafka", self.kafka))
        if options.postgres_dsn is None:
            self.postgres = EmbeddedPostgres(
                self.state_dir / "postgres",
                port=options.postgres_port,
                durable=options.durable,
                dies_with_parent=options.dies_with_parent,
                progress=self._progress,
            )
            jobs.append(self._start_server("PostgreSQL", self.postgres))
        await _all_or_first_error(jobs)

    async def _start_server(self, name: str, server: EmbeddedKafka | EmbeddedPostgres) -> None:
        async with self._timed(f"{name} is ready"):
            await asyncio.to_thread(server.prepare)
            # In this thread: with dies_with_parent a server ends with the thread that started it.
            server.spawn()
            await asyncio.to_thread(server.wait_ready)

    async def _prepare(self) -> None:
        settings = self.settings()
        async with self._timed("database and topics are ready"):
            await _all_or_first_error(
                [migrate(self.postgres_dsn), topics.apply(settings, partitions=self.options.partitions)]
            )
        if self.options.apply_config:
            async with self._timed(f"configuration {self.config_dir} is applied"):
                await apply_configuration(settings, self.config_dir)

    def _new_supervisor(self) -> Supervisor:
        environment = {
            "DESKLINE_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "DESKLINE_POSTGRES_DSN": self.postgres_dsn,
            "DESKLINE_TOPIC_PREFIX": self.options.topic_prefix,
            # Its keys and copies: beside the database, and wherever the operator's own environment says.
            "DESKLINE_ARCHIVE_HOME": os.environ.get("DESKLINE_ARCHIVE_HOME", str(self.state_dir / "archive")),
            "DESKLINE_ROUTER_TOKENS": os.environ.get("DESKLINE_ROUTER_TOKENS", str(self.state_dir / "router-tokens")),
            **self.options.environment,
        }
        return Supervisor(self.state_dir, environment, changed=self._write, command=self.options.command)

    async def _start_services(self) -> None:
        replicas = self.options.replicas
        self.supervisor = self._new_supervisor()
        async with self._timed("services are ready"):
            self.supervisor.start(dict.fromkeys(service_names(), 1) if replicas is None else replicas)
            await self.supervisor.wait_ready(READY_S)
        self._ready = True
        self._write()
        if self.options.keep_servers:
            servers = (("Kafka", self.kafka), ("PostgreSQL", self.postgres))
            self._keepers = [
                asyncio.create_task(self._keep(name, server)) for name, server in servers if server is not None
            ]

    async def _keep(self, name: str, server: EmbeddedKafka | EmbeddedPostgres) -> None:
        """Start a server again that died; its clients wait for it with back-off."""
        failures = 0
        while True:
            await asyncio.sleep(_WATCH_S)
            if server.running():
                continue
            self._progress(f"{name} has ended; starting it again")
            try:
                await self._start_server(name, server)
                failures = 0
                self._write()
            except UsageError as error:
                failures += 1
                self._progress(str(error))
                await asyncio.sleep(min(0.5 * 2**failures, _LONGEST_DELAY_S))

    # --- stop ---------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Services, then PostgreSQL, then Kafka. Safe to call at any time, and twice."""
        self._ready = False
        if self._lock is None:
            # Not ours: what is in the directory belongs to the stack that holds it.
            return
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        self._file.unlink(missing_ok=True)
        self._targets.unlink(missing_ok=True)
        if self.supervisor is not None:
            await self.supervisor.stop()
            self.supervisor = None
        for server in (self.postgres, self.kafka):
            if server is not None:
                await asyncio.to_thread(server.stop)
        self._free_lock()

    def hasten(self) -> None:
        """A second Ctrl-C: do not wait for services that drain."""
        if self.supervisor is not None:
            self.supervisor.hasten()

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.state_dir / "stack.json"

    @property
    def _targets(self) -> Path:
        return self.state_dir / "prometheus-targets.json"

    def _write(self) -> None:
        if self._ready:
            described = self.describe()
            write_atomically(self._targets, targets(described["services"]))
            write_atomically(self._file, dump(described))

    def _take_lock(self) -> None:
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            # Kept open for as long as the stack runs; children do not inherit it (PEP 446).
            lock = (self.state_dir / "up.lock").open("a")
        except OSError as error:
            raise UsageError(
                f"{self.state_dir} cannot be written ({error.strerror}). Choose another with --state-dir."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UsageError(
                f"A stack is running on {self.state_dir} already. See it with deskline status --state-dir, end it with "
                "deskline down --state-dir."
            ) from None
        self._lock = lock
        OwnedProcess.note(self.state_dir / "up.pid", os.getpid())

    def _free_lock(self) -> None:
        if self._lock is not None:
            (self.state_dir / "up.pid").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    @contextlib.asynccontextmanager
    async def _timed(self, what: str) -> AsyncIterator[None]:
        started = time.monotonic()
        yield
        self._progress(f"{what} ({time.monotonic() - started:.1f} s)")


def targets(services: Mapping[str, list[dict[str, Any]]]) -> str:
    """Where Prometheus finds the services, for its ``file_sd_configs``: one group a service, with the label of its name."""
    groups = [
        {"targets": [urlsplit(instance["http"]).netloc for instance in instances], "labels": {"service": name}}
        for name, instances in sorted(services.items())
    ]
    return json.dumps(groups, indent=2) + "\n"


async def apply_configuration(settings: ServiceSettings, directory: Path) -> None:
    """Validate and publish a configuration directory; nothing happens where it is in force already."""
    # Late: the configuration tools are heavy, and down and status need none of them.
    from deskline.config.apply import apply_directory  # noqa: PLC0415

    await apply_directory(settings, directory)


async def _all_or_first_error(jobs: list[Any]) -> None:
    """Run side by side; when one fails, wait for the others (a server half started must be known to ``stop``)."""
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def lock_is_free(state_dir: Path) -> bool:
    """Whether no stack runs on the directory."""
    try:
        with (state_dir / "up.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
