"""What ``deskline shop init`` asks in four steps, and the shop's files that follow from the answers. Pure.

Hours and promises → ``calendars.yaml``, ``sla.yaml``; agents → ``agents.yaml``; templates and the trial → ``rules.yaml``. The files are
what a shop's people edit from then on; nothing reads the answers again.
"""

import json
from datetime import date
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from deskline.config.base import Document, Span, once
from deskline.config.documents import Weekly
from deskline.config.routing_document import Agent
from deskline.config.yaml_source import read
from deskline.errors import UsageError

Language = Literal["zh", "en"]
PER_PERSON: Final = 15
"""Customers at a time whom one person can look after: the trade's rule of thumb, 1:15."""
FEWEST: Final = 2
"""With one person nobody answers while he is away."""
_Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class Hours(Document):
    timezone: str = "Asia/Shanghai"
    daily: Span | None = "09:00-22:00"
    """Every day; ``weekly`` instead where days differ."""
    weekly: Weekly | None = None
    closed: tuple[date, ...] = ()
    public_holidays: Literal["CN"] | None = None


class Promises(Document):
    instant_reply_s: Annotated[int, Field(ge=1, le=3600)] = 30
    agent_response_s: Annotated[int, Field(ge=1, le=86_400)] = 180
    complaint_hours: Annotated[int, Field(ge=1, le=720)] = 48
    returns_days: Annotated[int, Field(ge=0, le=365)] = 7
    refund_hours: Annotated[int, Field(ge=1, le=720)] = 48
    dispatch_hours: Annotated[int, Field(ge=1, le=720)] = 48


class Templates(Document):
    """Absent: the shipped text of the plan's language."""

    greeting: _Text | None = None
    off_hours: _Text | None = None
    after_sales: _Text | None = None


class TrialPlan(Document):
    hours: Annotated[float, Field(ge=0.01, le=24 * 28)] = 48
    then: Literal["off", "live"] = "off"


class ShopPlan(Document):
    shop: Annotated[str, Field(min_length=1, max_length=128)]
    language: Language = "zh"
    hours: Hours = Hours()
    promises: Promises = Promises()
    agents: Annotated[tuple[Agent, ...], Field(min_length=1)]
    templates: Templates = Templates()
    trial: TrialPlan = TrialPlan()

    @field_validator("shop")
    @classmethod
    def _a_folder(cls, shop: str) -> str:
        if shop != shop.strip() or not shop.isprintable() or "/" in shop or shop.startswith((".", "_")):
            raise ValueError(f"{shop!r} is no shop's id: no blank at its ends, no /, and no . or _ at its beginning")
        return shop

    @field_validator("agents")
    @classmethod
    def _each_once(cls, agents: tuple[Agent, ...]) -> tuple[Agent, ...]:
        once("agent", "agents", "agent_id", (agent.agent_id for agent in agents))
        return agents


SHIPPED: Final[dict[Language, Templates]] = {
    "zh": Templates(
        greeting="{customer_name|亲}您好，欢迎光临！请直接告诉我您想咨询的商品、订单或售后问题。",
        off_hours="亲，客服工作时间是 {agent_hours|页面公示的时间}，现在不在线。您的问题已经记下，上班后第一时间回复您。",
        after_sales="亲，本店支持 {returns_days} 天无理由退换，商品不影响二次销售即可；退回后 {refund_hours} 小时内退款到原支付方式。",
    ),
    "en": Templates(
        greeting="Hello {customer_name|there}! Tell us about the product, order or return you are asking about.",
        off_hours="We are away right now; our hours are {agent_hours|on the shop's page}. Your question is noted and is answered first thing.",
        after_sales="You may return or exchange within {returns_days} days, unused; we refund within {refund_hours} hours of its arrival.",
    ),
}
_DISPATCH: Final[dict[Language, tuple[str, list[str]]]] = {
    "zh": ("亲，付款后 {dispatch_hours} 小时内发货；预售款以商品页面标注的时间为准。", ["什么时候发货", "几天发货", "多久发货", "发货时间"]),
    "en": ("Orders leave within {dispatch_hours} hours; for pre-orders the time on their page counts.", ["when will you ship", "shipping time"]),
}  # fmt: skip
_ASKED: Final[dict[Language, tuple[list[str], list[str]]]] = {
    "zh": (["你好", "您好", "在吗", "在么", "有人吗", "hi", "hello"], ["退货", "换货", "能退吗", "怎么退", "退换", "售后"]),
    "en": (["hi", "hello", "hey", "good morning", "anyone there"], ["return", "exchange", "refund", "send it back"]),
}  # fmt: skip
"""What is answered by the greeting, and by the promise about returns."""


def read_plan(raw: bytes, **given: Any) -> ShopPlan:
    """YAML as in a file of answers; ``given`` wins over it, field by field. Raises ``UsageError`` with every mistake."""
    source = read(raw or b"{}")
    if source.mistakes:
        raise UsageError("\n".join(f"line {mistake.place.line}: {mistake.message}" for mistake in source.mistakes))
    value = source.value if source.value is not None else {}
    if not isinstance(value, dict):
        raise UsageError("the answers must have members (shop: …); see deskline shop init --help")
    return plan_of(merged(value, given))


