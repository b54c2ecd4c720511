"""docs/operations/settings.md says what the code does: every variable, every default."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from pydantic import SecretStr

from deskline.cli import app
from deskline.settings import ServiceSettings
from deskline_archive.settings import ArchiveSettings
from deskline_router.settings import RouterSettings

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "settings.md"


def table(heading: str) -> dict[str, str]:
    """Variable → default, as the table under this heading has them."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(DESKLINE_\w+)` \| ([^|]+) \|", section, flags=re.MULTILINE))


def written(default: Any) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default is None:
        return "–"
    return "(empty)" if default == "" else f"`{default}`"


def test_every_setting_of_a_service_stands_on_the_page_with_its_default():
    fields = {
        f"DESKLINE_{name.upper()}": written(field.default) for name, field in ServiceSettings.model_fields.items()
    }
    assert table("Every service, and every command that talks to servers") == fields


def test_every_setting_of_the_archive_stands_on_the_page_with_its_default():
    fields = {
        f"DESKLINE_ARCHIVE_{name.upper()}": written(field.default)
        for name, field in ArchiveSettings.model_fields.items()
    }
    assert table("The archive, and its commands") == fields


def test_every_setting_of_the_router_stands_on_the_page_with_its_default():
    fields = {
        f"DESKLINE_ROUTER_{name.upper()}": written(field.default) for name, field in RouterSettings.model_fields.items()
    }
    assert table("The router alone") == fields


def test_every_variable_of_up_stands_on_the_page():
    up = typer.main.get_command(app).get_command(click.Context(click.Command("deskline")), "up")
    variables = {parameter.envvar for parameter in up.params if parameter.envvar}
    assert set(table("`deskline up`")) == variables


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DESKLINE_POSTGRES_DSN", "postgresql://me:hush-1@db/x")
    monkeypatch.setenv("DESKLINE_KAFKA_PASSWORD", "hush-2")
    settings = ServiceSettings()
    assert "hush" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
