"""How does an object come, change and go? What the API server adds, counts and takes along."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any

from demarc.api import cluster
from demarc.api.cluster import InvalidError, Kind, Ref

WITH_STATUS = frozenset(
    {
        *cluster.DEMARC_KINDS,
        cluster.DEPLOYMENT,
        cluster.NAMESPACE,
        cluster.NODE,
        cluster.PERSISTENT_VOLUME_CLAIM,
        cluster.POD,
        cluster.POD_DISRUPTION_BUDGET,
        cluster.SERVICE,
        cluster.STATEFUL_SET,
    }
)
"""Kinds whose status is a subresource: an apply ignores it, `apply_status` writes nothing else."""

_WITH_GENERATION = frozenset(
    {
        *cluster.DEMARC_KINDS,
        cluster.DEPLOYMENT,
        cluster.ENDPOINT_SLICE,
        cluster.NETWORK_POLICY,
        cluster.POD,
        cluster.POD_DISRUPTION_BUDGET,
        cluster.STATEFUL_SET,
    }
)


def as_sent(kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an apply of the object means: no nulls, and no status where that is a subresource."""
    if manifest["metadata"].get("managedFields"):
        raise InvalidError("an apply states no `metadata.managedFields`")
    sent: dict[str, Any] = _without_nulls(manifest)
    sent["metadata"].pop("managedFields", None)
    if kind in WITH_STATUS:
        sent.pop("status", None)
    return sent


def as_status(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an apply of the status means: the object's name and its status."""
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {},
        "status": _without_nulls(manifest.get("status") or {}),
    }


def complete(kind: Kind, new: dict[str, Any], live: Mapping[str, Any] | None) -> None:
    """Add what the API server adds to an object that is about to be stored."""
    metadata = new["metadata"]
    before = live["metadata"] if live is not None else {}
    for field in ("resourceVersion", "generation", "deletionTimestamp"):
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    if live is not None:
        metadata |= {name: before[name] for name in ("uid", "creationTimestamp")}
    if kind == cluster.NAMESPACE:
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
        new.setdefault("spec", {"finalizers": ["kubernetes"]})
        new.setdefault("status", {"phase": "Active"})
    if kind in {cluster.DEPLOYMENT, cluster.STATEFUL_SET}:
        new.setdefault("spec", {}).setdefault("replicas", 1)
    if kind == cluster.SECRET:
        _fold_string_data(new)
        new.setdefault("type", "Opaque")


def count_generation(kind: Kind, new: dict[str, Any], live: Mapping[str, Any] | None) -> None:
    """Raise `metadata.generation` if more than metadata and status changed."""
    if kind not in _WITH_GENERATION:
        return
    if live is None:
        new["metadata"]["generation"] = 1
    elif _desired(new) != _desired(live) or _is_leaving(new) != _is_leaving(live):
        new["metadata"]["generation"] = live["metadata"].get("generation", 0) + 1


def is_finished(manifest: Mapping[str, Any]) -> bool:
    """Whether a deletion waited for finalizers, and the last one is gone."""
    return _is_leaving(manifest) and not manifest["metadata"].get("finalizers")


def orphans(objects: Mapping[Ref, Mapping[str, Any]], gone: str) -> tuple[Ref, ...]:
    """What the object with the uid `gone` owned, and no other object that is there owns too."""
    present = {manifest["metadata"]["uid"] for manifest in objects.values()}
    found: list[Ref] = []
    for ref, manifest in objects.items():
        owners = {owner["uid"] for owner in manifest["metadata"].get("ownerReferences", ())}
        if gone in owners and not owners & present:
            found.append(ref)
    return tuple(found)


def _is_leaving(manifest: Mapping[str, Any]) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def _desired(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in manifest.items() if name not in {"metadata", "status"}}


def _fold_string_data(secret: dict[str, Any]) -> None:
    """Plain text goes to `data`; its owner keeps owning it under `stringData`, as in a cluster."""
    plain = secret.pop("stringData", None)
    if plain:
        data = secret.setdefault("data", {})
        for name, value in plain.items():
            data[name] = base64.b64encode(str(value).encode()).decode()


def _without_nulls(value: Any) -> Any:
    match value:
        case Mapping():
            return {
                name: _without_nulls(child) for name, child in value.items() if child is not None
            }
        case list() | tuple():
            return [_without_nulls(item) for item in value]
        case _:
            return copy.copy(value)
