"""What does a Kubernetes API answer beside objects? Statuses, lists and what is served; pure.

Sources: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/,
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from demarc.api import crd
from demarc.api.cluster import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    Kind,
    Listing,
    NotFoundError,
    TransientError,
)

_VERBS = ("get", "list", "watch")
_SHORT_NAMES: Mapping[str, Sequence[str]] = {
    "configmaps": ["cm"],
    "deployments": ["deploy"],
    "events": ["ev"],
    "namespaces": ["ns"],
    "networkpolicies": ["netpol"],
    "nodes": ["no"],
    "persistentvolumeclaims": ["pvc"],
    "poddisruptionbudgets": ["pdb"],
    "pods": ["po"],
    "serviceaccounts": ["sa"],
    "services": ["svc"],
    "statefulsets": ["sts"],
    **{item.kind.plural: [item.short_name] for item in crd.DEFINITIONS},
}

_STATUSES: Sequence[tuple[type[ClusterError], HTTPStatus, str]] = (
    (NotFoundError, HTTPStatus.NOT_FOUND, "NotFound"),
    (ConflictError, HTTPStatus.CONFLICT, "Conflict"),
    (ForbiddenError, HTTPStatus.FORBIDDEN, "Forbidden"),
    (GoneError, HTTPStatus.GONE, "Expired"),
    (InvalidError, HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid"),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable"),
)


def failure(code: HTTPStatus, reason: str, message: str) -> dict[str, Any]:
    """A `Status` that reports a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": int(code),
    }


def failure_of(error: ClusterError) -> dict[str, Any]:
    """The `Status` of an error of the port."""
    for kind, code, reason in _STATUSES:
        if isinstance(error, kind):
            return failure(code, reason, str(error))
    return failure(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", "the cluster gave no reason")


def object_list(kind: Kind, listing: Listing, name: str) -> dict[str, Any]:
    """A list of objects, or of the one object of that name."""
    items = [item for item in listing.items if name in {"", item["metadata"]["name"]}]
    return {
        "kind": f"{kind.name}List",
        "apiVersion": kind.api_version,
        "metadata": {"resourceVersion": listing.resource_version},
        "items": items,
    }


def core_versions() -> dict[str, Any]:
    """What stands at `/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(kinds: Iterable[Kind]) -> dict[str, Any]:
    """What stands at `/apis`: every group with its version."""
    found = {kind.group: kind for kind in kinds if kind.group}
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(kind) for _, kind in sorted(found.items())],
    }


def resources(api_version: str, kinds: Iterable[Kind]) -> dict[str, Any]:
    """What stands at `/api/v1` and at `/apis/GROUP/VERSION`: its kinds."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": [
            {
                "name": kind.plural,
                "singularName": kind.name.lower(),
                "namespaced": kind.namespaced,
                "kind": kind.name,
                "verbs": list(_VERBS),
                "shortNames": list(_SHORT_NAMES.get(kind.plural, ())),
            }
            for kind in sorted(kinds)
            if kind.api_version == api_version
        ],
    }


def _group(kind: Kind) -> dict[str, Any]:
    version = {"groupVersion": kind.api_version, "version": kind.version}
    return {"name": kind.group, "versions": [version], "preferredVersion": version}
