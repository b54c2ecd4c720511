"""The filter of sensitive words: a shop's list, compiled once, looks at a text and says what it found. Pure.

Words are looked for in the deep fold of a text (``deskline.folding``), in three passes over characters: as written,
with repeated letters taken together, and by sound. Almost no text has anything in it, so only candidates are looked at
closer: with the way back to the original, a word's ends are checked, and what an allowed word covers is let go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ahocorasick_rs import AhoCorasick, Implementation

from deskline.config.sensitive_document import Category
from deskline.config.sensitive_list import ALLOWED, shipped
from deskline.folding import Folded, deep_fold, deep_text
from deskline.personal_data import find, hidden
from deskline_autoreply.policy.sensitive import contacts
from deskline_autoreply.policy.sensitive.spelling import Runs, alike, collapse, runs, sounds, sounds_of_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from deskline.config.sensitive_document import Sensitive

Direction = Literal["inbound", "outbound"]

PERSONAL: Final = "personal_data"
CONTACT: Final = "contact"

# Contract §1: spans are at most this many, and a text has 20 000 characters.
_MOST_SPANS: Final = 4_096
_LONGEST: Final = 20_000

_HIDDEN: Final = Category(inbound="mask", outbound="mask")


class Hit(NamedTuple):
    """Half-open, in code points of the original text."""

    start: int
    end: int
    category: str
    word: str
    """As it is listed; empty for what is no word (contacts, personal data)."""


class Finding(NamedTuple):
    """What ``message.flagged`` says, and what it means for the message."""

    categories: tuple[str, ...]
    spans: tuple[tuple[int, int, str], ...]
    action: Literal["none", "masked", "blocked"]
    masked_text: str | None
    """Where something is masked or blocked: the text with that hidden."""
    flags: tuple[str, ...]
    hands_over: bool


class _Entry(NamedTuple):
    word: str
    category: str


class _Automaton:
    """Strings → what they stand for; every place where one of them stands."""

    def __init__(self, entries: Mapping[str, Iterable[_Entry]]) -> None:
        self._entries = [tuple(dict.fromkeys(each)) for each in entries.values()]
        self._find = AhoCorasick(entries, implementation=Implementation.ContiguousNFA) if entries else None

    def find(self, text: str) -> list[tuple[int, int, int]]:
        """(number, start, end)."""
        if self._find is None:
            return []
        return self._find.find_matches_as_indexes(text, overlapping=True)

    def entries(self, number: int) -> tuple[_Entry, ...]:
        return self._entries[number]


class _Freed:
    """Where allowed words stand."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._reach = list(accumulate((end for _, end in ordered), max))

    def covers(self, start: int, end: int) -> bool:
        """Whether one of them holds this part: of those that begin no later, one that ends no sooner."""
        before = bisect_right(self._starts, start)
        return before > 0 and end <= self._reach[before - 1]


# Shops have a few lists between them; a shop without one of its own shares the shipped one.
_MOST_FILTERS: Final = 64
_filters: OrderedDict[str, Filter] = OrderedDict()


def filter_of(spec: Sensitive) -> Filter:
    """The same for equal lists: compiled once."""
    key = spec.model_dump_json()
    made = _filters.get(key)
    if made is None:
        made = _filters[key] = Filter(spec)
        if len(_filters) > _MOST_FILTERS:
            _filters.popitem(last=False)
    return made


