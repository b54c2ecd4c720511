"""A directory of configuration → validated documents, or everything that is wrong with it, with file, line and column.

``<directory>/<shop>/<document>.yaml``; the folder ``_default`` must be there. A document that ``_default`` lacks is all
defaults; one that another shop lacks is ``_default``'s. The directory is taken or refused as a whole: documents refer to
each other, and half a configuration is one that nobody wrote. ``knowledge.yaml`` and ``sensitive.yaml`` are parts of the
document ``rules`` in files of their own; a shop with only such a part runs on ``_default``'s rules with it. Hidden files and a README.md at the top are passed over;
any other name is refused, because a misspelt file would silently do nothing.

A folder ``shadow`` in a shop's folder holds what the shop tries beside what it runs on: ``rules``, ``knowledge``, ``sensitive``,
``routing`` and ``sla``, each checked like its live namesake, and put into the live document as its ``candidate``. What the
candidate leaves out of ``knowledge`` and ``sensitive`` is as in the live rules; with ``inherit``, its rules and fallback too.

What spans documents is checked here: one capacity per person in all shops, names of calendars. What is allowed but
can hardly be meant (a skill that nobody in the shop has, a rule behind one that matches everything) is a warning.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Final, NamedTuple, cast, get_args

from pydantic import ValidationError

from deskline.config import rule_review
from deskline.config.base import DEFAULT_SHOP, Document, DocumentKind
from deskline.config.documents import (
    DOCUMENTS,
    AgentsDocument,
    Calendar,
    CalendarsDocument,
    RoutingCondition,
    RoutingDocument,
    RoutingPolicy,
    SlaDocument,
    SlaPolicies,
    SlaPolicy,
    body_of,
    default_document,
)
from deskline.config.explain import findings
from deskline.config.public_holidays import seeded
from deskline.config.rules_document import PARTS, RulesDocument, beside, inherited
from deskline.config.scenario_sets import with_scenarios
from deskline.config.yaml_source import MAX_BYTES, Mistake, Path, Place, Source, read
from deskline.errors import UsageError
from deskline.public_holidays import FOLDER

KINDS: Final[tuple[DocumentKind, ...]] = get_args(DocumentKind)
_FILES: Final[tuple[str, ...]] = (*KINDS, *PARTS)
SHADOW: Final = "shadow"
CANDIDATES: Final[Mapping[DocumentKind, type[Document]]] = {
    "rules": RulesDocument,
    "routing": RoutingPolicy,
    "sla": SlaPolicies,
}
"""What may be tried in shadow."""
_SHADOW_FILES: Final[tuple[str, ...]] = (*CANDIDATES, *PARTS)

MAX_BODY_BYTES: Final = 4 * 1024 * 1024 - 16 * 1024
"""A record of shops.v1 has at most 4 MiB; the envelope and the body's escapes of a JSON string need far less than the rest."""
_MAX_SHOP_ID: Final = 128
_MAX_PROBLEMS: Final = 200
"""Nobody reads more at once; a file of another program would give thousands."""


class Problem(NamedTuple):
    """One mistake, or one warning. ``line`` and ``column`` count from 1; 0 where it concerns the file as a whole."""

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.field}: {self.message}" if self.field else f"{where}: {self.message}"


