"""``deskline shop``: a new shop's first configuration in four steps, a load of its own, and what is missing before it goes live."""

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from deskline.clock import SECOND, now_us
from deskline.config.base import DEFAULT_SHOP, Document, DocumentKind
from deskline.config.documents import AgentsDocument
from deskline.config.loading import Configuration, ConfigurationError, load_directory
from deskline.config.rules_document import RulesDocument
from deskline.config.telling import print_json, print_problems, print_warnings
from deskline.errors import UsageError
from deskline.options import AsJson, Config, Shop
from deskline.settings import ServiceSettings
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import printable
from deskline_autoreply.opening import evidence, files, load
from deskline_autoreply.opening.checking import Finding, Trial, Tried, findings
from deskline_autoreply.opening.plan import (
    FEWEST,
    PER_PERSON,
    SHIPPED,
    Language,
    ShopPlan,
    agent_of,
    files_of,
    read_plan,
)
from deskline_autoreply.opening.words import say

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Bring a new shop on line: its first configuration, a load of its own, what is still missing.",
)

Lang = Annotated[str, typer.Option("--lang", help="en or zh.")]
Answers = Annotated[
    Path | None,
    typer.Option("--from", help="A YAML file of answers; what it says is not asked. See docs/first-shop.md."),
]
AtOnce = Annotated[
    int, typer.Option("--at-once", min=1, help="Customers whom the shop expects at a time, at its busiest.")
]
_PROMISES: Final = ("agent_response_s", "complaint_hours", "returns_days", "refund_hours", "dispatch_hours")


@app.command()
def init(
    *,
    shop: Shop,
    config: Config,
    answers: Answers = None,
    timezone: Annotated[str | None, typer.Option(help="IANA time zone. [default: Asia/Shanghai]")] = None,
    hours: Annotated[str | None, typer.Option(help="Open every day, 09:00-22:00; days that differ: --from.")] = None,
    returns_days: Annotated[int | None, typer.Option(help="Days for which returns are taken.")] = None,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", help="ID:NAME:CAPACITY:SKILL,SKILL:GRADE; may be given again.")
    ] = None,
    greeting: Annotated[str | None, typer.Option(help="Text of the welcome.")] = None,
    off_hours: Annotated[str | None, typer.Option(help="Text outside hours.")] = None,
    after_sales: Annotated[str | None, typer.Option(help="Text of the after-sales promise.")] = None,
    trial_hours: Annotated[float | None, typer.Option(help="Length of the trial run. [default: 48]")] = None,
    no_input: Annotated[
        bool, typer.Option("--no-input", help="Ask nothing: what is not given is as by default.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the shop's files without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files, and write none.")] = False,
    lang: Lang = "en",
) -> None:
    """Write a new shop's configuration in four steps: hours and promises, agents, templates, trial run.

    Asks for what neither options nor --from say. Everything is checked as `deskline config check` does before anything is written. The
    shop begins in shadow: nothing is sent before its trial run.

    For example:

      deskline shop init --shop teahouse --config conf --lang zh

      deskline shop init --shop teahouse --config conf --from teahouse-answers.yaml --no-input

      deskline shop init --shop teahouse --config conf --no-input --hours 10:00-20:00 --agent lin:林:8:售前,售后 --agent wu:吴:8:售后
    """
    language = _language(lang)
    given = _given(
        {"timezone": timezone, "daily": hours},
        {"returns_days": returns_days},
        {"greeting": greeting, "off_hours": off_hours, "after_sales": after_sales},
        {"hours": trial_hours},
    )
    given |= {"shop": shop, **({"agents": [agent_of(text) for text in agent]} if agent else {})}
    raw = _bytes(answers) if answers is not None else b""
    if not no_input:
        given = _asked(language, raw, given)
    if "language" not in given and b"language:" not in raw:
        given["language"] = language
    plan = read_plan(raw, **given)
    made = files_of(plan)
    if dry_run:
        for name, text in made.items():
            typer.echo(f"--- {printable(plan.shop)}/{name}\n{text}")
        return
    _may_overwrite(language, config, plan, made, ask=not no_input, overwrite=overwrite)
    fresh = not (config / DEFAULT_SHOP).is_dir()
    try:
        configuration = files.write(config, plan.shop, made)
    except ConfigurationError as error:
        print_problems(error.problems, as_json=False)
        raise typer.Exit(1) from None
    print_warnings(configuration.warnings)
    if fresh:
        typer.echo(say(language, "default", directory=config))
    typer.echo(say(language, "written", files=", ".join(str(config / plan.shop / name) for name in made)))
    for line in _next(language, config, plan):
        typer.echo(line)


