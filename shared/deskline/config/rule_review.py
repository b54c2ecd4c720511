"""What is wrong with a shop's rules, and what can hardly be meant. Pure; of a document that is complete (``inherited``,
``with_scenarios``).

Mistakes: names in braces that nobody gives a value, scenarios and calendars that there are not. Warnings: rules that never
decide because others before them always do, or because their own conditions contradict each other, and ties: rules of one
priority that one word can call, where only their order in the file decides.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from daachorse import CharwiseDoubleArrayAhoCorasick

from deskline.config.rule_patterns import compile_pattern
from deskline.config.rule_templates import NAME, VARIABLES, parse_template, variables_of
from deskline.config.scenario_sets import scenario_sets
from deskline.folding import deep_text
from deskline.text import fold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from deskline.config.rules_document import AutoreplyRule, RuleCondition, RulesDocument
    from deskline.config.yaml_source import Path

# Only these may a shop state for all its customers; the others are facts about one customer or message.
_SHOP_WIDE: Final = frozenset({"agent_hours", "coupon"})
# Nobody reads more of a kind; and a set of a hundred thousand keywords has thousands.
_MOST: Final = 50
_MOST_ALWAYS: Final = 200
# Rules of one priority and word that are compared with each other.
_MOST_TIED: Final = 20
# What is true of a message or not.
_YES_OR_NO: Final = ("open", "surge", "first_message", "attachment", "order", "product")
# Some ten milliseconds for one pair of rules.
_MOST_COMPARED: Final = 100_000


class Remark(NamedTuple):
    path: Path
    message: str


# --- mistakes ---------------------------------------------------------------------------------------------------


def mistakes(document: RulesDocument, calendars: Collection[str]) -> Iterator[Remark]:
    """``calendars``: the names of the shop's calendars."""
    for name in document.constants:
        if name in VARIABLES and name not in _SHOP_WIDE:
            yield Remark(
                ("constants", name), f"{{{name}}} is of the customer or the message; a shop cannot give it a value"
            )
        elif NAME.fullmatch(name) is None:
            yield Remark(("constants", name), f"{name!r} cannot stand in braces; use letters, digits and _")
    for index, use in enumerate(document.scenarios):
        if use.name not in scenario_sets():
            known = ", ".join(scenario_sets())
            yield Remark(("scenarios", index, "name"), f"no scenario is named {use.name!r}; there are {known}")
        if any(other.name == use.name for other in document.scenarios[:index]):
            # Its rules would have the ids of those that are there, and be left out without a word.
            message = f"scenario {use.name!r} is listed twice, and only the first would count; keep one"
            yield Remark(("scenarios", index), message)
    known_names = {*VARIABLES, *document.constants, *_of_scenarios(document)}
    for index, rule in enumerate(document.rules):
        here: Path = ("rules", index)
        for path, text in _texts(rule):
            for name in variables_of(text):
                if name not in known_names:
                    given = ", ".join(f"{{{known}}}" for known in (*VARIABLES, *sorted(document.constants)))
                    yield Remark((*here, *path), f"nobody gives {{{name}}} a value; there are {given}")
        for field in ("during", "not_during"):
            for place, window in enumerate(getattr(rule.when, field) or ()):
                for key in ("calendar", "closed"):
                    name = getattr(window, key)
                    if name is not None and name not in calendars:
                        there = ", ".join(sorted(calendars))
                        message = f"no calendar is named {name!r}; there are {there}"
                        yield Remark((*here, "when", field, place, key), message)


def _of_scenarios(document: RulesDocument) -> set[str]:
    """What a shop may state for the sets that it uses; they have words for where it does not."""
    used = [scenario_sets()[use.name] for use in document.scenarios if use.name in scenario_sets()]
    rules = (rule for set_ in used for rule in (*set_.zh, *set_.en))
    return {name for rule in rules for _, text in _texts(rule) for name in variables_of(text)}


