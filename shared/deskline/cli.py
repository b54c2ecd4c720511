"""The command ``deskline``: mounts the commands of every part, each imported only when it is called.

Errors that the person at the keyboard can mend (``UsageError``) are printed in one piece without a traceback, exit code
2; other errors that deskline raises on purpose, exit code 1; anything else is a defect and shows its traceback.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand, TyperGroup

from deskline.errors import DesklineError, UsageError
from deskline.stack import cli as stack_cli
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of


@dataclass(frozen=True, slots=True)
class Mounted:
    """A command of another module: ``target`` is ``module:typer_app``."""

    target: str
    help: str

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    def load(self) -> Any:
        """The command itself. Only the absence of the module is forgiven; an error inside it is shown."""
        module, _, attribute = self.target.partition(":")
        try:
            app = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
                raise UsageError(f"This command is not part of this installation ({error.name} is missing).") from None
            raise
        return typer.main.get_command(app)


OWN: Final = {
    "calendar": Mounted("deskline.calendar_cli:app", "Show and check calendars; take in newly announced holidays."),
    "config": Mounted("deskline.config.cli:app", "Check, apply, show and roll back the shops' configuration."),
    "deadletters": Mounted("deskline.deadletters_cli:app", "List, show and replay dead letters."),
    "scenario": Mounted("deskline.config.scenario_cli:app", "Switch sets of rules that ship on and off for a shop."),
    "explain": Mounted("deskline.story.cli:app", "Tell the story of a conversation, from all services, as sentences."),
    "report": Mounted("deskline.report.cli:app", "How a shop did: responses, SLA, satisfaction, agents; from the log."),
    "shadow": Mounted("deskline.shadow.cli:app", "Report on rules and policies that a shop tries in shadow."),
    "tail": Mounted("deskline.tail:app", "Follow the events of the topics."),
    "trial": Mounted("deskline.shadow.trial_cli:app", "Try a new shop's replies without sending them."),
    "knowledge": Mounted(
        "deskline_autoreply.knowledge.cli:app", "What the shops know: import, search, calibrate, review."
    ),
    "shop": Mounted(
        "deskline_autoreply.opening.shop_cli:app", "Bring a new shop on line: first configuration, load, go-live check."
    ),
    "demo": Mounted("deskline.demo.cli:app", "Replay real conversations through the whole stack."),
}


# Commands of a service that are its tools alone.
_TOOLS: Final = {
    "faq": "Find frequent questions that nothing answers, and make an entry of one.",
    "policy": "Say in sentences who gets which conversation.",
    "rules": "Try rules on a text or on recorded traffic; report what each achieved.",
    "simulate": "What would happen with these agents, this policy and these customers.",
    "staffing": "How many agents each half hour needs.",
    "verify-decisions": "Decide the router's recorded inputs again: the same decisions, byte for byte.",
    "whatif": "Recorded days under another routing policy, beside what happened.",
}


def mounted() -> dict[str, Mounted]:
    """The parts of this installation and every installed service."""
    services = {
        entry.name: Mounted(entry.value, f"Run the {entry.name} service, and its tools.")
        for entry in sorted(entry_points(group="deskline.services"), key=lambda entry: entry.name)
    }
    tools = {
        entry.name: Mounted(entry.value, _TOOLS.get(entry.name, f"The tool {entry.name}."))
        for entry in sorted(entry_points(group="deskline.tools"), key=lambda entry: entry.name)
    }
    return {**OWN, **tools, **services}


class LazyGroup(TyperGroup):
    """Lists mounted commands without importing them; imports the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        here = [name for name, command in mounted().items() if _exists(command.module)]
        return [*super().list_commands(ctx), *here]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        command = mounted().get(cmd_name)
        if own is not None or command is None:
            return own
        return TyperCommand(name=cmd_name, help=command.help, short_help=command.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        command = mounted().get(args[0]) if args else None
        if command is None:
            return super().resolve_command(ctx, args)
        return args[0], command.load(), args[1:]


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="deskline routes customer-service messages: replies, agents, SLA clocks, archive. `deskline up` runs all of it.",
)
app.command()(stack_cli.up)
app.command()(stack_cli.down)
app.command()(stack_cli.status)

topics_app = typer.Typer(no_args_is_help=True, help="Create and check the topics; one file in the package lists them.")
app.add_typer(topics_app, name="topics")

Partitions = Annotated[
    int | None,
    typer.Option("--partitions", min=1, help="Of new co-partitioned topics. [default: as they are, else 12]"),
]


