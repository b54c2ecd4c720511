"""The board's numbers and the recount's: each against figures counted by hand, and against each other."""

import io
import json

import pytest
from rich.console import Console
from tests.unit.demo_records import EXPECTED, RUN, T0, small_run

from deskline.demo import recount
from deskline.demo.figures import MAIN, Difference, differences, under
from deskline.demo.summary import Summary, percentiles, table
from deskline.demo.tally import Tally
from deskline.demo.words import Words
from deskline.events.wire import decode
from deskline.records import Event


def tallied(log):
    tally = Tally(RUN)
    for record, decoded in log.decoded():
        tally.add(record, decoded)
    return tally


def counted(log):
    return recount.count(log.whole(), RUN)


def without_zeros(figures):
    return {name: number for name, number in figures.items() if number}


def summary(log, board=None, settled=True):
    topics = counted(log)
    board = tallied(log).figures() if board is None else board
    wrong = [*differences(board, topics.figures), *topics.wrong]
    return Summary(
        board, topics.figures, wrong, settled, False, 8, 1, {"alive": 1.5}, topics.decided_ms, topics.waited_s
    )


def test_every_record_of_the_small_run_is_a_valid_event():
    assert all(isinstance(decoded, Event) for _, decoded in small_run().decoded())


def test_the_board_counts_the_small_run():
    assert without_zeros(tallied(small_run()).figures()) == without_zeros(EXPECTED)


def test_the_recount_counts_the_small_run():
    assert without_zeros(counted(small_run()).figures) == without_zeros(EXPECTED)


def test_what_came_twice_counts_once_but_for_records():
    log = small_run()
    for topic in list(log.records):
        for index in range(len(log.records[topic])):
            log.again(topic, index)
    more = {name: number * 2 for name, number in EXPECTED.items() if name.startswith("records")}
    assert without_zeros(tallied(log).figures()) == without_zeros({**EXPECTED, **more})
    assert without_zeros(counted(log).figures) == without_zeros({**EXPECTED, **more})


def test_other_runs_and_what_is_no_event_count_as_records_alone():
    log = small_run()
    log.received("demo-other-00000", "m1", "vip")
    log.raw("conversations.v1", "poison", b"{oops")
    log.raw("dead-letters.v1", "poison", b"{oops")
    changed = {"records": 30, "records.conversations.v1": 13, "records.dead-letters.v1": 1, "dead_letters": 1}
    assert without_zeros(tallied(log).figures()) == without_zeros({**EXPECTED, **changed})
    assert without_zeros(counted(log).figures) == without_zeros({**EXPECTED, **changed})


def test_an_assignment_seen_before_its_message_gets_the_tier_when_that_comes():
    log, tally = small_run(), Tally(RUN)
    for topic in ("routing.v1", "sla.v1", "replies.v1"):
        for record in log.records[topic]:
            tally.add(record, decode(record))
    assert under(tally.figures(), "assigned") == {"regular": 2}  # nothing better is known yet
    for record in [*log.records["agents.v1"], *log.records["conversations.v1"]]:
        tally.add(record, decode(record))
    assert without_zeros(tally.figures()) == without_zeros(EXPECTED)


def test_waiting_is_what_was_queued_or_taken_back_and_neither_assigned_nor_released():
    log = small_run()
    for last in ("conversation.released", "conversation.assigned", "assignment.revoked"):
        kept = [r for r in log.records["routing.v1"] if json.loads(r.value)["type"] != f"{last}.v1"]
        log.records["routing.v1"] = kept
        waiting = tallied(log).figures()["waiting"]
        assert counted(log).figures["waiting"] == waiting
        # released gone: held. assigned gone: revoked, so back in the queue. revoked gone: as it was queued.
        assert waiting == (0 if last == "conversation.released" else 1)


def test_a_message_without_an_outcome_and_one_with_two_are_wrong():
    log = small_run()
    log.received(f"{RUN}-00000", "m9", "new")
    log.handed_over(f"{RUN}-00001", "m2")
    assert [(each.shown, each.counted) for each in counted(log).wrong] == [(0, 1), (0, 1)]
    assert summary(log).exit_code == 1


def test_waits_come_by_tier_and_decisions_in_milliseconds():
    found = counted(small_run())
    assert found.waited_s == {"vip": [0.5, 2.0]}
    # The three messages and their outcomes: reply one second later, hand-over two (a holding reply between), one.
    assert found.decided_ms == [1000, 2000, 1000]
    assert list(tallied(small_run()).decided_ms) == [1000, 2000, 1000]


def test_the_first_answer_is_the_first_message_to_a_customer():
    # agents twice, received, reply: the bot's message is the fifth record.
    assert tallied(small_run()).first_answer_at == T0 + 5_000_000


def test_the_same_figures_agree_and_the_exit_code_is_0():
    found = summary(small_run())
    assert (found.differences, found.agrees, found.exit_code) == ([], True, 0)


@pytest.mark.parametrize(
    "figure", [*[name for name in MAIN if name != "archived"], "assigned.vip", "met.agent_response"]
)
def test_one_tampered_number_is_named_and_the_exit_code_is_1(figure):
    log = small_run()
    board = tallied(log).figures()
    board[figure] = board.get(figure, 0) + 1
    found = summary(log, board)
    assert found.differences == [Difference(figure, EXPECTED.get(figure, 0) + 1, EXPECTED.get(figure, 0))]
    assert found.exit_code == 1
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(found, Words("en")))
    assert f"DIFFERENT: {figure}: " in console.export_text()


def test_a_record_lost_on_the_way_to_the_topic_is_named():
    log = small_run()
    del log.records["conversations.v1"][0]
    found = differences(tallied(small_run()).figures(), counted(log).figures)
    assert "messages" in {each.figure for each in found}
    missing = recount.sent_but_missing({"conversations.v1": 11, "agents.v1": 2}, log.whole(), RUN)
    assert missing == [Difference("records sent to conversations.v1", 11, 10)]


def test_an_archive_that_has_fewer_records_than_the_topic_is_named():
    whole = small_run().whole()
    there = {topic: len(records) for topic, records in whole.items()}
    assert recount.not_archived(whole, there) == []
    assert recount.not_archived(whole, {**there, "sla.v1": 4}) == [Difference("archived of sla.v1", 4, 5)]


def test_a_count_made_before_all_had_come_to_rest_does_not_agree():
    assert summary(small_run(), settled=False).exit_code == 1


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], {}),
        ([5.0], {"p50": 5.0, "p99": 5.0, "max": 5.0}),
        ([float(n) for n in range(1, 201)], {"p50": 100.5, "p99": 198.0, "max": 200.0}),  # rank ceil(0.99 · 200) = 198
    ],
)
def test_percentiles_are_by_nearest_rank(values, found):
    assert percentiles(values) == found


def test_the_summary_as_json_has_both_counts_and_what_differs(tmp_path):
    board = {**tallied(small_run()).figures(), "messages": 99}
    summary(small_run(), board).write(tmp_path / "s.json")
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["agrees"] is False
    assert written["differences"] == [{"figure": "messages", "shown": 99, "counted": 3}]
    assert (written["board"]["messages"], written["topics"]["messages"]) == (99, 3)
    assert written["waited_s"]["vip"]["max"] == 2.0
