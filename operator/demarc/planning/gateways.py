"""Which Kubernetes objects are the gateways? Inner and egress at home, an edge at each remote site.

INVARIANT: the inner pods have no way out but the engines, the egress gateway and their own API
server; only the egress pods reach the edges of remote sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from demarc.api.cluster import Manifest
from demarc.api.v1alpha1.site import Site
from demarc.planning import names, pods
from demarc.planning.objects import HOME, CertificateRequest, Planned, PlannedObjects
from demarc.planning.settings import MUTUAL_TLS_PORT, PlanSettings

_RUN = ("run", "/run/demarc")
_RECORD = ("record", "/var/lib/demarc")
_TLS = ("tls", "/etc/demarc/tls")
_CLIENT_TLS = ("client-tls", "/etc/demarc/client-tls")
_GRANT = ("grant", "/etc/demarc/grant")
_TRUST = ("trust", "/etc/demarc/trust")


def plan_home(settings: PlanSettings, remote_sites: Sequence[Site]) -> PlannedObjects:
    """Inner and egress gateways and the way from egress to each remote site."""
    return _inner(settings) + _egress(settings, remote_sites)


def plan_edge(site: Site, settings: PlanSettings) -> PlannedObjects:
    """The edge gateway of one remote site, in that site's cluster."""
    cluster = site.metadata.name
    labels = {
        **names.owner_labels(
            kind=site.kind, namespace="", name=site.metadata.name, uid=site.metadata.uid
        ),
        **_selector("edge"),
    }
    mounts = {
        "DEMARC_RUN": _RUN,
        "DEMARC_RECORD": _RECORD,
        "DEMARC_TLS": _TLS,
        "DEMARC_TRUST": _TRUST,
    }
    agent = pods.agent_container(
        "edge", settings, mounts=mounts, arguments=(f"--site={site.metadata.name}",)
    )
    pod = _pod(names.EDGE, agent, _envoy(settings, MUTUAL_TLS_PORT), grace=30)
    pod["volumes"] = [
        pods.empty_volume("run", size="1Gi"),
        pods.empty_volume("record", size="1Gi"),
        pods.secret_volume("tls", names.tls_secret(names.EDGE)),
        pods.config_volume("trust", names.TRUST),
    ]
    everywhere = [{"namespaceSelector": {}, "podSelector": {"matchLabels": _selector("engine")}}]
    objects: tuple[Manifest, ...] = (
        _namespace(names.SYSTEM_NAMESPACE),
        _account(names.SYSTEM_NAMESPACE, names.EDGE, labels),
        _deny_all(names.SYSTEM_NAMESPACE, labels),
        _policy(
            names.SYSTEM_NAMESPACE,
            names.EDGE,
            labels,
            _selector("edge"),
            ingress=[{"ports": [_tcp(MUTUAL_TLS_PORT)]}],
            egress=[{"to": everywhere, "ports": [_tcp(MUTUAL_TLS_PORT)]}, *_api(settings)],
        ),
        _service(names.SYSTEM_NAMESPACE, names.EDGE, labels, _selector("edge"), MUTUAL_TLS_PORT),
        _budget(names.SYSTEM_NAMESPACE, names.EDGE, labels, _selector("edge")),
        _deployment(
            names.SYSTEM_NAMESPACE,
            names.EDGE,
            labels,
            _selector("edge"),
            pod=pod,
            replicas=settings.edge_replicas,
        ),
    )
    certificate = CertificateRequest(
        cluster=cluster,
        namespace=names.SYSTEM_NAMESPACE,
        secret=names.tls_secret(names.EDGE),
        uri=names.spiffe_gateway(site.metadata.name, "edge"),
        labels=labels,
    )
    return PlannedObjects(tuple(Planned(cluster, manifest) for manifest in objects), (certificate,))


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


