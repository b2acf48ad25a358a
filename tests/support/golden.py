"""What is a golden file? `NAME.in.yaml` and, beside it, what came of it: `NAME.out.yaml`.

Options of a case stand in its input, never in test code. Only DEMARC_GOLDEN=write rewrites, and a
person reads the difference. An output without an input is left over, and a failure.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).parents[1] / "golden"
_IN, _OUT = ".in.yaml", ".out.yaml"


@dataclass(frozen=True, slots=True)
class Case:
    """One pair of files."""

    name: str
    folder: Path

    @property
    def given(self) -> Any:
        """The input, read anew each time."""
        return yaml.safe_load(self.folder.joinpath(self.name + _IN).read_text(encoding="utf-8"))

    def check(self, value: Any) -> None:
        """Compare a JSON value with the output file, or write it there.

        Raises:
            AssertionError: it differs, or there is no output file.
        """
        file = self.folder / f"{self.name}{_OUT}"
        actual = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
        if os.environ.get("DEMARC_GOLDEN") == "write":
            file.write_text(actual, encoding="utf-8")
        expected = file.read_text(encoding="utf-8") if file.is_file() else "run: make golden\n"

        assert expected == actual


def cases(folder: str) -> list[Case]:
    """All cases of a folder of `tests/golden`, sorted by name."""
    root = GOLDEN / folder
    return [Case(file.name.removesuffix(_IN), root) for file in sorted(root.glob(f"*{_IN}"))]


def strays(folder: str) -> list[str]:
    """Files that are no input and belong to none."""
    root = GOLDEN / folder
    known = {case.name + end for case in cases(folder) for end in (_IN, _OUT)}
    return sorted(file.name for file in root.iterdir() if file.name not in known)
