"""Structured logs: JSON for machines, or coloured lines for people. Ids and reasons, never customers' text."""

import logging
import sys

import structlog

from deskline.settings import ServiceSettings


def configure(settings: ServiceSettings, service: str) -> None:
    """Set up structlog and route the libraries' loggers into it. Call once, at the start of a process."""
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
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
