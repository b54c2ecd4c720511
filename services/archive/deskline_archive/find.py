"""Finding records: by conversation, shop, customer, agent, kind, period and text, a page at a time, newest first.

A page is looked for day by day from the newest. Closed days are asked by their indexes; the open day, and days whose text
index is not there yet, are read, as far as the time allows: then the page says that it is not complete, and where to go on.
Whoever looks has a role: a *reader* sees texts with personal data masked, a *supervisor* whole texts, an *investigator*
also what is restricted. Each look is kept with who looked, for what; each look at restricted data is told apart.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

import asyncpg

from deskline.clock import from_datetime, rfc3339, to_datetime
from deskline.errors import UsageError
from deskline.personal_data import mask
from deskline_archive.days import index_key, table
from deskline_archive.policy import mentions, storable
from deskline_archive.store import load_queries
from deskline_archive.veil import Vault, name_of, xored
from deskline_archive.words import Hashes, folded, pairs, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from deskline.postgres import Connection

Role = Literal["reader", "supervisor", "investigator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
MOST: Final = 200
RESTRICTED: Final = "[restricted]"
ERASED: Final = "[erased]"
_TRANSCRIPT: Final = 20_000
# Rows of a day that is read, between which a page may be full.
_AT_ONCE: Final = 250
_EPOCH: Final = date(1970, 1, 1)
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")


class Looker(NamedTuple):
    """Who looks, in which role; ``reason`` is asked of investigators."""

    who: str
    role: Role
    reason: str = ""


class Question(NamedTuple):
    """What is looked for. Days are UTC, both included."""

    conversation: str | None = None
    customer: str | None = None
    shop: str | None = None
    agent: str | None = None
    kind: str | None = None
    first: date | None = None
    last: date | None = None
    text: str | None = None
    limit: int = 50
    cursor: str | None = None
    time_box_s: float = 5.0


class Hit(NamedTuple):
    """One record as the looker may see it. ``value`` is JSON as stored (masked), a notice, or hexadecimal of what is no JSON."""

    topic: str
    partition: int
    offset: int
    broker_time: str
    type: str | None
    conversation: str | None
    shop_id: str | None
    customer_id: str | None
    agent_id: str | None
    value: Any


Found: TypeAlias = tuple[Hit, bytes | None]
"""A record and its key."""


class Page(NamedTuple):
    """``cursor``: where the next page begins; None: there is no more. ``complete``: False where the time was over."""

    hits: list[Hit]
    cursor: str | None
    complete: bool


class Finder:
    """``vault``: None where nothing is veiled."""

    def __init__(self, connection: Connection, prefix: str, vault: Vault | None) -> None:
        self._connection = connection
        self._prefix = prefix
        self._vault = vault
        self._queries = load_queries()
        self._read_upto: tuple[datetime, int, int] | None = None
        self._persons: list[str] | None = None
        self._hidden: set[str] = set()

    async def search(self, question: Question, looker: Looker) -> Page:
        """One page. Raises ``UsageError`` where the question cannot be answered."""
        self.check(question, looker)
        self._persons = None
        found: list[Found] = []
        cursor = self._read_upto = _read_cursor(question.cursor)
        complete = True
        try:
            async with asyncio.timeout(question.time_box_s):
                subjects = await self._subjects(question)
                if subjects != []:
                    async for row, text_of_row in self._rows(question, subjects, cursor, looker):
                        if len(found) == question.limit:
                            break
                        found.append((self._hit(row, text_of_row), row["key"]))
                        cursor = row["broker_time"], row["stream"], row["offset"]
                    else:
                        cursor = None
                else:
                    cursor = None
        except (TimeoutError, asyncpg.QueryCanceledError):
            complete, cursor = False, self._read_upto or cursor
        hits = await self.seen(found, looker, "search", question)
        return Page(hits, None if cursor is None else _cursor(cursor), complete)

    async def transcript(self, conversation: str, looker: Looker, time_box_s: float | None = None) -> list[Hit]:
        """All of a conversation, in the order of its events. Raises ``TimeoutError`` where it takes longer: half of one would be
        taken for the whole.
        """
        question = Question(conversation=conversation)
        self.check(question, looker)
        async with asyncio.timeout(time_box_s):
            rows = await self._connection.fetch(self._queries["conversation"], self._prefix, conversation, _TRANSCRIPT)
        found = [(self._hit(row, self._clear(row)), row["key"]) for row in rows]
        return await self.seen(found, looker, "transcript", question)

    # --- inside -----------------------------------------------------------------------------------------------------

    def check(self, question: Question, looker: Looker) -> None:
        if looker.role == "investigator" and not looker.reason.strip():
            raise UsageError("an investigator says why: it is kept with the look")
        if not 1 <= question.limit <= MOST:
            raise UsageError(f"a page has 1 to {MOST} records")
        if question.text is not None and not folded(question.text):
            raise UsageError("the text to look for is empty")
        if question.first is not None and question.last is not None and question.last < question.first:
            raise UsageError("the period ends before it begins")

    async def _subjects(self, question: Question) -> list[str] | None:
        """The conversations that are meant; None: any."""
        if question.customer is None:
            return None if question.conversation is None else [question.conversation]
        rows = await self._connection.fetch(self._queries["conversations_of"], question.customer)
        mine = [row["subject"] for row in rows]
        return [one for one in mine if one == question.conversation] if question.conversation is not None else mine

    async def _rows(
        self, question: Question, subjects: list[str] | None, cursor: Any, looker: Looker
    ) -> AsyncIterator[tuple[Any, bytes | None]]:
        span = await self._connection.fetchrow(self._queries["oldest_day"])
        if span is None or span["first"] is None:
            return
        first = max(question.first or span["first"], span["first"])
        last = min(question.last or span["last"], span["last"], cursor[0].date() if cursor is not None else date.max)
        indexed: dict[date, int] = {}
        wanted = None
        if question.text is not None:
            # How often a word is there decides how it is looked for, each time anew.
            await self._connection.execute("SET plan_cache_mode = force_custom_plan")
            wanted = folded(question.text)
            if len(wanted) > 1:
                indexed = {
                    row["day"]: row["generation"]
                    for row in await self._connection.fetch(self._queries["closed"], first, last)
                }
        if subjects is not None and wanted is None:
            # Few conversations: their index is asked in all days at once.
            spans = [(first, (last - first).days + 1)]
        else:
            known = {row["day"] for row in await self._connection.fetch(self._queries["day_list"])}
            spans = _spans(known, first, last)
            # Of a day that went, its words did too.
            indexed = {day: generation for day, generation in indexed.items() if day in known}
        if question.first is None or question.first < span["first"]:
            # What its class keeps longer than its day: few records, without an index.
            spans.append((_EPOCH, (span["first"] - _EPOCH).days))
        for day, days in spans:
            generation = indexed.get(day)
            wide = wanted is not None and generation is None
            begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
            at = cursor
            while True:
                after = at if at is not None else (None, None, None)
                if generation is not None and wanted is not None:
                    grams = Hashes(index_key(self._vault, day, generation)).of(pairs(wanted))
                    rows = await self._connection.fetch(
                        _BY_WORDS.format(table(day, generation)), grams, subjects, question.shop, question.agent,
                        question.kind, *after, _page(question, wide), self._prefix,
                    )  # fmt: skip
                else:
                    rows = await self._connection.fetch(
                        self._queries["found"], begin, begin + timedelta(days=days), self._prefix, subjects, question.shop,
                        question.agent, question.kind, *after, _page(question, wide),
                    )  # fmt: skip
                for begun in range(0, len(rows), _AT_ONCE):
                    for row, value, meant in await self._judged(rows[begun : begun + _AT_ONCE], wanted, looker):
                        at = row["broker_time"], row["stream"], row["offset"]
                        if meant:
                            yield row, value
                        self._read_upto = at
                if len(rows) < _page(question, wide):
                    break

    async def _judged(
        self, rows: Sequence[Any], wanted: str | None, looker: Looker
    ) -> list[tuple[Any, bytes | None, bool]]:
        """Each row, its content, and whether it is meant: the hashes are a sieve, the text itself decides."""
        found = [(row, self._clear(row)) for row in rows]
        if wanted is None:
            return [(row, value, True) for row, value in found]
        judged = [(row, value, value is not None and wanted in folded(text_of(value))) for row, value in found]
        if looker.role == "investigator":
            return judged
        # A hit would tell that a restricted person said these words.
        return [
            (row, value, meant and not await self.hides(self._hit(row, value), row["key"]))
            for row, value, meant in judged
        ]

    async def hides(self, hit: Hit, key: bytes | None) -> bool:
        """Whether a record is that of somebody who was restricted when this search began."""
        if self._persons is None:
            self._persons = [row["customer_id"] for row in await self._connection.fetch(self._queries["restricted"])]
            rows = (
                await self._connection.fetch(self._queries["restricted_conversations"], self._persons)
                if self._persons
                else list[Any]()
            )
            self._hidden = {*self._persons, *(storable(row["name"].decode("utf-8", "replace")) for row in rows)}
        return owner_of(hit, key) in self._hidden or (hit.conversation is None and _names(hit.value, self._persons))

    def _clear(self, row: Any) -> bytes | None:
        value: bytes | None = row["value"]
        if row["generation"] is None or value is None:
            return value
        if self._vault is None:
            raise UsageError("the records are veiled: name DESKLINE_ARCHIVE_VAULT, or --state-dir")
        key = self._vault.key(name_of(row["key"], row["topic"], row["partition"], row["offset"]), row["generation"])
        return None if key is None else xored(value, key, row["stream"], row["offset"])

    def _hit(self, row: Any, value: bytes | None) -> Hit:
        shown: Any
        if value is None:
            shown = ERASED if row["value"] is not None else None
        else:
            try:
                shown = json.loads(value)
            except (ValueError, RecursionError):
                shown = value.hex()
        at = rfc3339(from_datetime(row["broker_time"]))
        return Hit(
            row["topic"], row["partition"], row["offset"], at,
            row["type"], row["subject"], row["shop_id"], row["customer_id"], row["agent_id"], shown,
        )  # fmt: skip

    async def restricted(self, found: Sequence[Found]) -> set[str]:
        """Which of their owners are restricted."""
        if not found:
            return set()
        persons = [row["customer_id"] for row in await self._connection.fetch(self._queries["restricted"])]
        if not persons:
            return set()
        owners = sorted({owner_of(hit, key) for hit, key in found})
        keyless = sorted({_place(hit) for hit, key in found if hit.conversation is None and key is None})
        rows = await self._connection.fetch(self._queries["restricted_among"], owners, keyless)
        without = ((hit, key) for hit, key in found if hit.conversation is None)
        named = {owner_of(hit, key) for hit, key in without if _names(hit.value, persons)}
        return {row["subject"] for row in rows} | named

    async def seen(self, found: Sequence[Found], looker: Looker, action: str, question: Question) -> list[Hit]:
        """What of it the looker may see; and the look itself, kept before it is answered."""
        restricted = await self.restricted(found)
        told = {
            name: value
            for name, value in question._asdict().items()
            if value is not None and name not in {"text", "cursor"}
        }
        if question.text is not None:
            # Whoever reads the looks need not read what was looked for: it may be a person's words.
            told["text_characters"] = len(question.text)
        shows = looker.role == "investigator" and bool(restricted)
        detail = {
            **told,
            "hits": len(found),
            "restricted": sorted(restricted),
            "restricted_shown": shows,
            "reason": looker.reason,
        }
        await self._connection.execute(
            self._queries["add_look"],
            looker.who,
            looker.role,
            action,
            json.dumps(detail, default=str, ensure_ascii=False),
        )
        return [masked(hit, looker.role, restricted=owner_of(hit, key) in restricted) for hit, key in found]


_BY_WORDS: Final = """
SELECT r.stream, s.topic, s.partition, r."offset", r.broker_time, r.key, r.value, r.generation, r.type, r.subject, r.shop_id, r.customer_id, r.agent_id
FROM (
    SELECT stream, "offset", broker_time FROM {}
    WHERE grams @> $1::integer[] AND ($2::text[] IS NULL OR subject = ANY($2)) AND ($3::text IS NULL OR shop_id = $3)
      AND ($4::text IS NULL OR agent_id = $4) AND ($5::text IS NULL OR type = $5)
      AND ($6::timestamptz IS NULL OR (broker_time, stream, "offset") < ($6, $7::integer, $8::bigint))
    ORDER BY broker_time DESC, stream DESC, "offset" DESC LIMIT $9
) AS w
JOIN raw_records AS r ON r.stream = w.stream AND r."offset" = w."offset" AND r.broker_time = w.broker_time
JOIN streams AS s ON s.id = r.stream
WHERE starts_with(s.topic, $10)
ORDER BY r.broker_time DESC, r.stream DESC, r."offset" DESC
"""


def _spans(known: Collection[date], first: date, last: date) -> list[tuple[date, int]]:
    """Each day by itself, newest first; and the days between them that went, each run at once: some of their records are kept."""
    spans, above = [], last + timedelta(days=1)
    for day in sorted((day for day in known if first <= day <= last), reverse=True):
        if (gone := (above - day).days - 1) > 0:
            spans.append((day + timedelta(days=1), gone))
        spans.append((day, 1))
        above = day
    if above > first:
        spans.append((first, (above - first).days))
    return spans


def _page(question: Question, wide: bool) -> int:
    """Rows of one answer of the database: one more than the page shows that there is another; a text that is looked for by
    reading is mostly not in a row.
    """
    return 5000 if wide else question.limit + 1


def owner_of(hit: Hit, key: bytes | None) -> str:
    """Whose record it is: of one that is not valid, and of a dead letter, its key says it, as it says whose key veils it."""
    if hit.conversation is None and key is not None:
        with suppress(UnicodeDecodeError):
            return storable(key.decode())
    return hit.conversation or _place(hit)


def _place(hit: Hit) -> str:
    return f"{hit.topic}/{hit.partition}/{hit.offset}"


def _names(value: Any, persons: list[str]) -> bool:
    """Whether a record that belongs to no conversation speaks of one of these."""
    if not persons or value is None:
        return False
    if isinstance(value, str) and value not in {RESTRICTED, ERASED}:
        said = bytes.fromhex(value) if _HEX.fullmatch(value) else value.encode()
    else:
        said = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return any(mentions(said, person) for person in persons)


def masked(hit: Hit, role: Role, *, restricted: bool) -> Hit:
    """The hit as this role may see it."""
    if restricted and role != "investigator":
        return hit._replace(value=RESTRICTED, customer_id=None)
    if role == "reader":
        return hit._replace(value=_masked(hit.value))
    return hit


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, name) for each in value]
    if isinstance(value, str):
        return "*" if name == "name" else mask(value)
    return value


def _cursor(at: tuple[datetime, int, int]) -> str:
    plain = f"{from_datetime(at[0])}/{at[1]}/{at[2]}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _read_cursor(text: str | None) -> tuple[datetime, int, int] | None:
    if text is None:
        return None
    try:
        moment, stream, offset = map(int, base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split("/"))
        if not (0 <= stream < 2**31 and 0 <= offset < 2**63):
            raise ValueError(text)
        return to_datetime(moment), stream, offset
    except (ValueError, OverflowError):
        raise UsageError("this is no cursor of a page before") from None
