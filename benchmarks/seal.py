"""How fast the archive seals: ``seal_leaves_per_s``, of the processor's time, so that neighbours do not count.

Salted leaves of records of 500 bytes, the tree that grows by them in segments as ``deskline archive seal`` makes them, and
the consistency proof of each. Beside it what nobody can go below: the same three SHA-256 a record and nothing else.
"""

import hashlib
import os
import time
from typing import Final

from benchmarks.figures import Figures, Floor
from deskline_archive.verifier import SALT, Body, Tree, record_leaf

RECORDS: Final = 100_000
SEGMENT: Final = 10_000
_ROUNDS: Final = 5


def measure(figures: Figures) -> None:
    bodies = [Body(at, at * 1000, b"c-%d" % at, b"h" * 40, os.urandom(500)) for at in range(RECORDS)]
    rates, bare = [], []
    for _ in range(_ROUNDS):
        started = time.process_time()
        tree = Tree()
        for first in range(0, RECORDS, SEGMENT):
            salts = os.urandom(SALT * SEGMENT)
            leaves = [
                record_leaf(body, salts[at * SALT : at * SALT + SALT])
                for at, body in enumerate(bodies[first : first + SEGMENT])
            ]
            tree, _ = tree.grown(b"".join(leaves))
        rates.append(RECORDS / (time.process_time() - started))
        started = time.process_time()
        for body in bodies:
            node = hashlib.sha256(body.value or b"").digest()
            node = hashlib.sha256(b"\0" + node + b"16 bytes of this").digest()
            hashlib.sha256(b"\1" + node + node).digest()
        bare.append(RECORDS / (time.process_time() - started))
    figures.show(
        "seal_leaves_per_s",
        rates,
        "leaves/s",
        baseline=sorted(bare)[_ROUNDS // 2],
        floor=Floor("≥ 80 000", lambda value, _: value >= 80_000),
        segment=SEGMENT,
    )
