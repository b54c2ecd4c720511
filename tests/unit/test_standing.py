"""``deskline status``: whether customers wait, and why. The reasons from rows, the sentences from what was found."""

import pytest

from deskline.clock import SECOND
from deskline.stack.standing import _WORDS, Behind, Standing, sentences, span
from deskline_router.model import Agent, Cause, Profile, Request, State, Status
from deskline_router.standing import standing

NOW = 1_800_000_000 * SECOND
PEOPLE = {"teahouse": {"anna": 2, "bo": 2}}


def request(number, waited_s=60, *, shop="teahouse", skills=(), **fields):
    since = NOW - waited_s * SECOND
    return Request(
        f"r-{number}", f"c-{number}", 0, shop, Cause.HANDOVER, since, since, 50, list(skills), [], Profile(), since,
        state=State.QUEUED, step_until=fields.pop("step_until", NOW + 30 * SECOND), **fields,
    )  # fmt: skip


def agents(**taken):
    """Places taken by those who are online; who is not named is offline."""
    return {
        name: Agent(name, Status.ONLINE if name in taken else Status.OFFLINE, taken=100 * taken.get(name, 0))
        for name in ("anna", "bo")
    }


def only(requests, agents, people=PEOPLE):
    (found,) = standing(requests, agents, people, NOW)
    return found


def test_nobody_waits():
    held = request(1)
    held.state = State.HELD
    assert standing([held], agents(), PEOPLE, NOW) == []


@pytest.mark.parametrize(
    ("online", "fields", "why"),
    [
        ({}, {}, "nobody_online"),
        ({"anna": 2, "bo": 2}, {}, "all_full"),
        ({"anna": 2, "bo": 1}, {"step_until": None}, "nobody_admitted"),
        ({"anna": 2, "bo": 1}, {}, "step"),
        ({"anna": 0}, {"opens_at": NOW + SECOND}, "closed"),
    ],
)
def test_the_reason_is_the_first_thing_that_keeps_them_waiting(online, fields, why):
    found = only([request(1, 90, **fields)], agents(**online))
    assert (found["why"], found["waiting"], found["longest_s"]) == (why, 1, 90)


def test_agents_with_room_who_are_paused_are_no_help():
    there = agents(anna=2, bo=0)
    there["bo"].paused = True
    assert only([request(1)], there)["why"] == "paused"


def test_an_agent_s_own_capacity_counts_and_people_of_other_shops_do_not():
    there = agents(anna=2, bo=2)
    there["bo"].stated_capacity = 3
    there["zoe"] = Agent("zoe", Status.ONLINE)
    found = only([request(1)], there)
    assert (found["why"], found["places"], found["online"], found["with_room"]) == ("step", 5, 2, 1)


def test_shops_come_with_the_longest_wait_first_and_say_what_is_asked_for():
    requests = [request(1, 10), request(2, 200, shop="b", skills=("tax",)), request(3, 20, opens_at=NOW + SECOND)]
    first, second = standing(requests, agents(anna=0), {**PEOPLE, "b": {"zoe": 1}}, NOW)
    assert (first["shop_id"], first["why"], first["skills"]) == ("b", "nobody_online", ["tax"])
    assert (second["waiting"], second["for_opening"], second["longest_s"]) == (2, 1, 20)


SERVICES = {"archive": Behind(3), "autoreply": Behind(0), "router": Behind(0), "sla": Behind(0)}


def told(found, language="en", not_ready=()):
    return list(sentences(found, language, not_ready))


def test_where_nobody_waits_the_first_line_says_so():
    assert told(Standing(services=SERVICES)) == [
        "Nobody waits for an agent.", "All services keep up (archive 3, autoreply 0, router 0, sla 0)."
    ]  # fmt: skip


def test_who_waits_and_why_in_one_screen():
    shops = standing([request(1, 95, skills=("tax",)), request(2, 30, shop="b")], agents(anna=2, bo=2), PEOPLE, NOW)
    overdue = [{"metric": "agent_response", "clocks": 2, "longest_s": 3700}]
    found = Standing(shops, overdue, SERVICES | {"router": Behind(5000, 900)})
    assert told(found, not_ready=["sla"]) == [
        "2 customers wait for an agent, the longest for 1 min 35 s.",
        "Overdue: 2 × agent_response (the longest by 1 h 1 min).",
        "  teahouse: 1 wait, the longest 1 min 35 s: all 2 agents online are full (4 of 4)",
        "  b: 1 wait, the longest 30 s: none of its 0 agents is online",
        "  sla has no instance that is ready: breaches are told late",
        "  router is 5000 records behind: nobody is assigned",
        "  router has 900 decided units that Kafka has not taken: nobody is assigned",
    ]
    assert told(found, "zh")[0] == "2 位顾客在等待人工，最长已等 1分35秒。"


def test_what_cannot_be_asked_is_said_and_never_taken_for_nobody():
    assert told(Standing(away=["PostgreSQL (ConnectionRefusedError)"])) == [
        "Whether anybody waits is not known: PostgreSQL (ConnectionRefusedError)."
    ]
    half = Standing(services={"sla": Behind(None)}, away=["the broker does not say its offsets: TimeoutError"])
    assert told(half) == ["Nobody waits for an agent.", "  the broker does not say its offsets: TimeoutError"]


def test_both_languages_say_the_same():
    import re

    for key, (english, chinese) in _WORDS.items():
        names = [sorted(set(re.findall(r"\{(\w+)", text))) for text in (english, chinese)]
        assert names[0] == names[1], key


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (3661, "1 h 1 min")]
)
def test_spans_are_short(seconds, text):
    assert span(seconds, "en") == text
