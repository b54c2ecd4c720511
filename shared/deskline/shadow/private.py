"""What of a text is not shown in a report. Pure.

Everything that identifies a person (``deskline.personal_data``), wholly; and, since a report is read by people who need the
sense of an answer and not its numbers, every other run of five digits or more, whatever separates their groups.
"""

import re
from typing import Final

from deskline.personal_data import find

_NUMBER: Final = re.compile(r"\d(?:[ \-·]?\d){4,}[Xx]?")


def mask(text: str) -> str:
    """Of the same length."""
    letters = list(text)
    spans = [(found.start, found.end) for found in find(text)]
    spans += [found.span() for found in _NUMBER.finditer(text)]
    for start, end in spans:
        letters[start:end] = "*" * (end - start)
    return "".join(letters)
