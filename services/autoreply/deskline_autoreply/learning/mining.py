"""The most frequent questions among messages that nothing answered, and the entry that each suggests. Pure.

Two texts are near by their sentence vectors and by their characters (two to four at a time, rarer ones weigh more; so
Chinese needs no segmentation). What groups them is whether the same others are near to both: a question that is put in many
ways holds together through those in between, and two that merely share words do not. Average linkage groups them at two levels: the
*tight* groups are shown, because a proposal with strangers in it teaches people to distrust the list; the *loose* ones say how often
a question is asked, however it is put, which is the order of the list.

A group counts by its messages, but a customer counts at most ``PER_CUSTOMER`` times, and what is shown needs ``MIN_CUSTOMERS``.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

import numpy as np

from deskline.folding import deep_text
from deskline.personal_data import mask
from deskline_autoreply.learning.linkage import linked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MIN_CUSTOMERS: Final = 3
PER_CUSTOMER: Final = 2
_MOST_QUESTIONS: Final = 3_000
"""The matrix of similarities has the square of it: 36 MB. A longer week is thinned evenly."""
_BUCKETS: Final = 8_192
_VECTORS: Final = 0.5
"""The share of the vectors; measured on CLINC150 and BANKING77 alike, characters alone and vectors alone are both worse."""
_LEVELS: Final = (0.25, 0.075)
"""Of the tight and the loose groups."""
_SHARPNESS: Final = 3
"""The power of nearness in ``kinship``: with 2 all is a little alike, with 4 a group breaks where it is thin."""
_ENOUGH: Final = 100
"""Texts from which their own mean says what is common to all of them; of fewer, which may all ask the same, it counts in part."""
_ITSELF: Final = 0.2
_MOST_PHRASINGS: Final = 8
_LONGEST: Final = 400

# Courtesies ask nothing. Whole texts only, on the deep fold.
_SMALL_TALK: Final = re.compile(
    "(?:hi|hello|hey|there|goodmorning|goodafternoon|goodevening|thanks?|thankyou|thx|verymuch|somuch|alot|ok|okay|yes|yeah|no|nope|"
    "sure|great|fine|bye|goodbye|please|you|good|nice|cool|gotit|isee|anyonethere|areyouthere|how|are|doing|"
    "你好|您好|在吗|在么|在不在|在|有人吗|有人|亲|谢谢|多谢|感谢|好的|好|嗯|哦|噢|行|可以|对|是的|是|不是|没有|知道了|明白了|收到|"
    "再见|拜拜|早上好|下午好|晚上好|麻烦|了|啊|呀|哈|吧|呢|的|你|您|客服)*"
)


class Question(NamedTuple):
    """A customer's message that nothing answered, and what people then wrote to him."""

    text: str
    customer: str
    conversation: str
    answers: tuple[str, ...] = ()


class Cluster(NamedTuple):
    """A question that is asked again and again."""

    members: tuple[int, ...]
    """Places in what was mined, the most typical first; those that are surely about it."""
    times: int
    """How often it was asked, those counted that are put otherwise."""
    customers: int


def is_small_talk(text: str) -> bool:
    return _SMALL_TALK.fullmatch(deep_text(text)) is not None


def mine(
    questions: Sequence[Question], encode: Callable[[Sequence[str]], NDArray[np.float32]], most: int = 5
) -> list[Cluster]:
    """At most ``most`` groups, the most frequent first. ``encode`` gives one vector of length 1 a text."""
    places = _worth_a_look(questions)
    if len(places) < MIN_CUSTOMERS:
        return []
    # Numbers and addresses tell cases apart, not questions.
    texts = [cleaned(questions[place].text).replace("*", "")[:_LONGEST] for place in places]
    alike = kinship(texts, encode)
    tight, loose = linked(alike, _LEVELS)
    found: list[Cluster] = []
    for label, _ in Counter(loose.tolist()).most_common():
        asked = np.flatnonzero(loose == label)
        core, _ = Counter(tight[asked].tolist()).most_common(1)[0]
        rows = np.flatnonzero(tight == core)
        if len({questions[places[row]].customer for row in rows}) < MIN_CUSTOMERS:
            continue
        members = [places[row] for row in _typical_first(rows, alike)]
        found.append(_cluster(questions, members, [places[row] for row in asked]))
        if len(found) == most:
            break
    return sorted(found, key=lambda cluster: (-cluster.times, cluster.members))


