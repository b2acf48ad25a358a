"""Which files are made from which source? Every pair of generated file and renderer.

Plain, it writes. With `--check` it renders into memory, prints each difference and the command that
repairs it, and fails; it also fails on a file in a generated folder that no source makes.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import reference

from demarc import cli
from demarc.api import crd
from demarc.audit import record
from demarc.local.simulator import folder

ROOT = Path(__file__).resolve().parent.parent

Files = Mapping[str, str]
"""Text by path, relative to the repository's root."""


def custom_resource_definitions() -> Files:
    """`crds/`, from the models."""
    return {f"crds/{name}": text for name, text in crd.crds().items()}


def reference_pages() -> Files:
    """`docs/reference/`, from the models and the enums of reasons."""
    return {
        "docs/reference/api.md": reference.api_page(crd.DEFINITIONS),
        "docs/reference/reasons.md": reference.reasons_page(),
    }


def programs() -> Files:
    """`docs/reference/`, from the command line's own help and the schema of records."""
    schema = json.dumps(record.schema(), indent=2, sort_keys=True)
    return {
        "docs/reference/cli.md": reference.cli_page(cli.main),
        "docs/reference/audit-record.schema.json": f"{schema}\n",
    }


def model_folders() -> Files:
    """`examples/bank/volumes/`: what the sample's engines serve, made by the simulator's maker."""
    files = dict[str, str]()
    for name in ("glm-4.5-air", "glm-4-flash", "glm-4-9b"):
        with tempfile.TemporaryDirectory() as made:
            folder.make(Path(made), name=name)
            for file in sorted(Path(made).iterdir()):
                path = f"examples/bank/volumes/models/{name}/{file.name}"
                files[path] = file.read_text("utf-8")
    return files


RENDERERS: tuple[Callable[[], Files], ...] = (
    custom_resource_definitions,
    reference_pages,
    programs,
    model_folders,
)
FOLDERS = ("crds", "docs/reference", "examples/bank/volumes")
"""Folders that hold generated files and nothing else."""


def render() -> Files:
    """Every generated file.

    Raises:
        ValueError: two renderers make one file.
    """
    files = dict[str, str]()
    for renderer in RENDERERS:
        for path, text in renderer().items():
            if path in files:
                raise ValueError(f"`{path}` has two renderers")
            files[path] = text
    return files


def strays(files: Files, root: Path) -> tuple[str, ...]:
    """Files in generated folders that no source makes."""
    found = (
        path.relative_to(root).as_posix()
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    )
    return tuple(path for path in found if path not in files)


def differences(files: Files, root: Path) -> Iterator[str]:
    """What `--check` complains about, as text."""
    for path, text in files.items():
        target = root / path
        current = target.read_text("utf-8") if target.is_file() else ""
        if current != text:
            yield (
                "".join(
                    difflib.unified_diff(
                        current.splitlines(keepends=True),
                        text.splitlines(keepends=True),
                        path,
                        f"{path} (generated)",
                    )
                )
                or f"{path} is missing\n"
            )
    for path in strays(files, root):
        yield f"{path}: no source makes this file\n"


def write(files: Files, root: Path) -> Iterator[str]:
    """Write what differs and remove strays; yields what was done."""
    for path, text in files.items():
        target = root / path
        if target.is_file() and target.read_text("utf-8") == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        yield f"wrote {path}"
    for path in strays(files, root):
        (root / path).unlink()
        yield f"removed {path}"


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write, or check; 1 if a check finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail on a difference")
    options = parser.parse_args(arguments)
    files = render()
    if not options.check:
        for line in write(files, root):
            print(line)
        return 0
    found = tuple(differences(files, root))
    for text in found:
        print(text, end="")
    if found:
        print("run: make generate", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
