"""With what is an agent started? One frozen value and a few ports, handed in by `app`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from demarc.api.cluster import Cluster
from demarc.policy.detection import Detectors
from demarc.xds.settings import Limits
from demarc.xds.view import Role


class OptionsError(Exception):
    """The agent cannot be started like this; the text names what is missing."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things may take, in seconds.

    Attributes:
        record: a decision that waits longer for the disk is answered without it, Private only.
        retry: between two attempts at something that failed.
        health: between two looks at Envoy's view of its replicas.
        tail: between two looks at the access log.
        drain: for open questions when the agent stops.
        applied: for Envoy to take new files into use, before that is an alarm.
    """

    record: float = 0.4
    retry: float = 1.0
    health: float = 0.1
    tail: float = 0.1
    drain: float = 5.0
    applied: float = 5.0


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """One agent.

    Attributes:
        role: which tier.
        home: the site whose inner and egress gateways are meant.
        site: where this gateway stands; `home` for inner and egress.
        pod_name: stands in every record.
        pod_ip: the only address that is bound.
        run: DEMARC_RUN, shared with Envoy.
        record: DEMARC_RECORD, which survives the pod at the inner gateway.
        tls: DEMARC_TLS.
        trust: DEMARC_TRUST, with trust.json.
        client_tls: DEMARC_CLIENT_TLS; inner only.
        grant_key: DEMARC_GRANT_KEY, with grant.key; inner only.
        client_port: port of the client listener; inner only.
        gateway_port: port of the mutual TLS listener of egress and edge.
        health_port: port of probes, status and metrics.
        rehearsal_recording: where an edge writes every text that it is sent, on one machine with
            simulated engines; refused in every other role.
        log_bytes: an access log that has grown beyond it is replaced.
    """

    role: Role
    home: str
    site: str
    pod_name: str
    pod_ip: str
    run: Path
    record: Path
    tls: Path
    trust: Path
    client_tls: Path | None = None
    grant_key: Path | None = None
    client_port: int = 8443
    gateway_port: int = 8443
    health_port: int = 8081
    rehearsal_recording: Path | None = None
    log_bytes: int = 64 * 1024 * 1024
    limits: Limits = field(default_factory=Limits)
    times: Times = field(default_factory=Times)

    def __post_init__(self) -> None:
        if self.role is Role.INNER and (self.client_tls is None or self.grant_key is None):
            raise OptionsError("the inner agent needs DEMARC_CLIENT_TLS and DEMARC_GRANT_KEY")
        if self.role is not Role.EDGE and self.site != self.home:
            raise OptionsError(f"an {self.role.value} agent stands at the home site `{self.home}`")
        if self.role is not Role.EDGE and self.rehearsal_recording is not None:
            raise OptionsError("only an edge agent of a rehearsal records what it is sent")


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of an agent.

    Attributes:
        cluster: list and watch are used, and nothing else.
        clock: wall clock, with a zone.
        monotonic: seconds that only grow.
        new_id: a new decision id: unique, sorts by time, cannot be guessed.
        new_key: that many random bytes, for keys.
        detectors: the shipped packs; the edge has no use for them.
    """

    cluster: Cluster
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    new_id: Callable[[], str]
    new_key: Callable[[int], bytes]
    detectors: Detectors | None = None
