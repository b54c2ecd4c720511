"""Where the data are: ``--data``, else ``DESKLINE_DATA``, else ``../shared/data`` beside the checkout."""

import os
from pathlib import Path


class NoDataError(Exception):
    """What should be measured on is not here."""


def locate(given: Path | None, usual: str) -> Path:
    """``given``, or the usual path below the data folder. Raises ``NoDataError`` with what is missing."""
    if given is not None:
        return given
    stated = os.environ.get("DESKLINE_DATA")
    root = Path(stated) if stated else Path(__file__).parents[3] / "shared" / "data"
    found = root / usual
    if not found.exists():
        raise NoDataError(f"{usual} is not below {root}; name its folder with DESKLINE_DATA, or the file with --data")
    return found
