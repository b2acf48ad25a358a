"""At which addresses are the endpoints? Pure: EndpointSlices in, addresses for `xds` out.

EndpointSlices are untrusted input: a Service of the expected name in the expected namespace says
where, the site's networks bound it, and the peer's SPIFFE name proves it.

Rules:
    Only ready addresses of IPv4 slices count, and only those inside the networks of the site.
    What has an unknown form is no address; it never stops the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demarc.api.cluster import Manifest
from demarc.planning import names
from demarc.policy.epoch import Epoch
from demarc.xds import clusters
from demarc.xds.clusters import EGRESS, Address, Addresses
from demarc.xds.view import Role, View

_SERVICE_LABEL = "kubernetes.io/service-name"
_PORT_NAME = "https"
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Source:
    """Where the addresses of one Envoy cluster come from.

    Attributes:
        cidrs: where they may lie; None: anywhere (at an edge, whose engines' networks nobody
            declares; their certificates prove them).
    """

    namespace: str
    service: str
    cidrs: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses by Envoy cluster, and how many were refused because they lie elsewhere."""

    addresses: Addresses
    refused: int


def sources_of_epoch(view: View, epoch: Epoch) -> Mapping[str, Source]:
    """Where an inner or egress agent looks, by Envoy cluster."""
    found: dict[str, Source] = {}
    for target in view.targets:
        cidrs = epoch.site_cidrs.get(target.site, ())
        found[target.name] = (
            Source(names.EGRESS_NAMESPACE, names.edge_service(target.site), cidrs)
            if view.role is Role.EGRESS
            else Source(target.namespace, names.engine(target.deployment, target.site), cidrs)
        )
    if view.leaves:
        home = epoch.site_cidrs.get(epoch.home, ())
        found[EGRESS] = Source(names.EGRESS_NAMESPACE, names.EGRESS, home)
    return found


def sources_of_edge(view: View) -> Mapping[str, Source]:
    """Where an edge agent looks, by Envoy cluster."""
    return {
        target.name: Source(target.namespace, names.engine(target.deployment, target.site), None)
        for target in view.targets
    }


def find(slices: Iterable[Manifest], sources: Mapping[str, Source]) -> Found:
    """The addresses of each Envoy cluster, sorted; an endpoint without any has none."""
    ready: dict[tuple[str, str], set[Address]] = {}
    for manifest in slices:
        key, addresses = _read(manifest)
        ready.setdefault(key, set()).update(addresses)
    return bounded(
        {
            cluster: tuple(ready.get((source.namespace, source.service), ()))
            for cluster, source in sources.items()
        },
        sources,
    )


def bounded(candidates: Addresses, sources: Mapping[str, Source]) -> Found:
    """Of some addresses those that may be used: inside the networks of their site."""
    found: dict[str, tuple[Address, ...]] = {}
    refused = 0
    for cluster, source in sources.items():
        given = candidates.get(cluster, ())
        found[cluster] = (
            tuple(sorted(given)) if source.cidrs is None else clusters.inside(given, source.cidrs)
        )
        refused += len(given) - len(found[cluster])
    return Found(found, refused)


def _read(manifest: Manifest) -> tuple[tuple[str, str], tuple[Address, ...]]:
    metadata = _mapping(manifest.get("metadata"))
    labels = _mapping(metadata.get("labels"))
    key = (str(metadata.get("namespace", "")), str(labels.get(_SERVICE_LABEL, "")))
    port = _port(_list(manifest.get("ports")))
    if manifest.get("addressType") != "IPv4" or port is None:
        return key, ()
    return key, tuple(
        (address, port)
        for endpoint in _list(manifest.get("endpoints"))
        if isinstance(endpoint, Mapping) and _is_ready(endpoint)
        for address in _list(endpoint.get("addresses"))
        if isinstance(address, str)
    )


def _is_ready(endpoint: Mapping[str, Any]) -> bool:
    """An absent `ready` means ready: https://kubernetes.io/docs/reference/kubernetes-api/."""
    conditions = endpoint.get("conditions")
    if conditions is None:
        return True
    return isinstance(conditions, Mapping) and conditions.get("ready", True) in (True, None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _port(ports: Sequence[Any]) -> int | None:
    for port in ports:
        if not isinstance(port, Mapping) or port.get("name") != _PORT_NAME:
            continue
        number = port.get("port")
        if isinstance(number, int) and not isinstance(number, bool) and 0 < number <= _MAX_PORT:
            return number
    return None