class ConfigurationError(UsageError):
    """The directory was refused."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)[:_MAX_PROBLEMS]
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Configuration(NamedTuple):
    """What a directory says. ``_default`` has every document, other shops those that they have of their own."""

    shops: Mapping[str, Mapping[DocumentKind, Document]]
    warnings: list[Problem]


@dataclass
class _Shop:
    shop_id: str
    documents: dict[DocumentKind, Document] = field(default_factory=dict)
    sources: dict[DocumentKind, Source] = field(default_factory=dict)
    parts: dict[str, Source] = field(default_factory=dict)
    """Fields of ``rules`` that stand in files of their own."""
    models: Mapping[DocumentKind, type[Document]] = field(default_factory=lambda: DOCUMENTS)
    shadow: "_Shop | None" = None
    """What the shop tries beside these documents."""

    def file(self, name: str) -> str:
        return f"{self.shop_id}/{name}.yaml"

    def problem(self, kind: DocumentKind, path: Path, message: str, *, at_key: bool = False) -> Problem:
        if kind == "rules" and path and path[0] in self.parts:
            part = path[0]
            line, column = self.parts[part].place(path[1:], key=at_key)
            return Problem(self.file(part), line, column, _dotted(path[1:]), message)
        source = self.sources.get(kind)
        line, column = source.place(path, key=at_key) if source is not None else (0, 0)
        return Problem(self.file(kind), line, column, _dotted(path), message)


def load_directory(directory: FilePath) -> Configuration:
    """Raises ``ConfigurationError`` with everything that is wrong."""
    problems: list[Problem] = []
    shops = [_load_shop(folder, problems) for folder in _shop_folders(directory, problems)]
    by_id = {shop.shop_id: shop for shop in shops}
    if DEFAULT_SHOP not in by_id:
        problems.append(
            Problem(
                DEFAULT_SHOP, 0, 0, "", "this folder is missing; shops without a configuration of their own run on it"
            )
        )
    else:
        problems += _across(by_id)
    if problems:
        raise ConfigurationError(problems)
    _put_holidays(shops, directory)
    default = by_id[DEFAULT_SHOP]
    for kind in KINDS:
        default.documents.setdefault(kind, default_document(kind))
    rules = cast("RulesDocument", default.documents["rules"])
    for shop in shops:
        if "rules" in shop.documents and shop is not default:
            shop.documents["rules"] = inherited(rules, cast("RulesDocument", shop.documents["rules"]))
    for shop in shops:
        if "rules" in shop.documents:
            shop.documents["rules"] = with_scenarios(cast("RulesDocument", shop.documents["rules"]))
            problems += _rule_mistakes(shop, default)
    for shop in shops:
        problems += _put_candidates(shop, default)
    if problems:
        raise ConfigurationError(problems)
    warnings = [warning for shop in shops for warning in _warnings(shop, default)]
    warnings += [
        warning
        for shop in shops
        if shop.shadow is not None
        for warning in _warnings(replace(shop.shadow, documents={**shop.documents, **shop.shadow.documents}), default)
    ]
    return Configuration({shop.shop_id: shop.documents for shop in shops}, sorted(warnings))


def _put_holidays(shops: list[_Shop], directory: FilePath) -> None:
    """Write the rows of public holidays into the calendars that ask for them: a version then means the same for ever."""
    for shop in shops:
        document = cast("CalendarsDocument | None", shop.documents.get("calendars"))
        if document is not None:
            shop.documents["calendars"] = seeded(document, directory)


def _shop_folders(directory: FilePath, problems: list[Problem]) -> Iterator[FilePath]:
    if not directory.is_dir():
        raise ConfigurationError([Problem(str(directory), 0, 0, "", "there is no such directory")])
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(".") or entry.name in ("README.md", FOLDER):
            continue
        wrong = _wrong_shop_id(entry.name) if entry.is_dir() else "not a folder of a shop; move it into one, or away"
        if wrong:
            problems.append(Problem(_printable(entry.name), 0, 0, "", wrong))
        else:
            yield entry


def _wrong_shop_id(name: str) -> str | None:
    if not name.isprintable():
        return "the name of a folder is the shop's id; this one holds characters that cannot be printed"
    if name != name.strip() or len(name) > _MAX_SHOP_ID:
        return f"a shop's id has at most {_MAX_SHOP_ID} characters and no blank at its ends"
    if name.startswith("_") and name != DEFAULT_SHOP:
        return f"ids that begin with _ are kept for {DEFAULT_SHOP}; rename the folder"
    return None


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _load_shop(folder: FilePath, problems: list[Problem]) -> _Shop:
    shop = _Shop(folder.name)
    _load_files(shop, folder, _FILES, problems)
    if (folder / SHADOW).is_dir():
        shop.shadow = _Shop(f"{folder.name}/{SHADOW}", models=CANDIDATES)
        _load_files(shop.shadow, folder / SHADOW, _SHADOW_FILES, problems)
    return shop


def _load_files(shop: _Shop, folder: FilePath, names: tuple[str, ...], problems: list[Problem]) -> None:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or (entry.name == SHADOW and shop.models is DOCUMENTS and entry.is_dir()):
            continue
        if entry.suffix != ".yaml" or entry.stem not in names or not entry.is_file():
            wrong = _wrong_file(entry, names)
            problems.append(Problem(f"{shop.shop_id}/{_printable(entry.name)}", 0, 0, "", wrong))
            continue
        source, unreadable = _read(shop, entry)
        problems += unreadable
        if entry.stem in PARTS:
            shop.parts[entry.stem] = source
        else:
            shop.sources[cast("DocumentKind", entry.stem)] = source
    kinds = {*shop.sources, *(("rules",) if shop.parts else ())}
    for kind in KINDS:
        sources = [shop.sources.get(kind), *(shop.parts.values() if kind == "rules" else ())]
        if kind in kinds and not any(source is not None and source.mistakes for source in sources):
            problems += _load_document(shop, kind)


def _wrong_file(entry: FilePath, names: tuple[str, ...]) -> str:
    if entry.suffix in {".yml", ".json"} and entry.stem in names:
        return f"rename it to {entry.stem}.yaml"
    files = [f"{stem}.yaml" for stem in names]
    close = get_close_matches(entry.name, files, n=1)
    guess = f"did you mean {close[0]}?" if close else f"the files are {', '.join(files)}"
    return f"no document of the configuration has this name; {guess}"


def _read(shop: _Shop, file: FilePath) -> tuple[Source, list[Problem]]:
    try:
        with file.open("rb") as stream:
            source = read(stream.read(MAX_BYTES + 1))
    except OSError as error:
        mistake = Mistake(Place(0, 0), (), f"cannot be read: {error.strerror}")
        source = Source(None, {}, {}, [mistake])
    return source, [
        Problem(shop.file(file.stem), *mistake.place, _dotted(mistake.path), mistake.message)
        for mistake in source.mistakes
    ]


def _load_document(shop: _Shop, kind: DocumentKind) -> list[Problem]:
    value = shop.sources[kind].value if kind in shop.sources else {"inherit": True}
    if kind == "rules" and shop.parts and isinstance(value, dict):
        for part in shop.parts:
            if part in value:
                message = f"{part} is given here and in {shop.file(part)}; keep one"
                place = shop.sources[kind].place((part,), key=True)
                return [Problem(shop.file(kind), *place, part, message)]
        value = {**value, **{part: source.value for part, source in shop.parts.items()}}
    document, problems = _validate(shop, kind, value)
    if document is not None:
        shop.documents[kind] = document
    return problems


def _validate(shop: _Shop, kind: DocumentKind, value: object) -> tuple[Document | None, list[Problem]]:
    try:
        # As JSON, because strict JSON admits what strict Python would not (dates as text, lists as tuples).
        document = shop.models[kind].model_validate_json(_json(value), strict=True)
    except ValidationError as error:
        return None, [
            shop.problem(kind, finding.path, finding.message, at_key=finding.at_key)
            for finding in findings(kind, error)
        ]
    size = len(body_of(document))
    if kind != "rules" and size > MAX_BODY_BYTES:
        message = f"the document has {size} bytes as JSON; the most is {MAX_BODY_BYTES}"
        return None, [Problem(shop.file(kind), 0, 0, "", message)]
    return document, []


def _put_candidates(shop: _Shop, default: _Shop) -> Iterator[Problem]:
    """Put what ``shadow/`` holds into the documents that the shop runs on; those are its own documents then."""
    rules = cast("RulesDocument | None", shop.documents.get("rules"))
    if rules is not None and rules.candidate is not None:
        complete = with_scenarios(beside(rules, rules.candidate))
        shop.documents["rules"] = rules.model_copy(update={"candidate": complete})
        for path, message in rule_review.mistakes(complete, _calendars(shop, default)):
            yield shop.problem("rules", ("candidate", *path), message)
    if shop.shadow is None:
        return
    for kind, candidate in shop.shadow.documents.items():
        live = shop.documents.get(kind) or default.documents[kind]
        if getattr(live, "candidate", None) is not None and kind in shop.documents and kind in shop.sources:
            message = f"the candidate is given here and in {shop.shadow.file(kind)}; keep one"
            yield shop.problem(kind, ("candidate",), message, at_key=True)
            continue
        if isinstance(candidate, RulesDocument):
            candidate = with_scenarios(beside(cast("RulesDocument", live), candidate))  # noqa: PLW2901
            yield from _rule_mistakes(replace(shop.shadow, documents={**shop.documents, "rules": candidate}), default)
        together = shop.documents[kind] = live.model_copy(update={"candidate": candidate})
        size = len(body_of(together))
        if kind != "rules" and size > MAX_BODY_BYTES:
            message = f"with its candidate the document has {size} bytes as JSON; the most is {MAX_BODY_BYTES}"
            yield Problem(shop.shadow.file(kind), 0, 0, "", message)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


# --- what spans documents -------------------------------------------------------------------------------------------


def _across(shops: Mapping[str, _Shop]) -> Iterator[Problem]:
    yield from _capacities(shops)
    for shop in shops.values():
        yield from _calendar_names(shop, shops[DEFAULT_SHOP])
        yield from _shift_names(shop, shops[DEFAULT_SHOP])
        if shop.shadow is not None and "sla" in shop.shadow.documents:
            documents = dict(shop.shadow.documents)
            if "calendars" in shop.documents:
                documents["calendars"] = shop.documents["calendars"]
            yield from _calendar_names(replace(shop.shadow, documents=documents), shops[DEFAULT_SHOP])


def check_together(shops: Mapping[str, Mapping[DocumentKind, Document]]) -> list[Problem]:
    """What ``load_directory`` checks across documents, for documents that did not come from files."""
    return list(_across({shop_id: _Shop(shop_id, dict(documents)) for shop_id, documents in shops.items()}))


def _capacities(shops: Mapping[str, _Shop]) -> Iterator[Problem]:
    """An agent is one person with one capacity in all shops (contract §3)."""
    stated: dict[str, tuple[int, str]] = {}
    for shop in shops.values():
        document = cast("AgentsDocument | None", shop.documents.get("agents"))
        for index, agent in enumerate(document.agents if document is not None else ()):
            line = shop.problem("agents", ("agents", index), "").line
            place = f"{shop.file('agents')}:{line}" if line else f"shop {shop.shop_id}"
            capacity, first = stated.setdefault(agent.agent_id, (agent.capacity, place))
            if capacity != agent.capacity:
                message = (
                    f"agent {agent.agent_id!r} has the capacity {agent.capacity} here and {capacity} in {first}; "
                    "an agent is one person with one capacity in all shops: write the same"
                )
                yield shop.problem("agents", ("agents", index, "capacity"), message)


def _calendar_names(shop: _Shop, default: _Shop) -> Iterator[Problem]:
    """``sla.calendar`` names a calendar of the shop; where the shop takes one of the two documents from ``_default``,
    the pair that it then runs on must fit too.
    """
    own_sla, own_calendars = shop.documents.get("sla"), shop.documents.get("calendars")
    if own_sla is None and own_calendars is None:
        return
    for kind in ("sla", "calendars"):
        if kind in shop.sources and kind not in shop.documents:
            return  # refused already; its names are not known
    sla = cast("SlaDocument", own_sla or default.documents.get("sla") or SlaDocument())
    calendars = cast(
        "CalendarsDocument", own_calendars or default.documents.get("calendars") or default_document("calendars")
    )
    if sla.calendar is None or sla.calendar in calendars.calendars:
        return
    known = ", ".join(sorted(calendars.calendars))
    if own_sla is not None:
        where = "here" if own_calendars is not None else f"in {default.file('calendars')}"
        yield shop.problem("sla", ("calendar",), f"no calendar is named {sla.calendar!r}; {where} there are {known}")
    else:
        message = f"{default.file('sla')}, which this shop runs on, needs a calendar {sla.calendar!r}; add it"
        yield shop.problem("calendars", ("calendars",), message)


def _shift_names(shop: _Shop, default: _Shop) -> Iterator[Problem]:
    """``shift`` of an agent names a calendar of the shop."""
    own, own_calendars = shop.documents.get("agents"), shop.documents.get("calendars")
    if "calendars" in shop.sources and own_calendars is None:
        return  # refused already; its names are not known
    document = cast("AgentsDocument | None", own or (default.documents.get("agents") if own_calendars else None))
    calendars = cast(
        "CalendarsDocument", own_calendars or default.documents.get("calendars") or default_document("calendars")
    )
    known = ", ".join(sorted(calendars.calendars))
    for index, agent in enumerate(document.agents if document is not None else ()):
        if agent.shift is None or agent.shift in calendars.calendars:
            continue
        if own is not None:
            message = f"no calendar is named {agent.shift!r}; there are {known}; add it to calendars.yaml"
            yield shop.problem("agents", ("agents", index, "shift"), message)
        else:
            message = f"{default.file('agents')}, which this shop runs on, needs a calendar {agent.shift!r}; add it"
            yield shop.problem("calendars", ("calendars",), message)


def _rule_mistakes(shop: _Shop, default: _Shop) -> Iterator[Problem]:
    """What only the complete rules show: names without a value, scenarios and calendars that there are not."""
    rules = cast("RulesDocument", shop.documents["rules"])
    for path, message in rule_review.mistakes(rules, _calendars(shop, default)):
        yield shop.problem("rules", path, message)


def _calendars(shop: _Shop, default: _Shop) -> Mapping[str, Calendar]:
    return cast("CalendarsDocument", shop.documents.get("calendars") or default.documents["calendars"]).calendars


def _nobody_to_call(shop: _Shop, default: _Shop) -> Iterator[Problem]:
    """The SLA calls a supervisor, and the shop has none."""
    sla = cast("SlaDocument | None", shop.documents.get("sla"))
    if sla is None or "sla" not in shop.sources:
        return
    routing = cast("RoutingDocument", shop.documents.get("routing") or default.documents["routing"])
    agents = cast("AgentsDocument", shop.documents.get("agents") or default.documents["agents"])
    grades = {agent.grade for agent in agents.agents}
    grades |= {rule.grade for rule in agents.qualifications or () if rule.grade is not None}
    called = routing.sla_actions.supervisors
    call = routing.sla_actions.call_supervisor
    if grades & set(called) or (call.waiting == "keep" and call.held != "supervisors"):
        return
    for path in _calls(sla):
        message = f"no agent of this shop has the grade {' or '.join(called)}; nobody comes when one is called"
        yield shop.problem("sla", path, message)


def _calls(sla: SlaDocument) -> Iterator[Path]:
    holders: list[tuple[Path, SlaDocument | SlaPolicy]] = [((), sla)]
    holders += [(("policies", index), policy) for index, policy in enumerate(sla.policies)]
    for path, holder in holders:
        if "call_supervisor" in (holder.on_breach or ()):
            yield (*path, "on_breach")
        for index, warning in enumerate(holder.on_warning or ()):
            if "call_supervisor" in warning.actions:
                yield (*path, "on_warning", index)


def _braces(shop: _Shop, rules: RulesDocument) -> Iterator[Problem]:
    """In the shop's own knowledge, which stands before what it inherits."""
    part, source = shop.parts.get("knowledge"), shop.sources.get("rules")
    own = part.value if part is not None else source.value.get("knowledge") if source is not None else None
    for path, message in rule_review.braces(rules):
        _, name, index, _ = path
        if isinstance(own, dict) and cast("int", index) < len(own.get(cast("str", name)) or ()):
            yield shop.problem("rules", path, message)


