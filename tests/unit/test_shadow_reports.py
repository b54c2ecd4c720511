"""What recorded rows come to: differences of a candidate, the report of a trial, and the pages made of them."""

from typing import Any

import pytest

from deskline.errors import UsageError
from deskline.shadow.comparison import (
    Choice,
    ClockGroup,
    Load,
    RulesGroup,
    compare_clocks,
    compare_routing,
    compare_rules,
)
from deskline.shadow.pages import comparison_page, trial_page
from deskline.shadow.private import mask
from deskline.shadow.rendering import Page, Table, html, markdown
from deskline.shadow.switch import RulesFile, switched
from deskline.shadow.trial import Evidence, Said, Trial, Tried, report, summary
from deskline.shadow.words import _WORDS

SECOND = 1_000_000


def group(tried: str, verdict: str | None, live: str | None, would: str, n: int, **fields: Any) -> RulesGroup:
    names = dict.fromkeys(RulesGroup._fields)
    given = {"tried": tried, "verdict": verdict, "live_outcome": live, "outcome": would, "n": n, "examples": ["c m"]}
    return RulesGroup(**(names | given | fields))


def test_a_candidate_of_rules_in_figures():
    data = compare_rules([
        group("candidate", "same", "reply", "reply", 60),
        group("candidate", "gained", "handover", "reply", 25, rule_id="size", text="请看尺码表。", live_reason="no_match"),
        group("candidate", "lost", "reply", "handover", 10),
        group("candidate", "changed", "reply", "reply", 5),
        group("shop", None, None, "reply", 3, rule_id="shipping"),
        group("shop", None, None, "handover", 1, reason="no_match"),
    ])  # fmt: skip
    candidate = data["candidate"]
    assert candidate["messages"] == 100
    assert {name: each["share"] for name, each in candidate["verdicts"].items()} == {
        "same": 0.6, "gained": 0.25, "lost": 0.1, "changed": 0.05,
    }  # fmt: skip
    # Live: 60 + 10 + 5. The candidate: 60 + 25 + 5.
    assert candidate["answered"] == {"live": 75, "candidate": 90}
    assert [(each["verdict"], each["count"]) for each in candidate["differences"]] == [
        ("gained", 25), ("lost", 10), ("changed", 5),
    ]  # fmt: skip
    assert candidate["differences"][0]["candidate"] == {"outcome": "reply", "rule_id": "size", "text": "请看尺码表。"}
    assert data["shop"]["outcomes"]["reply"] == {"count": 3, "share": 0.75}


def test_a_candidate_of_routing_in_figures():
    choices = [
        Choice("same", "a", "a", 1, 1, 50, 50, 6, ["c-1"]),
        Choice("other_agent", "a", "b", 1, 1, 50, 80, 3, ["c-2"]),
        Choice("waits", "a", "b", 2, 1, 50, 80, 1, ["c-3"]),
        Choice("earlier", "a", "b", 1, 1, 50, 50, 4, ["c-4"]),
    ]
    data = compare_routing(choices, [Load("anna", 7, 2)])
    # Requests that only waited are no assignments: 6 of 10 agree.
    assert (data["decisions"], data["agreement"], data["earlier"]) == (10, 0.6, 4)
    assert [each["agreement"] for each in data["differences"]] == ["earlier", "other_agent", "waits"]
    assert data["agents"] == [{"agent_id": "anna", "live": 7, "candidate": 2}]


def test_a_candidate_of_sla_in_figures():
    def clocks(live: str | None, candidate: str | None, n: int, metric: str = "instant_reply") -> ClockGroup:
        return ClockGroup(metric, live, candidate, "p", "q", 30, 20, n, ["c"])

    data = compare_clocks([
        clocks("met", "met", 80), clocks("met", "breached", 12), clocks("breached", "breached", 5),
        clocks("breached", "met", 2), clocks("breached", None, 1, "resolution"), clocks("open", "breached", 9),
        clocks(None, None, 3),
    ])  # fmt: skip
    # The open ones wait for their last word; those that neither side has any more are nobody's.
    assert (data["clocks"], data["open"]) == (100, 9)
    # Live: 5 + 2 + 1. The candidate: 12 + 5. Both: 5.
    assert (data["breaches"]["live"], data["breaches"]["candidate"]) == (8, 17)
    assert (data["breaches"]["gained"], data["breaches"]["lost"]) == (12, 3)
    assert data["by_metric"]["resolution"]["lost"] == 1
    assert [each["count"] for each in data["differences"]] == [12, 2, 1]


