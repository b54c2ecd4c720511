"""Who waits for an agent, and why, from the router's rows: for ``deskline status``. Reads, and decides nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast

from deskline.clock import SECOND, now_us
from deskline.config.apply import parse
from deskline.config.base import DEFAULT_SHOP
from deskline.config.documents import AgentsDocument
from deskline.config.store import ConfigStore
from deskline.postgres import connect
from deskline.settings import ServiceSettings
from deskline_router.model import Agent, Request, State, Status
from deskline_router.store import Store

_MOST_SKILLS = 5


async def read(settings: ServiceSettings) -> list[dict[str, Any]]:
    """One value for each shop in which somebody waits, the longest wait first; see ``standing``."""
    store = Store()
    connection = await connect(settings, "router")
    try:
        agents, requests, _, _ = await store.changes(connection, await store.look(connection), -1)
    finally:
        await connection.close()
    now = now_us()
    shops = {request.shop_id for request in requests if request.state is State.QUEUED}
    people: dict[str, dict[str, int]] = {}
    async with ConfigStore.opened(settings) as configuration:
        default = await configuration.in_force(DEFAULT_SHOP, now)
        for shop in shops:
            found = default | await configuration.in_force(shop, now)
            document = (
                cast("AgentsDocument", parse(shop, "agents", found["agents"].body)) if "agents" in found else None
            )
            people[shop] = {} if document is None else {agent.agent_id: agent.capacity for agent in document.agents}
    return standing(requests, {agent.agent_id: agent for agent in agents}, people, now)


def standing(
    requests: Iterable[Request], agents: Mapping[str, Agent], people: Mapping[str, Mapping[str, int]], now: int
) -> list[dict[str, Any]]:
    """``people``: shop → agent → configured capacity. ``why`` is one of

    ``closed``: all wait for the shop to open; ``nobody_online``; ``all_full``; ``paused``: whoever has room is paused; ``nobody_admitted``:
    somebody has room, and nothing more will be given up for those who wait; ``step``: their rule gives up more in time.
    """
    waiting: dict[str, list[Request]] = {}
    for request in requests:
        if request.state is State.QUEUED:
            waiting.setdefault(request.shop_id, []).append(request)
    told = [_shop(shop, found, agents, people.get(shop, {}), now) for shop, found in waiting.items()]
    return sorted(told, key=lambda one: (-one["longest_s"], one["shop_id"]))


def _shop(
    shop: str, waiting: list[Request], agents: Mapping[str, Agent], people: Mapping[str, int], now: int
) -> dict[str, Any]:
    here = [(agents[name], capacity) for name, capacity in people.items() if name in agents]
    online = [(agent, capacity) for agent, capacity in here if agent.status is Status.ONLINE]
    places = sum(_capacity(agent, capacity) for agent, capacity in online)
    room = [agent for agent, capacity in online if agent.taken < 100 * _capacity(agent, capacity)]
    sought = [request for request in waiting if request.opens_at is None or request.opens_at <= now]
    skills = Counter(skill for request in sought for skill in request.skills)
    if not sought:
        why = "closed"
    elif not online:
        why = "nobody_online"
    elif not room:
        why = "all_full"
    elif all(agent.paused for agent in room):
        why = "paused"
    else:
        why = "nobody_admitted" if all(request.step_until is None for request in sought) else "step"
    return {
        "shop_id": shop,
        "waiting": len(waiting),
        "for_opening": len(waiting) - len(sought),
        "longest_s": round(max(0, now - min(request.waiting_since for request in waiting)) / SECOND),
        "agents": len(people),
        "online": len(online),
        "places": places,
        "taken": round(sum(agent.taken for agent, _ in online) / 100, 2),
        "with_room": len(room),
        "skills": [skill for skill, _ in skills.most_common(_MOST_SKILLS)],
        "why": why,
    }


def _capacity(agent: Agent, configured: int) -> int:
    """Without what a surge adds."""
    return configured if agent.stated_capacity is None else agent.stated_capacity
