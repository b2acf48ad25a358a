"""What do many measured numbers say? Percentiles, medians and ratios; pure.

Rules:
    A percentile is one of the measured values (nearest rank): nothing is interpolated that nobody
    has seen.
    Of several rounds the median is told, of each number by itself.
    A ratio is Demarc over bare; it is absent where bare is zero or nothing was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one side. Times in microseconds; None: nothing was measured.

    Attributes:
        requests: answered in the window.
        errors: answers with another status than 200.
        per_second: requests a second.
        p50, p99: from the first byte sent to the last byte received.
        first: median time to the first byte of the answer.
        cpu: processor time of proxy and agent for each request.
        agent: of it, the agent's.
        others: share of the proxy's core that other programs used, 0 to 1.
    """

    requests: int
    errors: int
    per_second: float
    p50: float | None
    p99: float | None
    first: float | None
    cpu: float | None
    agent: float | None
    others: float | None

    def render(self) -> dict[str, float | None]:
        """As JSON, with one decimal for times and two for shares."""
        found: dict[str, float | None] = {}
        for name, value in asdict(self).items():
            found[name] = None if value is None else round(value, 3 if name == "others" else 1)
        return found


def percentile(values: Iterable[float], share: float) -> float | None:
    """The least value that at least this share of the values does not exceed; None without any.

    Args:
        values: in any order.
        share: above 0, at most 1.

    Raises:
        ValueError: the share is outside.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share is above 0 and at most 1, not {share}")
    ordered = sorted(values)
    return ordered[max(ceil(share * len(ordered)), 1) - 1] if ordered else None


def sample(
    *,
    seconds: float,
    totals: Sequence[float],
    firsts: Sequence[float],
    errors: int,
    proxy_seconds: float,
    agent_seconds: float,
    others: float | None,
) -> Sample:
    """One round in numbers.

    Args:
        seconds: length of the window.
        totals: seconds to the last byte of each request that was answered in it.
        firsts: seconds to the first byte of each.
        errors: answers among them with another status than 200.
        proxy_seconds: processor time of the proxy in the window.
        agent_seconds: that of the agent.
        others: as in `Sample`.
    """
    return Sample(
        requests=len(totals),
        errors=errors,
        per_second=len(totals) / seconds if seconds > 0 else 0.0,
        p50=_micro(percentile(totals, 0.5)),
        p99=_micro(percentile(totals, 0.99)),
        first=_micro(percentile(firsts, 0.5)),
        cpu=_micro((proxy_seconds + agent_seconds) / len(totals) if totals else None),
        agent=_micro(agent_seconds / len(totals) if totals else None),
        others=others,
    )


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each number over all rounds; requests and errors are sums.

    Raises:
        ValueError: there is no round.
    """
    if not samples:
        raise ValueError("no round was measured")
    found: dict[str, float | None] = {
        field.name: _median(getattr(item, field.name) for item in samples)
        for field in fields(Sample)
    }
    per_second = found.pop("per_second")
    assert per_second is not None
    return Sample(
        requests=sum(item.requests for item in samples),
        errors=sum(item.errors for item in samples),
        per_second=per_second,
        p50=found["p50"],
        p99=found["p99"],
        first=found["first"],
        cpu=found["cpu"],
        agent=found["agent"],
        others=found["others"],
    )


def capacity(cpu: float | None) -> float | None:
    """Requests a second that a core does if it does nothing else; what a busy machine leaves alone.

    Args:
        cpu: microseconds of processor time for each request.
    """
    return None if not cpu else MICRO / cpu


def ratio(demarc: float | None, bare: float | None) -> float | None:
    """How many times as much; None where it means nothing."""
    if demarc is None or bare is None or bare <= 0:
        return None
    return demarc / bare


def share_of_others(busy: float, idle: float, ours: float) -> float | None:
    """Which share of a core was used by programs that are not ours, 0 to 1.

    Args:
        busy: seconds that the core worked in the window, by the kernel's count.
        idle: seconds that it did not.
        ours: seconds that the processes under test worked.
    """
    whole = busy + idle
    return min(max(busy - ours, 0.0) / whole, 1.0) if whole > 0 else None


def ratios(demarc: Sample, bare: Sample) -> Mapping[str, float | None]:
    """The ratio of each number that says something about cost."""
    return {
        name: _rounded(ratio(getattr(demarc, name), getattr(bare, name)))
        for name in ("per_second", "p50", "p99", "first", "cpu")
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _micro(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * MICRO


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
