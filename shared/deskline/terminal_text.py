"""Text from outside on a terminal: nothing in it may move the cursor, and customers' words stay out unless asked for."""

import json
import re
from typing import Any, Final

from deskline.clock import DAY, MINUTE, SECOND, parse_rfc3339
from deskline.errors import UsageError

_AGO: Final = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": 60 * MINUTE, "d": DAY}
# Strings that name things or come from a closed list; any other string in a value may be what somebody wrote.
_NAMES: Final = frozenset(
    (
        *("specversion", "id", "source", "type", "subject", "time"),
        *("channel", "entry_point", "language", "kind", "status", "metric", "cause", "mode", "document"),
        *(
            "accept_by",
            "deliver_by",
            "due_at",
            "started_at",
            "breached_at",
            "met_at",
            "waiting_since",
            "effective_from",
        ),
    )
)


def printable(text: str) -> str:
    """``text`` with everything that is not printable written as an escape, on one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def shown_bytes(raw: bytes | None) -> str:
    """Bytes as printable text, those that are no UTF-8 as hexadecimal escapes; ``null`` where there are none."""
    return "null" if raw is None else printable(raw.decode("utf-8", "backslashreplace"))


def masked(raw: bytes) -> str:
    """What may be shown of a value to anybody: its members and the names of things, texts by their length only."""
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError):
        return f"({len(raw)} bytes that are no JSON)"
    return printable(json.dumps(_mask(parsed, "", 0), ensure_ascii=False))


def _mask(value: Any, name: str, depth: int) -> Any:
    if depth > 32:
        return "…"
    if isinstance(value, dict):
        return {_short(key): _mask(item, key, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_mask(item, name, depth + 1) for item in value]
    if isinstance(value, str):
        return _short(value) if name in _NAMES or name.endswith("_id") else f"({len(value)} characters)"
    return value


def _short(text: str) -> str:
    return text if len(text) <= 128 else f"{text[:128]}…"


def instant(text: str, now: int) -> int:
    """``90s``, ``15m``, ``6h``, ``2d`` before ``now``, or an RFC 3339 time; µs. Raises ``UsageError`` otherwise."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: write 90s, 15m, 6h or 2d (ago), or 2026-11-25T03:30:00Z") from None
