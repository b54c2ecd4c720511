"""Closing days: what a day needs to be searched by, made once it is over, and anew when somebody was erased from it or it got
records late.
"""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from deskline_archive.legal import puncture
from deskline_archive.rows import WORD_COLUMNS, Words, words_copied
from deskline_archive.store import load_queries
from deskline_archive.veil import Vault, name_of, xored
from deskline_archive.words import Hashes, folded, key_name, pairs, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from deskline.postgres import Connection

_ROWS: Final = 5000


def index_key(vault: Vault | None, day: date, generation: int) -> bytes:
    """Without a vault everything stands in the clear, and the index hides nothing either."""
    return b"" if vault is None else vault.key(key_name(day.isoformat()), generation) or b""


async def close_days(connection: Connection, file: Path | None) -> list[tuple[date, int]]:
    """(day, messages) of each day that was closed now. Each is one transaction."""
    queries, done = load_queries(), []
    for row in await connection.fetch(queries["days_to_close"]):
        day, generation = row["day"], row["generation"]
        vault = None if file is None else Vault.load(file)
        if vault is not None and generation and file is not None:
            # Before the new one is there: whoever finds the old index in a backup has no key to it.
            known = await connection.fetch(queries["closed_generations"], day)
            await puncture(connection, file, [(key_name(day.isoformat()), old["generation"]) for old in known])
            vault = Vault.load(file)
        if vault is not None:
            generation = max(generation, vault.first_generation)
        # One snapshot: a record that comes meanwhile is beyond what the day is said to go to, and has it closed anew.
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(queries["begin_words"], day, generation)
            count = await _fill(connection, day, generation, vault)
            await connection.execute(queries["finish_words"], day, generation)
        done.append((day, count))
    return done


def table(day: date, generation: int) -> str:
    return f"words_{day:%Y%m%d}_{generation}"


async def _fill(connection: Connection, day: date, generation: int, vault: Vault | None) -> int:
    query, count, at = load_queries()["spoken"], 0, (0, -1)
    topics = {row["id"]: (row["topic"], row["partition"]) for row in await connection.fetch(load_queries()["streams"])}
    hashes = Hashes(index_key(vault, day, generation))
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    while rows := await connection.fetch(query, begin, begin + timedelta(days=1), *at, _ROWS):
        entries = []
        for row in rows:
            stream, offset, broker_at, key, value, veiled, kind, subject, shop, customer, agent = row
            if veiled is not None and value is not None:
                name = key if key is not None else name_of(key, *topics[stream], offset)
                secret = None if vault is None else vault.key(name, veiled)
                value = None if secret is None else xored(value, secret, stream, offset)
            grams = pairs(folded(text_of(value)))
            if grams:
                entries.append(
                    Words(stream, offset, broker_at, subject, customer, kind, shop, agent, hashes.packed(grams))
                )
        await connection.copy_to_table(
            table(day, generation), columns=WORD_COLUMNS, format="binary", source=io.BytesIO(words_copied(entries))
        )
        count += len(entries)
        at = rows[-1]["stream"], rows[-1]["offset"]
    return count
