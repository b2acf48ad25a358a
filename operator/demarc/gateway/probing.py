"""What does the agent say of itself? `/startz`, `/livez`, `/readyz`, `/status`, `/metrics`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from demarc.gateway import wire
from demarc.gateway.counting import Metrics
from demarc.gateway.wire import Exchange
from demarc.policy.epoch import EpochNumber
from demarc.xds.view import Role

_TEXT = (("content-type", "text/plain; charset=utf-8"),)
_JSON = (("content-type", "application/json"),)
_METRICS = (("content-type", "text/plain; version=0.0.4; charset=utf-8"),)


@dataclass(frozen=True, slots=True)
class Status:
    """Which policy is in force here."""

    role: Role
    number: EpochNumber | None = None
    hash: str = ""

    def render(self) -> bytes:
        """JSON; `epoch` is null while nothing is loaded."""
        epoch = self.number and {
            "term": self.number.term,
            "counter": self.number.counter,
            "hash": self.hash,
        }
        return json.dumps({"role": self.role.value, "epoch": epoch}).encode()


@dataclass(frozen=True, slots=True)
class Probes:
    """Answers probes.

    Attributes:
        status: which policy is in force.
        started: whether Envoy can start.
        missing: what is not ready; empty when all is.
        metrics: the counters.
    """

    status: Callable[[], Status]
    started: Callable[[], bool]
    missing: Callable[[], str]
    metrics: Metrics

    def serve(self, exchange: Exchange) -> None:
        """Answer one probe."""
        match exchange.path:
            case "/livez":
                exchange.answer(wire.render(200, _TEXT, b"ok\n"))
            case "/startz":
                exchange.answer(wire.render(200 if self.started() else 503, _TEXT))
            case "/readyz":
                missing = self.missing()
                status = 503 if missing else 200
                exchange.answer(wire.render(status, _TEXT, f"{missing or 'ok'}\n".encode()))
            case "/status":
                exchange.answer(wire.render(200, _JSON, self.status().render()))
            case "/metrics":
                exchange.answer(wire.render(200, _METRICS, self.metrics.render().encode()))
            case _:
                exchange.answer(wire.render(404, _TEXT))
