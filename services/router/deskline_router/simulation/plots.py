"""Charts as PNG, by matplotlib (the extra ``plots``)."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deskline.errors import UsageError

Chart = tuple[str, Sequence[tuple[str, float | None]], float | None]


def write_png(path: Path, title: str, charts: Sequence[Chart]) -> None:
    """One image with all the charts. Raises ``UsageError`` where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second, and is not everywhere
    except ModuleNotFoundError:
        raise UsageError("PNG needs matplotlib: pip install 'deskline[plots]'; --html needs nothing") from None
    there = [chart for chart in charts if any(value is not None for _, value in chart[1])]
    rows = max(1, (len(there) + 1) // 2)
    figure = Figure(figsize=(14, 3.2 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    axes: Any = figure.subplots(rows, 2, squeeze=False)
    for place, (name, values, target) in zip(axes.flat, there, strict=False):
        place.bar(range(len(values)), [value or 0 for _, value in values], color="#4f81bd")
        place.set_title(name, fontsize=10)
        place.set_xticks(range(len(values)), [label for label, _ in values], rotation=60, fontsize=7)
        if target is not None:
            place.axhline(target, color="#c0504d", linestyle="--", linewidth=1)
    for place in list(axes.flat)[len(there) :]:
        place.remove()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to stop.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        figure.savefig(path, format="png", dpi=110)
