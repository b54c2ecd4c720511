"""From stories to figures: plain values that can be written as JSON. Pure; times in µs, figures in seconds and shares.

A thing counts where it began: a round, a clock by its start, a rating, a close or an order by its own time. Percentiles are
the smallest value that so many per cent do not exceed (nearest rank), so they are always a wait that somebody had.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from math import ceil
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from deskline.clock import SECOND, rfc3339
from deskline.config.documents import ReportSettings
from deskline.report.platform import PlatformReading, platform_share
from deskline.report.story import ClockWord, Round, Story

SATISFIED: Final = 4
"""A score of 4 or 5 is a satisfied customer."""
_STORY_LINES: Final = 40
"""A conversation may have thousands of records; a breach is told by what stands around its wait."""


class Period(NamedTuple):
    begin: int
    end: int
    zone: ZoneInfo

    def holds(self, at: int) -> bool:
        return self.begin <= at < self.end

    def local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at / SECOND, self.zone)


def report(
    stories: Sequence[Story],
    period: Period,
    settings: ReportSettings,
    trainees: Iterable[str] = (),
    *,
    most_stories: int = 50,
) -> dict[str, Any]:
    """Every figure of one shop's stories."""
    target = settings.response_s
    breached = _breached(stories, period)
    return {
        "response": {
            "target_s": target,
            "agent": _by_hour([r for s in stories for r in s.agent_rounds], period, target),
            "any": _by_hour([r for s in stories for r in s.rounds], period, target),
        },
        "attainment": _attainment(stories, period),
        "satisfaction": _satisfaction(stories, period, settings.satisfaction),
        "resolution": _resolution(stories, period, settings.resolution),
        "platform": _platform(stories, period, settings),
        "breaches": {
            "count": len(breached),
            "left_off": max(len(breached) - most_stories, 0),
            "stories": [_breach(story, clock) for story, clock in breached[:most_stories]],
        },
        "agents": _agents(stories, period, settings),
        "conversion": _conversion(stories, period),
        "trainees": _trainees(stories, period, settings, sorted(trainees)),
    }


# --- waits ------------------------------------------------------------------------------------------------------


def waits(rounds: Iterable[Round], target_s: float) -> dict[str, Any]:
    """Of the answered: mean, percentiles, the share within the target; and how many ended unanswered."""
    rounds = list(rounds)
    took = sorted(each.took for each in rounds if each.took is not None)
    figures: dict[str, Any] = {"answered": len(took), "unanswered": len(rounds) - len(took)}
    if took:
        within = sum(each <= target_s * SECOND for each in took)
        figures["mean_s"] = _seconds(sum(took) / len(took))
        figures |= {f"p{share}_s": _seconds(percentile(took, share)) for share in (50, 90, 95)}
        figures["within"] = _share(within, len(took))
    return figures


def percentile(ordered: Sequence[int], share: int) -> int:
    """Nearest rank, of a sequence that is sorted and not empty."""
    return ordered[max(ceil(share * len(ordered) / 100), 1) - 1]


def _by_hour(rounds: list[Round], period: Period, target_s: float) -> dict[str, Any]:
    inside = [each for each in rounds if period.holds(each.started_at)]
    hours: dict[int, list[Round]] = defaultdict(list)
    for each in inside:
        hours[period.local(each.started_at).hour].append(each)
    return {
        "all": waits(inside, target_s),
        "hours": [{"hour": hour, **waits(hours[hour], target_s)} for hour in sorted(hours)],
    }


# --- clocks -----------------------------------------------------------------------------------------------------


def _attainment(stories: Sequence[Story], period: Period) -> list[dict[str, Any]]:
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for story in stories:
        for clock in story.clocks.values():
            if period.holds(clock.started_at):
                counts[clock.metric, clock.tier][clock.state] += 1
                counts[clock.metric, ""][clock.state] += 1
    rows = []
    for (metric, tier), states in sorted(counts.items()):
        met, breached = states["met"], states["breached"]
        row = {"metric": metric, "tier": tier or "all", "met": met, "breached": breached}
        rows.append({**row, "cancelled": states["cancelled"], "attainment": _share(met, met + breached)})
    return rows


def _breached(stories: Sequence[Story], period: Period) -> list[tuple[Story, ClockWord]]:
    """By due instant."""
    found = [
        (story, clock)
        for story in stories
        for clock in story.clocks.values()
        if clock.state == "breached" and period.holds(clock.started_at)
    ]
    return sorted(found, key=lambda pair: (pair[1].due_at, pair[1].clock_id))


