"""Public holidays: the packaged rows against their source and a second opinion, new rows, and calendars that ask for them."""

import json
from datetime import date, timedelta
from pathlib import Path

import holidays as second_opinion
import pytest
from chinese_calendar import is_holiday, is_workday
from typer.testing import CliRunner

from deskline.calendar_cli import app
from deskline.calendars import Hours, horizon
from deskline.clock import SECOND, parse_rfc3339
from deskline.config.documents import Calendar, Weekly
from deskline.config.loading import load_directory
from deskline.config.public_holidays import with_rows
from deskline.errors import UsageError
from deskline.public_holidays import Row, Rows, load, merged, of_chinesecalendar, of_file, read, write

WORKING = Weekly(**dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), ("09:00-18:00",)))


def china():
    return load("CN")


def office(**fields):
    return Calendar(timezone="Asia/Shanghai", weekly=WORKING, **fields)


def every_day(rows):
    day = rows.known_from
    while day <= rows.known_until:
        yield day
        day += timedelta(days=1)


def test_the_rows_say_of_every_day_what_their_source_says():
    rows = china()
    off = {row.day for row in rows.rows if row.kind == "off"}
    work = {row.day for row in rows.rows if row.kind == "work"}
    for day in every_day(rows):
        working = day in work or (day.weekday() < 5 and day not in off)
        assert working == is_workday(day), day
        assert working != is_holiday(day), day


def test_a_second_library_agrees_on_which_days_are_worked():
    rows = china()
    other = second_opinion.country_holidays("CN", years=range(rows.known_from.year, rows.known_until.year + 1))
    ours = with_rows(office(public_holidays="CN"), rows)
    different = []
    for day in every_day(rows):
        working = day in ours.special_days or (day.weekday() < 5 and day not in ours.holidays)
        if working != other.is_working_day(day):
            different.append(day)
    assert different == []


@pytest.mark.parametrize(
    ("day", "kind"),
    [
        # CN8: the make-ups of 2026
        *(
            (date(2026, *d), "work")
            for d in ((1, 4), (2, 14), (2, 28), (5, 9), (9, 20), (10, 10))
        ),
        (date(2026, 10, 1), "off"),
        (date(2026, 2, 17), "off"),
    ],
)  # fmt: skip
def test_a_row_that_was_announced_is_there(day, kind):
    assert [row.kind for row in china().rows if row.day == day] == [kind]


def test_rows_are_sorted_once_each_and_inside_what_is_known():
    rows = china()
    listed = [row.day for row in rows.rows]
    assert listed == sorted(set(listed))
    assert rows.known_from <= listed[0] <= listed[-1] <= rows.known_until
    assert all(row.source and 1 <= row.version <= rows.version for row in rows.rows)


def test_rows_read_back_as_they_were_written():
    assert read(write(china()), "again") == china()


def test_taking_in_what_is_known_already_changes_nothing():
    assert merged(china(), of_chinesecalendar()) == china()


def test_a_new_year_moves_the_horizon_and_has_the_next_version():
    old = china()
    after = old.known_until.year + 1
    new = merged(old, [Row(date(after, 1, 1), "off", "元旦", "notice")])
    assert new.known_until == date(after, 12, 31)
    assert new.version == old.version + 1
    assert [row for row in new.rows if row.day.year == after] == [
        Row(date(after, 1, 1), "off", "元旦", "notice", new.version)
    ]
    assert set(old.rows) < set(new.rows)


def test_a_corrected_year_replaces_its_rows_and_keeps_the_versions_of_those_that_stay():
    old = Rows("CN", 3, date(2026, 1, 1), date(2026, 12, 31), (Row(date(2026, 1, 1), "off", "a", "x"), Row(date(2026, 1, 2), "off", "a", "x", 2)))  # fmt: skip
    new = merged(old, [Row(date(2026, 1, 1), "off", "a", "other"), Row(date(2026, 1, 3), "off", "a", "other")])
    assert new.rows == (Row(date(2026, 1, 1), "off", "a", "x", 1), Row(date(2026, 1, 3), "off", "a", "other", 4))


def test_a_year_behind_a_gap_does_not_move_the_horizon():
    old = china()
    far = old.known_until.year + 2
    assert merged(old, [Row(date(far, 1, 1), "off", "a", "x")]).known_until == old.known_until


def test_the_json_of_holiday_cn_is_understood():
    text = json.dumps({"year": 2027, "papers": ["notice 2027"], "days": [{"name": "元旦", "date": "2027-01-01", "isOffDay": True}, {"name": "元旦", "date": "2027-01-03", "isOffDay": False}]})  # fmt: skip
    assert of_file(text, "2027.json") == [
        Row(date(2027, 1, 1), "off", "元旦", "notice 2027"),
        Row(date(2027, 1, 3), "work", "元旦", "notice 2027"),
    ]


@pytest.mark.parametrize("text", ['{"days": [{"date": "soon"}]}', "day,kind\n", "#{}\nday\n"])
def test_a_file_that_is_neither_is_refused_with_what_to_do(text):
    with pytest.raises(UsageError, match="calendar import"):
        of_file(text, "bad.csv")


def test_a_make_up_day_has_the_hours_of_monday_or_of_the_day_that_is_named():
    week = Weekly(mon=["09:00-18:00"], sat=["10:00-12:00"])
    seeded = with_rows(Calendar(timezone="Asia/Shanghai", weekly=week, public_holidays="CN"), china())
    assert seeded.special_days[date(2026, 10, 10)] == ("09:00-18:00",)
    named = with_rows(Calendar(timezone="Asia/Shanghai", weekly=week, public_holidays="CN", make_up_day="sat"), china())
    assert named.special_days[date(2026, 10, 10)] == ("10:00-12:00",)


