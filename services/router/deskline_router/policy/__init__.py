"""The pure core of the router: what a unit of work decides. No clock, no I/O: ``World`` in, ``World`` changed.

``decide`` is the whole of it, in the order in which a unit's inputs count: places that are free again by now, statuses of
agents, events of the lanes, timers, what people order, surges, matching, the queue limit, positions.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop
from typing import NamedTuple

from deskline_router.model import SECOND, Action, Input, Request
from deskline_router.policy import actions, agents, conversation, matching, requests, shadow, surge, waiting
from deskline_router.policy.agents import StatusChange
from deskline_router.policy.saying import tell_position
from deskline_router.policy.world import World

__all__ = ["StatusChange", "Unit", "World", "decide", "wakes_at"]

_POSTPONED = 16
"""Requests of shops that have told enough for now, looked past for those of others."""


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
    locked: bool = True
    """What is shared may be decided about: else the unit changes conversations' own state alone."""
    actions: Sequence[Action] = ()
    """What people have ordered, in the order in which they did; only with ``locked``."""
    lane: int = 0
    """Whose output carries what is about no conversation."""


def decide(world: World, unit: Unit) -> None:
    """``world.conversations`` holds the conversations of the unit's events and due subjects."""
    world.begin(unit.now)
    if unit.locked:
        _wake(world)
    for change in unit.statuses:
        agents.change_status(world, change)
    for lane, item in unit.events:
        conversation.take(world, lane, item)
    for subject, lane in unit.due.items():
        _fire(world, subject, lane, unit.watermarks.get(lane, 0), unit.agents_watermark)
    # People act on what is known by now, and nobody is chosen before them.
    for action in unit.actions:
        world.outcomes[action.action_id] = actions.act(world, action, unit.lane)
    if unit.locked:
        surge.review(world, unit.lane)
    if unit.agents_fresh:
        matching.match(world, shadow.compare)
        shadow.compare_waiting(world)
        # Only then: whom an agent could have taken is not refused because the agents were not known.
        matching.refuse_over_limit(world)
        # Not while nobody can be assigned: positions are looked at when it is known who is there.
        _tell_positions(world)


def wakes_at(world: World) -> int | None:
    """When a unit with the lock may decide something although no record comes and no timer of a lane is due."""
    instants = [world.wraps[0][0]] if world.wraps else []
    instants += [max(world.notices[0][0], world.tell_not_before)] if world.notices else []
    instants += world.shift_changes()
    instants += [
        kind.shared_until for queue in world.queues.values() for kind in queue.groups if kind.shared_until > world.now
    ]
    review = surge.next_review(world)
    return min([*instants, *([] if review is None else [review])], default=None)


def _wake(world: World) -> None:
    """What time alone has changed."""
    while world.wraps and world.wraps[0][0] <= world.now:
        _, agent_id = heappop(world.wraps)
        agent = world.agents.get(agent_id)
        if agent is not None:
            requests.wrapped_up(world, agent)
    for shop_id in world.shifts_changed():
        world.pending_shops.add(shop_id)
    for shop_id, queue in world.queues.items():
        if any(world.slept_at < kind.shared_until <= world.now for kind in queue.groups):
            world.pending_shops.add(shop_id)
    world.slept_at = world.now


def _tell_positions(world: World) -> None:
    """Those who have waited longest for a word first, as many in a second as their shops allow."""
    second = world.now // SECOND
    later: list[Request] = []
    while len(later) < _POSTPONED and (request := waiting.next_to_tell(world)) is not None:
        state = world.shop_state(request.shop_id)
        if state.told_second != second:
            state.told_second, state.told_positions = second, 0
        if state.told_positions >= world.catalog.shop(request.shop_id).routing.notices.most_per_s:
            later.append(request)
            continue
        state.told_positions += 1
        tell_position(world, request)
    for request in later:
        waiting.note_told(world, request)
    world.tell_not_before = (second + 1) * SECOND if later else 0


def _fire(world: World, subject: str, lane: int, watermark: int, agents_watermark: int) -> None:
    """Whatever of this conversation is due; each function does nothing where it is not."""
    conversation.judge_silence(world, subject, lane, watermark)
    request = world.requests.get(subject)
    if request is None:
        conversation.orphaned(world, subject, lane, agents_watermark)
        return
    requests.open_up(world, request, watermark)
    requests.expire(world, request, watermark)
    requests.hand_up(world, request, watermark)
    requests.forgive(world, request, watermark)
    requests.advance_stages(world, request, watermark)
    agents.end_grace(world, request, world.conversations[subject], agents_watermark)
