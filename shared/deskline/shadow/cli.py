"""``deskline shadow report``: what a shop's candidates would have done differently."""

import asyncio
from typing import Annotated, Any, Final

import typer

from deskline.clock import DAY, now_us, rfc3339
from deskline.errors import UsageError
from deskline.options import Shop
from deskline.settings import ServiceSettings
from deskline.shadow import store
from deskline.shadow.comparison import compare_clocks, compare_routing, compare_rules
from deskline.shadow.output import HtmlFile, JsonFile, Lang, MarkdownFile, put_out
from deskline.shadow.pages import comparison_page
from deskline.shadow.words import Language
from deskline.targets import PostgresDsn, StateDir, settings_of
from deskline.terminal_text import instant

app = typer.Typer(add_completion=False, no_args_is_help=True, help="What was tried in shadow, beside what was done.")
KINDS: Final = ("rules", "routing", "sla")


@app.callback()
def main() -> None:
    """What was tried in shadow, beside what was done."""


@app.command()
def report(
    *,
    shop: Shop,
    kind: Annotated[
        list[str] | None, typer.Option(help="rules, routing or sla (again for more); default: all.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="90s, 15m, 6h, 2d ago, or a time. [default: all that is kept]")
    ] = None,
    lang: Lang = "en",
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    html_file: HtmlFile = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Say what the candidates in shadow would have done differently: counts, shares, lists.

    For example:

      deskline shadow report --shop wardrobe --state-dir .deskline

      deskline shadow report --shop wardrobe --kind rules --since 2d --lang zh --json report.json
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    kinds = [checked(name, KINDS, "--kind") for name in kind or KINDS]
    language = language_of(lang)
    now = now_us()
    begin = now - settings.shadow_retention_days * DAY if since is None else instant(since, now)
    data = asyncio.run(figures(settings, shop, kinds, begin))
    page = comparison_page(shop, rfc3339(begin), data, language)
    put_out(
        page,
        {"shop": shop, "since": rfc3339(begin), **data},
        json_file=json_file,
        markdown_file=markdown_file,
        html_file=html_file,
    )


async def figures(settings: ServiceSettings, shop: str, kinds: list[str], since: int) -> dict[str, Any]:
    """Kind → what ``comparison`` makes of the rows from ``since`` (µs) on."""
    data: dict[str, Any] = {}
    if "rules" in kinds:
        data["rules"] = compare_rules(await store.rules_groups(settings, shop, since))
    if "routing" in kinds:
        data["routing"] = compare_routing(*await store.choices(settings, shop, since))
    if "sla" in kinds:
        data["sla"] = compare_clocks(await store.clock_groups(settings, shop, since))
    return data


def checked(name: str, allowed: tuple[str, ...], option: str) -> str:
    if name not in allowed:
        raise UsageError(f"{option} {name}: write one of {', '.join(allowed)}")
    return name


def language_of(name: str) -> Language:
    return "zh" if checked(name, ("en", "zh"), "--lang") == "zh" else "en"
