"""Which version is in force: contract §3, row by row, and against a slow reading of its sentences."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deskline.clock import SECOND, rfc3339
from deskline.config.book import EVENT_TYPE, ConfigBook
from deskline.config.documents import DOCUMENTS, Agent, AgentsDocument, Calendar, CalendarsDocument, Weekly
from deskline.errors import TransientError
from deskline.events import wire
from deskline.events.models import ConfigApplied, SurgeEntered, SurgeLeft
from deskline.records import Event, Record

T = 1_800_000_000 * SECOND
LEAD = 5 * SECOND


def applied(version, *, shop="_default", kind="limits", effective=0, broker=0, body=None, reevaluate=False):
    """A record of shops.v1, written and read as the wire does; times are seconds relative to T."""
    data = wire.new(
        ConfigApplied,
        shop_id=shop,
        version=version,
        effective_from=rfc3339(T + effective * SECOND),
        document=kind,
        body={"patience_s": version} if body is None else body,
        reevaluate=reevaluate,
    )
    value = wire.encode(
        EVENT_TYPE, id=f"{shop}-{kind}-{version}", source="/deskline/config", subject=shop, time=T, data=data
    )
    event = wire.decode(Record("shops.v1", 0, version, T + broker * SECOND, shop.encode(), value, ()))
    assert isinstance(event, Event)
    return event


def number_at(book, seconds, *, shop="_default", broker=None):
    return book.at(shop, "limits", T + seconds * SECOND, None if broker is None else T + broker * SECOND).version


def test_a_version_is_in_force_from_the_later_of_effective_from_and_record_plus_lead():
    book = ConfigBook()
    book.admit(applied(1, effective=-100, broker=-100))
    book.admit(applied(2, effective=10, broker=0))  # 10 > 0 + 5
    book.admit(applied(3, effective=21, broker=20))  # 20 + 5 > 21
    seen = {seconds: number_at(book, seconds) for seconds in (-96, 9, 10, 24, 25)}
    assert seen == {-96: 1, 9: 1, 10: 2, 24: 2, 25: 3}
    assert book.at("_default", "limits", T + 25 * SECOND).in_force_at == T + 25 * SECOND
    assert book.limits("_default", T + 25 * SECOND).patience_s == 3


def test_the_one_that_came_into_force_last_counts_and_at_one_instant_the_higher_number():
    book = ConfigBook()
    book.admit(applied(1, effective=-100, broker=-100))
    book.admit(applied(2, effective=50))
    book.admit(applied(3, effective=20))
    book.admit(applied(4, effective=50))
    assert [number_at(book, seconds) for seconds in (19, 20, 49, 50, 99)] == [1, 3, 3, 4, 4]


def test_the_first_version_of_default_counts_for_all_earlier_times():
    book = ConfigBook()
    book.admit(applied(1, effective=100))
    book.admit(applied(2, effective=50))  # in force before the first's own instant, which then comes last
    assert [number_at(book, seconds) for seconds in (-1_000_000, 49, 50, 99, 100)] == [1, 1, 2, 2, 1]
    assert number_at(book, -1_000_000, broker=-2_000_000) == 1


def test_a_shops_own_first_version_counts_earlier_only_for_events_that_came_after_its_record():
    book = ConfigBook()
    book.admit(applied(1, effective=-100, broker=-100))
    book.admit(applied(7, shop="a", effective=60, broker=30))
    book.admit(applied(8, shop="a", effective=90, broker=40))
    assert number_at(book, 10, shop="a", broker=29) == 1
    assert number_at(book, 10, shop="a", broker=30) == 7
    assert number_at(book, 59, shop="a", broker=-50) == 1
    assert number_at(book, 60, shop="a", broker=-50) == 7
    assert number_at(book, 90, shop="a", broker=-50) == 8
    # A decision made at an instant has a broker timestamp of about that instant.
    assert [number_at(book, seconds, shop="a") for seconds in (29, 30)] == [1, 7]


def test_a_shop_without_a_document_of_its_own_runs_on_the_default():
    book = ConfigBook()
    book.admit(applied(3))
    book.admit(applied(1, shop="a", kind="sla", body={}))
    assert number_at(book, 10, shop="a") == 3
    assert number_at(book, 10, shop="nobody") == 3
    assert book.shops() == {"_default", "a"}


def test_a_second_record_of_a_version_has_no_effect():
    book = ConfigBook()
    book.admit(applied(1))
    book.admit(applied(2, effective=10))
    book.admit(applied(2, effective=10, broker=500, body={"patience_s": 99}))
    assert book.at("_default", "limits", T + 10 * SECOND)[::2] == (2, T + 10 * SECOND)
    assert book.limits("_default", T + 900 * SECOND).patience_s == 2


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"patience_s": -1}, "patience_s"),
        ({"patience_s": "3"}, "patience_s"),
        ({"written_by_a_newer_release": 1}, "written_by_a_newer_release"),
        ([], ""),
        ("x", ""),
        (5, ""),
    ],
)
def test_a_body_that_does_not_parse_leaves_the_version_before_it_and_is_reported(body, where):
    book = ConfigBook()
    book.admit(applied(1))
    book.admit(applied(2, effective=10, body=body))
    assert number_at(book, 100) == 1
    [refused] = book.refused
    assert refused[:3] == ("_default", "limits", 2)
    assert refused.error.startswith(where)


def test_rules_are_found_by_their_hash():
    body = json.dumps({"rules": [{"rule_id": "r", "reply": {"text": "您好"}}]}, ensure_ascii=False).encode()
    digest = sha256(body).hexdigest()
    event = applied(1, kind="rules", body={"sha256": digest})
    book = ConfigBook()
    assert book.wants(event) == digest
    with pytest.raises(TransientError):
        book.admit(event)
    with pytest.raises(ValueError, match="another hash"):
        book.put_body(digest, b"{}")
    book.put_body(digest, body)
    assert book.wants(event) is None
    book.admit(event)
    assert book.rules("any shop", T).rules[0].rule_id == "r"


@pytest.mark.parametrize("body", [{"sha256": "short"}, {}, 5, "not a hash"])
def test_rules_without_a_hash_are_refused_without_stopping(body):
    book = ConfigBook()
    event = applied(1, kind="rules", body=body)
    assert book.wants(event) is None
    book.admit(event)
    assert book.refused[0].kind == "rules"


def test_rules_that_do_not_parse_are_refused_without_stopping():
    book = ConfigBook()
    digest = sha256(b"{]").hexdigest()
    book.put_body(digest, b"{]")
    book.admit(applied(1, kind="rules", body={"sha256": digest}))
    assert book.refused[0].version == 1


def test_the_book_is_ready_when_default_has_every_document():
    book = ConfigBook()
    with pytest.raises(TransientError, match="deskline config apply"):
        book.at("_default", "sla", T)
    calendars = CalendarsDocument(
        default="d", calendars={"d": Calendar(timezone="UTC", weekly=Weekly(mon=["00:00-24:00"]))}
    )
    for kind in DOCUMENTS:
        assert not book.ready
        book.install("_default", kind, calendars if kind == "calendars" else DOCUMENTS[kind]())
    assert book.ready


def test_other_events_of_the_topic_are_ignored():
    book = ConfigBook()
    data = wire.new(SurgeEntered, shop_id="a", cause="queue", reserve_agents=[], capacity_added=1)
    event = applied(1)._replace(type="routing.surge_entered.v1", data=data)
    assert book.wants(event) is None
    book.admit(event)
    assert book.shops() == set()


def surge(entered, at, offset):
    model = SurgeEntered if entered else SurgeLeft
    data = wire.new(model, shop_id="a", cause="queue", reserve_agents=(), capacity_added=1)
    kind = f"routing.surge_{'entered' if entered else 'left'}.v1"
    return applied(1)._replace(
        type=kind, data=data, subject="a", id=f"s{offset}", at=at, broker_at=at + 1, offset=offset
    )


def test_a_surge_counts_from_the_lead_after_its_record_to_the_lead_after_its_end():
    book = ConfigBook(lead_s=5)
    lead = 5_000_000
    for event in (surge(True, T, 1), surge(False, T + 100, 2), surge(True, T, 1)):
        book.admit(event)
    begins, ends = T + 1 + lead, T + 101 + lead
    assert [book.in_surge("a", t) for t in (begins - 1, begins, ends - 1, ends)] == [False, True, True, False]
    assert not book.in_surge("b", begins)


def agents(*entries):
    return AgentsDocument(agents=tuple(Agent(agent_id=name, capacity=capacity) for name, capacity in entries))


def test_all_agents_are_those_of_every_shop_at_that_instant():
    book = ConfigBook()
    book.install("_default", "agents", agents(("li", 5)), version=1, in_force_at=T)
    book.install("a", "agents", agents(("li", 6), ("wu", 3)), version=2, in_force_at=T + 20, broker_at=T + 10)
    book.install("a", "agents", agents(("wu", 4)), version=3, in_force_at=T + 30, broker_at=T + 25)

    def seen(at):
        return {name: (s.agent.capacity, sorted(s.shops)) for name, s in book.all_agents(at).items()}

    assert seen(T - 5) == {"li": (5, ["_default"])}
    assert seen(T + 9) == {"li": (5, ["_default"])}
    # the shop's first version counts from its record on; while two capacities overlap, the later switch's counts
    assert seen(T + 10) == {"li": (6, ["_default", "a"]), "wu": (3, ["a"])}
    assert seen(T + 29) == {"li": (6, ["_default", "a"]), "wu": (3, ["a"])}
    assert seen(T + 30) == {"li": (5, ["_default"]), "wu": (4, ["a"])}
    assert book.all_agents(T + 31) is book.all_agents(T + 40)


def test_hours_are_those_of_the_named_calendar_else_of_the_default():
    def calendar(span):
        return Calendar(timezone="UTC", weekly=Weekly(mon=[span], tue=[span]))

    book = ConfigBook()
    document = CalendarsDocument(
        default="day", calendars={"day": calendar("09:00-17:00"), "night": calendar("22:00-23:00")}
    )
    book.install("_default", "calendars", document)
    monday = 1_795_392_000 * SECOND  # 2026-11-23T00:00:00Z
    hour = 3600 * SECOND
    assert book.hours("a", monday).next_open(monday) == monday + 9 * hour
    assert book.hours("a", monday, calendar="night").next_open(monday) == monday + 22 * hour
    assert book.hours("a", monday, calendar="gone") is book.hours("b", monday)


def test_reevaluations_are_told_once_and_only_for_shops_that_run_on_them():
    book = ConfigBook()
    book.admit(applied(1, effective=-100, broker=-100))
    book.admit(applied(2, effective=50, reevaluate=True))
    book.admit(applied(3, effective=60))
    book.admit(applied(1, shop="a", effective=10, broker=1, reevaluate=True))

    def told(shop, after, until):
        found = book.reevaluations(shop, "limits", T + after * SECOND, T + until * SECOND)
        return [(v.version, (v.in_force_at - T) // SECOND) for v in found]

    assert told("b", 0, 100) == [(2, 50)]
    assert told("b", 50, 100) == []
    assert told("b", 49, 50) == [(2, 50)]
    assert told("a", 0, 100) == [(1, 10)]


def test_the_next_change_is_the_next_instant_at_which_something_comes_into_force():
    book = ConfigBook()
    book.admit(applied(1, effective=20))
    book.admit(applied(2, effective=10))
    assert book.next_change(T + 5 * SECOND) == T + 10 * SECOND
    assert book.next_change(T + 10 * SECOND) == T + 20 * SECOND
    assert book.next_change(T + 20 * SECOND) is None


def slow_at(records, shop, at, broker_at):
    """The contract's sentences, one after the other."""
    for owner in (shop, "_default"):
        own = [r for r in records if r["shop"] == owner]
        in_force = [(max(r["effective"], r["broker"] + 5), r["version"]) for r in own]
        past = [entry for entry in in_force if entry[0] <= at]
        if past:
            return max(past)[1]
        if own and (owner == "_default" or broker_at >= own[0]["broker"]):
            return own[0]["version"]
    return None


record = st.fixed_dictionaries(
    {
        "shop": st.sampled_from(["_default", "a"]),
        "effective": st.integers(-30, 30),
        "broker": st.integers(-30, 30),
    }
)


@given(
    records=st.lists(record, min_size=1, max_size=8), at=st.integers(-40, 40), broker=st.none() | st.integers(-40, 40)
)
def test_the_book_agrees_with_the_sentences_of_the_contract(records, at, broker):
    ordered = sorted(records, key=lambda r: r["broker"])
    numbered = [r | {"version": n} for n, r in enumerate([{"shop": "_default", "effective": 0, "broker": -30}, *ordered], 1)]  # fmt: skip
    book = ConfigBook(lead_s=LEAD / SECOND)
    for r in numbered:
        book.admit(applied(r["version"], shop=r["shop"], effective=r["effective"], broker=r["broker"]))
    for shop in ("_default", "a", "b"):
        expected = slow_at(numbered, shop, at, at if broker is None else broker)
        assert number_at(book, at, shop=shop, broker=broker) == expected