class Filter:
    """``Sensitive``, compiled. Looking changes nothing and depends on nothing but the text."""

    def __init__(self, spec: Sensitive) -> None:
        self._spec = spec
        written: dict[str, list[_Entry]] = defaultdict(list)
        for entry in _entries(spec):
            written[self._spell(entry.word)].append(entry)
        written.pop("", None)
        allowed = {self._spell(word): (_Entry(word, ""),) for word in (*(ALLOWED if spec.shipped else ()), *spec.allow)}
        self._written = _Automaton(written)
        self._allowed = _Automaton({word: entry for word, entry in allowed.items() if word})
        self._once = _Automaton(_collapsed(written) if spec.evasions.repeats else {})
        self._heard = _Automaton(_by_sound(written) if spec.evasions.homophones else {})
        self._spelled = {entry: word for word, entries in written.items() for entry in entries}

    def look(self, text: str, direction: Direction) -> Finding | None:
        """None where there is nothing to say."""
        if not self._spec.enabled:
            return None
        hits = [*self.hits(text), *self._others(text, direction)]
        return self._finding(text, sorted(hits), direction) if hits else None

    def hits(self, text: str) -> list[Hit]:
        """The words in the text, in order; of those of a category that begin at one place, the longest."""
        plain = deep_text(text)
        if not plain:
            return []
        spelled = self._alike(plain)
        candidates = list(self._candidates(spelled))
        heard = list(self._by_ear(spelled))
        if not candidates and not heard:
            return []
        folded = deep_fold(text)
        # By ear and with signs between would be two disguises at once; ordinary sentences sound like many things where
        # they meet.
        candidates += [each for each in heard if all(map(folded.is_joined, range(each[1] + 1, each[2])))]
        freed = _Freed((start, end) for _, start, end in self._allowed.find(spelled))
        found: dict[tuple[int, str], Hit] = {}
        for entry, start, end in sorted(candidates, key=lambda each: (each[1], each[2])):
            if not self._is_whole(folded, start, end):
                continue
            if freed.covers(start, end):
                continue
            # Sorted: the longest from one place is the last, and takes the place of the others.
            found[start, entry.category] = Hit(*folded.span(start, end), entry.category, entry.word)
        return self._apart(sorted(found.values()))

    def _candidates(self, spelled: str) -> Iterator[tuple[_Entry, int, int]]:
        for number, start, end in self._written.find(spelled):
            for entry in self._written.entries(number):
                yield entry, start, end
        once = runs(spelled) if self._spec.evasions.repeats else None
        if once is not None:
            for number, start, end in self._once.find(once.text):
                for entry in self._once.entries(number):
                    if self._has_its_repeats(entry, once, start):
                        yield entry, once.starts[start], once.starts[end]

    def _by_ear(self, spelled: str) -> Iterator[tuple[_Entry, int, int]]:
        if self._spec.evasions.homophones and not spelled.isascii():
            for number, start, end in self._heard.find(sounds(spelled)):
                for entry in self._heard.entries(number):
                    yield entry, start, end

    def _has_its_repeats(self, entry: _Entry, once: Runs, start: int) -> bool:
        """Letters may come more often than in the word, but not less: "as" is not "ass"."""
        word = collapse(self._spelled[entry])
        return all(
            once.starts[start + at + 1] - once.starts[start + at] >= word.starts[at + 1] - word.starts[at]
            for at in range(len(word.text))
        )

    def _is_whole(self, folded: Folded, start: int, end: int) -> bool:
        if self._spec.whole_numbers:
            return folded.is_whole(start, end)
        # Only the ends that are letters have to be ends of words.
        text = folded.text
        return not (
            (folded.is_cut(start) and not text[start].isdecimal())
            or (folded.is_cut(end) and not text[end - 1].isdecimal())
        )

    def _apart(self, hits: list[Hit]) -> list[Hit]:
        kept: list[Hit] = []
        reach: dict[str, int] = {}
        furthest = 0
        for hit in hits:
            # In order of their beginnings: what reaches as far as this one holds it.
            inside = hit.end <= reach.get(hit.category, 0)
            if inside or (self._spec.overlaps == "leftmost" and hit.start < furthest):
                continue
            kept.append(hit)
            reach[hit.category] = max(hit.end, reach.get(hit.category, 0))
            furthest = max(furthest, hit.end)
        return kept

    def _others(self, text: str, direction: Direction) -> Iterator[Hit]:
        wanted = self._spec.contacts
        if wanted.email or wanted.url or wanted.ipv4:
            allowed = wanted.allowed_domains
            for start, end in contacts.addresses(
                text, email=wanted.email, url=wanted.url, ipv4=wanted.ipv4, allowed=allowed
            ):
                yield Hit(start, end, CONTACT, "")
        if wanted.min_digits is not None:
            for start, end in contacts.numbers(text, wanted.min_digits):
                yield Hit(start, end, CONTACT, "")
        personal = self._spec.personal_data
        kinds = personal.inbound if direction == "inbound" else personal.outbound
        if kinds:
            for found in find(text, kinds):
                yield Hit(found.start, found.end, PERSONAL, found.kind)

    def _finding(self, text: str, hits: list[Hit], direction: Direction) -> Finding:
        categories = tuple(dict.fromkeys(hit.category for hit in hits))
        handling = {category: self._handling(category) for category in categories}
        actions = {
            category: handled.inbound if direction == "inbound" else handled.outbound
            for category, handled in handling.items()
        }
        hide = [hit for hit in hits if actions[hit.category] != "none"]
        inbound = direction == "inbound"
        spans = dict.fromkeys((hit.start, hit.end, hit.category) for hit in hits)
        return Finding(
            categories,
            tuple(spans)[:_MOST_SPANS],
            "blocked" if "block" in actions.values() else "masked" if hide else "none",
            self._masked(text, hide) if hide else None,
            tuple(dict.fromkeys(flag for each in handling.values() for flag in each.flags)) if inbound else (),
            inbound and any(each.handover for each in handling.values()),
        )

    def _handling(self, category: str) -> Category:
        if category == CONTACT:
            return self._spec.contacts.handling
        if category == PERSONAL:
            return _HIDDEN
        return self._spec.handling(category)

    def _masked(self, text: str, hits: list[Hit]) -> str:
        letters = list(text)
        for hit in hits:
            hide = range(hit.start, hit.end)
            if hit.category == PERSONAL:
                hide = hidden(hit.start, hit.end, hit.word)  # type: ignore[arg-type]
            instead = self._spec.replacements.get(hit.word)
            for at in hide:
                letters[at] = self._spec.mask if instead is None else ""
            if instead is not None:
                letters[hit.start] = instead
        return "".join(letters)[:_LONGEST]

    def _spell(self, word: str) -> str:
        return self._alike(deep_text(word))

    def _alike(self, folded: str) -> str:
        evasions = self._spec.evasions
        return alike(folded, lookalikes=evasions.lookalikes, chinese_digits=evasions.chinese_digits)


def _entries(spec: Sensitive) -> Iterator[_Entry]:
    if spec.shipped:
        removed = {deep_text(word) for word in spec.remove}
        for row in shipped():
            if not removed or deep_text(row.word) not in removed:
                yield _Entry(row.word, row.category)
    for category, words in spec.words.items():
        for word in words:
            yield _Entry(word, category)


def _collapsed(written: Mapping[str, list[_Entry]]) -> dict[str, list[_Entry]]:
    """Words of one letter, repeated, are left out: 哈哈 must not become 哈."""
    found: dict[str, list[_Entry]] = defaultdict(list)
    for word, entries in written.items():
        once = collapse(word).text
        if len(once) > 1:
            found[once] += entries
    return found


def _by_sound(written: Mapping[str, list[_Entry]]) -> dict[str, list[_Entry]]:
    found: dict[str, list[_Entry]] = defaultdict(list)
    for word, entries in written.items():
        for heard in sounds_of_word(word):
            found[heard] += entries
    return found
