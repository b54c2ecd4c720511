"""Whether mining finds the five questions that are asked most, on simulated weeks of labelled messages.

Two kinds of weeks, each message of another customer, a tenth as many courtesies on top:

- *Five stand out*: five intents, drawn at random, have 30 to 60 messages each (where the smallest of the five has fewer than 60 rows, all of
  them at most, and at least half as many); of every other intent some come, a seventh of that on average, never half as many.
  ``mine_recall`` and ``mine_purity``.
- *Zipf*: the intents are put into a random order and the r-th gets a share like 1/r of some 800 messages; where the most frequent has fewer rows
  than its share, the week is so much smaller. The fifth and the sixth differ by chance here: a classifier that knows all 77
  intents of BANKING77 (nearest mean of the vectors of all their rows, 81 % right) gets the five right to 0.88. ``mine_recall_zipf``, ``mine_purity_zipf``.

Recall: of the five intents with most messages (all that tie for the fifth place count), the share that some proposed cluster has as its
majority. Purity: of the messages in proposed clusters, the share that is of their cluster's majority. Both per week; the mean over the weeks
counts, because recall has steps of a fifth.
"""

import csv
import gzip
import json
import random
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

from benchmarks.figures import Figures
from benchmarks.quality.data import NoDataError, locate
from deskline_autoreply.knowledge.vectors import encoder
from deskline_autoreply.learning.mining import Question, mine

_WEEKS: Final = 100
_MESSAGES: Final = 800
_MOST: Final = 60
_COURTESIES: Final = (
    "hello",
    "hi there",
    "thanks a lot",
    "ok",
    "你好",
    "谢谢",
    "good morning",
    "bye",
    "yes please",
    "在吗",
)
Labelled = tuple[str, str]


def run(data: Path | None, figures: Figures) -> None:
    rows = read(locate(data, "banking77/train.csv.gz"))
    for suffix, draw in (("", standing_out), ("_zipf", week)):
        found = [judged(draw(rows, random.Random(seed))) for seed in range(_WEEKS)]
        for name, values in (("mine_recall", [one for one, _ in found]), ("mine_purity", [two for _, two in found])):
            mean, median = 100 * statistics.fmean(values), 100 * statistics.median(values)
            figures.show(
                name + suffix, mean, "%", weeks=_WEEKS, median=round(median, 2), least=round(100 * min(values), 2)
            )


def read(path: Path) -> list[Labelled]:
    """``text,category`` as CSV with a header, or CLINC150's JSON; gzipped or not."""
    if path.is_dir():
        raise NoDataError(f"{path} is a folder; name a file of text,category")
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    if text.lstrip().startswith("{"):
        return [(one[0], one[1]) for part, ones in json.loads(text).items() if "oos" not in part for one in ones]
    return [(row[0], row[1]) for row in list(csv.reader(text.splitlines()))[1:]]


def standing_out(rows: list[Labelled], drawn: random.Random) -> list[Labelled]:
    pools: dict[str, list[str]] = defaultdict(list)
    for text, intent in rows:
        pools[intent].append(text)
    intents = sorted(pools)
    drawn.shuffle(intents)
    most = min(_MOST, *(len(pools[name]) for name in intents[:5]))
    least = most // 2
    found = []
    for place, name in enumerate(intents):
        if place < 5:
            times = drawn.randint(least, most)
        else:
            # Of forty chances: some four where the least frequent of the five comes thirty times.
            times = min(sum(drawn.random() < least / 300 for _ in range(40)), least // 2, len(pools[name]))
        found += [(text, name) for text in drawn.sample(pools[name], times)]
    return with_courtesies(found, drawn)


def with_courtesies(found: list[Labelled], drawn: random.Random) -> list[Labelled]:
    found += [(drawn.choice(_COURTESIES), f"courtesy-{number}") for number in range(len(found) // 10)]
    drawn.shuffle(found)
    return found


def week(rows: list[Labelled], drawn: random.Random) -> list[Labelled]:
    pools: dict[str, list[str]] = defaultdict(list)
    for text, intent in rows:
        pools[intent].append(text)
    intents = sorted(pools)
    drawn.shuffle(intents)
    weights = [1 / rank for rank in range(1, len(intents) + 1)]
    messages = min(_MESSAGES, int(len(pools[intents[0]]) * sum(weights)))
    counts = Counter(drawn.choices(intents, weights, k=messages))
    found = [
        (text, name) for name in intents for text in drawn.sample(pools[name], min(counts[name], len(pools[name])))
    ]
    return with_courtesies(found, drawn)


def judged(messages: list[Labelled]) -> tuple[float, float]:
    """(recall, purity)."""
    questions = [Question(text, f"customer-{at}", f"conversation-{at}") for at, (text, _) in enumerate(messages)]
    clusters = mine(questions, lambda texts: encoder().phrasings(texts))
    counts = Counter(intent for _, intent in messages)
    fifth = counts.most_common(5)[-1][1]
    majorities, inside, right = set(), 0, 0
    for cluster in clusters:
        intent, times = Counter(messages[place][1] for place in cluster.members).most_common(1)[0]
        inside, right = inside + len(cluster.members), right + times
        if counts[intent] >= fifth:
            majorities.add(intent)
    return min(len(majorities), 5) / 5, right / max(inside, 1)
