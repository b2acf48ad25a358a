from __future__ import annotations

import json
import re

import pytest

from demarc.api import reasons
from demarc.api.reasons import AcceptedReason, Reason

ALL = [
    pytest.param(each, id=f"{type(each).__name__}.{each}") for e in reasons.REASONS for each in e
]


@pytest.mark.parametrize("reason", ALL)
def test_every_reason_says_what_is_so_and_what_to_do(reason: Reason) -> None:
    """A person reads a code and finds no help."""
    meaning, action = reasons.describe(reason)

    for text in (meaning, action):
        assert re.fullmatch(r"[A-Z].*\.", text), text
        assert "  " not in text


@pytest.mark.parametrize("reason", ALL)
def test_every_reason_has_the_form_that_kubernetes_asks_for(reason: Reason) -> None:
    """An API server refuses the status. The pattern is that of metav1.Condition."""
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", reason)
    assert reason.name == re.sub(r"(?<!^)(?=[A-Z])", "_", reason).upper()


def test_a_reason_is_its_code_wherever_text_is_expected() -> None:
    """A status holds the name of a Python member."""
    reason = AcceptedReason.CLIENT_CONFLICT

    assert ("ClientConflict", "ClientConflict", '"ClientConflict"', reason) == (
        str(reason),
        f"{reason}",
        json.dumps(reason),
        AcceptedReason("ClientConflict"),
    )


def test_a_reason_without_its_texts_cannot_be_written() -> None:
    """A new reason is undocumented."""
    with pytest.raises(TypeError):

        class _Odd(Reason):
            ODD = "Odd"
