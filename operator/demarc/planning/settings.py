"""What does the installer choose? Values that shape every plan and come from outside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """Choices of the installation; the same for every object.

    Attributes:
        home: name of the InCluster site: it names the inner and egress gateways.
        image: Demarc's own image.
        envoy_image: image of the data plane.
        client_port: port of the inner gateway's client listener.
        client_names: more DNS names and addresses by which clients reach the inner gateway.
        api_servers: (CIDR, port) of the home API server, for NetworkPolicies of agents.
        record_storage: size of the inner gateway's record volume, a Kubernetes quantity.
        inner_replicas, egress_replicas, edge_replicas: replicas of the gateways.
        startup_seconds: how long an engine may take until its model is loaded.
    """

    home: str
    image: str = "demarc.dev/demarc:0.1.0"
    envoy_image: str = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
    client_port: int = 8443
    client_names: tuple[str, ...] = ()
    api_servers: tuple[tuple[str, int], ...] = ()
    record_storage: str = "20Gi"
    inner_replicas: int = 1
    egress_replicas: int = 1
    edge_replicas: int = 1
    startup_seconds: int = 1800


MUTUAL_TLS_PORT = 8443
HEALTH_PORT = 8081
TRITON_HTTP_PORT = 8000
TRITON_GRPC_PORT = 8001
TRITON_METRICS_PORT = 8002
