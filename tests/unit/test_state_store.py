"""What is kept in memory of conversations, and for how long; the database is a dictionary."""

from typing import Any

import msgspec

from deskline.state_store import StateStore


class Kept(msgspec.Struct):
    number: int = 0


class Rows:
    """As much of a connection as the store asks for."""

    def __init__(self) -> None:
        self.bodies: dict[tuple[int, str], bytes] = {}
        self.asked: list[str] = []

    async def execute(self, _: str, lanes: list[int], subjects: list[str], dues: Any, bodies: list[bytes]) -> None:
        self.bodies.update(zip(zip(lanes, subjects, strict=True), bodies, strict=True))

    async def fetch(self, _: str, lanes: list[int], subjects: list[str]) -> list[dict[str, Any]]:
        self.asked += subjects
        keys = [key for key in zip(lanes, subjects, strict=True) if key in self.bodies]
        return [{"lane": lane, "subject": subject, "body": self.bodies[lane, subject]} for lane, subject in keys]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def unit(store: StateStore[Kept], rows: Any, *subjects: str) -> dict[str, int]:
    """Load these, count each up, save them, commit; what they were."""
    found = await store.load(rows, [(0, subject) for subject in subjects])
    before = {subject: found[0, subject].number if (0, subject) in found else 0 for subject in subjects}
    await store.save(rows, [(0, subject, None, Kept(number + 1)) for subject, number in before.items()])
    store.committed()
    return before


def in_memory(store: StateStore[Kept], *subjects: str) -> set[str]:
    return {subject for _, subject in store.cached([(0, subject) for subject in subjects])}


async def test_what_was_written_is_not_asked_for_again():
    store, rows = StateStore(Kept, 10), Rows()
    assert await unit(store, rows, "a") == {"a": 0}
    assert await unit(store, rows, "a") == {"a": 1}
    assert rows.asked == ["a"]


async def test_of_too_many_those_that_were_touched_last_stay():
    store, rows = StateStore(Kept, 2), Rows()
    for subject in ("a", "b", "a", "c"):
        await unit(store, rows, subject)
    assert in_memory(store, "a", "b", "c") == {"a", "c"}


async def test_what_nobody_touches_for_ten_minutes_is_dropped_and_read_again_if_need_be():
    clock = Clock()
    store, rows = StateStore(Kept, 10, clock=clock), Rows()
    await unit(store, rows, "idle", "busy")
    await store.preload(rows, [(0, "ahead")])
    clock.now += 599
    await unit(store, rows, "busy")
    assert in_memory(store, "idle", "busy") == {"idle", "busy"}
    clock.now += 2
    await unit(store, rows, "new")
    assert in_memory(store, "idle", "busy", "new") == {"busy", "new"}
    assert await unit(store, rows, "idle") == {"idle": 1}


async def test_what_did_not_commit_is_dropped():
    store, rows = StateStore(Kept, 10), Rows()
    await unit(store, rows, "a")
    state = (await store.load(rows, [(0, "a")]))[0, "a"]
    state.number = 99
    store.aborted()
    assert await unit(store, rows, "a") == {"a": 1}


async def test_what_was_read_ahead_is_dropped_like_everything_else():
    clock = Clock()
    store, rows = StateStore(Kept, 10, clock=clock), Rows()
    await unit(store, rows, "a")
    store.keep(frozenset())
    await store.preload(rows, [(0, "a")])
    assert in_memory(store, "a") == {"a"}
    clock.now += 601
    await unit(store, rows, "b")
    assert in_memory(store, "a", "b") == {"b"}
