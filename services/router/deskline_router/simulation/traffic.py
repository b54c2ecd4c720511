"""Who comes, how long he waits for somebody, and what it costs to serve him.

A file of arrivals is one of

* counts: CSV with the columns ``DateTime`` (the beginning of a span, ISO, local) and ``Calls``; spans are equally long;
* single arrivals: one JSON object a line (``Line``), only ``at`` is needed: what is not stated is drawn from the mix.

Both may be gzipped (``.gz``).
"""

import csv
import gzip
import io
import json
import math
import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from deskline.clock import SECOND, from_datetime, parse_rfc3339
from deskline.config.base import Document, Name, PositiveSeconds
from deskline.errors import UsageError
from deskline_router.simulation.model import Arrival, Count, Traffic


class Line(Document):
    """One arrival of a file."""

    at: str
    customer_id: Name | None = None
    tier: Name | None = None
    skills: tuple[Name, ...] | None = None
    flags: tuple[Name, ...] = ()
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    channel: Name | None = None
    language: Name | None = None
    entry_point: Name | None = None
    dedicated_agent_id: Name | None = None
    patience_s: PositiveSeconds | None = None
    work_s: PositiveSeconds | None = None


def load_traffic(path: Path | None) -> Traffic:
    """Raises ``UsageError``."""
    if path is None:
        return Traffic()
    try:
        return Traffic.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except ValidationError as error:
        raise UsageError("\n".join(f"{path}: {_place(item)}{item['msg']}" for item in error.errors())) from None


def _place(item: Any) -> str:
    return "".join(f"{part}: " for part in item["loc"])


# --- files ------------------------------------------------------------------------------------------------------


def read_counts(path: Path) -> list[Count] | None:
    """The counts of a file; None where it holds single arrivals. Raises ``UsageError`` with the line that is wrong."""
    text = _text(path)
    if text.lstrip()[:1] == "{":
        return None
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or not {"DateTime", "Calls"} <= set(rows[0]):
        raise UsageError(f"{path}: expected the columns DateTime and Calls, or one JSON object a line")
    found: list[tuple[int, float]] = []
    for number, row in enumerate(rows, 2):
        try:
            at = from_datetime(datetime.fromisoformat(row["DateTime"]).replace(tzinfo=UTC))
            calls = float(row["Calls"])
        except (TypeError, ValueError):
            raise UsageError(
                f"{path}:{number}: expected a time and a number, for example 2026-11-11 09:00:00,83"
            ) from None
        if not (math.isfinite(calls) and calls >= 0) or (found and at <= found[-1][0]):
            raise UsageError(f"{path}:{number}: times must rise, and no number be negative")
        found.append((at, calls))
    if len(found) < 2:
        raise UsageError(f"{path}: one line says nothing about how long a span is; give two at least")
    span = min(after - before for (before, _), (after, _) in pairwise(found))
    return [Count(at, span, calls) for at, calls in found]


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def read_arrivals(path: Path, draw: "Draw") -> list[Arrival]:
    """Single arrivals, in the order of time. Raises ``UsageError`` with the line that is wrong."""
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.strip():
            try:
                stated = Line.model_validate(json.loads(line))
                found.append(draw.completed(parse_rfc3339(stated.at), stated))
            except ValidationError as error:
                first = error.errors()[0]
                raise UsageError(f"{path}:{number}: {_place(first)}{first['msg']}") from None
            except ValueError:
                raise UsageError(f'{path}:{number}: expected {{"at": "2026-11-11T09:00:00Z", …}}') from None
    return sorted(found)


def by_day(counts: Sequence[Count]) -> dict[date, list[Count]]:
    days: dict[date, list[Count]] = {}
    for count in counts:
        days.setdefault(count.day, []).append(count)
    return days


# --- drawing ----------------------------------------------------------------------------------------------------


class _Urn:
    def __init__(self, parts: Mapping[str, float]) -> None:
        self._names = list(parts)
        self._edges = list(accumulate(parts.values()))

    def draw(self, r: random.Random) -> str:
        return self._names[min(bisect(self._edges, r.random() * self._edges[-1]), len(self._names) - 1)]


class Draw:
    """Customers from a mix, of one seed: the same calls give the same customers."""

    def __init__(self, traffic: Traffic, seed: int, skills: Sequence[str] = ()) -> None:
        """``skills``: those that requests ask for where the mix names none."""
        self._traffic = traffic
        self._r = random.Random(seed)  # noqa: S311 - a simulation
        self._tiers, self._channels = _Urn(traffic.tiers), _Urn(traffic.channels)
        parts = traffic.skills or dict.fromkeys(skills, 1.0)
        self._skills = _Urn(parts) if parts else None
        self._languages = _Urn(traffic.languages) if traffic.languages else None
        self._tier_of: dict[int, str] = {}
        self._sigma = math.sqrt(math.log(1 + traffic.handling_cv**2))
        self._number = 0

    def completed(self, at: int, line: Line | None = None) -> Arrival:
        """What the line does not state is drawn."""
        r, traffic = self._r, self._traffic
        self._number += 1
        who = r.randrange(traffic.customers)
        tier = self._tier_of.get(who)
        if tier is None:
            tier = self._tier_of[who] = self._tiers.draw(r)
        skills: tuple[str, ...] = () if self._skills is None else (self._skills.draw(r),)
        flags: tuple[str, ...] = ("complaint",) if r.random() < traffic.complaints else ()
        channel, language = self._channels.draw(r), None if self._languages is None else self._languages.draw(r)
        patience, size = r.expovariate(1), math.exp(r.gauss(-(self._sigma**2) / 2, self._sigma))
        customer_id, entry_point, dedicated = f"k{who}", None, None
        priority, patience_s, work_s = 50, None, None
        if line is not None:
            customer_id, tier = line.customer_id or customer_id, line.tier or tier
            skills = skills if line.skills is None else line.skills
            flags, priority, channel, language = (
                line.flags,
                line.priority,
                line.channel or channel,
                line.language or language,
            )
            entry_point, dedicated = line.entry_point, line.dedicated_agent_id
            patience_s, work_s = line.patience_s, line.work_s
        if patience_s is None:
            patience_s = patience * traffic.patience_s.get(tier, traffic.patience_s["default"])
        if work_s is None:
            work_s = size * mean_work_s(traffic, skills)
        return Arrival(
            at=at,
            subject=f"c{self._number}",
            customer_id=customer_id,
            patience=max(1, round(patience_s * SECOND)),
            work=max(1, round(work_s * SECOND)),
            tier=tier,
            skills=skills,
            flags=flags,
            priority=priority,
            channel=channel,
            language=language,
            entry_point=entry_point,
            dedicated=dedicated,
        )

    def of_counts(self, counts: Sequence[Count], scale: float = 1.0) -> Iterator[Arrival]:
        """So many times as many as counted: each calls with that chance, at an instant of its span at random, so that a
        smaller shop has the same shape and its own chance.
        """
        r = self._r
        for count in counts:
            number = _poisson(r, count.calls * scale) if scale != 1 else round(count.calls)
            for at in sorted(r.randrange(count.span) for _ in range(number)):
                yield self.completed(count.at + at)


def _poisson(r: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(r.gauss(mean, math.sqrt(mean))))
    limit, product, number = math.exp(-mean), r.random(), 0
    while product > limit:
        product *= r.random()
        number += 1
    return number


def mean_work_s(traffic: Traffic, skills: Sequence[str]) -> float:
    usual = traffic.handling_s["default"]
    return max((traffic.handling_s.get(skill, usual) for skill in skills), default=usual)
