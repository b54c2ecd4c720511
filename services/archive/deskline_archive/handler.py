"""One unit of work of the archive: describe (pure), store, write the letters."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from deskline.clock import DAY
from deskline.errors import FatalError, StaleError
from deskline.postgres import is_transient
from deskline.records import ALL_TOPICS, DEAD_LETTERS, Invalid, Output, Record
from deskline.work import Ripe, Same, Tx, Work
from deskline_archive.metrics import Metrics
from deskline_archive.model import Outcome
from deskline_archive.policy import describe
from deskline_archive.store import Store

if TYPE_CHECKING:
    import asyncpg

# Long enough that a service which stands still over a holiday's weekend pages before it has to make a day in the
# transaction of the first record; few enough that empty partitions do not slow the planner.
DAYS_AHEAD: Final = 7

Letter = Callable[[Record, Invalid], Output]


class Archive:
    """The consumer that the engine drives (``deskline.work.Consumer``)."""

    name: str = "archive"
    topics: tuple[str, ...] = ALL_TOPICS
    # Each topic-partition is its own lane: topics differ in their partition counts, and none waits for another.
    co_partitioned = False
    # A record that the broker should have and does not deliver stops its topic-partition; nothing is jumped over.
    on_gap: Literal["stop"] = "stop"

    def __init__(self, store: Store, letter: Letter, metrics: Metrics) -> None:
        self._store = store
        self._letter = letter
        self._metrics = metrics
        self._unit: Work | None = None
        self._ahead_until = 0

    async def process(self, tx: Tx, work: Work) -> None:
        """Store every record of the unit, and a letter for each invalid one.

        Raises ``FatalError`` where anything but an absent database prevents it: the engine would else put the record that
        seems to be at fault among the dead letters and go on without it, and the archive goes on without none.
        """
        self._unit = work
        try:
            await self._apply(tx, work, describe(work.records, work.decoded))
        except (StaleError, FatalError):
            raise
        except Exception as error:
            if is_transient(error):
                raise
            raise FatalError(f"a unit cannot be stored ({type(error).__name__}): nothing is skipped") from error

    async def _apply(self, tx: Tx, work: Work, outcome: Outcome) -> None:
        today = work.now // DAY
        await self._store.ensure_days(tx.connection, range(today, today + DAYS_AHEAD + 1))
        if work.records:
            await self._store.append(tx.connection, work.records, outcome.descriptions)
        for index in outcome.letters:
            record, invalid = work.records[index], work.decoded[index]
            assert isinstance(invalid, Invalid)
            tx.emit_for(record, self._letter(record, invalid))

    async def due(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",  # noqa: ARG002 - the archive has no timers
        ripe: Mapping[int, Ripe],  # noqa: ARG002
        limit: int,  # noqa: ARG002
    ) -> tuple[Mapping[str, int], Mapping[int, int]]:
        return {}, {}

    async def remembered(
        self, connection: "asyncpg.Connection[asyncpg.Record]", positions: Mapping[tuple[str, int], int]
    ) -> Mapping[tuple[str, int], Same]:
        """A topic that was made anew under its name is noticed although it has grown past our position."""
        return await self._store.remembered(connection, positions)

    def committed(self) -> None:
        unit, self._unit = self._unit, None
        if unit is None:
            return
        today = unit.now // DAY
        self._ahead_until = today + self._store.days_ahead(today)
        self._count(unit)

    def aborted(self) -> None:
        self._unit = None
        self._store.forget()

    def lanes_changed(self, lanes: frozenset[int]) -> None:
        """Nothing is kept by lane: stream numbers and days are the same for every instance."""

    def days_ahead(self, today: int) -> int:
        """Days after ``today`` known to have their partition; for the metric, also while no records come."""
        return max(0, self._ahead_until - today)

    def prepared_until(self, day: int) -> None:
        """Days up to this one have their partition, whoever made them."""
        self._ahead_until = max(self._ahead_until, day)

    def _count(self, unit: Work) -> None:
        metrics = self._metrics
        sizes: Counter[str] = Counter()
        for record in unit.records:
            sizes[record.topic] += len(record.value or b"")
        for topic, number in Counter(record.topic for record in unit.records).items():
            metrics.records[topic].inc(number)
            metrics.value_bytes[topic].inc(sizes[topic])
        retimed = sum(event.retimed for event in unit.events)
        if retimed:
            metrics.retimed.inc(retimed)
        # Letters are no envelopes: whatever the decoder says of them is no invalid record.
        reasons = Counter(
            found.reason
            for record, found in zip(unit.records, unit.decoded, strict=True)
            if isinstance(found, Invalid) and record.topic != DEAD_LETTERS
        )
        for reason, number in reasons.items():
            metrics.invalid.labels(reason).inc(number)
