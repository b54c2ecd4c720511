"""Keeps a ``ConfigBook`` up to date from ``shops.v1``, and says how fresh it is.

Every instance reads the whole topic. A record's broker timestamp decides when its version is in force (contract §3),
so the topic, not the database, is the authority; only the bodies of ``rules``, which the topic names by hash, come from
Postgres (``config.bodies``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import asyncpg
import structlog

from deskline.broadcast import Broadcast
from deskline.config.book import ConfigBook
from deskline.config.rules_document import RulesDocument
from deskline.errors import TransientError
from deskline.events.wire import decode
from deskline.postgres import TRANSIENT, connect
from deskline.records import Event, Record
from deskline.settings import ServiceSettings

log = structlog.get_logger(__name__)

_BODY = "SELECT body FROM config.bodies WHERE sha256 = $1"


class ConfigFeed:
    """``on_records`` feeds the book; ``fresh`` is what the engine waits for before it decides."""

    def __init__(self, book: ConfigBook, settings: ServiceSettings, schema: str) -> None:
        self.broadcast: Broadcast | None = None
        self.prepare: Callable[[RulesDocument], Awaitable[None]] | None = None
        self._book = book
        self._settings = settings
        self._schema = schema
        self._can_decide = asyncio.Event()

    @property
    def read(self) -> bool:
        """The topic has been read to its end once, and what stands there was prepared."""
        return self.broadcast is not None and self.broadcast.watermark > 0

    async def fresh(self, upto: int, timeout_s: float) -> bool:
        """Wait until the book can decide at all, and has everything published up to ``upto`` (µs).

        False if that takes longer than ``timeout_s``, of each: never at once, for whoever asks asks again.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._can_decide.wait()
        except TimeoutError:
            if self.read:
                log.warning("nothing is configured for _default; run: deskline config apply DIR")
            return False
        return self.broadcast is not None and await self.broadcast.fresh(upto, timeout_s)

    async def on_records(self, records: Sequence[Record], after: Mapping[int, int]) -> None:
        del after
        events = [event for event in map(decode, records) if isinstance(event, Event)]
        # Of each shop the last of what was read at once: at a start that is one version, not all that ever were.
        newest = {event.subject: event.offset for event in events if self._book.names(event) is not None}
        for event in events:
            digest = self._book.wants(event)
            if digest is not None:
                body = await self._body(digest)
                if body is None:
                    # Published by somebody who did not write to our database: the version before stays in force.
                    log.error("a rules body is missing", shop=event.subject, sha256=digest)
                    continue
                self._book.put_body(digest, body)
            named = self._book.names(event)
            document = None if named is None else self._book.body(named)
            if self.prepare is not None and document is not None and newest.get(event.subject) == event.offset:
                # Before the book knows the version, so that what decides by it finds it compiled. Nobody decides by an older
                # one for longer than ``config_lead_s`` meanwhile: ``fresh`` waits for this reader.
                await self.prepare(document)
            self._book.admit(event)
            log.info("configuration", shop=event.subject, type=event.type, offset=event.offset)
        if self._book.ready:
            self._can_decide.set()

    async def _body(self, digest: str) -> bytes | None:
        try:
            connection = await connect(self._settings, self._schema)
            try:
                body = await connection.fetchval(_BODY, digest)
            finally:
                await connection.close()
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
            raise TransientError(f"config.bodies cannot be read; run: deskline migrate ({error})") from error
        except TRANSIENT as error:
            raise TransientError(f"config.bodies cannot be read: {type(error).__name__}") from error
        return None if body is None else bytes(body)
