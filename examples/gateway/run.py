"""The process: one store, one producer, one reader, one HTTP server."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn
from examples.gateway.app import Gateway
from examples.gateway.store import Store
from examples.gateway.web import build

from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    settings: ServiceSettings, data: Path, *, host: str, port: int, staff_token: str | None, keep_days: int
) -> None:
    """Until SIGTERM or SIGINT. Raises ``DesklineError``, ``KafkaError`` or ``OSError`` where it cannot begin; whatever else ends a part ends the process."""
    # Bound before anything else: a port that is taken is the operator's to mend.
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    async with Store(data) as store:
        gateway = Gateway(settings, store, staff_token=staff_token, keep_days=keep_days)
        try:
            await gateway.ears.start()
            await _serve(gateway, listener)
        finally:
            await gateway.ears.stop()


async def _serve(gateway: Gateway, listener: socket.socket) -> None:
    config = uvicorn.Config(
        build(gateway), log_config=None, access_log=False, lifespan="off",
        ws="websockets-sansio", ws_max_size=64 * 1024, timeout_graceful_shutdown=2,
        timeout_keep_alive=75,  # above the pauses of people, and of the proxies in front
    )  # fmt: skip
    server = _Server(config)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    work = [
        asyncio.create_task(job)
        for job in (gateway.outbox.run(), gateway.ears.run(), gateway.beats(), server.serve([listener]))
    ]
    stop = asyncio.create_task(stopping.wait())
    # What the process begins with is left out of every collection: a thousand waiting polls make many objects.
    gc.collect()
    gc.freeze()
    host, port = listener.getsockname()[:2]
    log.info("started", pages=f"http://{host}:{port}/")
    try:
        done, _ = await asyncio.wait([stop, *work], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            task.result()
    finally:
        gateway.hub.close()
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(work[-1]), 5)
        for task in (stop, *work):
            task.cancel()
        await asyncio.gather(stop, *work, return_exceptions=True)
