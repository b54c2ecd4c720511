"""What ``deskline config check`` says about rules: mistakes, and what can hardly be meant."""

import json

import pytest
from tests.fixtures.autoreply import Log, Service, book
from typer.testing import CliRunner

from deskline.config.loading import ConfigurationError, load_directory
from deskline.config.rule_review import mistakes, warnings
from deskline.config.rules_document import RulesDocument
from deskline.config.scenario_cli import app as scenario
from deskline.config.scenario_cli import with_value
from deskline.config.scenario_sets import scenario_sets, with_scenarios
from deskline.folding import deep_text
from deskline.text import fold
from deskline_autoreply.policy.rules import Asked, Compiled, Moment


def document(*rules: dict, **fields) -> RulesDocument:
    named = [{"rule_id": f"r{number}", "handover": {}, **rule} for number, rule in enumerate(rules)]
    return RulesDocument.model_validate_json(json.dumps({"rules": named, **fields}), strict=True)


def warned(*rules: dict) -> list[str]:
    return [remark.message for remark in warnings(document(*rules))]


REFUND = {"any_of": ["退款"]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (REFUND, {"any_of": ["退款多久", "退款吗"]}),  # whoever says either says 退款
        (REFUND, {"all_of": ["发票", "要退款"]}),
        (REFUND, {"exact": ["我要退款！"]}),
        (REFUND, {"any_of": ["退款"], "tiers": ["vip"]}),
        ({}, {"open": False}),
        ({"open": False}, {"open": False, "any_of": ["在吗"]}),
        ({"tiers": ["vip", "new"]}, {"tiers": ["vip"], "any_of": ["券"]}),
        ({"all_of": ["退", "款"]}, {"all_of": ["退", "款", "发票"]}),
        ({"any_of": ["退款"], "none_of": ["到账"]}, {"any_of": ["退款"], "none_of": ["到"]}),
        ({"patterns": [r"\d{6}"]}, {"patterns": [r"\d{6}"], "channels": ["web"]}),
    ],
)
def test_a_rule_that_never_decides_because_of_one_before_it_is_told(first, second):
    (message,) = warned({"when": first, "priority": 200}, {"when": second})
    assert message.startswith("rule 'r1' is shadowed: whatever it matches, 'r0' (priority 200, before it)")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"any_of": ["退款多久"]}, REFUND),  # the narrow one is first
        ({"any_of": ["退款"], "tiers": ["vip"]}, REFUND),
        ({"any_of": ["退款"], "none_of": ["到账"]}, {"any_of": ["退款"]}),
        ({"open": False}, {"open": True}),
        ({"any_of": ["退款"], "surge": True}, REFUND),
        ({"any_of": ["退款"], "surge": True}, {"any_of": ["退款"], "surge": False}),
        ({"any_of": ["退款"], "during": [{"yearly": "06-01..06-20"}]}, REFUND),
        ({"all_of": ["退款", "发票"]}, REFUND),
    ],
)
def test_a_rule_that_has_its_turn_is_not_told(first, second):
    assert warned({"when": first, "priority": 200}, {"when": second}) == []


def test_a_rule_behind_one_that_steps_aside_has_its_turn():
    resting = {"when": REFUND, "handover": None, "reply": {"text": "好"}, "cooldown_s": 60, "priority": 200}
    assert warned(resting, {"when": REFUND}) == []
    without_value = {**resting, "cooldown_s": 0, "reply": {"text": "第 {queue_position} 位"}}
    assert warned(without_value, {"when": REFUND}) == []
    assert len(warned({**resting, "cooldown_s": 0}, {"when": REFUND})) == 1


@pytest.mark.parametrize(
    "when",
    [
        {"all_of": ["退款到账"], "none_of": ["退款"]},
        {"any_of": ["退款", "要退款"], "none_of": ["退款"]},
        {"exact": ["退款"], "all_of": ["发票"]},
        {"exact": ["退款", "退货"], "any_of": ["发票", "?"]},
        {"any_of": ["退款"], "during": [{"calendar": "office", "closed": "office"}]},
        {"attachment": False, "attachment_kinds": ["image"]},
    ],
)
def test_a_rule_that_contradicts_itself_is_told(when):
    (message,) = warned({"when": when})
    assert "can never match" in message


