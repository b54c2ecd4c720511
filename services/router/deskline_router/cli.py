"""``deskline router``: run the service; give somebody access to its desk; forget a customer."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from deskline.access import give
from deskline.errors import UsageError
from deskline.service import run
from deskline.targets import PostgresDsn, StateDir, settings_of
from deskline_router.app import build
from deskline_router.settings import RouterSettings, tokens_of
from deskline_router.store import forget_person

app = typer.Typer(add_completion=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Which agent takes which conversation. Without a command: run the service until SIGTERM.

    Its settings come from the environment (DESKLINE_…); exit code 0 after a graceful stop, 1 where going on would do
    harm, 2 where a setting is wrong.

    For example:

      DESKLINE_BOOTSTRAP_SERVERS=kafka1:9092 DESKLINE_POSTGRES_DSN=postgresql://… deskline router

      deskline router token li.lei --role supervisor --state-dir .deskline
    """
    if context.invoked_subcommand is None:
        run("router", build)


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Whose it is; an agent's is his agent id. It stands in what he orders.")],
    *,
    role: Annotated[
        Literal["reader", "agent", "supervisor"],
        typer.Option(help="reader looks; agent also acts for himself; supervisor for everybody."),
    ] = "reader",
    state_dir: StateDir = None,
) -> None:
    """Give somebody access to the router's /desk; print the token, which is kept nowhere.

    For example:

      deskline router token li.lei --role supervisor --state-dir .deskline
    """
    file = tokens_of(state_dir) or RouterSettings().tokens
    if file is None:
        raise UsageError("say where tokens are kept: --state-dir or DESKLINE_ROUTER_TOKENS")
    typer.echo(give(file, name, role))


@app.command()
def forget(
    customer: Annotated[str, typer.Argument(help="The customer's id, as the gateway states it.")],
    *,
    shop: Annotated[str | None, typer.Option(help="In this shop alone; without: in all.")] = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Forget what is recorded of a customer: tier, spend, orders, complaints, who had him last. He is new to the router then.

    Conversations under way keep what they have heard of him, and record it again with his next message. `deskline archive erase`
    does it, too, where its login may. Exit code 1 where nothing was recorded.

    For example:

      deskline router forget u-4711 --state-dir .deskline

      deskline router forget u-4711 --shop wardrobe --postgres-dsn postgresql://…@db/deskline
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    rows = asyncio.run(forget_person(settings, customer, shop))
    if not rows:
        typer.echo("nothing is recorded of this customer", err=True)
        raise typer.Exit(1)
    typer.echo(f"{rows} records forgotten")


@app.command()
def openapi(
    *,
    write: Annotated[Path | None, typer.Option(help="Write the document here.")] = None,
    check: Annotated[Path | None, typer.Option(help="Exit with 1 where this file is another document.")] = None,
) -> None:
    """The OpenAPI document of /desk.

    For example:

      deskline router openapi --write docs/router-desk.openapi.json
    """
    from deskline_router.desk.web import document  # noqa: PLC0415 - FastAPI takes half a second

    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if check is not None:
        if not check.exists() or check.read_text(encoding="utf-8") != text:
            typer.echo(f"{check} is not the code's; run: deskline router openapi --write {check}", err=True)
            raise typer.Exit(1)
    elif write is not None:
        write.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)
