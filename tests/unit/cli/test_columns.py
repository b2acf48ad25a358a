"""Does a column show what `kubectl get` would?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from demarc.api.crd import Column
from demarc.cli import columns

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OBJECT = {
    "metadata": {"creationTimestamp": "2026-11-24T11:00:00Z"},
    "spec": {"processing": ["CN", "HK"]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}], "count": 3},
}


@pytest.mark.parametrize(
    "path, kind, want",
    [
        (".spec.processing", "string", "CN,HK"),
        (".status.count", "integer", "3"),
        ('.status.conditions[?(@.type=="Ready")].status', "string", "True"),
        ('.status.conditions[?(@.type=="Accepted")].status', "string", ""),
        (".status.absent.deeper", "string", ""),
        (".metadata.creationTimestamp", "date", "60m"),
    ],
)
def test_a_path_finds_its_value(path: str, kind: str, want: str) -> None:
    """A column would be empty or show something else."""
    assert want == columns.cell(Column("X", path, "", type=kind), OBJECT, NOW)


@pytest.mark.parametrize(
    "seconds, want", [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172800, "2d")]
)
def test_an_age_has_the_largest_unit_that_says_enough(seconds: int, want: str) -> None:
    """Ages would be unreadable."""
    assert want == columns.age(NOW - timedelta(seconds=seconds), NOW)
