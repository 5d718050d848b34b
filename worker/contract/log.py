"""Structured logs: stable dotted event names, one line each."""

import logging
import sys
from collections.abc import Callable
from typing import Any, Literal, TextIO

import structlog

Logger = structlog.stdlib.BoundLogger
Sink = Callable[[dict[str, Any]], None]

MEASURED = "training.measured"
"""The event of a claim's log that has a row of the learning curve: `step`, and SB3's keys."""
LEFT_OUT = "log.left_out"
"""The event that stands in a claim's log for the `lines` that it had no room for."""


def configure(
    level: str = "info",
    style: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
    sink: Sink | None = None,
) -> Logger:
    """Return the process's logger.

    `sink` gets a copy of every event as a dictionary; a worker keeps them for the job's log in Blob.
    """
    # azure-core logs every request at INFO.
    for chatty in ("azure", "urllib3", "msal", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer() if style == "json" else structlog.processors.StackInfoRenderer(),
    ]
    if sink:
        processors.append(_copying_to(sink))
    processors.append(structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logger: Logger = structlog.get_logger()
    return logger


def _copying_to(sink: Sink) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    def copy(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        sink(dict(event))
        return event

    return copy
