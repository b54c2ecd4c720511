"""Text from outside on a terminal: nothing in it may move the cursor."""

import re
from typing import Final

from deskline.clock import DAY, MINUTE, SECOND, parse_rfc3339
from deskline.errors import UsageError

_AGO: Final = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": 60 * MINUTE, "d": DAY}


def printable(text: str) -> str:
    """``text`` with everything that is not printable written as an escape, on one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shown_bytes(raw: bytes | None) -> str:
    """Bytes as printable text, those that are no UTF-8 as hexadecimal escapes; ``null`` where there are none."""
    return "null" if raw is None else printable(raw.decode("utf-8", "backslashreplace"))


def instant(text: str, now: int) -> int:
    """``90s``, ``15m``, ``6h``, ``2d`` before ``now``, or an RFC 3339 time; µs. Raises ``UsageError`` otherwise."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: write 90s, 15m, 6h or 2d (ago), or 2026-11-25T03:30:00Z") from None
