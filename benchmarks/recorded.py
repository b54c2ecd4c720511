"""A recorded day of a shop through autoreply at a steady rate: how long an answer takes, and whether kills change any.

Every customer's line of ``jddc/chat.tsv.gz`` (columns: session, user, is_agent, is_transfer, is_repeat, sku, text) is a message of its session;
agents' lines are left out, because whoever is served by a person is not answered by a machine. The sessions overlap, and
are played again under other ids until the time is over, so that texts come again as they do on a festival; ``new_texts`` says how
many were there for the first time. Before that broker, connections and code are made warm by other texts, so the recorded ones are all new.
"""

import asyncio
import csv
import gzip
import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final, NamedTuple

from tests.load.again import book_of, compare
from tests.load.envelopes import Draft, Gateway, Shape
from tests.load.sender import Sender

from benchmarks.drain import NoFigureError, bench_stack
from benchmarks.figures import Cpu, Figures, Floor, peak_mb
from deskline.clock import now_us
from deskline.records import CONVERSATIONS, REPLIES, ROUTING, Record
from deskline.stack.stack import Stack
from deskline.topic_reader import opened

RATE: Final = 1000
_TICK_S: Final = 0.02
_WARM_S: Final = 5.0
_WARM: Final = ("在吗", "你好，在的话回一下", "嗯嗯", "好的", "那就这样吧", "谢谢啦")
_KILL_EVERY_S: Final = 4.0
_OVERLAP: Final = 200
SHOP: Final = "wardrobe"
CONFIG: Final = Path(__file__).parents[1] / "examples" / "config"


class Line(NamedTuple):
    session: str
    text: str


