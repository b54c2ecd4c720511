"""Reading dead letters back (contract §4): who refused which record and why, and the record as it was. Pure."""

from typing import Final, NamedTuple

from deskline.errors import UsageError
from deskline.records import ALL_TOPICS, DEAD_LETTERS, Headers, Record

_ORIGINAL: Final = "original-"


class Letter(NamedTuple):
    """One record of ``dead-letters.v1``. Of a letter that does not state something, the text is empty and the number -1."""

    record: Record
    reason: str
    service: str
    error: str
    topic: str
    """Full name, with the deployment's prefix."""
    partition: int
    offset: int

    @property
    def position(self) -> str:
        """Where the letter itself stands; what ``show`` and ``replay`` are given."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """The same for every copy of a letter that a crash made us publish again."""
        return self.service, self.topic, self.partition, self.offset


def read_letter(record: Record) -> Letter:
    ours: dict[str, str] = {}
    for name, value in record.headers:
        if name.startswith("deskline-") and value is not None:
            ours.setdefault(name[len("deskline-") :], value.decode("utf-8", "backslashreplace"))
    return Letter(
        record,
        ours.get("reason", ""),
        ours.get("service", ""),
        ours.get("error", ""),
        ours.get("topic", ""),
        _number(ours.get("partition", "")),
        _number(ours.get("offset", "")),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def original(letter: Letter, topic_prefix: str) -> Record:
    """The record that the letter is about, without a time: same topic, key, value and headers.

    ``partition`` is the one it stood in. Raises ``UsageError`` where the letter names no topic of this deployment that a
    record may be sent to again.
    """
    topic = letter.topic[len(topic_prefix) :] if letter.topic.startswith(topic_prefix) else ""
    if topic == DEAD_LETTERS:
        raise UsageError(f"letter {letter.position}: dead letters are not sent again")
    if topic not in ALL_TOPICS:
        raise UsageError(f"letter {letter.position}: {letter.topic!r} is no topic of this deployment")
    if letter.partition < 0:
        raise UsageError(f"letter {letter.position} does not say in which partition its record stood")
    held = letter.record
    if held.key is None and ("deskline-null", b"1") in held.headers:
        raise UsageError(f"letter {letter.position}: its record had neither key nor value, there is nothing to send")
    return Record(topic, letter.partition, letter.offset, 0, held.key, held.value, _original_headers(held.headers))


def _original_headers(headers: Headers) -> Headers:
    found = []
    for name, value in headers:
        if name.startswith("deskline-"):
            continue
        found.append((name[len(_ORIGINAL) :] if name.startswith(f"{_ORIGINAL}deskline-") else name, value))
    return tuple(found)
