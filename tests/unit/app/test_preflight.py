"""Does a machine that cannot run it hear why in one line?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demarc.app import preflight
from demarc.settings import Settings

HERE = Settings(Path("/t"), Path(sys.executable), Path(sys.executable), Path(".demarc"))


def test_a_machine_with_everything_passes() -> None:
    """Nobody could start."""
    assert preflight.check(HERE, 8443) == ""


@pytest.mark.parametrize(
    "settings, port, want",
    [
        (
            Settings(Path("/t"), Path("/absent"), Path(sys.executable), Path("s")),
            8443,
            "make tools",
        ),
        (
            Settings(Path("/t"), Path(sys.executable), Path("/absent"), Path("s")),
            8443,
            "make tools",
        ),
        (
            Settings(Path("/t"), Path("/usr"), Path(sys.executable), Path("s")),
            8443,
            "make tools",
        ),
        (HERE, 0, "1 to 65535"),
        (HERE, 65536, "1 to 65535"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(settings: Settings, port: int, want: str) -> None:
    """A user would see a process fail later, without a reason."""
    found = preflight.check(settings, port)

    assert want in found
    assert "\n" not in found
