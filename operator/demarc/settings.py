"""What does the environment say? One frozen object, read once, by app and cli alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that comes from the environment.

    Attributes:
        tools: folder with Envoy, Triton and the test API server; `make tools` fills it.
        envoy: the Envoy binary.
        triton: the Triton binary.
        state: where `demarc up` keeps its state.
    """

    tools: Path
    envoy: Path
    triton: Path
    state: Path


def read() -> Settings:
    """Settings from DEMARC_TOOLS, XDG_CACHE_HOME, ENVOY_BIN, TRITON_BIN and DEMARC_STATE."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("DEMARC_TOOLS") or cache / "demarc" / "tools")
    return Settings(
        tools=tools,
        envoy=Path(os.environ.get("ENVOY_BIN") or tools / "envoy" / "bin" / "envoy"),
        triton=Path(os.environ.get("TRITON_BIN") or tools / "triton" / "bin" / "tritonserver"),
        state=Path(os.environ.get("DEMARC_STATE") or ".demarc"),
    )


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What a pod is told by its own template: addresses and mounts; absent mounts are None."""

    pod_ip: str
    pod_name: str
    pod_namespace: str
    run: Path | None
    record: Path | None
    tls: Path | None
    client_tls: Path | None
    grant_key: Path | None
    trust: Path | None
    rehearsal_recording: Path | None


def read_pod() -> PodSettings:
    """Settings of a pod from POD_* and DEMARC_*; missing POD_IP is an error by name.

    Raises:
        KeyError: POD_IP, POD_NAME or POD_NAMESPACE is not set.
    """
    return PodSettings(
        pod_ip=os.environ["POD_IP"],
        pod_name=os.environ["POD_NAME"],
        pod_namespace=os.environ["POD_NAMESPACE"],
        run=_path("DEMARC_RUN"),
        record=_path("DEMARC_RECORD"),
        tls=_path("DEMARC_TLS"),
        client_tls=_path("DEMARC_CLIENT_TLS"),
        grant_key=_path("DEMARC_GRANT_KEY"),
        trust=_path("DEMARC_TRUST"),
        rehearsal_recording=_path("DEMARC_REHEARSAL_RECORDING"),
    )


def _path(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value) if value else None


def kubeconfig() -> Path | None:
    """The kubeconfig that KUBECONFIG names; None when it is not set."""
    return _path("KUBECONFIG")


def pod_environment() -> Mapping[str, str]:
    """The variables by which Kubernetes tells a pod where its API server is."""
    return {
        name: os.environ[name]
        for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
        if name in os.environ
    }
