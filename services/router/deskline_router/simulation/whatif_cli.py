"""``deskline whatif``: recorded days under another routing policy, beside what happened."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml
from pydantic import ValidationError
from rich.console import Console

from deskline.clock import DAY, now_us
from deskline.config.base import DEFAULT_SHOP
from deskline.config.book import ConfigBook
from deskline.config.documents import Agent, RoutingDocument
from deskline.errors import UsageError
from deskline.records import AGENTS, CONVERSATIONS, ROUTING
from deskline.report.pages import bars
from deskline.shadow.rendering import Page, Table, show
from deskline.shadow.rendering import html as html_page
from deskline.targets import PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import instant
from deskline_router.catalog import BookCatalog
from deskline_router.simulation.pages import number, percent, scaled, seconds
from deskline_router.simulation.recorded import Day, recorded
from deskline_router.simulation.replay_store import read_configuration, read_events
from deskline_router.simulation.whatif import COLUMNS, as_recorded, compared, simulated

app = typer.Typer(add_completion=False, help="Recorded days under another routing policy, beside what happened.")


@app.callback(invoke_without_command=True)
def whatif(
    *,
    policy: Annotated[Path, typer.Option(help="The new routing.yaml.")],
    first: Annotated[str, typer.Option("--from", help="From 1d, 6h ago, or a time.")],
    last: Annotated[str, typer.Option("--to", help="Up to then.")] = "0s",
    shop: Annotated[
        str, typer.Option("--shop", help="Whose routing it is; _default: of all shops without their own.")
    ] = DEFAULT_SHOP,
    history: Annotated[str, typer.Option(help="So long before, for who had which customer, and who was there.")] = "1d",
    target: Annotated[float, typer.Option(min=0.001, help="Seconds to the first answer.")] = 180.0,
    examples: Annotated[int, typer.Option(min=0, help="Conversations shown that would have gone elsewhere.")] = 20,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the report with charts to this file.")] = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Put the requests of recorded days through another routing policy: waits, first answers in time, load, own agents, who would have gone elsewhere.

    Beside what happened stands the same simulation under the policy that was in force: what differs between these two is the
    simulation's error, what differs between it and the new policy is the policy's doing. Nothing is sent or written.

    For example:

      deskline whatif --policy conf/wardrobe/routing.yaml --shop wardrobe --from 1d --state-dir .deskline --html whatif.html
    """
    now = now_us()
    begin, end = instant(first, now), instant(last, now)
    if end <= begin:
        raise UsageError(f"--to {last} is not after --from {first}")
    document = _document(policy)
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn, topic_prefix=topic_prefix)
    since = begin - (now - instant(history, now))
    events, configuration = asyncio.run(_read(settings, since, end))
    day = recorded(sorted(events, key=lambda event: (event.at, event.broker_at, event.offset)), begin, end)
    if not day.cases:
        raise UsageError("no request was recorded then; check --from, --to and which archive it is")
    books = [_book(configuration, settings.config_lead_s, shop, replaced) for replaced in (None, document)]
    columns = {"recorded": as_recorded(day)}
    for name, book in zip(COLUMNS[1:], books, strict=True):
        columns[name] = _simulated(day, book, shop, end)
    mine = {
        name: [way for way in ways if _concerns(books[1], shop, way.case.shop_id)] for name, ways in columns.items()
    }
    data = compared(mine, target)
    shown = page(data, shop, examples)
    show(shown, Console())
    if json_file is not None:
        json_file.write_text(json.dumps(data, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if html_file is not None:
        html_file.write_text(html(data, shown), encoding="utf-8")


async def _read(settings: Any, since: int, end: int) -> tuple[list[Any], list[Any]]:
    # What ends a conversation may come long after what began it.
    events = await read_events(settings, (CONVERSATIONS, ROUTING, AGENTS), since, end + DAY)
    return events, await read_configuration(settings)


def _document(path: Path) -> RoutingDocument:
    try:
        return RoutingDocument.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--policy {path}: {error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"--policy {path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def _book(configuration: list[Any], lead_s: float, shop: str, document: RoutingDocument | None) -> ConfigBook:
    """The configuration as it was; with the document, always that of the shop's routing."""
    book = ConfigBook(lead_s)
    for event in configuration:
        replaced = document is not None and event.type == "config.applied.v1" and event.data.document == "routing"
        if not (replaced and event.data.shop_id == shop):
            book.admit(event)
    if document is not None:
        book.install(shop, "routing", document)
    return book


def _concerns(book: ConfigBook, shop: str, of: str) -> bool:
    """A shop without routing of its own runs on the default one."""
    return of == shop or (shop == DEFAULT_SHOP and not book.has(of, "routing"))


def _simulated(day: Day, book: ConfigBook, shop: str, at: int) -> Any:
    team: dict[str, Agent] = {name: serving.agent for name, serving in book.all_agents(at).items()}
    shops = {case.shop_id for case in day.cases}
    offers = any(book.routing(one, at).mode == "offered" for one in shops)
    return simulated(day, BookCatalog(book), team, shop, offers=offers)


def page(data: Mapping[str, Any], shop: str, examples: int) -> Page:
    columns = data["columns"]
    rows = []
    for tier in columns[COLUMNS[0]]["tiers"]:
        for name in COLUMNS:
            one = columns[name]["tiers"][tier]
            rows.append((
                tier, name, str(one["requests"]), str(one["served"]), seconds(one["mean_s"]), seconds(one["p90_s"]),
                seconds(one["max_s"]), percent(one["sla"]), percent(one["sticky"]),
            ))  # fmt: skip
    agents = sorted({name for column in columns.values() for name in column["agents"]})
    elsewhere = data["elsewhere"]
    lines = [
        f"{len(elsewhere)} conversations would have gone to somebody else than they did; {data['elsewhere_simulated']} under the simulated policy that was in force, which is the simulation's error; {data['moved_by_policy']} differ between the two simulations",
        "fairness (Jain's index of conversations by agent): "
        + ", ".join(f"{name} {number(columns[name]['fairness'])}" for name in COLUMNS),
    ]
    tables = [
        Table("Waits in seconds, first answers in time, own agents",
              ["tier", "", "requests", "served", "mean", "p90", "max", f"≤ {data['target_s']:g} s", "own agent"], rows),
        Table("Conversations by agent", ["agent", *COLUMNS],
              [(name, *(str(columns[c]["agents"].get(name, 0)) for c in COLUMNS)) for name in agents]),
        Table("Would have gone elsewhere", ["conversation", "tier", "recorded", "new", "waited", "would have waited"],
              [(e["conversation"], e["tier"], e["recorded"] or "–", e["new"] or "–", seconds(e["recorded_wait_s"]), seconds(e["new_wait_s"]))
               for e in elsewhere[:examples]],
              note=f"and {len(elsewhere) - examples} more: --json has them all" if len(elsewhere) > examples else ""),
    ]  # fmt: skip
    return Page("en", f"Shop {shop} under another policy", lines, tables)


def html(data: Mapping[str, Any], shown: Page) -> str:
    charts = ""
    for title, name, factor in (
        ("mean wait (s)", "mean_s", 1),
        ("first answers in time (%)", "sla", 100),
        ("own agent (%)", "sticky", 100),
    ):
        values = [
            (
                f"{tier[:4]} {column[:3]}",
                scaled(data["columns"][column]["tiers"][tier][name])
                if factor == 100
                else data["columns"][column]["tiers"][tier][name],
            )
            for tier in data["columns"][COLUMNS[0]]["tiers"]
            for column in COLUMNS
        ]
        charts += bars(title, cast("Any", values), None)
    head, sep, rest = html_page(shown).partition("<h2>")
    return f"{head}{charts}{sep}{rest}"
