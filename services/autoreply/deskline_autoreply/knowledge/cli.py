"""``deskline knowledge``: import entries, check and search them, calibrate the threshold, list what nobody uses."""

import asyncio
import getpass
from pathlib import Path
from typing import Annotated, Final, cast

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from deskline.clock import now_us, rfc3339
from deskline.config.apply import apply_directory
from deskline.config.base import DEFAULT_SHOP
from deskline.config.knowledge_document import Knowledge
from deskline.config.knowledge_import import FORMATS, parse, put
from deskline.config.loading import load_directory
from deskline.config.rendering import as_yaml
from deskline.config.rules_document import RulesDocument
from deskline.config.telling import print_applied
from deskline.config.yaml_source import read
from deskline.errors import UsageError
from deskline.options import Config, Shop
from deskline.postgres import connect
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline_autoreply.knowledge.index import KnowledgeIndex
from deskline_autoreply.knowledge.lookups import last_used, stale

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What the shops know.")

_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_ERRORS: Final = 200


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Entries, products, promotions: .yaml, .csv or .jsonl.")],
    *,
    config: Config,
    shop: Shop = DEFAULT_SHOP,
    form: Annotated[str | None, typer.Option("--format", help="yaml, csv or jsonl. [default: by the name]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file, and write nothing.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Apply the directory afterwards.")] = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Put entries into a shop's knowledge.yaml; those of the same id are replaced. All of the file, or nothing.

    For example:

      deskline knowledge import faq.csv --shop wardrobe --config conf --apply
    """
    imported = parse(_bytes(file), _format(file, form))
    if imported.errors:
        raise UsageError("\n".join(f"{file}: {error}" for error in imported.errors[:_MOST_ERRORS]))
    target = config / shop / "knowledge.yaml"
    before = target.read_text(encoding="utf-8") if target.exists() else None
    known = Knowledge(inherit=shop != DEFAULT_SHOP) if before is None else _own(target, before)
    try:
        after = put(known, imported)
    except ValidationError as error:
        raise UsageError("\n".join(f"{file}: {one['msg']}" for one in error.errors())) from None
    counts = ", ".join(f"{len(items)} {name}" for name, items in imported.items.items() if items)
    if dry_run:
        typer.echo(f"no mistakes: {counts}")
        return
    _write(config, target, before, after)
    typer.echo(f"{target}: {counts}")
    if apply:
        settings = settings_of(
            state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
        )
        comment = f"knowledge import {file.name}"
        applied = asyncio.run(apply_directory(settings, config, comment=comment, by=getpass.getuser()))
        print_applied(applied, as_json=False)


@app.command()
def check(config: Config, shop: Shop = DEFAULT_SHOP) -> None:
    """Say what a shop's knowledge base holds, and which entries come too near to each other to be told apart."""
    index = _index(config, shop)
    document = index.document
    phrasings = sum(len(entry.phrasings) for entry in document.entries)
    typer.echo(
        f"{len(document.entries)} entries, {phrasings} phrasings, {len(document.products)} products, "
        f"{len(document.promotions)} promotions, {len(document.questions)} labelled questions"
    )
    for entry in document.entries:
        if len(entry.phrasings) < 2:
            typer.echo(f"  {entry.entry_id}: only one phrasing; three to ten, worded differently, are found far better")
    for one, other, confidence in index.rivals():
        typer.echo(f"  {one} and {other} ask nearly the same ({confidence:.0%}): join them, or word them apart")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What the customer writes.")],
    config: Config,
    shop: Shop = DEFAULT_SHOP,
    limit: Annotated[int, typer.Option(min=1, max=10)] = 5,
) -> None:
    """Show what comes near a question, with its scores, and whether it would be answered."""
    index = _index(config, shop)
    now = now_us()
    answer = index.answer(text, now)
    table = Table("entry", "confidence", box=None)
    found = index.search(text, now, most=limit)
    if answer.sure is not None and all(one.entry_id != answer.sure.entry_id for one in found):
        found = (answer.sure, *found)
    for name in ("phrasing", "scores"):
        table.add_column(name)
    for one in found:
        scores = "  ".join(f"{name} {value:g}" for name, value in one.parts)
        table.add_row(one.entry_id, f"{one.confidence:.3f}", one.phrasing, scores or "exact")
    Console(width=200, soft_wrap=True).print(table)
    line = index.threshold
    typer.echo(f"threshold {line.value:.3f} for a precision of {index.document.precision_target:.0%}")
    if answer.sure is not None:
        typer.echo(f"answers by itself: {answer.sure.entry_id}: {answer.sure.answer}")
    elif answer.near and index.document.suggestions:
        typer.echo("gives a short list: " + ", ".join(one.entry_id for one in answer.near))
    elif answer.near:
        typer.echo("hands over (low_confidence), suggesting " + ", ".join(one.entry_id for one in answer.near))
    else:
        typer.echo("hands over (no_match)")


