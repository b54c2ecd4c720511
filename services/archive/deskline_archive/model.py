"""What the archive knows about a record beside its bytes. Pure."""

from enum import StrEnum
from typing import NamedTuple


class Validity(StrEnum):
    """The column ``validity``; for a record that is not valid it holds the reason of its dead letter instead."""

    VALID = "valid"
    UNKNOWN_TYPE = "unknown_type"
    """A valid envelope whose type name the contract does not know."""
    LETTER = "letter"
    """A record of ``dead-letters.v1``: not an envelope, not decoded."""


class Description(NamedTuple):
    """The decoded columns. Texts hold no NUL, which Postgres cannot store; ``event_at`` is in microseconds."""

    type: str | None
    subject: str | None
    shop_id: str | None
    event_at: int | None
    retimed: bool
    validity: str
    customer_id: str | None = None
    agent_id: str | None = None
    clear: bool = False
    """Holds nothing of a person but ids: stored without a veil."""


class Outcome(NamedTuple):
    """What a unit's records come to: a description for each, and the indexes of those that get a dead letter."""

    descriptions: list[Description]
    letters: list[int]
