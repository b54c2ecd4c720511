"""Reports as pages: the figures of ``comparison`` and ``trial`` with words around them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from deskline.shadow.rendering import Page, Table
from deskline.shadow.words import Language, known, word


def comparison_page(shop: str, since: str, data: Mapping[str, Any], language: Language) -> Page:
    """``data``: kind → figures of ``comparison``."""
    sheets = {"rules": _rules, "routing": _routing, "sla": _sla}
    tables = [table for kind, figures in data.items() for table in sheets[kind](figures, language)]
    lines = [word(language, "since", since=since)]
    if not tables:
        lines.append(word(language, "nothing"))
    return Page(language, word(language, "shadow_title", shop=shop), lines, tables)


def trial_page(data: Mapping[str, Any], when: tuple[str, str], language: Language, *, running: bool) -> Page:
    """``when``: beginning and end, as they shall be shown."""
    trial = data["trial"]
    lines = [word(language, "when", start=when[0], end=when[1], hours=trial["hours"])]
    lines += [word(language, "running")] if running else []
    lines += [word(language, "stopped")] if trial["stopped_early"] else []
    lines.append(word(language, f"then_{trial['then']}"))
    tables = [
        _speed(data["speed"], language),
        *_coverage(data["coverage"], language),
        _instead(data["instead"], language),
    ]
    return Page(language, word(language, "trial_title", shop=trial["shop"]), lines, tables)


def percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _words(language: Language, *names: str) -> list[str]:
    return [word(language, name) for name in names]


def _counts(
    language: Language, title: str, column: str, counts: Mapping[str, Mapping[str, Any]], note: str = ""
) -> Table:
    rows = [
        (known(language, name), str(each["count"]), percent(each["share"]))
        for name, each in sorted(counts.items(), key=lambda item: -item[1]["count"])
    ]
    return Table(title, [word(language, column), *_words(language, "count", "share")], rows, note)


def _left_off(data: Mapping[str, Any], language: Language) -> str:
    return word(language, "left_off", n=data["left_off"]) if data["left_off"] else ""


# --- candidates -----------------------------------------------------------------------------------------------------------


def _rules(data: Mapping[str, Any], language: Language) -> list[Table]:
    beside, alone = data["candidate"], data["shop"]
    tables: list[Table] = []
    if beside["messages"]:
        title = word(language, "rules_title", n=beside["messages"])
        tables.append(
            _counts(
                language, title, "verdict", beside["verdicts"], word(language, "answered_both", **beside["answered"])
            )
        )
    if beside["differences"]:
        rows = [
            (
                known(language, each["verdict"]),
                str(each["count"]),
                _said(each["live"], language),
                _said(each["candidate"], language),
                "\n".join(each["examples"]),
            )
            for each in beside["differences"]
        ]
        headers = _words(language, "verdict", "count", "live", "candidate", "examples")
        tables.append(Table(word(language, "differences_title"), headers, rows, _left_off(beside, language)))
    if alone["messages"]:
        tables.append(
            _counts(language, word(language, "alone_title", n=alone["messages"]), "outcome", alone["outcomes"])
        )
    return tables


def _said(side: Mapping[str, Any], language: Language) -> str:
    names = [side[field] for field in ("reason", "rule_id", "entry_id") if field in side]
    head = " ".join([known(language, side["outcome"]), *names])
    return f"{head}\n{side['text']}" if "text" in side else head


def _routing(data: Mapping[str, Any], language: Language) -> list[Table]:
    if not data["decisions"] and not data["earlier"]:
        return []
    title = word(language, "routing_title", n=data["decisions"])
    note = word(language, "earlier_note", n=data["earlier"]) if data["earlier"] else ""
    tables = [_counts(language, title, "agreement", data["agreements"], note)]
    if data["differences"]:
        changes = [
            (
                known(language, each["agreement"]),
                str(each["count"]),
                each["live_rule"],
                each["rule"],
                f"{each['live_step']} → {each['step']}",
                f"{each['live_priority']} → {each['priority']}",
            )
            for each in data["differences"]
        ]
        headers = _words(language, "agreement", "count", "live_rule", "candidate", "step", "priority")
        tables.append(Table(word(language, "differences_title"), headers, changes, _left_off(data, language)))
    rows = [(each["agent_id"], str(each["live"]), str(each["candidate"])) for each in data["agents"]]
    tables.append(Table(word(language, "agents_title"), _words(language, "agent", "live", "candidate"), rows))
    return tables


def _sla(data: Mapping[str, Any], language: Language) -> list[Table]:
    if not data["clocks"] and not data["open"]:
        return []
    rows = [
        (metric, *(str(each[field]) for field in ("clocks", "live", "candidate", "gained", "lost")))
        for metric, each in data["by_metric"].items()
    ]
    headers = _words(
        language, "metric", "clocks", "breached_live", "breached_candidate", "gained_breaches", "lost_breaches"
    )
    note = word(language, "open_clocks", n=data["open"]) if data["open"] else ""
    tables = [Table(word(language, "sla_title", n=data["clocks"]), headers, rows, note)]
    if data["differences"]:
        changes = [
            (
                each["metric"],
                str(each["count"]),
                _state(each, "live", language),
                _state(each, "candidate", language),
                f"{_target(each, 'live')} → {_target(each, 'candidate')}",
                "\n".join(each["examples"]),
            )
            for each in data["differences"]
        ]
        headers = _words(language, "metric", "count", "live", "candidate", "target", "examples")
        tables.append(Table(word(language, "differences_title"), headers, changes, _left_off(data, language)))
    return tables


def _state(each: Mapping[str, Any], side: str, language: Language) -> str:
    policy = each.get(f"{side}_policy")
    state = known(language, each.get(f"{side}_state", "none"))
    return f"{state} ({policy})" if policy else state


def _target(each: Mapping[str, Any], side: str) -> str:
    target = each.get(f"{side}_target_s")
    return "–" if target is None else f"{target:g}"


# --- trial ----------------------------------------------------------------------------------------------------------------


def _speed(data: Mapping[str, Any], language: Language) -> Table:
    sides = (("by_autoreply", "autoreply"), ("by_people", "people"), ("by_people_all", "people_all"))
    rows = [
        (
            word(language, name),
            str(data[field]["count"]),
            *(
                f"{data[field][figure]:.1f}" if figure in data[field] else "–"
                for figure in ("mean_s", "p50_s", "p90_s")
            ),
        )
        for name, field in sides
    ]
    note = word(language, "never", n=data["never_answered_by_people"]) if data["never_answered_by_people"] else ""
    return Table(word(language, "speed"), _words(language, "who", "messages", "mean", "p50", "p90"), rows, note)


def _coverage(data: Mapping[str, Any], language: Language) -> list[Table]:
    rows: Sequence[tuple[str, str, str]] = (
        (word(language, "of_messages"), str(data["messages"]), ""),
        (word(language, "of_asked"), str(data["asked"]), ""),
        (
            word(language, "of_answered"),
            str(data["answered"]),
            f"{percent(data['share_of_asked'])} / {percent(data['share_of_messages'])}",
        ),
    )
    tables = [Table(word(language, "coverage"), ("", *_words(language, "count", "share")), rows)]
    for title, column, field in (
        ("by_kind", "kind", "by_kind"),
        ("by_rule", "rule", "by_rule"),
        ("by_entry", "entry", "by_entry"),
        ("handed", "reason", "handover_reasons"),
    ):
        if data[field]:
            tables.append(_counts(language, word(language, title), column, data[field]))
    return tables


def _instead(data: Sequence[Mapping[str, Any]], language: Language) -> Table:
    rows: list[tuple[str, ...]] = []
    for group in data:
        name = " ".join(group[field] for field in ("rule_id", "entry_id") if field in group)
        rows += [(name, str(group["would_be"]), pair["would_be"], pair["people"]) for pair in group["pairs"]]
    headers = _words(language, "rule", "count", "would_be", "people_wrote")
    return Table(word(language, "instead"), headers, rows, word(language, "private" if rows else "nothing"))