def test_what_the_calendar_says_itself_wins_over_the_rows():
    # Open round the clock on 11.11 and on a public holiday; closed on a make-up day.
    own = with_rows(
        office(
            public_holidays="CN",
            holidays=["2026-10-10"],
            special_days={"2026-10-01": ["10:00-16:00"], "2026-11-11": ["00:00-24:00"]},
        ),
        china(),
    )
    hours = Hours.of(own)

    def open_s(day):
        begins = parse_rfc3339(f"{day}T00:00:00+08:00")
        return hours.elapsed(begins, begins + 86_400 * SECOND) // SECOND

    assert [open_s(day) for day in ("2026-10-01", "2026-10-02", "2026-10-10", "2026-11-11")] == [21_600, 0, 0, 86_400]


def test_calendars_without_the_wish_stay_as_they_are_and_their_body_too():
    assert "public_holidays" not in office().model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"holidays": ["2026-05-01"]}, "2027-01-01T00:00:00+08:00"),
        ({"holidays": ["2026-05-01"], "holidays_known_until": "2026-06-30"}, "2026-07-01T00:00:00+08:00"),
        ({"holidays_known_until": "2027-12-31"}, "2028-01-01T00:00:00+08:00"),
    ],
)
def test_the_horizon_is_stated_or_the_end_of_the_last_year_with_a_holiday(fields, expected):
    assert horizon(office(**fields)) == (None if expected is None else parse_rfc3339(expected))


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    shop = tmp_path / "_default"
    shop.mkdir()
    (shop / "calendars.yaml").write_text(
        'default: office\ncalendars:\n  office:\n    timezone: Asia/Shanghai\n    weekly: {mon: ["09:00-18:00"]}\n    public_holidays: CN\n'
    )
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_directory_that_asks_for_the_rows_has_them_in_its_document(conf):
    calendar = load_directory(conf).shops["_default"]["calendars"].calendars["office"]
    assert date(2026, 10, 1) in calendar.holidays
    assert calendar.holidays_known_until == china().known_until
    assert calendar.holidays_source == f"{china().sources} (CN, version 1)"


def test_show_says_the_hours_of_each_day_and_where_knowledge_ends(conf):
    shown = run("show", conf, "_default", "--from", "2026-12-28", "--days", 8).stdout.splitlines()
    assert shown[0].startswith("_default office (Asia/Shanghai): knows its holidays to 2026-12-31")
    assert shown[1] == "2026-12-28 mon  weekly   09:00-18:00"
    assert shown[8] == "2027-01-04 mon  weekly   09:00-18:00 (a guess: holidays are not known yet)"
    made_up = json.loads(run("show", conf, "_default", "--from", "2026-10-10", "--days", 1, "--json").stdout)["days"]
    assert made_up == [
        {"day": "2026-10-10", "spans": ["09:00-18:00"], "why": "special", "open_s": 32_400, "guess": False}
    ]


@pytest.mark.parametrize(
    ("at", "code", "says"),
    [
        ("2026-12-01", 0, "knows its holidays for the next 30 days"),
        ("2026-12-02", 1, "known for 29 more days, to 2026-12-31"),
        ("2027-01-01", 1, "deadlines after it are guesses"),
    ],
)
def test_check_speaks_up_thirty_days_before_the_horizon(conf, at, code, says):
    result = run("check", conf, "--at", at)
    assert (result.exit_code, says in result.stdout) == (code, True)


def test_check_finds_a_holiday_and_a_make_up_day_that_were_forgotten(tmp_path):
    shop = tmp_path / "_default"
    shop.mkdir()
    mine = [row.day.isoformat() for row in china().rows if row.day.year == 2026 and row.kind == "off"]
    mine.remove("2026-05-01")
    (shop / "calendars.yaml").write_text(
        "default: office\ncalendars:\n  office:\n    timezone: Asia/Shanghai\n"
        '    weekly: {fri: ["09:00-18:00"]}\n    holidays: [' + ", ".join(mine) + "]\n"
    )
    result = run("check", tmp_path, "--at", "2026-11-01")
    assert result.exit_code == 1
    assert "2026-05-01 is Labour Day and off" in result.stdout
    assert "2026-10-10 is worked" in result.stdout


def test_import_writes_rows_that_the_next_apply_uses_and_a_second_import_changes_nothing(conf, tmp_path):
    news = tmp_path / ".2027.json"
    news.write_text(json.dumps({"papers": ["notice"], "days": [{"name": "元旦", "date": "2027-01-01", "isOffDay": True}]}))  # fmt: skip
    dry = run("import", conf, "--from", news, "--dry-run")
    assert "+ 2027-01-01 off 元旦 (notice)" in dry.stdout
    assert not (conf / "_holidays").exists()
    assert run("import", conf, "--from", news).exit_code == 0
    calendar = load_directory(conf).shops["_default"]["calendars"].calendars["office"]
    assert calendar.holidays_known_until == date(2027, 12, 31)
    assert calendar.holidays_source == "notice (CN, version 2)"
    assert "nothing new" in run("import", conf, "--from", news).stdout
    assert "nothing new" in run("import", conf).stdout


def test_a_shop_or_calendar_that_is_not_there_is_said_with_those_that_are(conf):
    assert "there are office" in str(run("show", conf, "_default", "night").exception)
    assert "there are _default" in str(run("show", conf, "nobody").exception)
    assert "YYYY-MM-DD" in str(run("show", conf, "_default", "--from", "soon").exception)
