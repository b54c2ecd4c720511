"""What the knowledge base says, as plain values: all of it that decisions see."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# Below, an entry is not what the agent is looking for, nor worth to be called near.
NEAR: Final = 0.1


class Candidate(NamedTuple):
    entry_id: str
    confidence: float
    """How probably it is the right entry, 0 to 1."""
    phrasing: str
    """Its first."""
    answer: str
    kind: str
    parts: tuple[tuple[str, float], ...] = ()
    """Some of the scores behind it, by name."""


class Context(NamedTuple):
    """What a conversation has in mind."""

    product_id: str | None = None
    """Of the message."""
    item: str = ""
    """Of the last minutes; empty: none."""
    offered: tuple[str, ...] = ()
    """Entries of a list that the customer was given just now."""


ALONE: Final = Context()


class Answer(NamedTuple):
    """What the knowledge base says to a message."""

    sure: Candidate | None
    """Answers by itself."""
    near: tuple[Candidate, ...]
    """At most three that come near, best first; the sure one among them."""
    item: str = ""
    """What the conversation is about after this message; empty: no product."""


NOTHING: Final = Answer(None, ())


_CHINESE: Final = re.compile(r"[\u3400-\u9fff]")


def list_of(near: tuple[Candidate, ...], question: str) -> str:
    """The one short list to choose from, in the language of the question."""
    lines = "\n".join(f"{number}. {candidate.phrasing}" for number, candidate in enumerate(near, start=1))
    if _CHINESE.search(question):
        return f"您是想问下面哪一个呢？\n{lines}\n回复数字就可以；都不是的话，请再说一句，马上为您转人工。"
    return f"Is it one of these?\n{lines}\nAnswer with its number; if it is none of them, write again and a colleague takes over."
