"""A support channel's log as conversations: lines of one channel, many customers and a few who answer, all mixed.

Columns ``log, timestamp_utc, nick, text``. Nobody is marked as staff: who addresses at least eight others by name is
one of those who answer. Whom a line of theirs is for: the person it names, else the one this person answered last, else
who wrote last. A customer's conversation ends after half an hour in which neither side said anything.

Names are never passed on: customers and staff become ``customer-7`` and ``agent-2``, also where somebody is named
in a line; addresses, links to other sites, telephone numbers and account numbers are masked.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from deskline.errors import UsageError

COLUMNS: Final = ["log", "timestamp_utc", "nick", "text"]
_ANSWERS_OTHERS: Final = 8
_APART_S: Final = 1800.0
_SAME_TARGET_S: Final = 600.0
# A line longer than IRC carries arrives as several within the same second.
_CONTINUED_S: Final = 1.0
_NICK: Final = re.compile(r"[A-Za-z0-9_\-\[\]\\`^{}|]+")
# Names that are words as well stand for the person only where somebody is addressed.
_WORDS: Final = frozenset({"nice", "rich", "cue", "pal", "pat", "som", "helpmeplease", "stripe_test", "simon", "riley"})
_NO_NAMES: Final = frozenset({"stripe", "guest", "light", "spread", "hitch", "sunshine"})
_KEPT_LINKS: Final = re.compile(r"https?://(?:(?:[\w-]+\.)*stripe\.com|github\.com/stripe)\b", re.IGNORECASE)
_MASKS: Final = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "[email]"),
    (re.compile(r"\b(?:sk|pk|rk|whsec)_(?:live_|test_)?\w{6,}"), "[key]"),
    (re.compile(r"\b(acct|cus|req|ch|pi|pm|src|sub|evt|in|tok|card|price|plan|prod|seti|si|txn|po|re|ba|tr)_(?=\w*\d)\w{8,}"), r"\1_x"),
    (re.compile(r"(?<![\w.])\+?\d[\d ()-]{8,}\d\b"), "[number]"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "[address]"),
)  # fmt: skip
_LINK: Final = re.compile(r"https?://[^\s>)\]]+")


@dataclass(frozen=True, slots=True)
class _Line:
    at_s: float
    nick: str
    text: str


@dataclass(slots=True)
class _Thread:
    number: int
    last_s: float
    turns: list[dict[str, Any]] = field(default_factory=list)


def conversations(lines: Iterable[str], where: str) -> Iterator[dict[str, Any]]:
    """Conversations in the demo's own form, with both sides in each; in the order in which they began."""
    read = list(_read(lines, where))
    everybody = {line.nick.lower(): line.nick for group in read for line in group}
    addressed = _addressed(read, everybody)
    staff = sorted(nick for nick, others in addressed.items() if len(others) >= _ANSWERS_OTHERS)
    rename = _Renaming(everybody, staff)
    number = 0
    for group in read:
        for thread in _threads(group, everybody, frozenset(staff), number):
            number = max(number, thread.number)
            if any(turn["from"] == "agent" for turn in thread.turns):
                yield _as_conversation(thread, rename)


def _read(lines: Iterable[str], where: str) -> Iterator[list[_Line]]:
    rows = csv.reader(lines, strict=True)
    if (head := next(rows, None)) != COLUMNS:
        raise UsageError(f"{where}:1: expected the columns {', '.join(COLUMNS)}; found {len(head or [])}")
    group: list[_Line] = []
    log = None
    for row in rows:
        try:
            name, stamp, nick, text = row
            at_s = datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise UsageError(
                f"{where}:{rows.line_num}: expected {', '.join(COLUMNS)}, with a time such as 2019-09-04T22:44:46"
            ) from None
        if name != log:
            if group:
                yield group
            group, log = [], name
        last = group[-1] if group else None
        if last is not None and last.nick == nick and at_s - last.at_s <= _CONTINUED_S:
            group[-1] = _Line(at_s, nick, f"{last.text}{'' if len(text) < 3 else ' '}{text}")
        else:
            group.append(_Line(at_s, nick, text))
    if group:
        yield group


