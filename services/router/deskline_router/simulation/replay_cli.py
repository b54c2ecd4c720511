"""``deskline verify-decisions``: the nightly check that the router's recorded inputs give its recorded decisions."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from deskline.clock import now_us
from deskline.errors import UsageError
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant, printable
from deskline_router.simulation.replay import State
from deskline_router.simulation.replay_store import Checked, verify

app = typer.Typer(add_completion=False, help="Decide the router's recorded inputs again: the same, byte for byte.")


@app.callback(invoke_without_command=True)
def verify_decisions(
    *,
    state_file: Annotated[
        Path | None,
        typer.Option(
            "--state",
            help="Where the last check ended: read, and written when nothing differs. [default: from the first decision]",
        ),
    ] = None,
    until: Annotated[
        str, typer.Option("--to", help="Up to 15m ago, or a time. What is younger may not be in the archive yet.")
    ] = "2m",
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Decide everything again that the router has decided, from the archive's records, and compare with what it said, byte for byte.

    Exit code 4 where something differs. The decision log keeps eight days: with --state each night goes on where the last one
    ended. Without a state and with a log that begins later, the first run only takes one.

    For example:

      deskline verify-decisions --state-dir .deskline

      deskline verify-decisions --state /var/lib/deskline/decisions.state --to 15m
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn, topic_prefix=topic_prefix)
    state = _read(state_file)
    found = asyncio.run(verify(settings, state, instant(until, now_us()), lambda text: typer.echo(text, err=True)))
    for line in lines_of(found):
        typer.echo(printable(line))
    if found.state is not None and state_file is not None:
        fresh = state_file.with_name(state_file.name + ".new")
        fresh.write_bytes(msgspec.msgpack.encode(found.state))
        fresh.replace(state_file)
    if found.different:
        raise typer.Exit(4)


def _read(path: Path | None) -> State | None:
    if path is None or not path.exists():
        return None
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=State)
    except msgspec.MsgspecError:
        raise UsageError(f"{path} is no state of this release: move it away, and the next run begins anew") from None


def lines_of(found: Checked) -> list[str]:
    if found.begun and found.state is not None:
        return [
            f"the log no longer has the first decision: the state after decision {found.state.seq} was taken, the next check goes on from it"
        ]
    lines = [f"{found.rows} units decided again: {found.outputs} outputs, {found.compared} of them the recorded bytes"]
    if found.missing:
        lines.append(f"{found.missing} outputs are not in the archive: not archived yet, or their content was erased")
    if found.different:
        lines.append(f"{found.different} differ:")
        lines += [f"  unit {one.seq}, {one.id}: {one.what}" for one in found.differences]
    return lines
