"""A page of tables for a terminal, as Markdown, as HTML. Pure but for the terminal.

What stands in it was configured, or written by people: nothing of it may be markup or move a cursor.
"""

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.table import Table as RichTable
from rich.text import Text

from deskline.terminal_text import printable


class Table(NamedTuple):
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Page(NamedTuple):
    language: str
    title: str
    lines: Sequence[str]
    tables: Sequence[Table]


def show(page: Page, console: Console) -> None:
    console.print(Text(printable(page.title), style="bold"))
    for line in page.lines:
        console.print(Text(printable(line)))
    for table in page.tables:
        console.print()
        console.print(Text(printable(table.title), style="bold"))
        if table.rows:
            grid = RichTable(*(escape_markup(header) for header in table.headers))
            for row in table.rows:
                grid.add_row(*(Text(printable(cell)) for cell in row))
            console.print(grid)
        if table.note:
            console.print(Text(printable(table.note)))


# What Markdown reads as more than text, within a cell of a table.
_MARKS: Final = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]()#+-.!|<>~"} | {"\n": " ", "\r": " ", "&": "&amp;"}
)


def markdown(page: Page) -> str:
    parts = [f"# {page.title.translate(_MARKS)}", "", *(f"{line.translate(_MARKS)}  " for line in page.lines)]
    for table in page.tables:
        parts += ["", f"## {table.title.translate(_MARKS)}", ""]
        if table.rows:
            parts += [_line(table.headers), "|---" * len(table.headers) + "|", *map(_line, table.rows)]
        if table.note:
            parts += ["", table.note.translate(_MARKS)]
    return "\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell.translate(_MARKS)} " for cell in cells) + "|"


_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:72rem}table{border-collapse:collapse}"
    "th,td{border:1px solid #bbb;padding:.3rem .6rem;text-align:left;vertical-align:top}th{background:#eee}"
)


def html(page: Page) -> str:
    parts = [
        f'<!doctype html><html lang="{page.language}"><head><meta charset="utf-8"><title>{escape(page.title)}</title>',
        f"<style>{_STYLE}</style></head><body><h1>{escape(page.title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in page.lines),
    ]
    for table in page.tables:
        parts.append(f"<h2>{escape(table.title)}</h2>")
        if table.rows:
            parts += ["<table><thead>", _row(table.headers, "th"), "</thead><tbody>"]
            parts += [_row(row, "td") for row in table.rows]
            parts.append("</tbody></table>")
        if table.note:
            parts.append(f"<p>{escape(table.note)}</p>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
