"""Configuration with mistakes is refused whole, naming file, line, column and field, and what to do."""

import json
from datetime import date
from pathlib import Path
from textwrap import dedent

import pytest

from deskline.config.base import DEFAULT_SHOP
from deskline.config.documents import DOCUMENTS, body_of
from deskline.config.explain import known_keys
from deskline.config.loading import KINDS, ConfigurationError, load_directory
from deskline.config.yaml_source import Place, read

CALENDARS = """
    default: shop
    calendars:
      shop:
        timezone: Asia/Shanghai
        weekly: {mon: ["09:00-22:00"]}
"""


def directory(tmp_path, files):
    (tmp_path / DEFAULT_SHOP).mkdir()
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else dedent(text).lstrip("\n").encode())
    return tmp_path


def problems_of(tmp_path, files):
    with pytest.raises(ConfigurationError) as caught:
        load_directory(directory(tmp_path, files))
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_an_empty_default_is_all_defaults(tmp_path):
    configuration = load_directory(directory(tmp_path, {}))
    assert list(configuration.shops) == [DEFAULT_SHOP]
    assert set(configuration.shops[DEFAULT_SHOP]) == set(KINDS)
    assert configuration.warnings == []


def test_a_list_of_mistakes_alone_is_not_called_empty(tmp_path):
    rules = "rules:\n  - {rule_id: a, silent: true, when: {patterns: ['a(?=b)']}}\n"
    (problem,) = problems_of(tmp_path, {"_default/rules.yaml": rules})
    assert "patterns[0]: the regular expression" in problem


