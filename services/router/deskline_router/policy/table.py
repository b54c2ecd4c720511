"""The request's table of contract §4, as a table: what each input does to a request in each state.

=============================  ==========  ===========  =============  ==========================  ==============
input / state                   none        queued       offered        held                        ended
=============================  ==========  ===========  =============  ==========================  ==============
OPEN (hand-over, silence,      queued      joins        joins          joins                       a new request:
complaint, manual)                                                                                 queued
ASSIGN (an agent is chosen)    --          held         --             --                          --
OFFER (an agent is chosen)     --          offered      --             --                          --
ACCEPT (or his message)        --          --           held           --                          --
DECLINE                        --          --           queued         --                          --
EXPIRE (``accept_by``)         --          --           queued         --                          --
AWAY                           --          --           queued         --                          --
OFFLINE                        --          --           queued         --                          --
OFFLINE_WAITED (grace over,    --          --           --             queued                      --
the customer waits)
OFFLINE_IDLE (grace over,      --          --           --             ended                       --
nobody waits)
TAKE_BACK                      --          --           queued         queued                      --
TRANSFER (by the owner)        queued      --           --             ended, then a new request   queued
FULL                           --          ended        --             --                          --
CLOSE                          --          ended        ended          ended                       --
=============================  ==========  ===========  =============  ==========================  ==============

Inputs from outside meet a request in any state: where the cell is empty they have no effect (``effect`` is None). What
the router itself decides must fit: an empty cell is a defect, and ``move`` raises. TRANSFER on a held request tells
its end only; the new request that follows is an OPEN of its own.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from deskline_router.model import State, Told


class Trigger(StrEnum):
    OPEN = "open"
    ASSIGN = "assign"
    OFFER = "offer"
    ACCEPT = "accept"
    DECLINE = "decline"
    EXPIRE = "expire"
    AWAY = "away"
    OFFLINE = "offline"
    OFFLINE_WAITED = "offline_waited"
    OFFLINE_IDLE = "offline_idle"
    TAKE_BACK = "take_back"
    TRANSFER = "transfer"
    FULL = "full"
    CLOSE = "close"


class Move(NamedTuple):
    """The state after it, the event that tells it (None: nothing is told), and that event's reason."""

    state: State
    told: Told | None = None
    reason: str | None = None


class IllegalTransitionError(Exception):
    """The router decided something that the table does not allow: a defect, never an input's fault."""


_QUEUED: Final = Move(State.QUEUED, Told.QUEUED)

TABLE: Final[Mapping[tuple[Trigger, State], Move]] = {
    (Trigger.OPEN, State.NONE): _QUEUED,
    (Trigger.OPEN, State.QUEUED): Move(State.QUEUED),
    (Trigger.OPEN, State.OFFERED): Move(State.OFFERED),
    (Trigger.OPEN, State.HELD): Move(State.HELD),
    (Trigger.OPEN, State.ENDED): _QUEUED,
    (Trigger.ASSIGN, State.QUEUED): Move(State.HELD, Told.ASSIGNED),
    (Trigger.OFFER, State.QUEUED): Move(State.OFFERED, Told.ASSIGNED),
    (Trigger.ACCEPT, State.OFFERED): Move(State.HELD),
    (Trigger.DECLINE, State.OFFERED): Move(State.QUEUED, Told.REVOKED, "declined"),
    (Trigger.EXPIRE, State.OFFERED): Move(State.QUEUED, Told.EXPIRED, "not_accepted"),
    (Trigger.AWAY, State.OFFERED): Move(State.QUEUED, Told.REVOKED, "agent_away"),
    (Trigger.OFFLINE, State.OFFERED): Move(State.QUEUED, Told.REVOKED, "agent_offline"),
    (Trigger.OFFLINE_WAITED, State.HELD): Move(State.QUEUED, Told.REVOKED, "agent_offline"),
    (Trigger.OFFLINE_IDLE, State.HELD): Move(State.ENDED, Told.RELEASED, "agent_offline"),
    (Trigger.TAKE_BACK, State.OFFERED): Move(State.QUEUED, Told.REVOKED, "reassigned"),
    (Trigger.TAKE_BACK, State.HELD): Move(State.QUEUED, Told.REVOKED, "reassigned"),
    (Trigger.TRANSFER, State.NONE): _QUEUED,
    (Trigger.TRANSFER, State.HELD): Move(State.ENDED, Told.RELEASED, "transferred"),
    (Trigger.TRANSFER, State.ENDED): _QUEUED,
    (Trigger.FULL, State.QUEUED): Move(State.ENDED, Told.RELEASED, "queue_full"),
    (Trigger.CLOSE, State.QUEUED): Move(State.ENDED, Told.RELEASED, "closed"),
    (Trigger.CLOSE, State.OFFERED): Move(State.ENDED, Told.RELEASED, "closed"),
    (Trigger.CLOSE, State.HELD): Move(State.ENDED, Told.RELEASED, "closed"),
}


def effect(trigger: Trigger, state: State) -> Move | None:
    """What an input from outside does; None: it has no effect."""
    return TABLE.get((trigger, state))


def move(trigger: Trigger, state: State) -> Move:
    """What a decision of the router does; raises where the table has no such move."""
    found = TABLE.get((trigger, state))
    if found is None:
        raise IllegalTransitionError(f"{trigger} of a request that is {state}")
    return found
