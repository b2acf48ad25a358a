"""What happens when a key wakes? Six steps over the port `Cluster`.

    1 observe   the object, what it refers to, what we own                      I/O
    2 validate  which objects are accepted, and why not                         pure
    3 plan      the objects that the key wants; cannot fail                     pure
    4 apply     server-side apply, in order                                     I/O
    5 prune     what carries our label and is not planned                       I/O
    6 report    conditions from what was applied, and write them                pure, I/O

A change of any policy input wakes the key `EPOCH` first: its run compiles and publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from demarc.api import load, manifests
from demarc.api.cluster import (
    DATA_RESIDENCY,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    MODEL_DEPLOYMENT,
    NODE,
    POD,
    ROUTING_POLICY,
    SITE,
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    Ref,
)
from demarc.api.reasons import AcceptedReason
from demarc.api.v1alpha1 import DataResidency, ModelDeployment, Resource, RoutingPolicy, Site
from demarc.planning import (
    engine,
    evidence,
    gateways,
    names,
    placement,
    report,
)
from demarc.planning.objects import HOME, AppliedObjects, Planned, PlannedObjects
from demarc.planning.placement import Placed
from demarc.planning.report import Acceptance, PlacementOutcome, PoolFacts, Reported
from demarc.planning.settings import PlanSettings
from demarc.policy import reach
from demarc.policy.epoch import EpochNumber
from demarc.policy.signature import Trust
from demarc.policy.validation import Verdict
from demarc.reconcile import application, publication, world
from demarc.reconcile.keyring import Keyring
from demarc.reconcile.ports import Clusters, Fleet, Unreachable
from demarc.reconcile.publication import Compiled

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What is reconciled: an object of our kinds, the gateways at home, or the epoch."""

    kind: str
    namespace: str = ""
    name: str = ""


