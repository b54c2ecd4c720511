"""The per-stage profile of ``make bench``: which stack and which statement belongs to which stage."""

from pathlib import Path

import aiokafka
import asyncpg
import pytest
from benchmarks.figures import Figures, Floor
from benchmarks.stages import STAGES, Profile, rules, stage_of_stack, stage_of_statement

from deskline_router.store import load_queries

ROOT = Path(__file__).parents[2]
SOURCES = [
    ROOT / "shared",
    *sorted((ROOT / "services").iterdir()),
    *(Path(package.__file__).parents[1] for package in (aiokafka, asyncpg)),
]
UNIT = [
    "Runner.run (asyncio/runners.py:118)",
    "Engine._loop (deskline/consumption.py:297)",
    "Engine._turn (deskline/consumption.py:346)",
]
PROCESS = [
    *UNIT,
    "Engine._unit (deskline/consumption.py:455)",
    "ConversationConsumer.process (deskline/conversations.py:88)",
]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: f"{rule.file}:{','.join(rule.names)}")
def test_every_rule_names_functions_that_exist(rule):
    """Else their time would silently be counted elsewhere: who renames one mends ``benchmarks/stages.py``."""
    assert rule.stage in STAGES
    found = [source / rule.file for source in SOURCES if (source / rule.file).exists()]
    assert found
    for name in rule.names:
        assert f"def {name}(" in found[0].read_text()


@pytest.mark.parametrize(
    ("stage", "stack"),
    [
        ("decode", [*UNIT, "Intake.take (deskline/intake.py:200)", "decode (deskline/events/wire.py:61)"]),
        ("decode", [*UNIT[:1], "Fetcher._fetch_requests_routine (aiokafka/consumer/fetcher.py:500)"]),
        ("gather", [*PROCESS, "StateStore.load (deskline/state_store.py:60)", "Connection.fetch (asyncpg/connection.py:7)"]),
        ("decide", [*PROCESS, "SlaFolding.advance (deskline_sla/handler.py:60)", "Fold.run (deskline_sla/policy/fold.py:9)"]),
        ("publish", [*PROCESS, "SlaFolding.advance (deskline_sla/handler.py:60)", "encode (deskline/events/wire.py:136)"]),
        ("apply", [*PROCESS, "StateStore.save (deskline/state_store.py:80)"]),
        ("commit", [*PROCESS[:-1], "Transaction.__aexit__ (asyncpg/transaction.py:90)", "Connection.execute (asyncpg/connection.py:7)"]),
        ("other", [*PROCESS[:-1], "Engine._work (deskline/consumption.py:480)"]),
        ("timers", [*UNIT, "Engine._fire (deskline/consumption.py:550)", "due_conversations (deskline/state_store.py:100)"]),
        ("decide", [*UNIT, "Engine._fire (deskline/consumption.py:550)", *PROCESS[-2:]]),
        ("other", [*UNIT[:1], "Engine._watch_ends (deskline/consumption.py:600)", "Fetcher.end_offsets (aiokafka/consumer/fetcher.py:9)"]),
        ("other", UNIT[:1]),
    ],
)  # fmt: skip
def test_a_stack_belongs_to_the_innermost_frame_that_a_rule_knows(stage, stack):
    assert stage_of_stack(stack) == stage


@pytest.mark.parametrize(
    ("stage", "sql"),
    [
        ("commit", "BEGIN;"),
        ("commit", "COMMIT;"),
        (
            "commit",
            "\nUPDATE lanes SET version = lanes.version + 1, offsets = $3 FROM unnest($1::text[]) AS mine (lane)",
        ),
        ("commit", "INSERT INTO outbox (lane, payload) SELECT lane, payload FROM unnest($1::text[], $2::bytea[])"),
        ("gather", "SELECT lane, subject, body FROM conversations WHERE lane = $1"),
        ("gather", load_queries()["lock"]),
        ("apply", load_queries()["apply"]),
        ("apply", "INSERT INTO conversations (lane, subject, due, body) VALUES ($1, $2, $3, $4)"),
        ("apply", 'COPY "raw_records"("stream", "offset") FROM STDIN WITH (FORMAT binary)'),
        ("apply", "SELECT ensure_days($1, $2)"),
        ("timers", load_queries()["due_requests"]),
        ("timers", load_queries()["next_requests"]),
        ("other", "SET application_name = 'x'"),
    ],
)
def test_a_statement_belongs_to_what_it_does(stage, sql):
    assert stage_of_statement(sql) == stage


def test_a_profile_counts_stacks_by_stage_and_leaves_the_start_out():
    profile = Profile()
    profile.add(
        ";".join([*PROCESS, "StateStore.save (deskline/state_store.py:80)"]) + " 3\n"
        "<module> (deskline/service.py:1);_find_and_load (<frozen importlib._bootstrap>:1176) 50\n"
    )
    assert profile.own == {"apply": 3}
    assert profile.leaves["apply"] == {"StateStore.save (deskline/state_store.py)": 3}


@pytest.mark.parametrize(
    ("value", "others", "verdict"),
    [
        (31.0, 0.10, "floor met"),
        (29.0, 0.0, "floor missed"),
        (31.0, 0.11, "no verdict: others used 11%"),
        (29.0, 0.5, "no verdict: others used 50%"),
    ],
)
def test_a_floor_is_judged_only_on_a_machine_of_our_own(value, others, verdict, capsys):
    figures = Figures()
    floor = Floor("≥ 3 × the baseline", lambda _, ratio: ratio >= 3)
    figures.show("speed", value, "records/s", baseline=10.0, floor=floor, others=others)
    assert figures.lines[0]["params"]["verdict"] == verdict
    assert verdict in capsys.readouterr().out
