"""Whether the database answers, asked all the time: an idle service sends it nothing else, and would not know.

The engine learns that the database is away when it wants to commit. Readiness (``/readyz``) must know before: this asks
every second, on a connection of its own, which therefore never waits behind a unit of work.
"""

import asyncio
from typing import Final

import asyncpg
import structlog

from deskline.postgres import TRANSIENT, Connection, connect
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 1.0
# A healthy server answers in a millisecond; a checkpoint on a slow disk may hold it for a second.
_ANSWER_S: Final = 3.0
_NO_ANSWER: Final[tuple[type[BaseException], ...]] = (asyncpg.PostgresError, *TRANSIENT)


class DatabaseWatch:
    """``away`` says what the last question came to; True until the first answer."""

    def __init__(self, settings: ServiceSettings, schema: str) -> None:
        self.away = True
        self._settings = settings
        self._schema = schema
        self._connection: Connection | None = None

    async def run(self) -> None:
        """Ask for ever."""
        try:
            while True:
                await self._ask()
                await asyncio.sleep(_INTERVAL_S)
        finally:
            self._drop()

    async def _ask(self) -> None:
        try:
            if self._connection is None:
                async with asyncio.timeout(_ANSWER_S):
                    self._connection = await connect(self._settings, self._schema)
            await self._connection.execute("SELECT 1", timeout=_ANSWER_S)
        except _NO_ANSWER as error:
            if not self.away:
                log.warning("the database does not answer", error=type(error).__name__)
            self.away = True
            self._drop()
        else:
            self.away = False

    def _drop(self) -> None:
        closing, self._connection = self._connection, None
        if closing is not None:
            # The polite way would wait for a server that does not answer.
            closing.terminate()