EPOCH = Key("Epoch")
GATEWAYS = Key("Gateways")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves to do.

    Attributes:
        woken: keys that its result wakes.
        look_again: whether something is on its way that no event tells of.
        incomplete: whether something could not be applied; it is tried again, later each time.
    """

    woken: frozenset[Key] = frozenset()
    look_again: bool = False
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """What a reconciler is given by `app`.

    Attributes:
        url: base URL of the gateway's OpenAI API, for statuses.
        packs: name and content hash of the installed detector packs.
        clock: the wall clock, with a zone.
        changed: told when an epoch was published, with what it newly lets out.
    """

    clusters: Clusters
    fleet: Fleet
    settings: PlanSettings
    packs: Mapping[str, str]
    url: Callable[[], str]
    clock: Callable[[], datetime]
    changed: Callable[[Compiled], None]


class Reconciler:
    """Runs keys. Its memory is a cache of what the cluster holds: a restart loses nothing."""

    def __init__(self, ports: Ports, keys: Keyring) -> None:
        self._ports = ports
        self._keys = keys
        self._compiled: Compiled | None = None
        self._since = dict[tuple[Ref, str, int], EpochNumber]()
        self._resources = dict[Ref, Resource]()

    def clusters(self) -> Mapping[str, Cluster]:
        """Every cluster that is connected now, by site name."""
        return self._ports.clusters.known()

    async def run(self, key: Key) -> Outcome:
        """Reconcile one key.

        Raises:
            ClusterError: the home cluster did not answer; try again later.
        """
        if key == EPOCH or self._compiled is None:
            woken = await self._run_epoch()
            if key == EPOCH:
                return Outcome(woken)
        if key == GATEWAYS:
            return Outcome(incomplete=not await self._run_gateways())
        match key.kind:
            case "ModelDeployment":
                return Outcome(incomplete=not await self._run_model(key))
            case "Site":
                return Outcome(incomplete=not await self._run_site(key))
            case "RoutingPolicy" | "DataResidency":
                return Outcome(look_again=await self._run_policy(key))
            case _:
                raise ValueError(f"there is no reconciler for `{key.kind}`")

    # -- the epoch ---------------------------------------------------------------------------

    async def _run_epoch(self) -> frozenset[Key]:
        cluster = self._ports.clusters.home
        trust = _trust(self._keys)
        seen = await world.observe(cluster, trust)
        compiled = publication.compile_world(
            seen,
            keys=self._keys,
            packs=self._ports.packs,
            home=self._ports.settings.home,
            now=self._ports.clock(),
        )
        if compiled.is_new:
            await publication.publish(cluster, compiled, self._keys)
            log.info(
                "epoch_published",
                number=str(compiled.epoch.number),
                hash=compiled.epoch.hash,
                widenings=len(compiled.widenings),
            )
        self._remember(compiled)
        if compiled.is_new:
            await self.heartbeat()
            self._ports.changed(compiled)
        keys = {Key(ref.kind.name, ref.namespace, ref.name) for ref in compiled.judged.verdicts}
        return frozenset({*keys, GATEWAYS})

    async def heartbeat(self) -> None:
        """Say that the published epoch is still the one."""
        if self._compiled is not None:
            await publication.publish_heartbeat(
                self._ports.clusters.home,
                self._compiled.epoch,
                self._keys,
                now=self._ports.clock(),
            )

    def _remember(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._resources = {
            manifests.ref_of(source): resource
            for source in compiled.judged.sources
            if not isinstance(resource := load.parse(source), tuple)
        }
        since = dict[tuple[Ref, str, int], EpochNumber]()
        for ref, verdict in compiled.judged.verdicts.items():
            if verdict.in_force is not None:
                identity = (ref, verdict.uid, verdict.in_force)
                since[identity] = self._since.get(identity, compiled.epoch.number)
        self._since = since

    def _in_force_since(self, ref: Ref, verdict: Verdict) -> EpochNumber | None:
        return self._since.get((ref, verdict.uid, verdict.generation))

    # -- the gateways at home ----------------------------------------------------------------

    async def _run_gateways(self) -> bool:
        """Apply the gateways; whether all of it went."""
        remote = tuple(
            site for site in self._accepted(Site) if site.spec.connection.type == "RemoteCluster"
        )
        plan = gateways.plan_home(self._ports.settings, remote) + PlannedObjects(
            tuple(
                Planned(HOME, _in_namespace(self._keys.trust(), namespace))
                for namespace in (names.SYSTEM_NAMESPACE, names.EGRESS_NAMESPACE)
            )
        )
        applied = await self._apply(plan, {HOME: self._ports.clusters.home})
        _log_errors("gateways_reconciled", "gateways", applied)
        return not applied.errors

    # -- one Site ----------------------------------------------------------------------------

    async def _run_site(self, key: Key) -> bool:
        """Apply and report a Site; whether all of it went."""
        ref = Ref(SITE, "", key.name)
        verdict = self._verdict(ref)
        if verdict is None:
            await self._sweep(key, SITE)
            return True
        chosen = self._resources.get(ref)
        acceptance = _acceptance(verdict)
        if not isinstance(chosen, Site):
            await self._write_status(ref, verdict, {}, (report.accepted(acceptance),))
            return True
        cluster: Cluster | Unreachable = self._ports.clusters.home
        error = ""
        if chosen.spec.connection.type == "RemoteCluster":
            cluster = await self._ports.clusters.remote(chosen)
            error = await self._run_edge(chosen, cluster)
        pools: tuple[PoolFacts, ...] = ()
        if not isinstance(cluster, Unreachable):
            try:
                pools = await _pools(cluster, chosen)
            except ClusterError as failure:
                error = str(failure)
        status, reported = report.site_status(chosen, acceptance, pools, unreachable=error)
        await self._write_status(ref, verdict, status, reported)
        return not error

    async def _run_edge(self, site: Site, cluster: Cluster | Unreachable) -> str:
        """Edge gateway and extract at a remote site, and its address at home; why not, if not."""
        if isinstance(cluster, Unreachable):
            return cluster.reason
        name = site.metadata.name
        clusters = {HOME: self._ports.clusters.home, name: cluster}
        compiled = self._compiled
        if compiled is None:
            return "no epoch is compiled yet"
        try:
            addresses = await _edge_addresses(cluster)
        except ClusterError as error:
            return str(error)
        plan = (
            gateways.plan_edge(site, self._ports.settings)
            + PlannedObjects(
                (
                    Planned(name, _in_namespace(self._keys.trust(), names.SYSTEM_NAMESPACE)),
                    Planned(name, publication.extract_for(compiled.epoch, name, self._keys)),
                )
            )
            + gateways.edge_link(site, addresses)
        )
        applied = await self._apply(plan, clusters)
        owner = names.owner_labels(kind="Site", namespace="", name=name, uid=site.metadata.uid)
        await application.prune(owner, applied, clusters)
        _log_errors("site_reconciled", name, applied)
        return "; ".join(applied.errors)

    # -- one ModelDeployment -----------------------------------------------------------------

    async def _run_model(self, key: Key) -> bool:
        """Apply and report a ModelDeployment; whether all of it went."""
        ref = Ref(MODEL_DEPLOYMENT, key.namespace, key.name)
        verdict = self._verdict(ref)
        if verdict is None:
            await self._sweep(key, MODEL_DEPLOYMENT)
            return True
        chosen = self._resources.get(ref)
        acceptance = _acceptance(verdict)
        if not isinstance(chosen, ModelDeployment):
            await self._write_status(ref, verdict, {}, (report.accepted(acceptance),))
            return True
        outcomes = self._place(chosen)
        placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
        clusters = await self._clusters_of(placed)
        plan = PlannedObjects(())
        for outcome in placed:
            plan += engine.plan(chosen, outcome, self._ports.settings)
        applied = await self._apply(plan, clusters)
        owner = names.owner_labels(
            kind="ModelDeployment",
            namespace=key.namespace,
            name=key.name,
            uid=chosen.metadata.uid,
        )
        pruned = await application.prune(owner, applied, self._ports.clusters.known())
        rows = [await self._outcome(chosen, outcome, applied, clusters) for outcome in outcomes]
        status, reported = report.model_status(
            chosen,
            acceptance,
            rows,
            in_epoch=self._in_force_since(ref, verdict) is not None,
            url=self._ports.url(),
        )
        await self._write_status(ref, verdict, status, reported)
        log.info(
            "model_reconciled",
            model=f"{key.namespace}/{key.name}",
            applied=len(applied.objects) - len(applied.errors),
            failed=len(applied.errors),
            pruned=len(pruned),
        )
        return not applied.errors

    def _place(self, model: ModelDeployment) -> tuple[Placed | placement.Rejected, ...]:
        compiled = self._compiled
        endpoints = {
            endpoint.site: endpoint
            for endpoint in (compiled.epoch.endpoints if compiled else ())
            if (endpoint.namespace, endpoint.deployment)
            == (model.metadata.namespace, model.metadata.name)
        }

        def never_eligible(site: str) -> bool:
            if compiled is None or site not in endpoints:
                return True
            return reach.never_eligible(endpoints[site], compiled.epoch, self._ports.clock())

        sites = {site.metadata.name: site for site in self._accepted(Site)}
        return placement.place(model, sites, never_eligible=never_eligible)

    async def _clusters_of(self, placed: Sequence[Placed]) -> Mapping[str, Cluster]:
        clusters = {HOME: self._ports.clusters.home}
        for outcome in placed:
            if not outcome.is_home:
                cluster = await self._ports.clusters.remote(outcome.site)
                if not isinstance(cluster, Unreachable):
                    clusters[outcome.cluster] = cluster
        return clusters

    async def _outcome(
        self,
        model: ModelDeployment,
        outcome: Placed | placement.Rejected,
        applied: AppliedObjects,
        clusters: Mapping[str, Cluster],
    ) -> PlacementOutcome:
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

    # -- one RoutingPolicy or DataResidency --------------------------------------------------

    async def _run_policy(self, key: Key) -> bool:
        """Report a policy; whether agents are still on their way to its epoch."""
        kind = ROUTING_POLICY if key.kind == ROUTING_POLICY.name else DATA_RESIDENCY
        ref = Ref(kind, key.namespace, key.name)
        verdict = self._verdict(ref)
        if verdict is None:
            return False
        acceptance = _acceptance(verdict)
        since = self._in_force_since(ref, verdict)
        programmed = report.in_force(acceptance, await self._ports.fleet.reports(), since)
        match self._resources.get(ref):
            case RoutingPolicy() as policy:
                status, reported = report.policy_status(
                    policy,
                    acceptance,
                    programmed,
                    unavailable_models=await self._unavailable(policy),
                    since=since,
                    url=self._ports.url(),
                )
            case DataResidency() as residency:
                status, reported = report.residency_status(
                    residency, acceptance, programmed, since=since
                )
            case _:
                status, reported = {}, (report.accepted(acceptance), programmed)
        await self._write_status(ref, verdict, status, reported)
        return acceptance.accepted and programmed.status != "True"

    async def _unavailable(self, policy: RoutingPolicy) -> list[str]:
        """Model names of which no target has a ready replica at any of its sites."""
        ready = set[tuple[str, str]]()
        for cluster in self._ports.clusters.known().values():
            try:
                listing = await cluster.list(
                    DEPLOYMENT, labels={names.MANAGED_BY: names.MANAGER, names.COMPONENT: "engine"}
                )
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
                (target.namespace, names.label_value(target.name)) in ready
                for target in model.targets
            )
        ]

    # -- shared ------------------------------------------------------------------------------

    def _accepted(self, kind: type[Site]) -> tuple[Site, ...]:
        return tuple(
            resource for resource in self._resources.values() if isinstance(resource, kind)
        )

    def _verdict(self, ref: Ref) -> Verdict | None:
        return None if self._compiled is None else self._compiled.judged.verdicts.get(ref)

    async def _apply(self, plan: PlannedObjects, clusters: Mapping[str, Cluster]) -> AppliedObjects:
        return await application.apply(
            plan, clusters, authority=self._keys.authority, now=self._ports.clock()
        )

    async def _sweep(self, key: Key, kind: Kind) -> None:
        """Remove what a deleted object left behind, everywhere but at a deleted site."""
        owner = {names.OWNER_KIND: kind.name, names.OWNER_NAME: names.label_value(key.name)}
        if key.namespace:
            owner[names.OWNER_NAMESPACE] = key.namespace
        clusters = (
            self._ports.clusters.known()
            if kind == MODEL_DEPLOYMENT
            else {HOME: self._ports.clusters.home}
        )
        gone = await application.prune(owner, AppliedObjects(()), clusters)
        log.info("object_swept", kind=kind.name, name=key.name, pruned=len(gone))

    async def _write_status(
        self,
        ref: Ref,
        verdict: Verdict,
        status: Mapping[str, Any],
        reported: Sequence[Reported],
    ) -> None:
        cluster = self._ports.clusters.home
        present = await cluster.get(ref)
        if present is None or present["metadata"]["uid"] != verdict.uid:
            return
        previous = (present.get("status") or {}).get("conditions") or ()
        wanted = {
            "observedGeneration": verdict.generation,
            **status,
            "conditions": report.condition_list(
                reported,
                generation=verdict.generation,
                previous=previous,
                now=self._ports.clock(),
            ),
        }
        wanted["observedGeneration"] = verdict.generation
        await cluster.apply_status(
            {
                "apiVersion": ref.kind.api_version,
                "kind": ref.kind.name,
                "metadata": {
                    "name": ref.name,
                    **({"namespace": ref.namespace} if ref.namespace else {}),
                },
                "status": wanted,
            },
            manager=names.STATUS_MANAGER,
        )


def _acceptance(verdict: Verdict) -> Acceptance:
    message = verdict.message or (
        "The object is valid" if verdict.reason is AcceptedReason.ACCEPTED else verdict.reason
    )
    return Acceptance(verdict.accepted, verdict.reason, message[:4096])


def _trust(keys: Keyring) -> Trust:
    return Trust({keys.epoch.key_id: keys.epoch.public})


def _in_namespace(manifest: Manifest, namespace: str) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


async def _edge_addresses(cluster: Cluster) -> list[str]:
    """Ready addresses of the edge Service of a remote cluster."""
    listing = await cluster.list(
        ENDPOINT_SLICE,
        namespace=names.SYSTEM_NAMESPACE,
        labels={"kubernetes.io/service-name": names.EDGE},
    )
    return [
        address
        for found in listing.items
        for endpoint in found.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready")
        for address in endpoint["addresses"]
    ]


async def _pools(cluster: Cluster, site: Site) -> tuple[PoolFacts, ...]:
    """GPUs per pool: what ready nodes offer, and what pods hold."""
    nodes = (await cluster.list(NODE)).items
    pods = (await cluster.list(POD)).items
    facts = list[PoolFacts]()
    for pool in site.spec.pools:
        selector = engine.node_selector(pool)
        members = {
            node["metadata"]["name"]: int(
                ((node.get("status") or {}).get("allocatable") or {}).get(pool.resource_name, 0)
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
        int(((container.get("resources") or {}).get("limits") or {}).get(resource, 0))
        for container in pod["spec"].get("containers") or ()
    )


def _log_errors(event: str, name: str, applied: AppliedObjects) -> None:
    if applied.errors:
        log.warning(event, name=name, errors=applied.errors)
