"""Timers known in memory fire as those that the database is asked for: random histories against a table that is looked through."""

import random

import pytest

from deskline.soon import SoonDue, shared
from deskline.work import Ripe

LANES = (0, 1, 2)
NEVER = -(2**63)


def asked(table, ripe, limit):
    """``due_conversations`` over a plain table: (how many of which instants and kind are taken; the rows themselves)."""
    rows = sorted((due, lane, subject) for (lane, subject), due in table.items() if due is not None and lane in ripe)
    border = {lane: min(one.overdue_upto, one.watermark) for lane, one in ripe.items()}
    new = [row for row in rows if border[row[1]] < row[0] <= ripe[row[1]].watermark][:limit]
    overdue = [row for row in rows if row[0] <= border[row[1]]]
    return shared(new, overdue, limit)


def history(number):
    r = random.Random(number)
    table, soon, watermark, listed = {}, SoonDue(), 0, dict.fromkeys(LANES, 0)
    answered = 0
    for _ in range(300):
        kind = r.choice(("write", "write", "write", "pass", "take", "take", "list", "list", "abort"))
        if kind == "write":
            for _ in range(r.randint(1, 6)):
                row = (r.choice(LANES), f"c{r.randint(0, 12)}")
                due = r.choice((None, watermark + r.randint(-3, 40)))
                table[row] = due
                soon.saved(*row, due)
        elif kind == "pass":
            watermark += r.randint(0, 6)
        elif kind == "abort" and r.random() < 0.2:
            soon.forget()
            listed = dict.fromkeys(LANES, 0)
        elif kind == "list":
            # As the engine does: nothing of these lanes is due; and as the consumer: from where it listed last.
            lanes = [
                lane
                for lane in LANES
                if not any(at == lane and d is not None and d <= watermark for (at, _), d in table.items())
            ]
            above = {lane: max(watermark, listed[lane]) for lane in lanes}
            lanes = [lane for lane in lanes if above[lane] == watermark or soon.known(lane, above[lane])]
            upto = {lane: above[lane] + r.randint(0, 12) for lane in lanes}
            rows = [
                (lane, s, d)
                for (lane, s), d in table.items()
                if lane in upto and d is not None and above[lane] < d <= upto[lane]
            ]
            soon.listed(above, upto, rows)
            listed |= upto
        elif kind == "take":
            ripe = {lane: Ripe(watermark, watermark - r.randint(0, 9)) for lane in r.sample(LANES, r.randint(1, 3))}
            limit = r.randint(1, 8)
            found = soon.take(ripe, limit)
            if found is None:
                continue
            answered += 1
            rows, border = asked(table, ripe, limit)
            due, following = found
            assert due == {subject: lane for _, lane, subject in rows}, number
            for lane in ripe:
                left = [
                    d
                    for (at, s), d in table.items()
                    if at == lane and d is not None and (d > watermark or border is not None)
                ]
                left = [d for d in left if border is None or d >= border]
                assert following[lane] <= min(left, default=2**62)
                assert border is None or following[lane] == border
                assert border is not None or following[lane] > watermark
            for _, lane, subject in rows:
                # They fire: each is written anew.
                due = r.choice((None, watermark + r.randint(1, 40)))
                table[lane, subject] = due
                soon.saved(lane, subject, due)
    return answered


def test_what_is_known_in_memory_fires_as_what_the_database_says():
    # A subject stands in one lane only in the real world; here it may stand in several, which is no matter within a take.
    assert sum(history(number) for number in range(400)) > 4_000


@pytest.mark.parametrize("lane", [0, 1])
def test_what_is_not_known_is_asked_for(lane):
    soon = SoonDue()
    assert soon.take({lane: Ripe(5)}, 10) is None
    soon.listed({lane: 5}, {lane: 20}, [(lane, "a", 7)])
    assert soon.take({lane: Ripe(6)}, 10) == ({}, {lane: 7})
    assert soon.take({lane: Ripe(9)}, 10) == ({"a": lane}, {lane: 21})
    assert soon.take({lane: Ripe(21)}, 10) is None, "further than it was listed"
    assert soon.take({lane: Ripe(9)}, 0) is None, "a look at everything"
    soon.forget()
    assert soon.take({lane: Ripe(9)}, 10) is None
