"""Traffic as a gateway would send it, deterministic by seed, clean or dirty.

``static_backlog`` gives the records of whole conversations without waiting for anybody's reaction: for benchmarks that
drain a backlog. ``Traffic`` plays customers, the gateway and agents against a running stack: agents accept offers,
answer, hand on, go away and come back, as ``routing.v1`` tells them. ``Sender`` puts records where Kafka's default
partitioner would, thousands a second. What is random comes from ``random.Random`` of the seed alone; with ``Traffic``
the order of events also depends on when the stack answers.
"""

from tests.load.corpus import Corpus
from tests.load.envelopes import Draft, Shape
from tests.load.sender import Sender
from tests.load.static import static_backlog
from tests.load.traffic import Plan, Traffic

__all__ = ["Corpus", "Draft", "Plan", "Sender", "Shape", "Traffic", "static_backlog"]
