"""By when a request's first answer is due: the target of contract §5 that the shop's SLA gives it, in the shop's hours. Pure.

The router asks the configuration, not ``sla.v1``: what it needs is how much of the time is left while a request waits, which
no event tells. It reads the same documents by the same sentence, and is no word on any clock.
"""

from typing import Final

from deskline.config.documents import SlaCondition
from deskline_router.model import SECOND, Cause, Request, Shop

_DEFAULTS: Final = {"agent_response": 180.0, "transfer_response": 300.0}


def target_of(request: Request, shop: Shop) -> int:
    """µs; 0: the shop has none."""
    metric = "transfer_response" if request.cause is Cause.TRANSFER else "agent_response"
    seconds: float = _DEFAULTS[metric]
    for row in shop.sla.policies:
        found = next((value for name, value in row.targets.items() if name == metric), None)
        if found is not None and _matches(row.when, request):
            seconds = found
            break
    return round(seconds * SECOND)


def _matches(when: SlaCondition, request: Request) -> bool:
    tier, channel = request.profile.tier or "regular", request.profile.channel
    return (
        (when.tiers is None or tier in when.tiers)
        and (when.channels is None or channel in when.channels)
        and (when.min_priority is None or request.priority >= when.min_priority)
        and (when.max_priority is None or request.priority <= when.max_priority)
    )


def due_of(request: Request, shop: Shop, target: int) -> int | None:
    return shop.sla_hours.add(request.waiting_since, target) if target else None
