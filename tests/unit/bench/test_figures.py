"""Do the figures of the benchmark say what was measured?"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def figures() -> Iterator[ModuleType]:
    """The module, which stands beside a script and in no package."""
    spec = importlib.util.spec_from_file_location("bench_figures", BENCH / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_figures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_figures"]


def sample(figures: ModuleType, **values: Any) -> Any:
    """A round in which nothing special happened."""
    usual: dict[str, Any] = {
        "requests": 100,
        "errors": 0,
        "per_second": 50.0,
        "p50": 200.0,
        "p99": 900.0,
        "first": 150.0,
        "cpu": 40.0,
        "agent": 0.0,
        "others": 0.1,
    }
    return figures.Sample(**{**usual, **values})


@pytest.mark.parametrize(
    "values,share,want",
    [
        ((), 0.5, None),
        ((7.0,), 0.5, 7.0),
        ((7.0,), 0.99, 7.0),
        ((3.0, 1.0, 2.0), 0.5, 2.0),
        ((4.0, 3.0, 2.0, 1.0), 0.5, 2.0),
        (tuple(map(float, range(1, 101))), 0.99, 99.0),
        (tuple(map(float, range(1, 101))), 1.0, 100.0),
        (tuple(map(float, range(1, 1001))), 0.99, 990.0),
        ((1.0, 2.0), 0.001, 1.0),
    ],
)
def test_a_percentile_is_a_value_that_was_measured(
    figures: ModuleType, values: tuple[float, ...], share: float, want: float | None
) -> None:
    """An interpolated p99 is a latency that nobody had."""
    assert want == figures.percentile(values, share)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_that_is_none_is_refused(figures: ModuleType, share: float) -> None:
    """99 in place of 0.99 would read as the maximum."""
    with pytest.raises(ValueError, match="share"):
        figures.percentile([1.0], share)


def test_a_round_is_told_per_request_and_in_microseconds(figures: ModuleType) -> None:
    """Seconds would be read as microseconds, or the agent's part would be counted twice."""
    found = figures.sample(
        seconds=2.0,
        totals=[0.001, 0.002, 0.003, 0.004],
        firsts=[0.0005, 0.001, 0.0015, 0.002],
        errors=1,
        proxy_seconds=0.3,
        agent_seconds=0.5,
        others=0.25,
    )

    assert (4, 1, 2.0) == (found.requests, found.errors, found.per_second)
    assert pytest.approx((2000, 4000, 1000)) == (found.p50, found.p99, found.first)
    assert pytest.approx((200_000, 125_000)) == (found.cpu, found.agent)
    assert 0.25 == found.others


def test_a_round_without_an_answer_has_no_latency(figures: ModuleType) -> None:
    """A zero would be the best latency of all."""
    found = figures.sample(
        seconds=2.0,
        totals=[],
        firsts=[],
        errors=0,
        proxy_seconds=0.3,
        agent_seconds=0.0,
        others=None,
    )

    assert (0, 0.0) == (found.requests, found.per_second)
    assert (None, None, None, None) == (found.p50, found.p99, found.first, found.cpu)


def test_the_median_is_taken_of_each_number_and_requests_are_added(figures: ModuleType) -> None:
    """One disturbed round would decide the figure."""
    rounds = [
        sample(figures, p50=100.0, cpu=30.0, errors=1),
        sample(figures, p50=9000.0, cpu=31.0),
        sample(figures, p50=110.0, cpu=900.0, p99=None),
    ]

    found = figures.median(rounds)

    assert (110.0, 31.0, 900.0) == (found.p50, found.cpu, found.p99)
    assert (300, 1) == (found.requests, found.errors)


def test_no_round_has_no_median(figures: ModuleType) -> None:
    """A table of nothing would look like a measurement."""
    with pytest.raises(ValueError, match="no round"):
        figures.median([])


@pytest.mark.parametrize(
    "demarc,bare,want",
    [(4.0, 2.0, 2.0), (1.0, 4.0, 0.25), (1.0, 0.0, None), (None, 2.0, None), (1.0, None, None)],
)
def test_a_ratio_is_demarc_over_bare(
    figures: ModuleType, demarc: float | None, bare: float | None, want: float | None
) -> None:
    """The other way round, a slow gateway would look fast."""
    assert want == figures.ratio(demarc, bare)


def test_ratios_of_a_cell_are_rounded_for_json(figures: ModuleType) -> None:
    """A comparison of runs would differ in digits that mean nothing."""
    found = figures.ratios(sample(figures, p50=300.0, first=None), sample(figures, p50=900.0))

    assert {"per_second": 1.0, "p50": 0.333, "p99": 1.0, "first": None, "cpu": 1.0} == found


@pytest.mark.parametrize(
    "busy,idle,ours,want",
    [
        (1.0, 1.0, 0.5, 0.25),
        (1.0, 0.0, 1.0, 0.0),
        (1.0, 1.0, 1.2, 0.0),
        (0.0, 0.0, 0.0, None),
    ],
)
def test_what_others_used_is_what_the_core_did_beyond_ours(
    figures: ModuleType, busy: float, idle: float, ours: float, want: float | None
) -> None:
    """A busy machine would not be seen in the figures that it spoils."""
    assert want == figures.share_of_others(busy, idle, ours)


def test_json_has_no_digits_that_mean_nothing(figures: ModuleType) -> None:
    """A file of a run could not be read by people."""
    found = sample(figures, p50=123.456, others=0.12345, first=None).render()

    assert (123.5, 0.123, None) == (found["p50"], found["others"], found["first"])


@pytest.mark.parametrize("cpu,want", [(40.0, 25_000.0), (0.0, None), (None, None)])
def test_a_core_does_as_many_requests_as_fit_into_a_second(
    figures: ModuleType, cpu: float | None, want: float | None
) -> None:
    """On a busy machine the measured rate is that of the others."""
    assert want == figures.capacity(cpu)