def _warnings(shop: _Shop, default: _Shop) -> Iterator[Problem]:
    agents = cast("AgentsDocument", shop.documents.get("agents") or default.documents["agents"]).agents
    skills = {skill for agent in agents for skill in agent.skills}
    qualified = cast("AgentsDocument", shop.documents.get("agents") or default.documents["agents"]).qualifications
    skills |= {skill for qualification in qualified or () for skill in qualification.skills}
    groups = {group for agent in agents for group in agent.groups}
    rules = cast("RulesDocument | None", shop.documents.get("rules"))
    if rules is not None:
        yield from _braces(shop, rules)
    if rules is not None and "rules" in shop.sources:
        handovers = [(("rules", index, "handover"), rule.handover) for index, rule in enumerate(rules.rules)]
        for path, handover in [*handovers, (("fallback",), rules.fallback)]:
            for index, skill in enumerate(handover.skills if handover is not None else ()):
                if skill not in skills:
                    message = f"no agent of this shop has the skill {skill!r}; such a request waits for a later step"
                    yield shop.problem("rules", (*path, "skills", index), message)
        # Those of _default are reported there.
        own = len(cast("list[object]", shop.sources["rules"].value.get("rules") or ()))
        for path_, message in rule_review.warnings(rules, until=own):
            yield shop.problem("rules", path_, message)
    yield from _nobody_to_call(shop, default)
    routing = cast("RoutingDocument | None", shop.documents.get("routing"))
    if routing is None or "routing" not in shop.sources:
        return
    everything = next((r.rule_id for r in routing.rules if r.when == RoutingCondition()), None)
    behind = False
    for index, rule in enumerate(routing.rules):
        if behind:
            message = f"never used: the rule {everything!r} before it matches everything"
            yield shop.problem("routing", ("rules", index), message)
        behind = behind or rule.when == RoutingCondition()
        for number, step in enumerate(rule.steps):
            for place, group in enumerate(step.groups or ()):
                if group not in groups:
                    here: Path = ("rules", index, "steps", number, "groups", place)
                    yield shop.problem("routing", here, f"no agent of this shop is in the group {group!r}")
            for skill in step.skills or ():
                if skill not in skills:
                    here = ("rules", index, "steps", number, "skills", skill)
                    yield shop.problem("routing", here, f"no agent of this shop has the skill {skill!r}")
    names = {agent.agent_id: index for index, agent in enumerate(agents)}
    reserve = [agent for agent in agents if agent.reserve]
    if reserve and routing.surge is None and "agents" in shop.sources:
        at: Path = ("agents", names[reserve[0].agent_id], "reserve")
        yield shop.problem("agents", at, "nobody is kept in reserve without a surge; add surge to routing.yaml")
