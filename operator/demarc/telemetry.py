"""How do processes speak of themselves? JSON lines on standard error, one per run or request.

INVARIANT: values are ids, kinds, counts and names; prompt and answer text is never logged. So
exceptions are logged by their type: a library's message may quote what it was given.
"""

from __future__ import annotations

import logging
import sys

import structlog


def set_up(*, human: bool = False) -> None:
    """Configure structlog for this process: JSON lines, or readable lines on a terminal."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if human
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
