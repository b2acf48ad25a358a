"""What wakes a key, and how many run at once? Watches, a queue without duplicates, few workers.

An event carries no decision: it names a key. A key that fails is tried again with growing delay,
and every key is run once per resync, so that a missed event costs one period and not a stuck
object.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

import structlog

from demarc.api.cluster import (
    DEMARC_KINDS,
    ENDPOINT_SLICE,
    NODE,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    Change,
    Cluster,
    ClusterError,
    GoneError,
    Kind,
    Manifest,
)
from demarc.planning import names
from demarc.planning.objects import HOME
from demarc.reconcile.application import PRUNED_KINDS
from demarc.reconcile.keys import EPOCH, GATEWAYS, Key
from demarc.reconcile.publication import EpochRefusedError
from demarc.reconcile.run import Reconciler

log = structlog.get_logger()

WORKERS = 4
RUN_SECONDS = 60.0
RESYNC_SECONDS = 30.0
HEARTBEAT_SECONDS = 60.0
SETTLE_SECONDS = 0.2
"""How soon a policy is looked at again while agents load a new epoch."""
_FIRST_DELAY = 0.2
_LAST_DELAY = 30.0
_Reaction: TypeAlias = Callable[[Change, Manifest], None]
_CHILD_KINDS: tuple[Kind, ...] = (*PRUNED_KINDS, POD)
_OWNERS = frozenset(kind.name for kind in DEMARC_KINDS)
"""What a label may name as the owner: anybody may write labels."""


class Queue:
    """Keys that wait; a key waits once, and never runs twice at the same time."""

    def __init__(self) -> None:
        self._waiting = dict[Key, None]()
        self._running = set[Key]()
        self._again = set[Key]()
        self._changed = asyncio.Event()
        self._timers = dict[Key, asyncio.TimerHandle]()

    def add(self, key: Key) -> None:
        """Wake a key now."""
        if key in self._running:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._changed.set()

    def add_later(self, key: Key, seconds: float) -> None:
        """Wake a key after a delay; an earlier timer of the same key is replaced."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    async def take(self) -> Key:
        """The next key; the epoch goes before everything that is planned from it."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        key = EPOCH if EPOCH in self._waiting else next(iter(self._waiting))
        del self._waiting[key]
        self._running.add(key)
        return key

    def done(self, key: Key) -> None:
        """A key's run ended; it runs again if it was woken meanwhile."""
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)


