"""What happens when a key wakes? Six steps over the port `Cluster`.

    1 observe   the object, what it refers to, what we own                      I/O
    2 validate  which objects are accepted, and why not                         pure
    3 plan      the objects that the key wants; cannot fail                     pure
    4 apply     server-side apply, in order                                     I/O
    5 prune     what carries our label and is not planned                       I/O
    6 report    conditions from what was applied, and write them                pure, I/O

1 and 2 are the run of the key `EPOCH`: a change of any input of policy wakes it first, and it
compiles and publishes. 3 to 6 are the module of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from demarc.api.cluster import Cluster
from demarc.api.v1alpha1 import Site
from demarc.planning import gateways, names
from demarc.planning.objects import HOME, Planned, PlannedObjects
from demarc.policy.signature import Trust
from demarc.reconcile import context, models, policies, publication, sites, world
from demarc.reconcile.context import Context, Ports
from demarc.reconcile.current import Current
from demarc.reconcile.keyring import Keyring
from demarc.reconcile.keys import EPOCH, GATEWAYS, Key, Outcome

log = structlog.get_logger()


class Reconciler:
    """Runs keys."""

    def __init__(self, ports: Ports, keys: Keyring) -> None:
        self._ports = ports
        self._keys = keys
        self._current: Current | None = None

    def clusters(self) -> Mapping[str, Cluster]:
        """Every cluster that is connected now, by site name."""
        return self._ports.clusters.known()

    async def run(self, key: Key) -> Outcome:
        """Reconcile one key.

        Raises:
            ClusterError: the home cluster did not answer; try again later.
            EpochRefusedError: agents run a newer epoch than this operator knows of.
        """
        if key == EPOCH:
            return Outcome(woken=_keys_of(await self._run_epoch()))
        using = Context(self._ports, self._keys, self._current or await self._run_epoch())
        if key == GATEWAYS:
            return await _run_gateways(using)
        match key.kind:
            case "ModelDeployment":
                return await models.run(key, using)
            case "Site":
                return await sites.run(key, using)
            case "RoutingPolicy" | "DataResidency":
                return await policies.run(key, using)
            case _:
                raise ValueError(f"there is no reconciler for `{key.kind}`")

    async def heartbeat(self) -> None:
        """Say that the published epoch is still the one."""
        if self._current is not None:
            await publication.publish_heartbeat(
                self._ports.clusters.home,
                self._current.compiled.epoch,
                self._keys,
                now=self._ports.clock(),
            )

    async def _run_epoch(self) -> Current:
        cluster = self._ports.clusters.home
        trust = Trust({self._keys.epoch.key_id: self._keys.epoch.public})
        seen = await world.observe(cluster, trust)
        # What the cluster says is published may have been deleted, or put back to an older one.
        known = None if self._current is None else self._current.compiled
        last = publication.newest(seen.published, known)
        compiled = publication.compile_world(
            replace(seen, published=last),
            keys=self._keys,
            packs=self._ports.packs,
            home=self._ports.settings.home,
            now=self._ports.clock(),
        )
        if known is None and compiled.is_new:
            publication.refuse_below(await self._ports.fleet.reports(), compiled.epoch.number)
        if seen.published is None or seen.published.hash != compiled.epoch.hash:
            await publication.publish(cluster, compiled, self._keys)
            log.info(
                "epoch_published",
                number=str(compiled.epoch.number),
                hash=compiled.epoch.hash,
                widenings=len(compiled.widenings),
            )
        self._current = Current(compiled, self._current)
        if compiled.is_new:
            await self.heartbeat()
            self._ports.changed(compiled)
        return self._current


async def _run_gateways(using: Context) -> Outcome:
    """Inner and egress gateways, and the trust bundles beside them."""
    remote = tuple(
        site
        for site in using.current.resources(Site)
        if site.spec.connection.type == "RemoteCluster"
    )
    trust = tuple(
        Planned(HOME, context.in_namespace(using.keys.trust(), namespace))
        for namespace in (names.SYSTEM_NAMESPACE, names.EGRESS_NAMESPACE)
    )
    plan = gateways.plan_home(using.ports.settings, remote) + PlannedObjects(trust)
    applied = await using.apply(plan, {HOME: using.home})
    context.log_errors("gateways_reconciled", "gateways", applied)
    return Outcome(incomplete=bool(applied.errors))


def _keys_of(current: Current) -> frozenset[Key]:
    objects = {
        Key(ref.kind.name, ref.namespace, ref.name) for ref in current.compiled.judged.verdicts
    }
    return frozenset({*objects, GATEWAYS})
