"""Customers of one shop, many at a time, on a stack of rehearsals: what ``deskline shop load`` plays.

The texts are what the shop's own rules and entries listen for, in turn, and one that nothing answers. Every conversation is closed at
the end, so that nothing of it waits afterwards.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence

from deskline.clock import now_us
from deskline.config.rules_document import RulesDocument
from deskline.errors import TransientError
from deskline.events import models, wire
from deskline.kafka import Publisher
from deskline.records import CONVERSATIONS, Output
from deskline.settings import ServiceSettings
from deskline_autoreply.opening.evidence import REHEARSAL

_TICK_S = 0.1
_OUT_OF_REACH = "我有一个别的问题想问一下"
_SOURCE = "/gateway/rehearsal"


def texts_of(rules: RulesDocument) -> list[str]:
    """One text for each rule and entry that can be asked for by words."""
    found = [_OUT_OF_REACH]
    for rule in rules.rules:
        words = rule.when.any_of or rule.when.exact
        if words and not rule.disabled:
            found.append(words[0])
    found += [entry.phrasings[0] for entry in rules.knowledge.entries if entry.phrasings]
    return found


class Customers:
    """``conversations`` at a time, each writing every ``every_s``; the first words of all within the first ``every_s``."""

    def __init__(self, run: str, shop: str, texts: Sequence[str], conversations: int, every_s: float) -> None:
        self._run, self._shop, self._texts = run, shop, texts
        self._subjects = [f"{REHEARSAL}{run}-{number:05d}" for number in range(conversations)]
        self._every_s = every_s
        self.messages = 0

    def due(self, since_s: float, until_s: float, at: int) -> Iterator[Output]:
        """What is written from ``since_s`` to ``until_s`` after the beginning. ``at``: µs, now."""
        count = len(self._subjects)
        first, last = (round(seconds / self._every_s * count) for seconds in (since_s, until_s))
        for turn in range(first, last):
            round_, number = divmod(turn, count)
            yield self._message(self._subjects[number], number, round_, at)

    def _message(self, subject: str, number: int, round_: int, at: int) -> Output:
        self.messages += 1
        data = wire.new(
            models.MessageReceived,
            shop_id=self._shop,
            message_id=f"m{round_}",
            channel="web",
            text=self._texts[(number + round_) % len(self._texts)],
            customer=wire.new(models.Customer, customer_id=f"{REHEARSAL}{self._run}-{number}"),
        )
        return self._event("message.received", subject, at, data, f"m{round_}")

    def closes(self, at: int) -> Iterator[Output]:
        for subject in self._subjects:
            yield self._event(
                "conversation.closed",
                subject,
                at,
                wire.new(models.ConversationClosed, shop_id=self._shop, resolved=True),
                "closed",
            )

    @staticmethod
    def _event(type_: str, subject: str, at: int, data: object, name: str) -> Output:
        value = wire.encode(f"{type_}.v1", id=f"{subject}-{name}", source=_SOURCE, subject=subject, time=at, data=data)
        return Output(CONVERSATIONS, subject.encode(), value)


async def play(settings: ServiceSettings, customers: Customers, seconds: float, *, settle_s: float = 3.0) -> None:
    """Write for so long, wait a little for the outcomes, close everything."""
    publisher = Publisher(settings, "deskline-shop-load")
    await publisher.start()
    try:
        began, done = time.monotonic(), 0.0
        while done < seconds:
            now = min(time.monotonic() - began, seconds)
            await _published(publisher, list(customers.due(done, now, now_us())))
            done = now
            await asyncio.sleep(_TICK_S)
        await asyncio.sleep(settle_s)
        await _published(publisher, list(customers.closes(now_us())))
    finally:
        await publisher.stop()


async def _published(publisher: Publisher, outputs: list[Output]) -> None:
    """Until the broker has them; what is sent twice has the same id."""
    while outputs:
        try:
            await publisher.publish(outputs)
        except TransientError:
            await asyncio.sleep(0.5)
        else:
            return
