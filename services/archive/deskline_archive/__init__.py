"""The archive: every record that Kafka acknowledged, byte for byte, once.

**In**: all topics of contract §2, each topic-partition on its own (a lane of the engine). **Out**: one dead letter for
each record that is not valid by contract §1 (``dead-letters.v1``); nothing else. The records of ``dead-letters.v1``
are no envelopes: they are stored like all others, never decoded, and never get a letter.

**One unit of work** is one transaction of the engine: the positions of its lanes move by compare-and-set, and the
records go by COPY into ``raw_records``. Decoded columns stand beside the bytes for people who search; nothing is
decided by them.

Invariants
- *Exactly once.* A record is stored if and only if the position of its lane has moved past it, in the same commit.
  A unique index per day over (topic-partition, offset) is the belt: should the fence ever fail, the unit is refused.
- *Nothing is skipped.* A gap in the offsets that the broker cannot explain, or a position that the broker no longer
  has, stops that topic-partition (``on_gap = "stop"``): counted, shown by ``/readyz``, never jumped.
- *Any record fits.* Null keys and values, header names that are no text, NUL, any broker time: the raw columns are
  ``bytea``, the text columns lose their NULs, and a day without a partition gets one before the COPY.
- *Nothing is changed.* The service's role can add and read. Days are dropped by ``drop_day()`` alone, which refuses
  before 180 full days by the database's clock.

On failure: the database or broker away: the engine waits and tries again. A unit that raises is rolled back; the caches
of stream numbers and days are forgotten with it, since the rolled-back transaction may have made them.
"""
