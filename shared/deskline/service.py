"""The process around a service: settings, logs, configuration, engine, HTTP, signals, exit codes.

A service's ``app.py`` has ``build(runtime) -> Consumer``; its ``cli.py`` calls ``run("name", build)``. The HTTP surface is
a FastStream ASGI application on uvicorn: ``/metrics`` (Prometheus), ``/livez`` (the event loop turns) and ``/readyz``
(assigned, configured, connected and moving; its body says ``caught_up``). Exit codes: 0 after a graceful stop, 1 where going on
would do harm or nothing moves, 2 where the settings are wrong.
"""

import asyncio
import contextlib
import gc
import json
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final

import asyncpg
import structlog
import uvicorn
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    make_asgi_app,
)
from pydantic import ValidationError

from deskline import log as logs
from deskline.bearer import guarded
from deskline.broadcast import Broadcast
from deskline.clock import SECOND, now_us
from deskline.config.book import ConfigBook
from deskline.config.rules_document import RulesDocument
from deskline.config_feed import ConfigFeed
from deskline.consumption import Engine
from deskline.database_watch import DatabaseWatch
from deskline.errors import DesklineError, FatalError
from deskline.events.deadletters import describe
from deskline.kafka import Ends
from deskline.metrics import EngineMetrics
from deskline.records import Record
from deskline.settings import ServiceSettings
from deskline.tasks import end_all
from deskline.work import Consumer

log = structlog.get_logger(__name__)

# How late the event loop runs is measured by sleeping so long.
_LOOP_PROBE_S: Final = 0.1
# The broker is asked for its ends several times a second; without an answer for so long the process is not ready.
_BROKER_SILENT_S: Final = 3.0
# The database lacks what this version needs: nobody has migrated it, or only as far as an older version.
_NOT_MIGRATED: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InvalidParameterValueError,
)


class Runtime:
    """What a composition root may use."""

    def __init__(self, settings: ServiceSettings, registry: CollectorRegistry) -> None:
        self.settings = settings
        self.registry = registry
        self.config = ConfigBook(settings.config_lead_s)
        self.ends = Ends(settings, f"deskline-ends-{settings.instance}")
        self.engine: Engine | None = None
        self.database: DatabaseWatch | None = None
        self.prepare_rules: Callable[[RulesDocument], Awaitable[None]] | None = None
        """Awaited with every version of the document ``rules`` before it can be in force: to compile it."""
        self.feed: ConfigFeed | None = None
        self.background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.routes: list[tuple[str, Any]] = []
        """(path, ASGI app or FastStream handler) to serve beside the standard ones."""
        self.mounts: list[tuple[str, Any]] = []
        """(prefix, ASGI app): the app is asked for everything below ``prefix/``."""

    def poke(self) -> None:
        """Ask for a unit of work without records."""
        if self.engine is not None:
            self.engine.poke()

    def look(self) -> None:
        """The same, where probably nothing is to be done: it does not count as being behind."""
        if self.engine is not None:
            self.engine.look()

    @property
    def connected(self) -> bool:
        """The database and the broker have answered what they were asked last, and just now."""
        return (
            self.engine is not None
            and not (self.engine.database_away or self.engine.broker_away)
            and self.ends.unanswered_s < _BROKER_SILENT_S
            and not (self.database is not None and self.database.away)
        )

    @property
    def configured(self) -> bool:
        """What was published of the configuration when the process began has been read, and compiled."""
        return self.feed is None or self.feed.read

    def lanes(self) -> frozenset[int]:
        """Partitions of the co-partitioned topics that this instance owns now."""
        return frozenset(lane.partition for lane in self.engine.lanes.values()) if self.engine else frozenset()

    def watermark(self, lane: int) -> int:
        """Watermark of an owned lane, µs; 0 where it is not owned or nothing is known."""
        found = self.engine.lanes.get(str(lane)) if self.engine else None
        return found.watermark if found is not None else 0

    def broadcast(
        self,
        topic: str,
        on_records: Callable[[Sequence[Record], Mapping[int, int]], Awaitable[None]],
        *,
        start: Mapping[int, int] | None = None,
        interval_s: float = 0.5,
    ) -> Broadcast:
        """Read all of ``topic`` in this instance, from ``start`` (partition → offset; absent: the beginning)."""
        reader = Broadcast(self.settings, self.ends, topic, on_records, start=start, interval_s=interval_s)
        self.background.append(reader.run)
        return reader


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Build = Callable[[Runtime], Consumer] | Callable[[Runtime], Awaitable[Consumer]]