# --- the report of a trial ------------------------------------------------------------------------------------------------

TRIAL = Trial("shop", 3, 0, 7200 * SECOND, "off", "li", trial_id=1)


def tried(number: int, at: float, outcome: str = "reply", **fields: Any) -> Tried:
    names = dict.fromkeys(("reason", "rule_id", "entry_id", "kind", "text"))
    return Tried(f"c-{number}", f"m-{number}", round(at * SECOND), outcome, **(names | fields))


def shipping(number: int, at: float) -> Tried:
    return tried(number, at, rule_id="shipping", entry_id="faq-7", kind="faq", text="48 小时内发货。")


def said(at: float, text: str, to: str | None = None) -> Said:
    return Said(round(at * SECOND), text, to)


def test_speed_is_of_the_messages_that_would_have_been_answered():
    found = Evidence([shipping(1, 10), shipping(2, 20), shipping(3, 30), tried(4, 40, "handover", reason="no_match")])
    found.decided_at = {("c-1", "m-1"): 10_500_000, ("c-2", "m-2"): 21_000_000, ("c-3", "m-3"): 30_300_000}
    found.said = {
        "c-1": [said(9, "早"), said(70, "明天发")],  # what was written before the message is no answer to it: 60 s
        "c-2": [said(19, "后天发", "m-2")],  # a clock that is behind, but it names the message: 0 s
        "c-4": [said(140, "您好")],  # would not have been answered
    }
    speed = report(TRIAL, found, str)["speed"]
    # 0.5, 1, 0.3 s: mean 0.6, the middle one 0.5, the 90th of a hundred the last.
    assert speed["autoreply"] == {"count": 3, "mean_s": 0.6, "p50_s": 0.5, "p90_s": 1.0}
    assert speed["people"] == {"count": 2, "mean_s": 30.0, "p50_s": 0.0, "p90_s": 60.0}
    assert speed["people_all"]["count"] == 3
    assert speed["never_answered_by_people"] == 1


def test_percentiles_are_of_nearest_rank():
    assert summary(range(SECOND, 11 * SECOND, SECOND)) == {"count": 10, "mean_s": 5.5, "p50_s": 5.0, "p90_s": 9.0}
    assert summary([]) == {"count": 0}


def test_coverage_is_of_what_the_rules_were_asked_and_of_all_messages():
    found = Evidence([shipping(1, 10), shipping(2, 20), tried(3, 30, rule_id="hello", kind="greeting", text="您好"),
                      tried(4, 40, "handover", reason="no_match"), tried(5, 50, "both", reason="rule", rule_id="refund", text="稍等")])  # fmt: skip
    found.received = {(f"c-{n}", f"m-{n}") for n in range(12)}
    coverage = report(TRIAL, found, str)["coverage"]
    assert (coverage["messages"], coverage["asked"], coverage["answered"]) == (12, 5, 3)
    assert (coverage["share_of_asked"], coverage["share_of_messages"]) == (0.6, 0.25)
    assert coverage["by_rule"] == {"hello": {"count": 1, "share": 0.3333}, "shipping": {"count": 2, "share": 0.6667}}
    assert coverage["by_entry"] == {"faq-7": {"count": 2, "share": 1.0}}
    assert coverage["by_kind"]["greeting"]["count"] == 1
    assert coverage["handover_reasons"] == {"no_match": {"count": 1, "share": 0.5}, "rule": {"count": 1, "share": 0.5}}


def test_what_people_answered_is_shown_without_what_identifies_the_customer():
    found = Evidence([shipping(1, 10), shipping(2, 20), shipping(3, 30)])
    found.said = {
        "c-1": [said(15, "王小明您好，订单A-77明天发，电话13800138000")],
        "c-2": [said(25, "好")],
        "c-3": [said(35, "好")],
    }
    found.private = {"c-1": {"王小明", "A-77"}}
    (entry,) = report(TRIAL, found, lambda text: text.replace("13800138000", "138******00"))["instead"]
    assert (entry["rule_id"], entry["entry_id"], entry["would_be"], entry["answered_by_people"]) == (
        "shipping", "faq-7", 3, 3,
    )  # fmt: skip
    assert entry["pairs"] == [
        {"would_be": "48 小时内发货。", "people": "***您好，订单****明天发，电话138******00"},
        {"would_be": "48 小时内发货。", "people": "好"},
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("打13800138000或138-0013-8000", "打***********或*************"),
        ("身份证11010519491231002X", "身份证******************"),
        ("卡号6222 0212 3456 7890 123", "卡号***********************"),
        ("发到li.wei@example.com吧", "发到******************吧"),
        ("１３８００１３８０００", "***********"),
        ("48 小时内发货，满 300 减 40", "48 小时内发货，满 300 减 40"),
        ("2026年11月", "2026年11月"),
        ("地址：杭州市西湖区文三路123号3幢501室，收好", "地址：*******************，收好"),
    ],
)
def test_numbers_of_people_are_not_shown(text, shown):
    assert mask(text) == shown


