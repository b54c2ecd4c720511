"""``deskline policy``: what a shop's routing does, in sentences."""

import asyncio
from pathlib import Path
from typing import Annotated, Final, cast

import typer

from deskline.clock import now_us
from deskline.config.apply import parse
from deskline.config.base import DEFAULT_SHOP, Document, DocumentKind
from deskline.config.documents import AgentsDocument, RoutingDocument
from deskline.config.loading import load_directory
from deskline.config.store import ConfigStore
from deskline.errors import UsageError
from deskline.settings import ServiceSettings
from deskline.targets import PostgresDsn, StateDir, settings_of
from deskline.terminal_text import printable
from deskline_router.policy.people import qualified
from deskline_router.sentences import Language, policy_sentences

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What a shop's routing does, in sentences.")

_KINDS: Final[tuple[DocumentKind, ...]] = ("routing", "agents")


@app.callback()
def policy() -> None:
    """What a shop's routing does, in sentences."""


@app.command()
def explain(
    shop: Annotated[str, typer.Argument(help="A shop's id; _default is what shops without their own run on.")],
    *,
    directory: Annotated[
        Path | None, typer.Option("--config", help="A directory of configuration. [default: what is in force]")
    ] = None,
    lang: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Say in sentences who gets which conversation, in which order, and what happens in a surge, at night, after a complaint.

    For example:

      deskline policy explain wardrobe --config examples/config --lang zh

      deskline policy explain _default --state-dir .deskline
    """
    if lang not in ("en", "zh"):
        raise UsageError(f"--lang {lang}: write en or zh")
    if directory is not None:
        documents = _of_directory(directory, shop)
    else:
        documents = asyncio.run(_in_force(settings_of(state_dir, postgres_dsn=postgres_dsn), shop))
    routing, agents = cast("RoutingDocument", documents["routing"]), cast("AgentsDocument", documents["agents"])
    rules = agents.qualifications or ()
    people = {agent.agent_id: qualified(agent, rules) for agent in agents.agents}
    for sentence in policy_sentences(routing, people, cast("Language", lang), rules):
        typer.echo(printable(sentence))


def _of_directory(directory: Path, shop: str) -> dict[DocumentKind, Document]:
    shops = load_directory(directory).shops
    if shop not in shops:
        raise UsageError(f"{directory} has no shop {shop!r}; there are {', '.join(sorted(shops))}")
    return {kind: shops[shop].get(kind) or shops[DEFAULT_SHOP][kind] for kind in _KINDS}


async def _in_force(settings: ServiceSettings, shop: str) -> dict[DocumentKind, Document]:
    async with ConfigStore.opened(settings) as store:
        found = await store.in_force(DEFAULT_SHOP, now_us()) | await store.in_force(shop, now_us())
    if not found:
        raise UsageError("nothing has been applied yet; run: deskline config apply DIRECTORY, or give --config")
    return {kind: parse(shop, kind, found[kind].body) for kind in _KINDS}
