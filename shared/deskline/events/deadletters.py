"""The letter that a record gets which cannot be handled (contract §4, ``dead-letters.v1``). Pure.

Key and value are the original bytes, unchanged. The headers say why, who, and where the record stands; the original
headers follow, with those that begin ``deskline-`` renamed ``original-deskline-…`` so that ours are the only ones of that
name. Service, topic, partition and offset are the identity of a letter: the same record gives the same bytes again.
"""

from typing import Final

from deskline.records import DEAD_LETTERS, Invalid, Output, Record

# Bounds the header, far below the 64 KiB that the topic allows beyond the largest record.
MAX_ERROR: Final = 512


def invalid_letter(record: Record, verdict: Invalid, *, topic_prefix: str, service: str = "archive") -> Output:
    """The one letter of an invalid record; the archive writes it."""
    return dead_letter(record, verdict.reason, verdict.error, service=service, topic_prefix=topic_prefix)


def failed_letter(record: Record, error: BaseException, *, service: str, topic_prefix: str) -> Output:
    """The letter of a valid record that ``service`` cannot handle.

    It names the kind of error and the line of code, not the error's text, which may quote what a customer wrote.
    """
    return dead_letter(record, "failed", describe(error), service=service, topic_prefix=topic_prefix)


def describe(error: BaseException) -> str:
    """``ValueError at policy.py:120``: enough to find it, nothing of a customer's."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
        place, trace = f" at {file}:{trace.tb_lineno}", trace.tb_next
    return f"{type(error).__name__}{place}"


def dead_letter(record: Record, reason: str, error: str, *, service: str, topic_prefix: str) -> Output:
    """``error`` must hold nothing that a customer wrote; it is cut to ``MAX_ERROR`` characters."""
    ours = {
        "deskline-reason": reason,
        "deskline-service": service,
        "deskline-error": error[:MAX_ERROR],
        "deskline-topic": topic_prefix + record.topic,
        "deskline-partition": str(record.partition),
        "deskline-offset": str(record.offset),
    }
    value = record.value
    if record.key is None and value is None:
        ours["deskline-null"], value = "1", b""
    return Output(
        topic=DEAD_LETTERS,
        key=record.key,
        value=value,
        source=f"{record.topic}/{record.partition}/{record.offset}",
        headers=(
            *((name, text.encode()) for name, text in ours.items()),
            *((_renamed(name), held) for name, held in record.headers),
        ),
    )


def _renamed(name: str) -> str:
    # A name whose bytes were no UTF-8 came in with lone surrogates, which no producer sends: its bytes are shown instead.
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return f"original-{name}" if name.startswith("deskline-") else name