@app.command()
def calibrate(
    config: Config,
    shop: Shop = DEFAULT_SHOP,
    target: Annotated[float | None, typer.Option(min=0.5, max=0.999, help="[default: the shop's]")] = None,
    out_of_scope: Annotated[float | None, typer.Option(min=0, max=0.9, help="[default: the shop's]")] = None,
) -> None:
    """Show the threshold for a precision target, and how many questions would be answered at it."""
    index = _index(config, shop)
    share = index.document.expected_out_of_scope if out_of_scope is None else out_of_scope
    own = index.document.precision_target if target is None else target
    typer.echo(f"calibrated on {index.calibrated_on} ({len(index.judged)}), {share:.0%} of questions out of scope")
    for each in sorted({own, 0.9, 0.95, 0.98}):
        line = index.threshold_for(each, share)
        mark = "  <- the shop's" if each == own else ""
        if line.coverage == 0:
            typer.echo(f"target {each:.1%}: nothing would be answered{mark}")
            continue
        typer.echo(
            f"target {each:.1%}: threshold {line.value:.3f}, {line.precision:.1%} of answers right, "
            f"{line.coverage:.1%} of answerable questions answered right{mark}"
        )


@app.command("stale")
def stale_command(
    config: Config,
    shop: Shop = DEFAULT_SHOP,
    days: Annotated[int, typer.Option(min=1, help="Unused for so many days.")] = 30,
    *,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """List entries that answered nobody, and that no agent looked at, for a month: to be reviewed or removed."""
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)

    async def used() -> dict[str, int]:
        connection = await connect(settings, "autoreply")
        try:
            return await last_used(connection, None if shop == DEFAULT_SHOP else shop)
        finally:
            await connection.close()

    document = _document(config, shop)
    ids = [entry.entry_id for entry in document.entries]
    ids += [product.product_id for product in document.products]
    ids += [promotion.promotion_id for promotion in document.promotions]
    found = stale(ids, asyncio.run(used()), days)
    for entry, last in found:
        typer.echo(f"{entry}: {'never' if not last else rfc3339(last)}")
    typer.echo(f"{len(found)} of {len(ids)} unused for {days} days")


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{file}: has more than {_MOST_BYTES} bytes; import it in parts")
    return data


def _format(file: Path, form: str | None) -> str:
    found = form or {".yml": "yaml", ".tsv": "csv", ".ndjson": "jsonl"}.get(file.suffix, file.suffix.removeprefix("."))
    if found not in FORMATS:
        raise UsageError(f"{file}: what is it? Name it --format {', '.join(FORMATS)}")
    return found


def _own(target: Path, text: str) -> Knowledge:
    source = read(text.encode())
    if source.mistakes:
        raise UsageError("\n".join(f"{target}:{one.place.line}: {one.message}" for one in source.mistakes))
    try:
        return Knowledge.model_validate(source.value or {})
    except ValidationError as error:
        raise UsageError(f"{target}: {error.error_count()} mistakes; run: deskline config check") from None


def _write(config: Path, target: Path, before: str | None, after: Knowledge) -> None:
    """The comment at the top of the file stays. What the directory as a whole refuses is taken back."""
    head = []
    for line in (before or "").splitlines():
        if line.strip() and not line.startswith("#"):
            break
        head.append(line)
    stated = after.model_copy(update={"entries": after.entries})
    text = as_yaml(stated, stated_only=True)
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join([*head, text]) if head else text, encoding="utf-8")
    try:
        load_directory(config)
    except UsageError:
        if before is None:
            target.unlink()
        else:
            target.write_text(before, encoding="utf-8")
        raise


def _document(config: Path, shop: str) -> Knowledge:
    shops = load_directory(config).shops
    documents = shops.get(shop, shops[DEFAULT_SHOP])
    rules = documents.get("rules", shops[DEFAULT_SHOP]["rules"])
    return cast("RulesDocument", rules).knowledge


def _index(config: Path, shop: str) -> KnowledgeIndex:
    document = _document(config, shop)
    if document.is_empty:
        raise UsageError(
            f"shop {shop} has no knowledge base: write {config / shop / 'knowledge.yaml'}, or import a file"
        )
    return KnowledgeIndex.of(document)
