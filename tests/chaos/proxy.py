"""A network that can be broken: one TCP proxy, in front of a broker or a database.

``pass``: as it comes. ``pause``: nothing moves, connections stay. ``slow``: every piece comes ``delay_s`` later. ``cut``: connections end, new
ones are refused. ``mute``: what the server answers is lost, what it is told arrives.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

Mode = Literal["pass", "pause", "slow", "cut", "mute"]
_PIECE = 64 * 1024


class Proxy:
    def __init__(self, port: int, upstream: int, host: str = "127.0.0.1") -> None:
        self.port, self.upstream, self._host = port, upstream, host
        self.delay_s = 0.2
        self.refused = self.passed = 0
        self._mode: Mode = "pass"
        self._flows = asyncio.Event()
        self._flows.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self.port)

    async def stop(self) -> None:
        self.set("cut")
        if self._server is not None:
            self._server.close()

    @property
    def mode(self) -> Mode:
        return self._mode

    def set(self, mode: Mode) -> None:
        self._mode = mode
        (self._flows.clear if mode == "pause" else self._flows.set)()
        if mode == "cut":
            for writer in list(self._open):
                writer.transport.abort()

    def turn(self, upstream: int) -> None:
        """Another server from now on; whoever is connected has to come again."""
        self.upstream = upstream
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "cut":
            self.refused += 1
            writer.transport.abort()
            return
        try:
            above_in, above_out = await asyncio.open_connection(self._host, self.upstream)
        except OSError:
            self.refused += 1
            writer.transport.abort()
            return
        self.passed += 1
        self._open |= {writer, above_out}
        try:
            await asyncio.gather(
                self._pump(reader, above_out, answers=False), self._pump(above_in, writer, answers=True)
            )
        finally:
            self._open -= {writer, above_out}
            for end in (writer, above_out):
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(ConnectionError, OSError):
            while piece := await reader.read(_PIECE):
                await self._flows.wait()
                if self._mode == "slow":
                    await asyncio.sleep(self.delay_s)
                if not (answers and self._mode == "mute"):
                    writer.write(piece)
                    await writer.drain()
        with suppress(OSError):
            writer.transport.abort()
