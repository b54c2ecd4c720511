"""The platform's own measure as it is counted live: 180 s, 08:00:00 to 22:59:59, one late round or nobody and it counts nothing."""

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.sla_world import Log, Service, at, book

from deskline_sla.handler import SlaFolding
from deskline_sla.metrics import Tally

H = 3600
EIGHT, ELEVEN = -2 * H, 13 * H
"""08:00:00 and 23:00:00 in Shanghai; at(0) is 10:00."""


def counted(*logs, sla=None):
    """(conversations, in time, late, unassigned), each log a conversation of its own."""
    registry = CollectorRegistry()
    tally = Tally(registry)
    for log in logs:
        service = Service(book(sla))
        service.folding = SlaFolding(service.folding.lateness_us, tally)
        for event in log.events:
            service.unit([event], max(event.broker_at, at(0)))
        tally.committed()
    names = ("conversations", "in_time", "late", "unassigned")
    return tuple(registry.get_sample_value(f"deskline_platform_{name}_total") for name in names)


def closed_after(*rounds, start=0.0):
    """Messages an hour apart, each answered by anna after so many seconds, then a close; None: never."""
    log = Log()
    for number, took in enumerate(rounds):
        when = start + number * 600
        log.customer(when, f"m{number}")
        if number == 0:
            log.handover(when + 0.1, "m0", since=when)
        if took is not None:
            log.wrote(when + took, "anna")
    log.closed(start + len(rounds) * 600)
    return log


@pytest.mark.parametrize(
    ("start", "took_s", "expected"),
    [
        (0, 180, (1, 1, 0, 0)),
        (0, 180.000_001, (1, 0, 1, 0)),
        (EIGHT, 10, (1, 1, 0, 0)),
        (EIGHT - 0.000_001, 10, (0, 0, 0, 0)),
        (ELEVEN - 0.000_001, 10, (1, 1, 0, 0)),
        (ELEVEN, 10, (0, 0, 0, 0)),
    ],
)
def test_the_boundaries_are_those_of_the_report(start, took_s, expected):
    assert counted(closed_after(took_s, start=start)) == expected


def test_one_late_round_counts_nothing_or_its_share_by_the_switch():
    logs = closed_after(10, 200), closed_after(10, 10), closed_after(10, None)
    assert counted(*logs) == (3, 1, 2, 0)
    assert counted(*logs, sla={"report": {"platform": {"late": "share"}}}) == (3, 2, 2, 0)


def test_never_assigned_counts_nothing_or_not_at_all_by_the_switch():
    alone = Log()
    alone.customer(0, "m1")
    alone.wrote(1, "bot", kind="bot")
    alone.closed(60)
    assert counted(alone, closed_after(10)) == (2, 1, 0, 1)
    assert counted(alone, closed_after(10), sla={"report": {"platform": {"unassigned": "leave_out"}}}) == (1, 1, 0, 1)


def test_what_is_open_does_not_count_and_what_is_reopened_counts_again():
    log = closed_after(10)
    log.customer(700, "again")
    log.handover(700.1, "again", since=700)
    assert counted(log) == (1, 1, 0, 0)
    log.wrote(1000, "anna")
    log.closed(1100)
    assert counted(log) == (2, 1, 1, 0)


def test_a_second_record_of_a_close_counts_nothing_and_what_is_not_durable_neither():
    log = closed_after(10)
    log.events.append(log.events[-1]._replace(offset=99))
    assert counted(log) == (1, 1, 0, 0)
    registry = CollectorRegistry()
    tally = Tally(registry)
    service = Service(book())
    service.folding = SlaFolding(service.folding.lateness_us, tally)
    service.unit(log.events, at(5000))
    tally.aborted()
    assert registry.get_sample_value("deskline_platform_conversations_total") == 0
