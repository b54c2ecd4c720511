"""``python -m benchmarks.quality [PART …] [--data PATH] [--json FILE]``."""

import importlib
from pathlib import Path
from typing import Annotated, Protocol, cast

import typer

from benchmarks.figures import Figures, Floor
from benchmarks.quality.data import NoDataError

PARTS = ("faq", "intents", "sensitive", "mine", "answer")


class Part(Protocol):
    """A module ``benchmarks.quality.<part>``."""

    def run(self, data: Path | None, figures: Figures) -> None:
        """``data``: a file or folder of the part's own shape instead of the usual one. Raises ``NoDataError``."""


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Any of: {', '.join(PARTS)}. Without: all.")] = None,
    data: Annotated[Path | None, typer.Option(help="A file or folder of the same shape; with one part only.")] = None,
    json: Annotated[Path | None, typer.Option(help="Append one JSON line per figure to this file.")] = None,
) -> None:
    """Measure quality. Needs no services."""
    wanted = parts or list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if data is not None and len(wanted) != 1:
        raise typer.BadParameter("--data is the data of one part; name that part")
    if data is not None and not data.exists():
        raise typer.BadParameter(f"{data} does not exist")
    figures = Figures(json)
    skipped = [part for part in wanted if not _ran(part, data, figures)]
    _worst(figures)
    if data is not None and skipped:
        # Asked for these data and got no figure: that is a failure, not a skip.
        raise typer.Exit(1)


def _worst(figures: Figures) -> None:
    """``oos_precision_5|20|40`` (contract §7), once however many parts ran: of the part that fares worst."""
    for share in ("5", "20", "40"):
        found = {
            line["name"]: line["value"] for line in figures.lines if line["name"].endswith(f"_oos_precision_{share}")
        }
        own = {name: value for name, value in found.items() if "_default_" not in name}
        if own:
            name = min(own, key=own.__getitem__)
            floor = Floor("≥ 93 %", lambda value, _: value >= 93)
            figures.show(f"oos_precision_{share}", own[name], "%", floor=floor, part=name.partition("_")[0])


def _ran(name: str, data: Path | None, figures: Figures) -> bool:
    print(name)
    try:
        part = cast("Part", importlib.import_module(f"benchmarks.quality.{name}"))
        part.run(data, figures)
    except NoDataError as error:
        print(f"  skipped: {error}")
        return False
    return True


if __name__ == "__main__":
    typer.run(main)
