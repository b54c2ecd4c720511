"""CLINC150 with ten examples per intent: a JSON file (or .gz), or a folder with one, of lists of [text, intent] by split."""

import gzip
import json
import random
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.quality.answering import Question, measure
from benchmarks.quality.data import NoDataError, locate

EXAMPLES = 10


def run(data: Path | None, figures: Figures) -> None:
    path = locate(data, "clinc150")
    if path.is_dir():
        found = sorted(path.glob("*.json*"))
        if not found:
            raise NoDataError(f"{path} holds no JSON file")
        path = found[0]
    splits = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    train = next((splits[name] for name in ("train", "kb") if name in splits), None)
    if train is None:  # only questions to judge: the examples are those of the usual file
        usual = locate(None, "clinc150/train_val.json.gz")
        train = json.loads(gzip.decompress(usual.read_bytes()))["train"]
    by_intent: dict[str, list[str]] = {}
    for text, intent in train:
        by_intent.setdefault(intent, []).append(text)
    # Which ten is chance; this is one draw, the same each time.
    draw = random.Random(150)
    entries = {intent: draw.sample(texts, min(EXAMPLES, len(texts))) for intent, texts in by_intent.items()}
    held = [name for name in splits if name in ("test", "oos_test")] or [name for name in splits if name != "train"]
    rows = [row for name in held for row in splits[name]]
    questions = [Question(text, None if intent == "oos" else intent) for text, intent in rows]
    measure("intents", entries, questions, figures)