@topics_app.command("apply")
def topics_apply(
    partitions: Partitions = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Create missing topics and mend settings that drifted. Refuses to change a partition count.

    For example:

      deskline topics apply --bootstrap-servers kafka1:9092

      deskline topics apply --topic-prefix blue- --partitions 48 --dry-run
    """
    from deskline import topics  # noqa: PLC0415 - the Kafka client takes a while to import

    settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    for change in asyncio.run(topics.apply(settings, partitions=partitions, dry_run=dry_run)):
        typer.echo(f"{change.topic}: {change.action}{': ' if change.detail else ''}{change.detail}")


@topics_app.command("show")
def topics_show(
    state_dir: StateDir = None, bootstrap_servers: BootstrapServers = None, topic_prefix: TopicPrefix = None
) -> None:
    """Show the topics as the file wants them and as the broker has them; exit code 1 where they differ.

    For example:

      deskline topics show --state-dir .deskline
    """
    from deskline import topics  # noqa: PLC0415

    settings = settings_of(state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    there = asyncio.run(topics.show(settings))
    table = Table("topic", "partitions", "retention", "max. record", "written by", "read by", "broker")
    agreed = True
    for topic in topics.load():
        existing = there.get(settings.topic_prefix + topic.name)
        # Of an existing topic the replica count decides what is wanted; both answers count as agreement.
        wrong = None if existing is None else min((topics.drift(topic, existing, n) for n in (1, 3)), key=len)
        verdict = "missing" if wrong is None else ", ".join(wrong) if wrong else "agrees"
        agreed &= verdict == "agrees"
        table.add_row(
            settings.topic_prefix + topic.name,
            str(topic.partitions if existing is None else existing.partitions),
            "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // 86_400_000} d",
            f"{topic.max_message_bytes // 1024} KiB",
            ", ".join(topic.written_by),
            ", ".join(topic.read_by),
            verdict,
        )
    Console().print(table)
    if not agreed:
        raise typer.Exit(1)


@topics_app.command("acls")
def topics_acls(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Give at the broker what is missing there.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Say what is missing or surplus; exit code 1 if anything is.")
    ] = False,
    commands: Annotated[bool, typer.Option("--commands", help="As calls of Kafka's own tool.")] = False,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """List who may do what, by the file of topics; or give it at the broker. Principals are User:deskline-NAME.

    For example:

      deskline topics acls

      deskline topics acls --commands --bootstrap-servers kafka1:9093 --topic-prefix blue-

      DESKLINE_KAFKA_USERNAME=admin DESKLINE_KAFKA_PASSWORD_FILE=admin.txt deskline topics acls --apply
    """
    from deskline import acls, topics  # noqa: PLC0415

    if apply + diff + commands > 1:
        raise UsageError("one of --apply, --diff and --commands")
    settings = settings_of(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    if not (apply or diff):
        for acl in acls.wanted(topics.load(), settings.topic_prefix):
            typer.echo(acl.command(settings.bootstrap_servers) if commands else " ".join(acl))
        return
    outcome = asyncio.run(acls.apply(settings, topics.load(), dry_run=diff))
    for acl in outcome.added:
        typer.echo(f"{'missing' if diff else 'added'}: {' '.join(acl)}")
    for acl in outcome.surplus:
        typer.echo(f"surplus: {' '.join(acl)}")
    if not any(outcome):
        typer.echo("nothing to do")
    if outcome.surplus or (diff and outcome.added):
        raise typer.Exit(1)


@app.command()
def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what is missing; exit code 1 if anything is.")
    ] = False,
    logins: Annotated[
        Path | None,
        typer.Option(
            help="Also make a login deskline_login_SERVICE, or set its password, for each file DIR/SERVICE that holds one."
        ),
    ] = None,
    state_dir: StateDir = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Bring the database to this version: schemas, roles, tables. Safe to run at any time, by any number at once.

    For example:

      deskline migrate --postgres-dsn postgresql://owner:…@db/deskline

      deskline migrate --dry-run --state-dir .deskline

      DESKLINE_POSTGRES_PASSWORD_FILE=/run/secrets/owner deskline migrate --logins /run/secrets/logins
    """
    from deskline.logins import make_logins, passwords_in  # noqa: PLC0415
    from deskline.migrate import migrate as run  # noqa: PLC0415

    options = settings_of(state_dir, postgres_dsn=postgres_dsn).postgres_options
    say: Callable[[str], None] = typer.echo
    passwords = None if logins is None or dry_run else passwords_in(logins)
    done = asyncio.run(run(**options, dry_run=dry_run, say=say))
    if passwords is not None:
        asyncio.run(make_logins(options, passwords, say=say))
    if dry_run:
        for line in done:
            typer.echo(f"missing {line}")
    if not done:
        typer.echo("nothing to do")
    elif dry_run:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script and of ``python -m deskline``."""
    try:
        app(prog_name="deskline")
    except UsageError as error:
        print(f"deskline: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except DesklineError as error:
        print(f"deskline: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        # A path that the person gave.
        print(f"deskline: {error.filename}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
