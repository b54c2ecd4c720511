"""E-mail and web addresses, IP addresses and long numbers in a text, disguised ones too. Pure.

Spans are half-open, in code points of the text given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

from deskline.folding import deep_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_EMAIL: Final = re.compile(r"[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![a-z])")
_SCHEME: Final = re.compile(r"https?://[!-~]{1,2000}")
# Endings under which people are sent elsewhere; any other two words with a dot between are chat.
_DOMAIN: Final = re.compile(
    r"(?<![a-z0-9])(?:[a-z0-9][a-z0-9-]{0,62}\.){1,8}"
    r"(?:com|cn|net|org|gg|top|xyz|vip|cc|tk|info|me|io|tv|club|shop|site|online|link|icu|ru|tw|hk|jp|us|uk|co|biz)"
    r"(?:/[!-~]{0,2000})?(?![a-z0-9])"
)
_IPV4: Final = re.compile(r"(?<![0-9.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![0-9.]*\d)")
_DOT: Final = re.compile(r"小數點|小数点|[.。．｡·・•‧∙⋅🔴🔵⚫⚪●○]")


def addresses(
    text: str, *, email: bool, url: bool, ipv4: bool, allowed: Iterable[str] = ()
) -> Iterator[tuple[int, int]]:
    """Where they are; those of an allowed domain, or below one, left out."""
    reduced, starts, ends = _reduced(text)
    patterns = [
        pattern for pattern, wanted in ((_EMAIL, email), (_SCHEME, url), (_DOMAIN, url), (_IPV4, ipv4)) if wanted
    ]
    for pattern in patterns:
        for match in pattern.finditer(reduced):
            if not _is_of(match.group(), allowed):
                yield starts[match.start()], ends[match.end() - 1]


def domains(text: str) -> list[str]:
    """The names of hosts in the text, with their disguises taken off."""
    return [_host(match.group()) for match in _DOMAIN.finditer(_reduced(text)[0])]


def numbers(text: str, min_digits: int) -> Iterator[tuple[int, int]]:
    """Runs of at least so many digits; anything but a blank or a hyphen between two of them ends a run."""
    plain = [normalize("NFKC", letter) if not letter.isascii() else letter for letter in text]
    single = "".join(letter if len(letter) == 1 else "\0" for letter in plain)
    for match in re.finditer(r"\d(?:[ -]?\d)*", single):
        if sum(letter.isdigit() for letter in match.group()) >= min_digits:
            yield match.span()


def _reduced(text: str) -> tuple[str, list[int], list[int]]:
    """The text in ASCII, dots as dots, what shows nothing left out; other characters are blanks.

    Signs between single letters ("d:i:s:c:o:r:d") are noise there.
    """
    letters: list[tuple[str, int, int]] = []
    at = 0
    while at < len(text):
        dot = _DOT.match(text, at)
        if dot:
            letters.append((".", dot.start(), dot.end()))
            at = dot.end()
            continue
        character = text[at]
        piece = character.lower() if character.isascii() else _ascii(character)
        letters.extend((each, at, at + 1) for each in piece)
        at += 1
    kept = [
        letter for index, letter in enumerate(letters) if letter[0] not in ":;,|*~_" or not _is_noise(letters, index)
    ]
    return "".join(each for each, _, _ in kept), [start for _, start, _ in kept], [end for _, _, end in kept]


def _is_noise(letters: list[tuple[str, int, int]], index: int) -> bool:
    """A sign with exactly one letter to the next sign, on one side at least, and letters on both."""

    def at(position: int) -> str:
        return letters[position][0] if 0 <= position < len(letters) else " "

    sign = at(index)
    return at(index - 1).isalnum() and at(index + 1).isalnum() and sign in {at(index - 2), at(index + 2)}


def _ascii(character: str) -> str:
    folded = normalize("NFKC", character).lower()
    if folded.isascii():
        return folded
    folded = deep_text(character)
    return folded if folded.isascii() and folded else " " if character.isprintable() else ""


def _host(found: str) -> str:
    return found.rsplit("://", maxsplit=1)[-1].split("/", maxsplit=1)[0].rsplit("@", maxsplit=1)[-1]


def _is_of(found: str, allowed: Iterable[str]) -> bool:
    host = _host(found)
    return any(host == domain or host.endswith("." + domain) for domain in allowed)
