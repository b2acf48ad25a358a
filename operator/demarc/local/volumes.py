"""How do a pod's volumes come to lie on the disk of this machine?

RULES
- Files from objects change as the kubelet changes them: a new folder beside, then `..data` is
  renamed over the old link; each visible name is a link through `..data`. A reader sees all of the
  old files or all of the new ones, and a watcher of the folder sees the rename.
- Unchanged content is not written again.
- Folders are for the user alone (0700).
Source: https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/volume/util/atomic_writer.go
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from demarc.local.pod_volumes import File

_DATA: Final = "..data"
_FOLDER_MODE: Final = 0o700
_GENERATION: Final = "..v"


class VolumeError(Exception):
    """A volume cannot be made; the text says which and why."""


def make_folder(path: Path) -> None:
    """A folder for the user alone, with the parents that it lacks."""
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(mode=_FOLDER_MODE, exist_ok=True)


def remove(path: Path) -> None:
    """A folder and all in it; a missing one is fine."""
    shutil.rmtree(path, ignore_errors=True)


def make_sub_path(folder: Path, sub_path: str) -> None:
    """The folder of a `subPath`, unless something of that name is there.

    Raises:
        VolumeError: the path leads out of the volume.
    """
    if not _is_inside(sub_path):
        raise VolumeError(f"subPath `{sub_path}` leads out of its volume")
    target = folder / sub_path
    if not target.exists():
        make_folder(target)


def write_files(folder: Path, files: Mapping[str, File]) -> bool:
    """Make the folder hold exactly these files; whether anything changed.

    Raises:
        VolumeError: a path leads out of the volume.
    """
    for path in files:
        if not _is_inside(path) or PurePosixPath(path).parts[0].startswith(".."):
            raise VolumeError(f"`{path}` is no path for a file of a volume")
    make_folder(folder)
    current = folder / _DATA
    if current.is_symlink() and _read(current) == dict(files):
        return False
    older = {path for path in folder.iterdir() if path.name.startswith(_GENERATION)}
    newest = max((int(path.name.removeprefix(_GENERATION)) for path in older), default=0)
    generation = folder / f"{_GENERATION}{newest + 1}"
    for path, file in files.items():
        _write(generation / path, file)
    make_folder(generation)  # an empty volume has its folder, too
    link = folder / f"{_DATA}_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(generation.name)
    link.replace(current)
    visible = {PurePosixPath(path).parts[0] for path in files}
    for name in visible:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")
    for entry in folder.iterdir():
        if entry.is_symlink() and entry.name not in visible | {_DATA}:
            entry.unlink()
    for entry in older:
        remove(entry)
    return True


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace one file whole: written beside, then renamed."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    _write(beside, File(content, mode))
    beside.replace(path)


def _write(path: Path, file: File) -> None:
    make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(file.content)
        os.fchmod(descriptor, file.mode)


def _read(generation: Path) -> dict[str, File]:
    return {
        str(path.relative_to(generation)): File(path.read_bytes(), path.stat().st_mode & 0o777)
        for path in generation.rglob("*")
        if path.is_file()
    }


def _is_inside(path: str) -> bool:
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts
