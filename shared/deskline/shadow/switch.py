"""Putting a shop's rules in shadow in the file that its people edit, and taking them out: three keys at the top, nothing else.

Every other line stays as it was, comments included; what comes out is read again, and refused where anything but these
keys would have changed.
"""

import re
from pathlib import Path
from typing import Any, Final

from deskline.config.yaml_source import read
from deskline.errors import UsageError

KEYS: Final = ("shadow", "shadow_until", "shadow_then")
_LINE: Final = re.compile(rf"^(?:{'|'.join(KEYS)})[ \t]*:.*$", re.MULTILINE)
_NEW: Final = "# What this shop has of its own; everything else is as in _default.\ninherit: true\n"
_NOTHING: Final = "{}\n"
_HEAD: Final = re.compile(r"\A(?:(?:[ \t]*#.*|---[ \t]*|[ \t]*)(?:\n|\Z))*")


def switched(text: str, values: dict[str, str | bool]) -> str:
    """The text of a ``rules.yaml`` with these of ``KEYS`` and no other. Raises ``UsageError`` where that cannot be done."""
    text = text if _content(text) else text + _NOTHING
    before = _members(text)
    bare = _LINE.sub("\0", text).replace("\0\n", "").replace("\0", "")
    if values:
        bare = re.sub(r"^\{\}[ \t]*\n?", "", bare, flags=re.MULTILINE)
    lines = "".join(f"{key}: {_scalar(values[key])}\n" for key in KEYS if key in values)
    head = _HEAD.match(bare)
    end = head.end() if head is not None else 0
    top, rest = bare[:end], bare[end:]
    if top and not top.endswith("\n"):
        top += "\n"
    made = top + lines + rest
    if not _content(made):
        made += _NOTHING
    after = _members(made)
    for key in KEYS:
        before.pop(key, None)
    if after != {**before, **values}:
        raise UsageError(
            "the keys shadow, shadow_until and shadow_then cannot be set here; write each on a line of its own"
        )
    return made


def _content(text: str) -> bool:
    """Whether anything stands in it beside comments."""
    return _HEAD.sub("", text) != ""


def _scalar(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _members(text: str) -> dict[str, Any]:
    source = read(text.encode())
    if source.mistakes:
        mistake = source.mistakes[0]
        raise UsageError(f"rules.yaml:{mistake.place.line}: {mistake.message}")
    if source.value is None:
        return {}
    if not isinstance(source.value, dict):
        raise UsageError("rules.yaml must have members (key: value)")
    return dict(source.value)


class RulesFile:
    """``<directory>/<shop>/rules.yaml``; a shop without one gets one that inherits."""

    def __init__(self, directory: Path, shop: str) -> None:
        if not directory.is_dir():
            raise UsageError(f"{directory}: there is no such directory; --config names the shops' configuration")
        self.path = directory / shop / "rules.yaml"
        self._folder_is_new = not self.path.parent.is_dir()
        self._before = self.path.read_text(encoding="utf-8") if self.path.is_file() else None

    def switch(self, values: dict[str, str | bool]) -> None:
        text = switched(_NEW if self._before is None else self._before, values)
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(text, encoding="utf-8")

    def undo(self) -> None:
        """As it was before."""
        if self._before is not None:
            self.path.write_text(self._before, encoding="utf-8")
            return
        self.path.unlink(missing_ok=True)
        if self._folder_is_new:
            self.path.parent.rmdir()
