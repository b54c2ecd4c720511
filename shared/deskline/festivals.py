"""Festivals of the lunar calendar, as dates of the Gregorian one. Pure; the astronomy is lunar-python's."""

from datetime import date, timedelta
from functools import lru_cache
from typing import Final

# Lunar month and day. 除夕 is the eve of 春节 (the twelfth month has 29 or 30 days); 清明 and 冬至 are solar terms.
_LUNAR: Final[dict[str, tuple[int, int]]] = {
    "春节": (1, 1),
    "元宵": (1, 15),
    "龙抬头": (2, 2),
    "端午": (5, 5),
    "七夕": (7, 7),
    "中元": (7, 15),
    "中秋": (8, 15),
    "重阳": (9, 9),
    "腊八": (12, 8),
}
_TERMS: Final = ("清明", "冬至")
_ENGLISH: Final[dict[str, str]] = {
    "new_year_eve": "除夕",
    "spring_festival": "春节",
    "lantern": "元宵",
    "qingming": "清明",
    "dragon_boat": "端午",
    "qixi": "七夕",
    "ghost": "中元",
    "mid_autumn": "中秋",
    "double_ninth": "重阳",
    "winter_solstice": "冬至",
    "laba": "腊八",
}
FESTIVALS: Final = ("除夕", *_LUNAR, *_TERMS, *_ENGLISH)
"""Every name that may be written."""


@lru_cache(maxsize=4_096)
def festival_date(name: str, year: int) -> date:
    """The day in the Gregorian year ``year`` (除夕 and 腊八: of the lunar year that ends in it). Raises ``KeyError``."""
    from lunar_python import Lunar, Solar  # noqa: PLC0415 - half of a tenth of a second that most processes never need

    name = _ENGLISH.get(name, name)
    if name == "除夕":
        return festival_date("春节", year) - timedelta(days=1)
    if name in _TERMS:
        # The table runs from one winter solstice to the next, which it names otherwise.
        solar = Solar.fromYmd(year, 6, 1).getLunar().getJieQiTable()["DONG_ZHI" if name == "冬至" else name]
        return date(solar.getYear(), solar.getMonth(), solar.getDay())
    month, day = _LUNAR[name]
    solar = Lunar.fromYmd(year - 1 if month == 12 else year, month, day).getSolar()
    return date(solar.getYear(), solar.getMonth(), solar.getDay())


def is_festival(name: str, day: date, days_before: int, days_after: int) -> bool:
    """Whether ``day`` is the festival or at most so many days before or after it."""
    for year in (day.year, day.year + 1, day.year - 1):
        distance = (day - festival_date(name, year)).days
        if -days_before <= distance <= days_after:
            return True
    return False
