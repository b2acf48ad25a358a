"""Which Kubernetes objects are the gateways? Inner and egress at home, an edge at each remote site.

INVARIANT: the inner pods have no way out but the engines, the egress gateway and their own API
server; only the egress pods reach the edges of remote sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from demarc.api.cluster import Manifest
from demarc.api.v1alpha1.site import Site
from demarc.planning import names, pods
from demarc.planning.objects import HOME, CertificateRequest, Planned, PlannedObjects
from demarc.planning.settings import MUTUAL_TLS_PORT, PlanSettings

_Rules = list[dict[str, Any]]

_RUN = ("run", "/run/demarc")
_RECORD = ("record", "/var/lib/demarc")
_TLS = ("tls", "/etc/demarc/tls")
_CLIENT_TLS = ("client-tls", "/etc/demarc/client-tls")
_GRANT = ("grant", "/etc/demarc/grant")
_TRUST = ("trust", "/etc/demarc/trust")
_MUTUAL = {
    "DEMARC_RUN": _RUN,
    "DEMARC_RECORD": _RECORD,
    "DEMARC_TLS": _TLS,
    "DEMARC_TRUST": _TRUST,
}
"""Mounts of a gateway that only other gateways reach."""


@dataclass(frozen=True, slots=True)
class _Gateway:
    """One gateway: everything in which the three of them differ.

    Attributes:
        role: inner, egress or edge: the component of its labels and the agent's role.
        cluster: where its objects belong.
        owner: labels that lead to its source; gateways at home have none.
        site: the site where it stands.
        mounts: environment variable -> (volume, mountPath), of agent and Envoy together.
        envoy_mounts: those of them that Envoy has too.
        volumes: of the pod.
        ingress, egress: rules of its NetworkPolicy.
        certificates: each but for its labels.
        claims: size of the record volume that survives the pod; None: the record is in `volumes`.
    """

    role: str
    name: str
    namespace: str
    cluster: str
    owner: Mapping[str, str]
    site: str
    port: int
    replicas: int
    mounts: Mapping[str, tuple[str, str]]
    envoy_mounts: Mapping[str, tuple[str, str]]
    volumes: Sequence[dict[str, Any]]
    ingress: _Rules
    egress: _Rules
    certificates: tuple[CertificateRequest, ...]
    grace: int
    arguments: tuple[str, ...] = ()
    claims: str | None = None


def plan_home(settings: PlanSettings, remote_sites: Sequence[Site]) -> PlannedObjects:
    """Inner and egress gateways and the way from egress to each remote site."""
    return _plan(_inner(settings), settings) + _plan(_egress(settings, remote_sites), settings)


def plan_edge(site: Site, settings: PlanSettings) -> PlannedObjects:
    """The edge gateway of one remote site, in that site's cluster."""
    return _plan(_edge(site, settings), settings)


def edge_link(site: Site, addresses: Sequence[str], port: int = MUTUAL_TLS_PORT) -> PlannedObjects:
    """How egress finds the edge of a remote site: a Service without selector and its addresses.

    Args:
        site: the remote site.
        addresses: IPv4 addresses of its edge, as its own cluster reports them.
        port: port of the edge.
    """
    name = names.edge_service(site.metadata.name)
    labels = {
        **names.owner_labels(
            kind=site.kind, namespace="", name=site.metadata.name, uid=site.metadata.uid
        ),
        names.COMPONENT: "edge-link",
        names.SITE: names.label_value(site.metadata.name),
    }
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": names.EGRESS_NAMESPACE, "labels": labels},
        "spec": {"type": "ClusterIP", "ports": [pods.https_port(port)]},
    }
    endpoints: Manifest = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": names.EGRESS_NAMESPACE,
            "labels": {**labels, "kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}}
            for address in sorted(set(addresses))
        ],
    }
    return PlannedObjects((Planned(HOME, service), Planned(HOME, endpoints)))


