"""Which objects are good and which are bad? The golden files of `tests/golden/objects`.

`NAME.in.yaml` holds objects. A bad one has `NAME.out.yaml` beside it: `demarc` is what our loader
says, `server` what a real API server says: `Refuses` with its causes, or `Keeps`, which means that
only Demarc stands between the mistake and the request.
With DEMARC_GOLDEN=write the expectations are written anew, to be read before they are committed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "golden" / "objects"
KEYS = frozenset({"demarc", "server"})


@dataclass(frozen=True, slots=True)
class Case:
    """One bad object and where its expectations are."""

    name: str
    text: str
    want_file: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The object as an API server gets it."""
        manifest: dict[str, Any] = yaml.safe_load(self.text)
        return manifest

    @property
    def want(self) -> Mapping[str, Any]:
        """What is expected; nothing if that is not written yet."""
        if not self.want_file.is_file():
            return {}
        want: Mapping[str, Any] = yaml.safe_load(self.want_file.read_text("utf-8"))
        assert set(want) == KEYS, f"{self.want_file.name} holds {sorted(want)}"
        return want

    def check(self, key: str, actual: Any) -> None:
        """Compare one expectation, or write it."""
        if os.environ.get("DEMARC_GOLDEN") == "write":
            found = dict.fromkeys(KEYS) | self.read() | {key: actual}
            text = yaml.safe_dump(found, sort_keys=True, width=200, allow_unicode=True)
            self.want_file.write_text(text, "utf-8")
            return
        assert self.want[key] == actual

    def read(self) -> dict[str, Any]:
        """The expectations as they are, whatever keys they have."""
        if not self.want_file.is_file():
            return {}
        found: dict[str, Any] = yaml.safe_load(self.want_file.read_text("utf-8"))
        return found


def good() -> Mapping[str, str]:
    """The good files by name."""
    return {path.name: path.read_text("utf-8") for path in sorted((FOLDER / "good").glob("*.yaml"))}


def bad() -> tuple[Case, ...]:
    """The bad objects."""
    return tuple(
        Case(name, path.read_text("utf-8"), path.with_name(f"{name}.out.yaml"))
        for path in sorted((FOLDER / "bad").glob("*.in.yaml"))
        for name in (path.name.removesuffix(".in.yaml"),)
    )


def strays() -> tuple[str, ...]:
    """Files that belong to no case."""
    names = {f"{case.name}{end}" for case in bad() for end in (".in.yaml", ".out.yaml")}
    return tuple(path.name for path in (FOLDER / "bad").iterdir() if path.name not in names)