def _breach(story: Story, clock: ClockWord) -> dict[str, Any]:
    """What happened from the start to the first answer of an agent after the due instant, or to the end."""
    answer = next((at for at, _ in story.advised if at > clock.due_at), None)
    until = answer if answer is not None else max([clock.due_at, *(line.at for line in story.lines)])
    lines = [line for line in story.lines if clock.started_at <= line.at <= until]
    shown = lines if len(lines) <= _STORY_LINES else lines[: _STORY_LINES // 2] + lines[-_STORY_LINES // 2 :]
    return {
        "clock_id": clock.clock_id,
        "conversation": story.subject,
        "metric": clock.metric,
        "tier": clock.tier,
        "agent_id": clock.agent_id,
        "started_at": rfc3339(clock.started_at),
        "due_at": rfc3339(clock.due_at),
        "target_s": clock.target_s,
        "answered_late_by_s": None if answer is None else _seconds(answer - clock.due_at),
        "lines_left_off": len(lines) - len(shown),
        "story": [
            {"at": rfc3339(line.at), "what": line.what, "who": line.who, "detail": line.detail} for line in shown
        ],
    }


# --- satisfaction, resolution, the platform's measure -------------------------------------------------------------


def _satisfaction(stories: Iterable[Story], period: Period, target: float) -> dict[str, Any]:
    """The last rating of each conversation counts."""
    scores = [score for story in stories for score in _last_rating(story, period)]
    happy = sum(score >= SATISFIED for score in scores)
    return {
        "target": target,
        "rated": len(scores),
        "satisfied": _share(happy, len(scores)),
        "mean": round(sum(scores) / len(scores), 3) if scores else None,
        "scores": {str(score): scores.count(score) for score in range(1, 6)},
    }


def _last_rating(story: Story, period: Period) -> list[int]:
    return [score for at, score in sorted(story.ratings) if period.holds(at)][-1:]


def _resolution(stories: Iterable[Story], period: Period, target: float) -> dict[str, Any]:
    """The last close of each conversation counts: one that was reopened and closed again was solved by that, or was not."""
    closes = [[resolved for at, resolved in sorted(story.closes) if period.holds(at)][-1:] for story in stories]
    ended = [resolved for each in closes for resolved in each]
    return {"target": target, "closed": len(ended), "resolved": _share(sum(ended), len(ended))}


def _platform(stories: Iterable[Story], period: Period, settings: ReportSettings) -> dict[str, Any]:
    reading = PlatformReading(**settings.platform.model_dump())
    found = platform_share(stories, period.begin, period.end, period.zone, reading)
    return {"reading": reading._asdict(), **found._asdict(), "share": _rounded(found.share)}


# --- agents -----------------------------------------------------------------------------------------------------


def _agents(stories: Sequence[Story], period: Period, settings: ReportSettings) -> list[dict[str, Any]]:
    rounds: dict[str, list[Round]] = defaultdict(list)
    scores: dict[str, list[int]] = defaultdict(list)
    advised: Counter[str] = Counter()
    sold: Counter[str] = Counter()
    for story in stories:
        for each in story.agent_rounds:
            if period.holds(each.started_at) and each.agent_id:
                rounds[each.agent_id].append(each)
        for at, score in sorted(story.ratings)[-1:]:
            if period.holds(at) and (agent := story.agent_before(at)):
                scores[agent].append(score)
        advised.update({agent for at, agent in story.advised if period.holds(at)})
        sold.update(
            {agent for at, _ in story.orders.values() if period.holds(at) and (agent := story.agent_before(at))}
        )
    orders = any(sold.values())
    rows = []
    for agent in sorted({*rounds, *scores, *advised}):
        speed = waits(rounds[agent], settings.response_s)
        happy = _share(sum(score >= SATISFIED for score in scores[agent]), len(scores[agent]))
        # Without a single order event nobody's conversion is known: it is not zero, it is absent.
        converted = _share(min(sold[agent], advised[agent]), advised[agent]) if orders else None
        parts = {"speed": speed.get("within"), "satisfaction": happy, "conversion": converted}
        total = _score(parts, settings.weights.model_dump())
        rows.append({"agent_id": agent, "score": total, **parts, "conversations": advised[agent], **speed})
    return sorted(rows, key=lambda row: (-(row["score"] or 0), row["agent_id"]))


def _score(parts: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """0 to 100: the weighted mean of the parts that there are; None where none has weight."""
    there = {name: share for name, share in parts.items() if share is not None and weights[name] > 0}
    if not there:
        return None
    total = sum(weights[name] for name in there)
    return round(100 * sum(weights[name] * share for name, share in there.items()) / total, 2)


def _conversion(stories: Sequence[Story], period: Period) -> dict[str, Any]:
    """Of the conversations in which an agent wrote: those with an order after an agent's message."""
    advised = [story for story in stories if any(period.holds(at) for at, _ in story.advised)]
    all_orders = [each for story in stories for each in story.orders.values() if period.holds(each[0])]
    converted, amount = 0, Decimal(0)
    for story in advised:
        after = [value for at, value in story.orders.values() if period.holds(at) and story.agent_before(at)]
        converted += bool(after)
        amount += sum(after, Decimal(0))
    return {
        "orders": len(all_orders),
        "advised": len(advised),
        "converted": converted,
        "share": _share(converted, len(advised)) if all_orders else None,
        "amount": str(amount),
    }


def _trainees(
    stories: Sequence[Story], period: Period, settings: ReportSettings, trainees: Sequence[str]
) -> list[dict[str, Any]]:
    """By local day; ``change``: the share within the target in the later half of the days less that in the earlier."""
    rows = []
    for agent in trainees:
        days: dict[str, list[Round]] = defaultdict(list)
        scores: dict[str, list[int]] = defaultdict(list)
        for story in stories:
            for each in story.agent_rounds:
                if each.agent_id == agent and period.holds(each.started_at):
                    days[period.local(each.started_at).date().isoformat()].append(each)
            for at, score in sorted(story.ratings)[-1:]:
                if period.holds(at) and story.agent_before(at) == agent:
                    scores[period.local(at).date().isoformat()].append(score)
        listed = sorted({*days, *scores})
        early, late = (
            waits((each for day in half for each in days[day]), settings.response_s).get("within")
            for half in (listed[: len(listed) // 2], listed[(len(listed) + 1) // 2 :])
        )
        change = None if early is None or late is None else _rounded(late - early)
        by_day = [
            {"day": day, **waits(days[day], settings.response_s), "satisfied": _happy(scores[day])} for day in listed
        ]
        rows.append({"agent_id": agent, "change": change, "days": by_day})
    return rows


def _happy(scores: Sequence[int]) -> float | None:
    return _share(sum(score >= SATISFIED for score in scores), len(scores))


def _share(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 6)


def _seconds(us: float) -> float:
    return round(us / SECOND, 3)
