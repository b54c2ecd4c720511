"""A mined question into the shop's knowledge.yaml: one entry more, every other line as it stands."""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from deskline.config.base import DEFAULT_SHOP
from deskline.config.loading import load_directory
from deskline.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Written(NamedTuple):
    file: Path
    was: bytes | None
    """None: it was not there."""

    def undo(self) -> None:
        if self.was is None:
            self.file.unlink()
        else:
            self.file.write_bytes(self.was)


def entry_id_of(phrasings: Sequence[str]) -> str:
    """From the first phrasing: its Latin words, else a short hash; the same phrasing gives the same id."""
    words = re.findall(r"[a-z0-9]+", phrasings[0].lower())[:6]
    tail = blake2b(phrasings[0].encode(), digest_size=3).hexdigest()
    return f"{'-'.join(words)[:40] or 'faq'}-{tail}"


def add_entry(config: Path, shop: str, entry: dict[str, Any]) -> Written:
    """Write it and check the whole directory; where that has mistakes, the file is as before and ``UsageError`` says them."""
    if not (config / DEFAULT_SHOP).is_dir():
        load_directory(config)  # says what is missing
    if shop.startswith((".", "/")) or "/" in shop:
        raise UsageError(f"{shop!r} is no shop's id")
    file = config / shop / "knowledge.yaml"
    was = file.read_bytes() if file.is_file() else None
    # A shop without knowledge of its own answers by _default's, and goes on to.
    fresh = "" if shop == DEFAULT_SHOP else "inherit: true\n"
    text = with_entry(fresh if was is None else was.decode("utf-8-sig"), entry)
    file.parent.mkdir(exist_ok=True)
    draft = file.with_name(".knowledge.yaml.new")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)  # noqa: PTH105 - one step, whoever reads meanwhile
    written = Written(file, was)
    try:
        load_directory(config)
    except UsageError:
        written.undo()
        raise
    return written


def with_entry(text: str, entry: dict[str, Any]) -> str:
    """The YAML text with one entry more, at the beginning of ``entries``."""
    root: Any = yaml.compose(text, Loader=yaml.BaseLoader)
    dumped: str = yaml.safe_dump([entry], allow_unicode=True, sort_keys=False, width=10_000)
    if root is not None and (not isinstance(root, yaml.MappingNode) or (root.flow_style and root.value)):
        raise UsageError("knowledge.yaml is written on one line, in braces; write it in lines, then accept again")
    pairs = [] if root is None or root.flow_style else [pair for pair in root.value if pair[0].value == "entries"]
    if not pairs:
        kept = "" if root is not None and root.flow_style else text.rstrip() + "\n" if text.strip() else ""
        return f"{kept}entries:\n{dumped}"
    _, value = pairs[0]
    if value.value and not value.flow_style:
        at = int(value.start_mark.index)
        indent = " " * int(value.start_mark.column)
        lines = "".join(indent + line + "\n" for line in dumped.splitlines()).lstrip(" ")
        return text[:at] + lines + indent + text[at:]
    if value.value:
        raise UsageError(
            "the entries of knowledge.yaml are written on one line; write them in lines, then accept again"
        )
    begin, end = int(pairs[0][0].start_mark.index), int(value.end_mark.index)
    return f"{text[:begin]}entries:\n{dumped}{text[end:].lstrip()}"
