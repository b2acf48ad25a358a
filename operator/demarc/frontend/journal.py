"""Which counts did the frontend give out? Lines on disk by decision id, for reconciliation.

Two files: the one that grows, and its predecessor; so the journal is bounded by twice its size. A
line that cannot be written is counted and never stops an answer: usage is no policy.
"""

from __future__ import annotations

import os
from pathlib import Path


class Journal:
    """An append-only file of lines."""

    def __init__(self, path: Path, *, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._file: int | None = None
        self._size = 0

    def append(self, line: bytes) -> bool:
        """Write one line with one call; return whether that worked."""
        try:
            if self._file is None:
                self._open()
            elif self._size and self._size + len(line) > self._most_bytes:
                self._rotate()
            assert self._file is not None
            written = os.write(self._file, line)
        except OSError:
            self.close()
            return False
        self._size += written
        if written < len(line):  # the disk is full; the next line must not continue this one
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._size += os.write(self._file, b"\n")  # end the line that an earlier death cut

    def _rotate(self) -> None:
        self.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._open()
