"""Which Kubernetes objects serve one placement of a ModelDeployment?

A pod holds Triton (the engine), the frontend that speaks the OpenAI API to our gateways, and two
init containers: one checks the checkpoint, one lays out the model repository. The pods have no way
out, and only their site's gateway may reach them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from demarc.api.cluster import Manifest
from demarc.api.v1alpha1.model_deployment import Engine, ModelDeployment
from demarc.api.v1alpha1.site import GpuPool
from demarc.planning import names, pods, triton
from demarc.planning.objects import CertificateRequest, Planned, PlannedObjects
from demarc.planning.placement import Placed
from demarc.planning.settings import (
    HEALTH_PORT,
    MUTUAL_TLS_PORT,
    TRITON_GRPC_PORT,
    TRITON_HTTP_PORT,
    TRITON_METRICS_PORT,
    PlanSettings,
)

EXIT_SECONDS = 30
"""How long Triton waits for running requests when it stops."""
GRACE_SECONDS = EXIT_SECONDS + 15
"""A pod's grace period is longer than the engine's own."""

_LAYOUT = (
    'mkdir -p "$MODEL_REPOSITORY" && '
    'cp -R "$LLMAPI_TEMPLATE/." "$MODEL_REPOSITORY/" && '
    'cp "$RENDERED/config.pbtxt" "$MODEL_REPOSITORY/tensorrt_llm/config.pbtxt" && '
    f'sed "s|{triton.MODEL_DIR_MARK}|$MODEL_DIR|" "$RENDERED/model.yaml" '
    '> "$MODEL_REPOSITORY/tensorrt_llm/1/model.yaml"'
)


def plan(model: ModelDeployment, placed: Placed, settings: PlanSettings) -> PlannedObjects:
    """The objects of one placement, in the order of application. Cannot fail."""
    engine = model.spec.engine
    if engine is None:
        return PlannedObjects(())
    parts = _Parts(model, engine, placed, settings)
    objects: tuple[Manifest, ...] = (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": parts.namespace}},
        parts.service_account(),
        parts.repository(),
        parts.network_policy(),
        parts.service(),
        parts.disruption_budget(),
        parts.deployment(),
    )
    certificate = CertificateRequest(
        cluster=placed.cluster,
        namespace=parts.namespace,
        secret=names.tls_secret(parts.name),
        uri=names.spiffe_frontend(placed.site.metadata.name, parts.namespace, model.metadata.name),
        labels=parts.labels,
        usages=("server",),
    )
    return PlannedObjects(
        tuple(Planned(placed.cluster, manifest) for manifest in objects), (certificate,)
    )


def selector(model: ModelDeployment, site: str) -> dict[str, str]:
    """Labels of the pods of one placement."""
    return {
        names.COMPONENT: "engine",
        names.DEPLOYMENT: names.label_value(model.metadata.name),
        names.SITE: names.label_value(site),
    }


class _Parts:
    """The objects of one placement; each method builds one of them."""

    def __init__(
        self, model: ModelDeployment, engine: Engine, placed: Placed, settings: PlanSettings
    ) -> None:
        self.model = model
        self.engine = engine
        self.placed = placed
        self.settings = settings
        self.namespace = model.metadata.namespace or "default"
        self.site = placed.site.metadata.name
        self.name = names.engine(model.metadata.name, self.site)
        self.selector = selector(model, self.site)
        self.labels = {
            **names.owner_labels(
                kind=model.kind,
                namespace=self.namespace,
                name=model.metadata.name,
                uid=model.metadata.uid,
            ),
            **self.selector,
        }

    def metadata(self) -> dict[str, Any]:
        """Name, namespace and labels of every object here."""
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels}

    def service_account(self) -> Manifest:
        """An account without rights: the pods never speak to the API."""
        return {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": self.metadata(),
            "automountServiceAccountToken": False,
        }

    def repository_data(self) -> dict[str, str]:
        """The rendered part of the Triton model repository."""
        return {
            "config.pbtxt": triton.config_pbtxt(),
            "model.yaml": triton.model_yaml(self.engine),
        }

    def repository(self) -> Manifest:
        """The rendered part of the Triton model repository as a ConfigMap."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(),
            "data": self.repository_data(),
        }

    def service(self) -> Manifest:
        """The Service whose EndpointSlices name the frontends."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(),
            "spec": {
                "type": "ClusterIP",
                "selector": self.selector,
                "ports": [pods.https_port()],
            },
        }

    def disruption_budget(self) -> Manifest:
        """At most one pod at a time is taken away on purpose."""
        return {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": self.selector}},
        }

    def network_policy(self) -> Manifest:
        """Only the site's gateway reaches the frontend's port; nothing leaves."""
        gateway = "inner" if self.placed.is_home else "edge"
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(),
            "spec": {
                "podSelector": {"matchLabels": self.selector},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {
                        "from": [
                            {
                                "namespaceSelector": {
                                    "matchLabels": {
                                        "kubernetes.io/metadata.name": names.SYSTEM_NAMESPACE
                                    }
                                },
                                "podSelector": {"matchLabels": {names.COMPONENT: gateway}},
                            }
                        ],
                        "ports": [{"port": MUTUAL_TLS_PORT, "protocol": "TCP"}],
                    }
                ],
                "egress": [],
            },
        }

    def deployment(self) -> Manifest:
        """The pods. A new template replaces pods one by one and needs no spare GPU."""
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(),
            "spec": {
                "replicas": self.placed.replicas,
                "selector": {"matchLabels": self.selector},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
                },
                "template": {
                    "metadata": {
                        "labels": self.labels,
                        "annotations": {"demarc.dev/repository-hash": self._repository_hash()},
                    },
                    "spec": self._pod(),
                },
            },
        }

    def _repository_hash(self) -> str:
        text = json.dumps(self.repository_data(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _pod(self) -> dict[str, Any]:
        pool = self.placed.pool
        spec: dict[str, Any] = {
            "serviceAccountName": self.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": pods.pod_security(),
            "nodeSelector": node_selector(pool),
            "initContainers": [self._check(), self._layout()],
            "containers": [self._triton(pool), self._frontend()],
            "volumes": [
                {
                    "name": "model",
                    "persistentVolumeClaim": {"claimName": self._claim, "readOnly": True},
                },
                pods.config_volume("rendered", self.name),
                pods.empty_volume("repository", size="64Mi"),
                pods.empty_volume("dshm", size="16Gi", memory=True),
                pods.empty_volume("run", size="64Mi"),
                pods.secret_volume("tls", names.tls_secret(self.name)),
            ],
        }
        if pool.tolerations:
            spec["tolerations"] = [toleration.dump() for toleration in pool.tolerations]
        return spec

    @property
    def _claim(self) -> str:
        return self.model.spec.model.source.removeprefix("pvc://").partition("/")[0]

    @property
    def _model_dir(self) -> str:
        return "/volume/" + self.model.spec.model.source.removeprefix("pvc://").partition("/")[2]

    def _check(self) -> dict[str, Any]:
        return {
            "name": "check",
            "image": self.settings.image,
            "command": ["demarc"],
            "args": [
                "model",
                "verify",
                "$(MODEL_DIR)",
                f"--digest={self.model.spec.model.digest}",
                f"--precision={self.engine.precision.value}",
            ],
            "env": pods.environment({"MODEL_DIR": self._model_dir}),
            "securityContext": pods.container_security(),
            "volumeMounts": [pods.mount("model", "/volume", read_only=True)],
        }

    def _layout(self) -> dict[str, Any]:
        return {
            "name": "repository",
            "image": self.engine.image,
            "command": ["/bin/sh", "-ec"],
            "args": [_LAYOUT],
            "env": pods.environment(
                {
                    "LLMAPI_TEMPLATE": "/app/all_models/llmapi",
                    "MODEL_DIR": self._model_dir,
                    "MODEL_REPOSITORY": "/repository",
                    "RENDERED": "/rendered",
                }
            ),
            "securityContext": pods.container_security(),
            "volumeMounts": [
                pods.mount("model", "/volume", read_only=True),
                pods.mount("rendered", "/rendered", read_only=True),
                pods.mount("repository", "/repository"),
            ],
        }

    def _triton(self, pool: GpuPool) -> dict[str, Any]:
        ready = f"/v2/models/{triton.MODEL}/ready"
        period = 5
        return {
            "name": "triton",
            "image": self.engine.image,
            "command": ["tritonserver"],
            "args": [
                "--model-repository=$(MODEL_REPOSITORY)",
                "--http-address=$(POD_IP)",
                "--grpc-address=$(POD_IP)",
                "--metrics-address=$(POD_IP)",
                f"--http-port={TRITON_HTTP_PORT}",
                f"--grpc-port={TRITON_GRPC_PORT}",
                f"--metrics-port={TRITON_METRICS_PORT}",
                "--disable-auto-complete-config",
                f"--exit-timeout-secs={EXIT_SECONDS}",
                "--backend-config=python,shm-region-prefix-name=$(POD_NAME)",
            ],
            "env": pods.environment(
                {"MODEL_DIR": self._model_dir, "MODEL_REPOSITORY": "/repository"}
            ),
            "ports": [
                {"name": "triton-http", "containerPort": TRITON_HTTP_PORT, "protocol": "TCP"},
                {"name": "triton-grpc", "containerPort": TRITON_GRPC_PORT, "protocol": "TCP"},
                {"name": "triton-metrics", "containerPort": TRITON_METRICS_PORT, "protocol": "TCP"},
            ],
            "startupProbe": pods.http_probe(
                ready,
                TRITON_HTTP_PORT,
                period=period,
                failures=max(1, self.settings.startup_seconds // period),
            ),
            "readinessProbe": pods.http_probe(ready, TRITON_HTTP_PORT, period=2, failures=3),
            "livenessProbe": pods.http_probe(
                "/v2/health/live", TRITON_HTTP_PORT, period=10, failures=6, timeout=5
            ),
            "resources": {"limits": {pool.resource_name: str(self.engine.gpus)}},
            "securityContext": {
                **pods.container_security(),
                "readOnlyRootFilesystem": False,
            },
            "volumeMounts": [
                pods.mount("model", "/volume", read_only=True),
                pods.mount("repository", "/repository"),
                pods.mount("dshm", "/dev/shm"),  # noqa: S108  # the path that glibc and Triton use
            ],
        }

    def _frontend(self) -> dict[str, Any]:
        role = "inner" if self.placed.is_home else "edge"
        gateway_site = self.settings.home if self.placed.is_home else self.site
        return {
            "name": "frontend",
            "image": self.settings.image,
            "command": ["demarc"],
            "args": [
                "frontend",
                "--address=$(POD_IP)",
                f"--port={MUTUAL_TLS_PORT}",
                f"--health-port={HEALTH_PORT}",
                f"--triton=$(POD_IP):{TRITON_GRPC_PORT}",
                "--model-dir=$(MODEL_DIR)",
                f"--served-name={self.model.spec.model.served_name}",
                f"--context-tokens={self.model.spec.offers.context_tokens}",
                f"--allow={names.spiffe_gateway(gateway_site, role)}",
                "--tls=$(DEMARC_TLS)",
                "--journal=$(DEMARC_RUN)/usage.jsonl",
            ],
            "env": pods.environment(
                {"DEMARC_RUN": "/run/demarc", "DEMARC_TLS": "/tls", "MODEL_DIR": self._model_dir}
            ),
            "ports": [
                {"name": "https", "containerPort": MUTUAL_TLS_PORT, "protocol": "TCP"},
                {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
            ],
            "startupProbe": pods.http_probe("/livez", HEALTH_PORT, period=2, failures=60),
            "readinessProbe": pods.http_probe("/readyz", HEALTH_PORT, period=2, failures=2),
            "livenessProbe": pods.http_probe(
                "/livez", HEALTH_PORT, period=10, failures=6, timeout=5
            ),
            "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
            "resources": {
                "requests": {"cpu": "200m", "memory": "256Mi"},
                "limits": {"memory": "1Gi"},
            },
            "securityContext": pods.container_security(),
            "volumeMounts": [
                pods.mount("model", "/volume", read_only=True),
                pods.mount("run", "/run/demarc"),
                pods.mount("tls", "/tls", read_only=True),
            ],
        }


def node_selector(pool: GpuPool) -> dict[str, str]:
    """The pool's own selector, or the product label of GPU feature discovery."""
    return dict(pool.node_selector or {"nvidia.com/gpu.product": pool.product})
