"""How far a lane has been read, which of its timers are a backlog, and which are new."""

from deskline.clock import SECOND
from deskline.lanes import Lane

TOPIC = "conversations.v1"


def lane_at(watermark: int, next_due: int | None) -> Lane:
    lane = Lane("0", 0, (TOPIC,))
    lane.reset(1, {TOPIC: 0})
    lane.next_due = next_due
    lane.heard(TOPIC, watermark, 0)
    return lane


def test_what_has_been_due_for_more_than_a_second_is_a_backlog_and_the_rest_is_new():
    assert lane_at(100 * SECOND, 10 * SECOND).ripe(100 * SECOND) == (100 * SECOND, 99 * SECOND)


def test_the_border_stands_while_a_part_of_the_backlog_is_left():
    lane = lane_at(100 * SECOND, 10 * SECOND)
    lane.ripe(lane.watermark)
    lane.heard(TOPIC, 105 * SECOND, 0)
    lane.next_due = 60 * SECOND
    assert lane.ripe(lane.watermark) == (105 * SECOND, 99 * SECOND)


def test_when_the_backlog_has_been_told_the_border_follows_the_watermark():
    lane = lane_at(100 * SECOND, 10 * SECOND)
    lane.ripe(lane.watermark)
    lane.heard(TOPIC, 105 * SECOND, 0)
    lane.next_due = 103 * SECOND
    assert lane.ripe(lane.watermark) == (105 * SECOND, 104 * SECOND)


def test_a_timer_is_due_when_the_watermark_has_reached_it_and_never_in_a_lane_that_stands():
    assert not lane_at(100 * SECOND, None).is_due
    assert not lane_at(100 * SECOND, 100 * SECOND + 1).is_due
    lane = lane_at(100 * SECOND, 100 * SECOND)
    assert lane.is_due
    lane.blocked = "a gap"
    assert not lane.is_due


def test_the_watermark_is_the_instant_of_the_last_question_whose_end_has_been_read_up_to():
    lane = Lane("0", 0, (TOPIC, "replies.v1"))
    lane.reset(1, {TOPIC: 0, "replies.v1": 0})
    lane.heard("replies.v1", 50 * SECOND, 0)
    assert lane.watermark == 0
    # While records never cease each answer names an end that has not been reached yet; the earlier ones are, one after the other.
    for second, end in ((10, 5), (11, 8), (12, 8), (13, 20)):
        lane.heard(TOPIC, second * SECOND, end)
    for offset, watermark in ((4, 0), (5, 10), (7, 10), (8, 12), (19, 12), (20, 13)):
        assert lane.read_upto({TOPIC: offset}) == watermark * SECOND
    lane.consumed(TOPIC, 9, 0)
    assert lane.watermark == 12 * SECOND
    lane.consumed(TOPIC, 19, 12_500_000)
    assert lane.watermark == 12_500_000
    assert lane.read_upto({TOPIC: 19}, {TOPIC: 12_600_000}) == 12_600_000


def test_a_log_that_ends_sooner_than_it_did_holds_no_watermark_back():
    lane = lane_at(10 * SECOND, None)
    lane.heard(TOPIC, 11 * SECOND, 7)
    lane.heard(TOPIC, 12 * SECOND, 3)
    lane.consumed(TOPIC, 3, 0)
    assert lane.watermark == 12 * SECOND


def test_answers_that_are_never_reached_do_not_pile_up_and_the_first_still_counts():
    lane = lane_at(SECOND, None)
    for number in range(1, 1000):
        lane.heard(TOPIC, (10 + number) * SECOND, number)
    assert len(lane.unreached[TOPIC]) < 50
    lane.consumed(TOPIC, 1, 0)
    assert lane.watermark == 11 * SECOND
    lane.consumed(TOPIC, 999, 0)
    assert lane.watermark == 1009 * SECOND
