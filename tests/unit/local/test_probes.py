"""Does a row of attempts become the verdicts that a kubelet would give?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from demarc.local import probes
from demarc.local.pod_site import Backoff
from demarc.local.pods import Execute, Probe


async def verdicts(codes: Sequence[int], **probe: int) -> tuple[list[bool], list[str]]:
    """Verdicts and counted failures of a probe whose program exits with these codes in turn."""
    left = list(codes)
    failures: list[str] = []

    async def run(_argv: tuple[str, ...], _seconds: float) -> int:
        if not left:
            raise _OverError
        code = left.pop(0)
        if code < 0:
            raise TimeoutError
        return code

    async def failed(trouble: str) -> None:
        failures.append(trouble)

    found: list[bool] = []
    wanted = Probe(Execute(("check",)), period=0, **probe)
    stream = probes.verdicts(wanted, address="127.0.0.1", run=run, failed=failed)
    async with aclosing(stream) as results:
        try:
            async for good in results:
                found.append(good)  # noqa: PERF401  # what came before the end counts
        except _OverError:
            pass
    return found, failures


class _OverError(Exception):
    """The test has no further answer."""


@pytest.mark.parametrize(
    "codes,success,failure,want",
    [
        ([0, 0, 0], 1, 3, [True]),
        ([1, 1], 1, 3, []),
        ([1, 1, 1, 1], 1, 3, [False]),
        ([0, 1, 1, 0, 1, 1, 1], 1, 3, [True, False]),
        ([0, 1, 0], 1, 1, [True, False, True]),
        ([0, 0, 1, 0, 0], 2, 1, [True, False, True]),
        ([0, 1, 0, 1], 2, 3, []),
    ],
)
async def test_a_verdict_needs_as_many_like_attempts_as_its_threshold(
    codes: list[int], success: int, failure: int, want: list[bool]
) -> None:
    found, failures = await verdicts(codes, success_threshold=success, failure_threshold=failure)

    assert want == found
    assert ["exit code 1"] * codes.count(1) == failures


async def test_no_answer_in_time_is_a_failure() -> None:
    _, failures = await verdicts([-1], timeout=2)

    assert ["no answer within 2 s"] == failures


@pytest.mark.parametrize("crashes,want", [(1, 0), (2, 1), (3, 2), (4, 4), (7, 30), (900, 30)])
def test_a_crashing_container_waits_longer_each_time(crashes: int, want: float) -> None:
    assert want == Backoff().pause(crashes)
