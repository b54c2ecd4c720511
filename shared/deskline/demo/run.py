"""One run of the demo, in order: read the conversations, start the stack, play, let it come to rest, count again, say.

The first Ctrl-C ends the play early and everything after it goes on as usual, so that the summary is of what was done;
the second stops at once. Whatever happens the stack is stopped, and its directory removed unless it is to be kept.
"""

import asyncio
import contextlib
import logging
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live as Screen

from deskline.clock import SECOND, now_us
from deskline.demo import recount, shops
from deskline.demo.board import Snapshot, board, line
from deskline.demo.figures import Figures, differences
from deskline.demo.live import Live
from deskline.demo.play import Plan, Play
from deskline.demo.recorded import Conversation
from deskline.demo.summary import Summary
from deskline.demo.tally import Tally
from deskline.demo.words import Language, Words
from deskline.errors import TransientError
from deskline.kafka import Publisher
from deskline.records import Output
from deskline.stack.stack import Options, Stack, sample_config

# The whole command ends within three minutes: what a start took longer than usual is taken off the play.
_ALL_S: Final = 160.0
_PLAY_S: Final = (30.0, 100.0)
_AFTER_S: Final = 25.0
# Of the play: no conversation begins any more, those under way come to their ends.
_LAST_PART: Final = 0.2
_TICK_S: Final = 0.02
_BOARD_S: Final = 0.25
_LINE_S: Final = 5.0
# A machine that is busy with other things drains slowly; then the summary says that it was counted too early.
_QUIET_S: Final = 60.0
_RETRY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says."""

    recorded: Sequence[Conversation]
    speed: float
    seed: int
    seconds: float | None
    """Of the play; None: as long as fits into three minutes."""
    config_dir: Path | None
    """None: what is shipped."""
    language: Language
    show_board: bool
    state_dir: Path | None
    keep: bool
    started: int
    """When the command began (µs)."""


class StoppedError(Exception):
    """Ctrl-C before there was anything to sum up, or twice."""


class Demo:
    def __init__(self, wishes: Wishes, console: Console) -> None:
        self._wishes = wishes
        self._console = console
        self._words = Words(wishes.language)
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._run = f"demo-{_base36(wishes.started // SECOND)}"
        self._tally = Tally(self._run)
        self._spans: dict[str, float] = {}
        self._phase = ""
        self._rates: deque[float] = deque(maxlen=30)

    async def run(self) -> Summary:
        """Play and count; raises ``StoppedError`` where it was stopped before there was anything to count."""
        # Its warnings about brokers that come and go are the normal course of a start and a stop.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self._listen()
        with self._directory() as directory:
            work = asyncio.create_task(self._all(directory))
            stop = asyncio.create_task(self._at_once.wait())
            await asyncio.wait([work, stop], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not work.done():
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
                raise StoppedError
            return work.result()

    def _listen(self) -> None:
        def on_signal() -> None:
            # Before the play there is nothing to sum up.
            if self._stopping.is_set() or "ready" not in self._spans:
                self._at_once.set()
            self._stopping.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)

    @contextlib.contextmanager
    def _directory(self) -> Iterator[Path]:
        given = self._wishes.state_dir
        directory = given or Path(tempfile.mkdtemp(prefix="deskline-demo-"))
        if given is None:
            directory.chmod(0o711)  # as root, PostgreSQL runs under another account and must pass through
        try:
            yield directory
        finally:
            if given is not None or self._wishes.keep:
                self._console.print(f"kept: {directory} (deskline up --state-dir goes on there)", highlight=False)
            else:
                shutil.rmtree(directory, ignore_errors=True)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _since_start(self) -> float:
        return (now_us() - self._wishes.started) / SECOND

    # --- the parts ----------------------------------------------------------------------------------------------

    async def _all(self, directory: Path) -> Summary:
        wishes = self._wishes
        config = directory / "demo-config"
        who = shops.write(wishes.config_dir or sample_config(), config, speed=wishes.speed, now=now_us())
        self._say(f"{len(wishes.recorded)} conversations, speed ×{wishes.speed:g}, seed {wishes.seed}")
        options = Options(
            state_dir=directory,
            config_dir=config,
            durable=wishes.keep or wishes.state_dir is not None,
            dies_with_parent=True,
        )
        async with Stack(options, progress=self._say) as stack:
            self._spans["ready"] = self._since_start()
            play = self._cast(who)
            async with Live(stack, self._tally, play.hear) as live, _published(stack) as publisher:
                settled = await self._play(play, live, publisher)
            self._say(self._words("recounting"))
            return await self._sum_up(stack, play, live, settled=settled)

    def _cast(self, who: shops.Shops) -> Play:
        wishes = self._wishes
        fits = min(max(_ALL_S - _AFTER_S - self._spans["ready"], _PLAY_S[0]), _PLAY_S[1])
        seconds = self._spans["play"] = wishes.seconds if wishes.seconds is not None else fits
        now = now_us()
        ends = now + round(seconds * (1 - _LAST_PART) * SECOND)
        return Play(wishes.recorded, who, Plan(self._run, wishes.seed, wishes.speed, now, ends))

    async def _play(self, play: Play, live: Live, publisher: Publisher) -> bool:
        """All of it, until nothing moves any more; whether it came to that."""
        with self._shown(lambda: self._snapshot(play, live)) as show:
            beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._show(show))]
            try:
                await self._act(play, live, publisher, beside)
                began = now_us()
                settled = await live.quiet(_QUIET_S)
                self._spans["drain"] = (now_us() - began) / SECOND
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
        return settled

    async def _act(self, play: Play, live: Live, publisher: Publisher, beside: Sequence[asyncio.Task[None]]) -> None:
        begins = play.plan.begins
        ends = begins + round(self._spans["play"] * SECOND)
        play.open()
        while now_us() < ends and not self._stopping.is_set():
            await self._publish(publisher, play.tick(now_us()))
            live.check()
            for task in beside:
                if task.done():
                    task.result()  # a board that fails is a failure of the demo
            await asyncio.sleep(_TICK_S)
        self._phase = "drain"
        self._spans["play"] = (now_us() - begins) / SECOND
        await self._publish(publisher, play.close(now_us()))

    async def _publish(self, publisher: Publisher, outputs: list[Output]) -> None:
        """Until the broker has acknowledged it: a broker that is away for a while is waited for, as a gateway would.
        What is sent twice has the same id and counts once.
        """
        while outputs:
            try:
                await publisher.publish(outputs)
            except TransientError:
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _sum_up(self, stack: Stack, play: Play, live: Live, *, settled: bool) -> Summary:
        began = now_us()
        prefix = stack.options.topic_prefix
        topics, ends = await recount.read(stack.bootstrap_servers, prefix)
        there = await recount.archived(stack.postgres_dsn, prefix, ends)
        counted = recount.count(topics, self._run)
        counted.figures["archived"] = sum(there.values())
        shown = self._figures(live)
        wrong = [
            *differences(shown, counted.figures),
            *counted.wrong,
            *recount.sent_but_missing(play.gateway.made, topics, self._run),
            *recount.not_archived(topics, there),
        ]
        self._spans["recount"] = (now_us() - began) / SECOND
        self._spans["total"] = self._since_start()
        if self._tally.first_answer_at is not None:
            self._spans["alive"] = (self._tally.first_answer_at - self._wishes.started) / SECOND
        return Summary(
            board=shown, topics=counted.figures, differences=wrong, settled=settled,
            interrupted=self._stopping.is_set(), speed=self._wishes.speed, seed=self._wishes.seed,
            seconds=self._spans, decided_ms=counted.decided_ms, waited_s=counted.waited_s,
        )  # fmt: skip

    # --- what is shown ------------------------------------------------------------------------------------------

    def _figures(self, live: Live) -> Figures:
        return {**self._tally.figures(), "archived": live.archived}

    async def _watch(self) -> None:
        """Once a second: how many messages came."""
        before = 0
        while True:
            await asyncio.sleep(1)
            messages = self._tally.figures().get("messages", 0)
            self._rates.append(float(messages - before))
            before = messages

    def _snapshot(self, play: Play, live: Live) -> Snapshot:
        tally, plan, now = self._tally, play.plan, now_us()
        figures = self._figures(live)
        longest = now - min(tally.waiting_since.values(), default=now)
        statuses = [tally.agents.get(agent, "offline") for agent in play.staff.agents]
        return Snapshot(
            figures=figures, phase=self._phase or ("play" if now < plan.ends else "finish"),
            elapsed_s=(now - plan.begins) / SECOND, total_s=self._spans["play"], speed=plan.speed,
            shops=play.shop_names, rates=tuple(self._rates), open_talks=play.open_talks,
            longest_wait_s=longest / SECOND, lag=dict(live.lag), online=statuses.count("online"),
            away=statuses.count("away"), load=tally.load,
            capacity=sum(agent.clerk.capacity for agent in play.staff.agents.values()), decided_ms=tuple(tally.decided_ms),
        )  # fmt: skip

    @contextlib.contextmanager
    def _shown(self, snapshot: Callable[[], Snapshot]) -> Iterator[Callable[[], float]]:
        """Gives what draws once and says when to draw again."""
        if not self._wishes.show_board:

            def write() -> float:
                self._say(line(snapshot(), self._words))
                return _LINE_S

            yield write
            return
        with Screen(board(snapshot(), self._words), console=self._console, auto_refresh=False) as screen:

            def draw() -> float:
                screen.update(board(snapshot(), self._words), refresh=True)
                return _BOARD_S

            yield draw
            draw()

    async def _show(self, show: Callable[[], float]) -> None:
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s)
            pause_s = show()


@contextlib.asynccontextmanager
async def _published(stack: Stack) -> AsyncIterator[Publisher]:
    publisher = Publisher(stack.settings(), "deskline-demo-gateway")
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    found = ""
    while number:
        number, digit = divmod(number, 36)
        found = digits[digit] + found
    return found