def _inner(settings: PlanSettings) -> _Gateway:
    namespace = names.SYSTEM_NAMESPACE
    client_tls = names.tls_secret(f"{names.INNER}-client")
    engines = [{"namespaceSelector": {}, "podSelector": {"matchLabels": _selector("engine")}}]
    return _Gateway(
        role="inner",
        name=names.INNER,
        namespace=namespace,
        cluster=HOME,
        owner={names.MANAGED_BY: names.MANAGER},
        site=settings.home,
        port=settings.client_port,
        replicas=settings.inner_replicas,
        mounts={
            "DEMARC_RUN": _RUN,
            "DEMARC_RECORD": _RECORD,
            "DEMARC_TLS": _TLS,
            "DEMARC_CLIENT_TLS": _CLIENT_TLS,
            "DEMARC_GRANT_KEY": _GRANT,
            "DEMARC_TRUST": _TRUST,
        },
        envoy_mounts={"DEMARC_RUN": _RUN, "DEMARC_TLS": _TLS, "DEMARC_CLIENT_TLS": _CLIENT_TLS},
        volumes=[
            pods.empty_volume("run", size="4Gi"),
            pods.secret_volume("tls", names.tls_secret(names.INNER)),
            pods.secret_volume("client-tls", client_tls),
            pods.secret_volume("grant", names.GRANT_KEY),
            pods.config_volume("trust", names.TRUST),
        ],
        ingress=[{"ports": [_tcp(settings.client_port)]}],
        egress=[
            {"to": engines, "ports": [_tcp(MUTUAL_TLS_PORT)]},
            {
                "to": [_pods_of(names.EGRESS_NAMESPACE, "egress")],
                "ports": [_tcp(MUTUAL_TLS_PORT)],
            },
            *_api(settings),
        ],
        certificates=(
            CertificateRequest(
                cluster=HOME,
                namespace=namespace,
                secret=names.tls_secret(names.INNER),
                uri=names.spiffe_gateway(settings.home, "inner"),
                labels={},
                usages=("client",),
            ),
            CertificateRequest(
                cluster=HOME,
                namespace=namespace,
                secret=client_tls,
                uri=names.spiffe_gateway(settings.home, "gateway"),
                labels={},
                addresses=(
                    "localhost",
                    names.INNER,
                    f"{names.INNER}.{namespace}",
                    f"{names.INNER}.{namespace}.svc",
                    f"{names.INNER}.{namespace}.svc.cluster.local",
                    *settings.client_names,
                ),
                usages=("server",),
            ),
        ),
        grace=60,
        arguments=(f"--client-port={settings.client_port}",),
        claims=settings.record_storage,
    )


def _egress(settings: PlanSettings, remote_sites: Sequence[Site]) -> _Gateway:
    outside = [
        {
            "to": [{"ipBlock": {"cidr": cidr}} for cidr in sorted(site.spec.network.cidrs)],
            "ports": [_tcp(MUTUAL_TLS_PORT)],
        }
        for site in sorted(remote_sites, key=lambda site: site.metadata.name)
    ]
    inner = {"from": [_pods_of(names.SYSTEM_NAMESPACE, "inner")], "ports": [_tcp(MUTUAL_TLS_PORT)]}
    return _Gateway(
        role="egress",
        name=names.EGRESS,
        namespace=names.EGRESS_NAMESPACE,
        cluster=HOME,
        owner={names.MANAGED_BY: names.MANAGER},
        site=settings.home,
        port=MUTUAL_TLS_PORT,
        replicas=settings.egress_replicas,
        mounts=_MUTUAL,
        envoy_mounts={"DEMARC_RUN": _RUN, "DEMARC_TLS": _TLS},
        volumes=_mutual_volumes(names.EGRESS, run="4Gi"),
        ingress=[inner],
        egress=[*outside, *_api(settings)],
        certificates=(
            CertificateRequest(
                cluster=HOME,
                namespace=names.EGRESS_NAMESPACE,
                secret=names.tls_secret(names.EGRESS),
                uri=names.spiffe_gateway(settings.home, "egress"),
                labels={},
            ),
        ),
        grace=60,
    )


def _edge(site: Site, settings: PlanSettings) -> _Gateway:
    name = site.metadata.name
    engines = [{"namespaceSelector": {}, "podSelector": {"matchLabels": _selector("engine")}}]
    return _Gateway(
        role="edge",
        name=names.EDGE,
        namespace=names.SYSTEM_NAMESPACE,
        cluster=name,
        owner=names.owner_labels(kind=site.kind, namespace="", name=name, uid=site.metadata.uid),
        site=name,
        port=MUTUAL_TLS_PORT,
        replicas=settings.edge_replicas,
        mounts=_MUTUAL,
        envoy_mounts={"DEMARC_RUN": _RUN, "DEMARC_TLS": _TLS},
        volumes=_mutual_volumes(names.EDGE, run="1Gi"),
        ingress=[{"ports": [_tcp(MUTUAL_TLS_PORT)]}],
        egress=[{"to": engines, "ports": [_tcp(MUTUAL_TLS_PORT)]}, *_api(settings)],
        certificates=(
            CertificateRequest(
                cluster=name,
                namespace=names.SYSTEM_NAMESPACE,
                secret=names.tls_secret(names.EDGE),
                uri=names.spiffe_gateway(name, "edge"),
                labels={},
            ),
        ),
        grace=30,
    )


