"""Does a pod get requests only while its engine has shown that it can answer?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.frontend import readiness
from demarc.frontend.readiness import Probe, ProbeTimes, Readiness

READY = Readiness(proved=True, last_sign=10)


def test_nothing_is_ready_before_the_first_answer() -> None:
    assert not Readiness().proved
    assert not readiness.sign(Readiness(), 5).proved


@pytest.mark.parametrize(
    "before,outcome,want",
    [
        (Readiness(), Probe.ANSWERED, True),
        (Readiness(), Probe.LATE, False),
        (Readiness(), Probe.FAILED, False),
        (READY, Probe.ANSWERED, True),
        (READY, Probe.LATE, False),
        (READY, Probe.FAILED, False),
        (readiness.sign(READY, 21), Probe.LATE, True),
        (readiness.sign(READY, 19), Probe.LATE, False),
        (readiness.sign(READY, 21), Probe.FAILED, False),
        (readiness.sign(Readiness(), 21), Probe.LATE, False),
    ],
)
def test_a_busy_engine_stays_ready_and_a_dead_one_does_not(
    before: Readiness, outcome: Probe, *, want: bool
) -> None:
    after = readiness.probed(before, began=20, now=25, outcome=outcome)

    assert want is after.proved


def test_the_bound_is_ten_seconds_at_most() -> None:
    assert ProbeTimes().bound_seconds <= 10


@given(st.lists(st.sampled_from(Probe)))
def test_silence_is_never_ready_for_longer_than_the_bound(outcomes: list[Probe]) -> None:
    """Without a sign of life the first probe that is not answered ends readiness."""
    state, now = Readiness(), 0.0
    for outcome in outcomes:
        state = readiness.probed(state, began=now, now=now + 5, outcome=outcome)
        now += 9
        assert state.proved is (outcome is Probe.ANSWERED)
