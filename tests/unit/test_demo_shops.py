"""The demo's configuration: the shipped one at another pace, always open, with a closed shop beside it."""

import json
from pathlib import Path

import pytest

from deskline.calendars import Hours
from deskline.clock import DAY, parse_rfc3339
from deskline.config.loading import load_directory
from deskline.demo import shops

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "config"
NIGHT_ON_A_HOLIDAY = parse_rfc3339("2026-02-17T20:00:00Z")


def written(tmp_path, speed):
    found = shops.write(SOURCE, tmp_path / "config", speed=speed, now=NIGHT_ON_A_HOLIDAY)
    return found, load_directory(tmp_path / "config").shops


def test_it_is_a_valid_configuration_at_any_speed(tmp_path):
    for number, speed in enumerate((0.1, 1, 8, 100)):
        _, loaded = written(tmp_path / str(number), speed)
        assert set(loaded) == {"_default", "wardrobe", "support", "wardrobe-night"}


def test_shops_are_open_at_night_and_on_holidays_and_the_night_shop_is_closed_for_the_day(tmp_path):
    _, loaded = written(tmp_path, 8)
    for shop, documents in loaded.items():
        if "calendars" not in documents:
            continue
        for calendar in documents["calendars"].calendars.values():
            hours = Hours(calendar)
            instants = [NIGHT_ON_A_HOLIDAY + n * DAY // 48 for n in range(48)]
            assert {hours.is_open(at) for at in instants} == {shop != "wardrobe-night"}


@pytest.mark.parametrize(
    ("speed", "first_reply", "accept_s", "complaint_closure"),
    [
        (1, 15, 20, 172_800),  # as it is shipped
        (8, 2.0, 2.5, 21_600),  # 15 / 8 = 1.875, but no target below 2 s; 20 / 8; 172 800 / 8
        (100, 2.0, 2.0, 1_728),
        (0.5, 30, 40, 345_600),  # slower than life
    ],
)
def test_durations_are_divided_by_the_speed(tmp_path, speed, first_reply, accept_s, complaint_closure):
    _, loaded = written(tmp_path, speed)
    policies = {policy.policy_id: policy.targets for policy in loaded["wardrobe"]["sla"].policies}
    assert policies["vip"]["instant_reply"] == pytest.approx(first_reply)
    assert policies["regular"]["complaint_closure"] == pytest.approx(complaint_closure)
    assert loaded["wardrobe"]["routing"].accept_s == pytest.approx(accept_s)
    # What machines need stays as it is.
    assert loaded["wardrobe"]["limits"].patience_s == 3
    assert loaded["wardrobe"]["limits"].deliver_by_s == 60


def test_targets_that_no_policy_names_are_at_the_demo_s_pace_too(tmp_path):
    _, loaded = written(tmp_path, 10)
    last = loaded["support"]["sla"].policies[-1]
    assert last.when.model_dump(exclude_none=True) == {}
    assert last.targets["transfer_response"] == pytest.approx(30)


def test_no_clock_stays_no_clock(tmp_path):
    _, loaded = written(tmp_path, 8)
    mail = next(policy for policy in loaded["support"]["sla"].policies if policy.policy_id == "mail")
    assert mail.targets["instant_reply"] == 0


def test_who_serves_is_said_by_shop_and_the_night_shop_has_the_default_desk(tmp_path):
    found, _ = written(tmp_path, 8)
    assert len(found.of("wardrobe")) == 12
    assert len(found.of("support")) == 9
    assert {clerk.agent_id for clerk in found.of("wardrobe-night")} == {"desk-01", "desk-02", "desk-03", "desk-04"}
    assert found.of("nobody-s-shop") == found.of("_default")


def test_what_is_written_beside_it_is_json_which_is_yaml(tmp_path):
    written(tmp_path, 8)
    files = sorted((tmp_path / "config").rglob("*.yaml"))
    assert len(files) >= 18
    assert all(isinstance(json.loads(file.read_text()), dict) for file in files)
