"""The router: which agent takes which conversation, and when one has waited in silence.

Theory of operation
===================

Events in
    ``conversations.v1``, ``replies.v1``, ``sla.v1``: the lanes that this instance owns, through the engine.
    ``agents.v1``: all of it, in every instance. ``shops.v1``: the configuration, kept up to date by the process.
Events out
    ``routing.v1``: one path of the table in ``policy.table`` per ``request_id`` (contract §4 *The request*).

Who may change what
    Everything that is decided about requests and agents happens under one row lock, ``core``, taken after the engine has
    fenced the lanes. So agents' loads and ``agent_seq`` are serial over all instances, and an instance may give an agent
    a request of a lane that it does not own: it then changes the request's row and the agent's row and nothing else.
    A conversation's private state (messages, closes, owner without an assignment) is one blob, changed by the owner of
    its lane alone, and never by matching. Units of work in which nothing can be decided (customers' messages, answers of
    the bot, what agents write in conversations that they hold) do not take the lock. That they can be told without it
    rests on who may change what: others take a request of this lane from the queue or put an offer back there, and no
    more; so one that is absent or held in this instance's mirror is so everywhere.

The mirror
    Each instance holds all agents and all open requests in memory (``policy.world.World``). Their rows carry the version
    of ``core`` that last changed them; an instance that is behind reads what is newer than its own version, one that is
    alone reads nothing. A unit that fails drops the mirror.

Time
    Offers, steps and silence run out by the watermark of the lane, the offline grace by that of ``agents.v1``. Nobody is
    assigned while ``agents.v1`` has not been read up to half a second ago (contract §6.3): what should have been
    assigned then waits for the next unit, and the reader of ``agents.v1`` asks for one.

Failure
    A crash loses memory only: rows, positions and outputs commit together. A record whose handling raises goes to the
    dead letters by the engine's bisection. A lane whose owner is gone keeps its requests in the queue, where any
    instance may assign them; their timers wait for the next owner. ``failed`` letters of autoreply need no reader here:
    such a message has no outcome on ``replies.v1``, so its patience runs out and it is silence.

Shadow
    Where a shop has a candidate policy, whom it would choose is noted beside each assignment (``policy.shadow``) and written
    to ``shadow_decisions`` in the same transaction. Neither the world nor an output depends on it.

Every unit that changed something is one row of the view ``decisions``: replaying its inputs in that order, with its
``now``, gives the same outputs (contract §6.7). Units that are not in the log decided nothing.
"""
