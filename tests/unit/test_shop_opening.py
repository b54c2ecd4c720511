"""``deskline shop``: a new shop's files from a few answers, and what is missing before it goes live."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from deskline.clock import SECOND, from_datetime
from deskline.config.loading import load_directory
from deskline.config.routing_document import Agent, AgentsDocument
from deskline.config.rules_document import RulesDocument
from deskline.config.sensitive_document import Sensitive
from deskline.errors import UsageError
from deskline_autoreply.opening import evidence
from deskline_autoreply.opening.checking import Trial, Tried, findings
from deskline_autoreply.opening.load import Customers, texts_of
from deskline_autoreply.opening.plan import agent_of, files_of, read_plan
from deskline_autoreply.opening.shop_cli import app
from deskline_autoreply.opening.words import _WORDS

SHOP = "teahouse"
PEOPLE = ("--agent", "lin:林:8:售前,售后", "--agent", "wu:吴:6::supervisor")
ANSWERS = """
shop: teahouse
language: en
hours: {timezone: Europe/Berlin, weekly: {mon: ["09:00-17:00"], fri: ["09:00-12:00"]}, closed: [2026-12-25]}
promises: {returns_days: 14, complaint_hours: 24}
agents:
  - {agent_id: ana, capacity: 4}
  - {agent_id: ben, capacity: 4}
templates: {greeting: "Welcome to the tea house!"}
"""


def run(*arguments, typed=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)


def init(config, *more, typed=None):
    return run("init", "--shop", SHOP, "--config", config, *more, typed=typed)


def rules_of(text=""):
    return RulesDocument.model_validate_json(json.dumps(json.loads(text or "{}")))


# --- init -----------------------------------------------------------------------------------------------------------------


def test_without_questions_the_options_and_defaults_make_a_shop_that_check_takes(tmp_path):
    result = init(
        tmp_path / "conf", "--no-input", "--hours", "10:00-20:00", "--returns-days", 15, *PEOPLE, "--lang", "zh"
    )
    assert result.exit_code == 0, result.output
    assert "deskline trial start --shop teahouse" in result.output
    shop = load_directory(tmp_path / "conf").shops[SHOP]
    assert [(a.agent_id, a.capacity, a.grade) for a in shop["agents"].agents] == [
        ("lin", 8, "standard"), ("wu", 6, "supervisor"),
    ]  # fmt: skip
    assert shop["calendars"].calendars["shop"].weekly.sun == ("10:00-20:00",)
    assert shop["sla"].policies[0].targets["complaint_closure"] == 48 * 3600
    assert shop["rules"].constants["returns_days"] == "15"
    assert shop["rules"].shadow, "nothing is sent before its trial"
    assert {rule.reply.kind for rule in shop["rules"].rules if rule.reply} >= {"greeting", "off_hours", "faq"}


def test_the_four_steps_ask_what_is_not_given(tmp_path):
    typed = "08:00-18:00\ny\n120\n\n10\n\n\nlin:林:8\nnobody:x:many\nwu:吴\n\n欢迎光临茶舍\n\n\n\nlive\n"
    result = init(tmp_path / "conf", "--timezone", "Asia/Tokyo", "--lang", "zh", typed=typed)
    assert result.exit_code == 0, result.output
    assert [f"第 {step} 步" in result.output for step in (1, 2, 3, 4)] == [True] * 4
    assert "时区" not in result.output, "it was given"
    assert "'many' is no capacity" in result.output
    shop = load_directory(tmp_path / "conf").shops[SHOP]
    calendar = shop["calendars"].calendars["shop"]
    assert (calendar.timezone, calendar.weekly.mon, calendar.public_holidays) == ("Asia/Tokyo", ("08:00-18:00",), "CN")
    assert shop["sla"].policies[0].targets["agent_response"] == 120
    assert [agent.agent_id for agent in shop["agents"].agents] == ["lin", "wu"]
    assert "欢迎光临茶舍" in [rule.reply.text for rule in shop["rules"].rules if rule.reply]
    assert "--then live" in result.output


def test_a_file_of_answers_is_taken_and_options_win_over_it(tmp_path):
    (tmp_path / "answers.yaml").write_text(ANSWERS, encoding="utf-8")
    result = init(tmp_path / "conf", "--from", tmp_path / "answers.yaml", "--no-input", "--returns-days", 30)
    assert result.exit_code == 0, result.output
    shop = load_directory(tmp_path / "conf").shops[SHOP]
    assert (shop["rules"].language, shop["rules"].constants["returns_days"]) == ("en", "30")
    assert shop["calendars"].calendars["shop"].weekly.tue == ()
    assert "Welcome to the tea house!" in [rule.reply.text for rule in shop["rules"].rules if rule.reply]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shop: a/b\nagents: [{agent_id: x}]", "no shop's id"),
        ("shop: x", "agents: is missing"),
        ("shop: x\nagents: []", "agents: "),
        ("shop: x\nagents: [{agent_id: a}, {agent_id: a}]", "agents: "),
        ("shop: x\nagents: [{agent_id: a}]\nhours: {daily: soon}", "hours.daily: "),
        ("shop: x\nagents: [{agent_id: a}]\npromises: {refund_days: 1}", "promises.refund_days: "),
        ("- 1", "must have members"),
        ("shop: [", "line 2"),
    ],
)
def test_answers_with_mistakes_say_where(text, says):
    with pytest.raises(UsageError, match=says):
        read_plan(text.encode())


def test_what_config_check_refuses_is_not_written(tmp_path):
    conf = tmp_path / "conf"
    assert init(conf, "--no-input", *PEOPLE).exit_code == 0
    before = {path: path.read_bytes() for path in conf.rglob("*.yaml")}
    # The same person in a second shop, with another capacity.
    result = run("init", "--shop", "second", "--config", conf, "--no-input", "--agent", "lin:林:3")
    assert result.exit_code == 1
    assert "one capacity in all shops" in result.output
    assert {path: path.read_bytes() for path in conf.rglob("*") if path.is_file()} == before
    assert not (conf / "second").exists()


def test_nothing_is_written_over_without_a_yes(tmp_path):
    conf = tmp_path / "conf"
    assert init(conf, "--no-input", *PEOPLE).exit_code == 0
    (conf / SHOP / "rules.yaml").write_text("inherit: true\n", encoding="utf-8")
    refused = init(conf, "--no-input", *PEOPLE)
    assert isinstance(refused.exception, UsageError)
    assert "exists already" in str(refused.exception)
    answers = "\n" * 8  # hours and promises
    declined = init(conf, *PEOPLE, typed=answers + "\n" * 3 + "\n\n" + "n\n")
    assert (declined.exit_code, "nothing was written" in declined.output) == (1, True)
    assert (conf / SHOP / "rules.yaml").read_text(encoding="utf-8") == "inherit: true\n"
    assert init(conf, "--no-input", "--overwrite", *PEOPLE).exit_code == 0
    assert "off-hours" in (conf / SHOP / "rules.yaml").read_text(encoding="utf-8")


def test_a_dry_run_shows_the_files_and_writes_none(tmp_path):
    result = init(tmp_path / "conf", "--no-input", "--dry-run", *PEOPLE)
    assert "--- teahouse/agents.yaml" in result.output
    assert not (tmp_path / "conf").exists()


def test_agents_are_read_from_the_right_as_far_as_they_go():
    assert agent_of("a") == {"agent_id": "a"}
    assert agent_of("a:甲:4:售前，售后:senior") == {
        "agent_id": "a", "name": "甲", "capacity": 4, "skills": {"售前": 3, "售后": 3}, "grade": "senior",
    }  # fmt: skip
    for wrong in ("", ":x", "a:b:c", "a:b:1:c:d:e"):
        with pytest.raises(UsageError):
            agent_of(wrong)


# --- check ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The documents of a shop that init made."""
    conf = tmp_path_factory.mktemp("opened") / "conf"
    assert init(conf, "--no-input", "--lang", "zh", *PEOPLE).exit_code == 0
    return conf, load_directory(conf).shops[SHOP]


