"""``deskline trial``: a new shop's replies in shadow for some hours, and the report on it.

A trial is three keys of the shop's rules. It ends by the event times of messages, so nothing of this has to run meanwhile.
"""

import asyncio
import getpass
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from deskline.clock import SECOND, now_us, rfc3339
from deskline.config.apply import apply_directory
from deskline.config.loading import ConfigurationError
from deskline.config.telling import print_applied, print_problems
from deskline.errors import DesklineError, UsageError
from deskline.options import Config, Shop
from deskline.settings import ServiceSettings
from deskline.shadow import store
from deskline.shadow.cli import checked, language_of
from deskline.shadow.output import HtmlFile, JsonFile, Lang, MarkdownFile, put_out
from deskline.shadow.pages import trial_page
from deskline.shadow.private import mask
from deskline.shadow.switch import RulesFile
from deskline.shadow.trial import Trial
from deskline.shadow.trial import report as report_of
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Try a new shop's replies without sending them, and report on it."
)

_HOUR: Final = 3600 * SECOND
_THEN: Final = ("off", "live")
_LOOK_S: Final = 5.0
# What came in the last second has been decided and archived by then.
_SETTLED_S: Final = 5.0


@app.command()
def start(
    *,
    shop: Shop,
    config: Config,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 28, help="How long.")] = 48,
    then: Annotated[str, typer.Option(help="off: people go on answering afterwards. live: replies are sent.")] = "off",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended, and print the report.")] = False,
    lang: Lang = "en",
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    html_file: HtmlFile = None,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Put the shop's replies in shadow for some hours: computed and recorded, not sent; people answer meanwhile.

    Writes shadow, shadow_until and shadow_then into the shop's rules.yaml and applies the directory. The trial ends by itself.

    For example:

      deskline trial start --shop wardrobe --hours 48 --config conf --state-dir .deskline

      deskline trial start --shop wardrobe --config conf --then live --wait --lang zh --html trial.html
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    checked(then, _THEN, "--then")
    language_of(lang)
    known = asyncio.run(store.trials(settings, shop))
    now = now_us()
    if known and known[0].ends > now:
        until = rfc3339(known[0].ends)
        raise UsageError(f"a trial of {shop} is running until {until}; end it first: deskline trial stop --shop {shop}")
    until_us = now + round(hours * _HOUR)
    keys: dict[str, str | bool] = {"shadow": True, "shadow_until": rfc3339(until_us), "shadow_then": then}
    version, begins = _apply(settings, config, shop, keys, f"trial of {hours:g} h")
    trial = Trial(shop, version, begins, until_us, then, getpass.getuser())
    number = asyncio.run(store.add_trial(settings, trial))
    typer.echo(f"trial {number} of {shop}: from {rfc3339(begins)} to {rfc3339(until_us)}, then {then}")
    typer.echo(f"its report, at any time: deskline trial report --shop {shop}")
    if wait:
        _wait(until_us + round(_SETTLED_S * SECOND))
        _report(settings, shop, lang, json_file, markdown_file=markdown_file, html_file=html_file)


@app.command()
def status(
    *,
    shop: Shop,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """List the trials of a shop, the last one first.

    For example:

      deskline trial status --shop wardrobe --state-dir .deskline
    """
    settings = settings_of(state_dir, postgres_dsn=postgres_dsn)
    found = asyncio.run(store.trials(settings, shop))
    if not found:
        typer.echo(f"no trial of {shop} so far; begin one: deskline trial start --shop {shop} --config DIR")
    now = now_us()
    for trial in found:
        state = "running" if trial.started_at <= now < trial.ends else "to come" if now < trial.started_at else "ended"
        end = rfc3339(trial.ends)
        typer.echo(
            f"trial {trial.trial_id}: {state}, {rfc3339(trial.started_at)} to {end}, then {trial.then_what}; "
            f"rules version {trial.rules_version}, by {trial.started_by}"
        )


@app.command()
def stop(
    *,
    shop: Shop,
    config: Config,
    then: Annotated[str | None, typer.Option(help="off or live. [default: as the trial says]")] = None,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """End the trial now, or let the shop go live after it has ended.

    For example:

      deskline trial stop --shop wardrobe --config conf --then live --state-dir .deskline
    """
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    trial = _last(settings, shop)
    what = trial.then_what if then is None else checked(then, _THEN, "--then")
    now = now_us()
    # Live is the state without any of the keys; off is a trial that has ended.
    end = min(now, trial.ends)
    keys: dict[str, str | bool] = {}
    if what == "off":
        keys = {"shadow": True, "shadow_until": rfc3339(end), "shadow_then": "off"}
    _, begins = _apply(settings, config, shop, keys, f"end of trial {trial.trial_id}: {what}")
    if now < trial.ends:
        asyncio.run(store.stop_trial(settings, trial.trial_id, begins))
    typer.echo(f"trial {trial.trial_id} of {shop} has ended; from {rfc3339(begins)} on: {what}")


@app.command()
def report(
    *,
    shop: Shop,
    lang: Lang = "en",
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
    html_file: HtmlFile = None,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Report on the shop's last trial: speed, coverage, and what people answered instead.

    For example:

      deskline trial report --shop wardrobe --state-dir .deskline

      deskline trial report --shop wardrobe --lang zh --html 试运行.html --json trial.json
    """
    settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
    _report(settings, shop, lang, json_file, markdown_file=markdown_file, html_file=html_file)


def _report(
    settings: ServiceSettings,
    shop: str,
    lang: str,
    json_file: Path | None,
    *,
    markdown_file: Path | None,
    html_file: Path | None,
) -> None:
    language = language_of(lang)
    trial = _last(settings, shop)
    data = report_of(trial, asyncio.run(store.evidence(settings, trial)), mask)
    when = rfc3339(trial.started_at), rfc3339(trial.ends)
    page = trial_page(data, when, language, running=now_us() < trial.ends)
    data["trial"] |= {"started_at": when[0], "ends": when[1]}
    put_out(page, data, json_file=json_file, markdown_file=markdown_file, html_file=html_file)


def _last(settings: ServiceSettings, shop: str) -> Trial:
    found = asyncio.run(store.trials(settings, shop))
    if not found:
        raise UsageError(f"there was no trial of {shop}; begin one: deskline trial start --shop {shop} --config DIR")
    return found[0]


def _apply(
    settings: ServiceSettings, config: Path, shop: str, keys: dict[str, str | bool], comment: str
) -> tuple[int, int]:
    """Switch the shop's rules and apply the directory; (version of the rules, µs from which it is in force).

    Where that is refused, the file is as it was.
    """
    file = RulesFile(config, shop)
    file.switch(keys)
    try:
        applied = asyncio.run(apply_directory(settings, config, comment=comment, by=getpass.getuser()))
    except ConfigurationError as error:
        file.undo()
        print_problems(error.problems, as_json=False)
        raise typer.Exit(1) from None
    except DesklineError:
        # Whether it was committed is in its text; the file says what is wanted, and the next apply makes it so.
        raise
    # Whatever else had been edited in the directory is in force now, too: it is said.
    print_applied(applied, as_json=False)
    begins = applied.order.effective_from if applied.changes else now_us()
    return applied.numbers.get(shop, 0), begins


def _wait(until: int) -> None:
    while (left := (until - now_us()) / SECOND) > 0:
        time.sleep(min(left, _LOOK_S))
