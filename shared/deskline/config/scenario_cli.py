"""``deskline scenario``: the sets of rules that ship, and switching one on and off for a shop, live."""

import asyncio
import getpass
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast
from zoneinfo import ZoneInfo

import typer
import yaml

from deskline.clock import now_us
from deskline.config.apply import apply_directory
from deskline.config.base import DEFAULT_SHOP
from deskline.config.documents import CalendarsDocument
from deskline.config.loading import Configuration, load_directory
from deskline.config.rule_times import edge
from deskline.config.rules_document import RulesDocument
from deskline.config.scenario_sets import scenario_sets
from deskline.config.telling import print_applied, print_json, print_warnings
from deskline.errors import UsageError
from deskline.options import AsJson, Config, NoApply, Shop
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List the sets of rules that ship, and switch them on and off."
)

Name = Annotated[str, typer.Argument(help="The name of a set; see: deskline scenario list.")]
_KEY: Final = "scenarios"


@app.command("list")
def list_command(
    shop: Annotated[str | None, typer.Option(help="Say which sets this shop has on; with --config.")] = None,
    config: Annotated[Path | None, typer.Option(help="Directory of the configuration.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every set: its name, what it is for, and with --config whether the shop has it on.

    For example:

      deskline scenario list

      deskline scenario list --shop wardrobe --config conf
    """
    on: dict[str, str] = {}
    if config is not None:
        rules = _rules(load_directory(config), shop or DEFAULT_SHOP)
        on = {use.name: f"on until {use.ends}" if use.ends else "on" for use in rules.scenarios}
    rows = [
        {
            "name": one.name,
            "emergency": one.emergency,
            "zh": one.title.zh,
            "en": one.title.en,
            "rules": len(one.zh),
            **({"state": on.get(one.name, "off")} if config is not None else {}),
        }
        for one in scenario_sets().values()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        kind = "emergency" if row["emergency"] else "everyday"
        typer.echo(f"{row['name']:<16} {kind:<9} {row.get('state', ''):<8} {row['en']} / {row['zh']}")


@app.command("on")
def on_command(
    name: Name,
    *,
    shop: Shop,
    config: Config,
    until: Annotated[
        str | None,
        typer.Option(help="2026-11-11 (the day included), 2026-11-11T20:00 (the shop's clock), or with an offset."),
    ] = None,
    language: Annotated[str | None, typer.Option(help="zh or en. [default: the shop's]")] = None,
    no_apply: NoApply = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Switch a set on for a shop: into its rules.yaml, and in force some seconds later, without a restart.

    For example:

      deskline scenario on payment_fault --shop wardrobe --until 2026-11-28T18:00 --config conf --state-dir .deskline
    """
    if name not in scenario_sets():
        raise UsageError(f"no scenario is named {name!r}; there are {', '.join(scenario_sets())}")
    if language not in {None, "zh", "en"}:
        raise UsageError(f"--language {language}: the sets are in zh and en")
    ends = None if until is None else _local(until, load_directory(config), shop)
    use: dict[str, str] = {"name": name}
    use |= {key: value for key, value in (("language", language), ("ends", ends)) if value is not None}
    before = _change(
        config, shop, lambda uses: [*(one for one in uses if _name(one) != name), use if len(use) > 1 else name]
    )
    _finish(
        config,
        before,
        f"scenario {name} on" + (f" until {ends}" if ends else ""),
        None
        if no_apply
        else settings_of(
            state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
        ),
    )


@app.command("off")
def off_command(
    name: Name,
    *,
    shop: Shop,
    config: Config,
    no_apply: NoApply = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Switch a set off again. One that the shop has from _default is switched off there.

    For example:

      deskline scenario off payment_fault --shop wardrobe --config conf --state-dir .deskline
    """
    rules = _rules(load_directory(config), shop)
    if all(use.name != name for use in rules.scenarios):
        there = ", ".join(use.name for use in rules.scenarios) or "none"
        raise UsageError(f"shop {shop!r} does not have the scenario {name!r} on; it has {there}")
    before = _change(config, shop, lambda uses: [one for one in uses if _name(one) != name])
    after = _rules(load_directory(config), shop)
    if any(use.name == name for use in after.scenarios):
        _restore(before)
        raise UsageError(f"shop {shop!r} has {name!r} from {DEFAULT_SHOP}; switch it off there: --shop {DEFAULT_SHOP}")
    _finish(
        config,
        before,
        f"scenario {name} off",
        None
        if no_apply
        else settings_of(
            state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
        ),
    )


Before = tuple[Path, bytes | None]
"""The file that was changed, and what it was; None: it was not there."""


def _restore(before: Before) -> None:
    file, was = before
    if was is not None:
        file.write_bytes(was)
        return
    # An empty rules.yaml would be another thing: a shop that has no rules, not even those of _default.
    file.unlink()
    if not any(file.parent.iterdir()):
        file.parent.rmdir()


def _finish(config: Path, before: Before, comment: str, settings: Any) -> None:
    """Check, and apply; a directory that has mistakes gets its file back."""
    file, _ = before
    try:
        configuration = load_directory(config)
    except UsageError:
        _restore(before)
        raise
    if settings is None:
        print_warnings(configuration.warnings)
        typer.echo(f"{comment}: {file}; put it in force with: deskline config apply {config}")
        return
    applied = asyncio.run(apply_directory(settings, config, comment=comment, by=getpass.getuser()))
    print_applied(applied, as_json=False)


def _change(config: Path, shop: str, change: Callable[[list[Any]], list[Any]]) -> Before:
    """Rewrite ``scenarios`` in the shop's rules.yaml, and nothing else of it: comments stay."""
    if not (config / DEFAULT_SHOP).is_dir():
        load_directory(config)  # says what is missing
    if shop.startswith((".", "/")) or "/" in shop:
        raise UsageError(f"{shop!r} is no shop's id")
    file = config / shop / "rules.yaml"
    was = file.read_bytes() if file.is_file() else None
    # A shop without rules of its own runs on _default's, and goes on to.
    fresh = "{}\n" if shop == DEFAULT_SHOP else "inherit: true\n"
    text = fresh if was is None else was.decode("utf-8-sig")
    new = with_value(text, _KEY, change)
    file.parent.mkdir(exist_ok=True)
    draft = file.with_name(".rules.yaml.new")
    draft.write_text(new, encoding="utf-8")
    os.replace(draft, file)  # noqa: PTH105 - one step, whoever reads meanwhile
    return file, was


def with_value(text: str, key: str, change: Callable[[list[Any]], list[Any]]) -> str:
    """The YAML text with the list of a key at the top changed, everything else as it stands. An empty list goes away."""
    root: Any = yaml.compose(text, Loader=yaml.BaseLoader)
    document = yaml.load(text, Loader=yaml.BaseLoader) or {}  # noqa: S506 - strings only
    pairs = [] if root is None else [pair for pair in root.value if pair[0].value == key]
    if root is not None and root.flow_style:
        document[key] = change(list(document.get(key) or ()))
        return _flow({name: value for name, value in document.items() if name != key or value}) + "\n"
    if not pairs:
        values = change([])
        if not values:
            return text
        return f"{text.rstrip()}\n{key}: {_flow(values)}\n"
    name, value = pairs[0]
    values = change(list(document[key] or ()))
    begin, end = name.start_mark.index, _end(value)
    if values:
        return f"{text[:begin]}{key}: {_flow(values)}{text[end:]}"
    rest = text[end:]
    return text[:begin] + (rest.partition("\n")[2] if not rest.partition("\n")[0].strip() else rest.lstrip(" "))


def _end(node: Any) -> int:
    """Where the value ends; of a list in lines its mark stands behind the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False).strip()


def _name(use: Any) -> str:
    return str(use.get("name") if isinstance(use, dict) else use)


def _rules(configuration: Configuration, shop: str) -> RulesDocument:
    documents = configuration.shops.get(shop, {})
    return cast("RulesDocument", documents.get("rules") or configuration.shops[DEFAULT_SHOP]["rules"])


def _local(until: str, configuration: Configuration, shop: str) -> str:
    """The end by the shop's own clock; one in the past would switch on what is never said."""
    documents = {**configuration.shops[DEFAULT_SHOP], **configuration.shops.get(shop, {})}
    calendars = cast("CalendarsDocument", documents["calendars"])
    zone = ZoneInfo(calendars.calendars[calendars.default].timezone)
    try:
        at = edge(until, end=True).replace(tzinfo=zone)
        shown = until
    except ValueError as error:
        # As people write it: RFC 3339 would want the seconds, too.
        try:
            at = datetime.fromisoformat(until)
        except ValueError:
            raise UsageError(f"--until {until}: {error}") from None
        if at.tzinfo is None:
            raise UsageError(f"--until {until}: {error}") from None
        at = at.astimezone(zone)
        shown = at.replace(tzinfo=None).isoformat(timespec="seconds")
    if at.timestamp() * 1e6 <= now_us():
        raise UsageError(f"--until {until} is over already")
    return shown
