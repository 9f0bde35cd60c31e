"""Log lines of the daemon: structlog on standard error, for a person at a terminal or as one JSON object a line."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast, get_args

import structlog

from server.telemetry.log_stream import LogStream

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)


class _LeastLevel:
    """The level from which on lines are written; a processor, since structlog's own filter is fixed at the start."""

    def __init__(self) -> None:
        self.name: Level = "info"

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        # An exception is logged as an error.
        level = "error" if method in ("exception", "critical") else method
        if level in LEVELS and LEVELS.index(level) < LEVELS.index(self.name):
            raise structlog.DropEvent
        return event


_LEAST = _LeastLevel()


def configure_logs(level: Level, form: Literal["console", "json"]) -> None:
    """Sets up structlog for this process; call it once, before the first log line."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    processors: list[Any] = [
        _LEAST,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        processors.append(structlog.processors.format_exc_info)
    set_level(level)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def set_level(level: Level) -> None:
    """Changes the least level of the lines that are written from now on."""
    _LEAST.name = level


def level() -> Level:
    """The least level of the lines that are written."""
    return _LEAST.name


def get_logger(name: str) -> Any:
    """A logger whose lines say which room they come from."""
    return structlog.get_logger(room=name)
