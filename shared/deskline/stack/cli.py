"""``deskline up``, ``down`` and ``status``."""

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from deskline.errors import UsageError
from deskline.settings import ServiceSettings
from deskline.stack.files import read_json, tail
from deskline.stack.http import get
from deskline.stack.kafka import EmbeddedKafka, Profile
from deskline.stack.postgres import EmbeddedPostgres
from deskline.stack.processes import OwnedProcess, wait_until
from deskline.stack.stack import MADE_BY_US, Options, Stack, lock_is_free, service_names
from deskline.stack.standing import Standing, sentences
from deskline.stack.standing import read as read_standing
from deskline.stack.supervisor import parse_replicas, stop_leftovers
from deskline.targets import BootstrapServers, PostgresDsn, TopicPrefix, settings_of
from deskline.terminal_text import printable

DEFAULT_STATE_DIR: Final = Path(".deskline")
# Services drain for half a minute at worst, then PostgreSQL and Kafka get twenty seconds each.
_DOWN_S: Final = 100.0
# The first start fetches 45 MB; a slow line takes minutes.
_DETACH_S: Final = 900.0

StateDir = Annotated[
    Path,
    typer.Option("--state-dir", envvar="DESKLINE_STATE_DIR", help="Everything the stack makes is kept in here."),
]


def up(  # noqa: PLR0917  (typer calls it by name)
    state_dir: StateDir = DEFAULT_STATE_DIR,
    config: Annotated[
        Path | None,
        typer.Option(envvar="DESKLINE_CONFIG", help="Configuration directory to apply. [default: the samples]"),
    ] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(envvar="DESKLINE_BOOTSTRAP_SERVERS", help="Use this Kafka, host:port[,host:port]; start none."),
    ] = None,
    postgres_dsn: Annotated[
        str | None, typer.Option(envvar="DESKLINE_POSTGRES_DSN", help="Use this PostgreSQL; start none.")
    ] = None,
    topic_prefix: Annotated[
        str, typer.Option(envvar="DESKLINE_TOPIC_PREFIX", help="Before every topic and group name.")
    ] = "",
    replicas: Annotated[
        str, typer.Option(envvar="DESKLINE_REPLICAS", help="Instances per service, for example router=4,sla=2.")
    ] = "",
    partitions: Annotated[
        int | None,
        typer.Option(envvar="DESKLINE_PARTITIONS", min=1, help="Of new co-partitioned topics. [default: 12]"),
    ] = None,
    kafka_port: Annotated[
        int | None, typer.Option(envvar="DESKLINE_KAFKA_PORT", min=1, max=65535, help="Of the embedded Kafka.")
    ] = None,
    postgres_port: Annotated[
        int | None, typer.Option(envvar="DESKLINE_POSTGRES_PORT", min=1, max=65535, help="Of the embedded PostgreSQL.")
    ] = None,
    kafka_profile: Annotated[
        str, typer.Option(envvar="DESKLINE_KAFKA_PROFILE", help="lean (starts fast, small) or bench (for figures).")
    ] = "lean",
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready and leave it running.")
    ] = False,
) -> None:
    """Start everything that has no address, migrate, create topics, apply the configuration, run the services.

    Runs until Ctrl-C; a second `up` on the same directory goes on where the first ended. When all is ready,
    STATE_DIR/stack.json says where everything is.

    For example:

      deskline up

      deskline up --state-dir ~/deskline --config shops/ --replicas router=4,sla=2

      deskline up --bootstrap-servers kafka1:9092 --postgres-dsn postgresql://deskline:…@db/deskline
    """
    if kafka_profile not in ("lean", "bench"):
        raise UsageError(f"--kafka-profile: {kafka_profile!r}; there are lean and bench.")
    profile: Profile = "lean" if kafka_profile == "lean" else "bench"
    if config is not None and not config.is_dir():
        raise UsageError(f"--config: {config} is no directory.")
    options = Options(
        state_dir=state_dir,
        config_dir=config,
        bootstrap_servers=bootstrap_servers,
        postgres_dsn=postgres_dsn,
        topic_prefix=topic_prefix,
        replicas=parse_replicas(replicas, service_names()),
        partitions=partitions,
        kafka_port=kafka_port,
        postgres_port=postgres_port,
        kafka_profile=profile,
    )
    if detach:
        _detach(state_dir)
    else:
        asyncio.run(_up(options))


