"""What is counted, in Prometheus' text format? Numbers and fixed words only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from demarc.frontend.usage import Usage

_FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Metrics:
    """The counters of one process.

    Attributes:
        running: requests that are being served.
        ready: whether the last look at the engine succeeded.
        refused_peers: connections cut off because of their certificate.
        journal_failures: usage lines that could not be written.
    """

    running: int = 0
    ready: bool = False
    refused_peers: int = 0
    journal_failures: int = 0
    _requests: Counter[tuple[int, str]] = field(default_factory=Counter)
    _tokens: Counter[str] = field(default_factory=Counter)
    _first_token: Counter[float] = field(default_factory=Counter)
    _first_token_sum: float = 0.0
    _first_token_count: int = 0

    def count(self, status: int, usage: Usage) -> None:
        """A request ended."""
        self._requests[status, usage.outcome.value] += 1
        self._tokens["input"] += usage.input_tokens
        self._tokens["output"] += usage.output_tokens

    def observe_first_token(self, seconds: float) -> None:
        """The engine began to answer after that time."""
        self._first_token_sum += seconds
        self._first_token_count += 1
        for bound in _FIRST_TOKEN_SECONDS:
            if seconds <= bound:
                self._first_token[bound] += 1

    def render(self) -> bytes:
        """Write the page."""
        rows = [
            "# TYPE demarc_frontend_requests_total counter",
            *(
                f'demarc_frontend_requests_total{{status="{status}",finish="{finish}"}} {count}'
                for (status, finish), count in sorted(self._requests.items())
            ),
            "# TYPE demarc_frontend_tokens_total counter",
            *(
                f'demarc_frontend_tokens_total{{direction="{direction}"}} {count}'
                for direction, count in sorted(self._tokens.items())
            ),
            "# TYPE demarc_frontend_first_token_seconds histogram",
            *(
                f'demarc_frontend_first_token_seconds_bucket{{le="{bound}"}} '
                f"{self._first_token[bound]}"
                for bound in _FIRST_TOKEN_SECONDS
            ),
            f'demarc_frontend_first_token_seconds_bucket{{le="+Inf"}} {self._first_token_count}',
            f"demarc_frontend_first_token_seconds_sum {self._first_token_sum}",
            f"demarc_frontend_first_token_seconds_count {self._first_token_count}",
            "# TYPE demarc_frontend_running gauge",
            f"demarc_frontend_running {self.running}",
            "# TYPE demarc_frontend_ready gauge",
            f"demarc_frontend_ready {int(self.ready)}",
            "# TYPE demarc_frontend_refused_peers_total counter",
            f"demarc_frontend_refused_peers_total {self.refused_peers}",
            "# TYPE demarc_frontend_journal_failures_total counter",
            f"demarc_frontend_journal_failures_total {self.journal_failures}",
        ]
        return ("\n".join(rows) + "\n").encode()
