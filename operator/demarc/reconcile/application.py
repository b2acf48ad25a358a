"""How does a plan reach its clusters? Steps 4 and 5: apply in order, then prune.

INVARIANT: an object that somebody else made is never taken over, and one whose field manager is
not ours is never pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from demarc.api import manifests
from demarc.api.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    NAMESPACE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    Ref,
)
from demarc.planning import names
from demarc.planning.objects import Applied, AppliedObjects, CertificateRequest, PlannedObjects
from demarc.reconcile import certificates, keyring
from demarc.reconcile.certificates import KeyPair, Wanted

PRUNED_KINDS: tuple[Kind, ...] = (
    DEPLOYMENT,
    STATEFUL_SET,
    SERVICE,
    ENDPOINT_SLICE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
)
"""Kinds that plans hold; namespaces stay."""


async def apply(
    plan: PlannedObjects,
    clusters: Mapping[str, Cluster],
    *,
    authority: KeyPair,
    now: datetime,
) -> AppliedObjects:
    """Apply namespaces, then certificates, then the rest; one failure does not stop the others."""
    outcomes = list[Applied]()
    first = [item for item in plan.objects if item.manifest["kind"] == NAMESPACE.name]
    rest = [item for item in plan.objects if item.manifest["kind"] != NAMESPACE.name]
    for item in first:
        outcomes.append(await _apply_one(item.cluster, item.manifest, clusters))
    for request in plan.certificates:
        outcomes.append(await _certificate(request, clusters, authority, now))
    for item in rest:
        outcomes.append(await _apply_one(item.cluster, item.manifest, clusters))
    return AppliedObjects(tuple(outcomes))


async def _apply_one(name: str, manifest: Manifest, clusters: Mapping[str, Cluster]) -> Applied:
    ref = manifests.ref_of(manifest)
    cluster = clusters.get(name)
    if cluster is None:
        return Applied(name, ref, None, f"cluster `{name}` is not connected")
    try:
        present = await cluster.get(ref)
        if ref.kind == NAMESPACE and present is not None:
            return Applied(name, ref, present)
        if present is not None and not _is_ours(present):
            return Applied(name, ref, None, "an object of this name belongs to somebody else")
        return Applied(name, ref, await cluster.apply(manifest, manager=names.MANAGER))
    except ClusterError as error:
        return Applied(name, ref, None, str(error))


async def _certificate(
    request: CertificateRequest,
    clusters: Mapping[str, Cluster],
    authority: KeyPair,
    now: datetime,
) -> Applied:
    ref = Ref(SECRET, request.namespace, request.secret)
    cluster = clusters.get(request.cluster)
    if cluster is None:
        return Applied(request.cluster, ref, None, f"cluster `{request.cluster}` is not connected")
    wanted = Wanted(request.uri, request.addresses, request.usages)
    try:
        present = await keyring.read_secret(cluster, request.namespace, request.secret)
        if (
            present is None
            or present.get("ca.crt") != authority.certificate
            or not certificates.still_good(
                present.get("tls.crt", b""), authority.certificate, wanted, now
            )
        ):
            leaf = certificates.issue_leaf(authority, wanted, now)
            await keyring.write_secret(
                cluster,
                request.namespace,
                request.secret,
                {
                    "tls.crt": leaf.certificate,
                    "tls.key": leaf.key,
                    "ca.crt": authority.certificate,
                },
                request.labels,
            )
        return Applied(request.cluster, ref, await cluster.get(ref))
    except ClusterError as error:
        return Applied(request.cluster, ref, None, str(error))


async def prune(
    owner: Mapping[str, str],
    applied: AppliedObjects,
    clusters: Mapping[str, Cluster],
) -> tuple[Ref, ...]:
    """Delete what carries these owner labels and was not planned; returns what was deleted.

    Clusters that do not answer are passed over: the next run finds what is left there.
    """
    kept = {(item.cluster, item.ref) for item in applied.objects}
    gone = list[Ref]()
    for name, cluster in clusters.items():
        for kind in PRUNED_KINDS:
            try:
                listing = await cluster.list(kind, labels=owner)
                for found in listing.items:
                    ref = manifests.ref_of(found)
                    if (name, ref) in kept or not _is_ours(found):
                        continue
                    await cluster.delete(ref, uid=found["metadata"]["uid"])
                    gone.append(ref)
            except ClusterError:
                continue
    return tuple(gone)


def _is_ours(manifest: Manifest) -> bool:
    metadata = manifest["metadata"]
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or ()}
    return names.MANAGER in managers