async def _up(options: Options) -> None:
    # Its warnings about brokers that are coming or going are the normal course of a start and a stop.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stack = Stack(options, progress=lambda line: print(line, flush=True))
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            stack.hasten()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    start, stop = asyncio.create_task(stack.start()), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            print(f"up: {stack.state_dir / 'stack.json'} says where everything is; Ctrl-C stops it", flush=True)
            await stop
        print("stopping", flush=True)
    finally:
        stop.cancel()
        if not start.done():
            # Its own clean-up runs, and only then is it done.
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
        await stack.stop()


def _detach(state_dir: Path) -> None:
    """The same command without ``--detach``, in a session of its own; wait for its stack.json."""
    if not lock_is_free(state_dir):
        raise UsageError(f"A stack is running on {state_dir} already.")
    (state_dir / "logs").mkdir(parents=True, exist_ok=True)
    log, ready = state_dir / "logs" / "up.log", state_dir / "stack.json"
    ready.unlink(missing_ok=True)
    words = [word for word in sys.argv[1:] if word not in ("--detach", "-d")]
    process = OwnedProcess.spawn(
        [sys.executable, "-m", "deskline", *words], pid_file=state_dir / "up.pid", log=log, cwd=Path.cwd()
    )
    wait_until(lambda: ready.exists() or not process.running(), _DETACH_S)
    if not ready.exists():
        raise UsageError(f"deskline up ended with exit code {process.exit_code}. Its log: {log}\n{tail(log, 10)}")
    typer.echo(f"up: {ready} says where everything is; deskline down --state-dir {state_dir} stops it")


def down(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    wipe: Annotated[
        bool, typer.Option("--wipe", help="Delete the data as well: messages, archive, everything.")
    ] = False,
) -> None:
    """Stop what runs on the directory, keeping the data.

    For example:

      deskline down

      deskline down --state-dir ~/deskline --wipe
    """
    if not state_dir.is_dir():
        raise UsageError(f"{state_dir} does not exist: nothing was ever started there.")
    supervisor = OwnedProcess.find(state_dir / "up.pid")
    if supervisor is not None and not lock_is_free(state_dir):
        supervisor.signal(signal.SIGTERM)
        if not wait_until(lambda: lock_is_free(state_dir), _DOWN_S):
            supervisor.kill()
    stopped = supervisor is not None
    # What a killed supervisor left, in the same order.
    stopped |= stop_leftovers(state_dir / "run") > 0
    for server in (EmbeddedPostgres(state_dir / "postgres"), EmbeddedKafka(state_dir / "kafka")):
        if server.leftovers():
            server.stop()
            stopped = True
    (state_dir / "stack.json").unlink(missing_ok=True)
    if wipe:
        for name in MADE_BY_US:
            path = state_dir / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    typer.echo(("stopped" if stopped else "nothing was running") + (", data deleted" if wipe else ""))


