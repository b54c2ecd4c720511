"""What a person at a desktop orders: assign, pick, transfer, pause, surge. Pure.

An action is decided whole or refused whole, by the state as it is when its turn comes: who asked is told which, and why. What is
told on account of it bears his name (``actor``). A person's word waives skills, grade, shift and reserve; never status, pause,
capacity, or whom a complaint keeps away (contract §6.3).
"""

from collections.abc import Callable
from typing import Any, Final

from deskline_router.model import Action, Agent, Cause, Conversation, Outcome, PauseWord, Request, State, Status
from deskline_router.policy import conversation as conversations
from deskline_router.policy import requests, surge
from deskline_router.policy.table import Trigger
from deskline_router.policy.world import World


class _RefusedError(Exception):
    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.outcome = Outcome(done=False, code=code, words=words)


def act(world: World, action: Action, lane: int) -> Outcome:
    """Decide one. ``lane``: whose output carries what is about no conversation. Refused, nothing has changed."""
    world.actor = action.actor
    try:
        return _KINDS[action.kind](world, action, lane)
    except _RefusedError as refused:
        return refused.outcome
    finally:
        world.actor = None


# --- conversations ------------------------------------------------------------------------------------------------


def _assign(world: World, action: Action, _lane: int) -> Outcome:
    """Whoever has it loses it to him (a take-over, where he is the actor himself)."""
    return _give(world, action)


def _pick(world: World, action: Action, _lane: int) -> Outcome:
    """The actor takes what waits, or what is offered to him; nothing of anybody else's."""
    request = world.requests.get(action.subject or "")
    if request is None:
        raise _RefusedError("not_waiting", "nobody is sought for this conversation")
    if request.agent_id not in (None, action.agent_id):
        raise _RefusedError("taken", f"{request.agent_id} has it")
    return _give(world, action)


def _give(world: World, action: Action) -> Outcome:
    subject, conversation = _conversation(world, action)
    request = world.requests.get(subject)
    shop_id = _shop(action, conversation) if request is None else request.shop_id
    agent = _able(world, action.agent_id, shop_id, request, conversation)
    if conversations.owner(world, conversation, subject) == agent.agent_id:
        raise _RefusedError("has_it", f"{agent.agent_id} has this conversation already")
    if request is None:
        if not conversation.open:
            raise _RefusedError(
                "not_open", "the conversation is not open: its customer has not written since it was closed"
            )
        request = _open(world, conversation, action, shop_id)
    elif request.live:
        requests.put_back(world, request, Trigger.TAKE_BACK)
    world.dirty_conversations.add(subject)
    requests.assign_by_hand(world, request, agent)
    return Outcome(True, "done", f"{agent.agent_id} has it", request.request_id, request.assignment_id)


def _able(
    world: World, agent_id: str | None, shop_id: str, request: Request | None, conversation: Conversation
) -> Agent:
    """The agent, if he may be given the conversation at all, and has room once it has left whoever has it."""
    agent = world.agents.get(agent_id or "")
    if agent_id not in world.catalog.shop(shop_id).agents:
        raise _RefusedError("not_configured", f"{agent_id} is no agent of {shop_id}")
    if agent is None or agent.status is not Status.ONLINE:
        raise _RefusedError("not_online", f"{agent_id} is not online")
    if agent.paused:
        raise _RefusedError("paused", f"{agent_id} is paused; resume him first")
    kept_away = request.barred if request is not None else []
    if agent_id in kept_away or (agent_id in conversation.complaints.values() and request is None):
        raise _RefusedError("complaint", f"a complaint of this conversation is about {agent_id}")
    if request is not None and request.excluded.get(agent.agent_id, 0) > world.now and agent_id != world.actor:
        raise _RefusedError("declined", f"{agent_id} has just declined or missed it")
    mine = request is not None and request.live and request.agent_id == agent_id
    if not mine and not world.has_room(agent):
        raise _RefusedError("full", f"{agent_id} has {agent.load:g} of {world.capacity(agent)}")
    return agent


def _open(world: World, conversation: Conversation, action: Action, shop_id: str) -> Request:
    assert action.subject is not None
    assert action.lane is not None
    opened = conversations.new_request(
        conversation, action.subject, action.lane, shop_id, Cause.MANUAL, opened_at=world.now
    )
    opened.refuses_limit = False
    requests.open_request(world, conversation, opened, "manual", action.action_id)
    return opened


