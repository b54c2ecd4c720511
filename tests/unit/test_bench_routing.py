"""``make bench-routing``: its figures by the names that others read, and a team that follows the day."""

import json
from pathlib import Path

from benchmarks import routing
from benchmarks.routing import LOADS, OURS, shifts

from deskline.clock import SECOND, parse_rfc3339
from deskline_router.simulation.model import Count
from deskline_router.simulation.rivals import RIVALS

START = parse_rfc3339("2026-11-25T09:00:00Z")


def test_every_policy_has_its_figures_at_every_load(tmp_path):
    calls, out = tmp_path / "calls.csv", tmp_path / "out.json"
    rows = [f"2026-11-25 09:{minute:02}:00,{100 + minute}" for minute in range(0, 60, 5)]
    calls.write_text("\n".join(["DateTime,Calls", *rows]) + "\n")
    routing.main(
        str(calls), json=out, days=1, seed=1, policy=Path(routing.__file__).with_name("routing_policy.yaml"), more=False
    )
    found = {line["name"]: line["value"] for line in map(json.loads, out.read_text().splitlines())}
    for policy in (OURS, *RIVALS):
        for load in LOADS:
            assert 0 <= found[f"routing_{policy}_{load}_share180"] <= 100
            assert found[f"routing_{policy}_{load}_max_wait_s"] >= found[f"routing_{policy}_{load}_vip_wait_s"] >= 0
    assert found[f"routing_{OURS}_105_share180"] <= found[f"routing_{OURS}_70_share180"]
    # What the policy is for: important customers wait less than where everybody waits in turn.
    assert found[f"routing_{OURS}_105_vip_wait_s"] < found["routing_longest_idle_105_vip_wait_s"]


def test_the_team_follows_the_day_and_a_slot_counted_in_part_is_staffed_as_a_whole_one():
    half = 1800 * SECOND
    day = [Count(START, half, 50), Count(START + half, half, 100), Count(START + 2 * half, half // 6, 100 / 6)]
    found = shifts([day], ["a", "b"])
    assert sorted(found) == [
        ("a", START, START + 3 * half),
        ("b", START + half, START + 3 * half),
    ]