def _mutual_volumes(name: str, *, run: str) -> list[dict[str, Any]]:
    """Volumes of a gateway that only other gateways reach."""
    return [
        pods.empty_volume("run", size=run),
        pods.empty_volume("record", size="1Gi"),
        pods.secret_volume("tls", names.tls_secret(name)),
        pods.config_volume("trust", names.TRUST),
    ]


def _plan(gateway: _Gateway, settings: PlanSettings) -> PlannedObjects:
    """The objects of a gateway, in the order of application."""
    selector = _selector(gateway.role)
    labels = {**gateway.owner, **selector}
    # What all gateways of a namespace share carries no component: deleting one leaves it.
    shared = labels if gateway.role == "edge" else dict(gateway.owner)
    where = (gateway.namespace, gateway.name, labels, selector)
    objects: tuple[Manifest, ...] = (
        _namespace(gateway.namespace),
        _account(gateway.namespace, gateway.name, labels),
        _policy(gateway.namespace, "demarc-deny-all", shared, {}, ingress=[], egress=[]),
        _policy(*where, ingress=gateway.ingress, egress=gateway.egress),
        _service(*where, gateway.port),
        _budget(*where),
        _workload(gateway, settings, labels, selector),
    )
    return PlannedObjects(
        tuple(Planned(gateway.cluster, manifest) for manifest in objects),
        tuple(replace(request, labels=labels) for request in gateway.certificates),
    )


def _workload(
    gateway: _Gateway,
    settings: PlanSettings,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
) -> Manifest:
    """A StatefulSet where the record must survive the pod, else a Deployment."""
    agent = pods.agent_container(
        gateway.role,
        settings,
        mounts=gateway.mounts,
        arguments=(f"--site={gateway.site}", *gateway.arguments),
    )
    pod = {
        "serviceAccountName": gateway.name,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": gateway.grace,
        "securityContext": pods.pod_security(),
        "initContainers": [agent],
        "containers": [
            pods.envoy_container(settings, port=gateway.port, mounts=gateway.envoy_mounts)
        ],
        "volumes": list(gateway.volumes),
    }
    spec: dict[str, Any] = {
        "replicas": gateway.replicas,
        "selector": {"matchLabels": dict(selector)},
    }
    if gateway.claims is None:
        spec["strategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }
    else:
        spec |= {"serviceName": gateway.name, "podManagementPolicy": "Parallel"}
    spec["template"] = {"metadata": {"labels": dict(labels)}, "spec": pod}
    if gateway.claims is not None:
        spec["volumeClaimTemplates"] = [
            {
                "metadata": {"name": "record"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": gateway.claims}},
                },
            }
        ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment" if gateway.claims is None else "StatefulSet",
        "metadata": {
            "name": gateway.name,
            "namespace": gateway.namespace,
            "labels": dict(labels),
        },
        "spec": spec,
    }


def _selector(component: str) -> dict[str, str]:
    return {names.COMPONENT: component}


def _namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _account(namespace: str, name: str, labels: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
    }


def _service(
    namespace: str, name: str, labels: Mapping[str, str], selector: Mapping[str, str], port: int
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "type": "ClusterIP",
            "selector": dict(selector),
            "ports": [pods.https_port(port)],
        },
    }


def _budget(
    namespace: str, name: str, labels: Mapping[str, str], selector: Mapping[str, str]
) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(selector)}},
    }


def _policy(
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    *,
    ingress: list[dict[str, Any]],
    egress: list[dict[str, Any]],
) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "podSelector": {"matchLabels": dict(selector)} if selector else {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _pods_of(namespace: str, component: str) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "podSelector": {"matchLabels": _selector(component)},
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}


def _api(settings: PlanSettings) -> list[dict[str, Any]]:
    return [
        {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [_tcp(port)]}
        for cidr, port in settings.api_servers
    ]
