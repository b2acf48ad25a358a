"""Which step does each object need now? The scheduler and the controllers of a node.

1 workloads  Deployments and StatefulSets -> pods made and deleted, statuses
2 claims     volume claims -> a folder each
3 schedule   pods without a node -> a node, or Unschedulable
4 run        pods with a node -> the kubelet
5 publish    Services -> EndpointSlices, and the addresses of load balancers

INVARIANT: a pass looks at everything and follows from the objects alone, so a missed wake costs
nothing but time; a pass over objects that are as they should be writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from demarc.api import cluster, manifests
from demarc.api.cluster import (
    Change,
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    NotFoundError,
    PermanentError,
    Ref,
    WatchEvent,
)
from demarc.local import endpoint_slices, pod_status, pods, scheduler, volumes, workloads
from demarc.local.kubelet import MANAGER, Kubelet
from demarc.local.node_settings import NodeSettings
from demarc.local.pod_volumes import Claim
from demarc.local.pods import MALFORMED, Refusal
from demarc.local.scheduler import Placed, Unschedulable
from demarc.local.state import State
from demarc.local.workloads import Step

_AGAIN_SECONDS: Final = 1.0
_SCHEDULER: Final = "demarc-local-scheduler"
_WAKING: Final = frozenset(
    {
        cluster.DEPLOYMENT,
        cluster.STATEFUL_SET,
        cluster.SERVICE,
        cluster.POD,
        cluster.PERSISTENT_VOLUME_CLAIM,
        cluster.ENDPOINT_SLICE,
        cluster.NAMESPACE,
    }
)
_DATA: Final = frozenset({cluster.CONFIG_MAP, cluster.SECRET})


class SeenObjects:
    """The objects as the journal has told them."""

    def __init__(self) -> None:
        self._objects: dict[Ref, Manifest] = {}

    def see(self, event: WatchEvent) -> Ref:
        """Remember a change; its address."""
        ref = manifests.ref_of(event.object)
        if event.change is Change.DELETED:
            self._objects.pop(ref, None)
        else:
            self._objects[ref] = event.object
        return ref

    def find(self, ref: Ref) -> Manifest | None:
        """One object; not to be changed."""
        return self._objects.get(ref)

    def all(self, kind: Kind) -> tuple[Manifest, ...]:
        """All objects of a kind, by namespace and name; not to be changed."""
        refs = sorted(ref for ref in self._objects if ref.kind == kind)
        return tuple(self._objects[ref] for ref in refs)


class Control:
    """Brings pods, statuses and EndpointSlices to what the objects say."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        objects: SeenObjects,
        store: Cluster,
        state: State,
        kubelet: Kubelet,
        now: Callable[[], str],
        ids: Callable[[], str],
        woken: asyncio.Event,
    ) -> None:
        """Prepare; nothing is looked at. Whoever sets `woken` asks for a look."""
        self._settings = settings
        self._objects = objects
        self._store = store
        self._state = state
        self._kubelet = kubelet
        self._now = now
        self._ids = ids
        self._woken = woken
        self._behind = False

    def wake(self, ref: Ref) -> None:
        """An object has changed."""
        if ref.kind in _DATA:
            self._kubelet.see(ref)
        if ref.kind in _WAKING:
            self._woken.set()

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Look at everything whenever something has changed; pods run in `tasks`."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_SECONDS if self._behind else None):
                    await self._woken.wait()
            self._woken.clear()
            await self.look(tasks)

    async def look(self, tasks: asyncio.TaskGroup) -> None:
        """One pass; what cannot be dealt with now is looked at again soon."""
        self._behind = False
        for kind in (cluster.DEPLOYMENT, cluster.STATEFUL_SET):
            for workload in self._objects.all(kind):
                await self._attempt(self._step(workload))
        for claim in self._objects.all(cluster.PERSISTENT_VOLUME_CLAIM):
            await self._attempt(self._bind(claim))
        for pod in self._objects.all(cluster.POD):
            if not pod["spec"].get("nodeName") and not workloads.is_ending(pod):
                await self._attempt(self._schedule(pod))
        if not await self._kubelet.sync(self._objects.all(cluster.POD), tasks):
            self._behind = True
        for service in self._objects.all(cluster.SERVICE):
            if service["spec"].get("selector"):
                await self._attempt(self._publish(service))

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> None:
        """One object's trouble, a full disk say, is not that of the others."""
        try:
            await work
        except NotFoundError:
            return  # it went in this pass
        except (ClusterError, OSError):
            self._behind = True

    # 1

    async def _step(self, workload: Manifest) -> None:
        unknown = workloads.unknown_fields(workload)
        if unknown:
            message = f"not known on this machine: {', '.join(unknown)}"
            await self._write_status(workload, _failure(workload, "UnknownField", message))
            return
        owned = workloads.owned(workload, self._objects.all(cluster.POD))
        try:
            step = (
                workloads.deployment(workload, owned, suffix=self._suffix)
                if workload["kind"] == cluster.DEPLOYMENT.name
                else workloads.stateful_set(workload, owned)
            )
        except MALFORMED as error:
            message = f"a field cannot be understood: {error}"
            await self._write_status(workload, _failure(workload, "Malformed", message))
            return
        try:
            await self._take(step)
        except PermanentError as error:
            await self._kubelet.event(workload, "FailedCreate", str(error), warning=True)
        await self._write_status(workload, step.status)

    async def _take(self, step: Step) -> None:
        for manifest in step.create:
            await self._store.apply(manifest, manager=MANAGER)
        for pod in step.delete:
            await self._store.delete(manifests.ref_of(pod), uid=str(pod["metadata"]["uid"]))

    def _suffix(self) -> str:
        return hashlib.sha256(self._ids().encode()).hexdigest()[:5]

    async def _write_status(self, manifest: Manifest, status: Mapping[str, Any]) -> None:
        conditions: Sequence[Mapping[str, Any]] = status.get("conditions") or ()
        timed = pod_status.keep_times(conditions, manifest, self._now())
        full = {**status, "conditions": timed} if conditions else status
        metadata = manifest["metadata"]
        await self._store.apply_status(
            {
                "apiVersion": manifest["apiVersion"],
                "kind": manifest["kind"],
                "metadata": {"namespace": metadata["namespace"], "name": metadata["name"]},
                "status": full,
            },
            manager=MANAGER,
        )

    # 2

    async def _bind(self, claim: Manifest) -> None:
        metadata = claim["metadata"]
        name = str(metadata["name"])
        if name not in self._settings.volumes:
            volumes.make_folder(self._state.claim_folder(str(metadata["namespace"]), name))
        await self._write_status(claim, {"phase": "Bound"})

    # 3

    async def _schedule(self, pod: Manifest) -> None:
        metadata = pod["metadata"]
        match self._place(pod):
            case Placed(node):
                await self._store.apply(
                    {
                        "apiVersion": pod["apiVersion"],
                        "kind": pod["kind"],
                        "metadata": {"namespace": metadata["namespace"], "name": metadata["name"]},
                        "spec": {"nodeName": node},
                    },
                    manager=_SCHEDULER,
                )
                text = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
                await self._kubelet.event(pod, "Scheduled", text)
            case Unschedulable(message):
                conditions = (pod.get("status") or {}).get("conditions") or ()
                if any(row.get("message") == message for row in conditions):
                    return
                status = pod_status.unschedulable(message, before=pod, now=self._now())
                await self._write_status(pod, status)
                await self._kubelet.event(pod, "FailedScheduling", message, warning=True)

    def _place(self, pod: Manifest) -> Placed | Unschedulable:
        missing = self._missing_claim(pod)
        if missing:
            return Unschedulable(missing)
        placed = [item for item in self._objects.all(cluster.POD) if item["spec"].get("nodeName")]
        uids = {item["metadata"]["uid"] for item in placed}
        gone = [item for item in self._kubelet.running() if item["metadata"]["uid"] not in uids]
        try:
            return scheduler.place(pod, self._settings.nodes, [*placed, *gone])
        except MALFORMED as error:
            return Unschedulable(f"a field cannot be understood: {error}")

    def _missing_claim(self, pod: Manifest) -> str:
        plan = pods.parse(pod)
        if isinstance(plan, Refusal):
            return ""  # the kubelet says so
        namespace = str(pod["metadata"]["namespace"])
        for volume in plan.volumes:
            if isinstance(volume, Claim) and volume.claim not in self._settings.volumes:
                ref = Ref(cluster.PERSISTENT_VOLUME_CLAIM, namespace, volume.claim)
                if self._objects.find(ref) is None:
                    return (
                        f'persistentvolumeclaim "{volume.claim}" not found: give it a folder with'
                        f" --volume {volume.claim}=DIR"
                    )
        return ""

    # 5

    async def _publish(self, service: Manifest) -> None:
        metadata = service["metadata"]
        namespace = str(metadata["namespace"])
        mine = [
            pod
            for pod in self._objects.all(cluster.POD)
            if pod["metadata"]["namespace"] == namespace
        ]
        slices = endpoint_slices.render(service, mine)
        names = {item["metadata"]["name"] for item in slices}
        for item in slices:
            await self._store.apply(item, manager=MANAGER)
        for stale in self._objects.all(cluster.ENDPOINT_SLICE):
            if _belongs(stale, service) and stale["metadata"]["name"] not in names:
                await self._store.delete(manifests.ref_of(stale))
        if service["spec"].get("type") == "LoadBalancer":
            ingress = [{"ip": address} for address in endpoint_slices.addresses(slices)]
            await self._write_status(service, {"loadBalancer": {"ingress": ingress}})


def _belongs(item: Manifest, service: Manifest) -> bool:
    """Whether we wrote this EndpointSlice for the Service."""
    labels: Mapping[str, str] = item["metadata"].get("labels") or {}
    return (
        item["metadata"]["namespace"] == service["metadata"]["namespace"]
        and labels.get(endpoint_slices.SERVICE_LABEL) == service["metadata"]["name"]
        and labels.get(endpoint_slices.MANAGED_BY_LABEL) == endpoint_slices.MANAGED_BY
    )


def _failure(workload: Manifest, reason: str, message: str) -> Mapping[str, Any]:
    return {
        "observedGeneration": workload["metadata"].get("generation", 1),
        "replicas": 0,
        "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": message}
        ],
    }