def test_a_tie_is_told_with_both_rules_and_the_word():
    first = {"when": {"any_of": ["退款", "退货"]}}
    second = {"when": {"any_of": ["退款", "发票"]}}
    (message,) = warned(first, second)
    assert message.startswith("rules 'r0' and 'r1' have the same priority (100), and '退款' calls both: 'r0' decides")
    assert warned(first, {**second, "priority": 99}) == []
    assert warned({"when": {**first["when"], "open": True}}, {"when": {**second["when"], "open": False}}) == []


def test_a_rule_that_needs_a_sign_of_an_exact_text_does_not_contradict_itself():
    assert warned({"when": {"exact": ["有货?"], "any_of": ["?"]}}) == []


def test_a_tie_is_told_although_a_third_rule_of_that_word_excludes_both():
    vip = {"when": {"any_of": ["物流"], "tiers": ["vip"]}}
    order = {"when": {"any_of": ["物流"], "tiers": ["new"], "order": True}}
    product = {"when": {"any_of": ["物流"], "tiers": ["new"], "product": True}}
    (message,) = warned(vip, order, product)
    assert message.startswith("rules 'r1' and 'r2' have the same priority (100), and '物流' calls both")


def test_a_rule_that_steps_aside_for_answers_hides_what_needs_a_person_and_nothing_else():
    away = {"when": {"open": False}, "priority": 900, "unless_answered": True}
    night = {"open": False, "any_of": ["退款"]}
    assert warned(away, {"when": night, "handover": None, "reply": {"text": "好"}}) == []
    (message,) = warned(away, {"when": night})
    assert message.startswith("rule 'r1' is shadowed: whatever it matches, 'r0' (priority 900, before it)")


def test_rules_for_the_rush_and_for_quiet_times_are_no_tie():
    rush = {"when": {"any_of": ["退款"], "surge": True}}
    quiet = {"when": {"any_of": ["退款"], "surge": False}}
    assert warned(rush, quiet) == []


def problems(*rules: dict, **fields) -> list[tuple]:
    return [tuple(remark) for remark in mistakes(document(*rules, **fields), {"office"})]


def test_names_in_braces_that_nobody_gives_a_value_are_refused():
    rule = {"reply": {"variants": [{"variant": "a", "text": "好"}, {"variant": "b", "text": "{custmer_name|亲}"}]}}
    ((path, message),) = problems(rule)
    assert path == ("rules", 0, "reply", "variants", 1, "text")
    assert message.startswith("nobody gives {custmer_name} a value; there are {customer_name}")
    assert problems({"reply": {"text": "{boss} {agent_hours} {coupon}"}}, constants={"boss": "x", "coupon": "C"}) == []
    assert [path for path, _ in problems(constants={"order_id": "x", "not a name": "y"})] == [
        ("constants", "order_id"),
        ("constants", "not a name"),
    ]


def test_scenarios_and_calendars_that_there_are_not_or_twice_are_refused():
    assert problems(scenarios=["greetings"])[0][0] == ("scenarios", 0, "name")
    twice = ["greeting", {"name": "refund"}, {"name": "greeting", "language": "en"}]
    ((path, message),) = problems(scenarios=twice)
    assert path == ("scenarios", 2)
    assert message.startswith("scenario 'greeting' is listed twice")
    window = {"when": {"during": [{"calendar": "office"}, {"closed": "warehouse"}]}}
    assert [path for path, _ in problems(window)] == [("rules", 0, "when", "during", 1, "closed")]


# --- a directory --------------------------------------------------------------------------------------------------------


def write(folder, **shops):
    for shop, text in shops.items():
        (folder / shop).mkdir(exist_ok=True)
        (folder / shop / "rules.yaml").write_text(text, encoding="utf-8")
    return load_directory(folder)


DEFAULT = """
constants: {shop: 总店, hotline: "1000"}
scenarios: [greeting]
rules:
  - {rule_id: a, when: {any_of: [甲]}, reply: {text: "{shop}甲 {hotline}"}}
  - {rule_id: b, when: {any_of: [乙]}, reply: {text: 乙}}
  - {rule_id: c, when: {any_of: [丙]}, reply: {text: 丙}}
"""