def find(data: Path | None) -> Path | None:
    """The file, where there is one: ``--data``, else below ``DESKLINE_DATA``, else below ``../shared/data``."""
    if data is not None:
        return data
    for folder in (os.environ.get("DESKLINE_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        file = Path(folder or "") / "jddc" / "chat.tsv.gz"
        if folder and file.exists():
            return file
    return None


def read(file: Path) -> list[Line]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Line(row[0], row[6]) for row in rows if len(row) >= 7 and row[2] == "0"]


def play(lines: list[Line], run: str, seed: int) -> Iterator[Draft]:
    """Messages without an end; the time of each is set when it is sent."""
    chance = random.Random(seed)
    gateway = Gateway(Shape(shops=(SHOP,)), chance)
    sessions: dict[str, list[str]] = {}
    for line in lines:
        sessions.setdefault(line.session, []).append(line.text)
    texts = list(sessions.values())
    live: list[tuple[str, int, Iterator[tuple[int, str]]]] = []
    began = 0
    while True:
        if len(live) < _OVERLAP:
            live.append((f"{run}-{began}", began, iter(enumerate(texts[began % len(texts)]))))
            began += 1
        chosen = chance.randrange(len(live))
        subject, number, rest = live[chosen]
        step = next(rest, None)
        if step is None:
            live[chosen] = live[-1]
            live.pop()
            continue
        customer = {"customer_id": f"u{run}{number}"}
        yield gateway.message(subject, 0, shop=SHOP, customer=customer, number=step[0], text=step[1])


async def measure(figures: Figures, seconds: float, data: Path | None = None, instances: int = 1) -> None:
    file = find(data)
    if file is None:
        print("  skipped: no jddc/chat.tsv.gz; name it with --data, or its folder with DESKLINE_DATA")
        return
    lines = read(file)
    async with bench_stack({"autoreply": instances}, config=CONFIG) as stack:
        sent = await _measure(figures, stack, lines, seconds)
        sent += await _send_under_fire(stack, play(lines, "k", 3), seconds)
        await _settled(stack, sent)
        killed = await _records(stack)
    compared = compare(book_of(CONFIG), killed)
    if compared.missing or compared.different:
        raise NoFigureError(
            f"{len(compared.missing)} messages without an outcome, {len(compared.different)} outcomes that differ: "
            f"{compared.missing[:1]}{compared.different[:1]}"
        )
    figures.show("replay_same_outputs", compared.same, "messages", repeated=compared.repeated, different=0, missing=0)


async def _measure(figures: Figures, stack: Stack, lines: list[Line], seconds: float) -> int:
    """How many messages were sent."""
    known = stack.describe()
    pids = [instance["pid"] for instance in known["services"]["autoreply"]]
    greetings = [Line(str(session), text) for session in range(100) for text in _WARM]
    sent = await _send(stack, play(greetings, "w", 1), _WARM_S)
    cpu = Cpu(autoreply=pids, kafka=known["broker"]["pids"], postgres=known["postgres"]["pids"])
    began = time.monotonic()
    sent += await _send(stack, play(lines, "a", 2), seconds)
    used, others, wall = cpu.seconds(), cpu.others(), time.monotonic() - began
    await _settled(stack, sent)
    _show(figures, len(pids), await _records(stack), used, others, wall, peak_mb(pids))
    return sent


def _show(  # noqa: PLR0917 - called once, names as the caller has them
    figures: Figures,
    instances: int,
    records: Mapping[str, list[Record]],
    used: Mapping[str, float],
    others: float,
    wall: float,
    memory: int,
) -> None:
    arrived: dict[tuple[str, str], int] = {}
    texts: list[str] = []
    for record in records[CONVERSATIONS]:
        of = json.loads(record.value or b"{}")
        if of["subject"].startswith("a-"):
            arrived[of["subject"], of["data"]["message_id"]] = record.broker_at
            texts.append(of["data"]["text"])
    late: list[float] = []
    outcomes: dict[str, int] = {}
    for record in records[REPLIES]:
        of = json.loads(record.value or b"{}")
        name = of["data"].get("in_reply_to") or of["data"].get("message_id")
        at = arrived.get((of["subject"], name))
        if at is None or of["type"] == "message.flagged.v1":
            continue
        outcomes[of["type"]] = outcomes.get(of["type"], 0) + 1
        if of["type"] != "message.ignored.v1":
            late.append((record.broker_at - at) / 1000)
    late.sort()
    floor = Floor("< 100 ms", lambda value, _: value < 100)
    shares: dict[str, Any] = {f"{service}_cpu": f"{seconds / wall:.0%}" for service, seconds in used.items()}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        figures.show(
            f"replay_{RATE}_{name}",
            late[min(len(late) - 1, int(len(late) * share))],
            "ms",
            floor=floor if name == "p99" else None,
            others=others if name == "p99" else None,
            **(
                {
                    **shares,
                    "autoreply_peak_mb": memory,
                    "instances": instances,
                    "texts": len(texts),
                    "new_texts": len(set(texts)),
                    **{kind.removesuffix(".v1"): count for kind, count in sorted(outcomes.items())},
                }
                if name == "p99"
                else {}
            ),
        )


async def _send(stack: Stack, drafts: Iterator[Draft], seconds: float) -> int:
    """``RATE`` messages a second, each with the time of its sending; how many."""
    total, sent = int(RATE * seconds), 0
    async with Sender(stack.bootstrap_servers, stack.options.topic_prefix) as sender:
        began = time.monotonic()
        running: set[asyncio.Task[None]] = set()
        while sent < total:
            upto = min(total, int((time.monotonic() - began) * RATE))
            if upto > sent:
                now = now_us()
                chunk = [_at(next(drafts), now) for _ in range(upto - sent)]
                task = asyncio.create_task(sender.send(chunk))
                running.add(task)
                task.add_done_callback(running.discard)
                sent = upto
            await asyncio.sleep(_TICK_S)
        await asyncio.gather(*running)
    return total


def _at(draft: Draft, now: int) -> Draft:
    from deskline.clock import rfc3339

    of = json.loads(draft.value or b"{}")
    of["time"] = rfc3339(now)
    return draft._replace(value=json.dumps(of, ensure_ascii=False).encode())


async def _send_under_fire(stack: Stack, drafts: Iterator[Draft], seconds: float) -> int:
    """The same while one instance after the other is killed; the supervisor starts them anew."""
    sending = asyncio.create_task(_send(stack, drafts, seconds))
    kills = 0
    while not sending.done():
        await asyncio.wait([sending], timeout=_KILL_EVERY_S)
        if not sending.done():
            instances = stack.describe()["services"]["autoreply"]
            instance = instances[kills % len(instances)]
            if instance["pid"]:
                os.kill(instance["pid"], SIGKILL)
                kills += 1
    if not kills:
        raise NoFigureError(f"nothing was killed: --seconds must be more than {_KILL_EVERY_S:g}")
    print(f"  · killed {kills} times")
    return await sending


async def _settled(stack: Stack, messages: int, limit_s: float = 180) -> None:
    """Until replies.v1 holds an outcome of that many messages."""
    deadline = time.monotonic() + limit_s
    decided: set[tuple[str, str]] = set()
    async with opened(stack.settings()) as reader:
        while time.monotonic() < deadline:
            async for record in reader.until_end(REPLIES):
                of = json.loads(record.value or b"{}")
                if of["type"] != "message.flagged.v1":
                    decided.add((of["subject"], of["data"].get("in_reply_to") or of["data"]["message_id"]))
            if len(decided) >= messages:
                return
            await asyncio.sleep(2)
    raise NoFigureError(f"{messages - len(decided)} of {messages} messages had no outcome after {limit_s:g} s")


async def _records(stack: Stack) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    async with opened(stack.settings()) as reader:
        for topic in (CONVERSATIONS, ROUTING, REPLIES):
            found[topic] = [record async for record in reader.until_end(topic)]
    return found
