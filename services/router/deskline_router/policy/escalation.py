"""What a warning or a breach of the SLA does to a conversation's request, by ``sla_actions`` of the shop's routing document. Pure.

What has no open request is left alone: whoever owns it without one was told by ``sla.v1`` itself, as everybody who reads it.
"""

from collections.abc import Sequence
from typing import Any, Final

from deskline.config.routing_document import SlaAction
from deskline_router.model import Request, Shop
from deskline_router.policy import requests
from deskline_router.policy.steps import Stage
from deskline_router.policy.table import Trigger, effect
from deskline_router.policy.world import World

_WHOLE: Final = frozenset({"resolution", "complaint_closure"})
"""Clocks that an agent's answer does not stop."""


def act(world: World, request: Request, clock: Any, *, answered: bool) -> None:
    """``clock``: data of ``sla.warning`` or ``sla.breached``. ``answered``: no customer waits for an answer any more, so a clock
    that it has stopped meanwhile takes nothing from anybody.
    """
    shop = world.catalog.shop(request.shop_id)
    known = dict(shop.routing.sla_actions.given())
    # One that a later release knows does nothing here.
    actions = [known[name] for name in clock.actions or () if name in known]
    if not actions:
        return
    waiting, held = {action.waiting for action in actions}, {action.held for action in actions}
    take_back = False
    if request.live and clock.agent_id in (None, request.agent_id) and (clock.metric in _WHOLE or not answered):
        take_back = "anybody" in held or ("supervisors" in held and _supervisor_has_room(world, request, shop))
    requests.escalate(
        world,
        request,
        raise_by=sum(action.raise_by for action in actions),
        flags=_flags(actions),
        called=waiting != {"keep"} or (take_back and "supervisors" in held),
        step="supervisor_step" in waiting,
    )
    if take_back and effect(Trigger.TAKE_BACK, request.state):
        requests.put_back(world, request, Trigger.TAKE_BACK)


def _flags(actions: Sequence[SlaAction]) -> list[str]:
    return list(dict.fromkeys(flag for action in actions for flag in action.flags))


def _supervisor_has_room(world: World, request: Request, shop: Shop) -> bool:
    """Somebody other than who has it could take it now."""
    stage = Stage(None, grades=shop.routing.sla_actions.supervisors)
    channel = request.profile.channel if shop.channels_limited else None
    able = world.roster.ability(shop.agents, stage).able & world.roster.fits(channel) & world.allowed(shop, stage)
    others = [*request.excluded, *request.barred, *([] if request.agent_id is None else [request.agent_id])]
    return bool(able & ~world.roster.mask(others))