def test_a_shop_inherits_overrides_removes_and_adds(tmp_path):
    own = """
inherit: true
constants: {shop: 分店}
scenarios: [invoice]
rules:
  - {rule_id: d, when: {any_of: [丁]}, reply: {text: "{shop}丁 {hotline}"}}
  - {rule_id: b, when: {any_of: [乙]}, reply: {text: 我的乙}}
  - {rule_id: c, disabled: true}
  - {rule_id: greeting.hello, disabled: true}
"""
    rules = write(tmp_path, _default=DEFAULT, branch=own).shops["branch"]["rules"]
    assert rules.constants == {"shop": "分店", "hotline": "1000"}
    assert rules.inherit is False, "a version is complete in itself"
    active = [rule.rule_id for rule in Compiled(rules).rules if "." not in rule.rule_id]
    assert active == ["d", "b", "a"]
    sets = {rule.rule_id for rule in Compiled(rules).rules if "." in rule.rule_id}
    assert sets == {"greeting.thanks", "greeting.ok", "invoice.special", "invoice.how"}


def test_a_changed_default_changes_the_shops_that_inherit_and_no_other(tmp_path):
    shops = {"heir": "inherit: true\n", "own": "rules: []\n"}
    before = write(tmp_path, _default=DEFAULT, **shops).shops
    after = write(tmp_path, _default=DEFAULT.replace("text: 丙", "text: 新的丙"), **shops).shops
    assert before["heir"]["rules"] != after["heir"]["rules"]
    assert before["own"]["rules"] == after["own"]["rules"]


def test_mistakes_stand_at_their_line_and_warnings_do_not_refuse(tmp_path):
    with pytest.raises(ConfigurationError) as refused:
        write(tmp_path, _default="rules:\n  - rule_id: a\n    reply: {text: 'hi {nme}'}\n")
    assert str(refused.value).startswith("_default/rules.yaml:3:19: rules[0].reply.text: nobody gives {nme} a value")
    with pytest.raises(ConfigurationError, match=r"rules.yaml:3:23: rules\[0\]\.when\.patterns\[0\]: .*refused by RE2"):
        write(tmp_path, _default="rules:\n  - rule_id: a\n    when: {patterns: ['a(?=b)']}\n    silent: true\n")
    loaded = write(tmp_path, _default="rules:\n- {rule_id: a, silent: true}\n- {rule_id: b, silent: true}\n")
    assert [(warning.file, warning.line) for warning in loaded.warnings] == [("_default/rules.yaml", 3)]


def test_a_variable_in_an_answer_of_the_knowledge_base_is_told_to_whom_it_belongs(tmp_path):
    write(tmp_path, _default="constants: {hotline: '1000'}\n", heir="inherit: true\n")
    (tmp_path / "_default" / "knowledge.yaml").write_text(
        "entries:\n"
        "  - {entry_id: a, phrasings: [怎么退货], answer: '{customer_name|亲}，七天内可退'}\n"
        "  - {entry_id: b, phrasings: [怎么写接口], answer: '请求体是 {id}'}\n"
        "promotions:\n"
        "  - {promotion_id: p, names: [满赠], text: '请打 {hotline}'}\n",
        encoding="utf-8",
    )
    (tmp_path / "heir" / "knowledge.yaml").write_text("inherit: true\n", encoding="utf-8")
    told = [(warning.file, warning.line, warning.message.split()[0]) for warning in load_directory(tmp_path).warnings]
    assert told == [("_default/knowledge.yaml", 2, "{customer_name}"), ("_default/knowledge.yaml", 5, "{hotline}")]


# --- the sets that ship -------------------------------------------------------------------------------------------------

EVERYDAY = {
    "intercept", "greeting", "off_hours", "queue_notice", "promotion_618", "promotion_1111", "festival", "vip_coupon",
    "logistics", "refund", "invoice", "size", "complaint",
}  # fmt: skip


def test_the_sets_that_ship_are_whole_in_both_languages():
    sets = scenario_sets()
    assert {name for name, one in sets.items() if not one.emergency} == EVERYDAY
    assert sum(one.emergency for one in sets.values()) >= 12
    for language in ("zh", "en"):
        full = with_scenarios(document(language=language, scenarios=list(sets)))
        assert list(mistakes(full, ())) == []
        assert [r.message for r in warnings(full) if "never match" in r.message] == []
        for one in sets.values():
            assert one.rules(language), one.name


