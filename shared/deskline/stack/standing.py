"""Whether customers are waiting, and why, in one screen: what ``deskline status`` says beside its table of instances.

From PostgreSQL (who waits, which clocks are overdue, what is not published yet) and Kafka (how far each service is behind), so that it
works for any deployment, whoever started it.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, Literal

import asyncpg

from deskline.clock import SECOND, now_us
from deskline.errors import TransientError, UsageError
from deskline.kafka import Ends
from deskline.migrate import GROUP
from deskline.postgres import TRANSIENT, connect
from deskline.settings import ServiceSettings

Language = Literal["en", "zh"]
_LANES: Final = "SELECT lane, topics, offsets FROM lanes"
_OUTBOX: Final = "SELECT count(*) FROM outbox"
_OVERDUE: Final = (
    "SELECT metric, count(*) AS n, min(due_at) AS since FROM overdue_clocks GROUP BY metric ORDER BY n DESC, metric"
)
_PATIENCE_S: Final = 8.0
_FLOWING: Final = 200
"""Records behind that say nothing: what comes while the question is asked."""


@dataclass(slots=True)
class Behind:
    """``records``: read by nobody yet. ``unpublished``: units of work that Kafka has not taken yet. None: it could not be asked."""

    records: int | None = None
    unpublished: int = 0


@dataclass(slots=True)
class Standing:
    shops: list[dict[str, Any]] = field(default_factory=list)
    """Of the router: ``deskline_router.standing``."""
    overdue: list[dict[str, Any]] = field(default_factory=list)
    services: dict[str, Behind] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)
    """What could not be asked: PostgreSQL, Kafka."""

    @property
    def waiting(self) -> int:
        return sum(shop["waiting"] for shop in self.shops)

    def plain(self) -> dict[str, Any]:
        services = {
            name: {"records_behind": one.records, "unpublished": one.unpublished} for name, one in self.services.items()
        }
        overdue = sum(one["clocks"] for one in self.overdue)
        return {
            "waiting": self.waiting, "overdue": overdue, "shops": self.shops, "overdue_by_metric": self.overdue,
            "services": services, "away": self.away,
        }  # fmt: skip


async def read(settings: ServiceSettings) -> Standing:
    """What is away is said in ``away``; raises ``UsageError`` where the database is not deskline's."""
    found = Standing()
    names = sorted(entry.name for entry in entry_points(group=GROUP))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            asked = await asyncio.gather(*(_service(settings, found, name) for name in names))
            found.shops = await import_module("deskline_router.standing").read(settings)
            found.overdue = await _overdue(settings)
    except TRANSIENT as error:
        cause = error.__cause__ or error
        found.away.append(f"PostgreSQL ({type(cause).__name__})")
        found.services.clear()
        return found
    except asyncpg.PostgresError as error:
        raise UsageError(
            f"PostgreSQL refuses: {error}; is --postgres-dsn right, and the database migrated (deskline migrate)?"
        ) from None
    await _behind(settings, found, dict(zip(names, asked, strict=True)))
    return found


async def _behind(settings: ServiceSettings, found: Standing, lanes: Mapping[str, list[tuple[str, int, int]]]) -> None:
    ends = Ends(settings, "deskline-status")
    try:
        async with asyncio.timeout(_PATIENCE_S):
            _, at = await ends.ask(
                sorted({(topic, partition) for one in lanes.values() for topic, partition, _ in one})
            )
            for name, one in lanes.items():
                found.services[name].records = sum(max(0, at[topic, number] - offset) for topic, number, offset in one)
    except (TransientError, TimeoutError) as error:
        found.away.append(f"Kafka ({type(error.__cause__ or error).__name__})")
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await ends.stop()


async def _service(settings: ServiceSettings, found: Standing, name: str) -> list[tuple[str, int, int]]:
    """(topic, partition, next offset) of everything that the service reads."""
    connection = await connect(settings, name)
    try:
        found.services[name] = Behind(unpublished=int(await connection.fetchval(_OUTBOX)))
        rows = await connection.fetch(_LANES)
    finally:
        await connection.close()
    # A lane's name ends with its partition: "7", or "topic/7".
    return [
        (topic, int(row["lane"].rpartition("/")[2]), offset)
        for row in rows
        for topic, offset in zip(row["topics"], row["offsets"], strict=True)
    ]


async def _overdue(settings: ServiceSettings) -> list[dict[str, Any]]:
    connection = await connect(settings, "sla")
    try:
        rows = await connection.fetch(_OVERDUE)
    finally:
        await connection.close()
    now = now_us()
    return [
        {"metric": row["metric"], "clocks": row["n"], "longest_s": round(max(0, now - row["since"]) / SECOND)}
        for row in rows
    ]