def _inner(settings: PlanSettings) -> PlannedObjects:
    selector = _selector("inner")
    labels = {names.MANAGED_BY: names.MANAGER, **selector}
    mounts = {
        "DEMARC_RUN": _RUN,
        "DEMARC_RECORD": _RECORD,
        "DEMARC_TLS": _TLS,
        "DEMARC_CLIENT_TLS": _CLIENT_TLS,
        "DEMARC_GRANT_KEY": _GRANT,
        "DEMARC_TRUST": _TRUST,
    }
    agent = pods.agent_container(
        "inner",
        settings,
        mounts=mounts,
        arguments=(f"--site={settings.home}", f"--client-port={settings.client_port}"),
    )
    envoy = _envoy(settings, settings.client_port, {"DEMARC_CLIENT_TLS": _CLIENT_TLS})
    pod = _pod(names.INNER, agent, envoy, grace=60)
    pod["volumes"] = [
        pods.empty_volume("run", size="4Gi"),
        pods.secret_volume("tls", names.tls_secret(names.INNER)),
        pods.secret_volume("client-tls", names.tls_secret(f"{names.INNER}-client")),
        pods.secret_volume("grant", names.GRANT_KEY),
        pods.config_volume("trust", names.TRUST),
    ]
    namespace = names.SYSTEM_NAMESPACE
    engines = [{"namespaceSelector": {}, "podSelector": {"matchLabels": _selector("engine")}}]
    egress = [_pods_of(names.EGRESS_NAMESPACE, "egress")]
    stateful: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": names.INNER, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": settings.inner_replicas,
            "serviceName": names.INNER,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "record"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": settings.record_storage}},
                    },
                }
            ],
        },
    }
    objects: tuple[Manifest, ...] = (
        _namespace(namespace),
        _account(namespace, names.INNER, labels),
        _deny_all(namespace, {names.MANAGED_BY: names.MANAGER}),
        _policy(
            namespace,
            names.INNER,
            labels,
            selector,
            ingress=[{"ports": [_tcp(settings.client_port)]}],
            egress=[
                {"to": engines, "ports": [_tcp(MUTUAL_TLS_PORT)]},
                {"to": egress, "ports": [_tcp(MUTUAL_TLS_PORT)]},
                *_api(settings),
            ],
        ),
        _service(namespace, names.INNER, labels, selector, settings.client_port),
        _budget(namespace, names.INNER, labels, selector),
        stateful,
    )
    certificates = (
        CertificateRequest(
            cluster=HOME,
            namespace=namespace,
            secret=names.tls_secret(names.INNER),
            uri=names.spiffe_gateway(settings.home, "inner"),
            labels=labels,
            usages=("client",),
        ),
        CertificateRequest(
            cluster=HOME,
            namespace=namespace,
            secret=names.tls_secret(f"{names.INNER}-client"),
            uri=names.spiffe_gateway(settings.home, "gateway"),
            labels=labels,
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
    )
    return PlannedObjects(tuple(Planned(HOME, manifest) for manifest in objects), certificates)


def _egress(settings: PlanSettings, remote_sites: Sequence[Site]) -> PlannedObjects:
    selector = _selector("egress")
    labels = {names.MANAGED_BY: names.MANAGER, **selector}
    mounts = {
        "DEMARC_RUN": _RUN,
        "DEMARC_RECORD": _RECORD,
        "DEMARC_TLS": _TLS,
        "DEMARC_TRUST": _TRUST,
    }
    agent = pods.agent_container(
        "egress", settings, mounts=mounts, arguments=(f"--site={settings.home}",)
    )
    pod = _pod(names.EGRESS, agent, _envoy(settings, MUTUAL_TLS_PORT), grace=60)
    pod["volumes"] = [
        pods.empty_volume("run", size="4Gi"),
        pods.empty_volume("record", size="1Gi"),
        pods.secret_volume("tls", names.tls_secret(names.EGRESS)),
        pods.config_volume("trust", names.TRUST),
    ]
    namespace = names.EGRESS_NAMESPACE
    outside = [
        {
            "to": [{"ipBlock": {"cidr": cidr}} for cidr in sorted(site.spec.network.cidrs)],
            "ports": [_tcp(MUTUAL_TLS_PORT)],
        }
        for site in sorted(remote_sites, key=lambda site: site.metadata.name)
    ]
    objects: tuple[Manifest, ...] = (
        _namespace(namespace),
        _account(namespace, names.EGRESS, labels),
        _deny_all(namespace, {names.MANAGED_BY: names.MANAGER}),
        _policy(
            namespace,
            names.EGRESS,
            labels,
            selector,
            ingress=[
                {
                    "from": [_pods_of(names.SYSTEM_NAMESPACE, "inner")],
                    "ports": [_tcp(MUTUAL_TLS_PORT)],
                }
            ],
            egress=[*outside, *_api(settings)],
        ),
        _service(namespace, names.EGRESS, labels, selector, MUTUAL_TLS_PORT),
        _budget(namespace, names.EGRESS, labels, selector),
        _deployment(
            namespace,
            names.EGRESS,
            labels,
            selector,
            pod=pod,
            replicas=settings.egress_replicas,
        ),
    )
    certificate = CertificateRequest(
        cluster=HOME,
        namespace=namespace,
        secret=names.tls_secret(names.EGRESS),
        uri=names.spiffe_gateway(settings.home, "egress"),
        labels=labels,
    )
    return PlannedObjects(tuple(Planned(HOME, manifest) for manifest in objects), (certificate,))


def _selector(component: str) -> dict[str, str]:
    return {names.COMPONENT: component}


def _envoy(
    settings: PlanSettings, port: int, more: Mapping[str, tuple[str, str]] | None = None
) -> dict[str, Any]:
    mounts = {"DEMARC_RUN": _RUN, "DEMARC_TLS": _TLS, **(more or {})}
    return pods.envoy_container(settings, port=port, mounts=mounts)


def _pod(
    account: str, agent: Mapping[str, Any], envoy: Mapping[str, Any], *, grace: int
) -> dict[str, Any]:
    return {
        "serviceAccountName": account,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": pods.pod_security(),
        "initContainers": [agent],
        "containers": [envoy],
    }


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


def _deployment(
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    selector: Mapping[str, str],
    *,
    pod: Mapping[str, Any],
    replicas: int,
) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(selector)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {"metadata": {"labels": dict(labels)}, "spec": dict(pod)},
        },
    }


def _deny_all(namespace: str, labels: Mapping[str, str]) -> Manifest:
    return _policy(namespace, "demarc-deny-all", labels, {}, ingress=[], egress=[])


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
