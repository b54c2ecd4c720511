"""What two texts have in common that people call the same: ``fold``. Pure.

Rules are matched, and repetitions are recognised, on the folded form (contract §4: "NFKC, case and blanks aside"), so the
configuration refuses a keyword by the same function that later compares it.
"""

import re
from typing import Final
from unicodedata import is_normalized, normalize

# Characters without ink that ``str.split`` does not take for blanks: controls, the format characters and fillers that
# Unicode calls default-ignorable, the interlinear marks, and the blank Braille cell.
_INKLESS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)

_INKLESS_BUT_BLANKS: Final = re.compile("(?![\t\n\r])" + _INKLESS.pattern.removesuffix("+"))


def fold(text: str) -> str:
    """NFKC, case folded, without blanks and other characters that show nothing; empty where nothing is visible.

    ``fold(fold(x)) == fold(x)``.
    """
    if text.isascii():
        return _INKLESS.sub("", "".join(text.split()).lower())
    folded = text
    # Removing a character can bring two together that compose, and folding case can undo a composition: to a fixed
    # point. Almost every text is there after one round.
    for _ in range(4):
        folded = _INKLESS.sub("", "".join(_normal(_normal(folded).casefold()).split()))
        if is_normalized("NFKC", folded) and folded.casefold() == folded:
            break
    return folded


def _normal(text: str) -> str:
    return text if is_normalized("NFKC", text) else normalize("NFKC", text)


def readable(text: str) -> str:
    """As people read it: NFKC, without what shows nothing; blanks, punctuation and case stay."""
    if text.isascii() and text.isprintable():
        return text
    return _INKLESS_BUT_BLANKS.sub("", _normal(text))
