"""Windows of time, by the shop's clock."""

from datetime import date, datetime

import pytest
from pydantic import ValidationError

from deskline.config.rules_document import AutoreplyRule, RulesDocument, TimeWindow
from deskline.festivals import festival_date
from deskline_autoreply.policy.rules.conditions import Moment, Times, calendars_named


def holds(window: dict, local: str, *open_calendars: str) -> bool:
    times = Times.of(AutoreplyRule.model_validate({"rule_id": "r", "silent": True, "when": {"during": (window,)}}))
    assert times is not None
    return times.failed(Moment(datetime.fromisoformat(local), frozenset(open_calendars))) is None


@pytest.mark.parametrize(
    ("window", "local", "inside"),
    [
        ({"begins": "2026-11-01", "ends": "2026-11-11"}, "2026-11-01T00:00:00", True),
        ({"begins": "2026-11-01", "ends": "2026-11-11"}, "2026-11-11T23:59:59", True),  # the day is part of it
        ({"begins": "2026-11-01", "ends": "2026-11-11"}, "2026-11-12T00:00:00", False),
        ({"begins": "2026-10-31T20:00"}, "2026-10-31T19:59:59", False),
        ({"begins": "2026-10-31T20:00"}, "2026-10-31T20:00:00", True),
        ({"ends": "2026-11-11T20:00"}, "2026-11-11T20:00:00", False),  # the instant is not
        ({"yearly": "11-01..11-11"}, "2031-11-11T12:00:00", True),
        ({"yearly": "11-01..11-11"}, "2031-11-12T12:00:00", False),
        ({"yearly": "12-28..01-03"}, "2027-01-03T12:00:00", True),  # over New Year
        ({"yearly": "12-28..01-03"}, "2026-12-27T12:00:00", False),
        # 2026-11-28 is a Saturday; the shift that begins on it at 22:00 ends on Sunday at 2:00.
        ({"weekdays": ("sat",), "hours": ("22:00-02:00",)}, "2026-11-28T22:00:00", True),
        ({"weekdays": ("sat",), "hours": ("22:00-02:00",)}, "2026-11-29T01:59:59", True),
        ({"weekdays": ("sat",), "hours": ("22:00-02:00",)}, "2026-11-29T02:00:00", False),
        ({"weekdays": ("sat",), "hours": ("22:00-02:00",)}, "2026-11-28T01:00:00", False),
        ({"weekdays": ("sat", "sun")}, "2026-11-30T12:00:00", False),
        ({"hours": ("09:00-12:00", "14:00-18:00")}, "2026-11-30T12:00:00", False),
        ({"hours": ("09:00-12:00", "14:00-18:00")}, "2026-11-30T14:00:00", True),
        # 春节 2026 is 17 February, 除夕 the day before it.
        ({"festival": "春节", "days_before": 1, "days_after": 6}, "2026-02-16T08:00:00", True),
        ({"festival": "春节", "days_before": 1, "days_after": 6}, "2026-02-23T08:00:00", True),
        ({"festival": "春节", "days_before": 1, "days_after": 6}, "2026-02-24T08:00:00", False),
        ({"festival": "除夕"}, "2026-02-16T23:00:00", True),
        ({"festival": "mid_autumn"}, "2026-09-25T23:00:00", True),
    ],
)
def test_a_window_holds_by_the_local_clock(window, local, inside):
    assert holds(window, local) is inside


def test_a_calendar_is_asked_by_its_name():
    assert holds({"calendar": "warehouse"}, "2026-11-28T12:00:00", "warehouse")
    assert not holds({"calendar": "warehouse"}, "2026-11-28T12:00:00", "office")
    assert holds({"closed": "warehouse"}, "2026-11-28T12:00:00", "office")
    document = RulesDocument.model_validate(
        {
            "rules": [
                {
                    "rule_id": "r",
                    "silent": True,
                    "when": {"not_during": ({"closed": "a"},), "during": ({"calendar": "b"},)},
                }
            ]
        }
    )
    assert calendars_named(document.rules) == {"a", "b"}


# As the Hong Kong Observatory's conversion table gives them.
@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("春节", date(2025, 1, 29)),
        ("春节", date(2026, 2, 17)),
        ("春节", date(2027, 2, 6)),
        ("除夕", date(2025, 1, 28)),
        ("元宵", date(2026, 3, 3)),
        ("端午", date(2025, 5, 31)),
        ("端午", date(2026, 6, 19)),
        ("七夕", date(2025, 8, 29)),
        ("中秋", date(2025, 10, 6)),
        ("中秋", date(2026, 9, 25)),
        ("重阳", date(2025, 10, 29)),
        ("重阳", date(2026, 10, 18)),
        ("清明", date(2026, 4, 5)),
        ("冬至", date(2025, 12, 21)),
    ],
)
def test_a_festival_is_on_the_day_of_the_almanac(name, day):
    assert festival_date(name, day.year) == day


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({}, "says nothing"),
        ({"begins": "2026-11-12", "ends": "2026-11-11"}, "before it begins"),
        ({"begins": "11.11."}, "write 2026-11-11"),
        ({"begins": "2026-11-11T20:00+08:00"}, "no local time"),
        ({"yearly": "11-31..12-01"}, "there is no 11-31"),
        ({"festival": "双十一"}, "is no festival known here"),
        ({"days_before": 2, "calendar": "x"}, "name it"),
        ({"hours": ("9-18",)}, "write HH:MM-HH:MM"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(window, message):
    with pytest.raises(ValidationError, match=message):
        TimeWindow.model_validate(window)