def _worth_a_look(questions: Sequence[Question]) -> list[int]:
    """Without small talk, and of each customer no more than count."""
    spoken: Counter[str] = Counter()
    places = []
    for place, question in enumerate(questions):
        if is_small_talk(question.text) or spoken[question.customer] >= PER_CUSTOMER * 5:
            continue
        spoken[question.customer] += 1
        places.append(place)
    step = len(places) / _MOST_QUESTIONS
    return places if step <= 1 else [places[int(number * step)] for number in range(_MOST_QUESTIONS)]


def _typical_first(rows: NDArray[np.int64], alike: NDArray[np.float32]) -> list[int]:
    means = alike[np.ix_(rows, rows)].mean(axis=1)
    return [int(row) for row in rows[np.argsort(-means, kind="stable")]]


def _cluster(questions: Sequence[Question], members: list[int], asked: list[int]) -> Cluster:
    spoken = Counter(questions[place].customer for place in asked)
    return Cluster(tuple(members), sum(min(times, PER_CUSTOMER) for times in spoken.values()), len(spoken))


def kinship(texts: Sequence[str], encode: Callable[[Sequence[str]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """[text, text], 0 to 1: how far the same texts are near to both."""
    vectors, share = encode(texts), len(texts) / (len(texts) + _ENOUGH)
    near = np.maximum(_mixed(_unit(vectors - share * vectors.mean(axis=0)), _characters(texts)), 0) ** _SHARPNESS
    # Each is nearest to itself, which among few others would tell all apart.
    np.fill_diagonal(near, min(1.0, share + _ITSELF))
    profiles = _unit(near)
    return np.asarray(profiles @ profiles.T, dtype=np.float32)


def similarities(texts: Sequence[str], encode: Callable[[Sequence[str]], NDArray[np.float32]]) -> NDArray[np.float32]:
    return _mixed(encode(texts), _characters(texts))


def _mixed(vectors: NDArray[np.float32], characters: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed = _VECTORS * (vectors @ vectors.T) + (1 - _VECTORS) * (characters @ characters.T)
    return np.asarray(mixed, dtype=np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _characters(texts: Sequence[str]) -> NDArray[np.float32]:
    """Two to four characters at a time, hashed, by how rare they are; each row of length 1."""
    rows = np.zeros((len(texts), _BUCKETS), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        counts = Counter(crc32(gram.encode("utf-8", "replace")) % _BUCKETS for gram in _grams(text))
        for bucket, times in counts.items():
            row[bucket] = 1 + np.log(times)
    known = (rows > 0).sum(axis=0)
    rows *= np.log((1 + len(texts)) / (1 + known)) + 1
    return _unit(rows)


def _grams(text: str) -> list[str]:
    padded = [f" {word} " for word in text.lower().split()]
    return [word[at : at + size] for word in padded for size in (2, 3, 4) for at in range(len(word) - size + 1)]


class Suggested(NamedTuple):
    """An entry for somebody to look at; without personal data."""

    phrasings: tuple[str, ...]
    answer: str | None
    """What agents answered most alike; None where nobody answered."""


def suggest(
    questions: Sequence[Question], cluster: Cluster, encode: Callable[[Sequence[str]], NDArray[np.float32]]
) -> Suggested:
    phrasings: dict[str, str] = {}
    for place in cluster.members:
        text = cleaned(questions[place].text)
        # Whoever gave a number asked about his own case; with the number gone it is no phrasing.
        if text and text == questions[place].text.strip() and len(text) <= _LONGEST:
            phrasings.setdefault(deep_text(text), text)
    return Suggested(tuple(phrasings.values())[:_MOST_PHRASINGS], _answer(questions, cluster, encode))


def _answer(
    questions: Sequence[Question], cluster: Cluster, encode: Callable[[Sequence[str]], NDArray[np.float32]]
) -> str | None:
    """The answer that is most like the others: what most agents say, in the words of one of them."""
    answers = [
        text
        for place in cluster.members
        for answer in questions[place].answers
        if (text := cleaned(answer)) and not is_small_talk(answer)
    ]
    if not answers:
        return None
    alike = similarities(answers, encode)
    return answers[int(alike.sum(axis=1).argmax())]


# An order's number is nobody's personal data to the filter of screens; in a text that everybody will read it is.
_LONG_NUMBER: Final = re.compile(r"(?<![0-9])[0-9][0-9 -]{4,30}[0-9](?![0-9])")


def cleaned(text: str) -> str:
    """Without what identifies a person, and without numbers of six digits and more."""
    return _LONG_NUMBER.sub(lambda match: "*" * len(match.group()), mask(text)).strip()
