"""Is a RoutingPolicy or a DataResidency in force? It owns no object: its run only reports."""

from __future__ import annotations

from demarc.api.cluster import DATA_RESIDENCY, DEPLOYMENT, ROUTING_POLICY, ClusterError, Ref
from demarc.api.v1alpha1 import DataResidency, RoutingPolicy
from demarc.planning import names, report
from demarc.reconcile import context
from demarc.reconcile.context import Context
from demarc.reconcile.keys import Key, Outcome


async def run(key: Key, using: Context) -> Outcome:
    """Report a policy; looked at again while agents are on their way to its epoch."""
    kind = ROUTING_POLICY if key.kind == ROUTING_POLICY.name else DATA_RESIDENCY
    ref = Ref(kind, key.namespace, key.name)
    verdict = using.current.verdict(ref)
    if verdict is None:
        return Outcome()
    accepted = context.acceptance(verdict)
    since = using.current.since(ref, verdict)
    programmed = report.in_force(accepted, await using.ports.fleet.reports(), since)
    match using.current.resource(ref):
        case RoutingPolicy() as policy:
            status, reported = report.policy_status(
                policy,
                accepted,
                programmed,
                unavailable_models=await _unavailable(policy, using),
                since=since,
                url=using.ports.url(),
            )
        case DataResidency() as residency:
            status, reported = report.residency_status(residency, accepted, programmed, since=since)
        case _:
            status, reported = {}, report.refused(accepted)
    await using.write_status(ref, verdict, status, reported)
    return Outcome(look_again=accepted.accepted and programmed.status != "True")


async def _unavailable(policy: RoutingPolicy, using: Context) -> list[str]:
    """Model names of which no target has a ready replica at any of its sites."""
    ready = set[tuple[str, str]]()
    engines = {names.MANAGED_BY: names.MANAGER, names.COMPONENT: "engine"}
    for cluster in using.ports.clusters.known().values():
        try:
            listing = await cluster.list(DEPLOYMENT, labels=engines)
        except ClusterError:
            continue
        for found in listing.items:
            labels = found["metadata"]["labels"]
            if int((found.get("status") or {}).get("readyReplicas", 0)) > 0:
                ready.add((found["metadata"]["namespace"], labels[names.DEPLOYMENT]))
    return [
        model.name
        for model in policy.spec.models
        if not any(
            (target.namespace, names.label_value(target.name)) in ready for target in model.targets
        )
    ]
