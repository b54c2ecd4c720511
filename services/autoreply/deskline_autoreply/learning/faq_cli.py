"""``deskline faq``: the questions that nothing answers, and making one of them an entry of the knowledge base."""

import asyncio
import getpass
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from deskline.clock import DAY, from_datetime, now_us, rfc3339
from deskline.config.apply import apply_directory
from deskline.config.telling import print_applied
from deskline.errors import UsageError
from deskline.options import AsJson, Config, NoApply, Shop
from deskline.targets import BootstrapServers, PostgresDsn, StateDir, TopicPrefix, settings_of
from deskline.terminal_text import printable
from deskline_autoreply.learning.accepting import add_entry, entry_id_of
from deskline_autoreply.learning.mining import Question, cleaned, mine, suggest
from deskline_autoreply.learning.sources import from_archive, from_file
from deskline_autoreply.learning.traffic import conversations, unanswered

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Find frequent questions without an answer; accept one."
)

Found = Annotated[Path, typer.Option("--file", help="Where what was found is kept between `mine` and `accept`.")]
_FOUND = Path("faq-mined.json")
_EXAMPLES = 5


@app.command("mine")
def mine_command(
    day: Annotated[str | None, typer.Argument(help="A day of the week meant, as 2026-11-23.")] = None,
    *,
    shop: Shop,
    week: Annotated[
        bool, typer.Option("--week", help="The week (Monday to Sunday, UTC) of DAY; without DAY the last seven days.")
    ] = True,
    records: Annotated[
        Path | None, typer.Option(help="A file of recorded conversations instead of the archive.")
    ] = None,
    file: Found = _FOUND,
    as_json: AsJson = False,
    state_dir: StateDir = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """The five most frequent questions that no rule answered, each with an entry for it. Changes nothing that is live.

    Only what several customers asked is shown, without personal data. `deskline faq accept N` makes one live.

    For example:

      deskline faq mine --week --shop wardrobe --state-dir .deskline

      deskline faq mine --week 2026-11-23 --shop wardrobe --records talks.jsonl
    """
    assert week
    if records is not None:
        events, told = from_file(records)
        if day is not None:
            since, until = span_of(day)
            events = [event for event in events if since <= event.broker_at < until]
    else:
        settings = settings_of(state_dir, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn)
        since, until = span_of(day)
        events, told = asyncio.run(from_archive(settings, since, until, say=_progress)), True
    questions = unanswered(conversations(events, shop), without_outcomes=not told)
    found = found_in(questions)
    body = {"shop": shop, "made_at": rfc3339(now_us()), "unanswered": len(questions), "questions": found}
    file.write_text(json.dumps(body, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(body, ensure_ascii=False))
        return
    typer.echo(f"shop {shop}: {len(questions)} messages that no rule answered")
    for number, one in enumerate(found, 1):
        for line in lines_of(number, one):
            typer.echo(printable(line))
    if found:
        typer.echo(f"kept in {file}; look at one and make it live: deskline faq accept 1 --config DIR")
    else:
        typer.echo("no question was asked by three customers or more")


@app.command()
def accept(
    number: Annotated[int, typer.Argument(min=1, help="As `mine` numbers them.")],
    *,
    config: Config,
    answer: Annotated[str | None, typer.Option(help="The answer, instead of the suggested one.")] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Open the entry in $EDITOR first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    no_apply: NoApply = False,
    file: Found = _FOUND,
    state_dir: StateDir = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    postgres_dsn: PostgresDsn = None,
) -> None:
    """Make one of the mined questions live: into the shop's knowledge.yaml, and in force some seconds later.

    For example:

      deskline faq accept 1 --config conf --state-dir .deskline

      deskline faq accept 2 --answer "签收七天内可以退货。" --yes --config conf --state-dir .deskline
    """
    shop, one = _kept(file, number)
    entry: dict[str, Any] = dict(one["entry"])
    if answer is not None:
        entry["answer"] = answer
    if edit:
        entry = _edited(entry)
    if not str(entry.get("answer") or "").strip():
        raise UsageError("nobody has answered this question yet; give the answer: --answer TEXT, or --edit")
    for line in _entry_lines(entry):
        typer.echo(printable(line))
    if not yes and not typer.confirm(f"Make this an entry of shop {shop}?"):
        raise UsageError("nothing was changed")
    settings = settings_of(
        state_dir, bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, postgres_dsn=postgres_dsn
    )
    written = add_entry(config, shop, entry)
    typer.echo(f"written to {written.file}")
    if no_apply:
        typer.echo(f"put it in force with: deskline config apply {config}")
        return
    comment = f"faq accept {entry['entry_id']}"
    print_applied(asyncio.run(apply_directory(settings, config, comment=comment, by=getpass.getuser())), as_json=False)


def span_of(day: str | None) -> tuple[int, int]:
    """µs: the week of a day, Monday to Sunday in UTC; None: the seven days up to now."""
    if day is None:
        now = now_us()
        return now - 7 * DAY, now
    try:
        given = date.fromisoformat(day)
    except ValueError:
        raise UsageError(f"{day!r} is no day; write for example 2026-11-23") from None
    monday = given - timedelta(days=given.weekday())
    begin = from_datetime(datetime(monday.year, monday.month, monday.day, tzinfo=UTC))
    return begin, begin + 7 * DAY


def found_in(questions: list[Question]) -> list[dict[str, Any]]:
    """What `mine` shows and keeps: nothing in it identifies a person."""
    from deskline_autoreply.knowledge.vectors import encoder  # noqa: PLC0415 - loads numpy, for this alone

    encode = encoder().phrasings
    found = []
    for cluster in mine(questions, encode):
        suggested = suggest(questions, cluster, encode)
        if not suggested.phrasings:
            continue
        phrasings = list(suggested.phrasings)
        entry = {"entry_id": entry_id_of(phrasings), "phrasings": phrasings, "answer": suggested.answer}
        examples = list(dict.fromkeys(cleaned(questions[place].text) for place in cluster.members))[:_EXAMPLES]
        found.append({"count": cluster.times, "customers": cluster.customers, "examples": examples, "entry": entry})
    return found


def lines_of(number: int, one: dict[str, Any]) -> list[str]:
    lines = [f"{number}. asked {one['count']} times by {one['customers']} customers"]
    lines += [f"     {example}" for example in one["examples"]]
    answer = one["entry"]["answer"]
    lines.append(
        f"   suggested answer, from what agents wrote; look at it: {answer}"
        if answer
        else "   no agent has answered it"
    )
    return lines


def _entry_lines(entry: dict[str, Any]) -> list[str]:
    return [
        f"entry {entry['entry_id']}",
        *(f"  asked as: {phrasing}" for phrasing in entry["phrasings"]),
        f"  answer:   {entry['answer']}",
    ]


def _kept(file: Path, number: int) -> tuple[str, dict[str, Any]]:
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        shop, questions = str(body["shop"]), body["questions"]
    except FileNotFoundError:
        raise UsageError(f"{file} does not exist; run first: deskline faq mine --week --shop SHOP") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{file} is not what `deskline faq mine` wrote; run that again") from None
    if number > len(questions):
        raise UsageError(f"{file} has {len(questions)} questions, no number {number}")
    return shop, questions[number - 1]


def _edited(entry: dict[str, Any]) -> dict[str, Any]:
    text = click.edit(json.dumps(entry, ensure_ascii=False, indent=1), extension=".json")
    if text is None:
        raise UsageError("the editor was left without saving; nothing was changed")
    try:
        changed = json.loads(text)
        return {"entry_id": changed["entry_id"], "phrasings": changed["phrasings"], "answer": changed["answer"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"what was saved is no entry any more ({error}); nothing was changed") from None


def _progress(text: str) -> None:
    typer.echo(text, err=True)
