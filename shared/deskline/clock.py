"""The only place that reads a clock, and the only form times have inside deskline.

A time is an ``int``: microseconds since 1970-01-01T00:00:00Z. Integers compare, add and hash the same on every
machine and carry the contract's precision exactly; ``datetime`` appears only at the borders. Decisions never call
``now_us``: the shell reads it once per unit of work and passes it on.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
DAY: Final = 86_400 * SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 3339 date-time, "T" and "Z" in either case (section 5.6's note); at most nine digits of a second (contract §1).
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
# The form that machines write, which datetime reads the same way (beyond six digits it cuts, too), five times as fast.
_PLAIN: Final = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def now_us() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


def parse_rfc3339(text: str) -> int:
    """Microseconds since the epoch, cut (not rounded) to the microsecond.

    Raises ``ValueError`` for anything that is not RFC 3339 with an offset, for a leap second and for more than nine
    fractional digits. Years 0000 to 9999 are all representable: the result may lie before year 1.
    """
    if _PLAIN.fullmatch(text):
        try:
            return from_datetime(datetime.fromisoformat(text))
        except ValueError:
            pass  # year 0000, or no such instant: decided below
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time with an offset")
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        raise ValueError("a field of the time is out of range")
    leap = month == 2 and (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if not 1 <= day <= _MONTH_DAYS[month - 1] + leap:
        raise ValueError("a field of the time is out of range")
    # Days from civil (Hinnant): exact for every year, where datetime stops at year 1.
    shifted = year - (month <= 2)
    era, of_era = divmod(shifted, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + day_of_year - 719_468
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    if match.group(8) is None:
        offset_hour, offset_minute = int(match.group(10)), int(match.group(11))
        if offset_hour > 23 or offset_minute > 59:
            raise ValueError("the offset of the time is out of range")
        offset = offset_hour * 3_600 + offset_minute * 60
        seconds += offset if match.group(9) == "-" else -offset
    fraction = match.group(7)
    return seconds * SECOND + (int(fraction[:6].ljust(6, "0")) if fraction else 0)


def rfc3339(us: int) -> str:
    """``2026-11-25T03:30:00.123456Z``: UTC, always six fractional digits (contract, preamble)."""
    seconds, fraction = divmod(us, SECOND)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """Times that are written lie close together: nearly all of a unit of work are of a few seconds."""
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def to_datetime(us: int) -> datetime:
    """The same instant as an aware UTC ``datetime``, for drivers that want one."""
    return _EPOCH + timedelta(microseconds=us)


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch of an aware ``datetime``, exact."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds
