"""Where does this Envoy run, and how much may a caller ask of it? Values from the agent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one gateway. Sizes in bytes, times as their names say.

    Attributes:
        body_bytes: longest request body; the same in every tier, or a tier refuses what another
            has decided.
        header_kib: all request headers together.
        connections: open connections from callers; above it new ones are closed.
        upstream_requests: requests, connections and waiting requests per cluster.
        decision_milliseconds: time for the agent's answer; after it the caller gets 503.
        request_seconds: time to receive a whole request.
        idle_seconds: a stream without a byte for that long ends.
        answer_seconds: time for a whole answer that is not a stream.
        connect_milliseconds: time to reach an address of the same site.
        far_connect_milliseconds: time to reach the edge of another site.
        keep_seconds: an idle connection to a server is closed after it; servers keep theirs longer.
        retries: further attempts on other replicas of the same endpoint.
    """

    body_bytes: int = 4 * 1024 * 1024
    header_kib: int = 60
    connections: int = 10_000
    upstream_requests: int = 8192
    decision_milliseconds: int = 1000
    request_seconds: int = 30
    idle_seconds: int = 120
    answer_seconds: int = 600
    connect_milliseconds: int = 500
    far_connect_milliseconds: int = 2000
    keep_seconds: int = 30
    retries: int = 2


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway pod as its own processes see it.

    Attributes:
        node: the pod's name; Envoy prints it in its admin answers.
        address: the pod's IP address, the only one that is bound.
        run: folder shared by agent and Envoy: these files, sockets, the access log.
        tls: folder with tls.crt, tls.key and ca.crt of the gateway.
        client_tls: folder with tls.crt and tls.key of the client listener; inner only.
        port: port of the listener.
        limits: bounds.
    """

    node: str
    address: str
    run: str
    tls: str
    client_tls: str = ""
    port: int = 8443
    limits: Limits = Limits()

    @property
    def decide_socket(self) -> str:
        """The agent's socket."""
        return f"{self.run}/decide.sock"

    @property
    def admin_socket(self) -> str:
        """Envoy's admin socket."""
        return f"{self.run}/admin.sock"

    @property
    def access_log(self) -> str:
        """The access log that the agent reads."""
        return f"{self.run}/access.jsonl"
