"""Does `demarc up` say in one line what is wrong with what it was given?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from demarc.cli import main

TOOLS = {"ENVOY_BIN": sys.executable, "TRITON_BIN": sys.executable}
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"


def up(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ("up", str(folder), *words), env=TOOLS)


@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_a_state_that_is_no_folder_is_one_line(tmp_path: Path, detach: tuple[str, ...]) -> None:
    """A user would read a traceback."""
    (tmp_path / "a.yaml").write_text(NAMESPACE)
    (tmp_path / "s").write_text("")

    result = up(tmp_path, "--state", str(tmp_path / "s"), *detach)

    assert result.exit_code == 2
    assert "cannot be used" in result.stderr
    assert "--state" in result.stderr


def test_a_volume_without_a_folder_is_told_before_anything_starts(tmp_path: Path) -> None:
    """The engine would be waited for until the time is over."""
    (tmp_path / "a.yaml").write_text(NAMESPACE)

    result = up(tmp_path, "--state", str(tmp_path / "s"), "--volume", "models=/nonexistent")

    assert result.exit_code == 2
    assert result.stderr == "demarc: --volume models: `/nonexistent` is no folder\n"


def test_a_folder_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    """`up` and `validate` would end with two statuses."""
    result = up(tmp_path, "--state", str(tmp_path / ".s"))

    assert result.exit_code == 2
    assert "holds no YAML" in result.stderr
