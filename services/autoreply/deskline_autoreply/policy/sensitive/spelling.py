"""Other spellings of the same word: letters that look alike, Chinese digits, sounds, repeated letters. Pure.

All tables are one character to one, so that positions stay what they are; repeats come with a way back.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from itertools import groupby, islice, product
from pathlib import Path
from typing import Final, NamedTuple
from unicodedata import combining, normalize

# Small letters only: what is compared is folded.
_LOOKALIKES: Final = str.maketrans(
    "авекмнорстухіјѕԁԛԝһӏ" + "αβεηικνορτυχωγ",
    "abekmhopctyxijsdqwhl" + "abenikvoptuxwy",
)
_LOOKALIKE: Final = re.compile("[\u0370-\u03ff\u0400-\u052f]")
_DIGITS: Final = str.maketrans("零〇一二三四五六七八九壹贰叁肆伍陆柒捌玖两", "001234567891234567892")

_HAN: Final = re.compile("[\u3400-\u9fff]+")
_REPEATED: Final = re.compile(r"(.)\1", re.DOTALL)

# Characters that people read in two ways every day. Most have rare readings too, by which nobody writes a word.
_TWO_WAYS: Final = frozenset(
    "行长重乐还都得地了着为好数调传转便单弹差率色血参曾朝藏奔给卡降角觉空落模没宁强塞省属宿提吐系约扎炸中种粘干"
)
# Spellings of one word.
_MOST_READINGS: Final = 8


def alike(text: str, *, lookalikes: bool, chinese_digits: bool) -> str:
    """Of a folded text, with the same length."""
    if lookalikes and not text.isascii() and _LOOKALIKE.search(text):
        text = text.translate(_LOOKALIKES)
    return text.translate(_DIGITS) if chinese_digits else text


class Runs(NamedTuple):
    """A text without its repeats."""

    text: str
    starts: list[int]
    """Where each character's run begins, and where the last one ends."""


def runs(text: str) -> Runs | None:
    """None where nothing is repeated."""
    return collapse(text) if _REPEATED.search(text) else None


def collapse(text: str) -> Runs:
    letters, starts, at = [], [], 0
    for letter, group in groupby(text):
        letters.append(letter)
        starts.append(at)
        at += sum(1 for _ in group)
    return Runs("".join(letters), [*starts, at])


def sounds(text: str) -> str:
    """Every Chinese character as the sign of its usual sound; the rest as it is. The same length."""
    return text.translate(_tables().usual)


def sounds_of_word(word: str) -> set[str]:
    """As ``sounds`` gives them for those who write it by ear; empty for words that are too short or not all Chinese."""
    if len(word) < 3 or not _HAN.fullmatch(word):
        return set()
    every = _tables().readings
    choices = product(*(every.get(ord(each), (each,))[: 2 if each in _TWO_WAYS else 1] for each in word))
    return {"".join(choice) for choice in islice(choices, _MOST_READINGS)}


class _Tables(NamedTuple):
    usual: dict[int, str]
    readings: dict[int, tuple[str, ...]]


@cache
def _tables() -> _Tables:
    """The character table of pypinyin, without its phrases: importing the package would load 2 MB of those."""
    spec = find_spec("pypinyin")
    if spec is None or spec.origin is None:
        raise ImportError("pypinyin is not installed; install deskline with its dependencies")
    listed = json.loads(Path(spec.origin).with_name("pinyin_dict.json").read_text(encoding="utf-8"))
    signs: dict[str, str] = {}
    readings: dict[int, tuple[str, ...]] = {}
    for code, stated in listed.items():
        syllables = dict.fromkeys(_toneless(reading) for reading in stated.split(","))
        # Private use, where no folded text has a character: the fold drops them.
        readings[int(code)] = tuple(signs.setdefault(each, chr(0xE000 + len(signs))) for each in syllables)
    return _Tables({code: each[0] for code, each in readings.items()}, readings)


def _toneless(reading: str) -> str:
    bare = "".join(letter for letter in normalize("NFD", reading) if not combining(letter) or letter == "\u0308")
    return normalize("NFC", bare)
