"""The pure core of the router: what a unit of work decides. No clock, no I/O: ``World`` in, ``World`` changed.

``decide`` is the whole of it, in the order in which a unit's inputs count: statuses of agents, events of the lanes,
timers, matching, the queue limit.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deskline_router.model import Input
from deskline_router.policy import agents, conversation, matching, requests, shadow
from deskline_router.policy.agents import StatusChange
from deskline_router.policy.world import World

__all__ = ["StatusChange", "Unit", "World", "decide"]


class Unit(NamedTuple):
    """The inputs of one unit of work, all that a decision depends on beside the world."""

    now: int
    statuses: Sequence[StatusChange] = ()
    events: Sequence[tuple[int, Input]] = ()
    """(lane, event) in the order in which they count."""
    due: Mapping[str, int] = {}
    """subject → lane, of timers that the watermarks allow to fire."""
    watermarks: Mapping[int, int] = {}
    agents_watermark: int = 0
    agents_fresh: bool = False
    """``agents.v1`` is known far enough for somebody to be assigned (contract §6.3)."""


def decide(world: World, unit: Unit) -> None:
    """``world.conversations`` holds the conversations of the unit's events and due subjects."""
    world.begin(unit.now)
    for change in unit.statuses:
        agents.change_status(world, change)
    for lane, item in unit.events:
        conversation.take(world, lane, item)
    for subject, lane in unit.due.items():
        _fire(world, subject, lane, unit.watermarks.get(lane, 0), unit.agents_watermark)
    if unit.agents_fresh:
        matching.match(world, shadow.compare)
        shadow.compare_waiting(world)
        # Only then: whom an agent could have taken is not refused because the agents were not known.
        matching.refuse_over_limit(world)


def _fire(world: World, subject: str, lane: int, watermark: int, agents_watermark: int) -> None:
    """Whatever of this conversation is due; each function does nothing where it is not."""
    conversation.judge_silence(world, subject, lane, watermark)
    request = world.requests.get(subject)
    if request is None:
        conversation.orphaned(world, subject, lane, agents_watermark)
        return
    requests.expire(world, request, watermark)
    requests.forgive(world, request, watermark)
    requests.advance_stages(world, request, watermark)
    agents.end_grace(world, request, world.conversations[subject], agents_watermark)
