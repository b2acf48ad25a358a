"""What does a record log ask of a disk? A few calls, so that tests can let each of them fail."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol


class LogFile(Protocol):
    """One open segment. Every method may raise OSError."""

    def write(self, data: bytes) -> None:
        """Append all of the bytes."""
        ...

    def sync(self) -> None:
        """Return once the bytes are on the disk."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file, and go on at its end."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class Disk(Protocol):
    """One folder of segments. Every method may raise OSError."""

    def names(self) -> tuple[str, ...]:
        """All file names, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file."""
        ...

    def append_to(self, name: str) -> LogFile:
        """Open a file at its end; it is made, durably, when there is none."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, durably."""
        ...


class FolderDisk:
    """A folder of the file system, held by one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and lock it.

        Raises:
            OSError: it cannot be made, or another process holds it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def names(self) -> tuple[str, ...]:
        """All file names, sorted."""
        return tuple(sorted(entry.name for entry in self._folder.iterdir()))

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self._folder / name).read_bytes()

    def append_to(self, name: str) -> LogFile:
        """Open a file at its end; it is made, durably, when there is none."""
        path = self._folder / name
        is_new = not path.exists()
        found = _File(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if is_new:
            try:
                sync_folder(self._folder)
            except OSError:
                found.close()
                raise
        return found

    def remove(self, name: str) -> None:
        """Remove a file, durably."""
        (self._folder / name).unlink()
        sync_folder(self._folder)


class _File:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put a whole file in the place of another, durably: after a crash it is the old or the new.

    Raises:
        OSError: it could not be done; the old file is as it was.
    """
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_folder(path.parent)
