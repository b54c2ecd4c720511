"""``deskline router``: run the service."""

import typer

from deskline.service import run
from deskline_router.app import build

app = typer.Typer(no_args_is_help=False, help="The router: which agent takes which conversation.")


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Run the router service."""
    if context.invoked_subcommand is None:
        run("router", build)
