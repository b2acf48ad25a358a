"""Which parts do all our pods share? Metadata, environment, security, probes, volumes.

INVARIANT: no value here is an absolute path of a machine: a mount is reached through an
environment variable that holds its mountPath, and arguments use `$(VAR)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from demarc.planning.settings import HEALTH_PORT, MUTUAL_TLS_PORT, PlanSettings


def field(path: str) -> dict[str, Any]:
    """An environment source from the downward API."""
    return {"fieldRef": {"fieldPath": path}}


def environment(mounts: Mapping[str, str], **values: str) -> list[dict[str, Any]]:
    """POD_IP, POD_NAME and POD_NAMESPACE, then the mounts and the values, sorted by name."""
    own = [
        {"name": "POD_IP", "valueFrom": field("status.podIP")},
        {"name": "POD_NAME", "valueFrom": field("metadata.name")},
        {"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")},
    ]
    return own + [
        {"name": name, "value": value} for name, value in sorted({**mounts, **values}.items())
    ]


def mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    """A volume mount."""
    found: dict[str, Any] = {"name": name, "mountPath": path}
    if read_only:
        found["readOnly"] = True
    return found


def pod_security() -> dict[str, Any]:
    """Pod security that passes the restricted profile.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    return {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Container security that passes the restricted profile."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def http_probe(
    path: str, port: int, *, period: int, failures: int, timeout: int = 2
) -> dict[str, Any]:
    """An HTTP probe of the pod's own address; period and timeout in seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }


def tcp_probe(port: int, *, period: int, failures: int) -> dict[str, Any]:
    """A probe that opens a connection; period in seconds."""
    return {
        "tcpSocket": {"port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 2,
    }


def secret_volume(name: str, secret: str) -> dict[str, Any]:
    """A Secret as a folder."""
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}


def config_volume(name: str, config_map: str) -> dict[str, Any]:
    """A ConfigMap as a folder."""
    return {"name": name, "configMap": {"name": config_map}}


def empty_volume(name: str, *, size: str, memory: bool = False) -> dict[str, Any]:
    """A folder that lives as long as the pod; size is a Kubernetes quantity."""
    body: dict[str, Any] = {"sizeLimit": size}
    if memory:
        body["medium"] = "Memory"
    return {"name": name, "emptyDir": body}


def agent_container(
    role: str,
    settings: PlanSettings,
    *,
    mounts: Mapping[str, tuple[str, str]],
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """The agent as a native sidecar: it writes Envoy's files before Envoy starts.

    Args:
        role: inner, egress or edge.
        settings: choices of the installation.
        mounts: environment variable -> (volume, mountPath).
        arguments: more command-line arguments.
    """
    writable = {"DEMARC_RUN", "DEMARC_RECORD"}
    return {
        "name": "agent",
        "image": settings.image,
        "restartPolicy": "Always",
        "command": ["demarc"],
        "args": ["agent", f"--role={role}", f"--home={settings.home}", *arguments],
        "env": environment({name: path for name, (_, path) in mounts.items()}),
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "startupProbe": http_probe("/startz", HEALTH_PORT, period=1, failures=120),
        "readinessProbe": http_probe("/readyz", HEALTH_PORT, period=1, failures=3),
        "livenessProbe": http_probe("/livez", HEALTH_PORT, period=5, failures=6, timeout=5),
        "resources": {"requests": {"cpu": "200m", "memory": "192Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            mount(volume, path, read_only=name not in writable)
            for name, (volume, path) in sorted(mounts.items())
        ],
    }


def envoy_container(
    settings: PlanSettings, *, port: int, mounts: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Envoy over the files that the agent writes into the shared folder."""
    return {
        "name": "envoy",
        "image": settings.envoy_image,
        "command": ["envoy"],
        "args": [
            "--config-path",
            "$(DEMARC_RUN)/bootstrap.json",
            "--disable-hot-restart",
            "--reject-unknown-dynamic-fields",
            "--drain-time-s",
            "5",
            "--drain-strategy",
            "immediate",
            "--concurrency",
            "1",
            "--file-flush-interval-msec",
            "100",
            "--file-flush-min-size-kb",
            "1",
            "--log-level",
            "warning",
        ],
        "env": environment({name: path for name, (_, path) in mounts.items()}),
        "ports": [{"name": "https", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": tcp_probe(port, period=1, failures=120),
        "readinessProbe": tcp_probe(port, period=1, failures=3),
        "livenessProbe": tcp_probe(port, period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
        "resources": {"requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            mount(volume, path, read_only=name != "DEMARC_RUN")
            for name, (volume, path) in sorted(mounts.items())
        ],
    }


def https_port(port: int = MUTUAL_TLS_PORT) -> dict[str, Any]:
    """A Service port that leads to the container port of the same number."""
    return {"name": "https", "port": port, "targetPort": port, "protocol": "TCP"}
