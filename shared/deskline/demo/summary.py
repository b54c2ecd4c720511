"""The end of a run: what happened, twice counted, for people and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deskline.demo.figures import MAIN, Difference, Figures, under
from deskline.demo.words import Words

_SHOWN: Final = (*MAIN[:-4], "accepted", "declined", "missed", "transfers", "closed", *MAIN[-4:])


@dataclass(frozen=True, slots=True)
class Summary:
    """``board`` and ``topics``: the figures as the board had them, and as they were counted again."""

    board: Figures
    topics: Figures
    differences: Sequence[Difference]
    settled: bool
    interrupted: bool
    speed: float
    seed: int
    seconds: Mapping[str, float]
    """``ready``, ``alive``, ``play``, ``drain``, ``recount``, ``total``."""
    decided_ms: Sequence[float] = ()
    waited_s: Mapping[str, Sequence[float]] | None = None

    @property
    def agrees(self) -> bool:
        return self.settled and not self.differences

    @property
    def exit_code(self) -> int:
        return 0 if self.agrees else 1

    def as_json(self) -> dict[str, Any]:
        return {
            "agrees": self.agrees,
            "settled": self.settled,
            "interrupted": self.interrupted,
            "differences": [difference._asdict() for difference in self.differences],
            "board": dict(sorted(self.board.items())),
            "topics": dict(sorted(self.topics.items())),
            "decision_ms": percentiles(self.decided_ms),
            "waited_s": {tier: percentiles(waits) for tier, waits in sorted((self.waited_s or {}).items())},
            "seconds": {name: round(seconds, 2) for name, seconds in self.seconds.items()},
            "speed": self.speed,
            "seed": self.seed,
        }

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(self.as_json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The median, the 99th percentile (nearest rank) and the greatest; empty where there is nothing."""
    if not values:
        return {}
    ordered = sorted(values)
    at = max(0, -(-99 * len(ordered) // 100) - 1)
    return {"p50": round(median(ordered), 3), "p99": round(ordered[at], 3), "max": round(ordered[-1], 3)}


def table(of: Summary, words: Words) -> RenderableType:
    """Each main figure beside its recount, then whether they agree."""
    shown = Table(title=words("summary"), title_justify="left", box=None, pad_edge=False)
    shown.add_column(words("figure"))
    shown.add_column(words("shown"), justify="right")
    shown.add_column(words("counted"), justify="right")
    for name in _SHOWN:
        _row(shown, of, words(name), name)
        if name == "assigned":
            for tier in under(of.topics, "assigned"):
                _row(shown, of, f"  {words.name(tier)}", f"assigned.{tier}", _wait(of, tier, words))
    return Group(shown, Text(), *_verdict(of, words))


def _row(shown: Table, of: Summary, label: str, name: str, note: str = "") -> None:
    board, topics = of.board.get(name, 0), of.topics.get(name, 0)
    style = "red" if board != topics else ""
    shown.add_row(f"{label}{note}", str(board), str(topics), style=style)


def _wait(of: Summary, tier: str, words: Words) -> str:
    waits = (of.waited_s or {}).get(tier)
    return f" ({words('waited', seconds=median(waits))})" if waits else ""


def _verdict(of: Summary, words: Words) -> list[Text]:
    said = []
    if of.decided_ms:
        found = percentiles(of.decided_ms)
        said.append(
            Text(f"{words('decided')}: p50 {found['p50']:.0f} {words('ms')}, p99 {found['p99']:.0f} {words('ms')}")
        )
    if "alive" in of.seconds:
        said.append(Text(words("alive", seconds=of.seconds["alive"])))
    if of.interrupted:
        said.append(Text(words("stopped")))
    if not of.settled:
        said.append(Text(words("unsettled"), "bold red"))
    said += [Text(words("differ", difference=difference), "bold red") for difference in of.differences]
    if of.agrees:
        said.append(Text(words("agree", count=len(set(of.board) | set(of.topics))), "bold green"))
    return said
