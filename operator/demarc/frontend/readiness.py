"""May this frontend get requests? Only while its engine has shown that it can answer.

An engine that calls itself ready may be broken, so a one-token generation is asked for every few
seconds, and at once after an error of a real request. Chunks of real answers are evidence too: a
busy engine that answers slowly to the probe, but answers, stays ready.

INVARIANT: an engine that has given nothing for `bound_seconds` is not ready.
INVARIANT: a failed probe makes it not ready, whatever else arrives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class ProbeTimes:
    """When the engine is asked.

    Attributes:
        every_seconds: from the end of a good probe to the next.
        again_seconds: the same after a failed one.
        timeout_seconds: how long one probe may take.
    """

    every_seconds: float = 4.0
    again_seconds: float = 1.0
    timeout_seconds: float = 5.0

    @property
    def bound_seconds(self) -> float:
        """Readiness drops within this time after the engine's last sign of life."""
        return self.every_seconds + self.timeout_seconds


class Probe(Enum):
    """What came of a probe."""

    ANSWERED = auto()
    LATE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is known of the engine.

    Attributes:
        proved: a probe has succeeded, and what came since does not speak against it.
        last_sign: when the engine last gave something, on the caller's clock; None: never.
    """

    proved: bool = False
    last_sign: float | None = None


def sign(state: Readiness, now: float) -> Readiness:
    """A chunk of a real answer arrived; it proves nothing that a probe has disproved."""
    return replace(state, last_sign=now)


def probed(state: Readiness, *, began: float, now: float, outcome: Probe) -> Readiness:
    """A probe ended.

    Args:
        state: what was known before.
        began: when the probe was sent.
        now: when it ended.
        outcome: what came of it.
    """
    match outcome:
        case Probe.ANSWERED:
            return Readiness(proved=True, last_sign=now)
        case Probe.LATE:
            alive = state.last_sign is not None and state.last_sign >= began
            return replace(state, proved=state.proved and alive)
        case Probe.FAILED:
            return replace(state, proved=False)
