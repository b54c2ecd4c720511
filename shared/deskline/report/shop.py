"""What the configuration events of the log say of a shop at the end of the period. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from deskline.config.book import ConfigBook
from deskline.config.documents import ReportSettings
from deskline.errors import TransientError
from deskline.records import Event


class ShopSettings(NamedTuple):
    report: ReportSettings
    zone: str
    """That of the shop's default calendar; UTC where none was ever applied."""
    trainees: frozenset[str]


def shop_settings(events: Iterable[Event], shop: str, at: int, lead_s: float) -> ShopSettings:
    """``events``: of ``shops.v1``, in offset order. What was never applied is as the defaults."""
    book = ConfigBook(lead_s)
    for event in events:
        # Rules travel by hash, and nothing here asks for them.
        if event.type == "config.applied.v1" and event.data.document != "rules":
            book.admit(event)
    report, zone, trainees = ReportSettings(), "UTC", frozenset[str]()
    try:
        report = book.sla(shop, at).report or report
        calendars = book.calendars(shop, at)
        zone = calendars.calendars[calendars.default].timezone
        trainees = frozenset(agent.agent_id for agent in book.agents(shop, at).agents if agent.grade == "trainee")
    except TransientError:
        # Not even _default has that document in the log: an archive that began later.
        return ShopSettings(report, zone, trainees)
    return ShopSettings(report, zone, trainees)