def status(
    *,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="DESKLINE_STATE_DIR", help="The directory of a running `deskline up`. [default: .deskline]"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
    lang: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Say in one screen whether customers are waiting, and why: agents, overdue clocks, how far each service is behind.

    With a state directory also what runs there, instance by instance. Of another deployment name its servers, by options or
    DESKLINE_….
    Exit code 1 unless all that could be asked is ready.

    For example:

      deskline status --lang zh

      watch -n 1 deskline status --state-dir ~/deskline

      deskline status --bootstrap-servers kafka1:9092 --postgres-dsn postgresql://deskline:…@db/deskline
    """
    if lang not in ("en", "zh"):
        raise UsageError(f"--lang {lang}: write en or zh")
    directory = state_dir or DEFAULT_STATE_DIR
    stack: dict[str, Any] | None = read_json(directory / "stack.json")
    named = postgres_dsn is not None or "DESKLINE_POSTGRES_DSN" in os.environ
    if stack is None and (state_dir is not None or not named):
        starting = directory.is_dir() and not lock_is_free(directory)
        raise UsageError(
            f"{directory} is still starting."
            if starting
            else f"Nothing runs on {directory}. Start it with deskline up, or name a deployment with --postgres-dsn."
        )
    settings = settings_of(
        directory if stack is not None else None,
        bootstrap_servers=bootstrap_servers,
        topic_prefix=topic_prefix,
        postgres_dsn=postgres_dsn,
    )
    rows, standing = asyncio.run(_whole(settings, stack))
    if as_json:
        addresses = {"bootstrap_servers": settings.bootstrap_servers, "topic_prefix": settings.topic_prefix}
        typer.echo(json.dumps({**addresses, "services": rows, "customers": standing.plain()}, ensure_ascii=False))
    else:
        for line in sentences(standing, "zh" if lang == "zh" else "en", _not_ready(rows)):
            typer.echo(printable(line))
        if stack is not None:
            _print_table(stack, rows)
    if standing.away or not all(row["ready"] for row in rows):
        raise typer.Exit(1)


async def _whole(settings: ServiceSettings, stack: dict[str, Any] | None) -> tuple[list[dict[str, Any]], Standing]:
    # Its warnings about a broker that is away say less than the screen.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def nothing() -> list[dict[str, Any]]:
        return []

    rows, standing = await asyncio.gather(nothing() if stack is None else _ask_all(stack), read_standing(settings))
    return rows, standing


def _not_ready(rows: list[dict[str, Any]]) -> list[str]:
    """Services of which no instance is ready."""
    ready = {row["instance"].rpartition("-")[0] for row in rows if row["ready"]}
    return sorted({row["instance"].rpartition("-")[0] for row in rows} - ready)


async def _ask_all(stack: dict[str, Any]) -> list[dict[str, Any]]:
    instances = [
        (name, number, each) for name, all_ in stack["services"].items() for number, each in enumerate(all_, 1)
    ]
    return list(await asyncio.gather(*(_ask(f"{name}-{number}", each) for name, number, each in instances)))


async def _ask(name: str, instance: dict[str, Any]) -> dict[str, Any]:
    ready = await get(f"{instance['http']}/readyz")
    row: dict[str, Any] = {
        "instance": name,
        "pid": instance["pid"],
        "http": instance["http"],
        "answers": ready is not None,
    }
    row["ready"] = ready is not None and ready[0] == 200
    if ready is not None:
        try:
            row |= {key: value for key, value in json.loads(ready[1]).items() if key not in ("service", "ready")}
        except ValueError:
            row["answers"] = False
    return row


def _print_table(stack: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    table = Table("instance", "pid", "ready", "caught up", "lanes", "lag", "http")
    for row in rows:
        table.add_row(
            row["instance"],
            str(row["pid"]),
            "[green]yes[/]" if row["ready"] else "[red]no[/]",
            "yes" if row.get("caught_up") else "no",
            str(row.get("lanes", "")),
            str(row.get("lag_records", "")),
            row["http"],
        )
    console = Console()
    console.print(table)
    broker, postgres = stack["broker"], stack["postgres"]
    console.print(
        f"Kafka {stack['bootstrap_servers']} ({broker['kind']}), pids {_pids(broker)}; PostgreSQL pids {_pids(postgres)}"
    )
    console.print(
        f"topic prefix {stack['topic_prefix']!r}, configuration {stack['config_dir']}; {time.strftime('%H:%M:%S')}"
    )


def _pids(server: dict[str, Any]) -> str:
    return ", ".join(map(str, server["pids"])) or "–"
