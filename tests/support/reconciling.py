"""What does a reconciler run on in tests? Clusters in memory, agents that say their epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from demarc.api import manifests
from demarc.api.cluster import CONFIG_MAP, Cluster, Kind, Manifest, Ref, TransientError
from demarc.api.v1alpha1 import Site
from demarc.planning import names
from demarc.planning.objects import HOME
from demarc.planning.report import AgentReport
from demarc.planning.settings import PlanSettings
from demarc.policy import document
from demarc.policy.epoch import EpochNumber
from demarc.reconcile import keyring
from demarc.reconcile.context import Ports
from demarc.reconcile.keys import EPOCH, GATEWAYS, Key, Outcome
from demarc.reconcile.ports import Unreachable
from demarc.reconcile.publication import Compiled
from demarc.reconcile.run import Reconciler
from support.cluster import Clock, MemoryCluster, namespace

SAMPLE = Path(__file__).with_name("sample.yaml")
PACKS = {"cn-financial": "0" * 64, "secrets": "1" * 64}
URL = "https://gateway.test:8443/v1"


@dataclass(slots=True)
class FakeClusters:
    """Home and one remote cluster; the remote one can be cut off."""

    home: Cluster
    others: dict[str, Cluster]
    cut: str = ""
    fault: str = ""

    async def remote(self, site: Site) -> Cluster | Unreachable:
        """The cluster behind a site, unless it is cut off or faulty."""
        if self.fault:
            raise TransientError(self.fault)
        if self.cut:
            return Unreachable(self.cut)
        return self.others[site.metadata.name]

    def known(self) -> Mapping[str, Cluster]:
        """What is connected now."""
        return {HOME: self.home, **({} if self.cut else self.others)}


@dataclass(slots=True)
class FakeFleet:
    """Agents that run the epoch that a test says."""

    number: EpochNumber | None = None
    pods: tuple[str, ...] = ("demarc-inner-0",)

    async def reports(self) -> Sequence[AgentReport]:
        """What the agents run."""
        return tuple(AgentReport(pod, "inner", self.number) for pod in self.pods)


@dataclass(slots=True)
class World:
    """A reconciler and everything around it."""

    home: MemoryCluster
    cloud: MemoryCluster
    clusters: FakeClusters
    fleet: FakeFleet
    clock: Clock
    reconciler: Reconciler
    published: list[Compiled] = field(default_factory=list[Compiled])

    async def settle(self) -> None:
        """Run the epoch and everything that it wakes, once."""
        outcome: Outcome = await self.reconciler.run(EPOCH)
        for key in sorted(outcome.woken):
            await self.reconciler.run(key)

    async def run(self, kind: str, name: str, space: str = "") -> Outcome:
        """Run one key."""
        return await self.reconciler.run(Key(kind, space, name))

    async def conditions(self, kind: Kind, name: str, space: str = "") -> dict[str, str]:
        """`STATUS/REASON` of each condition."""
        found = await self.home.get(Ref(kind, space, name))
        assert found is not None
        return {
            condition["type"]: f"{condition['status']}/{condition['reason']}"
            for condition in (found.get("status") or {}).get("conditions") or ()
        }

    async def epoch_number(self) -> EpochNumber:
        """Number of the epoch that is published."""
        found = await self.home.get(Ref(CONFIG_MAP, names.SYSTEM_NAMESPACE, names.EPOCH))
        assert found is not None
        return document.parse(found["data"]["epoch.json"].encode()).number

    def versions(self) -> tuple[str, str]:
        """Changes so far in both clusters."""
        return self.home.version, self.cloud.version


def sample() -> list[dict[str, Any]]:
    """The sample of the design, as objects."""
    return [
        {**item, "metadata": _written(item["metadata"])}
        for item in yaml.safe_load_all(SAMPLE.read_text("utf-8"))
    ]


async def start(objects: Sequence[Manifest]) -> World:
    """A world that holds these objects and was not reconciled yet."""
    clock = Clock()
    home, cloud = MemoryCluster(clock=clock), MemoryCluster(clock=clock)
    spaces = {"demarc-system", "demarc-egress", "retail", "models"}
    for space in sorted(spaces):
        await home.apply(namespace(space), manager="installer")
    await cloud.apply(namespace("kube-public"), manager="installer")
    for item in objects:
        await apply(home, item)
    return await _around(home, cloud, clock)


async def restart(world: World) -> World:
    """A new reconciler over the same clusters."""
    return await _around(world.home, world.cloud, world.clock)


async def _around(home: MemoryCluster, cloud: MemoryCluster, clock: Clock) -> World:
    keys = await keyring.load(home, home="shanghai-dc", now=clock())
    clusters = FakeClusters(home, {"cloud-sg": cloud})
    fleet = FakeFleet()
    published = list[Compiled]()
    ports = Ports(
        clusters=clusters,
        fleet=fleet,
        settings=PlanSettings(home="shanghai-dc"),
        packs=PACKS,
        url=lambda: URL,
        clock=clock,
        changed=published.append,
    )
    return World(home, cloud, clusters, fleet, clock, Reconciler(ports, keys), published)


async def apply(cluster: MemoryCluster, item: Manifest) -> None:
    """Apply an object as its user would."""
    ref = manifests.ref_of(item)
    if ref.namespace:
        await cluster.apply(namespace(ref.namespace), manager="user")
    await cluster.apply(item, manager="user")


def credentials() -> list[dict[str, Any]]:
    """The Secret and the ServiceAccount that the sample names."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "faq-key", "namespace": "retail"},
            "data": {"token": "ZG1rX2V4YW1wbGU="},
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "copilot", "namespace": "retail"},
        },
    ]


def _written(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in ("name", "namespace") if key in metadata}


__all__ = ["EPOCH", "GATEWAYS", "World", "apply", "credentials", "sample", "start"]
