"""How do processes speak of themselves? JSON lines on standard error, one per run or request.

INVARIANT: values are ids, kinds, counts and names; prompt and answer text is never logged. So
exceptions are logged by their type: a library's message may quote what it was given.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import TextIO, cast

import structlog


class LossyFile:
    """A log that loses lines, on a full disk or a closed pipe, and never ends its process."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write, or do not."""
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do not; what is not written yet is tried with the next line."""
        with contextlib.suppress(OSError):
            self._file.flush()


def set_up(*, log: Path | None = None) -> None:
    """Configure structlog for this process: JSON lines on standard error, or in a file."""
    if log is None:
        output = sys.stderr
    else:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", LossyFile(output))),
        cache_logger_on_first_use=True,
    )
