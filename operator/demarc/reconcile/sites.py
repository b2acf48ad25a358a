"""What does a Site need, and is it there? A remote one gets an edge gateway and its extract."""

from __future__ import annotations

from collections.abc import Mapping

from demarc.api.cluster import ENDPOINT_SLICE, NODE, POD, SITE, Cluster, ClusterError, Manifest, Ref
from demarc.api.v1alpha1 import Site
from demarc.planning import engine, gateways, names, report
from demarc.planning.objects import HOME, Planned, PlannedObjects
from demarc.planning.report import PoolFacts
from demarc.planning.settings import MUTUAL_TLS_PORT
from demarc.reconcile import context, publication
from demarc.reconcile.context import Context
from demarc.reconcile.keys import Key, Outcome
from demarc.reconcile.ports import Unreachable
from demarc.xds import clusters


async def run(key: Key, using: Context) -> Outcome:
    """Apply and report a Site. Objects of a deleted site stay where they are."""
    ref = Ref(SITE, "", key.name)
    verdict = using.current.verdict(ref)
    if verdict is None:
        await using.sweep(key, {HOME: using.home})
        return Outcome()
    chosen = using.current.resource(ref)
    accepted = context.acceptance(verdict)
    if not isinstance(chosen, Site):
        await using.write_status(ref, verdict, {}, report.refused(accepted))
        return Outcome()
    cluster: Cluster | Unreachable = using.home
    error = ""
    if chosen.spec.connection.type == "RemoteCluster":
        cluster = await using.ports.clusters.remote(chosen)
        error = await _run_edge(key, chosen, cluster, using)
    pools: tuple[PoolFacts, ...] = ()
    if not isinstance(cluster, Unreachable):
        try:
            pools = await _pools(cluster, chosen)
        except ClusterError as failure:
            error = str(failure)
    status, reported = report.site_status(chosen, accepted, pools, unreachable=error)
    await using.write_status(ref, verdict, status, reported)
    return Outcome(incomplete=bool(error))


async def _run_edge(key: Key, site: Site, cluster: Cluster | Unreachable, using: Context) -> str:
    """Edge gateway and extract at a remote site, and its address at home; why not, if not."""
    if isinstance(cluster, Unreachable):
        return cluster.reason
    name = site.metadata.name
    both = {HOME: using.home, name: cluster}
    try:
        addresses = await _edge_addresses(cluster, site)
    except ClusterError as error:
        return str(error)
    trust = context.in_namespace(using.keys.trust(), names.SYSTEM_NAMESPACE)
    extract = publication.extract_for(using.current.compiled.epoch, name, using.keys)
    plan = (
        gateways.plan_edge(site, using.ports.settings)
        + PlannedObjects((Planned(name, trust), Planned(name, extract)))
        + gateways.edge_link(site, addresses)
    )
    applied = await using.apply(plan, both)
    await using.prune(key, applied, both)
    context.log_errors("site_reconciled", name, applied)
    return "; ".join(applied.errors)


async def _edge_addresses(cluster: Cluster, site: Site) -> list[str]:
    """Ready addresses of the edge Service of a remote cluster, as far as they lie in its networks.

    What a far cluster says is not believed: a Service here must not lead anywhere else.
    """
    listing = await cluster.list(
        ENDPOINT_SLICE,
        namespace=names.SYSTEM_NAMESPACE,
        labels={"kubernetes.io/service-name": names.EDGE},
    )
    said = [
        (address, MUTUAL_TLS_PORT)
        for found in listing.items
        for endpoint in found.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready")
        for address in endpoint.get("addresses") or ()
        if isinstance(address, str)
    ]
    return [address for address, _ in clusters.inside(said, site.spec.network.cidrs)]


async def _pools(cluster: Cluster, site: Site) -> tuple[PoolFacts, ...]:
    """GPUs per pool: what ready nodes offer, and what pods hold."""
    nodes = (await cluster.list(NODE)).items
    pods = (await cluster.list(POD)).items
    facts = list[PoolFacts]()
    for pool in site.spec.pools:
        selector = engine.node_selector(pool)
        members = {
            node["metadata"]["name"]: _count(
                (node.get("status") or {}).get("allocatable"), pool.resource_name
            )
            for node in nodes
            if selector.items() <= (node["metadata"].get("labels") or {}).items()
        }
        used = sum(
            _requested(pod, pool.resource_name)
            for pod in pods
            if (pod.get("spec") or {}).get("nodeName") in members
            and (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}
        )
        facts.append(PoolFacts(pool.name, sum(members.values()), used))
    return tuple(facts)


def _requested(pod: Manifest, resource: str) -> int:
    return sum(
        _count((container.get("resources") or {}).get("limits"), resource)
        for container in pod["spec"].get("containers") or ()
    )


def _count(resources: Mapping[str, object] | None, name: str) -> int:
    """How many of an extended resource; what is no number counts as none."""
    try:
        return int(str((resources or {}).get(name, 0)))
    except ValueError:
        return 0
