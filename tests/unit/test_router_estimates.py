"""How good the estimate of a wait is, in a queue whose waits are known: against the last to enter service, and others.

Customers come by chance, agents take by chance as long; nobody gives up. Told is what the router tells when one begins to wait.
"""

import random
from itertools import chain
from statistics import mean

import pytest
from tests.unit.router_driver import Driver, agent

from deskline.config.documents import RoutingDocument, RoutingRule, Step
from deskline.config.routing_document import Notices
from deskline_router.model import Told

AGENTS = 8
SERVICE_S = 60
SAMPLE = 100
"""Of a well-known open chat system, whose formula divides by its sample's size: position × mean handling / 100."""


def played(seed: int, load: float, customers: int) -> tuple[list[float], list[float], list[float]]:
    """Errors in seconds of our estimates, of the last wait to enter service, and of that formula; of those who waited."""
    r = random.Random(seed)
    rule = RoutingRule(rule_id="any", steps=(Step(keep_skills=False),))
    routing = RoutingDocument(rules=(rule,), notices=Notices(position_every_s=None))
    driver = Driver([agent(f"a{n}", capacity=1) for n in range(AGENTS)], routing)
    driver.online(*(f"a{n}" for n in range(AGENTS)))
    arrivals, ends = [r.expovariate(load * AGENTS / SERVICE_S)], []
    for _ in range(customers - 1):
        arrivals.append(arrivals[-1] + r.expovariate(load * AGENTS / SERVICE_S))
    waits, told, last = {}, {}, 0.0
    for number, at in enumerate([*arrivals, float("inf")]):
        while ends and min(ends)[0] <= at:
            when, subject = min(ends)
            ends.remove((when, subject))
            driver.t = when
            last = heard(driver, driver.closed(subject), ends, r, waits, last)
        if at == float("inf"):
            break
        driver.t = at
        said = driver.asked("m1", f"c{number}")
        told[f"c{number}"] = (at, said[0].data.get("estimated_wait_s"), last, said[0].data["position"])
        last = heard(driver, said, ends, r, waits, last)
    ours, naive, divided = [], [], []
    for subject, wait in waits.items():
        _, estimate, les, position = told[subject]
        if estimate is None or not wait:
            continue
        ours.append(abs(wait - estimate))
        naive.append(abs(wait - les))
        divided.append(abs(wait - position * SERVICE_S / SAMPLE))
    return ours, naive, divided


def heard(driver, said, ends, r, waits, last):  # noqa: PLR0917
    """Each assigned one takes his time; gives the wait of the last who had to wait."""
    for e in said:
        if e.type is Told.ASSIGNED:
            ends.append((driver.t + r.expovariate(1 / SERVICE_S), e.subject))
            waits[e.subject] = e.data["waited_s"]
            last = e.data["waited_s"] or last
    return last


@pytest.mark.parametrize("load", [0.8, 0.95, 1.1, 1.4])
def test_the_estimate_is_better_than_the_last_wait_and_than_dividing_by_the_sample(load):
    days = [played(seed, load, 250) for seed in range(4)]
    ours, les, divided = (list(chain.from_iterable(column)) for column in zip(*days, strict=True))
    assert len(ours) > 200
    assert mean(ours) < mean(les)
    assert mean(ours) < 0.6 * mean(divided)
