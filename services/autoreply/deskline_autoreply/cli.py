"""``deskline autoreply``: run the service. ``deskline autoreply try``: what would answer this text, and why."""

from pathlib import Path
from typing import Annotated

import typer

from deskline.clock import now_us, parse_rfc3339, rfc3339
from deskline.config.base import DEFAULT_SHOP
from deskline.config.book import ConfigBook
from deskline.config.loading import load_directory
from deskline.config.rules_document import AutoreplyRule
from deskline.errors import UsageError
from deskline.folding import deep_text
from deskline.service import run
from deskline.text import fold, readable
from deskline_autoreply.app import build
from deskline_autoreply.learning.trying import failed_by_one, knowledge_lines
from deskline_autoreply.policy.rules import Asked, Compiled
from deskline_autoreply.policy.sensitive import Filter
from deskline_autoreply.versions import Versions

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
    config: Annotated[Path, typer.Option(help="Directory of the configuration: one folder per shop.")],
    *,
    shop: Annotated[
        str, typer.Option(help="The shop's id; one without a folder of its own runs on _default.")
    ] = DEFAULT_SHOP,
    at: Annotated[str | None, typer.Option(help="When, as 2026-11-25T03:30:00+08:00. Without: now.")] = None,
    tier: Annotated[str, typer.Option(help="The customer's tier.")] = "regular",
    channel: Annotated[str, typer.Option(help="The channel.")] = "web",
    entry_point: Annotated[str | None, typer.Option(help="The entry point.")] = None,
    language: Annotated[str | None, typer.Option(help="The language that the gateway states.")] = None,
    later: Annotated[bool, typer.Option("--later", help="Not the first message of the conversation.")] = False,
    attachment: Annotated[bool, typer.Option("--attachment", help="The message has an attachment.")] = False,
) -> None:
    """Show which rule answers a text, and why the rules before it do not. Needs no running service."""
    moment = now_us() if at is None else _instant(at)
    book = ConfigBook()
    for shop_id, documents in load_directory(config).shops.items():
        for kind, document in documents.items():
            book.install(shop_id, kind, document)
    versions = Versions(book)
    _, rules = versions.rules(shop, moment, moment)
    is_open = versions.is_open(shop, moment, moment)
    asked = Asked(
        text=deep_text(text),
        plain=fold(text),
        readable=readable(text),
        moment=versions.moment(shop, moment, moment, rules.calendars),
        is_open=is_open,
        first_message=not later,
        attachment=attachment,
        tier=tier,
        channel=channel,
        entry_point=entry_point,
        language=language,
    )
    typer.echo(f"shop {shop} at {rfc3339(moment)}: {'open' if is_open else 'closed'}")
    for line in explain(rules, asked):
        typer.echo(line)
    for rule_id, condition in failed_by_one(rules, asked):
        typer.echo(f"  came close: {rule_id}, but for {condition}")
    for line in knowledge_lines(versions.knowledge(rules.document), text, moment):
        typer.echo(line)
    finding = Filter(rules.document.sensitive).look(text, "inbound")
    if finding is not None:
        typer.echo(f"sensitive: {', '.join(finding.categories)}")


def explain(rules: Compiled, asked: Asked) -> list[str]:
    """Line by line: the rules that were passed over, then what is said. Without a conversation: nobody owns, none is open."""
    if not asked.plain and not asked.attachment:
        return ["ignored: empty (nothing visible and no attachment)"]
    lines: list[str] = []
    decided: AutoreplyRule | None = None
    for rule, failed in rules.explain(asked):
        if failed is None:
            decided = rule
        else:
            lines.append(f"  {rule.rule_id}: not met: {failed}")
    if rules.shadow:
        lines.append("the shop is in shadow: nothing below is sent, the outcome is message.ignored (shadow)")
    reply, handover = (None, rules.fallback) if decided is None else (decided.reply, decided.handover)
    lines.append(f"decides: {'the fallback' if decided is None else decided.rule_id}")
    if reply is not None:
        lines.append(f"reply ({reply.kind}): {' | '.join(text.text for text in reply.texts)}")
    if handover is not None:
        details = [f"reason {handover.reason}", f"priority {handover.priority}"]
        details += [f"skills {', '.join(handover.skills)}"] if handover.skills else []
        details += [f"flags {', '.join(handover.flags)}"] if handover.flags else []
        lines.append(f"hand-over: {'; '.join(details)}")
    return lines


def _instant(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise UsageError(f"--at {text}: {error}; write for example 2026-11-25T09:30:00+08:00") from None