GOOD_TRIAL = Trial(48.0, over=True, stopped_early=False, messages=100, answered=40, p90_s=0.4)
GOOD_LOAD = Tried(30, 90, 0, 0.2)


def judged(shop, at_once=30, trials=(GOOD_TRIAL,), load=GOOD_LOAD, **documents):
    documents = {**shop, **documents}
    return {
        f"{one.requirement}/{one.key}": one.ok
        for one in findings(documents["rules"], documents["agents"], at_once, trials, load)
    }


def test_a_shop_that_lacks_nothing_may_go_live(opened):
    assert judged(opened[1]) == {
        "templates/template greeting": True, "templates/template off_hours": True, "templates/template after_sales": True,
        "staffing/staffed": True, "words/words tried": True, "load/load tried": True, "trial/trial passed": True,
    }  # fmt: skip


@pytest.mark.parametrize("missing", ["greeting", "off_hours", "after_sales"])
def test_each_template_that_is_missing_is_named(opened, missing):
    gone = {"greeting": "greeting", "off_hours": "off-hours", "after_sales": "after-sales"}[missing]
    rules = opened[1]["rules"]
    left = tuple(rule for rule in rules.rules if rule.rule_id not in {gone, *({"greeting.hello"})})
    if missing == "greeting":  # _default has one, too
        left = tuple(rule for rule in left if rule.reply is None or rule.reply.kind != "greeting")
    found = judged(opened[1], rules=rules.model_copy(update={"rules": left}))
    assert [key for key, ok in found.items() if not ok] == [f"templates/no template {missing}"]


@pytest.mark.parametrize(("people", "at_once", "ok"), [(1, 1, False), (2, 30, True), (2, 31, False), (3, 45, True)])
def test_one_person_for_fifteen_customers_and_never_one_alone(opened, people, at_once, ok):
    agents = AgentsDocument(agents=tuple(Agent(agent_id=f"a{n}") for n in range(people)))
    reserve = Agent(agent_id="z", reserve=True), Agent(agent_id="y", capacity=0)
    agents = agents.model_copy(update={"agents": (*agents.agents, *reserve)})
    found = judged(opened[1], at_once, agents=agents, load=Tried(at_once, 90, 0, 0.1))
    assert found.get("staffing/staffed" if ok else "staffing/too few") is ok