def _texts(rule: AutoreplyRule) -> Iterator[tuple[Path, str]]:
    if rule.reply is None:
        return
    if rule.reply.text is not None:
        yield ("reply", "text"), rule.reply.text
    for place, variant in enumerate(rule.reply.variants or ()):
        yield ("reply", "variants", place, "text"), variant.text


# --- warnings ---------------------------------------------------------------------------------------------------


def warnings(document: RulesDocument, *, first: int = 0, until: int | None = None) -> Iterator[Remark]:
    """About the rules from ``first`` to before ``until`` (of the document; the others are looked at beside them)."""
    enabled = [(index, rule) for index, rule in enumerate(document.rules) if not rule.disabled]
    order = sorted(enabled, key=lambda pair: -pair[1].priority)
    asked = range(first, len(document.rules) if until is None else until)
    remarks = (
        *_contradictions(order),
        *_covered(order),
        *_ties(order),
        *_looked_at_always(order),
    )
    yield from (remark for remark in remarks if remark.path[1] in asked)


def braces(document: RulesDocument) -> Iterator[Remark]:
    """Answers of the knowledge base with a variable in braces: only the replies of rules have variables."""
    names = {*VARIABLES, *document.constants}
    knowledge = document.knowledge
    texts = [*(("entries", n, "answer", entry.answer) for n, entry in enumerate(knowledge.entries))]
    texts += [("promotions", n, "text", promotion.text) for n, promotion in enumerate(knowledge.promotions)]
    for part, index, field, text in texts:
        name = next((name for name in variables_of(text) if name in names), None)
        if name is not None:
            yield Remark(
                ("knowledge", part, index, field),
                f"{{{name}}} would reach the customer as it stands: only the replies of rules have variables; "
                "make it a rule, or leave it out",
            )


def _contradictions(order: list[tuple[int, AutoreplyRule]]) -> Iterator[Remark]:
    count = 0
    for index, rule in order:
        reason = _contradiction(rule.when)
        if reason is not None and count < _MOST:
            count += 1
            yield Remark(("rules", index), f"rule {rule.rule_id!r} can never match: {reason}")


def _contradiction(when: RuleCondition) -> str | None:
    none = [deep_text(word) or fold(word) for word in when.none_of or ()]
    forbidden = [word for word in when.all_of or () if any(bad in (deep_text(word) or fold(word)) for bad in none)]
    if forbidden:
        return f"all_of needs {forbidden[0]!r}, which none_of forbids"
    for name in ("any_of", "exact"):
        words = getattr(when, name)
        if words and none and all(any(bad in (deep_text(word) or fold(word)) for bad in none) for word in words):
            return f"whatever {name} finds, none_of forbids"
    if when.exact and when.all_of:
        needed = [deep_text(word) for word in when.all_of]
        if not any(all(word in deep_text(text) for word in needed) for text in when.exact):
            return "no text of exact has what all_of needs"
    if when.exact and when.any_of:
        wanted = [deep_text(word) or fold(word) for word in when.any_of]
        if not any(word in deep_text(text) or word in fold(text) for word in wanted for text in when.exact):
            return "no text of exact has a word of any_of"
    if when.attachment is False and when.attachment_kinds:
        return "attachment_kinds needs an attachment, attachment: false forbids it"
    if when.during and all(window.calendar and window.calendar == window.closed for window in when.during):
        return "during wants one calendar open and closed at once"
    return None


class _Facts(NamedTuple):
    """A rule's conditions, folded."""

    at: int
    """In the document."""
    rule: AutoreplyRule
    any_of: frozenset[str]
    all_of: frozenset[str]
    none_of: frozenset[str]
    exact: frozenset[str]

    @classmethod
    def of(cls, index: int, rule: AutoreplyRule) -> _Facts:
        def folded(words: tuple[str, ...] | None) -> frozenset[str]:
            return frozenset(deep_text(word) or fold(word) for word in words or ())

        when = rule.when
        return cls(index, rule, *map(folded, (when.any_of, when.all_of, when.none_of, when.exact)))

    def sample(self) -> str | None:
        """Every word that some text it matches is sure to have; None: it needs none. Control characters keep words apart."""
        words = [*self.all_of, *(min(words) for words in (self.any_of, self.exact) if words)]
        return "\0".join(words) or None