class Controller:
    """Watches clusters and runs keys until it is cancelled."""

    def __init__(self, reconciler: Reconciler, home: Cluster) -> None:
        self._reconciler = reconciler
        self._home = home
        self._queue = Queue()
        self._delays = dict[Key, float]()
        self._generations = dict[tuple[str, str, str], tuple[str, int]]()
        self._known = set[Key]()
        self._group: asyncio.TaskGroup | None = None
        self._watched = set[str]()

    async def run(self) -> None:
        """Watch home, work, resync and send heartbeats."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for kind in (*DEMARC_KINDS, SECRET, SERVICE_ACCOUNT):
                group.create_task(self._watch(self._home, kind, self._on_input))
            self.watch_cluster(HOME, self._home)
            for _ in range(WORKERS):
                group.create_task(self._work())
            group.create_task(self._resync())
            group.create_task(self._heartbeats())
            self._queue.add(EPOCH)

    def watch_cluster(self, name: str, cluster: Cluster) -> None:
        """Watch what we own in a cluster; a second call for one name does nothing."""
        if name in self._watched or self._group is None:
            return
        self._watched.add(name)
        for kind in (*_CHILD_KINDS, NODE):
            if kind in {SECRET, SERVICE_ACCOUNT} and name == HOME:
                continue

            def on_child(change: Change, manifest: Manifest, site: str = name) -> None:
                self._on_child(change, manifest, site)

            self._group.create_task(self._watch(cluster, kind, on_child))

    async def _watch(self, cluster: Cluster, kind: Kind, react: _Reaction) -> None:
        delay = _FIRST_DELAY
        while True:
            try:
                listing = await cluster.list(kind)
                for item in listing.items:
                    react(Change.ADDED, item)
                version = listing.resource_version
                while True:
                    async for event in cluster.watch(kind, since=version):
                        delay = _FIRST_DELAY
                        version = event.object["metadata"]["resourceVersion"]
                        react(event.change, event.object)
                    await asyncio.sleep(0)
            except GoneError:
                continue
            except Exception as error:  # noqa: BLE001  # a far cluster may answer anything
                log.warning("watch_failed", kind=kind.name, error=_told(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)

    def _on_input(self, change: Change, manifest: Manifest) -> None:
        """Wake the epoch when a spec, a Secret or a ServiceAccount changes, not for a status."""
        metadata = manifest["metadata"]
        kind = manifest.get("kind", "")
        if kind in {SECRET.name, SERVICE_ACCOUNT.name}:
            if (metadata.get("labels") or {}).get(names.MANAGED_BY) == names.MANAGER:
                self._on_child(change, manifest, HOME)
            else:
                self._queue.add(EPOCH)
            return
        key = Key(kind, metadata.get("namespace") or "", metadata["name"])
        identity = (key.kind, key.namespace, key.name)
        seen = (metadata["uid"], int(metadata.get("generation", 0)))
        if change is Change.DELETED:
            self._generations.pop(identity, None)
            self._known.discard(key)
            self._queue.add(EPOCH)
            self._queue.add(key)
        elif self._generations.get(identity) != seen:
            self._generations[identity] = seen
            self._known.add(key)
            self._queue.add(EPOCH)

    def _on_child(self, change: Change, manifest: Manifest, site: str) -> None:
        metadata = manifest["metadata"]
        kind = manifest.get("kind", "")
        labels: Mapping[str, str] = metadata.get("labels") or {}
        if kind == NODE.name:
            self._wake_kind("Site")
            return
        if (
            kind == ENDPOINT_SLICE.name
            and labels.get("kubernetes.io/service-name") == names.EDGE
            and site != HOME
        ):
            self._queue.add(Key("Site", "", site))
            return
        owner = labels.get(names.OWNER_KIND)
        of = labels.get(names.OWNER_NAME)
        if owner is not None and owner in _OWNERS and of:
            self._queue.add(Key(owner, labels.get(names.OWNER_NAMESPACE, ""), of))
            if owner == "ModelDeployment" and kind == "Deployment":
                self._wake_kind("RoutingPolicy")
        elif labels.get(names.MANAGED_BY) == names.MANAGER and kind != POD.name:
            self._queue.add(GATEWAYS)
        del change

    def _wake_kind(self, kind: str) -> None:
        for key in self._known:
            if key.kind == kind:
                self._queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                async with asyncio.timeout(RUN_SECONDS):
                    outcome = await self._reconciler.run(key)
            except Exception as error:  # noqa: BLE001  # one key must never stop the others
                delay = self._try_later(key)
                log.warning("run_failed", key=str(key), error=_told(error), retry_seconds=delay)
            else:
                if outcome.incomplete:
                    self._try_later(key)
                else:
                    self._delays.pop(key, None)
                for woken in outcome.woken:
                    self._queue.add(woken)
                if outcome.look_again:
                    self._queue.add_later(key, SETTLE_SECONDS)
                for name, cluster in self._reconciler.clusters().items():
                    self.watch_cluster(name, cluster)
            finally:
                self._queue.done(key)

    def _try_later(self, key: Key) -> float:
        """Wake a key that failed, after a delay that doubles; the delay in seconds."""
        delay = self._delays.get(key, _FIRST_DELAY)
        self._delays[key] = min(delay * 2, _LAST_DELAY)
        self._queue.add_later(key, delay)
        return delay

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            self._queue.add(EPOCH)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._reconciler.heartbeat()
            except Exception as error:  # noqa: BLE001  # the next one may go out
                log.warning("heartbeat_failed", error=_told(error))


def _told(error: Exception) -> str:
    """What a log line says of a failure: the text of ours; of others the kind, they may quote."""
    ours = isinstance(error, ClusterError | EpochRefusedError)
    return str(error) if ours else type(error).__name__
