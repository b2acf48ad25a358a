"""What must a frontend be told? Everything; it reads no environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from demarc.frontend.http import Limits
from demarc.frontend.readiness import ProbeTimes


@dataclass(frozen=True, slots=True)
class FrontendOptions:
    """The options of one process.

    Attributes:
        address: where both listeners bind: the pod's own IP.
        port: of the mutual TLS listener; 0 takes a free one.
        health_port: of the plain listener with /livez, /readyz and /metrics; 0 takes a free one.
        tls: folder with tls.crt, tls.key and ca.crt; read again when they change.
        allow: exact SPIFFE names of the clients.
        model_dir: the model folder.
        served_name: the model's name inside the bank.
        context_tokens: most tokens of prompt and answer together.
        triton: host and port of Triton's gRPC service.
        journal: file for usage counts by decision id.
        journal_bytes: where it rotates; one older file is kept.
        first_chunk_seconds: how long the engine may take to begin an answer.
        request_seconds: how long a whole answer may take.
        grace_seconds: how long answers may go on after the stop.
        reload_seconds: how often the TLS files are looked at.
        probe: when the engine is asked whether it works.
        limits: of each connection.
    """

    address: str
    port: int
    health_port: int
    tls: Path
    allow: tuple[str, ...]
    model_dir: Path
    served_name: str
    context_tokens: int
    triton: str
    journal: Path
    journal_bytes: int = 16 * 1024 * 1024
    first_chunk_seconds: float = 120
    request_seconds: float = 600
    grace_seconds: float = 30
    reload_seconds: float = 10
    probe: ProbeTimes = field(default_factory=ProbeTimes)
    limits: Limits = field(default_factory=Limits)