def run(name: str, build: Build, settings: ServiceSettings | None = None, *, needs_config: bool = True) -> None:
    """Run the service until SIGTERM or SIGINT; ends the process with its exit code."""
    try:
        settings = settings or ServiceSettings()
    except ValidationError as error:
        for problem in error.errors():
            field = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"deskline {name}: DESKLINE_{field}: {problem['msg']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    try:
        listener = _listen(settings)
    except OSError as error:
        print(  # noqa: T201
            f"deskline {name}: DESKLINE_HTTP_HOST {settings.http_host}, DESKLINE_HTTP_PORT {settings.http_port}: "
            f"{error.strerror}. Choose another port, or 0 for any that is free.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    logs.configure(settings, name)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - not on every platform

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        raise SystemExit(runner.run(_main(name, build, settings, listener, needs_config=needs_config)))


def tune_collector() -> None:
    """Leave what the process begins with out of every collection, and collect more seldom than by default.

    A unit of work makes tens of thousands of objects, nearly all of them free of cycles: Python's defaults would look
    through the cached conversations again and again, for a quarter of the CPU. What is young is looked through in small
    portions: fifty thousand objects at once took up to 30 ms, in which no timer fired.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)


def _listen(settings: ServiceSettings) -> socket.socket:
    """The HTTP socket, bound before anything else: a port that is taken is the operator's to mend."""
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    return socket.create_server((settings.http_host, settings.http_port), family=family)


async def _main(
    name: str, build: Build, settings: ServiceSettings, listener: socket.socket, *, needs_config: bool
) -> int:
    # When a series began is of no use to Prometheus 2, and as many series again.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    metrics = EngineMetrics(registry)
    runtime = Runtime(settings, registry)
    runtime.database = DatabaseWatch(settings, name)
    runtime.background.append(runtime.database.run)
    feed = runtime.feed = ConfigFeed(runtime.config, settings, name) if needs_config else None
    if feed is not None:
        feed.broadcast = runtime.broadcast("shops.v1", feed.on_records)
    built = build(runtime)
    consumer: Consumer = await built if isinstance(built, Awaitable) else built
    metrics.start(name, consumer.topics)
    if feed is not None:
        feed.prepare = runtime.prepare_rules
    engine = Engine(settings, consumer, ends=runtime.ends, metrics=metrics, config=feed)
    runtime.engine = engine
    metrics.timer_overdue.labels(name).set_function(lambda: engine.timer_overdue_s(now_us()))
    metrics.outbox_age.labels(name).set_function(lambda: engine.outbox.age_s(now_us()))
    metrics.ready.labels(name).set_function(lambda: readiness(name, engine, runtime)[0])

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = _serve(name, runtime, engine, registry)
    tasks = [asyncio.create_task(job()) for job in runtime.background]
    tasks.append(asyncio.create_task(_watch_loop(metrics, engine, name)))
    http = asyncio.create_task(server.serve([listener]))
    work = asyncio.create_task(engine.run())
    stop = asyncio.create_task(stopping.wait())
    tune_collector()
    log.info("started", http=f"http://{settings.http_host}:{listener.getsockname()[1]}")
    code = 0
    try:
        done, _ = await asyncio.wait([work, stop, *tasks, http], return_when=asyncio.FIRST_COMPLETED)
        if stop not in done:
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            raise FatalError("a background task ended on its own")
        log.info("stopping")
        engine.stop()
        if not engine.started:
            # Nothing was ever owned, so there is nothing to finish; the broker it waits for may never come.
            work.cancel()
        # Its drain and the group's leave are bounded by themselves; this bounds the sum.
        await asyncio.wait([work], timeout=settings.drain_s * 2 + 10)
        if not work.done():
            raise TimeoutError
        if not work.cancelled():
            work.result()
        log.info("stopped")
    except DesklineError as error:
        log.error("stopped for good", error=str(error))
        code = 1
    except TimeoutError:
        log.error("stopping took too long; what is left is taken over by the next owner")
        code = 1
    except _NOT_MIGRATED as error:
        log.error(
            "stopped for good: the database is not that of this version; run: deskline migrate",
            error=type(error).__name__,
            frames=traceback.format_tb(error.__traceback__)[-1:],
        )
        code = 1
    except Exception as error:  # noqa: BLE001 - the last line: whatever it is, say where, and exit with 1
        # The stack, not the text of the error: it may quote what a customer wrote.
        log.error("stopped by a defect", error=describe(error), frames=traceback.format_tb(error.__traceback__))
        code = 1
    finally:
        server.should_exit = True
        await end_all([*tasks, work, stop])
        await asyncio.gather(http, return_exceptions=True)
        with contextlib.suppress(Exception):
            await runtime.ends.stop()
    return code


def _serve(name: str, runtime: Runtime, engine: Engine, registry: CollectorRegistry) -> _Server:
    @get(include_in_schema=False)
    async def livez(scope: Any) -> AsgiResponse:
        del scope
        return AsgiResponse(b"ok\n", 200, headers={"content-type": "text/plain"})

    @get(include_in_schema=False)
    async def readyz(scope: Any) -> AsgiResponse:
        del scope
        ready, body = readiness(name, engine, runtime)
        return AsgiResponse(
            json.dumps(body).encode(), 200 if ready else 503, headers={"content-type": "application/json"}
        )

    app = AsgiFastStream(
        asgi_routes=[
            ("/livez", livez),
            ("/readyz", readyz),
            ("/metrics", guarded(make_asgi_app(registry), runtime.settings.metrics_token)),
            *runtime.routes,
        ],
        logger=None,
    )
    settings = runtime.settings
    return _Server(
        uvicorn.Config(
            _mounted(app, runtime.mounts),
            host=settings.http_host,
            port=settings.http_port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )


def _mounted(app: Any, mounts: Sequence[tuple[str, Any]]) -> Any:
    """``app``, which knows whole paths, with others for what lies below theirs."""
    if not mounts:
        return app

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        found = next((mount for prefix, mount in mounts if path.startswith(f"{prefix}/")), app)
        await found(scope, receive, send)

    return answer


def readiness(name: str, engine: Engine, runtime: Runtime) -> tuple[bool, dict[str, Any]]:
    """(ready, why): assigned, configured, connected and moving. A standby without partitions is ready: it waits to be needed."""
    blocked = sorted(lane.blocked for lane in engine.lanes.values() if lane.blocked is not None)
    lag = sum(lane.lag for lane in engine.lanes.values())
    idle_s = (now_us() - engine.last_progress_at) / SECOND
    moving = lag == 0 or idle_s < engine.settings.stall_s / 2
    connected, configured = runtime.connected, runtime.configured
    ready = engine.started and configured and connected and moving and not blocked
    return ready, {
        "service": name,
        "ready": ready,
        "caught_up": ready and engine.caught_up,
        "assigned": engine.started,
        "configured": configured,
        "lanes": len(engine.lanes),
        "connected": connected,
        "moving": moving,
        "lag_records": lag,
        "outbox_units": engine.outbox.waiting,
        "blocked": blocked,
    }


async def _watch_loop(metrics: EngineMetrics, engine: Engine, name: str) -> None:
    """Show how late the event loop runs (heartbeats share it), and the gauges that nobody else sets."""
    loop = asyncio.get_running_loop()
    worst, window_end = 0.0, loop.time() + 15
    while True:
        before = loop.time()
        await asyncio.sleep(_LOOP_PROBE_S)
        worst = max(worst, loop.time() - before - _LOOP_PROBE_S)
        if loop.time() > window_end:
            window_end = loop.time() + 15
            worst = 0.0
        metrics.loop_lag.set(worst)
        metrics.outbox.labels(name).set(engine.outbox.waiting)
