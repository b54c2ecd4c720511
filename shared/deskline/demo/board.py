"""The board: what is known at one instant as something rich can draw, or as one plain line. Pure: no clock, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deskline.demo.figures import Figures, under
from deskline.demo.words import Words

_SPARKS: Final = " ▁▂▃▄▅▆▇█"
_BAR: Final = 24


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the board knows at one instant. Spans in seconds, as they really are."""

    figures: Figures
    phase: str
    elapsed_s: float
    total_s: float
    speed: float
    shops: tuple[str, ...]
    rates: tuple[float, ...] = ()
    """Customers' messages a second, of the last seconds; the newest last."""
    open_talks: int = 0
    longest_wait_s: float = 0.0
    lag: Mapping[str, int] = field(default_factory=dict)
    online: int = 0
    away: int = 0
    load: int = 0
    capacity: int = 0
    decided_ms: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Of the last five seconds: single ones are restless."""
        recent = self.rates[-5:]
        return sum(recent) / len(recent) if recent else 0.0


def board(at: Snapshot, words: Words) -> RenderableType:
    """Fits 80 columns and 20 lines."""
    figures = at.figures
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    rows = (
        ("messages", _messages(at, words)),
        ("conversations", _conversations(at, words)),
        ("outcomes", _outcomes(figures, words)),
        ("waiting", _waiting(at, words)),
        ("assigned", _assigned(figures, words)),
        ("offers", _counts(figures, words, ("accepted", "declined", "missed", "transfers"))),
        ("clocks", _clocks(figures, words)),
        ("agents", _agents(at, words)),
        ("archive", _archive(figures, words)),
        ("lag", Text("  ".join(f"{words.name(name)} {lag}" for name, lag in sorted(at.lag.items())))),
    )
    for key, content in rows:
        table.add_row(words(key), content)
    title = f"{words('title')} · {', '.join(at.shops)} · {words('speed')} ×{at.speed:g}"
    return Panel(Group(_progress(at, words), Text(), table), title=title, border_style="cyan")


def _progress(at: Snapshot, words: Words) -> Text:
    done = min(at.elapsed_s / at.total_s, 1.0) if at.total_s > 0 else 1.0
    bar = "━" * round(done * _BAR)
    return Text.assemble(
        (bar, "cyan"), ("━" * (_BAR - len(bar)), "bright_black"), f" {_minutes(at.elapsed_s)} / {_minutes(at.total_s)}  ",
        (words(f"phase_{at.phase}"), "italic"),
    )  # fmt: skip


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _messages(at: Snapshot, words: Words) -> Text:
    return Text.assemble(
        (f"{at.figures.get('messages', 0)}", "bold cyan"), f"  {at.rate:.1f} {words('a_second')}  ",
        (sparkline(at.rates[-30:]), "cyan"),
    )  # fmt: skip


def sparkline(values: tuple[float, ...]) -> str:
    """One character a value, scaled to the greatest."""
    greatest = max(values, default=0.0)
    if greatest <= 0:
        return ""
    return "".join(_SPARKS[round(value / greatest * (len(_SPARKS) - 1))] for value in values)


def _conversations(at: Snapshot, words: Words) -> Text:
    figures = at.figures
    text = f"{figures.get('conversations', 0)}  {words('open')} {at.open_talks}  {words('closed')} {figures.get('closed', 0)}"
    if figures.get("complaints_opened"):
        text += f"  {words('complaints')} {figures['complaints_opened']}"
    if figures.get("ratings"):
        text += f"  {words('rating')} {figures['rating_points'] / figures['ratings']:.1f}/5"
    return Text(text)


def _outcomes(figures: Figures, words: Words) -> Text:
    outcomes = sum(figures.get(name, 0) for name in ("answered", "handed_over", "ignored")) or 1
    text = Text()
    for name, style in (("answered", "green"), ("handed_over", "yellow"), ("ignored", "bright_black")):
        number = figures.get(name, 0)
        text.append(f"{words(name)} {number} ({number / outcomes:.0%})  ", style)
    return text


def _waiting(at: Snapshot, words: Words) -> Text:
    waiting = at.figures.get("waiting", 0)
    text = Text(str(waiting), "bold yellow" if waiting else "green")
    if waiting:
        text.append(f"  {words('longest')} {at.longest_wait_s:.1f} {words('s')}", "default")
    return text


def _assigned(figures: Figures, words: Words) -> Text:
    text = Text(f"{figures.get('assigned', 0)}", "bold")
    for tier, number in under(figures, "assigned").items():
        text.append(f"  {words.name(tier)} {number}", "magenta" if tier in ("vip", "high_spend") else "default")
    return text


def _counts(figures: Figures, words: Words, names: tuple[str, ...]) -> Text:
    return Text("  ".join(f"{words(name)} {figures.get(name, 0)}" for name in names))


def _clocks(figures: Figures, words: Words) -> Text:
    met, breached = figures.get("met", 0), figures.get("breached", 0)
    text = Text.assemble((f"{words('met')} {met}", "green"), "  ", (f"{words('breached')} {breached}", "red"))
    text.append(f" ({breached / (met + breached or 1):.1%})", "red")
    worst = next(iter(under(figures, "breached").items()), None)
    if worst is not None:
        text.append(f"  {words.name(worst[0])} {worst[1]}", "bright_black")
    return text


def _agents(at: Snapshot, words: Words) -> Text:
    text = f"{words('online')} {at.online}  {words('away')} {at.away}  {words('busy')} {at.load}/{at.capacity}"
    if at.decided_ms:
        text += f"  {words('decided')} {median(at.decided_ms):.0f} {words('ms')}"
    return Text(text)


def _archive(figures: Figures, words: Words) -> Text:
    return Text(f"{figures.get('archived', 0)} {words('records_of', records=figures.get('records', 0))}")


def line(at: Snapshot, words: Words) -> str:
    """The same on one line, for logs and pipes."""
    figures = at.figures
    tiers = ", ".join(f"{words.name(tier)} {number}" for tier, number in under(figures, "assigned").items())
    parts = (
        _minutes(at.elapsed_s),
        f"{words('messages')} {figures.get('messages', 0)} ({at.rate:.1f} {words('a_second')})",
        *(f"{words(name)} {figures.get(name, 0)}" for name in ("answered", "handed_over", "waiting")),
        f"{words('assigned')} {figures.get('assigned', 0)}" + (f" ({tiers})" if tiers else ""),
        *(f"{words(name)} {figures.get(name, 0)}" for name in ("met", "breached", "archived")),
        f"{words('lag')} {sum(at.lag.values())}",
    )
    return " · ".join(parts)
