"""Legal holds, restrictions and erasures: what people order, kept as records of the archive itself.

An erasure has three steps, each safe to repeat: the order (from then on the person is *restricted*: masked in search and
transcripts); the end of the keys in the database, which refuses what is younger than the floor or under a hold and makes
later records of the same conversation take a new key; and the puncture of the vault. Copies that hold text (the cold store,
the word index) are made anew without it. What a crash left is done with the next run.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deskline.clock import now_us, to_datetime
from deskline.errors import UsageError
from deskline_archive.policy import letter_headers, mentions
from deskline_archive.store import load_keyring, load_queries
from deskline_archive.veil import Vault, name_of, veil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from deskline.postgres import Connection

LOG: Final = "archive-log"
"""The archive's own stream, beside those of the topics: orders, erasures, holds, exports."""


_POSITION: Final = re.compile(r"(.+)/(\d{1,9})/(\d{1,18})", re.ASCII)


class Hold(NamedTuple):
    """``value``: the conversation, customer or shop; of a period the days instead."""

    kind: str
    value: str | None
    first_day: date | None
    last_day: date | None


class Erasure(NamedTuple):
    """What became of one person's conversations. ``waiting``: (conversation, why it must stay)."""

    customer_id: str
    conversations: int
    records: int
    waiting: list[tuple[str, str]]


async def log_action(connection: Connection, prefix: str, kind: str, subject: str, told: dict[str, Any]) -> None:
    """One more record of the archive's own stream, in the caller's transaction."""
    queries = load_queries()
    await connection.execute(queries["log_lock"])
    topic = prefix + LOG
    await connection.execute(queries["add_streams"], [topic], [0])
    stream = await connection.fetchval(queries["log_stream"], topic)
    now = to_datetime(now_us())
    value = json.dumps(told, ensure_ascii=False, sort_keys=True, default=str).encode()
    await connection.execute(queries["ensure_days"], now.date(), now.date())
    await connection.execute(queries["add_log"], stream, now, subject.encode(), value, kind)


def _answered_for(who: str, why: str) -> None:
    if not who.strip() or not why.strip():
        raise UsageError("it is kept who ordered it and why: give --who and --why")


async def hold(connection: Connection, prefix: str, what: Hold, *, who: str, why: str, until: datetime | None) -> int:
    """Lay a hold; its number."""
    _answered_for(who, why)
    async with connection.transaction():
        number = int(await connection.fetchval(load_queries()["add_hold"], *what, who, why, until))
        told = {**what._asdict(), "hold": number, "who": who, "why": why, "until": until}
        await log_action(connection, prefix, "archive.hold", str(number), told)
    return number


async def lift(connection: Connection, prefix: str, number: int, *, who: str, why: str) -> None:
    _answered_for(who, why)
    async with connection.transaction():
        if await connection.fetchval(load_queries()["lift_hold"], number, who, why) is None:
            raise UsageError(f"there is no hold {number} in force; deskline archive hold list")
        await log_action(connection, prefix, "archive.hold", str(number), {"lifted": number, "who": who, "why": why})


async def order(connection: Connection, prefix: str, customer: str, *, who: str, why: str) -> None:
    """Restrict a person from now on, to be erased when the floor is over. Once is enough."""
    _answered_for(who, why)
    async with connection.transaction():
        if await connection.fetchval(load_queries()["restrict"], customer, who, why) is not None:
            told = {"state": "ordered", "customer_id": customer, "who": who, "why": why}
            await log_action(connection, prefix, "archive.erasure", customer, told)


async def check_keyless(connection: Connection, place: str) -> None:
    """Raises ``UsageError`` where no record without a key stands at a position, or one that no key veils."""
    found = await connection.fetch(load_queries()["at_position"], place)
    if not found:
        raise UsageError(f"the archive has no record {place}; write conversations.v1/0/4711")
    if not found[0]["keyless"]:
        raise UsageError(f"{place} has a key: it goes with its conversation, deskline archive erase CUSTOMER")


async def erase_due(
    connection: Connection, prefix: str, file: Path, customers: Sequence[str] | None = None
) -> list[Erasure]:
    """End the keys of everything that was ordered to be erased and may be; of these customers, or of all for whom something may
    have passed the floor since they were last asked about.
    """
    queries = load_queries()
    if customers is None:
        customers = [row["customer_id"] for row in await connection.fetch(queries["erasures_due"])]
    done = list[Erasure]()
    if customers:
        vault, next_keyless = Vault.load(file), await connection.fetchval(queries["keyless_due"])
        keyless = await _keyless(connection, prefix, vault)
        for customer in customers:
            found = await _erase(connection, keyless, prefix, customer)
            waiting = [subject for subject, _ in found.waiting]
            await connection.execute(queries["erasure_asked"], customer, waiting, next_keyless)
            done.append(found)
    await puncture(connection, file)
    return done


