"""Does every written plan come out as it was read and agreed?"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from support import golden, planning
from support.golden import Case


@pytest.mark.parametrize("case", golden.cases("planning"), ids=lambda case: case.name)
def test_a_plan_comes_out_as_written(case: Case) -> None:
    """A manifest, a placement or its words changed."""
    case.check(planning.outcome(case.given))


def test_every_output_has_an_input() -> None:
    """An expectation is left over that nothing checks."""
    assert [] == golden.strays("planning")


def test_a_key_that_nobody_reads_is_refused() -> None:
    """A misspelt option would silently test something else."""
    with pytest.raises(ValidationError, match="shwo"):
        planning.outcome({"about": "a misspelt key", "objects": [{}], "shwo": []})
