"""Ids name things: the same thing has the same id for ever, and two things have two."""

from hypothesis import given
from hypothesis import strategies as st

from deskline.ids import assignment_id, clock_id, event_id, name_id, reply_id, request_id

parts = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4)


def test_ids_never_change_between_releases() -> None:
    # Consumers remember them, and a decision that is taken again must find the same ones.
    assert name_id("event") == "0e50e2d30b49aaee0ffe3dc22e39edd1"
    assert request_id("c-1", "message", "m-1") == "7ffb8d83cabcd6961132e7885e063f2b"
    assert assignment_id("r-1", 1) == "7c94ef1cc114a763b56b143b42d3bacc"
    assert reply_id("c-1", "m-1") == "054e140db21fd81fde05cd713830334f"
    assert clock_id("c-1", "resolution", "2026-11-25T03:30:00.000000Z") == "6ae6dbb95bc1f4dee7d2e259fe70fa14"
    assert event_id("c-1", "reply.issued.v1", "r-1") == "0f2c7238f93fb9d2f01222489f262429"


@given(parts, parts)
def test_different_parts_give_different_ids(one: list[str], other: list[str]) -> None:
    assert (name_id("thing", *one) == name_id("thing", *other)) == (one == other)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_where_one_part_ends_and_the_next_begins_matters(one: str, other: str) -> None:
    assert name_id("thing", one + other) != name_id("thing", one, other)
    assert name_id(one, other) != name_id(one + other)


def test_each_kind_of_thing_has_ids_of_its_own() -> None:
    made = [
        request_id("c", "message", "x"),
        request_id("c", "transfer", "x"),
        request_id("d", "message", "x"),
        assignment_id("c", 1),
        assignment_id("c", 2),
        reply_id("c", "x"),
        clock_id("c", "resolution", "x"),
        clock_id("c", "complaint_closure", "x", "complaint-1"),
        clock_id("c", "complaint_closure", "x", "complaint-2"),
        event_id("c", "reply.issued.v1", "x"),
        event_id("c", "reply.issued.v1", "x", 2),
    ]
    assert len(set(made)) == len(made)
    assert all(len(made_id) == 32 and made_id.islower() | made_id.isdigit() for made_id in made)
    assert event_id("c", "reply.issued.v1", "x") == event_id("c", "reply.issued.v1", "x", 1)
