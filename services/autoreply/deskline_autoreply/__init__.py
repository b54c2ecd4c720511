"""autoreply: one outcome for every customer's message.

In. ``conversations.v1`` and ``routing.v1``, partition by partition; the configuration of ``shops.v1``. It does not read ``replies.v1``:
what it decided itself is part of its state.

Out, on ``replies.v1``, for every valid ``message.received`` that is no duplicate, in their order: a ``reply.issued``, a
``handover.requested``, both (a holding reply), or a ``message.ignored`` with the first reason that applies.

What is decided from. (1) The message. (2) The version of the shop's ``rules``, ``limits`` and ``calendars`` in force at
its event time. (3) What stands before it in its partition of conversations.v1 (``policy.history``). (4) What had been read
of routing.v1 (``policy.requests``); how far is told as ``routing_offset``. (5) ``time``, the instant of the decision. Nothing else:
so the records, ``routing_offset`` and ``time`` of each output give the same bytes again, however the two topics were
interleaved and cut into units. To keep that, both logs are stored as facts and judged together only at a decision
(``policy.standing``), and no fact of one is pruned on account of the other.

Who owns a conversation is judged towards silence: an agent's message counts as the owner's unless routing.v1, read beyond it, says
that he is not, an acceptance counts unless it says that there was no such offer, and an ownership that ended after the message was
written still keeps the robot quiet. A message ignored for an owner who is gone becomes a request at once: the router sees to that.

After a stop. A message whose broker timestamp is older than ``patience_s`` waits until routing.v1 of its partition has been
read to the end (``Autoreply.settle``). By then the router has met its silence: where a request came of that, or an agent wrote or
somebody closed within that patience, it is ``superseded``, so nobody is answered twice. Later than ``reply_max_age_s`` a person
sees the message instead of an answer that comes too late.

Shadow. What a shop in shadow would have sent, and what a candidate beside its rules would have done, is a row of
``shadow_decisions`` in the same transaction (``policy.shadow``); no output depends on it.

On failure. A unit of work is decided and published as a whole or not at all, and a redone one gives the same ids. A message whose
handling fails for good gets a ``failed`` dead letter, which counts as silence; those behind it go on.

Where to change what: what a shop answers is in its ``rules.yaml``; the border around that in ``policy.border`` and the tables of
``model``; ownership and open requests in ``policy.standing``.
"""
