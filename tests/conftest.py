"""Real Kafka and real PostgreSQL for the tests.

Where they come from, the first that applies:

1. ``DESKLINE_TEST_BOOTSTRAP_SERVERS`` and ``DESKLINE_TEST_POSTGRES_DSN`` (a login that may create roles and databases);
2. ``DESKLINE_TEST_BACKEND=testcontainers``: containers, skipped by name where Docker does not answer;
3. the embedded servers, one of each for the whole run, started when the first test asks. Workers of pytest-xdist
   share them: whoever holds the file lock first starts them, the controller stops them.

Tests are kept apart by a topic prefix and a database each, so that several runs may share the same servers.
"""

import contextlib
import fcntl
import gc
import os
import secrets
import shutil
import signal
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deskline.stack.kafka import EmbeddedKafka
from deskline.stack.postgres import EmbeddedPostgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--oracle-cases", type=int, default=100_000, help="Questions to the calendars' second-by-second oracle."
    )
    parser.addoption(
        "--histories", type=int, default=2_000, help="Random histories that the router's engine is driven through."
    )


_FOLDER = pytest.StashKey[Path]()
_STARTED_S = 180


# --- one run, one pair of servers -------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("deskline_servers")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"deskline-tests-{secrets.token_hex(6)}"
    config.stash[_FOLDER] = folder


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: tell each worker where the run's servers are."""
    node.workerinput["deskline_servers"] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_FOLDER, None)
    if _is_worker(config) or folder is None or not folder.exists():
        return
    # Workers left their servers to us; without workers the fixtures have stopped them already.
    kafka, postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
    if kafka.leftovers():
        kafka.kill_node(1)
    if postgres.leftovers():
        postgres.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process of the run at a time; the kernel frees the lock of one that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # as root, PostgreSQL runs under another account and must pass through
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _containers() -> bool:
    return os.environ.get("DESKLINE_TEST_BACKEND", "embedded") == "testcontainers"


def _docker_or_skip() -> None:
    with warnings.catch_warnings():
        # A client that finds no Docker leaves its socket to the garbage collector, which would fail the run.
        warnings.simplefilter("ignore", ResourceWarning)
        refusal = _docker_refusal()
        gc.collect()
    if refusal is not None:
        pytest.skip(f"DESKLINE_TEST_BACKEND=testcontainers, but Docker does not answer: {refusal}")


def _docker_refusal() -> str | None:
    import docker

    try:
        with contextlib.closing(docker.from_env()) as client:
            client.ping()
    except Exception as error:  # noqa: BLE001  (whatever its client raises: Docker cannot be used here)
        return type(error).__name__
    return None


@pytest.fixture(scope="session")
def kafka_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedKafka | None]:
    """The embedded broker itself, or None when an address was given or a container is used."""
    if os.environ.get("DESKLINE_TEST_BOOTSTRAP_SERVERS") or _containers():
        yield None
        return
    folder = request.config.stash[_FOLDER]
    # In a worker the broker must outlive the worker that happens to start it.
    server = EmbeddedKafka(folder / "kafka", dies_with_parent=not _is_worker(request.config))
    with _alone(folder):
        server.start()
    yield server
    if not _is_worker(request.config):
        server.kill_node(1)


@pytest.fixture(scope="session")
def kafka(kafka_server: EmbeddedKafka | None) -> Iterator[str]:
    """Bootstrap servers of a real Kafka that tests share: use ``topic_prefix`` in every topic and group."""
    if kafka_server is not None:
        yield kafka_server.bootstrap_servers
    elif given := os.environ.get("DESKLINE_TEST_BOOTSTRAP_SERVERS"):
        yield given
    else:
        _docker_or_skip()
        with _kafka_container() as address:
            yield address


@contextlib.contextmanager
def _kafka_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    from deskline.stack.files import free_ports
    from deskline.stack.jars import KAFKA_VERSION

    # The advertised address must be known before the start, so the port on the host is chosen first.
    port = free_ports(1)[0]
    container = DockerContainer(f"apache/kafka-native:{KAFKA_VERSION}").with_bind_ports(9092, port)
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_LOG_MESSAGE_TIMESTAMP_TYPE": "LogAppendTime",
    }.items():
        container.with_env(name, value)
    with container:
        wait_for_logs(container, "Kafka Server started", timeout=_STARTED_S)
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres | None]:
    """The embedded PostgreSQL itself, or None when an address was given or a container is used."""
    if os.environ.get("DESKLINE_TEST_POSTGRES_DSN") or _containers():
        yield None
        return
    folder = request.config.stash[_FOLDER]
    server = EmbeddedPostgres(folder / "postgres", durable=False, dies_with_parent=not _is_worker(request.config))
    with _alone(folder):
        server.start()
    yield server
    if not _is_worker(request.config):
        server.stop("immediate")