def test_a_shop_has_only_the_documents_that_it_has_of_its_own(tmp_path):
    files = {"衣橱/limits.yaml": "patience_s: 2.5\n", "衣橱/calendars.yaml": CALENDARS, "README.md": "", ".git/x": ""}
    shops = load_directory(directory(tmp_path, files)).shops
    assert set(shops["衣橱"]) == {"limits", "calendars"}
    assert shops["衣橱"]["limits"].patience_s == 2.5


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("limits.yaml", "patience_s: 3\npatience: 4\n", "2:1: patience: there is no key 'patience' here; did you mean patience_s?"),
        ("limits.yaml", "patience_s: soon\n", "1:13: patience_s: must be a number (without quotes), not 'soon'"),
        ("limits.yaml", "patience_s: '3'\n", "1:13: patience_s: must be a number (without quotes), not '3'"),
        ("limits.yaml", "patience_s: -1\n", "1:13: patience_s: must be greater than 0, not -1"),
        ("limits.yaml", "queue_limit: 2.5\n", "1:14: queue_limit: must be a whole number (without quotes), not 2.5"),
        ("limits.yaml", "patience_s: .inf\n", "1:13: patience_s: must be a number (without quotes), not '.inf'"),
        ("limits.yaml", "deliver_by_s: 999999999999\n", "1:15: deliver_by_s: must be at most 315576000, not 999999999999"),
        ("limits.yaml", "queue_limit: " + "9" * 5000, "1:14: queue_limit: this number has too many digits; if it is an id, put it in quotes"),
        ("limits.yaml", "[]\n", "1:1: must have members (key: value), not a list"),
        ("limits.yaml", "5\n", "1:1: must have members (key: value), not 5"),
        ("limits.yaml", "", "1:1: the file is empty; write {} for a document of defaults, or delete the file"),
        ("limits.yaml", "patience_s: 3\npatience_s: 4\n", "2:1: patience_s: 'patience_s' is given twice (first in line 1); remove one"),
        ("limits.yaml", "patience_s: !!python/object/apply:os.system [x]\n", "1:13: tags (tag:yaml.org,2002:python/object/apply:os.system) are not used here; remove it"),
        ("limits.yaml", "a: 1\n---\nb: 2\n", "2:1: only one document may stand in a file; remove the line ---"),
        ("limits.yaml", "a:\n\tpatience_s: 3\n", "2:1: found character that cannot start any token; put the text in quotes, and indent with blanks, never tabs"),
        ("limits.yaml", b"patience_s: 3 # \xff\n", "1:17: this is not UTF-8; save the file as UTF-8"),
        ("limits.yaml", "a: 1 # 退\0\n", "1:9: a control character stands here; remove it"),
        ("limits.yaml", "a: " + "[" * 100_000, "1:1003: nested too deep for any document of the configuration"),
        ("limits.yaml", "a: " + "[" * 500 + "]" * 500, "1:27: nested too deep for any document of the configuration"),
        ("limits.yaml", "<<: {patience_s: 3}\n", "1:1: <<: merge keys (<<) are not used here; write the keys out"),
        ("limits.yaml", "? [a]\n: 1\n", "1:3: a key must be a single word or number"),
        ("limits.yaml", "patience_s: &a [*a]\n", None),
        ("agents.yaml", "agents:\n  - {agent_id: 1001}\n", '2:16: agents[0].agent_id: must be text; put it in quotes: "1001"'),
        ("agents.yaml", "agents:\n  - {agent_id: true}\n", '2:16: agents[0].agent_id: must be text; put it in quotes: "true"'),
        ("agents.yaml", "agents:\n  - name: 小李\n", "2:5: agents[0]: agent_id is missing; add it"),
        ("agents.yaml", "agents:\n  - agent_id: li\n    grade: Senior\n", "3:12: agents[0].grade: must be one of 'trainee', 'standard', 'senior' or 'supervisor', not 'Senior'; did you mean senior?"),
        ("agents.yaml", "agents:\n  - agent_id: li\n    skills: {退款: 6}\n", "3:18: agents[0].skills.退款: must be at most 5, not 6"),
        ("agents.yaml", "agents:\n  - agent_id: li\n    skills: [退款]\n", "3:13: agents[0].skills: must have members (key: value), not a list"),
        ("agents.yaml", "agents:\n  - agent_id: li\n    languages: zh\n", "3:16: agents[0].languages: must be a list: [a, b] or lines that begin with a dash, not 'zh'"),
        ("agents.yaml", "agents:\n  - agent_id: li\n  - agent_id: wu\n  - agent_id: li\n", "4:15: agents[2].agent_id: agent 'li' is listed twice; remove one or rename it"),
        ("agents.yaml", 'agents:\n  - agent_id: "l\\0"\n', "2:15: agents[0].agent_id: the text holds a character that cannot be stored (NUL or half a pair)"),
        ("agents.yaml", 'agents:\n  - agent_id: "l\\ti"\n', "2:15: agents[0].agent_id: control characters (tabs and line breaks among them) cannot stand in a name"),
        ("agents.yaml", 'agents:\n  - agent_id: ""\n', "2:15: agents[0].agent_id: must not be empty"),
        ("agents.yaml", "agents:\n  - agent_id: " + "x" * 129, "2:15: agents[0].agent_id: must have at most 128 characters"),
        ("calendars.yaml", "default: day\n", "1:1: calendars is missing; add it"),
        ("calendars.yaml", CALENDARS.replace("default: shop", "default: day"), "1:10: default: no calendar is named 'day'; defined here: shop"),
        ("calendars.yaml", CALENDARS.replace("Asia/Shanghai", "Asia/Shangai"), "4:15: calendars.shop.timezone: 'Asia/Shangai' is no IANA time zone; write for example Asia/Shanghai"),
        ("calendars.yaml", CALENDARS.replace("mon:", "monday:"), "5:14: calendars.shop.weekly.monday: there is no key 'monday' here; did you mean mon?"),
        ("calendars.yaml", CALENDARS.replace("09:00-22:00", "9-22"), "5:20: calendars.shop.weekly.mon[0]: '9-22' is no span; write HH:MM-HH:MM, for example 09:00-18:00 or 22:00-02:00"),
        ("calendars.yaml", CALENDARS.replace("09:00-22:00", "09:00-24:30"), "5:20: calendars.shop.weekly.mon[0]: '09:00-24:30' goes beyond the end of the day; the latest is 24:00"),
        ("calendars.yaml", CALENDARS.replace("09:00-22:00", "24:00-02:00"), "5:20: calendars.shop.weekly.mon[0]: '24:00-02:00' cannot start at 24:00; write it on the next day"),
        ("calendars.yaml", CALENDARS.replace("09:00-22:00", "09:00:00-09:00"), "5:20: calendars.shop.weekly.mon[0]: '09:00:00-09:00' has equal ends; write 00:00-24:00 for a whole day"),
        ("calendars.yaml", CALENDARS.replace('mon: ["09:00-22:00"]', ""), "4:5: calendars.shop: this calendar is never open; give at least one weekday or special day a span"),
        ("calendars.yaml", CALENDARS + "        holidays: [2026-02-30]\n", "6:16: calendars.shop.holidays[0]: '2026-02-30' is no date of the calendar; write YYYY-MM-DD"),
        ("calendars.yaml", CALENDARS + "        special_days: {2026-13-01: []}\n", "6:20: calendars.shop.special_days.2026-13-01: '2026-13-01' is no date of the calendar; write YYYY-MM-DD"),
        ("sla.yaml", "policies:\n  - policy_id: p\n    targets: {agent_response: -1}\n", "3:31: policies[0].targets.agent_response: must be at least 0, not -1"),
        ("sla.yaml", "policies:\n  - policy_id: p\n    targets: {first_reply: 1}\n", None),
        ("sla.yaml", "policies:\n  - policy_id: p\n    when: {tiers: []}\n    targets: {}\n", "3:19: policies[0].when.tiers: must not be an empty list; list something, or leave it out"),
        ("sla.yaml", "policies:\n  - policy_id: p\n    when: {min_priority: 9, max_priority: 8}\n    targets: {}\n", "3:26: policies[0].when.min_priority: no priority is at least 9 and at most 8"),
        ("sla.yaml", "calendar: nights\n", "1:11: calendar: no calendar is named 'nights'; in _default/calendars.yaml there are always"),
        ("routing.yaml", "rules:\n  - rule_id: r\n    steps: []\n", "3:12: rules[0].steps: must not be an empty list; list something, or leave it out"),
        ("routing.yaml", "rules:\n  - rule_id: r\n    steps:\n      - {}\n      - {}\n", "4:9: rules[0].steps[0]: this step lasts until somebody is assigned, so the steps behind it never come; give it wait_s"),
        ("rules.yaml", "rules:\n  - rule_id: r\n    when: {open: yes}\n    reply: {text: hi}\n", "3:18: rules[0].when.open: must be true or false, not 'yes'"),
        ("rules.yaml", "rules:\n  - rule_id: r\n", "2:5: rules[0]: rule 'r' neither replies nor hands over; give it reply, handover or both"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_to_do(tmp_path, file, text, expected):
    found = problems_of(tmp_path, {f"a/{file}": text})
    assert len(found) == 1, found
    if expected is not None:
        assert found == [f"a/{file}:{expected}"]


def test_all_mistakes_of_all_files_are_told_at_once_in_order(tmp_path):
    files = {
        "b/limits.yaml": "patience_s: 0\nreoffer_s: -1\n",
        "a/limits.yaml": "queue_limit: 0\n",
        "a/agent.yaml": "{}",
        "a/sla.yml": "{}",
        "a/notes.txt": "",
        "_shared/limits.yaml": "{}",
        "stray.yaml": "{}",
    }
    assert problems_of(tmp_path, files) == [
        "_shared: ids that begin with _ are kept for _default; rename the folder",
        "a/agent.yaml: no document of the configuration has this name; did you mean agents.yaml?",
        "a/limits.yaml:1:14: queue_limit: must be at least 1, not 0",
        "a/notes.txt: no document of the configuration has this name; the files are agents.yaml, calendars.yaml, sla.yaml, routing.yaml, limits.yaml, rules.yaml, knowledge.yaml, sensitive.yaml",
        "a/sla.yml: rename it to sla.yaml",
        "b/limits.yaml:1:13: patience_s: must be greater than 0, not 0",
        "b/limits.yaml:2:12: reoffer_s: must be at least 0, not -1",
        "stray.yaml: not a folder of a shop; move it into one, or away",
    ]


def test_a_file_of_another_program_does_not_flood_the_screen(tmp_path):
    found = problems_of(tmp_path, {"a/limits.yaml": "".join(f"key{n}: 1\n" for n in range(1000))})
    assert len(found) == 200


def test_aliases_that_multiply_are_refused(tmp_path):
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
    [found] = problems_of(tmp_path, {"a/limits.yaml": "\n".join(lines)})
    assert "aliases make this document too large" in found


@pytest.mark.parametrize("name", [" a", "a\tb", "x" * 129])
def test_a_folder_whose_name_is_no_shop_id_is_refused(tmp_path, name):
    assert len(problems_of(tmp_path, {f"{name}/limits.yaml": "{}"})) == 1


def test_a_missing_default_and_a_missing_directory_are_told(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigurationError, match="_default: this folder is missing"):
        load_directory(tmp_path)
    with pytest.raises(ConfigurationError, match="no such directory"):
        load_directory(Path("/nonexistent"))


def test_one_person_has_one_capacity_in_all_shops(tmp_path):
    files = {
        "a/agents.yaml": "agents:\n  - {agent_id: li, capacity: 5}\n",
        "b/agents.yaml": "agents:\n  - {agent_id: wu}\n  - {agent_id: li, capacity: 6}\n",
    }
    assert problems_of(tmp_path, files) == [
        "b/agents.yaml:3:30: agents[1].capacity: agent 'li' has the capacity 6 here and 5 in a/agents.yaml:2; an agent is one person with one capacity in all shops: write the same"
    ]


def test_a_policy_of_default_needs_its_calendar_in_every_shop_that_has_calendars(tmp_path):
    files = {
        "_default/calendars.yaml": CALENDARS.replace("shop", "office"),
        "_default/sla.yaml": "calendar: office\n",
        "a/calendars.yaml": CALENDARS,
        "b/sla.yaml": "{}",
    }
    assert problems_of(tmp_path, files) == [
        "a/calendars.yaml:3:3: calendars: _default/sla.yaml, which this shop runs on, needs a calendar 'office'; add it"
    ]


def test_what_can_hardly_be_meant_is_a_warning(tmp_path):
    files = {
        "a/agents.yaml": "agents:\n  - {agent_id: li, skills: {退款: 3}, groups: [华东]}\n",
        "a/rules.yaml": "fallback: {reason: no_match, skills: [退款, 物流]}\n",
        "a/routing.yaml": "rules:\n  - {rule_id: all, steps: [{groups: [华北]}]}\n  - {rule_id: never, steps: [{}]}\n",
    }
    assert [str(warning) for warning in load_directory(directory(tmp_path, files)).warnings] == [
        "a/routing.yaml:2:38: rules[0].steps[0].groups[0]: no agent of this shop is in the group '华北'",
        "a/routing.yaml:3:5: rules[1]: never used: the rule 'all' before it matches everything",
        "a/rules.yaml:1:43: fallback.skills[1]: no agent of this shop has the skill '物流'; such a request waits for a later step",
    ]


@pytest.mark.parametrize(
    "where", ["on_breach: [remind, call_supervisor]", "on_warning: [{at: 0.8, actions: [call_supervisor]}]"]
)
def test_a_supervisor_who_is_called_and_is_not_there_is_a_warning(tmp_path, where):
    files = {"a/agents.yaml": "agents:\n  - {agent_id: li}\n", "a/sla.yaml": f"policies: []\n{where}\n"}
    (warning,) = load_directory(directory(tmp_path, files)).warnings
    assert "a/sla.yaml:2:" in str(warning)
    assert "no agent of this shop has the grade supervisor" in str(warning)
    files["a/routing.yaml"] = "sla_actions: {supervisors: [standard]}\n"
    again = tmp_path / "again"
    again.mkdir()
    assert load_directory(directory(again, files)).warnings == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"), ("yes", "yes"), ("No", "No"), ("true", True), ("False", False), ("null", None), ("~", None),
        ("12:30", "12:30"), ("2026-10-01", "2026-10-01"), ("007", "007"), ("1_000", "1_000"), ("0x1F", "0x1F"),
        ("0o17", "0o17"), ("017", "017"), ("1e3", "1e3"), ("1.5", 1.5), ("-3", -3), ("+4", 4), (".5", 0.5), ("0", 0),
        (".nan", ".nan"), ("'3'", "3"), ('"true"', "true"), ("=", "="), ("|\n  x\n  y\n", "x\ny\n"), ("٣", "٣"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_show(text, expected):
    value = read(f"key: {text}\n".encode()).value["key"]
    assert (value, type(value)) == (expected, type(expected))


def test_a_byte_order_mark_and_carriage_returns_are_no_mistake():
    source = read("\ufeffa: 1\r\nb: 2\r\n".encode())
    assert source.value == {"a": 1, "b": 2}
    assert source.places["b",] == Place(2, 4)


def test_an_alias_is_its_anchors_value(tmp_path):
    text = CALENDARS.replace('mon: ["09:00-22:00"]', 'mon: &day ["09:00-22:00"], tue: *day')
    calendars = load_directory(directory(tmp_path, {"a/calendars.yaml": text})).shops["a"]["calendars"]
    assert calendars.calendars["shop"].weekly.tue == ("09:00-22:00",)


def test_a_file_that_is_too_large_is_refused_without_reading_on(tmp_path):
    [found] = problems_of(tmp_path, {"a/limits.yaml": b"#" * (16 * 1024 * 1024 + 10)})
    assert "the most is 16777216" in found


def test_a_body_too_large_for_its_record_is_refused(tmp_path):
    agents = "agents:\n" + "".join(f"  - {{agent_id: a{n}, name: {'x' * 1000}}}\n" for n in range(4200))
    [found] = problems_of(tmp_path, {"a/agents.yaml": agents})
    assert found.startswith("a/agents.yaml: the document has 4")


def test_the_body_writes_out_defaults_and_reads_back_equal(tmp_path):
    files = {
        "_default/calendars.yaml": CALENDARS + "        special_days: {2026-10-10: ['09:00-18:00'], 2026-01-01: []}\n",
        "_default/sla.yaml": "policies:\n  - {policy_id: p, targets: {resolution: null, agent_response: 90}}\n",
    }
    shop = load_directory(directory(tmp_path, files)).shops[DEFAULT_SHOP]
    for kind in KINDS:
        body = body_of(shop[kind])
        again = DOCUMENTS[kind].model_validate_json(body, strict=True)
        assert (again, body_of(again)) == (shop[kind], body)
        assert b"null" not in body
    assert json.loads(body_of(shop["sla"]))["policies"][0]["targets"] == {"agent_response": 90, "resolution": 0}
    assert list(shop["calendars"].calendars["shop"].special_days) == [date(2026, 10, 10), date(2026, 1, 1)]


def test_known_keys_are_found_through_lists_references_and_optional_parts():
    assert "wait_s" in known_keys("routing", ("rules", 0, "steps", 1))
    assert "timezone" in known_keys("calendars", ("calendars", "any"))
    assert "text" in known_keys("rules", ("rules", 3, "reply"))
    assert known_keys("agents", ("agents", 0, "skills", "x")) == ()
