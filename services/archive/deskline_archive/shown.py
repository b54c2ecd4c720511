"""What was found, as text, HTML, JSON and CSV. Pure. Nothing that a customer wrote can become markup, a terminal's command or
a spreadsheet's formula.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from deskline.terminal_text import printable
from deskline_archive.find import ERASED, RESTRICTED, Hit

FIELDS: Final = Hit._fields
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_SAID: Final = {"message.received.v1": "customer", "reply.issued.v1": "robot, issued"}


def as_csv(hits: Iterable[Hit]) -> str:
    """One row a record, with a heading. A cell that a spreadsheet would compute begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(FIELDS)
    for hit in hits:
        writer.writerow([_cell(value) for value in hit])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def as_json(hits: Sequence[Hit]) -> str:
    return json.dumps([hit._asdict() for hit in hits], ensure_ascii=False, indent=1)


def line(hit: Hit) -> tuple[str, str, str]:
    """When, who or what, and what was said."""
    value = hit.value
    if value in (RESTRICTED, ERASED) or not isinstance(value, dict):
        return hit.broker_time, hit.type or "", value if isinstance(value, str) else ""
    inner = value.get("data")
    data: dict[str, Any] = inner if isinstance(inner, dict) else {}
    who = _SAID.get(hit.type or "", hit.type or "?")
    if hit.type == "message.sent.v1" and isinstance(data.get("author"), dict):
        who = f"{data['author'].get('kind')} {data['author'].get('id')}"
    elif hit.agent_id:
        who = f"{who} ({hit.agent_id})"
    at = value.get("time")
    return (
        (at if isinstance(at, str) else hit.broker_time),
        who,
        data["text"] if isinstance(data.get("text"), str) else "",
    )


def as_text(hits: Iterable[Hit]) -> str:
    return "".join(f"{when}  {printable(who)}: {printable(said)}\n" for when, who, said in map(line, hits))


def as_html(conversation: str, hits: Iterable[Hit]) -> str:
    """A page of its own: no script, nothing fetched."""
    rows = "".join(
        f"<tr><td>{escape(when)}</td><td>{escape(who)}</td><td>{escape(said)}</td></tr>\n"
        for when, who, said in map(line, hits)
    )
    return (
        '<!doctype html>\n<html><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(conversation)}</title><style>td{{vertical-align:top;padding:.2em .6em;white-space:pre-wrap}}</style></head>\n"
        f"<body><h1>{escape(conversation)}</h1>\n<table>\n{rows}</table></body></html>\n"
    )
