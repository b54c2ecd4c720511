"""Files to conversations. The format is told from the content, never from the name; gzip and zip are opened.

Read are the demo's own JSON lines (``recorded``), JDDC's tab-separated columns, a support channel's log (``irc``),
CrossWOZ's and ABCD's JSON. Texts are UTF-8; a mistake is named by file and line, with what is expected there.
"""

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from deskline.demo import irc
from deskline.demo.recorded import Conversation, parse_lines
from deskline.errors import UsageError

# A day of a large shop; more would not be heard within the demo's minutes anyway.
_LARGEST: Final = 256 * 1024 * 1024
_JDDC: Final = ("session_id", "user_id", "is_agent", "is_transfer", "is_repeat", "sku", "text")
_FORMATS: Final = (
    "JSON lines of the demo's own form, JDDC's 7 tab-separated columns, a log with the columns "
    "log,timestamp_utc,nick,text, or CrossWOZ's or ABCD's JSON (docs/demo.md)"
)
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
SHIPPED: Final = ("support_channel.jsonl", "clothing_shop.jsonl")


def shipped() -> list[Conversation]:
    """The conversations that come with deskline."""
    folder = files("deskline.demo") / "data"
    return [
        conversation
        for name in SHIPPED
        for conversation in parse_lines((folder / name).read_text(encoding="utf-8").splitlines(), name)
    ]


def read_all(paths: Sequence[Path]) -> list[Conversation]:
    """Every conversation of these files and folders; raises ``UsageError`` where there is none."""
    found: list[Conversation] = []
    for path in paths:
        if path.is_dir():
            found += _folder(path)
        else:
            found += _file(path)
    if not found:
        raise UsageError(f"No conversations in {', '.join(map(str, paths))}. Expected {_FORMATS}.")
    return found


def _folder(folder: Path) -> list[Conversation]:
    """All files in it that have one of the formats: licences and notes may lie beside them."""
    found: list[Conversation] = []
    refused: UsageError | None = None
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            found += _file(path)
        except _UnknownFormatError as error:
            refused = error
    if not found and refused is not None:
        raise refused
    return found


class _UnknownFormatError(UsageError):
    """None of the formats."""


def _file(path: Path) -> list[Conversation]:
    try:
        raw = path.read_bytes()
        texts = [(name, _text(content, name)) for name, content in _unpacked(raw, str(path))]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    return [conversation for name, text in texts for conversation in _read(text, name)]


def _unpacked(raw: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    try:
        if raw.startswith(_GZIP):
            with gzip.open(io.BytesIO(raw)) as stream:
                yield name, _limited(stream, name)
        elif raw.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                for member in archive.infolist():
                    if not member.is_dir():
                        with archive.open(member) as stream:
                            yield f"{name}/{member.filename}", _limited(stream, name)
        else:
            yield name, _limited(io.BytesIO(raw), name)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise UsageError(f"{name}: cannot be unpacked: {error}") from None


def _limited(stream: Any, name: str) -> bytes:
    content: bytes = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UsageError(f"{name}: more than {_LARGEST >> 20} MiB when unpacked; cut it into smaller files")
    return content


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: expected UTF-8; convert the file, for example with iconv") from None


def _read(text: str, name: str) -> Iterator[Conversation]:
    """By what the text begins with."""
    head = text.lstrip().partition("\n")[0].rstrip("\r")
    if head.startswith("{") and '"turns"' in head:
        yield from parse_lines(text.splitlines(), name)
    elif head.startswith(("{", "[")):
        yield from _json(text, name)
    elif head.count("\t") >= len(_JDDC) - 2:
        yield from _jddc(text, name)
    elif head.split(",")[:2] == irc.COLUMNS[:2]:
        rows = irc.conversations(io.StringIO(text, newline=""), name)
        try:
            yield from (Conversation.model_validate(row) for row in rows)
        except csv.Error as error:
            raise UsageError(f"{name}: expected CSV: {error}") from None
    else:
        raise _UnknownFormatError(f"{name}:1: not a format that the demo reads. Expected {_FORMATS}.")


def _jddc(text: str, name: str) -> Iterator[Conversation]:
    rows: list[tuple[str, dict[str, str]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        columns = line.rstrip("\r").split("\t")
        if columns == [""]:
            continue
        if len(columns) != len(_JDDC) or columns[2] not in ("0", "1"):
            wrong = f"found {len(columns)}" if len(columns) != len(_JDDC) else "is_agent is neither"
            raise UsageError(
                f"{name}:{number}: expected {len(_JDDC)} tab-separated columns ({', '.join(_JDDC)}; "
                f"is_agent 0 or 1), {wrong}"
            )
        if columns[6].strip():
            rows.append((columns[0], {"from": "agent" if columns[2] == "1" else "customer", "text": columns[6]}))
    for index, (session, lines) in enumerate(groupby(rows, key=lambda row: row[0]), 1):
        turns = [turn for _, turn in lines]
        if any(turn["from"] == "customer" for turn in turns):
            yield _made(name, index, {"id": session[:128] or str(index), "turns": turns})


def _json(text: str, name: str) -> Iterator[Conversation]:
    try:
        document = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(f"{name}:{line}: expected JSON: {getattr(error, 'msg', error)}") from None
    except RecursionError:
        raise UsageError(f"{name}: expected JSON; this nests too deep") from None
    if isinstance(document, dict) and all(isinstance(each, dict) and "messages" in each for each in document.values()):
        entries = [(str(key), _crosswoz(each["messages"])) for key, each in document.items()]
    elif isinstance(document, list) and all(isinstance(each, dict) and "original" in each for each in document):
        entries = [(str(each.get("convo_id", number)), _abcd(each["original"])) for number, each in enumerate(document)]
    else:
        raise _UnknownFormatError(f"{name}:1: not a JSON document that the demo reads. Expected {_FORMATS}.")
    for number, (identity, turns) in enumerate(entries, 1):
        if any(turn["from"] == "customer" for turn in turns):
            yield _made(name, number, {"id": identity, "turns": turns})


def _crosswoz(messages: Any) -> list[dict[str, Any]]:
    return [
        {"from": "customer" if message.get("role") == "usr" else "agent", "text": message.get("content")}
        for message in messages
        if isinstance(message, dict)
    ]


def _abcd(lines: Any) -> list[dict[str, Any]]:
    """Third kind of line, ``action``: what the agent clicked; nobody says it."""
    return [
        {"from": line[0], "text": line[1]}
        for line in lines
        if isinstance(line, list) and len(line) == 2 and line[0] in ("agent", "customer")
    ]


def _made(name: str, number: int, fields: dict[str, Any]) -> Conversation:
    try:
        return Conversation.model_validate(fields)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise UsageError(
            f"{name}: conversation {number}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        ) from None
