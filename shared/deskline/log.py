"""Structured logs: JSON for machines, or coloured lines for people. Ids and reasons, never customers' text."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from deskline.personal_data import EVERY_KIND, mask
from deskline.settings import ServiceSettings


class Masking:
    """A processor: hides what identifies a person in every text of a line, tracebacks included (``deskline.personal_data``)."""

    def __init__(self, kinds: str) -> None:
        self._kinds = tuple(kind for kind in EVERY_KIND if kind in kinds.split(","))

    def __call__(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {name: self._masked(value) for name, value in line.items()} if self._kinds else line

    def _masked(self, value: Any) -> Any:
        match value:
            case str():
                return mask(value, self._kinds)
            case bytes():
                return self._masked(value.decode("utf-8", "backslashreplace"))
            case dict():
                return {self._masked(name): self._masked(inner) for name, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._masked(inner) for inner in value]
            case None | bool() | int() | float():
                return value
            case _:
                return self._masked(repr(value))  # as the renderer would write it


def configure(settings: ServiceSettings, service: str) -> None:
    """Set up structlog and route the libraries' loggers into it. Call once, at the start of a process."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        Masking(settings.log_mask),
    ]
    if settings.log_format == "json":
        renderer: structlog.typing.Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=settings.instance)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    # The libraries' own news below warnings is about rebalances and reconnects, which the engine logs itself.
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
