"""``deskline demo``."""

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psutil
import typer
from rich.console import Console

from deskline.clock import SECOND
from deskline.errors import UsageError

if TYPE_CHECKING:
    from deskline.demo.run import Wishes

app = typer.Typer(help="Replay real conversations through the whole stack.")

_INTERRUPTED = 130


class Language(StrEnum):
    EN = "en"
    ZH = "zh"


@app.callback(invoke_without_command=True)
def demo(
    *,
    seconds: Annotated[
        float | None,
        typer.Option(min=5, max=86_400, help="How long conversations go on. [default: all within three minutes]"),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.1, max=100, help="1: as people are; 10: ten times as fast, targets included.")
    ] = 10.0,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="Conversations: a file or a folder (again for more). [default: those shipped]"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration directory, taken at the demo's pace. [default: the samples]")
    ] = None,
    lang: Annotated[Language, typer.Option(help="Language of the board.")] = Language.EN,
    summary: Annotated[Path | None, typer.Option(help="Write the summary as JSON to this file.")] = None,
    no_board: Annotated[bool, typer.Option("--no-board", help="Plain lines, as where there is no terminal.")] = False,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Run in this directory and keep it. [default: a temporary one]")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary directory.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 1,
    export: Annotated[
        Path | None,
        typer.Option(help="Write the conversations as the demo's own JSON lines to this file, and end."),
    ] = None,
) -> None:
    """Start a whole deskline, play recorded support conversations through it, and show what it does with them.

    Ends by itself, with a summary whose numbers are counted once more from the topics: exit code 1 where they differ.
    Ctrl-C ends it early, with the same summary of what was done.

    For example:

      deskline demo

      deskline demo --lang zh --speed 20 --seconds 60

      deskline demo --input chats/ --no-board --summary summary.json
    """
    # What is needed to read options is imported above; the clients take half a second, and --help needs none of them.
    from deskline.demo import readers  # noqa: PLC0415

    recorded = readers.read_all(inputs) if inputs else readers.shipped()
    if export is not None:
        _writable(export).write_text("".join(f"{each.as_line()}\n" for each in recorded), encoding="utf-8")
        typer.echo(f"{export}: {len(recorded)} conversations")
        return
    if config is not None and not config.is_dir():
        raise UsageError(f"--config: {config} is no directory.")
    if summary is not None:
        _writable(summary)
    from deskline.demo.run import Wishes  # noqa: PLC0415

    console = Console()
    wishes = Wishes(
        recorded=recorded,
        speed=speed,
        seed=seed,
        seconds=seconds,
        config_dir=config,
        language=lang.value,
        show_board=console.is_terminal and not no_board,
        state_dir=state_dir,
        keep=keep,
        started=round(psutil.Process(os.getpid()).create_time() * SECOND),
    )
    _play(wishes, console, summary)


def _play(wishes: "Wishes", console: Console, summary: Path | None) -> None:
    from deskline.demo.run import Demo, StoppedError  # noqa: PLC0415
    from deskline.demo.summary import table  # noqa: PLC0415
    from deskline.demo.words import Words  # noqa: PLC0415

    try:
        found = asyncio.run(Demo(wishes, console).run())
    except (StoppedError, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None
    console.print(table(found, Words(wishes.language)))
    if summary is not None:
        found.write(summary)
    raise typer.Exit(found.exit_code)


def _writable(file: Path) -> Path:
    """Said before minutes have passed."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{file.parent}: {error.strerror or error}") from None
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f"{file}: cannot be written")
    return file
