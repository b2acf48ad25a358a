"""What does a folder of YAML say? Its objects, its problems, and the volumes beside them.

Every `*.yaml` and `*.yml` below the folder counts, but for what lies in `volumes/`: there a folder
NAME stands for the PersistentVolumeClaim of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demarc.api import load
from demarc.api.load import Loaded
from demarc.api.problem import Problem

VOLUMES = "volumes"


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
        FolderError: there is no such folder, or it holds no YAML, or a file is not UTF-8.
    """
    texts = dict[str, str]()
    for file in files(path):
        try:
            texts[str(file)] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise FolderError(f"`{file}` is not UTF-8 at byte {error.start}") from error
        except FileNotFoundError:
            continue  # an editor replaced it between the listing and the reading
        except OSError as error:
            raise FolderError(f"`{file}` cannot be read: {error.strerror}") from error
    objects, problems = load.load_all(texts)
    return Folder(path, objects, problems)


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
            if VOLUMES not in file.relative_to(path).parts[:-1] and file.is_file()
        )
    )
    if not found:
        raise FolderError(f"`{path}` holds no YAML files")
    return found


def fingerprint(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of each file: changes when a file does.

    Raises:
        FolderError: as `files`.
    """
    found = list[tuple[str, int, int]]()
    for file in files(path):
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def volumes(path: Path, given: Mapping[str, Path]) -> Mapping[str, Path]:
    """Claim name -> folder: what lies in `volumes/`, and over it what was given."""
    beside = path / VOLUMES
    own = {item.name: item.resolve() for item in beside.iterdir()} if beside.is_dir() else {}
    return {**own, **given}
