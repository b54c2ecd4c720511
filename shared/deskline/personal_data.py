"""What identifies a person in a text: telephone, identity card, bank card, address, e-mail. Pure.

For screens and logs, by configuration. Numbers are recognised in full width and with blanks or hyphens between their
groups; what has a check digit must have the right one, so order numbers are left alone. Spans are half-open, in code
points of the text given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, get_args
from unicodedata import normalize

from deskline.config.sensitive_document import PersonalKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

# What has a check digit first.
_BY_STRENGTH: Final[tuple[PersonalKind, ...]] = ("identity_card", "bank_card", "email", "phone", "address")
EVERY_KIND: Final[tuple[PersonalKind, ...]] = get_args(PersonalKind)

_ALONE: Final = r"(?<![0-9A-Za-z]){}(?![0-9A-Za-z])"
_GAP: Final = "[ \\-\u00b7]?"
# Chinese mobile numbers with or without +86; 0xx area codes; 400/800 numbers are a shop's, not a person's; elsewhere
# what is written with a +.
_PHONE: Final = re.compile(
    r"(?<![0-9A-Za-z+])(?:(?:\+|00)?86[ -]?)?1[3-9]\d" + _GAP + r"\d{4}" + _GAP + r"\d{4}(?![0-9A-Za-z])"
    r"|" + _ALONE.format(r"0\d{2,3}[ -]\d{7,8}")
    + r"|(?<![0-9A-Za-z])\+[1-9]\d{0,2}(?:[ -]?\d{2,4}){2,5}(?![0-9A-Za-z])"
)  # fmt: skip
_IDENTITY: Final = re.compile(_ALONE.format(r"[1-9]\d{5}[ ]?(?:18|19|20)\d{6}[ ]?\d{3}[0-9Xx]"))
_BANK: Final = re.compile(_ALONE.format(r"[3-6]\d{3}(?:[ -]?\d){9,15}"))
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_HAN: Final = "\u4e00-\u9fff"
# From a street's name to the number of the house or the room: names of towns and districts alone identify nobody. All
# parts are bounded and the numbers possessive: a customer's text must not be able to make this slow.
_UNIT: Final = "(?:号楼|号院|号|弄|栋|幢|座|单元|室|楼|层|#)"
_ADDRESS: Final = re.compile(
    rf"(?:路|街|道|巷|弄|胡同|村|小区|花园|公寓|大厦|广场|苑|家园)[{_HAN}A-Za-z]{{0,8}}?\d{{1,5}}+{_UNIT}"
    rf"(?:[{_HAN}A-Za-z]{{0,6}}?\d{{1,5}}+{_UNIT}){{0,6}}"
    r"|(?<![0-9A-Za-z])\d{1,5}+ (?:[A-Z][a-z]{1,20} ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd)\b"
)
# What may stand before the street: its name, the district, the town.
_BEFORE: Final = re.compile(rf"[{_HAN}0-9A-Za-z]{{1,20}}\Z")

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Found(NamedTuple):
    start: int
    end: int
    kind: PersonalKind


def find(text: str, kinds: Collection[PersonalKind] = EVERY_KIND) -> list[Found]:
    """In order, none within or over another: the card wins over the telephone number that its digits might be."""
    narrow = _narrow(text)
    found: list[Found] = []
    taken = bytearray(len(narrow))
    for kind in _BY_STRENGTH:
        if kind in kinds:
            for start, end in _spans(narrow, kind):
                if not any(taken[start:end]):
                    taken[start:end] = b"\1" * (end - start)
                    found.append(Found(start, end, kind))
    return sorted(found)


def mask(text: str, kinds: Collection[PersonalKind] = EVERY_KIND, *, sign: str = "*") -> str:
    """Of the same length. Of numbers the first and last few characters stay, so that people can talk about them."""
    letters = list(text)
    for start, end, kind in find(text, kinds):
        for at in hidden(start, end, kind):
            letters[at] = sign
    return "".join(letters)


def hidden(start: int, end: int, kind: PersonalKind) -> range:
    """What of a finding is not shown: of a telephone number 3 and 2 digits stay, of a card 4 at its end."""
    match kind:
        case "phone":
            return range(start + 3, end - 2)
        case "identity_card" | "bank_card":
            return range(start, end - 4)
        case "email" | "address":
            return range(start, end)


def _narrow(text: str) -> str:
    """Full-width signs as ASCII, one to one."""
    if text.isascii():
        return text
    return "".join(
        each if each < "\u2000" or "\u4e00" <= each <= "\u9fff" or len(plain := normalize("NFKC", each)) != 1 else plain
        for each in text
    )


def _spans(text: str, kind: PersonalKind) -> Iterator[tuple[int, int]]:
    pattern: re.Pattern[str]
    counts: Callable[[str], bool]
    match kind:
        case "phone":
            pattern, counts = _PHONE, _always
        case "identity_card":
            pattern, counts = _IDENTITY, is_identity_card
        case "bank_card":
            pattern, counts = _BANK, is_bank_card
        case "email":
            pattern, counts = _EMAIL, _always
        case "address":
            yield from _addresses(text)
            return
    yield from (match.span() for match in pattern.finditer(text) if counts(match.group()))


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    last = 0
    for match in _ADDRESS.finditer(text):
        before = _BEFORE.search(text[max(last, match.start() - 20) : match.start()])
        last = match.end()
        yield match.start() - (len(before.group()) if before else 0), last


def _always(_: str) -> bool:
    return True


def is_identity_card(number: str) -> bool:
    """GB 11643: 17 digits with a date of birth, and the check digit of ISO 7064 MOD 11-2."""
    digits = number.replace(" ", "").upper()
    if not re.fullmatch(r"\d{17}[\dX]", digits, re.ASCII):
        return False
    month, day = int(digits[10:12]), int(digits[12:14])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == digits[17]


def is_bank_card(number: str) -> bool:
    """13 to 19 digits of which Luhn's sum is a multiple of ten."""
    digits = [int(each) for each in number if each.isdecimal()]
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [digit * 2 if index % 2 else digit for index, digit in enumerate(reversed(digits))]
    return sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 == 0