@pytest.fixture(scope="session")
def postgres(postgres_server: EmbeddedPostgres | None) -> Iterator[str]:
    """DSN of a real PostgreSQL that tests share, with the right to create databases and roles: use ``database``."""
    if postgres_server is not None:
        yield postgres_server.dsn
    elif given := os.environ.get("DESKLINE_TEST_POSTGRES_DSN"):
        yield given
    else:
        _docker_or_skip()
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer("postgres:18", driver=None) as container:
            yield container.get_connection_url()


# --- one test, one prefix and one database ----------------------------------------------------------------------------


@pytest.fixture
async def topic_prefix(kafka: str) -> AsyncIterator[str]:
    """For every topic and group of this test; topics that begin with it are deleted afterwards."""
    # Not the seeded random: two runs with one seed must not meet on a shared broker.
    prefix = f"t{secrets.token_hex(5)}-"
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    # A fault test may have taken the broker away for good; then there is nothing to tidy up.
    with contextlib.suppress(OSError):
        await admin.start()
        try:
            mine = [name for name in await admin.list_topics() if name.startswith(prefix)]
            if mine:
                await admin.delete_topics(mine)
        finally:
            await admin.close()


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[str]:
    """DSN of an empty database of this test's own."""
    async with _new_database(postgres) as dsn:
        yield dsn


@contextlib.asynccontextmanager
async def _new_database(server: str, template: str = "template0") -> AsyncIterator[str]:
    name = f"t{secrets.token_hex(8)}"
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield dsn_of(server, name)
    finally:
        await _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def dsn_of(server: str, database: str) -> str:
    """The same server's DSN with another database."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))


# --- three brokers, for fault tests -----------------------------------------------------------------------------------


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A cluster of this test's own, to kill and freeze nodes of. Never an address from outside."""
    cluster = EmbeddedKafka(tmp_path / "cluster", nodes=3, dies_with_parent=True).start()
    yield cluster
    for node in cluster.nodes:
        with contextlib.suppress(KeyError):
            cluster.signal_node(node, signal.SIGCONT)
        cluster.kill_node(node)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """One broker of this test's own, to restart and kill."""
    broker = EmbeddedKafka(tmp_path / "broker", dies_with_parent=True).start()
    yield broker
    broker.kill_node(1)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test's own, to restart and kill."""
    with tempfile.TemporaryDirectory(prefix="deskline-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False, dies_with_parent=True).start()
        yield server
        server.stop("immediate")


# --- waiting ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Eventually:
    """``await eventually(condition)``: poll a plain or async condition until it is true, or fail by name."""

    timeout_s: float = 20.0
    poll_s: float = 0.02

    async def __call__(
        self, condition: Callable[[], Any | Awaitable[Any]], what: str = "", timeout_s: float | None = None
    ) -> Any:
        import asyncio
        import inspect

        loop = asyncio.get_running_loop()
        limit = self.timeout_s if timeout_s is None else timeout_s
        deadline = loop.time() + limit
        while True:
            result = condition()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
            if loop.time() >= deadline:
                pytest.fail(f"not within {limit} s: {what or condition}")
            await asyncio.sleep(self.poll_s)


@pytest.fixture
def eventually() -> Eventually:
    return Eventually()


# --- ready to use -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _template(postgres: str) -> Iterator[str]:
    """A migrated database that is only copied, so that each test pays a copy and no migration."""
    import asyncio

    from deskline.migrate import migrate

    name = f"deskline_template_{secrets.token_hex(6)}"
    asyncio.run(_execute(postgres, f'CREATE DATABASE "{name}" TEMPLATE template0'))
    asyncio.run(migrate(dsn_of(postgres, name)))
    yield name
    asyncio.run(_execute(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture
async def migrated_database(postgres: str, _template: str) -> AsyncIterator[str]:
    """DSN of a database of this test's own with every schema and role of deskline."""
    async with _new_database(postgres, _template) as dsn:
        yield dsn


@pytest.fixture
def settings(kafka: str, topic_prefix: str, migrated_database: str) -> Any:
    """``ServiceSettings`` of this test's prefix and database."""
    from pydantic import SecretStr

    from deskline.settings import ServiceSettings

    return ServiceSettings(
        bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(migrated_database)
    )


@pytest.fixture
async def topics(settings: Any) -> Any:
    """All topics under this test's prefix, the co-partitioned ones with four partitions; gives the settings."""
    from deskline.topics import apply

    await apply(settings, partitions=4)
    return settings


@pytest.fixture
async def another_cell(settings: Any, postgres: str, _template: str) -> AsyncIterator[Any]:
    """Settings of a second deployment beside the test's own: topics and a database of its own on the same servers."""
    from pydantic import SecretStr

    from deskline.topics import apply

    async with _new_database(postgres, _template) as dsn:
        update = {"topic_prefix": f"{settings.topic_prefix}b-", "postgres_dsn": SecretStr(dsn)}
        made = settings.model_copy(update=update)
        await apply(made, partitions=4)
        yield made
