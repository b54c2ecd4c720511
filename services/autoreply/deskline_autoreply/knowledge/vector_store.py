"""The table ``phrasing_vectors``: what was encoded once, by whichever instance, is not encoded again.

It saves time and nothing else: while the database is away, versions are compiled without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from deskline.clock import DAY, now_us
from deskline.postgres import TRANSIENT, connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deskline.config.knowledge_document import Knowledge
    from deskline.postgres import Connection
    from deskline.settings import ServiceSettings
    from deskline_autoreply.knowledge.vectors import Encoder

log = structlog.get_logger(__name__)

_LOAD: Final = "SELECT text, vector FROM phrasing_vectors WHERE model = $1 AND text = ANY($2::bytea[])"
_USED: Final = "UPDATE phrasing_vectors SET used_at = $3 WHERE model = $1 AND text = ANY($2::bytea[]) AND used_at < $3"
_ADD: Final = """
INSERT INTO phrasing_vectors (model, text, vector, used_at)
SELECT $1, text, vector, $4 FROM unnest($2::bytea[], $3::bytea[]) AS new (text, vector)
ON CONFLICT DO NOTHING
"""
_FORGET: Final = "DELETE FROM phrasing_vectors WHERE used_at < $1"
# All that can go wrong with it is not worth a version that is not in force.
_FAILS: Final[tuple[type[BaseException], ...]] = (*TRANSIENT, asyncpg.PostgresError)
# 5 MB a statement.
_AT_ONCE: Final = 5_000
# What no start and no new version has asked for in a year is of shops that are gone, or of phrasings.
_KEPT_DAYS: Final = 365


class VectorStore:
    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    async def load(self, encoder: Encoder, texts: Sequence[str]) -> list[str]:
        """Teach the encoder what is known of these texts; those that nobody has encoded yet."""
        unknown = encoder.unknown(texts)
        if not unknown:
            return []
        try:
            connection = await connect(self._settings, "autoreply")
            try:
                for keys in _parts(sorted(unknown)):
                    encoder.learn(await load(connection, keys))
            finally:
                await connection.close()
        except _FAILS as error:
            log.warning("vectors are made without the database", error=type(error).__name__)
        return list(encoder.unknown(unknown.values()).values())

    async def save(self, encoder: Encoder, texts: Sequence[str]) -> None:
        """Keep their vectors for whoever needs them next."""
        if not texts:
            return
        vectors = encoder.taught(texts)
        try:
            connection = await connect(self._settings, "autoreply")
            try:
                for keys in _parts(sorted(vectors)):
                    await save(connection, {key: vectors[key] for key in keys})
            finally:
                await connection.close()
        except _FAILS as error:
            log.warning("vectors were not kept", error=type(error).__name__)


async def load(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    from deskline_autoreply.knowledge.vectors import model_name  # noqa: PLC0415

    rows = await connection.fetch(_LOAD, model_name(), keys)
    await connection.execute(_USED, model_name(), keys, _today())
    return {row["text"]: row["vector"] for row in rows}


async def save(connection: Connection, vectors: dict[bytes, bytes]) -> None:
    from deskline_autoreply.knowledge.vectors import model_name  # noqa: PLC0415

    # In one order, so that two instances that start at once do not wait for each other in a circle.
    keys = sorted(vectors)
    await connection.execute(_ADD, model_name(), keys, [vectors[key] for key in keys], _today())
    await connection.execute(_FORGET, _today() - _KEPT_DAYS * DAY)


def texts_of(knowledge: Knowledge) -> list[str]:
    """All that compiling it encodes."""
    phrasings = [phrasing for entry in knowledge.entries for phrasing in entry.phrasings]
    return [*phrasings, *(question.text for question in knowledge.questions)]


def _today() -> int:
    return now_us() // DAY * DAY


def _parts(keys: list[bytes]) -> Iterator[list[bytes]]:
    for at in range(0, len(keys), _AT_ONCE):
        yield keys[at : at + _AT_ONCE]
