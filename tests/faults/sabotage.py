"""A service with one of its guards removed: ``python sabotage.py GUARD SERVICE``.

The checker proves something only if it speaks up when what it watches over breaks. Each entry of ``GUARDS`` takes one
guard out of a service that is otherwise the released one, and names the code of the violation that must then be
reported. The stack runs it through ``Options.command`` (``command``); services that no chosen guard belongs to run as
they are. Nothing in the product knows of this module.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Guard(NamedTuple):
    service: str
    code: str
    """Of the violation that its absence makes."""
    remove: Callable[[], None]


# --- the archive ------------------------------------------------------------------------------------------------------


def _archive_letters() -> None:
    from deskline_archive import handler

    describe = handler.describe
    handler.describe = lambda records, decoded: describe(records, decoded)._replace(letters=[])


def _archive_bytes() -> None:
    """What was sent comes back in another spelling: a blank more, as by a JSON library that decodes and encodes."""
    _archived(lambda records: [record._replace(value=_respelled(record.value)) for record in records])


def _respelled(value: bytes | None) -> bytes | None:
    return value if value is None else value.replace(b'"time":', b'"time": ')


def _archive_all() -> None:
    """Positions move, the last record of a larger unit is not written."""
    _archived(lambda records: records[:-1] if len(records) > 4 else records)


def _archived(change: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    from deskline_archive.store import Store

    append = Store.append

    async def other(self: Store, connection: Any, records: Sequence[Any], descriptions: Sequence[Any]) -> None:
        kept = change(records)
        await append(self, connection, kept, descriptions[: len(kept)])

    Store.append = other


# --- the engine -------------------------------------------------------------------------------------------------------


def _fence() -> None:
    """No look at who holds the lanes; and to need it, one instance in ten seconds freezes with a customer's message in hand.

    It is a message of a conversation that it knows: others are read from the database when it thaws, with what its successor did.
    """
    from deskline import lane_store
    from deskline.consumption import Engine

    lane_store._FENCE = lane_store._FENCE.replace("AND lanes.version = mine.version", "")
    unit = Engine._unit
    began = time.monotonic()

    async def freeze_first(self: Engine, batch: Any, *rest: Any, **named: Any) -> None:
        known = self.consumer._states._cache
        messages = any(
            b'"message.received.' in (record.value or b"") and (lane.partition, (record.key or b"").decode()) in known
            for lane, records, _ in batch
            for record in records
        )
        turn = int(time.monotonic() - began) // 10
        if messages and turn and not _mark(Path(f"frozen-{turn}")):
            _freeze(8.0)  # longer than its session lasts
        await unit(self, batch, *rest, **named)

    Engine._unit = freeze_first


def _freeze(seconds: float) -> None:
    """All threads of this process stop, as in a machine that is suspended."""
    subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


def _republication() -> None:
    """The outbox of a predecessor is not looked at; and to need it, the process dies once between commit and publishing."""
    from deskline import lane_store
    from deskline.kafka import Publisher

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    lane_store.outbox_rows = nothing
    publish = Publisher.publish
    # The working directory is the folder of logs, shared by all lives of this process.
    died = Path("died-before-publishing")
    began = time.monotonic()

    async def die_once(self: Publisher, outputs: Sequence[Any]) -> None:
        if time.monotonic() - began > 5 and not _mark(died):
            os._exit(137)
        await publish(self, outputs)

    Publisher.publish = die_once


def _mark(file: Path) -> bool:
    """Whether it was there already."""
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return True
    return False


def _order() -> None:
    """What waits for the broker is published newest first."""
    from deskline.outbox import Outbox

    publish = Outbox._publish

    async def backwards(self: Outbox, outputs: list[Any]) -> None:
        await publish(self, outputs[::-1])

    Outbox._publish = backwards


def _duplicates() -> None:
    from deskline.duplicates import Seen

    Seen.first = lambda self, event: True


def _ids() -> None:
    """Ids are drawn, not derived."""
    from deskline import ids

    ids.name_id = lambda *_: os.urandom(16).hex()


def _watermark_ahead() -> None:
    """Timers go by a clock that is ahead of what has been read."""
    from deskline.lanes import Lane

    ask = Lane.read_upto
    Lane.read_upto = lambda self, *read: at + 5_000_000 if (at := ask(self, *read)) else 0


def _timers() -> None:
    """Nobody rings when the hour strikes."""
    from deskline.consumption import Engine

    async def never(self: Engine, upto: object) -> dict[str, int]:
        return {}

    Engine._due = never


# --- autoreply --------------------------------------------------------------------------------------------------------


def _border() -> None:
    from deskline_autoreply.policy import border

    border.is_owned = lambda *_: False


# --- the router -------------------------------------------------------------------------------------------------------


def _capacity() -> None:
    from deskline_router.policy import world

    world._room = lambda agent, capacity: True


def _status() -> None:
    """Who has come is never known to have gone."""
    from deskline_router.model import Status
    from deskline_router.policy import agents

    change_status = agents.change_status

    def only_online(world: Any, change: Any) -> None:
        if change.status is Status.ONLINE:
            change_status(world, change)

    agents.change_status = only_online


def _closing() -> None:
    from deskline_router.policy import conversation

    conversation.HANDLERS = {**conversation.HANDLERS, "conversation.closed.v1": lambda *_: None}


def _hand_over() -> None:
    """Read and counted, so that it is no silence either; but nothing is opened."""
    from deskline_router.policy import requests

    requests.used = lambda *_: True


GUARDS = {
    "dead letters": Guard("archive", "no_letter", _archive_letters),
    "bytes of the archive": Guard("archive", "archived_differently", _archive_bytes),
    "every record of the archive": Guard("archive", "not_archived", _archive_all),
    "fence": Guard("autoreply", "said_again_differently", _fence),
    "republication": Guard("autoreply", "no_outcome", _republication),
    "order of publication": Guard("autoreply", "outcomes_out_of_order", _order),
    "duplicates": Guard("autoreply", "said_again_differently", _duplicates),
    "border": Guard("autoreply", "reply_over_an_agents_head", _border),
    "capacity": Guard("router", "over_capacity", _capacity),
    "agents' status": Guard("router", "agent_not_online", _status),
    "closing": Guard("router", "close_left_a_request", _closing),
    "hand-over": Guard("router", "hand_over_without_request", _hand_over),
    "deterministic ids": Guard("sla", "no_such_clock", _ids),
    "watermark": Guard("sla", "false_breach", _watermark_ahead),
    "timers": Guard("sla", "not_told", _timers),
}


def command(*guards: str) -> Callable[[str], list[str]]:
    """For ``Options.command``: services without these guards, at most one for a service."""
    removed = {GUARDS[name].service: name for name in guards}
    assert len(removed) == len(guards)

    def words(service: str) -> list[str]:
        if service in removed:
            return [sys.executable, __file__, removed[service], service]
        return [sys.executable, "-m", "deskline", service]

    return words


if __name__ == "__main__":
    from deskline.cli import main

    GUARDS[sys.argv.pop(1)].remove()
    main()
