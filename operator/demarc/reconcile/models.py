"""What does a ModelDeployment run, and does it serve? Its engines at every placement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from demarc.api.cluster import DEPLOYMENT, MODEL_DEPLOYMENT, POD, Cluster, ClusterError, Ref
from demarc.api.v1alpha1 import ModelDeployment, Site
from demarc.planning import engine, evidence, names, placement, report
from demarc.planning.objects import HOME, AppliedObjects, PlannedObjects
from demarc.planning.placement import Placed, Rejected
from demarc.planning.report import PlacementOutcome
from demarc.policy import eligibility
from demarc.reconcile import context
from demarc.reconcile.context import Context
from demarc.reconcile.keys import Key, Outcome
from demarc.reconcile.ports import Unreachable

log = structlog.get_logger()


async def run(key: Key, using: Context) -> Outcome:
    """Apply, prune and report a ModelDeployment."""
    ref = Ref(MODEL_DEPLOYMENT, key.namespace, key.name)
    verdict = using.current.verdict(ref)
    everywhere = using.ports.clusters.known()
    if verdict is None:
        await using.sweep(key, everywhere)
        return Outcome()
    chosen = using.current.resource(ref)
    accepted = context.acceptance(verdict)
    if not isinstance(chosen, ModelDeployment):
        await using.write_status(ref, verdict, {}, report.refused(accepted))
        return Outcome()
    outcomes = _place(chosen, using)
    placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
    clusters = await _clusters_of(placed, using)
    plan = PlannedObjects(())
    for outcome in placed:
        plan += engine.plan(chosen, outcome, using.ports.settings)
    applied = await using.apply(plan, clusters)
    pruned = await using.prune(key, applied, everywhere)
    rows = [await _observe(chosen, outcome, applied, clusters) for outcome in outcomes]
    status, reported = report.model_status(
        chosen,
        accepted,
        rows,
        in_epoch=using.current.since(ref, verdict) is not None,
        url=using.ports.url(),
    )
    await using.write_status(ref, verdict, status, reported)
    log.info(
        "model_reconciled",
        model=f"{key.namespace}/{key.name}",
        applied=len(applied.objects) - len(applied.errors),
        failed=len(applied.errors),
        pruned=len(pruned),
    )
    return Outcome(incomplete=bool(applied.errors))


def _place(model: ModelDeployment, using: Context) -> tuple[Placed | Rejected, ...]:
    barred = eligibility.never_eligible(using.current.compiled.epoch, using.ports.clock())
    sites = {site.metadata.name: site for site in using.current.resources(Site)}
    return placement.place(model, sites, barred=barred)


async def _clusters_of(placed: Sequence[Placed], using: Context) -> Mapping[str, Cluster]:
    clusters = {HOME: using.home}
    for outcome in placed:
        if not outcome.is_home:
            cluster = await using.ports.clusters.remote(outcome.site)
            if not isinstance(cluster, Unreachable):
                clusters[outcome.cluster] = cluster
    return clusters


async def _observe(
    model: ModelDeployment,
    outcome: Placed | Rejected,
    applied: AppliedObjects,
    clusters: Mapping[str, Cluster],
) -> PlacementOutcome:
    """What one placement's workload and pods say now."""
    nothing = evidence.serving(None, ())
    if not isinstance(outcome, Placed):
        return PlacementOutcome(outcome, nothing)
    error = report.deployment_error(applied, outcome, model)
    cluster = clusters.get(outcome.cluster)
    if cluster is None:
        return PlacementOutcome(outcome, nothing, error)
    namespace = model.metadata.namespace or ""
    site = outcome.site.metadata.name
    try:
        workload = await cluster.get(
            Ref(DEPLOYMENT, namespace, names.engine(model.metadata.name, site))
        )
        pods = await cluster.list(POD, namespace=namespace, labels=engine.selector(model, site))
    except ClusterError as failure:
        return PlacementOutcome(outcome, nothing, error or str(failure))
    return PlacementOutcome(outcome, evidence.serving(workload, pods.items), error)
