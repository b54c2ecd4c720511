"""The platform's own measure, counted as conversations are closed: the live figure beside ``deskline report``, which is exact.

By the same code and the same reading (``deskline.report.platform``; the switch is ``report.platform`` in ``sla.yaml``). What a close ends
is one conversation here, so one that is reopened counts again; what is read late changes what is counted from then on.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from deskline.config.book import ConfigBook
from deskline.report.platform import PlatformReading, PlatformShare, platform_share
from deskline.report.story import RoundReader, Story
from deskline_sla.model import FOREVER, Cause, Fact, Kind
from deskline_sla.policy.order import key_of

_GIVEN: Final = frozenset({Kind.ASSIGNED, Kind.OFFERED})


def measured(closes: Iterable[int], facts: Sequence[Fact], shop: str, config: ConfigBook) -> Iterator[PlatformShare]:
    """Of the conversations that these closes ended (offsets on ``conversations.v1``); ``facts`` in fold order."""
    for close in closes:
        end = next(
            index
            for index, fact in enumerate(facts)
            if fact.kind == Kind.CLOSED and (fact.topic, fact.offset) == (0, close)
        )
        begin = next((index + 1 for index in range(end - 1, -1, -1) if facts[index].kind == Kind.CLOSED), 0)
        closed = facts[end]
        reading, zone = _reading(config, shop or closed.shop, closed)
        yield platform_share([_story(facts[begin : end + 1])], 0, FOREVER, zone, reading)


def _reading(config: ConfigBook, shop: str, closed: Fact) -> tuple[PlatformReading, ZoneInfo]:
    settings = config.sla(shop, closed.at, closed.broker_at).report
    reading = PlatformReading() if settings is None else PlatformReading(**settings.platform.model_dump())
    calendars = config.calendars(shop, closed.at, closed.broker_at)
    return reading, ZoneInfo(calendars.calendars[calendars.default].timezone)


def _story(facts: Iterable[Fact]) -> Story:
    story = Story("")
    reader = RoundReader(story)
    for fact in facts:
        place = key_of(fact)[0]
        if fact.kind == Kind.RECEIVED:
            story.opened_at = story.opened_at or place
            reader.said(place)
        elif fact.kind == Kind.ANSWERED:
            story.assigned = True
            reader.answered(place, fact.who)
        elif fact.kind == Kind.BOT_SENT:
            reader.answered(place, "")
        elif fact.kind == Kind.HANDOVER or (fact.kind == Kind.QUEUED and fact.code != Cause.OTHER):
            reader.wait_for_agent(place)
        elif fact.kind in _GIVEN:
            story.assigned = True
        elif fact.kind == Kind.CLOSED:
            reader.closed()
    return story
