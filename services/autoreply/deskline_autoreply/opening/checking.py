"""What a shop lacks before it answers customers. Pure: the documents and what was tried in, one finding per requirement out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from deskline.config.documents import AgentsDocument
from deskline.config.rules_document import AutoreplyRule, RulesDocument
from deskline.config.sensitive_list import shipped
from deskline_autoreply.opening.plan import FEWEST, PER_PERSON
from deskline_autoreply.policy.sensitive import filter_of

TRIAL_HOURS: Final = 48
_PATIENCE_S: Final = 3.0
"""Without an outcome for so long a message goes to a person (``patience_s``)."""
_AFTER_SALES: Final = ("退", "换货", "售后", "return", "refund", "exchange")
_SHIPPED_TRIED: Final = 25
"""The shipped list has its own measurement; here every so-manieth word says whether the filter is on."""


class Tried(NamedTuple):
    """The busiest minute of a shop on record."""

    conversations: int
    messages: int
    without_outcome: int
    p99_s: float
    """From the broker's timestamp of a message to that of its outcome."""


class Trial(NamedTuple):
    hours: float
    """That it lasted, or has lasted."""
    over: bool
    stopped_early: bool
    messages: int
    """Decided by the shop's rules meanwhile."""
    answered: int
    p90_s: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """``key`` names a sentence of ``words``; ``values`` are its names in braces."""

    requirement: str
    ok: bool
    key: str
    values: dict[str, Any]


def findings(
    rules: RulesDocument,
    agents: AgentsDocument,
    at_once: int,
    trials: Sequence[Trial] | None,
    load: Tried | None,
    *,
    load_known: bool = True,
) -> list[Finding]:
    """``at_once``: customers whom the shop expects at a time. ``trials`` None, ``load_known`` False: no database was given to look in."""
    return [
        *_templates(rules),
        _staffing(agents, at_once),
        _words(rules),
        _load(load, at_once, known=load_known),
        _trial(trials),
    ]


# --- templates ------------------------------------------------------------------------------------------------------------


def _templates(rules: RulesDocument) -> Iterator[Finding]:
    """Three: the welcome, what is said outside hours, and the after-sales promise."""
    live = [rule for rule in rules.rules if not rule.disabled and rule.reply is not None]
    welcome = [rule.rule_id for rule in live if rule.reply is not None and rule.reply.kind == "greeting"]
    away = [r.rule_id for r in live if (r.reply is not None and r.reply.kind == "off_hours") or r.when.open is False]
    taken = {*welcome, *away}
    promise = [rule.rule_id for rule in live if rule.rule_id not in taken and _about_after_sales(_texts(rule))]
    promise += [entry.entry_id for entry in rules.knowledge.entries if _about_after_sales((entry.answer,))]
    for name, found in (("greeting", welcome), ("off_hours", away), ("after_sales", promise)):
        key = f"template {name}" if found else f"no template {name}"
        yield Finding("templates", bool(found), key, {"rule": found[0] if found else ""})


def _texts(rule: AutoreplyRule) -> list[str]:
    return [] if rule.reply is None else [variant.text for variant in rule.reply.texts]


def _about_after_sales(texts: Iterable[str]) -> bool:
    return any(word in text.lower() for text in texts for word in _AFTER_SALES)


# --- people ---------------------------------------------------------------------------------------------------------------


def _staffing(agents: AgentsDocument, at_once: int) -> Finding:
    people = sum(agent.capacity > 0 and not agent.reserve for agent in agents.agents)
    needed = max(FEWEST, -(-at_once // PER_PERSON))
    values = {"people": people, "needed": needed, "at_once": at_once, "more": needed - people, "ratio": PER_PERSON}
    return Finding("staffing", people >= needed, "staffed" if people >= needed else "too few", values)


# --- sensitive words ------------------------------------------------------------------------------------------------------


def _words(rules: RulesDocument) -> Finding:
    """Tried here and now: the shop's words in a sentence are found, and the shop's own replies are left alone."""
    spec = rules.sensitive
    if not spec.enabled:
        return Finding("words", False, "words off", {})
    look = filter_of(spec).look
    gone = set(spec.remove) | set(spec.allow)
    own = [word for words in spec.words.values() for word in words]
    tried = own + ([row.word for row in shipped()][::_SHIPPED_TRIED] if spec.shipped else [])
    tried = [word for word in tried if word not in gone]
    if not tried:
        return Finding("words", False, "no words", {})
    missed = [word for word in tried if look(f"请问 {word} 可以吗", "inbound") is None]
    held = [rule.rule_id for rule in rules.rules for text in _texts(rule) if _held(look(text, "outbound"))]
    values = {"tried": len(tried), "own": len(own), "missed": len(missed), "rules": ", ".join(dict.fromkeys(held))}
    if missed:
        return Finding("words", False, "words missed", values)
    return Finding("words", not held, "words hold replies" if held else "words tried", values)


def _held(found: Any) -> bool:
    return found is not None and found.action in ("masked", "blocked")


# --- what was tried -------------------------------------------------------------------------------------------------------


def _load(load: Tried | None, at_once: int, *, known: bool) -> Finding:
    if load is None:
        return Finding("load", False, "no load" if known else "load not known", {"at_once": at_once})
    values = {**load._asdict(), "at_once": at_once, "patience_s": _PATIENCE_S}
    if load.conversations < at_once:
        return Finding("load", False, "load too small", values)
    if load.without_outcome or load.p99_s > _PATIENCE_S:
        return Finding("load", False, "load too slow", values)
    return Finding("load", True, "load tried", values)


def _trial(trials: Sequence[Trial] | None) -> Finding:
    """Passed: the full time, not cut short, with messages, and the robot in time with nine of ten."""
    if not trials:
        return Finding("trial", False, "trial not known" if trials is None else "no trial", {"hours": TRIAL_HOURS})
    judged = [_judged(trial) for trial in trials]
    return next((finding for finding in judged if finding.ok), judged[0])


def _judged(trial: Trial) -> Finding:
    values = {**trial._asdict(), "needed": TRIAL_HOURS, "left": max(0.0, TRIAL_HOURS - trial.hours)}
    if not trial.over:
        return Finding("trial", False, "trial running", values)
    if trial.stopped_early or trial.hours < TRIAL_HOURS:
        return Finding("trial", False, "trial short", values)
    if not trial.messages:
        return Finding("trial", False, "trial without messages", values)
    if trial.p90_s is not None and trial.p90_s > 30:
        return Finding("trial", False, "trial slow", values)
    return Finding("trial", True, "trial passed", values)