@pytest.mark.parametrize(
    ("language", "scenario", "text", "fields", "decides"),
    [
        ("zh", "intercept", "我要打12315", {}, "intercept.hotline"),
        ("zh", "intercept", "订单号 8831577", {}, None),
        ("zh", "intercept", "轉人工！", {}, "intercept.human"),
        ("zh", "intercept", "人工！", {}, "intercept.human-alone"),
        ("zh", "intercept", "这件是人工缝制的吗", {}, None),
        ("en", "intercept", "Agent.", {}, "intercept.human-alone"),
        ("en", "intercept", "your agents were kind", {}, None),
        ("zh", "logistics", "我想改一下收货地址", {}, "logistics.address"),
        ("zh", "logistics", "地址我填错了", {}, "logistics.address"),
        ("zh", "logistics", "你们的地址在哪里", {}, None),
        ("zh", "greeting", "在吗？", {"first_message": True}, "greeting.hello"),
        ("en", "greeting", "Thank you!", {}, "greeting.thanks"),
        ("zh", "off_hours", "有货吗", {"is_open": False}, "off_hours.away"),
        ("zh", "promotion_618", "有什么优惠", {"day": "2026-06-18T12:00"}, "promotion_618.sale"),
        ("zh", "promotion_618", "有什么优惠", {"day": "2026-06-21T12:00"}, None),
        ("zh", "promotion_1111", "双11几号开始", {"day": "2026-11-11T23:59"}, "promotion_1111.sale"),
        ("zh", "promotion_1111", "双11几号开始", {"day": "2026-11-12T00:00"}, None),
        ("zh", "festival", "还发货吗", {"day": "2026-02-17T12:00"}, "festival.spring-dispatch"),
        ("zh", "festival", "还发货吗", {"day": "2026-03-17T12:00"}, None),
        ("zh", "vip_coupon", "有优惠券吗", {"tier": "vip"}, "vip_coupon.coupon"),
        ("zh", "vip_coupon", "有优惠券吗", {}, None),
        ("zh", "logistics", "帮我改一下地址", {}, "logistics.address"),
        ("zh", "refund", "退掉这个款可以吗", {}, "refund.want"),
        ("zh", "size", "165cm 100斤穿什么", {}, "size.body"),
        ("en", "size", "I am 172 cm and 65 kg", {}, "size.body"),
        ("zh", "complaint", "收到是坏了的", {}, "complaint.fault"),
        ("en", "payment_fault", "my payment failed twice", {}, "payment_fault.script"),
        ("zh", "system_failure", "随便什么", {}, "system_failure.script"),
    ],
)
def test_a_set_answers_what_it_is_for(language, scenario, text, fields, decides):
    from datetime import datetime

    fields = dict(fields)
    moment = Moment(datetime.fromisoformat(fields.pop("day", "2026-03-01T12:00")))
    asked = Asked(
        text=deep_text(text), plain=fold(text), readable=text, moment=moment, attachment=False, channel="web",
        entry_point=None, language=None,
        **{"is_open": True, "first_message": False, "tier": "regular", **fields},
    )  # fmt: skip
    compiled = Compiled(with_scenarios(document(language=language, scenarios=[scenario])))
    rule = next(compiled.matching(asked), None)
    assert (None if rule is None else rule.rule_id) == decides


@pytest.mark.parametrize(
    ("name", "kind", "rule_id"),
    [("off_hours", "off_hours", "off_hours.away"), ("overload", "emergency", "overload.script")],
)
@pytest.mark.parametrize(("language", "asked_for"), [("zh", "什么时候发货"), ("en", "when will it ship")])
def test_the_sets_for_the_night_and_for_a_rush_leave_simple_questions_to_the_others(
    language, asked_for, name, kind, rule_id
):
    shop = Service(book(with_scenarios(document(language=language, scenarios=[name, "logistics"]))))
    log, night = Log(), 8 * 3600
    assert shop.answer(log.says(night, asked_for)).startswith("reply logistics.")
    reply, handover = shop.unit(log.says(night + 60, "xyzzy"))
    assert (reply["data"]["rule_id"], reply["data"]["kind"]) == (rule_id, kind)
    # So `deskline faq mine` sees what was asked then, too.
    assert handover["data"]["reason"] == "no_match"


def test_a_scenario_holds_between_its_begin_and_its_end():
    use = {"name": "system_failure", "begins": "2026-11-28T10:00", "ends": "2026-11-28T18:00"}
    (rule,) = with_scenarios(document(scenarios=[use])).rules
    assert [(window.begins, window.ends) for window in rule.when.during] == [("2026-11-28T10:00", "2026-11-28T18:00")]


