"""Does a log never end the process that writes it?"""

from __future__ import annotations

import io

from demarc.telemetry import LossyFile


class _Full(io.StringIO):
    """A file on a full disk, until there is space."""

    is_full = True

    def write(self, text: str) -> int:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")


def test_a_full_disk_loses_lines_and_ends_nothing() -> None:
    """An agent that cannot log would die with every decision, a private one too."""
    disk = _Full()
    log = LossyFile(disk)

    log.write("lost\n")
    log.flush()
    disk.is_full = False
    log.write("kept\n")
    log.flush()

    assert disk.getvalue() == "kept\n"
