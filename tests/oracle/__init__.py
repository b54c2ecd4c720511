"""Random runs of sla against an oracle that shares no code with it: ``python -m tests.oracle --runs 50``.

A run is a *history* (``histories``): two thousand conversations or more as gateways, autoreply and the router might write them,
with answers a microsecond before and after they are due, holds, transfers, complaints, reopenings, and with records that are
late, duplicate, out of order, or of impossible times; and versions of policies and calendars that come into force meanwhile,
some of them for open clocks.

Most runs drive sla's own consumer on a real PostgreSQL with a clock of the run's (``in_process``): units of random sizes from
topics that are read at different paces, pauses of up to an hour, units that die before their commit, instances that take over.
The others (``processes``) start ``deskline sla`` twice on a real Kafka, and kill, freeze and replace both while they work.

Afterwards ``tests.checker``, which was written from the contract and imports nothing of deskline, folds the records anew and
compares: every breach, met, cancelled, retracted and retargeted clock, its times, and that no breach was false.
"""
