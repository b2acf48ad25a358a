"""What does a folder of YAML say? Its objects, its problems, and the volumes beside them.

Every `*.yaml` and `*.yml` below the folder counts, but for what lies in `volumes/`: there a folder
NAME stands for the PersistentVolumeClaim of that name. Names that begin with a dot are left out, as
`ls` does: version control, editors' locks, our own state.

INVARIANT: what is being written removes nothing. A file that is empty, or cannot be read, or is a
link to nothing, is a fault and never the absence of its objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from demarc.api import load
from demarc.api.load import Loaded
from demarc.api.problem import Problem

VOLUMES = "volumes"
_LOOKS = 2
Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]
"""Name, size and time of each file."""


class FolderError(Exception):
    """The folder cannot be read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What was read: objects only of files without a problem."""

    path: Path
    objects: tuple[Loaded, ...]
    problems: tuple[Problem, ...]


def read(path: Path) -> Folder:
    """Read a folder, or one file.

    Raises:
        FolderError: there is no such folder, or it holds no YAML, or a file cannot be read.
    """
    texts = dict[str, str]()
    empty = list[Problem]()
    for file in files(path):
        texts[str(file)] = text = _text(file)
        if not text:
            remedy = "write its objects, or remove the file if they are to go"
            empty.append(Problem(str(file), "", "", "", "", "the file is empty", remedy))
    objects, problems = load.load_all(texts)
    return Folder(path, objects, (*problems, *empty))


def _text(file: Path) -> str:
    try:
        if not file.is_file():  # a pipe would be read for ever
            kind = "a link to nothing" if file.is_symlink() else "no regular file"
            raise FolderError(f"`{file}` is {kind}: remove it, or name the folder that is meant")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FolderError(f"`{file}` is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise FolderError(f"`{file}` cannot be read: {error.strerror}") from error


def files(path: Path) -> tuple[Path, ...]:
    """The YAML files of a folder, sorted.

    Raises:
        FolderError: there is no such folder, or it holds no YAML.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise FolderError(f"`{path}` is no folder: name one that holds YAML files")
    found = tuple(
        sorted(
            file
            for pattern in ("*.yaml", "*.yml")
            for file in path.rglob(pattern)
            if _counts(file.relative_to(path)) and not file.is_dir()
        )
    )
    if not found:
        raise FolderError(f"`{path}` holds no YAML files")
    return found


def _counts(file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.parts)
    return not hidden and VOLUMES not in file.parts[:-1]


def fingerprint(path: Path) -> Fingerprint:
    """Name, size and time of each file: changes when a file does.

    Raises:
        FolderError: as `files`.
    """
    found = list[tuple[str, int, int]]()
    for file in files(path):
        try:
            stat = file.stat()
        except OSError:
            found.append((str(file), -1, 0))
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


class Rest:
    """When has a change come to rest? Looks at fingerprints, one after the other.

    A program that saves a file empties it first, and a checkout writes file after file. Read in
    between, a folder says something that nobody meant.
    """

    def __init__(self, seen: Fingerprint) -> None:
        """`seen` is what is in force."""
        self._known = seen
        self._last = seen
        self._looks = 0

    def look(self, seen: Fingerprint) -> bool:
        """Whether there is a change and nothing moved in the last looks; true once a change."""
        self._looks = self._looks + 1 if seen == self._last else 0
        self._last = seen
        if seen == self._known or self._looks < _LOOKS:
            return False
        self._known = seen
        return True

    def forget(self) -> None:
        """Take what was seen for a change again."""
        self._known = ()


def volumes(path: Path, given: Mapping[str, Path]) -> Mapping[str, Path]:
    """Claim name -> folder: what lies in `volumes/`, and over it what was given."""
    beside = path / VOLUMES
    own = {item.name: item.resolve() for item in beside.iterdir()} if beside.is_dir() else {}
    return {**own, **given}
