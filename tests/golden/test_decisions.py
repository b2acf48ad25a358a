"""Does every written case of policy come out as it was read and agreed?"""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from support import decisions, golden
from support.golden import Case


@pytest.mark.parametrize("case", golden.cases("decisions"), ids=lambda case: case.name)
def test_a_case_comes_out_as_written(case: Case) -> None:
    """A decision, a verdict, a widening or its words changed."""
    case.check(decisions.outcome(case.given))


def test_every_output_has_an_input() -> None:
    """An expectation is left over that nothing checks."""
    assert [] == golden.strays("decisions")


def test_a_key_that_nobody_reads_is_refused() -> None:
    """A misspelt option would silently test something else."""
    with pytest.raises(ValidationError, match="requets"):
        decisions.outcome({"about": "a misspelt key", "requets": {}})
