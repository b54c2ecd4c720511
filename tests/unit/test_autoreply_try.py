"""``deskline autoreply try``: which rule answers a text, and why those before it do not. No service, no broker."""

import pytest
from typer.testing import CliRunner

from deskline.errors import UsageError
from deskline_autoreply.cli import app

RULES = """
shadow: {shadow}
rules:
  - {{rule_id: complaint, priority: 900, when: {{any_of: [投诉]}}, handover: {{reason: complaint, priority: 90}}}}
  - {{rule_id: closed, priority: 500, when: {{open: false}}, reply: {{kind: off_hours, text: 明早回复您。}}, handover: {{}}}}
  - {{rule_id: shipping, when: {{any_of: [发货]}}, reply: {{kind: faq, text: 48 小时内发货。}}}}
"""
CALENDARS = """
default: office
calendars: {office: {timezone: Asia/Shanghai, weekly: {wed: ["09:00-18:00"]}}}
"""
NOON = "2026-11-25T12:00:00+08:00"


@pytest.fixture
def attempt(tmp_path):
    folder = tmp_path / "_default"
    folder.mkdir()
    (folder / "calendars.yaml").write_text(CALENDARS, encoding="utf-8")

    def run(*arguments, shadow="false"):
        (folder / "rules.yaml").write_text(RULES.format(shadow=shadow), encoding="utf-8")
        return CliRunner().invoke(app, ["try", *arguments, "--config", str(tmp_path)])

    return run


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["什么时候发货", "--at", NOON],
            ["complaint: not met: any_of", "closed: not met: open", "decides: shipping", "reply (faq): 48 小时内发货。"],
        ),
        (
            ["发货", "--at", "2026-11-25T18:00:00+08:00"],
            ["complaint: not met: any_of", "decides: closed", "reply (off_hours): 明早回复您。",
             "hand-over: reason rule; priority 50"],
        ),
        (["我要投诉", "--at", NOON], ["decides: complaint", "hand-over: reason complaint; priority 90"]),
        (
            ["别的", "--at", NOON],
            ["complaint: not met: any_of", "closed: not met: open", "shipping: not met: any_of", "decides: the fallback",
             "hand-over: reason no_match; priority 50"],
        ),
        (["\u200b ", "--at", NOON], ["ignored: empty (nothing visible and no attachment)"]),
    ],
)  # fmt: skip
def test_it_says_what_decides_and_what_does_not(attempt, arguments, lines):
    result = attempt(*arguments)
    assert result.exit_code == 0
    said = [line.strip() for line in result.output.splitlines()]
    assert said[0].startswith("shop _default at 2026-11-25T")
    assert said[1:] == lines


def test_a_shop_in_shadow_is_said_to_be_in_shadow(attempt):
    assert "nothing below is sent" in attempt("发货", "--at", NOON, shadow="true").output


def test_a_time_that_is_none_is_refused_with_an_example(attempt):
    result = attempt("发货", "--at", "yesterday")
    assert isinstance(result.exception, UsageError)
    assert "for example 2026-11-25T09:30:00+08:00" in str(result.exception)