# --- pages ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_figure_has_a_page_in_both_languages(language):
    rules = compare_rules([
        group("candidate", "gained", "handover", "reply", 2), group("shop", None, None, "both", 1)
    ])  # fmt: skip
    routing = compare_routing([Choice("earlier", "a", "b", 1, 1, 50, 50, 4, ["c-4"])], [Load("anna", 1, 1)])
    sla = compare_clocks([ClockGroup("resolution", "met", None, "p", None, 30, None, 1, ["c"])])
    page = comparison_page("衣橱", "2026", {"rules": rules, "routing": routing, "sla": sla}, language)
    assert len(page.tables) == 3 + 3 + 2
    found = Evidence([shipping(1, 10)], {"c-1": [said(15, "好")]})
    trial = trial_page(report(TRIAL, found, str), ("a", "b"), language, running=True)
    for made in (page, trial):
        text = markdown(made) + html(made).partition("</style>")[2]
        assert "{" not in text, "every word has its values"
        assert ("影子" in text or "试运行" in text) == (language == "zh")


def test_both_languages_have_the_same_places_for_values():
    import string

    for name, (english, chinese) in _WORDS.items():
        fields = [{field for _, field, _, _ in string.Formatter().parse(text) if field} for text in (english, chinese)]
        assert fields[0] == fields[1], name
        assert english, name
        assert chinese, name


def test_nothing_that_somebody_wrote_is_markup():
    page = Page("en", "<b>&", ["a|b"], [Table("t", ["h"], [["<script>x</script>|[l](u)\n# y"]])])
    assert "<script>" not in html(page)
    assert "<script>" not in markdown(page)
    rows = [line for line in markdown(page).splitlines() if "script" in line]
    assert rows == ["| \\<script\\>x\\</script\\>\\|\\[l\\]\\(u\\) \\# y |"]


# --- the switch -----------------------------------------------------------------------------------------------------------

ON = {"shadow": True, "shadow_until": "2026-11-30T00:00:00Z", "shadow_then": "off"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rules: []\n", "shadow: true\nshadow_until: 2026-11-30T00:00:00Z\nshadow_then: off\nrules: []\n"),
        (
            "# 本店的规则\n\nrules:  # one\n  - {rule_id: a, reply: {text: '#1'}}",
            """# 本店的规则

shadow: true
shadow_until: 2026-11-30T00:00:00Z
shadow_then: off
rules:  # one
  - {rule_id: a, reply: {text: '#1'}}""",
        ),
        (
            "shadow: false  # not yet\nrules: []\nshadow_then: live\n",
            "shadow: true\nshadow_until: 2026-11-30T00:00:00Z\nshadow_then: off\nrules: []\n",
        ),
        ("", "shadow: true\nshadow_until: 2026-11-30T00:00:00Z\nshadow_then: off\n"),
    ],
)
def test_three_keys_are_set_and_every_other_line_stays(before, after):
    assert switched(before, ON) == after
    assert not any(key in switched(after, {}) for key in ON), "and taken away again"


@pytest.mark.parametrize("text", ["{shadow: true, rules: []}", "- a", "rules: ["])
def test_what_cannot_be_switched_line_by_line_is_refused(text):
    with pytest.raises(UsageError):
        switched(text, ON)


def test_a_shop_without_rules_gets_a_file_that_inherits_and_undoing_takes_it_away(tmp_path):
    file = RulesFile(tmp_path, "new")
    file.switch(ON)
    assert (tmp_path / "new" / "rules.yaml").read_text().endswith("inherit: true\n")
    assert "shadow: true\n" in (tmp_path / "new" / "rules.yaml").read_text()
    file.undo()
    assert list(tmp_path.iterdir()) == []
