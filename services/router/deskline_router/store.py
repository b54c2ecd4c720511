"""The router's SQL: the lock, the mirror's rows, owners, the decision log. Statements: ``queries.sql``.

Everything here runs in the engine's transaction but ``due`` and ``look``, which only read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from deskline.errors import FatalError, TransientError
from deskline.postgres import TRANSIENT, connect
from deskline_router.model import NEVER, Action, Agent, Customer, Fact, Outcome, Request, ShadowChoice, ShopState, State

if TYPE_CHECKING:
    import asyncpg

    from deskline.postgres import Connection
    from deskline.settings import ServiceSettings

ACTIONS_CHANNEL: Final = "router_actions"
"""Postgres notifies on it when an action has been submitted."""
_PURGE_EVERY: Final = 1024
"""Units between two purges: a purge is one index scan, and what it leaves is small either way."""
_TOMBSTONES: Final = 8192
"""Versions for which ended requests are kept, so that the other instances' mirrors hear of the end. An instance that is
further behind (minutes under load) reads all open requests anew."""


class Core(NamedTuple):
    version: int
    purged: int
    agent_offsets: list[int]


class Owner(NamedTuple):
    lane: int
    agent_id: str
    shop_id: str


class LogRow(NamedTuple):
    """What the decision log says of a unit beside its number."""

    now: int
    inputs: Sequence[tuple[str, int, int, int]]
    timers: Sequence[tuple[str, int]]
    watermarks: Mapping[int, int]
    agents_watermark: int
    agents_fresh: bool
    outputs: Sequence[str]
    actions: Sequence[Mapping[str, Any]] = ()


class Ordered(NamedTuple):
    """An action as it stands in its table."""

    action: Action
    decided_at: int | None
    outcome: Outcome | None
    """None: nobody has decided yet."""


def load_queries() -> dict[str, str]:
    """Name → statement of ``queries.sql``."""
    text = files("deskline_router").joinpath("queries.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


async def forget_person(settings: ServiceSettings, customer_id: str, shop_id: str | None = None) -> int:
    """Forget what is recorded of a customer in this shop, or in all (``deskline.persons``); how many records went.

    Raises ``TransientError`` where the database cannot be reached, and asyncpg's errors where the login may not act as the router.
    """
    connection = await connect(settings, "router")
    try:
        return await Store().forget_customer(connection, customer_id, shop_id)
    except TRANSIENT as error:
        raise TransientError(f"the database cannot be reached: {type(error).__name__}") from error
    finally:
        await connection.close()


class Store:
    def __init__(self) -> None:
        self._sql = load_queries()
        self._encode = msgspec.msgpack.Encoder().encode
        self._agent = msgspec.msgpack.Decoder(Agent).decode
        self._request = msgspec.msgpack.Decoder(Request).decode
        self._shop = msgspec.msgpack.Decoder(ShopState).decode
        self._facts = msgspec.msgpack.Decoder(dict[str, Fact]).decode
        self._read_action = msgspec.msgpack.Decoder(Action).decode
        self._outcome = msgspec.msgpack.Decoder(Outcome).decode
        self._json = msgspec.json.Encoder().encode

    async def lock(self, connection: Connection) -> Core:
        """From here to the commit nobody else decides about requests and agents."""
        return self._core(await connection.fetchrow(self._sql["lock"]))

    async def look(self, connection: Connection) -> Core:
        return self._core(await connection.fetchrow(self._sql["look"]))

    @staticmethod
    def _core(row: asyncpg.Record | None) -> Core:
        if row is None:
            raise FatalError("the router's table core has lost its one row: restore it from a backup")
        return Core(row["version"], row["purged"], row["agent_offsets"])

    async def changes(
        self, connection: Connection, core: Core, known: int
    ) -> tuple[list[Agent], list[Request], list[ShopState], bool]:
        """(agents, requests, shops, whether these are all there are) changed after the version ``known``."""
        whole = known < 0 or known < core.purged
        agents = await connection.fetch(self._sql["agents"], -1 if whole else known)
        if whole:
            requests = await connection.fetch(self._sql["open_requests"])
        else:
            requests = await connection.fetch(self._sql["requests"], known)
        shops = await connection.fetch(self._sql["shops"], -1 if whole else known)
        return (
            [self._agent(row["body"]) for row in agents],
            [self._request(row["body"]) for row in requests],
            [self._shop(row["body"]) for row in shops],
            whole,
        )

    async def apply(
        self,
        connection: Connection,
        core: Core,
        agents: Sequence[Agent],
        requests: Sequence[Request],
        log: LogRow,
    ) -> None:
        """``core``: with the version that this unit makes."""
        encode = self._encode
        await connection.execute(
            self._sql["apply"],
            core.version,
            core.agent_offsets,
            [agent.agent_id for agent in agents],
            [encode(agent) for agent in agents],
            [request.subject for request in requests],
            [request.lane for request in requests],
            [request.state is State.ENDED for request in requests],
            [request.due for request in requests],
            [encode(request) for request in requests],
            log.now,
            self._json(log.inputs).decode(),
            self._json(log.timers).decode(),
            self._json(log.watermarks).decode(),
            log.agents_watermark,
            log.agents_fresh,
            log.outputs,
            self._json(log.actions).decode(),
        )

    async def save_shops(self, connection: Connection, version: int, shops: Sequence[ShopState]) -> None:
        if shops:
            ids, bodies = [shop.shop_id for shop in shops], [self._encode(shop) for shop in shops]
            await connection.execute(self._sql["save_shops"], version, ids, bodies)

    async def customers(
        self, connection: Connection, keys: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Customer]:
        """What is recorded of these (shop, customer); of others nothing is."""
        if not keys:
            return {}
        shops, names = zip(*keys, strict=True)
        rows = await connection.fetch(self._sql["customers"], list(shops), list(names))
        return {
            (row["shop_id"], row["customer_id"]): Customer(
                row["shop_id"],
                row["customer_id"],
                facts=self._facts(row["facts"]),
                complaints=row["complaints"],
                last_agent=row["last_agent"],
                last_agent_at=row["last_agent_at"] or NEVER,
            )
            for row in rows
        }

    async def save_customers(self, connection: Connection, customers: Collection[Customer], now: int) -> None:
        """Facts and complaints; who served them is ``save_served``'s. ``now`` (µs): they were heard of then."""
        if customers:
            await connection.execute(
                self._sql["save_customers"],
                [customer.shop_id for customer in customers],
                [customer.customer_id for customer in customers],
                [self._encode(customer.facts) for customer in customers],
                [customer.complaints for customer in customers],
                now,
            )

    async def save_served(self, connection: Connection, served: Mapping[tuple[str, str], tuple[str, int]]) -> None:
        """(shop, customer) → (agent, since when he has had a conversation of his)."""
        if served:
            await connection.execute(
                self._sql["save_served"],
                [shop for shop, _ in served],
                [customer for _, customer in served],
                [agent for agent, _ in served.values()],
                [at for _, at in served.values()],
                self._encode({}),
            )

    async def record_shadows(self, connection: Connection, choices: Sequence[ShadowChoice]) -> None:
        """What candidate policies would have chosen in this unit."""
        rows = [(*choice[:-1], choice.agreement.value) for choice in choices]
        await connection.execute(self._sql["record_shadows"], *zip(*rows, strict=True))

    async def purge(self, connection: Connection, core: Core, log_before: int) -> None:
        """Now and then: tombstones that every mirror has seen, and log rows from before ``log_before`` (µs)."""
        if core.version % _PURGE_EVERY or core.version <= _TOMBSTONES:
            return
        below = core.version - _TOMBSTONES
        await connection.execute(self._sql["purged"], below)
        await connection.execute(self._sql["purge_requests"], below)
        await connection.execute(self._sql["purge_log"], log_before)

    # --- what people order --------------------------------------------------------------------------------------

    async def submit(self, connection: Connection, action: Action) -> Action:
        """Keep it until somebody decides; the one kept, which is an earlier one of the same id where there is one."""
        body = self._encode(action)
        async with connection.transaction():
            await connection.execute(self._sql["submit"], action.action_id, action.lane, body, action.at)
            await connection.execute("SELECT pg_notify($1, '')", ACTIONS_CHANNEL)
        kept = await self.ordered(connection, action.action_id)
        return action if kept is None else kept.action

    async def ordered(self, connection: Connection, action_id: str) -> Ordered | None:
        row = await connection.fetchrow(self._sql["outcome"], action_id)
        if row is None:
            return None
        outcome = None if row["outcome"] is None else self._outcome(row["outcome"])
        return Ordered(self._read_action(row["body"]), row["decided_at"], outcome)

    async def waiting_actions(self, connection: Connection, lanes: Iterable[int], limit: int) -> list[Action]:
        """Undecided ones of these lanes and of none, in the order in which they were submitted."""
        rows = await connection.fetch(self._sql["waiting_actions"], list(lanes), limit)
        return [self._read_action(row["body"]) for row in rows]

    async def undecided(self, connection: Connection, actions: Sequence[Action]) -> list[Action]:
        """Those of them that nobody has decided meanwhile."""
        if not actions:
            return []
        rows = await connection.fetch(self._sql["undecided"], [action.action_id for action in actions])
        left = {row["action_id"] for row in rows}
        return [action for action in actions if action.action_id in left]

    async def decided(self, connection: Connection, outcomes: Mapping[str, Outcome], now: int) -> None:
        if outcomes:
            bodies = [self._encode(outcome) for outcome in outcomes.values()]
            await connection.execute(self._sql["decided"], now, list(outcomes), bodies)

    async def forget_customer(self, connection: Connection, customer_id: str, shop_id: str | None = None) -> int:
        """In this shop, or in all; how many records went. A transaction of its own, under the lock: a unit that has read the
        record would write it back.
        """
        async with connection.transaction():
            await self.lock(connection)
            done = await connection.execute(self._sql["forget_customer"], customer_id, shop_id)
        return int(done.rpartition(" ")[2])

    async def owners(self, connection: Connection, lanes: Iterable[int]) -> dict[str, Owner]:
        rows = await connection.fetch(self._sql["owners"], list(lanes))
        return {row["subject"]: Owner(row["lane"], row["agent_id"], row["shop_id"]) for row in rows}

    async def save_owners(self, connection: Connection, changed: Mapping[str, tuple[int, Owner | None]]) -> None:
        """Per subject (lane, its owner without an assignment; None: it has none any more)."""
        kept = [(owner.lane, subject, owner) for subject, (_, owner) in changed.items() if owner is not None]
        gone = [(lane, subject) for subject, (lane, owner) in changed.items() if owner is None]
        if kept:
            await connection.execute(
                self._sql["keep_owners"],
                [lane for lane, _, _ in kept],
                [subject for _, subject, _ in kept],
                [owner.agent_id for _, _, owner in kept],
                [owner.shop_id for _, _, owner in kept],
            )
        if gone:
            await connection.execute(
                self._sql["drop_owners"], [lane for lane, _ in gone], [subject for _, subject in gone]
            )

    async def due(
        self, connection: Connection, watermarks: Mapping[int, int], limit: int
    ) -> tuple[dict[str, int], dict[int, int]]:
        """(subject → lane of requests due, earliest first; lane → earliest ``due`` among the others)."""
        lanes = list(watermarks)
        due: dict[str, int] = {}
        if limit:
            rows = await connection.fetch(self._sql["due_requests"], lanes, [watermarks[lane] for lane in lanes], limit)
            due = {row["subject"]: row["lane"] for row in rows}
        remaining = await connection.fetch(self._sql["next_requests"], lanes, list(due))
        return due, {row["lane"]: row["due"] for row in remaining}