@app.command()
def check(
    *,
    shop: Shop,
    config: Config,
    at_once: AtOnce = FEWEST * PER_PERSON,
    rehearsal_dir: Annotated[
        Path | None,
        typer.Option(help="State directory of the stack on which load was tried. [default: the same stack]"),
    ] = None,
    lang: Lang = "en",
    as_json: AsJson = False,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Say what a shop lacks before it goes live. Exit code 1 while anything is missing.

    Three templates (welcome, outside hours, after-sales), one person for fifteen customers at a time and never fewer than two, sensitive
    words tried (it tries them), load tried, a trial run of 48 h passed.

    For example:

      deskline shop check --shop teahouse --config conf --lang zh

      deskline shop check --shop teahouse --config conf --at-once 60 --state-dir .deskline --rehearsal-dir /tmp/rehearsal
    """
    language = _language(lang)
    rules, agents = _documents(config, shop)
    live = _settings(state_dir, topic_prefix, postgres_dsn)
    trial = settings_of(rehearsal_dir) if rehearsal_dir is not None else live
    trials, tried = asyncio.run(_evidence(live, trial, shop))
    found = findings(rules, agents, at_once, trials, tried, load_known=trial is not None)
    _told(language, shop, found, as_json=as_json)
    if not all(one.ok for one in found):
        raise typer.Exit(1)


@app.command("load")
def load_command(
    *,
    shop: Shop,
    config: Config,
    conversations: AtOnce = FEWEST * PER_PERSON,
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="For how long.")] = 60,
    every: Annotated[float, typer.Option(min=0.5, max=60, help="Seconds between a customer's messages.")] = 20,
    lang: Lang = "en",
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Play so many customers of the shop at a time on a stack of rehearsals, and say how soon they were decided.

    Refused where anybody but a rehearsal wrote in the last day: agents would be given these conversations.

    For example:

      deskline up --detach --state-dir /tmp/rehearsal --config conf

      deskline shop load --shop teahouse --config conf --at-once 60 --state-dir /tmp/rehearsal
    """
    language = _language(lang)
    rules, _ = _documents(config, shop)
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    if asyncio.run(evidence.customers_use_it(settings)):
        raise UsageError("customers have written on this stack within a day; rehearse on one of its own (deskline up)")
    customers = load.Customers(f"{now_us() // SECOND:x}", shop, load.texts_of(rules), conversations, every)
    asyncio.run(load.play(settings, customers, seconds))
    found = next(
        one
        for one in findings(rules, AgentsDocument(), conversations, None, asyncio.run(evidence.load(settings, shop)))
        if one.requirement == "load"
    )
    typer.echo(say(language, found.key, **found.values))
    if not found.ok:
        raise typer.Exit(1)


# --- init -----------------------------------------------------------------------------------------------------------------


def _given(*steps: dict[str, Any]) -> dict[str, Any]:
    """What options say, by the plan's parts."""
    parts = zip(("hours", "promises", "templates", "trial"), steps, strict=True)
    made = {part: {key: value for key, value in step.items() if value is not None} for part, step in parts}
    return {part: values for part, values in made.items() if values}


def _asked(language: Language, raw: bytes, given: dict[str, Any]) -> dict[str, Any]:
    """The four steps; what is known already is not asked."""
    known = read_plan(raw, **{"agents": [{"agent_id": "x"}], **given})
    stated = {part: set(getattr(known, part).model_fields_set) for part in ("hours", "promises", "templates", "trial")}
    asks_agents = "agents" not in given and known.agents[0].agent_id == "x" and len(known.agents) == 1
    made = {part: dict(value) if isinstance(value, dict) else value for part, value in given.items()}

    def ask(part: str, name: str, key: str, default: Any, kind: Any = None) -> None:
        if name not in stated[part]:
            made.setdefault(part, {})[name] = typer.prompt(say(language, key), default=default, type=kind)

    typer.echo(say(language, "step 1"))
    ask("hours", "timezone", "timezone", known.hours.timezone)
    if "weekly" not in stated["hours"]:
        ask("hours", "daily", "daily", known.hours.daily)
    if "public_holidays" not in stated["hours"] and typer.confirm(say(language, "public_holidays"), default=False):
        made.setdefault("hours", {})["public_holidays"] = "CN"
    for name in _PROMISES:
        ask("promises", name, name, getattr(known.promises, name), int)
    typer.echo(say(language, "step 2"))
    if asks_agents:
        made["agents"] = _agents(language)
    typer.echo(say(language, "step 3"))
    for name in ("greeting", "off_hours", "after_sales"):
        ask("templates", name, f"template {name} ask", getattr(SHIPPED[language], name))
    typer.echo(say(language, "step 4"))
    ask("trial", "hours", "trial hours", known.trial.hours, float)
    ask("trial", "then", "trial then", known.trial.then)
    return made


def _agents(language: Language) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    while True:
        text = typer.prompt(say(language, "agent"), default="", show_default=False)
        if not text and made:
            return made
        if text:
            try:
                made.append(agent_of(text))
            except UsageError as error:
                typer.echo(str(error), err=True)


def _may_overwrite(
    language: Language, config: Path, plan: ShopPlan, made: dict[str, str], *, ask: bool, overwrite: bool
) -> None:
    there = files.there(config, plan.shop, made)
    if not there or overwrite:
        return
    names = ", ".join(map(str, there))
    if not ask:
        raise UsageError(
            f"{names}: exists already; give --overwrite to replace it, or leave --no-input off to be asked"
        )
    if not typer.confirm(say(language, "overwrite", files=names), default=False):
        typer.echo(say(language, "kept"))
        raise typer.Exit(1)


def _next(language: Language, config: Path, plan: ShopPlan) -> list[str]:
    shop, conf = shlex.quote(plan.shop), shlex.quote(str(config))
    trial = f"deskline trial start --shop {shop} --config {conf} --hours {plan.trial.hours:g} --then {plan.trial.then}"
    commands = (
        ("next apply", f"deskline config apply {conf}"),
        ("next trial", trial),
        ("next load", f"deskline shop load --shop {shop} --config {conf} --state-dir DIR"),
        ("next check", f"deskline shop check --shop {shop} --config {conf}"),
    )
    lines = [say(language, "next")]
    for key, command in commands:
        lines += [say(language, key), f"    {command}"]
    return lines


# --- check ----------------------------------------------------------------------------------------------------------------


def _documents(config: Path, shop: str) -> tuple[RulesDocument, AgentsDocument]:
    """What the shop runs on, by the directory."""
    configuration: Configuration = load_directory(config)
    if shop not in configuration.shops:
        raise UsageError(
            f"{config} has no shop {shop!r}; make it: deskline shop init --shop {shlex.quote(shop)} --config {config}"
        )
    of: Callable[[DocumentKind], Document] = lambda kind: (  # noqa: E731
        configuration.shops[shop].get(kind) or configuration.shops[DEFAULT_SHOP][kind]
    )
    return cast("RulesDocument", of("rules")), cast("AgentsDocument", of("agents"))


def _settings(state_dir: Path | None, topic_prefix: str | None, postgres_dsn: str | None) -> ServiceSettings | None:
    """None where no deployment is named: then nobody knows what was tried."""
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    named = state_dir is not None or postgres_dsn is not None or "postgres_dsn" in settings.model_fields_set
    return settings if named else None


async def _evidence(
    live: ServiceSettings | None, rehearsal: ServiceSettings | None, shop: str
) -> tuple[list[Trial] | None, Tried | None]:
    trials = None if live is None else await evidence.trials(live, shop)
    return trials, None if rehearsal is None else await evidence.load(rehearsal, shop)


def _told(language: Language, shop: str, found: list[Finding], *, as_json: bool) -> None:
    missing = sum(not one.ok for one in found)
    if as_json:
        rows = [
            {"requirement": one.requirement, "ok": one.ok, "what": one.key, "text": say(language, one.key, **one.values), **one.values}
            for one in found
        ]  # fmt: skip
        print_json({"shop": shop, "ready": not missing, "findings": rows})
        return
    for one in found:
        typer.echo(f"{'✓' if one.ok else '✗'} {printable(say(language, one.key, **one.values))}")
    verdict = "not ready" if missing else "ready"
    typer.echo(say(language, verdict, shop=printable(shop), missing=missing, all=len(found)))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _language(lang: str) -> Language:
    if lang not in ("en", "zh"):
        raise UsageError(f"--lang {lang}: write en or zh")
    return cast("Language", lang)
