"""YAML as people write it → plain values, each with the line and column where it stands. Pure.

The YAML is read without PyYAML's own meaning of scalars, which is YAML 1.1's (``on`` is true, ``12:30`` is 750, a date is
a date). Here, as in YAML 1.2's core schema: only ``true``, ``false``, ``null``, ``~`` and decimal numbers are more than
text, and a number with leading zeros stays text, so an id such as ``007`` survives. Quoted scalars are always text.

Refused, with the place: what is no YAML or not UTF-8, a key given twice, tags, several documents in one file, merge
keys, nesting or size beyond any sensible document. Anchors and aliases work (calendars repeat themselves), counted as
if they were written out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml

# libyaml's parser is some ten times as fast; wheels have it everywhere, a source build may not.
_LOADER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

MAX_BYTES: Final = 16 * 1024 * 1024
"""Above the largest set of rules seen in shops (some hundred KiB), below what would stall the command for minutes."""
_MAX_DEPTH: Final = 24
"""The documents are at most 8 deep; the body must stay below the 32 of an event's nesting."""
_TOO_DEEP: Final = "nested too deep for any document of the configuration"
_MAX_VALUES: Final = 1_000_000
_MAX_DIGITS: Final = 17

# What YAML 1.2 does not allow in a file (§5.1, c-printable).
_UNPRINTABLE: Final = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)?\.[0-9]+(?:[eE][-+]?[0-9]{1,2})?", re.ASCII)
_WORDS: Final[dict[str, bool | None]] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """Counted from 1."""

    line: int
    column: int


class Mistake(NamedTuple):
    place: Place
    path: Path
    message: str


class Source(NamedTuple):
    """A file's value and where its parts stand."""

    value: Any
    """None where ``mistakes`` say that there is no whole value."""
    places: Mapping[Path, Place]
    """Where the value at a path begins."""
    keys: Mapping[Path, Place]
    """Where the key of the member at a path stands."""
    mistakes: Sequence[Mistake]

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Of the value (or its key), or of the nearest thing around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))


def read(raw: bytes) -> Source:
    reader = _Reader()
    value = reader.read(raw)
    return Source(value, reader.places, reader.keys, reader.mistakes)


class _Reader:
    def __init__(self) -> None:
        self.places: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.mistakes: list[Mistake] = []
        self._values = 0

    def read(self, raw: bytes) -> Any:
        if len(raw) > MAX_BYTES:
            self._refuse(Place(1, 1), (), f"the file has {len(raw)} bytes; the most is {MAX_BYTES}")
            return None
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._refuse(
                _place_of(raw[: error.start].decode(), error.start), (), "this is not UTF-8; save the file as UTF-8"
            )
            return None
        unprintable = _UNPRINTABLE.search(text)
        if unprintable is not None:
            self._refuse(_place_of(text, unprintable.start()), (), "a control character stands here; remove it")
            return None
        try:
            # Events are read first, without recursion: the composer would follow any depth until its stack ends.
            if not self._sane(text):
                return None
            node = yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            self._refuse(_error_place(error), (), _error_text(error))
            return None
        if node is None:
            self._refuse(Place(1, 1), (), "the file is empty; write {} for a document of defaults, or delete the file")
            return None
        value = self._value(node, (), 0)
        return None if self.mistakes else value

    def _refuse(self, place: Place, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(place, path, message))

    def _sane(self, text: str) -> bool:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    self._refuse(_place(event), (), _TOO_DEEP)
                    return False
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            tag = getattr(event, "tag", None)
            if tag is not None:
                self._refuse(_place(event), (), f"tags ({tag}) are not used here; remove it")
        return not self.mistakes

    def _value(self, node: Any, path: Path, depth: int) -> Any:
        self._values += 1
        if self._values > _MAX_VALUES or depth > _MAX_DEPTH:
            if self._values < 2 * _MAX_VALUES:  # told once, then unwound
                self._values = 2 * _MAX_VALUES
                self._refuse(_place(node), path, "aliases make this document too large; write it out, or shorten it")
            return None
        self.places[path] = _place(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(member, (*path, index), depth + 1) for index, member in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Path, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(_place(key_node), path, "a key must be a single word or number")
                continue
            key = key_node.value
            here = (*path, key)
            if key == "<<" and not key_node.style:
                self._refuse(_place(key_node), here, "merge keys (<<) are not used here; write the keys out")
                continue
            if key in members:
                first = self.keys[here].line
                self._refuse(_place(key_node), here, f"{key!r} is given twice (first in line {first}); remove one")
                continue
            self.keys[here] = _place(key_node)
            self._text(key_node, key, here)
            members[key] = self._value(value_node, here, depth + 1)
        return members

    def _scalar(self, node: Any, path: Path) -> Any:
        text: str = node.value
        if node.style:  # quoted or a block; plain is None or "", by the parser
            return self._text(node, text, path)
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
            if sum(character.isdigit() for character in text) > _MAX_DIGITS:
                self._refuse(_place(node), path, "this number has too many digits; if it is an id, put it in quotes")
                return None
            return int(text) if _INTEGER.fullmatch(text) else float(text)
        return self._text(node, text, path)

    def _text(self, node: Any, text: str, path: Path) -> str:
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._refuse(_place(node), path, "the text holds a character that cannot be stored (NUL or half a pair)")
        return text


def _place(thing: Any) -> Place:
    mark = thing.start_mark
    return Place(mark.line + 1, mark.column + 1)


def _place_of(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _error_place(error: yaml.YAMLError) -> Place:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)


def _error_text(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or "this is no YAML"
    context = getattr(error, "context", None)
    if problem == "found character that cannot start any token":
        return f"{problem}; put the text in quotes, and indent with blanks, never tabs"
    if problem == "exceeded maximum nesting depth":
        return _TOO_DEEP
    if context == "expected a single document in the stream":
        return "only one document may stand in a file; remove the line ---"
    return f"{problem} ({context})" if context else str(problem)