def _transfer(world: World, action: Action, _lane: int) -> Outcome:
    """As ``transfer.requested``, at the word of its owner or of a supervisor."""
    subject, conversation = _conversation(world, action)
    owner = conversations.owner(world, conversation, subject)
    request = world.requests.get(subject)
    if owner is None:
        raise _RefusedError("no_owner", "nobody has this conversation")
    if action.own_only and owner != action.actor:
        raise _RefusedError("not_yours", f"{owner} has it, not {action.actor}")
    if request is not None and request.state is not State.HELD:
        raise _RefusedError("waits_already", "it waits for somebody already")
    shop_id = _shop(action, conversation) if request is None else request.shop_id
    if action.agent_id is not None and action.agent_id not in world.catalog.shop(shop_id).agents:
        raise _RefusedError("not_configured", f"{action.agent_id} is no agent of {shop_id}")
    wish = conversations.Wish(action.agent_id, action.skills, action.grade)
    at = world.now if request is None else max(world.now, request.latest)
    world.dirty_conversations.add(subject)
    opened = conversations.hand_on(
        world, conversation, subject, action.lane or 0, by=owner, wish=wish, at=at, shop_id=shop_id,
        opener=("manual", action.action_id),
    )  # fmt: skip
    return Outcome(True, "done", f"{owner} has handed it on", None if opened is None else opened.request_id)


def _conversation(world: World, action: Action) -> tuple[str, Conversation]:
    assert action.subject is not None
    return action.subject, world.conversations[action.subject]


def _shop(action: Action, conversation: Conversation) -> str:
    if conversation.shop_id is None:
        raise _RefusedError("unknown", f"no message of conversation {action.subject} has been read")
    return conversation.shop_id


# --- agents -------------------------------------------------------------------------------------------------------


def _pause(world: World, action: Action, lane: int) -> Outcome:
    """Until ``resume``, or until he comes back from away or offline, he is given nothing; what he has stays with him."""
    agent = _known(world, action)
    if agent.paused:
        raise _RefusedError("paused", f"{agent.agent_id} is paused already")
    _set_paused(world, action, agent, lane, paused=True)
    return Outcome(True, "done", f"{agent.agent_id} is paused")


def _resume(world: World, action: Action, lane: int) -> Outcome:
    agent = _known(world, action)
    if not agent.paused:
        raise _RefusedError("not_paused", f"{agent.agent_id} is not paused")
    agent.missed = 0
    _set_paused(world, action, agent, lane, paused=False)
    world.agent_may_take(agent.agent_id)
    return Outcome(True, "done", f"{agent.agent_id} is given conversations again")


def _known(world: World, action: Action) -> Agent:
    agent = world.agents.get(action.agent_id or "")
    if agent is None or world.catalog.agent(agent.agent_id) is None:
        raise _RefusedError("not_configured", f"no agent {action.agent_id} has been online")
    return agent


def _set_paused(world: World, action: Action, agent: Agent, lane: int, *, paused: bool) -> None:
    agent.paused = paused
    world.dirty_agents.add(agent.agent_id)
    world.agent_changed(agent)
    shop_id = action.shop_id or "_default"
    data: dict[str, Any] = {"shop_id": shop_id, "agent_id": agent.agent_id, "actor": action.actor}
    world.pauses.append(PauseWord(paused, shop_id, lane, action.action_id, max(world.now, action.at), data))


# --- shops --------------------------------------------------------------------------------------------------------


def _surge_on(world: World, action: Action, lane: int) -> Outcome:
    """It lasts until a person ends it: thresholds do not."""
    shop = world.catalog.shop(action.shop_id or "")
    if shop.routing.surge is None:
        raise _RefusedError("no_surge", f"the policy of {shop.shop_id} has no surge: write one into routing.yaml")
    if world.in_surge(shop.shop_id):
        raise _RefusedError("in_surge", f"{shop.shop_id} is in a surge")
    surge.enter_by_hand(world, shop, lane)
    return Outcome(True, "done", f"the surge of {shop.shop_id} has begun")


def _surge_off(world: World, action: Action, lane: int) -> Outcome:
    """Thresholds begin the next one only after they have not been reached for once."""
    shop_id = action.shop_id or ""
    if not world.in_surge(shop_id):
        raise _RefusedError("no_surge", f"{shop_id} is in no surge")
    surge.leave_by_hand(world, shop_id, lane)
    return Outcome(True, "done", f"the surge of {shop_id} has ended")


_KINDS: Final[dict[str, Callable[[World, Action, int], Outcome]]] = {
    "assign": _assign,
    "pick": _pick,
    "transfer": _transfer,
    "pause": _pause,
    "resume": _resume,
    "surge_on": _surge_on,
    "surge_off": _surge_off,
}