def merged(value: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    made = dict(value)
    for key, own in given.items():
        below = made.get(key)
        made[key] = merged(below, own) if isinstance(own, dict) and isinstance(below, dict) else own
    return made


def plan_of(answers: dict[str, Any]) -> ShopPlan:
    try:
        # As JSON, because strict JSON admits what strict Python would not: dates as text, lists as tuples.
        return ShopPlan.model_validate_json(json.dumps(answers, ensure_ascii=False), strict=True)
    except ValidationError as error:
        lines = []
        for found in error.errors():
            where = ".".join(map(str, found["loc"])) or "the answers"
            what = "is missing" if found["type"] == "missing" else found["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {what}")
        raise UsageError("\n".join(lines)) from None


def agent_of(text: str) -> dict[str, Any]:
    """``ID[:NAME[:CAPACITY[:SKILL,SKILL[:GRADE]]]]`` as it is given at the keyboard."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 5 or not parts[0]:
        raise UsageError(
            f"{text!r} is no agent; write ID:NAME:CAPACITY:SKILL,SKILL:GRADE, from the right any part left off"
        )
    made: dict[str, Any] = {"agent_id": parts[0]}
    if len(parts) > 1 and parts[1]:
        made["name"] = parts[1]
    if len(parts) > 2 and parts[2]:
        if not parts[2].isdecimal():
            raise UsageError(
                f"{text!r}: {parts[2]!r} is no capacity; write how many customers at a time, for example 8"
            )
        made["capacity"] = int(parts[2])
    if len(parts) > 3 and parts[3]:
        made["skills"] = {skill.strip(): 3 for skill in parts[3].replace("，", ",").split(",") if skill.strip()}
    if len(parts) > 4 and parts[4]:
        made["grade"] = parts[4]
    return made


# --- the files ------------------------------------------------------------------------------------------------------------


def files_of(plan: ShopPlan) -> dict[str, str]:
    """Name → text."""
    return {
        "calendars.yaml": _yaml("calendars", _calendars(plan.hours)),
        "sla.yaml": _yaml("sla", _sla(plan.promises)),
        "agents.yaml": _yaml("agents", {"agents": [_plain(agent) for agent in plan.agents]}),
        "rules.yaml": _yaml("rules", _rules(plan)),
    }


_HEAD: Final = {
    "calendars": "Business hours; holidays and special days as they come.",
    "sla": "Promises in seconds; complaint_closure is how long a complaint may stay open.",
    "agents": "Who answers. skills: 1 (learning) to 5 (expert); capacity: customers at a time.",
    "rules": "In shadow: decided and recorded, not sent, until `deskline trial start` and its end. Beside these, _default's rules.",
}


def _yaml(kind: str, value: dict[str, Any]) -> str:
    body = yaml.safe_dump(value, allow_unicode=True, sort_keys=False, default_flow_style=None, width=10_000)
    return f"# {_HEAD[kind]}\n{body}"


def _plain(document: Document) -> Any:
    """What was said, not what follows from it."""
    return json.loads(document.model_dump_json(exclude_defaults=True))


def _calendars(hours: Hours) -> dict[str, Any]:
    weekly = (
        _plain(hours.weekly)
        if hours.weekly is not None
        else {day: [hours.daily or "00:00-24:00"] for day in Weekly.model_fields}
    )
    shop: dict[str, Any] = {"timezone": hours.timezone, "weekly": weekly}
    if hours.closed:
        shop["holidays"] = [day.isoformat() for day in hours.closed]
    if hours.public_holidays:
        shop["public_holidays"] = hours.public_holidays
    return {"default": "shop", "calendars": {"shop": shop}}


def _sla(promises: Promises) -> dict[str, Any]:
    targets = {
        "instant_reply": promises.instant_reply_s,
        "agent_response": promises.agent_response_s,
        "next_response": promises.agent_response_s,
        "complaint_closure": promises.complaint_hours * 3600,
    }
    return {"policies": [{"policy_id": "promises", "targets": targets}], "warnings": [0.5, 0.8]}


def _rules(plan: ShopPlan) -> dict[str, Any]:
    shipped = SHIPPED[plan.language]
    hello, returns = _ASKED[plan.language]

    def text(name: str) -> str:
        return str(getattr(plan.templates, name) or getattr(shipped, name))

    names = ("returns_days", "refund_hours", "dispatch_hours")
    return {
        "inherit": True,
        "shadow": True,
        "language": plan.language,
        "scenarios": ["intercept"],
        "constants": {name: str(getattr(plan.promises, name)) for name in names},
        "rules": [
            {
                "rule_id": "off-hours", "priority": 850, "when": {"open": False}, "unless_answered": True, "cooldown_s": 3600,
                "reply": {"kind": "off_hours", "text": text("off_hours")}, "handover": {"reason": "no_match", "flags": ["off_hours"]},
            },
            {
                "rule_id": "after-sales", "priority": 480, "when": {"any_of": returns},
                "reply": {"kind": "faq", "entry_id": "after-sales", "text": text("after_sales")},
            },
            {
                "rule_id": "dispatch", "priority": 470, "when": {"any_of": _DISPATCH[plan.language][1]},
                "reply": {"kind": "faq", "entry_id": "dispatch", "text": _DISPATCH[plan.language][0]},
            },
            {
                "rule_id": "greeting", "priority": 200, "when": {"exact": hello, "first_message": True},
                "reply": {"kind": "greeting", "text": text("greeting")},
            },
        ],
    }  # fmt: skip
