"""Named statements of a package's ``queries.sql``: each begins with a line ``-- name: <name>``."""

import re
from importlib.resources import files


def load_queries(package: str) -> dict[str, str]:
    """Name → statement."""
    text = files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
