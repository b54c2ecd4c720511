"""``deskline router``: run the service."""

import typer

from deskline.service import run
from deskline_router.app import build

app = typer.Typer(add_completion=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Which agent takes which conversation. Without a command: run the service until SIGTERM.

    Its settings come from the environment (DESKLINE_…); exit code 0 after a graceful stop, 1 where going on would do
    harm, 2 where a setting is wrong.

    For example:

      DESKLINE_BOOTSTRAP_SERVERS=kafka1:9092 DESKLINE_POSTGRES_DSN=postgresql://… deskline router
    """
    if context.invoked_subcommand is None:
        run("router", build)
