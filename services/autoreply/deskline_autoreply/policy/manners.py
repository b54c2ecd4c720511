"""Whether the robot may speak at all: not to machines, not to its own echo, not for ever.

Nobody waits because of it: where it may not speak, the rule that would have is passed over, and in the end the fallback asks
for a person (docs/decisions/0510). Only machines and echoes, who are nobody, are left unanswered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from deskline.text import fold
from deskline_autoreply.policy.history import digest

if TYPE_CHECKING:
    from deskline.config.rules_document import Guard
    from deskline_autoreply.policy.history import History

# Shorter than this people say the same as we do: "好的", "thanks".
_ECHO_FROM: Final = 6
_QUOTES: Final = "「」『』“”\"'‘’《》【】[]()（）>|~*-"
# "[自动回复] …", "客服: …": what a program puts before the text that it repeats.
_PREFIX: Final = re.compile(r"^(?:[\[【(（][^\]】)）]{1,20}[\]】)）]|[^:：\n]{1,20}[:：])\s*")
# "1. …", "② …": whoever sends a line of a list has chosen it.
_CHOICE: Final = re.compile(r"\s*(?:[0-9０-９一二三四五六七八九十]{1,2}\s*[.．、:：)）](?!\d)|[①-⑳])")
_MOST_LINES: Final = 8
# More than anybody quotes.
_MOST_ECHO: Final = 4_000

LIMIT: Final = "reply_limit"
LOOP: Final = "loop"


def digests(text: str) -> list[int]:
    """Of a text that we send: the whole, then its lines (but those to choose from), as an echo of them would have them."""
    lines = [_bare(line) for line in text.splitlines()[:_MOST_LINES] if not _CHOICE.match(line)]
    return [digest(fold(text)), *(digest(line) for line in lines if len(line) >= _ECHO_FROM)]


def is_echo(said: list[list[int]], text: str, text_digest: int) -> bool:
    """Whether a customer's text is one of our last texts again, in whole or in lines, quoted or with something put before."""
    if not said or not text_digest or len(text) > _MOST_ECHO:
        return False
    known = {one for digests_ in said for one in digests_}
    folded = _bare(text)
    if len(folded) < _ECHO_FROM:
        return False
    if text_digest in known or digest(folded) in known:
        return True
    lines = [line for line in text.splitlines() if _bare(line)]
    return bool(lines) and all(_is_line(line, known) for line in lines)


def _is_line(line: str, known: set[int]) -> bool:
    bare = _bare(line)
    if len(bare) >= _ECHO_FROM and digest(bare) in known:
        return True
    rest = _bare(_PREFIX.sub("", line.strip(), count=1))
    return len(rest) >= _ECHO_FROM and digest(rest) in known


def _bare(text: str) -> str:
    return fold(text).strip(_QUOTES)


def must_be_quiet(guard: Guard, history: History, at: int) -> str | None:
    """Why no reply may go out in this conversation now (a flag for people), None if it may."""
    if history.replies >= guard.max_replies:
        return LIMIT
    since = at - round(guard.loop_s * 1e6)
    return LOOP if sum(since < replied <= at for replied in history.replied) >= guard.loop_replies else None
