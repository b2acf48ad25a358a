"""Is a table true to its text?"""

from __future__ import annotations

import pytest

from demarc.cli import output


def test_a_name_in_brackets_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """`spec.placements[cloud-sg]: ...` would not say which placement."""
    output.table(("MESSAGE",), [("spec.placements[cloud-sg]: [red]no site",)])

    assert "spec.placements[cloud-sg]: [red]no site" in capsys.readouterr().out
