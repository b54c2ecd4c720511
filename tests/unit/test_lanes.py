"""Which timers of a lane are a backlog, and which are new."""

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
    assert lane_at(100 * SECOND, 10 * SECOND).ripe() == (100 * SECOND, 99 * SECOND)


def test_the_border_stands_while_a_part_of_the_backlog_is_left():
    lane = lane_at(100 * SECOND, 10 * SECOND)
    lane.ripe()
    lane.heard(TOPIC, 105 * SECOND, 0)
    lane.next_due = 60 * SECOND
    assert lane.ripe() == (105 * SECOND, 99 * SECOND)


def test_when_the_backlog_has_been_told_the_border_follows_the_watermark():
    lane = lane_at(100 * SECOND, 10 * SECOND)
    lane.ripe()
    lane.heard(TOPIC, 105 * SECOND, 0)
    lane.next_due = 103 * SECOND
    assert lane.ripe() == (105 * SECOND, 104 * SECOND)


def test_a_timer_is_due_when_the_watermark_has_reached_it_and_never_in_a_lane_that_stands():
    assert not lane_at(100 * SECOND, None).is_due
    assert not lane_at(100 * SECOND, 100 * SECOND + 1).is_due
    lane = lane_at(100 * SECOND, 100 * SECOND)
    assert lane.is_due
    lane.blocked = "a gap"
    assert not lane.is_due
