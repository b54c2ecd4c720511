"""What the router alone is told, from the environment (``DESKLINE_ROUTER_…``); docs/operations/settings.md has the table."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RouterSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DESKLINE_ROUTER_", frozen=True, extra="ignore")

    tokens: Path | None = None
    """The file of those who may use ``/desk``; `deskline router token` writes it. Without it nobody is answered."""
    requests_per_s: Annotated[float, Field(gt=0)] = 20.0
    """Of each token on ``/desk``, by instance; twice as many at once."""
    customer_retention_days: Annotated[int, Field(ge=1, le=3660)] = 400
    """What is recorded of a customer who has not been heard of for so long is forgotten."""


def tokens_of(state_dir: Path | None) -> Path | None:
    """Where the stack of that state directory keeps them."""
    return None if state_dir is None else state_dir / "router-tokens"