def _named(text: str, everybody: dict[str, str]) -> list[str]:
    """Who is named in a line, in order."""
    words = _NICK.findall(text)
    found = []
    for index, word in enumerate(words):
        nick = everybody.get(word.lower())
        if nick is not None and (word.lower() not in _WORDS or (index == 0 and f"{word}:" in text)):
            found.append(nick)
    return found


def _addressed(groups: list[list[_Line]], everybody: dict[str, str]) -> dict[str, set[str]]:
    addressed: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        for line in group:
            addressed[line.nick] |= {nick for nick in _named(line.text, everybody) if nick != line.nick}
    return addressed


def _threads(lines: list[_Line], everybody: dict[str, str], staff: frozenset[str], number: int) -> list[_Thread]:
    live: dict[str, _Thread] = {}
    done: list[_Thread] = []
    answered: dict[str, tuple[str, float]] = {}
    last_customer: str | None = None
    for line in lines:
        if line.nick in staff:
            named = [nick for nick in _named(line.text, everybody) if nick in live]
            before = answered.get(line.nick)
            recent = before[0] if before is not None and line.at_s - before[1] <= _SAME_TARGET_S else None
            target = named[0] if named else recent or last_customer
            thread = live.get(target) if target is not None else None
            if target is None or thread is None or line.at_s - thread.last_s > _APART_S:
                continue
            answered[line.nick] = (target, line.at_s)
            _say(thread, "agent", line)
            continue
        if any(nick not in staff and nick != line.nick for nick in _named(line.text, everybody)):
            continue  # customers among themselves
        last_customer = line.nick
        thread = live.get(line.nick)
        if thread is None or line.at_s - thread.last_s > _APART_S:
            number += 1
            thread = live[line.nick] = _Thread(number, line.at_s)
            done.append(thread)
        _say(thread, "customer", line)
    return done


def _say(thread: _Thread, party: str, line: _Line) -> None:
    thread.last_s = line.at_s
    thread.turns.append({"from": party, "at": line.at_s, "text": line.text})


class _Renaming:
    """Names to ``customer-n`` and ``agent-n``, numbered by the order of the alphabet."""

    def __init__(self, everybody: dict[str, str], staff: list[str]) -> None:
        others = sorted(set(everybody.values()) - set(staff), key=str.lower)
        self._new = {nick.lower(): f"agent-{n}" for n, nick in enumerate(staff, 1)}
        self._new |= {nick.lower(): f"customer-{n}" for n, nick in enumerate(others, 1)}
        # People are called by the letters of their names, without the number behind.
        for nick in sorted(self._new):
            letters = re.fullmatch(r"([a-z]{4,})\d+", nick)
            if letters is not None and letters[1] not in _NO_NAMES:
                self._new.setdefault(letters[1], self._new[nick])

    def __call__(self, text: str) -> str:
        masked = _LINK.sub(lambda link: link[0] if _KEPT_LINKS.match(link[0]) else "[link]", text)
        for pattern, instead in _MASKS:
            masked = pattern.sub(instead, masked)
        pieces = re.split(f"({_LINK.pattern})", masked)
        return "".join(piece if index % 2 else self._names(piece) for index, piece in enumerate(pieces))

    def _names(self, text: str) -> str:
        def instead(word: re.Match[str]) -> str:
            found = word[0].lower()
            if found in _WORDS and not (word.start() == 0 and text[word.end() : word.end() + 1] in (":", ",")):
                return word[0]
            return self._new.get(found, word[0])

        return _NICK.sub(instead, text)


def _as_conversation(thread: _Thread, rename: _Renaming) -> dict[str, Any]:
    began = thread.turns[0]["at"]
    turns = [
        {"at_s": round(turn["at"] - began, 1), "from": turn["from"], "text": rename(turn["text"])}
        for turn in thread.turns
    ]
    return {"id": f"irc-{thread.number:03d}", "channel": "chat", "language": "en", "turns": turns}
