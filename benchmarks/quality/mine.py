"""Whether mining finds the five questions that are asked most, on simulated weeks of labelled messages.

A week: the intents are put into a random order and the r-th gets a share like 1/r (Zipf) of some 800 messages, drawn without
replacement; where the most frequent has fewer rows than its share, the week is so much smaller. Each message is of another customer;
a tenth as many courtesies come on top. The many intents at the end have one or two messages: one-offs.

``mine_recall``: of the five intents with most messages (all that tie for the fifth place count), the share that some proposed
cluster has as its majority. ``mine_purity``: of the messages in proposed clusters, the share that is of their cluster's majority.
Both per week; the median over the weeks counts, the mean is shown beside it.
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

_WEEKS: Final = 15
_MESSAGES: Final = 800
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
    recalls, purities = [], []
    for seed in range(_WEEKS):
        recall, purity = judged(week(rows, random.Random(seed)))
        recalls.append(recall)
        purities.append(purity)
    for name, values in (("mine_recall", recalls), ("mine_purity", purities)):
        mean = round(statistics.fmean(values), 4)
        figures.show(name, [100 * value for value in values], "%", weeks=_WEEKS, mean=mean)


def read(path: Path) -> list[Labelled]:
    """``text,category`` as CSV with a header, or CLINC150's JSON; gzipped or not."""
    if path.is_dir():
        raise NoDataError(f"{path} is a folder; name a file of text,category")
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    if text.lstrip().startswith("{"):
        return [(one[0], one[1]) for part, ones in json.loads(text).items() if "oos" not in part for one in ones]
    return [(row[0], row[1]) for row in list(csv.reader(text.splitlines()))[1:]]


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
    found += [(drawn.choice(_COURTESIES), f"courtesy-{number}") for number in range(messages // 10)]
    drawn.shuffle(found)
    return found


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
