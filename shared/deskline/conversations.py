"""Per-conversation state on top of the engine, for services whose decisions concern one conversation at a time.

A service gives a state type (a ``msgspec.Struct``), ``advance`` (pure: the state, this unit's events of that conversation,
and a context → outputs; it changes the state it is given, which belongs to the caller) and ``due`` (the next instant, µs,
at which ``advance`` must be called although no event came). The state is kept as one row per conversation:
``<schema>.conversations(subject, lane, due, body)``, and cached in memory while the lane is owned; the engine's fence
makes the cache safe.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from deskline.config.book import ConfigBook
from deskline.records import Event, Output

S = TypeVar("S")


class Context(NamedTuple):
    """What a decision may know beside the state and its events."""

    now: int
    """µs; the ``time`` of outputs is ``max(now, event time of the record answered)``."""
    watermark: int
    """Everything with a broker timestamp up to here has been read in this lane."""
    config: ConfigBook
    positions: Mapping[str, int]
    """topic → next offset to be read in this lane, after this unit."""
    lane: int


class Folding(Protocol[S]):
    """What a conversation service implements; pure."""

    name: str
    topics: tuple[str, ...]
    state: type[S]

    def fresh(self, subject: str) -> S: ...

    def advance(self, subject: str, state: S, events: Sequence[Event], context: Context) -> list[Output]:
        """``events``: this conversation's, of all topics, in processing order; empty when only its timer fired."""

    def due(self, state: S) -> int | None:
        """When to be called again without an event: fires when the lane's watermark reaches it (µs)."""