@pytest.mark.parametrize("name", ["greeting", "promotion_1111"])  # without and with windows of its own
def test_a_scenario_that_ends_before_it_begins_is_refused_where_it_stands(tmp_path, name):
    use = f"scenarios:\n  - {{name: {name}, begins: 2026-11-12, ends: 2026-11-10}}\n"
    with pytest.raises(ConfigurationError) as refused:
        write(tmp_path, _default=use)
    assert str(refused.value).startswith("_default/rules.yaml:2:")
    assert "scenarios[0].ends: it ends (2026-11-10) before it begins (2026-11-12)" in str(refused.value)


# --- editing a file -----------------------------------------------------------------------------------------------------

FILE = """# The shop's rules.
inherit: true
scenarios:          # what ships
  - greeting
  - {name: refund, language: en}   # for tourists
# ours
rules:
  - {rule_id: a, silent: true}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            FILE,
            FILE[: FILE.index("scenarios")]
            + "scenarios: [greeting, {name: refund, language: en}, weather]   # for tourists\n"
            + FILE[FILE.index("# ours") :],
        ),
        ("rules: []\n", "rules: []\nscenarios: [weather]\n"),
        ("scenarios: [greeting]  # x\nrules: []\n", "scenarios: [greeting, weather]  # x\nrules: []\n"),
        ("{}\n", "{scenarios: [weather]}\n"),
        ("# nothing yet\n", "# nothing yet\nscenarios: [weather]\n"),
    ],
)
def test_one_list_of_a_file_is_changed_and_the_rest_stays_as_it_is(text, expected):
    assert with_value(text, "scenarios", lambda uses: [*uses, "weather"]) == expected


def test_an_empty_list_goes_away():
    assert with_value("a: 1\nscenarios: [weather]\nb: 2\n", "scenarios", lambda _: []) == "a: 1\nb: 2\n"


EMERGENCIES = [name for name, one in scenario_sets().items() if one.emergency]


@pytest.mark.parametrize("name", EMERGENCIES)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_one_command_switches_an_emergency_script_on_and_one_switches_it_off(tmp_path, name, language):
    """What is live then: tests/kafka/test_scenario_command.py."""
    assert len(EMERGENCIES) >= 12
    file = tmp_path / "_default" / "rules.yaml"
    file.parent.mkdir()
    before = "# ours\nrules:\n  - {rule_id: a, when: {any_of: [甲]}, reply: {text: 乙}}  # stays\n"
    file.write_text(before, encoding="utf-8")
    options = ["--shop", "_default", "--config", str(tmp_path), "--no-apply"]
    run = CliRunner().invoke(scenario, ["on", name, *options, "--language", language])
    assert run.exit_code == 0, run.output
    rules = load_directory(tmp_path).shops["_default"]["rules"].rules
    (script,) = [rule for rule in rules if rule.rule_id.startswith(f"{name}.")]
    assert script.reply.kind == "emergency"
    run = CliRunner().invoke(scenario, ["off", name, *options])
    assert run.exit_code == 0, run.output
    assert file.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_set_of_default_is_not_switched_off_for_one_shop_which_keeps_what_it_had(tmp_path, has_folder):
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "rules.yaml").write_text("scenarios: [weather]\n", encoding="utf-8")
    if has_folder:
        (tmp_path / "branch").mkdir()
        (tmp_path / "branch" / "limits.yaml").write_text("{}\n", encoding="utf-8")
    there = sorted(tmp_path.rglob("*"))
    run = CliRunner().invoke(scenario, ["off", "weather", "--shop", "branch", "--config", str(tmp_path), "--no-apply"])
    assert "from _default; switch it off there" in str(run.exception)
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize("until", ["2099-01-01T18:00+08:00", "2099-01-01T10:00:00Z", "2099-01-01T18:00"])
def test_an_end_with_an_offset_is_written_by_the_shops_own_clock(tmp_path, until):
    (tmp_path / "_default").mkdir()
    (tmp_path / "_default" / "calendars.yaml").write_text(
        "default: d\ncalendars: {d: {timezone: Asia/Shanghai, weekly: {mon: ['09:00-18:00']}}}\n", encoding="utf-8"
    )
    options = ["--shop", "_default", "--config", str(tmp_path), "--no-apply"]
    run = CliRunner().invoke(scenario, ["on", "weather", *options, "--until", until])
    assert run.exit_code == 0, run.exception
    (use,) = load_directory(tmp_path).shops["_default"]["rules"].scenarios
    assert use.ends in {"2099-01-01T18:00", "2099-01-01T18:00:00"}
    run = CliRunner().invoke(scenario, ["on", "weather", *options, "--until", "soon"])
    assert "is no local time" in str(run.exception)
