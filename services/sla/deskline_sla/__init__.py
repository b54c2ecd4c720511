"""sla: clocks on conversations, told as met, breached, cancelled.

**In.** ``conversations.v1``, ``replies.v1``, ``routing.v1`` of the lane, and ``shops.v1`` (configuration) by the runtime.
**Out.** ``sla.v1``: ``sla.met``, ``sla.breached``, ``sla.cancelled``, ``sla.breach_retracted``, ``sla.warning``,
``sla.retargeted``, ``sla.reminder``.

**How.** A conversation's clocks are a pure fold over its records in *fold order*: the order in which things happened, as
far as their event times say (``policy.order``), not in which they were read. The state of a conversation is its facts
(records without their texts), the point the fold has reached, and what was told of each clock. New records are put in
their places, the fold goes on or starts anew, and the difference to what was told is said (``policy.tell``).

**Time.** A met or cancelled clock is told at once. A breach waits until the *watermark* is past its instant by the allowed
lateness: only then can no answer in time be on its way. Warnings wait for the watermark alone. So which clocks breach
depends on event times, and a slow, stopped or restarted sla changes when a breach is told, never whether. The state
says when it wants to be woken (``State.wake``); the engine keeps that as the row's ``due``. A breach whose answer comes
later than the allowed lateness is told, then taken back: both are right (contract §5 *Retelling*).

**Invariants.** The last word on a ``clock_id`` is the fold's outcome. Between two breaches of a clock stands a retraction.
The same records and configuration give the same last words, however they were read, split into units or delayed.
Ids are deterministic: a unit that is done again after a crash says the same things under the same ids.

**Failure.** State, position and outputs are one transaction (``deskline.consumption``); what fails leaves no trace. A record
that cannot be handled becomes a dead letter, and the conversation goes on without it. Without any configuration of
``_default`` nothing is decided: the unit waits.

**Where to change what.** Which record starts, stops and cancels which metric: the table ``STEPS`` of ``policy.fold``. Where
records stand: ``policy.order``. Counting, holds and thresholds of one clock: the table at the head of ``policy.clock``. Which
target applies: ``policy.targets``. What is said where: the table ``SPEECH`` of ``policy.tell``.

**Shadow.** Where the shop has a candidate policy, the facts are folded a second time with its targets (``State.shadow``), and both
words on each clock are written to ``shadow_clocks`` in the same transaction. The live side does not know of it.

**New versions.** A clock keeps the terms that it started with in its own fields. A version applied with ``reevaluate`` stands in the
fold at the instant at which it comes into force: open clocks that are not breached take it there (``policy.clock.retarget``), counted
anew from their start. Conversations in which nothing happens then are woken by ``reevaluation``.

**The platform's measure** (``platform``) is counted as conversations are closed, by the code of ``deskline report``.

**Reminders** (``policy.remind``) are nudges to the owner that a message waits unread or unanswered. They follow from the same fold, by the
same watermark, and are never taken back.
"""
