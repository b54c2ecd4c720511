"""Which deployment a command at the keyboard means: flags, else a state directory, else the environment.

``stack.json`` (contract §7) names the addresses of a stack that ``deskline up`` started; flags win over it, and it wins
over ``DESKLINE_…``.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import SecretStr, ValidationError

from deskline.errors import UsageError
from deskline.settings import ServiceSettings

StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="The directory of a running `deskline up`; its stack.json is read.")
]
BootstrapServers = Annotated[str | None, typer.Option("--bootstrap-servers", help="Kafka, host:port[,host:port].")]
TopicPrefix = Annotated[str | None, typer.Option("--topic-prefix", help="Before every topic's name.")]
_FLAGS: Final = ("bootstrap_servers", "topic_prefix", "postgres_dsn")
PostgresDsn = Annotated[str | None, typer.Option("--postgres-dsn", help="A login that may take the services' roles.")]


def settings_of(
    state_dir: Path | None = None,
    *,
    bootstrap_servers: str | None = None,
    topic_prefix: str | None = None,
    postgres_dsn: str | None = None,
) -> ServiceSettings:
    """The settings of that deployment; raises ``UsageError`` where they cannot be read or are wrong."""
    found: dict[str, Any] = {}
    if state_dir is not None:
        stack = _stack(state_dir)
        found = {name: stack[name] for name in _FLAGS if name in stack}
    given = {"bootstrap_servers": bootstrap_servers, "topic_prefix": topic_prefix, "postgres_dsn": postgres_dsn}
    found |= {name: value for name, value in given.items() if value is not None}
    if "postgres_dsn" in found:
        found["postgres_dsn"] = SecretStr(found["postgres_dsn"])
    try:
        return ServiceSettings(**found)
    except ValidationError as error:
        raise UsageError(
            "; ".join(f"{_named(str(item['loc'][0]))}: {item['msg']}" for item in error.errors())
        ) from None


def _named(field: str) -> str:
    """A setting as the person at the keyboard knows it."""
    variable = f"DESKLINE_{field.upper()}"
    return f"--{field.replace('_', '-')} or {variable}" if field in _FLAGS else variable


def _stack(state_dir: Path) -> dict[str, Any]:
    path = state_dir / "stack.json"
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: is a stack running there (deskline up --state-dir)?") from None
    except ValueError:
        raise UsageError(f"{path} is not JSON") from None
    if not isinstance(stack, dict):
        raise UsageError(f"{path} is not a JSON object")
    return stack