@pytest.mark.parametrize(
    ("sensitive", "key"),
    [
        (Sensitive(enabled=False), "words off"),
        (Sensitive(shipped=False), "no words"),
        (Sensitive(words={"ours": ("欢迎光临",)}), "words hold replies"),
        (Sensitive(words={"ours": ("独家秘方",)}), "words tried"),
        # A word that a longer allowed one frees wherever it stands is not found, and not expected to be.
        (Sensitive(words={"ours": ("独家秘方",)}, allow=("独家秘方",)), "words tried"),
    ],
)
def test_sensitive_words_are_tried_on_the_spot(opened, sensitive, key):
    rules = opened[1]["rules"].model_copy(update={"sensitive": sensitive})
    assert f"words/{key}" in judged(opened[1], rules=rules)


@pytest.mark.parametrize(
    ("load", "key"),
    [
        (None, "no load"),
        (Tried(29, 90, 0, 0.1), "load too small"),
        (Tried(30, 90, 1, 0.1), "load too slow"),
        (Tried(30, 90, 0, 3.5), "load too slow"),
    ],
)
def test_load_that_was_not_tried_or_not_borne_is_named(opened, load, key):
    assert judged(opened[1], load=load)[f"load/{key}"] is False


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"over": False, "hours": 12.0}, "trial running"),
        ({"hours": 47.9}, "trial short"),
        ({"stopped_early": True}, "trial short"),
        ({"messages": 0}, "trial without messages"),
        ({"p90_s": 31.0}, "trial slow"),
    ],
)
def test_a_trial_that_was_not_passed_says_why(opened, changes, key):
    assert judged(opened[1], trials=(GOOD_TRIAL._replace(**changes),))[f"trial/{key}"] is False
    # One that was passed counts, whatever was tried after it.
    assert judged(opened[1], trials=(GOOD_TRIAL._replace(**changes), GOOD_TRIAL))["trial/trial passed"]


def test_without_a_database_load_and_trial_are_not_known_and_the_exit_code_is_1(opened):
    result = run("check", "--shop", SHOP, "--config", opened[0], "--lang", "zh")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "店铺 teahouse 还缺 2 项（共 7 项）"
    data = json.loads(run("check", "--shop", SHOP, "--config", opened[0], "--json").output)
    missing = [one["what"] for one in data["findings"] if not one["ok"]]
    assert (data["ready"], missing) == (False, ["load not known", "trial not known"])


def test_everything_that_may_be_said_can_be_said_in_both_languages(opened):
    import re

    names = lambda text: sorted(re.findall(r"(?<!\{)\{(\w+)", text))  # noqa: E731
    for key, (english, chinese) in _WORDS.items():
        assert names(english) == names(chinese), key


# --- load -----------------------------------------------------------------------------------------------------------------


def test_customers_write_in_turn_each_as_often_as_asked():
    customers = Customers("r", SHOP, ["a", "b"], 10, 5.0)
    outputs = [out for tick in range(100) for out in customers.due(tick / 10, (tick + 1) / 10, 1_000_000)]
    assert len(outputs) == customers.messages == 20, "ten customers, every five seconds, for ten seconds"
    events = [json.loads(out.value) for out in outputs]
    assert len({event["id"] for event in events}) == 20
    assert {event["data"]["message_id"] for event in events if event["subject"] == "rehearsal-r-00003"} == {"m0", "m1"}
    assert len(list(customers.closes(2_000_000))) == 10


def test_the_texts_are_what_the_shops_rules_listen_for(opened):
    texts = texts_of(opened[1]["rules"])
    assert {"退货", "你好", "什么时候发货"} <= set(texts)


def test_delays_are_counted_from_the_brokers_clocks():
    at = datetime(2026, 11, 30, 9, tzinfo=UTC)

    def row(type_, message, seconds, **data):
        value = json.dumps({"data": data})
        return {"type": type_, "subject": message, "broker_time": at + timedelta(seconds=seconds), "value": value}

    rows = [row("message.received.v1", f"c{n}", n / 10, message_id="m") for n in range(100)]
    rows += [row("handover.requested.v1", f"c{n}", n / 10 + 0.2, message_id="m") for n in range(98)]
    rows += [row("reply.issued.v1", "c98", 9.8 + 1.5, in_reply_to="m")]
    rows += [row("message.received.v1", "late", 60, message_id="m")]
    assert evidence.tried(rows, from_datetime(at) + 60 * SECOND) == Tried(100, 100, 1, pytest.approx(1.5))


def test_the_files_of_a_plan_are_the_same_every_time():
    plan = read_plan(ANSWERS.encode())
    assert files_of(plan) == files_of(read_plan(ANSWERS.encode()))
