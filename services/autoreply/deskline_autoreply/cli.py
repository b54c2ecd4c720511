"""``deskline autoreply``: run the service. ``deskline autoreply try``: what would answer this text, and why."""

from typing import Annotated

import typer

from deskline.clock import now_us, parse_rfc3339
from deskline.config.base import DEFAULT_SHOP
from deskline.config.book import ConfigBook
from deskline.config.loading import load_directory
from deskline.errors import UsageError
from deskline.events.models import Attachment, Customer, MessageReceived
from deskline.events.wire import new
from deskline.options import Config, Shop
from deskline.service import run
from deskline.terminal_text import printable
from deskline_autoreply.app import build
from deskline_autoreply.learning.trying import tried

app = typer.Typer(add_completion=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """One outcome for every customer's message. Without a command: run the service until SIGTERM.

    Its settings come from the environment (DESKLINE_…); exit code 0 after a graceful stop, 1 where going on would do
    harm, 2 where a setting is wrong.

    For example:

      DESKLINE_BOOTSTRAP_SERVERS=kafka1:9092 DESKLINE_POSTGRES_DSN=postgresql://… deskline autoreply

      deskline autoreply try 你好 --config examples/config
    """
    if context.invoked_subcommand is None:
        run("autoreply", build)


@app.command(name="try")
def try_(
    text: Annotated[str, typer.Argument(help="What the customer writes.")],
    config: Config,
    *,
    shop: Shop = DEFAULT_SHOP,
    at: Annotated[str | None, typer.Option(help="When, as 2026-11-25T03:30:00+08:00. Without: now.")] = None,
    tier: Annotated[str, typer.Option(help="The customer's tier.")] = "regular",
    customer: Annotated[str, typer.Option(help="The customer's id: by it the variant of a reply is chosen.")] = "try",
    name: Annotated[str | None, typer.Option(help="The customer's name.")] = None,
    channel: Annotated[str, typer.Option(help="The channel.")] = "web",
    entry_point: Annotated[str | None, typer.Option(help="The entry point.")] = None,
    language: Annotated[str | None, typer.Option(help="The language that the gateway states.")] = None,
    later: Annotated[bool, typer.Option("--later", help="Not the first message of the conversation.")] = False,
    open_request: Annotated[
        bool, typer.Option("--open-request", help="A request is open, first in the queue, and nobody has it yet.")
    ] = False,
    surge: Annotated[bool, typer.Option("--surge", help="The router is in a surge for the shop.")] = False,
    order: Annotated[str | None, typer.Option(help="The order that the message comes with.")] = None,
    product: Annotated[str | None, typer.Option(help="The product that the message comes with.")] = None,
    attachment: Annotated[bool, typer.Option("--attachment", help="The message has an attachment.")] = False,
    attachment_kind: Annotated[
        list[str] | None, typer.Option(help="The kind of an attachment (again for more), as image.")
    ] = None,
) -> None:
    """Show what would answer a text and why, and what came close. Needs no running service.

    It is decided by what the service itself decides by.

    For example:

      deskline rules try "where is my refund" --config conf --shop support

      deskline rules try "这件多少钱" --product P-7 --later --open-request --config conf --shop wardrobe
    """
    kinds = tuple(attachment_kind or (["file"] if attachment else ()))
    moment = now_us() if at is None else _instant(at)
    book = ConfigBook()
    for shop_id, documents in load_directory(config).shops.items():
        for kind, document in documents.items():
            book.install(shop_id, kind, document)
    message = new(
        MessageReceived,
        shop_id=shop,
        message_id="try",
        channel=channel,
        entry_point=entry_point,
        text=text,
        language=language,
        attachments=tuple(new(Attachment, kind=kind, url="") for kind in kinds) or None,
        customer=new(Customer, customer_id=customer, tier=tier, name=name),
        order_id=order,
        product_id=product,
    )
    for line in tried(book, message, moment, later=later or open_request, open_request=open_request, surge=surge):
        typer.echo(printable(line))


def _instant(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise UsageError(f"--at {text}: {error}; write for example 2026-11-25T09:30:00+08:00") from None
