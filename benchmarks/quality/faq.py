"""FAQ retrieval with near misses out of scope: a folder with ``*_kb.tsv[.gz]`` and ``*_queries.tsv[.gz]``."""

import gzip
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.quality.answering import Question, measure
from benchmarks.quality.data import NoDataError, locate


def run(data: Path | None, figures: Figures) -> None:
    folder = locate(data, "lcqmc_faq")
    if folder.is_file():
        folder = folder.parent if data is None else folder
    kb, queries = _pair(folder)
    entries: dict[str, list[str]] = {}
    for answer, text in _rows(kb):
        entries.setdefault(answer, []).append(text)
    questions = [Question(text, None if answer == "OOS" else answer) for answer, text in _rows(queries)]
    measure("faq", entries, questions, figures)


def _pair(path: Path) -> tuple[Path, Path]:
    """Of a folder, or of either file of the pair."""
    if path.is_file():
        name = path.name
        return path.with_name(name.replace("queries", "kb")), path.with_name(name.replace("kb", "queries"))
    found = [sorted(path.glob(f"*{part}.tsv*")) for part in ("kb", "queries")]
    if not all(found):
        raise NoDataError(f"{path} holds no *kb.tsv and *queries.tsv (or .tsv.gz)")
    return found[0][0], found[1][0]


def _rows(file: Path) -> list[tuple[str, str]]:
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    rows = [line.split("\t", 1) for line in data.decode("utf-8-sig").splitlines()]
    return [(row[0], row[1]) for row in rows[1:] if len(row) == 2]