def _covered(order: list[tuple[int, AutoreplyRule]]) -> Iterator[Remark]:
    """Rules that match only where one before them does."""
    facts = [_Facts.of(index, rule) for index, rule in order if _decides(rule)]
    places = {id(one): place for place, one in enumerate(facts)}
    by_word: dict[str, list[_Facts]] = defaultdict(list)
    wordless: list[_Facts] = []
    for one in facts:
        words = one.any_of or one.all_of
        for word in words:
            by_word[word].append(one)
        if not words:
            wordless.append(one)
    find = _finder(list(by_word))
    count = 0
    for place, one in enumerate(facts):
        sample = one.sample()
        near = wordless if sample is None else [*wordless, *(other for word in find(sample) for other in by_word[word])]
        if count >= _MOST:
            return
        earlier = {places[id(other)]: other for other in near if places[id(other)] < place}
        other = next((earlier[at] for at in sorted(earlier) if _covers(earlier[at], one)), None)
        if other is not None:
            count += 1
            yield Remark(
                ("rules", one.at),
                f"rule {one.rule.rule_id!r} is shadowed: whatever it matches, {other.rule.rule_id!r} (priority "
                f"{other.rule.priority}, before it) matches too, and decides; raise its priority, or narrow the other",
            )


def _decides(rule: AutoreplyRule) -> bool:
    return rule.reply is not None or rule.handover is not None or rule.silent


def _rests(rule: AutoreplyRule) -> bool:
    """Whether the rule steps aside now and then on purpose, so that one behind it has its turn: a cooldown, or a text that
    cannot always be filled in.
    """
    if rule.handover is not None or rule.silent or rule.reply is None:
        return False
    return bool(rule.cooldown_s) or all(
        any(piece.variable and piece.default is None for piece in parse_template(text)) for _, text in _texts(rule)
    )


def _covers(a: _Facts, b: _Facts) -> bool:
    """Whether every message that ``b`` matches is matched by ``a``, as far as can be told from the conditions."""
    if a.rule.unless_answered and b.rule.handover is None:
        return False
    return not _rests(a.rule) and _words_cover(a, b) and _values_cover(a.rule.when, b.rule.when)


def _words_cover(a: _Facts, b: _Facts) -> bool:
    def sure(word: str) -> bool:
        """Whether whatever ``b`` matches contains this."""
        if any(word in one for one in b.all_of):
            return True
        return any(bool(those) and all(word in one for one in those) for those in (b.any_of, b.exact))

    if a.exact and not (b.exact and b.exact <= a.exact):
        return False
    if a.any_of and not (
        any(sure(word) for word in a.any_of)
        or any(those and _all_contain(those, a.any_of) for those in (b.any_of, b.exact))
    ):
        return False
    if not all(map(sure, a.all_of)):
        return False
    return all(
        any(bad in word for bad in b.none_of) or bool(b.exact and not any(word in text for text in b.exact))
        for word in a.none_of
    )


def _all_contain(texts: frozenset[str], words: frozenset[str]) -> bool:
    """Whether each text contains one of the words; between long lists only equal ones are seen."""
    if len(texts) * len(words) > _MOST_COMPARED:
        return texts <= words
    return all(one in words or any(word in one for word in words) for one in texts)


