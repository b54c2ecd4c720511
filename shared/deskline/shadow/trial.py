"""The report of a trial: how fast, how much, and what people answered instead. Pure.

*Speed*: from the message's event time to the instant at which autoreply decided it, against the first thing that an agent
wrote later than the message, or named it as answered. *Coverage*: of the messages that nobody owned, so that the rules were
asked, and of all messages of the shop in that time. *Instead*: what the agent wrote, beside what would have been sent; what
identifies a person is taken out before anything is kept.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from deskline.shadow.comparison import counted, share

SECOND: Final = 1_000_000
_PAIRS: Final = 5
"""Pairs shown of a rule or entry: enough to see whether people say the same."""
_GROUPS: Final = 50
_LONGEST: Final = 300
"""Characters of an agent's text that are shown."""


class Trial(NamedTuple):
    """Times in µs."""

    shop_id: str
    rules_version: int
    started_at: int
    until: int
    then_what: str
    started_by: str
    trial_id: int = 0
    stopped_at: int | None = None

    @property
    def ends(self) -> int:
        return self.until if self.stopped_at is None else min(self.until, self.stopped_at)


class Tried(NamedTuple):
    """What the shop's rules would have done about a message."""

    subject: str
    message_id: str
    at: int
    outcome: str
    reason: str | None
    rule_id: str | None
    entry_id: str | None
    kind: str | None
    text: str | None

    @property
    def answers(self) -> bool:
        return self.outcome == "reply"


class Said(NamedTuple):
    """An agent's message."""

    at: int
    text: str
    in_reply_to: str | None


@dataclass(slots=True)
class Evidence:
    tried: list[Tried]
    said: dict[str, list[Said]] = field(default_factory=dict)
    """By conversation."""
    decided_at: dict[tuple[str, str], int] = field(default_factory=dict)
    received: set[tuple[str, str]] = field(default_factory=set)
    private: dict[str, set[str]] = field(default_factory=dict)
    """By conversation: names and order numbers that the gateway gave with it."""


def report(trial: Trial, found: Evidence, mask: Callable[[str], str]) -> dict[str, Any]:
    """Plain values, as in ``--json``. ``mask`` hides numbers of people in a text."""
    answers = {tried: _first_answer(tried, found.said.get(tried.subject, ())) for tried in found.tried}
    would = [tried for tried in found.tried if tried.answers]
    return {
        "trial": {
            "trial_id": trial.trial_id,
            "shop": trial.shop_id,
            "rules_version": trial.rules_version,
            "hours": round((trial.ends - trial.started_at) / SECOND / 3600, 2),
            "then": trial.then_what,
            "stopped_early": trial.ends < trial.until,
        },
        "speed": _speed(would, answers, found),
        "coverage": _coverage(found, would),
        "instead": _instead(found, answers, mask),
    }


def _first_answer(tried: Tried, said: Iterable[Said]) -> Said | None:
    answers = (word for word in said if word.at > tried.at or word.in_reply_to == tried.message_id)
    return min(answers, key=lambda word: word.at, default=None)


# --- speed ----------------------------------------------------------------------------------------------------------------


def summary(delays: Iterable[int]) -> dict[str, float]:
    """Of delays in µs: how many, mean, median and 90th percentile in seconds (nearest rank)."""
    ordered = sorted(max(0, delay) for delay in delays)
    if not ordered:
        return {"count": 0}
    return {
        "count": len(ordered),
        "mean_s": round(sum(ordered) / len(ordered) / SECOND, 3),
        "p50_s": round(_percentile(ordered, 50) / SECOND, 3),
        "p90_s": round(_percentile(ordered, 90) / SECOND, 3),
    }


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[-(-len(ordered) * percent // 100) - 1]


def _speed(would: Sequence[Tried], answers: dict[Tried, Said | None], found: Evidence) -> dict[str, Any]:
    """On the messages that would have been answered: both sides of the same ones."""
    decided = ((tried, found.decided_at.get((tried.subject, tried.message_id))) for tried in would)
    people = [answer.at - tried.at for tried in would if (answer := answers[tried]) is not None]
    return {
        "autoreply": summary(at - tried.at for tried, at in decided if at is not None),
        "people": summary(people),
        "people_all": summary(answer.at - tried.at for tried, answer in answers.items() if answer is not None),
        "never_answered_by_people": len(would) - len(people),
    }


# --- coverage -------------------------------------------------------------------------------------------------------------


def _coverage(found: Evidence, would: Sequence[Tried]) -> dict[str, Any]:
    tried = found.tried
    return {
        "messages": len(found.received),
        "asked": len(tried),
        "answered": len(would),
        "share_of_asked": share(len(would), len(tried)),
        "share_of_messages": share(len(would), len(found.received)),
        "conversations": len({row.subject for row in tried}),
        "outcomes": counted(Counter(row.outcome for row in tried), ("reply", "both", "handover", "ignored")),
        "handover_reasons": counted(Counter(row.reason for row in tried if row.outcome in ("handover", "both") and row.reason)),
        "by_rule": counted(Counter(row.rule_id for row in would if row.rule_id)),
        "by_entry": counted(Counter(row.entry_id for row in would if row.entry_id)),
        "by_kind": counted(Counter(row.kind for row in would if row.kind)),
    }  # fmt: skip


# --- what people answered instead -----------------------------------------------------------------------------------------


def _instead(found: Evidence, answers: dict[Tried, Said | None], mask: Callable[[str], str]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Tried]] = {}
    for tried in found.tried:
        if tried.text is not None:
            groups.setdefault((tried.rule_id or "", tried.entry_id or ""), []).append(tried)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))[:_GROUPS]
    return [
        {
            **({"rule_id": rule} if rule else {}),
            **({"entry_id": entry} if entry else {}),
            "would_be": len(members),
            "answered_by_people": sum(answers[tried] is not None for tried in members),
            "pairs": _pairs(members, answers, found, mask),
        }
        for (rule, entry), members in ordered
    ]


def _pairs(
    members: Sequence[Tried], answers: dict[Tried, Said | None], found: Evidence, mask: Callable[[str], str]
) -> list[dict[str, str]]:
    """Each answer of people once, in the order in which they came."""
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for tried in members:
        answer = answers[tried]
        if answer is None or tried.text is None:
            continue
        text = shown(answer.text, found.private.get(tried.subject, ()), mask)
        pairs.setdefault((tried.text, text), {"would_be": tried.text, "people": text})
        if len(pairs) == _PAIRS:
            break
    return list(pairs.values())


def shown(text: str, private: Iterable[str], mask: Callable[[str], str]) -> str:
    """An agent's text without what identifies the customer: his name and orders as the gateway gave them, numbers, addresses."""
    for word in sorted(private, key=len, reverse=True):
        text = text.replace(word, "*" * len(word))
    text = mask(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
