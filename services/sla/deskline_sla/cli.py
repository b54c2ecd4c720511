"""``deskline sla``: run the service."""

import typer

from deskline.service import run
from deskline_sla.app import build

app = typer.Typer(no_args_is_help=False, help="The clocks: what was due when, and whether it was met.")


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Run the sla service."""
    if context.invoked_subcommand is None:
        run("sla", build)
