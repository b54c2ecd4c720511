"""Where a report goes: the terminal, and files if they are named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deskline.shadow.rendering import Page, html, markdown, show

Lang = Annotated[str, typer.Option("--lang", help="en or zh.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
MarkdownFile = Annotated[Path | None, typer.Option("--markdown", help="Write the report to this file.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write the report to this file, for a browser.")]


def put_out(
    page: Page,
    data: Mapping[str, Any],
    *,
    json_file: Path | None,
    markdown_file: Path | None = None,
    html_file: Path | None = None,
) -> None:
    show(page, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if markdown_file is not None:
        markdown_file.write_text(markdown(page), encoding="utf-8")
    if html_file is not None:
        html_file.write_text(html(page), encoding="utf-8")
