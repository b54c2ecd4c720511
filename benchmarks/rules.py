"""Rules by the hundred thousand: ``rules_*``.

A version of 100 000 keywords in 1 000 rules and of 1 000 regular expressions, compiled as the service compiles it, against
customers' real questions, on one core: messages a second (folding included), time of one, time to build, and what a running matcher
feels of another version being built in a thread and swapped in. Beside it, over the same rules, a loop that asks every keyword
and every expression of every rule in turn; both must give the same rules for the same texts, or there is no figure.

``--data`` names the folder of the data sets: the words of ``taobao_queries`` and the texts of ``jddc``, which may not ship; without
them words and texts are made up.
"""

from __future__ import annotations

import gzip
import os
import random
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import re2

from deskline.config.rules_document import RulesDocument
from deskline.folding import deep_text
from deskline.text import fold, readable
from deskline_autoreply.policy.rules import Asked, Compiled
from deskline_autoreply.policy.rules.compiled import is_deep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Figures

KEYWORDS: Final = 100_000
RULES: Final = 1_000
PATTERNS: Final = 1_000
_TEXTS: Final = 20_000
_ROUNDS: Final = 5
_NAIVE_TEXTS: Final = 12
"""A loop over 100 000 words takes some ten milliseconds a text."""


def measure(figures: Figures, data: Path | None) -> None:
    words, texts, real = _material(_folder(data))
    document = _document(words, texts)
    params: dict[str, Any] = {
        "keywords": KEYWORDS,
        "patterns": PATTERNS,
        "rules": len(document.rules),
        "real_data": real,
    }

    started, used = time.perf_counter(), time.process_time()
    compiled = Compiled(document)
    figures.show("rules_build_s", time.perf_counter() - started, "s", **params)
    figures.show("rules_build_cpu_s", time.process_time() - used, "s", **params)  # whatever else the machine does

    rates = [_rate(compiled, texts) for _ in range(_ROUNDS)]
    sample = texts[:_NAIVE_TEXTS]
    naive_started = time.process_time()
    expected = [_naive(document, text) for text in sample]
    naive_rate = len(sample) / (time.process_time() - naive_started)
    found = [[rule.rule_id for rule in compiled.matching(_asked(text))] for text in sample]
    if found != expected:
        raise AssertionError("the engine and the plain loop do not match the same rules")
    figures.show("rules_match", rates, "messages/s", baseline=naive_rate, **params)

    taken = sorted(_times(compiled, texts))
    figures.show("rules_match_p50", taken[len(taken) // 2] * 1e3, "ms", **params)
    figures.show("rules_match_p99", taken[int(len(taken) * 0.99)] * 1e3, "ms", **params)

    swap_s, stalls, during = _swap(document, compiled, texts)
    figures.show("rules_swap_s", swap_s, "s", **params)
    figures.show("rules_swap_p99", stalls[int(len(stalls) * 0.99)] * 1e3, "ms", **params)
    figures.show("rules_swap_longest", stalls[-1] * 1e3, "ms", **params)
    figures.show("rules_swap_match", during, "messages/s", **params)


def _folder(data: Path | None) -> Path | None:
    for folder in (data, os.environ.get("DESKLINE_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if folder is not None and (Path(folder) / "taobao_queries").is_dir():
            return Path(folder)
    return None


def _material(folder: Path | None) -> tuple[list[str], list[str], bool]:
    """Distinct keywords, customers' texts, and whether they are real."""
    seeded = random.Random(7)
    if folder is None:
        print("  no taobao_queries and jddc: words and texts are made up")
        letters = [chr(0x4E00 + n) for n in range(3_000)]
        words = ["".join(seeded.choices(letters, k=seeded.randint(2, 7))) for _ in range(KEYWORDS * 2)]
        texts = ["".join(seeded.choices(letters, k=seeded.randint(4, 40))) + "？" for _ in range(_TEXTS)]
        return _distinct(words), texts, False
    with gzip.open(folder / "taobao_queries" / "train.query.txt.gz", "rt", encoding="utf-8") as stream:
        words = [line.rstrip("\n").rpartition("\t")[2][:128].strip() for line in stream]
    words += (folder / "taobao_queries" / "dev.query.txt").read_text(encoding="utf-8").replace("\t", "\n").splitlines()
    with gzip.open(folder / "jddc" / "chat.tsv.gz", "rt", encoding="utf-8") as stream:
        rows = [line.rstrip("\n").split("\t") for line in stream]
    texts = [row[6] for row in rows if len(row) > 6 and row[2] == "0" and fold(row[6])]
    texts *= -(-_TEXTS // len(texts))
    seeded.shuffle(texts)
    return _distinct(words), texts[:_TEXTS], True


def _distinct(words: Sequence[str]) -> list[str]:
    """With pairs of them where there are too few."""
    found = list({deep_text(word): word for word in words if len(deep_text(word)) > 1}.values())
    seeded = random.Random(8)
    known = {deep_text(word) for word in found}
    while len(found) < KEYWORDS:
        word = seeded.choice(found)[:40] + seeded.choice(found)[:40]
        if deep_text(word) not in known:
            known.add(deep_text(word))
            found.append(word)
    return found[:KEYWORDS]


def _document(words: Sequence[str], texts: Sequence[str]) -> RulesDocument:
    """Every hundredth keyword is a piece of a real text, so that rules do match."""
    seeded = random.Random(9)
    keywords = list(words)
    pieces = [text for text in map(deep_text, texts) if len(text) > 5]
    for place in range(0, KEYWORDS, 100):
        text = seeded.choice(pieces)
        at = seeded.randrange(len(text) - 3)
        keywords[place] = text[at : at + 3]
    shapes = ("{a}.{{0,6}}{b}", "({a}|{b})+", r"{a}\d{{1,8}}", "[{a}]{b}.?{a}", "{a}.*{b}$", "^{a}.{{0,20}}{b}")
    patterns = []
    for number in range(PATTERNS):
        a, b = (deep_text(seeded.choice(words))[:3] for _ in range(2))
        patterns.append(shapes[number % len(shapes)].format(a=re2.escape(a), b=re2.escape(b)))
    each = KEYWORDS // RULES
    rules: list[dict[str, Any]] = [
        {"rule_id": f"k{n}", "when": {"any_of": keywords[n * each : (n + 1) * each]}, "handover": {}}
        for n in range(RULES)
    ]
    rules += [
        {"rule_id": f"p{n}", "when": {"patterns": (pattern,)}, "handover": {}} for n, pattern in enumerate(patterns)
    ]
    return RulesDocument.model_validate({"rules": [{**rule, "when": _tuples(rule["when"])} for rule in rules]})


def _tuples(when: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) for key, value in when.items()}


def _asked(text: str) -> Asked:
    return Asked(
        text=deep_text(text), plain=fold(text), readable=readable(text), is_open=True, first_message=False, attachment=False,
        tier="regular", channel="web", entry_point=None, language=None,
    )  # fmt: skip


def _rate(compiled: Compiled, texts: Sequence[str]) -> float:
    """Messages a second of CPU time: other processes on the core do not count."""
    started = time.process_time()
    for text in texts:
        compiled.first(_asked(text))
    return len(texts) / (time.process_time() - started)


def _times(compiled: Compiled, texts: Sequence[str]) -> list[float]:
    taken = []
    for text in texts:
        started = time.perf_counter()
        compiled.first(_asked(text))
        taken.append(time.perf_counter() - started)
    return taken


def _naive(document: RulesDocument, text: str) -> list[str]:
    """The rules that match, by the meaning of the words, one after the other."""
    asked = _asked(text)
    options = re2.Options()
    options.case_sensitive = False
    options.dot_nl = True
    matched = []
    for rule in document.rules:
        when = rule.when
        if when.any_of is not None:
            hit = any(
                (deep_text(word) in asked.text) if is_deep(deep_text(word), word) else (fold(word) in asked.plain)
                for word in when.any_of
            )
        else:
            compiled = [re2.compile(pattern, options) for pattern in when.patterns or ()]
            hit = any(pattern.search(form) for pattern in compiled for form in (asked.text, asked.readable))
        if hit:
            matched.append(rule.rule_id)
    return matched


def _swap(document: RulesDocument, compiled: Compiled, texts: Sequence[str]) -> tuple[float, list[float], float]:
    """Seconds until the other version decides; the times of the messages meanwhile, sorted; messages a second meanwhile."""
    current: list[Compiled] = [compiled]
    built: list[float] = []

    def build() -> None:
        started = time.perf_counter()
        current[0] = Compiled(document)
        built.append(time.perf_counter() - started)

    thread = threading.Thread(target=build)
    taken: list[float] = []
    number = 0
    thread.start()
    begun = time.perf_counter()
    while thread.is_alive():
        started = time.perf_counter()
        current[0].first(_asked(texts[number % len(texts)]))
        taken.append(time.perf_counter() - started)
        number += 1
    elapsed = time.perf_counter() - begun
    thread.join()
    if current[0] is compiled:
        raise AssertionError("the other version was not swapped in")
    return statistics.median(built), sorted(taken), number / elapsed