def _values_cover(a: RuleCondition, b: RuleCondition) -> bool:
    for name in _YES_OR_NO:
        wanted = getattr(a, name)
        if wanted is not None and getattr(b, name) != wanted:
            return False
    for name in ("tiers", "channels", "entry_points", "languages", "attachment_kinds"):
        admitted = getattr(a, name)
        if admitted is not None and not (getattr(b, name) is not None and set(getattr(b, name)) <= set(admitted)):
            return False
    for name in ("phrases", "patterns", "during"):
        some = getattr(a, name)
        if some is not None and not (getattr(b, name) is not None and all(one in some for one in getattr(b, name))):
            return False
    return a.not_during is None or (b.not_during is not None and all(one in b.not_during for one in a.not_during))


def _ties(order: list[tuple[int, AutoreplyRule]]) -> Iterator[Remark]:
    """Rules of one priority that one word calls: only their order in the file says which decides."""
    by_word: dict[tuple[int, str], list[_Facts]] = defaultdict(list)
    tied: dict[tuple[int, int], bool] = {}
    told: set[tuple[int, int]] = set()
    count = 0

    def is_tied(other: _Facts, one: _Facts) -> bool:
        pair = (other.at, one.at)
        if pair not in tied:
            tied[pair] = not _apart(other, one)
        return tied[pair]

    for index, rule in order:
        if not _decides(rule):
            continue
        one = _Facts.of(index, rule)
        for word in (*one.any_of, *(one.exact if not one.any_of else ())):
            before = by_word[rule.priority, word]
            # Not simply the first: what excludes that one may still meet another.
            other = next((each for each in before if is_tied(each, one)), None)
            if len(before) < _MOST_TIED:
                before.append(one)
            if other is None or (other.at, index) in told:
                continue
            told.add((other.at, index))
            count += 1
            if count > _MOST:
                return
            yield Remark(
                ("rules", index),
                f"rules {other.rule.rule_id!r} and {rule.rule_id!r} have the same priority ({rule.priority}), and {word!r} "
                f"calls both: {other.rule.rule_id!r} decides because it stands first; give one a greater priority",
            )


def _apart(a: _Facts, b: _Facts) -> bool:
    """Whether no message can meet both, or the first steps aside for the second on purpose, or one is covered: told already."""
    if a.rule.unless_answered and b.rule.handover is None:
        return True
    left, right = a.rule.when, b.rule.when
    for name in _YES_OR_NO:
        if None not in (getattr(left, name), getattr(right, name)) and getattr(left, name) != getattr(right, name):
            return True
    for name in ("tiers", "channels", "entry_points", "languages"):
        mine, theirs = getattr(left, name), getattr(right, name)
        if mine is not None and theirs is not None and not set(mine) & set(theirs):
            return True
    if any(bad in word for bad in a.none_of for word in (*b.all_of, *b.any_of)):
        return True
    if any(bad in word for bad in b.none_of for word in (*a.all_of, *a.any_of)):
        return True
    return left.during != right.during or left.not_during != right.not_during or _rests(a.rule) or _covers(a, b)


def _looked_at_always(order: list[tuple[int, AutoreplyRule]]) -> Iterator[Remark]:
    """Regular expressions that no word leads to cost every message a microsecond or two each."""
    count = 0
    for index, rule in order:
        when = rule.when
        if when.patterns is None or when.any_of or when.all_of or when.exact or when.phrases:
            continue
        count += sum(compile_pattern(pattern).literals is None for pattern in when.patterns)
        if count > _MOST_ALWAYS:
            yield Remark(
                ("rules", index, "when", "patterns"),
                f"more than {_MOST_ALWAYS} regular expressions have no word that must be there, and are tried on every message; "
                "add any_of to their rules",
            )
            return


def _finder(words: list[str]) -> _Find:
    if not words:
        return lambda _: ()
    find = CharwiseDoubleArrayAhoCorasick(words).find_overlapping
    return lambda text: {words[number] for _, _, number in find(text)}


if TYPE_CHECKING:
    from collections.abc import Callable

    _Find = Callable[[str], Iterable[str]]
