"""Agents: their statuses (contract §3 *Agents*), and what these do to the assignments they have. Pure."""

from typing import NamedTuple

from deskline_router.model import SECOND, Agent, Conversation, Request, State, Status
from deskline_router.policy import conversation as conversations
from deskline_router.policy import requests
from deskline_router.policy.table import Trigger
from deskline_router.policy.world import World


class StatusChange(NamedTuple):
    """A valid ``agent.status_changed``."""

    agent_id: str
    status: Status
    capacity: int | None
    event_id: str
    at: int
    offset: int
    coordinates: str


def change_status(world: World, change: StatusChange) -> None:
    """The last status by event time counts, ties by offset; somebody nobody configured has none.

    Who was configured when he first came is heard after he has been removed, too: what he holds must find its way
    back when he leaves.
    """
    agent = world.agents.get(change.agent_id)
    if agent is None:
        if world.catalog.agent(change.agent_id) is None:
            return
        agent = world.agents[change.agent_id] = Agent(change.agent_id)
    if (change.at, change.offset) < (agent.status_at, agent.status_offset):
        return
    before, agent.status = agent.status, change.status
    agent.status_at, agent.status_offset = change.at, change.offset
    agent.stated_capacity = change.capacity
    world.dirty_agents.add(agent.agent_id)
    if change.status is Status.ONLINE:
        agent.online_id = change.event_id
        agent.offline_since = None
        if before is not Status.ONLINE:
            agent.paused, agent.missed = False, 0
    elif change.status is Status.AWAY:
        agent.offline_since = None
    elif before is not Status.OFFLINE or agent.offline_since is None:
        agent.offline_since = change.at
    world.agent_changed(agent)
    world.origin = change
    if change.status is not Status.ONLINE:
        _revoke_offers(world, agent, Trigger.AWAY if change.status is Status.AWAY else Trigger.OFFLINE)
    world.agent_may_take(agent.agent_id)
    world.origin = None


def _revoke_offers(world: World, agent: Agent, trigger: Trigger) -> None:
    for subject in sorted(world.live.get(agent.agent_id, ())):
        request = world.requests[subject]
        if request.state is State.OFFERED:
            requests.put_back(world, request, trigger)


def grace_ends(world: World, request: Request) -> int | None:
    """When the agent who holds it, offline now, loses it; None while he is not offline."""
    if request.state is not State.HELD or request.agent_id is None:
        return None
    since = world.agents[request.agent_id].offline_since
    if since is None:
        return None
    return since + round(world.catalog.shop(request.shop_id).limits.offline_grace_s * SECOND)


def end_grace(world: World, request: Request, conversation: Conversation, agents_watermark: int) -> None:
    """The holder did not come back in time: back into the queue if the customer waits, else the end."""
    ends = grace_ends(world, request)
    if ends is None or ends > agents_watermark:
        return
    if conversations.customer_waits(conversation, request):
        requests.put_back(world, request, Trigger.OFFLINE_WAITED)
        return
    requests.end(world, conversation, request, Trigger.OFFLINE_IDLE)
    conversations.settle(world, conversation, request.subject, request.lane)
