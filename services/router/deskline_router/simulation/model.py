"""Who comes, and how agents work, as plain values. Times in µs; nothing here does I/O."""

from datetime import UTC, date, datetime
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from deskline.config.base import Document, Name, PositiveSeconds, Seconds
from deskline_router.model import SECOND

Share = Annotated[float, Field(ge=0)]


class Arrival(NamedTuple):
    """A customer who needs an agent, and what he will do. Times in µs."""

    at: int
    subject: str
    customer_id: str
    patience: int
    """How long he waits at most."""
    work: int
    """Of an agent who is good at it (proficiency 3) and has nobody else."""
    tier: str | None = None
    skills: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    priority: int = 50
    channel: str = "web"
    language: str | None = None
    entry_point: str | None = None
    dedicated: str | None = None
    total_spend: str | None = None
    average_order: str | None = None
    orders: int | None = None
    shop_id: str = ""
    """Empty: that of the simulation."""


class Traffic(Document):
    """The mix of customers, and how agents work. The defaults are assumptions: measure your own."""

    tiers: dict[Name, Share] = Field(default={"vip": 5, "high_spend": 10, "repeat": 20, "regular": 45, "new": 20})
    """Tier → its part of the customers, in any unit."""
    skills: dict[Name, Share] | None = None
    """Skill → its part of the requests; each asks for one. Absent: evenly those that two agents or more have."""
    channels: dict[Name, Share] = Field(default={"web": 1})
    languages: dict[Name, Share] | None = None
    complaints: Annotated[float, Field(ge=0, le=1)] = 0.02
    """The part of the requests that is flagged ``complaint``."""
    customers: Annotated[int, Field(ge=1)] = 20_000
    """Different people: who comes again may have an agent of his own."""
    patience_s: dict[Name, PositiveSeconds] = Field(default={"default": 600})
    """Tier → the mean wait after which he leaves, exponential; ``default`` for the others."""
    handling_s: dict[Name, PositiveSeconds] = Field(default={"default": 300})
    """Skill → the mean work of a conversation: seconds of an agent of proficiency 3 who has nobody else; ``default``."""
    handling_cv: Annotated[float, Field(ge=0, le=3)] = 0.8
    """Standard deviation of the work over its mean; log-normal."""
    proficiency: tuple[float, float, float, float, float, float] = (1.5, 1.25, 1.1, 1.0, 0.9, 0.8)
    """How much longer, or shorter, the work takes an agent without the skill, and at proficiency 1 to 5."""
    slowdown: Annotated[float, Field(ge=0, le=1)] = 0.15
    """With ``n`` conversations at once each goes ``1 / (1 + slowdown × (n - 1))`` as fast; 1: no gain by concurrency."""
    accept_s: Seconds = 4
    """How long an agent takes to accept an offer."""

    @model_validator(mode="after")
    def _some(self) -> "Traffic":
        for name in ("tiers", "channels", "skills", "languages"):
            parts = getattr(self, name)
            if parts is not None and not sum(parts.values()) > 0:
                raise ValueError(f"{name}: all parts are zero; leave it out, or give one a part")
        for name in ("patience_s", "handling_s"):
            if "default" not in getattr(self, name):
                raise ValueError(f"{name}: add default, for those that are not named")
        if min(self.proficiency) <= 0:
            raise ValueError("proficiency: each factor must be above 0")
        return self


class Count(NamedTuple):
    """So many came between ``at`` and ``at + span`` (µs)."""

    at: int
    span: int
    calls: float

    @property
    def day(self) -> date:
        return datetime.fromtimestamp(self.at // SECOND, UTC).date()