async def _erase(connection: Connection, keyless: Sequence[tuple[str, bytes]], prefix: str, customer: str) -> Erasure:
    queries = load_queries()
    waiting: list[tuple[str, str]] = []
    ending: dict[tuple[bytes, int], int] = {}
    conversations = [row["subject"] for row in await connection.fetch(queries["conversations_of"], customer)]
    subjects = [*conversations, *_keyless_of(keyless, customer, conversations)]
    by_name: dict[str, list[Any]] = {}
    for row in await connection.fetch(queries["veils_of"], *_named(subjects)):
        by_name.setdefault(row["name"], []).append(row)
    reasons = dict(
        tuple(row)
        for row in await connection.fetch(queries["not_erasable"], [name for name in subjects if name in by_name])
    )
    for subject in subjects:
        veils = by_name.get(subject)
        if veils is None:
            continue
        why = reasons.get(subject)
        clear = sum(each["records"] for each in veils if each["generation"] is None and not each["plain_ids"])
        gone = sum(
            each["records"] for each in veils if each["generation"] is None and each["gone"] and not each["plain_ids"]
        )
        if why is None and clear > gone:
            why = f"{clear - gone} records were stored in the clear, before there was a vault: they go with their days"
        if why is not None:
            waiting.append((subject, why))
            continue
        name, found = subject.encode(), Counter[int]()
        for each in veils:
            if each["generation"] is not None:
                found[each["generation"]] += each["records"]
        if not found and clear:
            # In the cold store, in the clear: what ends is a key that nothing was veiled under, as the mark of it.
            found[await connection.fetchval(queries["next_generation"], name)] = 0
        if found:
            found[min(found)] += gone
        ending.update({(name, generation): records for generation, records in found.items()})
    if not ending:
        return Erasure(customer, 0, 0, waiting)
    names, generations = [name for name, _ in ending], [generation for _, generation in ending]
    touched = await connection.fetch(queries["touched"], *_named(sorted({name.decode() for name in names})))
    async with connection.transaction():
        ended = [tuple(row) for row in await connection.fetch(queries["end_keys"], customer, names, generations)]
        records = sum(ending[one] for one in ended)
        told = {
            "state": "erased",
            "customer_id": customer,
            "conversations": len({name for name, _ in ended}),
            "records": records,
            "exports": [json.loads(row["detail"]) for row in await connection.fetch(queries["exports_since"])],
        }
        await log_action(connection, prefix, "archive.erasure", customer, told)
        columns = ("day", "stream", "first_offset", "last_offset")
        await connection.execute(queries["add_erased_days"], *([row[name] for row in touched] for name in columns))
    return Erasure(customer, len({name for name, _ in ended}), records, waiting)


def _named(names: Sequence[str]) -> tuple[list[str], list[bytes], list[str]]:
    """As the queries want them: as text, as bytes, and those that are positions."""
    return list(names), [name.encode() for name in names], [name for name in names if _POSITION.fullmatch(name)]


async def _keyless(connection: Connection, prefix: str, vault: Vault) -> list[tuple[str, bytes]]:
    """Positions of records without a key that are old enough to be erased, and what they say."""
    found = []
    for row in await connection.fetch(load_queries()["keyless"], prefix):
        name = name_of(None, row["topic"], row["partition"], row["offset"])
        key = vault.key(name, row["generation"])
        if key is not None:
            headers, value = veil(key, row["stream"], row["offset"], row["headers"], row["value"])
            found.append((name.decode(), (headers or b"") + b" " + (value or b"")))
    return found


def _keyless_of(keyless: Sequence[tuple[str, bytes]], customer: str, conversations: Sequence[str]) -> list[str]:
    """Positions of those that name the person or one of his conversations; or, where a position itself is to be erased, this one
    and its dead letter.
    """
    place = _POSITION.fullmatch(customer)
    found = [] if place is None else [customer]
    letter = None if place is None else letter_headers(*place.groups())
    for name, said in keyless:
        if name not in found and (
            (letter is not None and letter in said) or any(mentions(said, each) for each in (customer, *conversations))
        ):
            found.append(name)
    return found


async def puncture(connection: Connection, file: Path, more: Sequence[tuple[bytes, int]] = ()) -> None:
    """The vault and the database's copy of it without the keys that have ended."""
    with _alone(file):
        vault = Vault.load(file)
        rows = await connection.fetch(load_queries()["erased"])
        ended = [*more, *((row["name"], row["generation"]) for row in rows)]
        left = [one for one in ended if not vault.was_erased(*one)]
        if not left:
            return
        vault = vault.punctured(left)
        vault.save(file)
    await load_keyring(connection, vault)


async def rotate(connection: Connection, prefix: str, file: Path, *, who: str, why: str) -> int:
    """Give the vault a further tree of keys for what comes from now on; how many it has."""
    _answered_for(who, why)
    with _alone(file):
        vault = Vault.load(file).rotated()
        # The database first: nobody stores under a key that its views do not have.
        await load_keyring(connection, vault)
        vault.save(file)
    async with connection.transaction():
        await log_action(connection, prefix, "archive.vault", "vault", {"trees": vault.trees, "who": who, "why": why})
    return vault.trees


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    with file.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
