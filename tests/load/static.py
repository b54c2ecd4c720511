"""A backlog: whole conversations written in advance, whatever deskline makes of them. For draining benchmarks."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.load.corpus import Corpus
from tests.load.envelopes import Draft, Gateway, Shape

_GAP_US = 2_000


def static_backlog(
    seed: int, records: int, now: int, *, shape: Shape | None = None, corpus: Corpus | None = None
) -> Iterator[Draft]:
    """Exactly ``records`` records of ``conversations.v1``, whose times end at ``now`` (µs) and are 2 ms apart.

    Conversations overlap: at any time about fifty are under way. Agents' messages are by agents nobody assigned.
    """
    chance = random.Random(f"static {seed}")
    gateway = Gateway(shape or Shape(), chance)
    corpus = corpus or Corpus.from_environment()
    live: list[Iterator[tuple[str, dict[str, object]]]] = []
    began = 0
    for number in range(records):
        at = now - (records - number) * _GAP_US
        while True:
            if len(live) < 50:
                live.append(_conversation(gateway, corpus, chance, f"s{seed}-{began}", began))
                began += 1
            chosen = chance.randrange(len(live))
            step = next(live[chosen], None)
            if step is not None:
                break
            live[chosen] = live[-1]
            live.pop()
        type_, data = step
        subject = str(data.pop("subject"))
        yield gateway.event(type_, subject, at, **data)


def _conversation(
    gateway: Gateway, corpus: Corpus, chance: random.Random, subject: str, number: int
) -> Iterator[tuple[str, dict[str, object]]]:
    shop = chance.choice(gateway.shape.shops)
    customer = gateway.customer(number)
    channel = chance.choice(gateway.shape.channels)
    common: dict[str, object] = {"subject": subject, "shop_id": shop}
    for message in range(chance.randint(1, gateway.shape.messages_max)):
        more = {"message_id": f"m{message}", "channel": channel, "text": corpus.customer(chance), "customer": customer}
        yield "message.received", {**common, **more}
        if chance.random() < 0.4:
            author = {"kind": "agent", "id": f"agent-{chance.randrange(40):02d}"}
            yield (
                "message.sent",
                {**common, "message_id": f"a{message}", "author": author, "text": corpus.agent(chance)},
            )
        if chance.random() < 0.2:
            reader = {"kind": "customer", "id": customer["customer_id"]}
            yield "message.read", {**common, "message_id": f"m{message}", "reader": reader}
    if chance.random() < 0.7:
        yield "conversation.closed", {**common, "resolved": chance.random() < 0.8}
        if chance.random() < gateway.shape.rating_share:
            yield "conversation.rated", {**common, "score": chance.randint(1, 5)}
