"""Which addresses stand behind a Service? Its EndpointSlices, from the pods that it selects.

Pure. One slice for each set of port numbers, because a named `targetPort` can differ from pod to
pod.

RULES
- A pod without an address, or one that ended, is in no slice.
- `serving` is the pod's readiness; `ready` is that and not ending; `terminating` is ending.
- A Service without a selector has no slices from here: somebody else writes them.
Source: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from demarc.api.cluster import Manifest
from demarc.local import workloads

SERVICE_LABEL: Final = "kubernetes.io/service-name"
MANAGED_BY_LABEL: Final = "endpointslice.kubernetes.io/managed-by"
MANAGED_BY: Final = "endpointslice-controller.k8s.io"
_ENDED: Final = frozenset({"Succeeded", "Failed"})


def render(service: Manifest, pods: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The slices of a Service; `pods` are those of its namespace."""
    spec: Mapping[str, Any] = service["spec"]
    selector: Mapping[str, str] = spec.get("selector") or {}
    if not selector:
        return ()
    backing = [
        pod
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))
        if selector.items() <= (pod["metadata"].get("labels") or {}).items()
        and (pod.get("status") or {}).get("podIP")
        and (pod.get("status") or {}).get("phase") not in _ENDED
    ]
    groups: dict[tuple[tuple[str, int, str], ...], list[Manifest]] = {}
    for pod in backing:
        groups.setdefault(_ports(spec, pod), []).append(pod)
    groups = groups or {_ports(spec, None): []}
    unready_too = spec.get("publishNotReadyAddresses") is True
    return tuple(
        _slice(service, index, ports, [_endpoint(pod, unready_too=unready_too) for pod in members])
        for index, (ports, members) in enumerate(sorted(groups.items(), key=lambda item: item[0]))
    )


def addresses(slices: Sequence[Manifest]) -> tuple[str, ...]:
    """The addresses that are ready, sorted."""
    return tuple(
        sorted(
            endpoint["addresses"][0]
            for item in slices
            for endpoint in item["endpoints"]
            if endpoint["conditions"]["ready"]
        )
    )


def _ports(spec: Mapping[str, Any], pod: Manifest | None) -> tuple[tuple[str, int, str], ...]:
    """(name, number, protocol) of each port; a port that the pod does not name is left out."""
    found: list[tuple[str, int, str]] = []
    for port in spec.get("ports") or ():
        target = port.get("targetPort", port["port"])
        number = target if isinstance(target, int) else _named(str(target), pod)
        if number:
            found.append((str(port.get("name", "")), number, str(port.get("protocol", "TCP"))))
    return tuple(found)


def _named(name: str, pod: Manifest | None) -> int:
    spec: Mapping[str, Any] = pod["spec"] if pod is not None else {}
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            for port in container.get("ports") or ():
                if port.get("name") == name:
                    return int(port["containerPort"])
    return 0


def _endpoint(pod: Manifest, *, unready_too: bool) -> Mapping[str, Any]:
    metadata = pod["metadata"]
    serving = workloads.is_ready(pod) or unready_too
    ending = workloads.is_ending(pod)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": serving and (not ending or unready_too),
            "serving": serving,
            "terminating": ending,
        },
        "nodeName": str(pod["spec"].get("nodeName", "")),
        "targetRef": {
            "kind": "Pod",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


def _slice(
    service: Manifest,
    index: int,
    ports: tuple[tuple[str, int, str], ...],
    endpoints: list[Mapping[str, Any]],
) -> Manifest:
    metadata = service["metadata"]
    name, uid = str(metadata["name"]), str(metadata["uid"])
    suffix = hashlib.sha256(f"{uid}/{index}".encode()).hexdigest()[:5]
    labels = {**(metadata.get("labels") or {}), SERVICE_LABEL: name, MANAGED_BY_LABEL: MANAGED_BY}
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{suffix}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": name,
                    "uid": uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": port, "port": number, "protocol": protocol} for port, number, protocol in ports
        ],
    }