# --- sentences ------------------------------------------------------------------------------------------------------------

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "nobody waits": ("Nobody waits for an agent.", "没有顾客在等待人工。"),
    "waiting": ("{n} customers wait for an agent, the longest for {longest}.", "{n} 位顾客在等待人工，最长已等 {longest}。"),
    "overdue": ("Overdue: {list}.", "已超时：{list}。"),
    "overdue one": ("{clocks} × {metric} (the longest by {longest})", "{metric} {clocks} 个（最长超时 {longest}）"),
    "not known": ("Whether anybody waits is not known: {why}.", "是否有顾客在等待：未知（{why}）。"),
    "shop": ("{shop_id}: {waiting} wait, the longest {longest}: {why}", "{shop_id}：{waiting} 人等待，最长 {longest}：{why}"),
    "closed": ("all of them for the shop to open", "均在等待开店"),
    "for_opening": (" ({n} of them for the shop to open)", "（其中 {n} 人等待开店）"),
    "nobody_online": ("none of its {agents} agents is online", "{agents} 名客服均不在线"),
    "all_full": ("all {online} agents online are full ({taken:g} of {places})", "在线的 {online} 名客服均已满（{taken:g}/{places}）"),
    "paused": ("{with_room} agents have room and are paused", "{with_room} 名客服有空位，但已被暂停"),
    "nobody_admitted": (
        "{with_room} of {online} agents have room, and none may take them{skills}; nothing more will be given up for them",
        "在线 {online} 名客服中 {with_room} 名有空位，但都不符合条件{skills}，规则已无可放宽",
    ),
    "step": (
        "{with_room} of {online} agents have room, and none may take them yet{skills}; their rule gives up more in time",
        "在线 {online} 名客服中 {with_room} 名有空位，但暂不符合条件{skills}，规则稍后放宽",
    ),
    "skills": (" (asked for: {list})", "（需要：{list}）"),
    "behind": ("{name} is {records} records behind: {effect}", "{name} 落后 {records} 条记录：{effect}"),
    "unpublished": (
        "{name} has {n} decided units that Kafka has not taken: {effect}",
        "{name} 有 {n} 批结果尚未写入 Kafka：{effect}",
    ),
    "not ready": ("{name} has no instance that is ready: {effect}", "{name} 没有就绪的实例：{effect}"),
    "effect autoreply": ("nobody is answered by the robot, and the router takes over late", "没有自动回复，转人工变慢"),
    "effect router": ("nobody is assigned", "不再分配客服"),
    "effect sla": ("breaches are told late", "超时提醒延迟"),
    "effect archive": ("records are kept by Kafka alone", "记录只保存在 Kafka 中"),
    "flows": ("All services keep up ({list}).", "各服务均已跟上（{list}）。"),
    "and": ("; ", "；"),
}  # fmt: skip


def sentences(found: Standing, language: Language, not_ready: Sequence[str] = ()) -> Iterator[str]:
    """``not_ready``: services of which no instance is ready, where the instances are known. The first line is the answer."""

    def say(key: str, **values: Any) -> str:
        return _WORDS[key][language == "zh"].format(**values)

    if not found.services and found.away:
        yield say("not known", why="; ".join(found.away))
    elif found.shops:
        longest = max(shop["longest_s"] for shop in found.shops)
        yield say("waiting", n=found.waiting, longest=span(longest, language))
    else:
        yield say("nobody waits")
    if found.overdue:
        each = [say("overdue one", **one, longest=span(one["longest_s"], language)) for one in found.overdue]
        yield say("overdue", list=say("and").join(each))
    for shop in found.shops:
        wanted = say("skills", list=", ".join(shop["skills"])) if shop["skills"] else ""
        why = say(shop["why"], **{**shop, "skills": wanted})
        if shop["for_opening"] and shop["why"] != "closed":
            why += say("for_opening", n=shop["for_opening"])
        yield "  " + say("shop", **{**shop, "why": why}, longest=span(shop["longest_s"], language))
    trouble = list(_trouble(found.services, not_ready, say))
    yield from (f"  {line}" for line in trouble)
    if not trouble and found.services and all(one.records is not None for one in found.services.values()):
        yield say("flows", list=", ".join(f"{name} {one.records}" for name, one in found.services.items()))
    if found.services and found.away:
        yield "  " + "; ".join(found.away)


def _trouble(services: Mapping[str, Behind], not_ready: Sequence[str], say: Any) -> Iterator[str]:
    for name in not_ready:
        yield say("not ready", name=name, effect=_effect(name, say))
    for name, one in services.items():
        if one.records is not None and one.records > _FLOWING:
            yield say("behind", name=name, records=one.records, effect=_effect(name, say))
        if one.unpublished > _FLOWING:
            yield say("unpublished", name=name, n=one.unpublished, effect=_effect(name, say))


def _effect(name: str, say: Any) -> str:
    key = f"effect {name}"
    return str(say(key)) if key in _WORDS else "?"


def span(seconds: int, language: Language) -> str:
    """``95`` → 1 min 35 s."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(hours, ("h", "小时")), (minutes, ("min", "分")), (0 if hours else left, ("s", "秒"))]
    shown = [f"{n} {unit[0]}" if language == "en" else f"{n}{unit[1]}" for n, unit in parts if n]
    return (" " if language == "en" else "").join(shown) or ("0 s" if language == "en" else "0秒")
