"""The numbers of a run, by name, and their comparison. The board counts them as they happen (``tally``), ``recount``
counts them again from the topics; neither knows how the other does it, only these names:

``conversations closed complaints_opened complaints_closed ratings rating_points breaks`` ·
``messages answered handed_over ignored ignored.<reason> holding_replies`` (outcomes of customers' messages) ·
``replies_delivered agent_messages`` ·
``requests waiting assigned assigned.<tier> accepted declined missed taken_back transfers released`` ·
``met breached cancelled retracted open_clocks`` and ``met.<metric>`` … (the last word told on each clock) ·
``dead_letters records records.<topic> archived``.

A figure that is not there is 0. Tiers are those that customers' first messages state.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

Figures = Mapping[str, int]

MAIN: Final = (
    "conversations",
    "messages",
    "answered",
    "handed_over",
    "ignored",
    "replies_delivered",
    "agent_messages",
    "requests",
    "assigned",
    "waiting",
    "met",
    "breached",
    "records",
    "archived",
)
NO_TIER: Final = "regular"


class Difference(NamedTuple):
    """``shown``: what the board says, or another place named in ``figure``; ``counted``: what the topics hold."""

    figure: str
    shown: int
    counted: int

    def __str__(self) -> str:
        return f"{self.figure}: {self.shown} shown, {self.counted} counted"


def differences(board: Figures, topics: Figures) -> list[Difference]:
    """Every figure that is not the same in both, by name."""
    names = sorted(set(board) | set(topics))
    return [
        Difference(name, board.get(name, 0), topics.get(name, 0))
        for name in names
        if board.get(name, 0) != topics.get(name, 0)
    ]


def under(figures: Figures, group: str) -> dict[str, int]:
    """``{"vip": 3}`` of ``assigned.vip``, the greatest first."""
    found = {name[len(group) + 1 :]: count for name, count in figures.items() if name.startswith(f"{group}.") and count}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
