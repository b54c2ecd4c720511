"""``python -m examples.gateway``: the reference gateway, and its OpenAPI document."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Final

import typer
from aiokafka.errors import KafkaError
from examples.gateway.app import Gateway
from examples.gateway.run import serve as run
from examples.gateway.store import Store
from examples.gateway.web import build

from deskline import log as logs
from deskline.errors import DesklineError, UsageError
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, TopicPrefix, settings_of

OPENAPI: Final = Path(__file__).with_name("openapi.json")
STAFF_TOKEN: Final = "DESKLINE_GATEWAY_STAFF_TOKEN"  # noqa: S105 - the name of a variable
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, rich_markup_mode=None)


@app.command()
def serve(
    *,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="The directory of a running `deskline up`; default .deskline where no address is given."),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    data: Annotated[
        Path | None, typer.Option(help="What it keeps, one file; default: gateway.sqlite3 in the state directory.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where to listen. Beyond this machine agents need " + STAFF_TOKEN + ".")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="For pages, HTTP and WebSockets.")] = 8080,
    keep_days: Annotated[
        int, typer.Option(min=2, help="Conversations that are not open go after so many days of silence.")
    ] = 30,
) -> None:
    """Serve customers and agents, until Ctrl-C.

    For example:

      deskline up --detach && python -m examples.gateway serve

    then http://127.0.0.1:8080/customer.html in one window and /agent.html in another.
    """
    try:
        if state_dir is None and bootstrap_servers is None and "DESKLINE_BOOTSTRAP_SERVERS" not in os.environ:
            state_dir = Path(".deskline")
        settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
        file = data or (state_dir or Path()) / "gateway.sqlite3"
        staff_token = os.environ.get(STAFF_TOKEN) or None
        if host not in _LOOPBACK and staff_token is None:
            raise UsageError(f"--host {host} is open to others: set {STAFF_TOKEN}, which agents then must know")
        logs.configure(settings.model_copy(update={"log_format": "console"}), "gateway")
        asyncio.run(run(settings, file, host=host, port=port, staff_token=staff_token, keep_days=keep_days))
    except (DesklineError, KafkaError, OSError) as error:
        typer.echo(f"gateway: {error}", err=True)
        raise typer.Exit(2) from None


@app.command()
def openapi(
    *,
    write: Annotated[bool, typer.Option("--write", help="Write it to openapi.json beside this module.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say whether that file has drifted.")] = False,
) -> None:
    """Print the OpenAPI document of the HTTP surface."""
    text = document()
    if write:
        OPENAPI.write_text(text, encoding="utf-8")
    elif check:
        if OPENAPI.read_text(encoding="utf-8") != text:
            typer.echo("openapi.json has drifted; run: python -m examples.gateway openapi --write", err=True)
            raise typer.Exit(1)
    else:
        typer.echo(text)


def document() -> str:
    """The OpenAPI document as it is committed."""
    gateway = Gateway(ServiceSettings(), Store(Path("unused")), staff_token=None, keep_days=30)
    return json.dumps(build(gateway).openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    app()
