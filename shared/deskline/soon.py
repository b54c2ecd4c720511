"""Timers of the owned lanes that will soon be due, in memory, so that firing them needs no question to the database.

**Known up to.** A lane is known up to an instant when its rows due by then were listed at a moment at which nothing of it was due, and
every row that a committed unit has written since was noted: nobody else writes rows of an owned lane (the engine's fence). What is
not known, or may not be after a unit that did not commit, the database is asked for.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Final

from deskline.work import Ripe

_DUE: Final = itemgetter(0)
_NEVER: Final = -(2**63)


Row = tuple[int, int, str]
"""(due, lane, subject)"""


def room_for_overdue(new: Sequence[Row], limit: int) -> int:
    """Both kinds have half of ``limit`` to themselves, and what one does not need is the other's."""
    return limit - min(len(new), limit // 2)


def shared(new: Sequence[Row], overdue: Sequence[Row], limit: int) -> tuple[list[Row], int | None]:
    """Which of them go into one unit, new ones first, and an instant before which no other is due; None: these are all.

    Both are in due order; of each there are as many as fit, or all.
    """
    room = room_for_overdue(new, limit)
    late = overdue[:room]
    taken = new[: limit - len(late)]
    if len(late) == room:
        border: int | None = late[-1][0]
    elif len(taken) == limit - len(late):
        border = taken[-1][0]
    else:
        border = None
    return [*taken, *late], border


class SoonDue:
    def __init__(self) -> None:
        self._upto: dict[int, int] = {}
        self._rows: dict[int, list[tuple[int, str]]] = {}
        """Lane → (due, subject), in order; some are out of date."""
        self._due: dict[tuple[int, str], int] = {}
        """What stands of each that is due by the instant up to which its lane is known."""

    def forget(self) -> None:
        self._upto.clear()
        self._rows.clear()
        self._due.clear()

    def listed(self, above: Mapping[int, int], upto: Mapping[int, int], rows: Iterable[tuple[int, str, int]]) -> None:
        """All rows (lane, subject, due) of these lanes that are due behind ``above`` and up to ``upto``; what is due by ``above`` is
        known, or there is none.
        """
        for lane, instant in upto.items():
            self._upto[lane] = max(instant, above[lane], self._upto.get(lane, _NEVER))
            self._rows.setdefault(lane, [])
        for lane, subject, due in rows:
            self.saved(lane, subject, due)

    def known(self, lane: int, instant: int) -> bool:
        return self._upto.get(lane, _NEVER) >= instant

    def saved(self, lane: int, subject: str, due: int | None) -> None:
        """A row was written, and is durable."""
        upto = self._upto.get(lane)
        if upto is None:
            return
        key = (lane, subject)
        if due is None or due > upto:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            insort(self._rows[lane], (due, subject))

    def take(self, ripe: Mapping[int, Ripe], limit: int) -> tuple[dict[str, int], dict[int, int]] | None:
        """What ``deskline.state_store.due_conversations`` says; None where the database has to be asked."""
        if not limit or not all(self.known(lane, one.watermark) for lane, one in ripe.items()):
            return None
        new: list[Row] = []
        overdue: list[Row] = []
        for lane, one in ripe.items():
            border = min(one.overdue_upto, one.watermark)
            new += islice(self._between(lane, border, one.watermark), limit)
            overdue += islice(self._between(lane, _NEVER, border), limit)
        new.sort()
        overdue.sort()
        taken, least = shared(new[:limit], overdue, limit)
        due = {subject: lane for _, lane, subject in taken}
        return due, self._next(ripe) if least is None else dict.fromkeys(ripe, least)

    def _between(self, lane: int, above: int, upto: int) -> Iterator[Row]:
        rows = self._rows[lane]
        gone = 0
        while gone < len(rows) and self._due.get((lane, rows[gone][1])) != rows[gone][0]:
            gone += 1
        del rows[:gone]
        first, behind = bisect_right(rows, above, key=_DUE), bisect_right(rows, upto, key=_DUE)
        last = None
        for row in islice(rows, first, behind):
            # What went and came back stands twice, side by side.
            if row != last and self._due.get((lane, row[1])) == row[0]:
                yield row[0], lane, row[1]
            last = row

    def _next(self, ripe: Mapping[int, Ripe]) -> dict[int, int]:
        """Lane → an instant before which nothing else of it is due."""
        following = {}
        for lane, one in ripe.items():
            upto = self._upto[lane]
            first = next(self._between(lane, one.watermark, upto), None)
            following[lane] = upto + 1 if first is None else first[0]
        return following
