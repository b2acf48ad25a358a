"""What can be counted at an agent? Metrics in Prometheus' text form.

INVARIANT: label values are words of our own tables, names of policy objects at most; nothing that a
caller wrote.
Source of the form: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: name, kind and what it says."""

    name: str
    kind: str
    help: str


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("demarc_decisions_total", "counter", "Decisions by outcome and reason."),
        Metric("demarc_decision_seconds", "histogram", "From the question to the answer."),
        Metric("demarc_record_seconds", "histogram", "From the decision to its durable record."),
        Metric("demarc_unrecorded_decisions_total", "counter", "Answered without a record."),
        Metric("demarc_records_writable", "gauge", "1 while decisions can be recorded."),
        Metric("demarc_public_open", "gauge", "1 while Public endpoints may be named."),
        Metric("demarc_epoch_number", "gauge", "Term and counter of the epoch in force."),
        Metric(
            "demarc_epoch_refused_total", "counter", "Epochs and extracts not loaded, by reason."
        ),
        Metric("demarc_heartbeat_age_seconds", "gauge", "Wall-clock age of the newest heartbeat."),
        Metric("demarc_endpoint_up", "gauge", "1 while an endpoint takes requests."),
        Metric("demarc_addresses_refused", "gauge", "Addresses outside their site's networks."),
        Metric("demarc_envoy_applied", "gauge", "1 while Envoy uses the files as written."),
        Metric(
            "demarc_access_lines_total", "counter", "Lines of Envoy's log by what became of them."
        ),
        Metric("demarc_access_lag_bytes", "gauge", "Bytes of Envoy's log that were not read yet."),
        Metric("demarc_usage_rows_total", "counter", "Usage rows by state."),
        Metric("demarc_usage_conflicts_total", "counter", "Rows that contradict a booked one."),
        Metric("demarc_watch_errors_total", "counter", "Failed calls to the cluster, by kind."),
    )
}


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, _Histogram] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        series = self._values.setdefault(name, {})
        key = tuple(sorted(labels.items()))
        series[key] = series.get(key, 0) + by

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._values.setdefault(name, {})[tuple(sorted(labels.items()))] = value

    def clear(self, name: str) -> None:
        """Forget all series of a gauge, before they are set anew."""
        self._values.pop(name, None)

    def observe(self, name: str, seconds: float) -> None:
        """Add to a histogram."""
        found = self._histograms.get(name)
        if found is None:
            found = self._histograms[name] = _Histogram()
        found.add(seconds)

    def value(self, name: str, **labels: str) -> float:
        """The present value of one series; 0 when it was never touched."""
        return self._values.get(name, {}).get(tuple(sorted(labels.items())), 0)

    def render(self) -> str:
        """All metrics, sorted by name."""
        lines: list[str] = []
        for name, metric in sorted(METRICS.items()):
            found = self._series(name)
            if found:
                lines += (f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}", *found)
        return "\n".join(lines) + "\n"

    def _series(self, name: str) -> tuple[str, ...]:
        if name in self._histograms:
            return tuple(self._histograms[name].render(name))
        series = sorted(self._values.get(name, {}).items())
        return tuple(f"{name}{_labels(labels)} {value:.15g}" for labels, value in series)


class _Histogram:
    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(SECONDS, value)] += 1
        self.sum += value

    def render(self, name: str) -> Iterable[str]:
        total = 0
        for bound, count in zip((*map(str, SECONDS), "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.15g}"
        yield f"{name}_count {total}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = (
        (key, value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"'))
        for key, value in labels
    )
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
