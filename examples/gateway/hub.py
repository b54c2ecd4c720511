"""Wakes the screens that look at something when it has changed. They look again; nothing is passed on here, so that a
wake-up too many costs a look, and a screen that comes back misses nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Key = tuple[str, str]


class Hub:
    def __init__(self) -> None:
        self._watching: defaultdict[Key, set[asyncio.Event]] = defaultdict(set)
        self.closing = False
        """The process stops: who is awake answers what there is, and ends."""

    @contextmanager
    def watching(self, key: Key) -> Iterator[asyncio.Event]:
        """An event that is set at once, and whenever ``key`` has changed; who waits clears it *before* looking."""
        event = asyncio.Event()
        event.set()
        self._watching[key].add(event)
        try:
            yield event
        finally:
            self._watching[key].discard(event)
            if not self._watching[key]:
                del self._watching[key]

    def wake(self, keys: Iterable[Key]) -> None:
        for key in keys:
            for event in self._watching.get(key, ()):
                event.set()

    def close(self) -> None:
        self.closing = True
        self.wake(list(self._watching))
