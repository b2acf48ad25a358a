"""Which pods run on this machine now? One `PodRunner` for each pod that has a node.

RULES
- A pod object stays until its processes are gone: a finalizer of ours holds it.
- A pod of the same name starts after the earlier one has gone, so it can have its address.
- When the node stops, pods end and their objects stay: the next start runs them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from demarc.api import cluster
from demarc.api.cluster import (
    Cluster,
    ClusterError,
    Kind,
    Manifest,
    NotFoundError,
    PermanentError,
    Ref,
)
from demarc.local import addresses, pod_status, pods
from demarc.local.addresses import NoAddressError
from demarc.local.images import ImageTable
from demarc.local.node_settings import ContainerRow, NodeSettings, PodRow
from demarc.local.pod_events import PodEvents
from demarc.local.pod_runner import PodRunner
from demarc.local.pod_site import Backoff, Credentials, PodFolders, PodSite, RunningPod
from demarc.local.pod_status import Waiting, Where
from demarc.local.pod_volumes import Claim, MissingSource, Sources, data_of, token_files
from demarc.local.pods import PodPlan, Refusal, Role
from demarc.local.process import Processes
from demarc.local.state import State

MANAGER: Final = "demarc-local"
"""Field manager of what the node writes by itself."""
_HOLDER: Final = "demarc-local-kubelet"
_FINALIZER: Final = "demarc.dev/processes"
_FRESH_SHARE: Final = 0.7  # of a token's life: an older one is not handed out again
_COMPONENT_LABEL: Final = "demarc.dev/component"
_ENDED: Final = frozenset({"Succeeded", "Failed"})


class Objects(Protocol):
    """The objects of the cluster as they are now, without waiting."""

    def find(self, ref: Ref) -> Manifest | None:
        """One object; not to be changed."""
        ...


class Time(Protocol):
    """The node's clock."""

    def __call__(self) -> str:
        """Now, as RFC 3339 with seconds."""
        ...


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    issued: float


class Kubelet:
    """Runs pods; the `Host` of each of them."""

    def __init__(
        self,
        settings: NodeSettings,
        *,
        objects: Objects,
        store: Cluster,
        state: State,
        processes: Processes,
        now: Time,
        api_url: str,
        freed: Callable[[], None],
    ) -> None:
        """Prepare; nothing runs. `freed` hears when a pod has let go of what it held."""
        self.processes = processes
        self._settings = settings
        self._objects = objects
        self._store = store
        self._state = state
        self._now = now
        self._api_url = api_url
        self._freed = freed
        self._events = PodEvents(store)
        self._nodes = {node.name: node for node in settings.nodes}
        self._runners: dict[str, PodRunner] = {}  # by uid
        self._addresses = state.addresses()
        self._tokens: dict[tuple[str, str, int], _Token] = {}
        self._unreported: set[str] = set()  # uids whose stored status is not the last one
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    # what the runners ask

    @property
    def table(self) -> ImageTable:
        """The programs of this machine."""
        return self._settings.table

    @property
    def backoff(self) -> Backoff:
        """How containers are started again."""
        return self._settings.backoff

    def now(self) -> str:
        """RFC 3339 with seconds."""
        return self._now()

    async def sources(self, running: RunningPod) -> Sources:
        """What the pod reads from, as it is now.

        Raises:
            MissingSource: it wants a token, and its ServiceAccount is not there.
        """
        namespace = str(running.pod["metadata"]["namespace"])
        data: dict[Kind, dict[str, Mapping[str, bytes]]] = {
            cluster.CONFIG_MAP: {},
            cluster.SECRET: {},
        }
        for kind, name in pods.references(running.plan):
            found = self._objects.find(Ref(kind, namespace, name))
            if found is not None:
                data[kind][name] = data_of(found)
        return Sources(
            data[cluster.CONFIG_MAP], data[cluster.SECRET], await self._pod_tokens(running)
        )

    async def _pod_tokens(self, running: RunningPod) -> Mapping[tuple[str, int], str]:
        wanted = {
            (file.audience, file.seconds)
            for volume in running.plan.volumes
            for file in token_files(volume)
        }
        if running.site.credentials:
            wanted.add((running.site.credentials.audience, running.site.credentials.seconds))
        return {key: await self._token(running, *key) for key in sorted(wanted)}

    async def _token(self, running: RunningPod, audience: str, seconds: int) -> str:
        time = asyncio.get_running_loop().time()
        uid = str(running.pod["metadata"]["uid"])
        known = self._tokens.get((uid, audience, seconds))
        if known is not None and time - known.issued < _FRESH_SHARE * seconds:
            return known.text
        namespace = str(running.pod["metadata"]["namespace"])
        try:
            await self._make_default_account(namespace, running.plan.service_account)
            text = await self._store.issue_token(
                namespace,
                running.plan.service_account,
                audience=audience or self._settings.issuer,
                seconds=seconds,
            )
        except ClusterError as error:
            raise MissingSource(str(error)) from error
        self._tokens[uid, audience, seconds] = _Token(text, time)
        return text

    async def _make_default_account(self, namespace: str, name: str) -> None:
        """Every namespace of a cluster has this account; here it comes with its first user."""
        ref = Ref(cluster.SERVICE_ACCOUNT, namespace, "default")
        if name == ref.name and self._objects.find(ref) is None:
            await self._store.apply(_manifest(ref), manager=MANAGER)

    async def report(self, running: RunningPod) -> None:
        """Write the pod's status."""
        before = self._objects.find(_pod_ref(running.pod))
        if before is None or before["metadata"]["uid"] != running.pod["metadata"]["uid"]:
            return  # it was removed, and its processes are ending
        status = pod_status.render(
            running.plan, running.states, running.site.where, before=before, now=self._now()
        )
        await self._write_status(before, status)

    async def event(
        self, pod: Manifest, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """Write what has happened to an object."""
        try:
            await self._events.write(pod, reason, message, warning=warning, now=self._now())
        except ClusterError:
            return  # its namespace is gone: nobody can read it any more

    async def _write_status(self, pod: Manifest, status: Mapping[str, Any]) -> None:
        """Write it, or remember that it is still to be written."""
        uid = str(pod["metadata"]["uid"])
        manifest = {**_manifest(_pod_ref(pod)), "status": status}
        try:
            await self._store.apply_status(manifest, manager=_HOLDER)
        except NotFoundError:
            self._unreported.discard(uid)
        except ClusterError:
            if uid not in self._unreported:
                self._unreported.add(uid)
                self._freed()
        else:
            self._unreported.discard(uid)

    # what the node asks

    def running(self) -> tuple[Manifest, ...]:
        """The pods that have processes, or may have; also those whose object is gone."""
        return tuple(runner.pod for runner in self._runners.values())

    def see(self, ref: Ref) -> None:
        """A ConfigMap or Secret has changed."""
        for runner in self._runners.values():
            if runner.pod["metadata"]["namespace"] == ref.namespace and (
                (ref.kind, ref.name) in pods.references(runner.plan)
            ):
                runner.see()

    async def sync(self, wanted: Iterable[Manifest], tasks: asyncio.TaskGroup) -> bool:
        """Start what should run, end what should not; false if that could not be done for all.

        Args:
            wanted: all pods.
            tasks: where they run.
        """
        done = True
        by_uid = {str(pod["metadata"]["uid"]): pod for pod in wanted}
        for uid, runner in self._runners.items():
            pod = by_uid.get(uid)
            if pod is None or "deletionTimestamp" in pod["metadata"]:
                runner.end()
            if pod is not None:
                self._update(runner, pod)
        names = {_pod_ref(runner.pod) for runner in self._runners.values()}
        for uid, pod in by_uid.items():
            try:
                if uid in self._runners:
                    if uid in self._unreported:
                        await self.report(self._runners[uid])
                elif "deletionTimestamp" in pod["metadata"]:
                    await self._release(pod)
                elif _pod_ref(pod) not in names and not self._closing:
                    await self._start(pod, tasks)
            except (ClusterError, OSError, NoAddressError):
                done = False  # a full disk, say: the other pods go on, this one is tried again
        return done and not self._unreported

    def _update(self, runner: PodRunner, pod: Manifest) -> None:
        before, after = runner.pod["metadata"], pod["metadata"]
        runner.pod = pod
        if any(before.get(name) != after.get(name) for name in ("labels", "annotations")):
            runner.see()

    async def _start(self, pod: Manifest, tasks: asyncio.TaskGroup) -> None:
        await self._hold(pod)
        node = self._nodes.get(str(pod["spec"].get("nodeName", "")))
        if node is None or (pod.get("status") or {}).get("phase") in _ENDED:
            return
        match pods.parse(pod):
            case Refusal() as refusal:
                status = pod_status.refused(refusal, before=pod, now=self._now())
                await self._write_status(pod, status)
                await self.event(pod, pod_status.REFUSED, refusal.message, warning=True)
            case PodPlan() as plan:
                site = self._site(pod, plan, node.block)
                runner = PodRunner(pod, plan, site, self)
                self._runners[str(pod["metadata"]["uid"])] = runner
                self._idle.clear()
                tasks.create_task(self._run(runner))

    def _site(self, pod: Manifest, plan: PodPlan, block: str) -> PodSite:
        metadata = pod["metadata"]
        namespace, name, uid = (str(metadata[key]) for key in ("namespace", "name", "uid"))
        held = [runner.site.where.address for runner in self._runners.values()]
        address, self._addresses = addresses.choose(
            block, f"{namespace}/{name}", held=held, earlier=self._addresses
        )
        self._state.keep_addresses(self._addresses)
        owners = metadata.get("ownerReferences") or ()
        workload = str(owners[0]["name"]) if owners else name
        claims = {
            volume.claim: self._settings.volumes.get(
                volume.claim, self._state.claim_folder(namespace, volume.claim)
            )
            for volume in plan.volumes
            if isinstance(volume, Claim)
        }
        folders = PodFolders(
            home=self._state.pod_folder(uid),
            empty=self._state.empty_folder(uid),
            claims=claims,
            log={
                container.name: self._state.log_file(namespace, name, container.name)
                for container in plan.containers
            },
        )
        return PodSite(
            folders=folders,
            where=Where(address, addresses.host_of(block), self._now()),
            workload=workload,
            added=self._added(workload),
            credentials=self._credentials(namespace, plan),
        )

    def _added(self, workload: str) -> Mapping[str, Mapping[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for (pattern, container), variables in self._settings.added.items():
            if fnmatchcase(workload, pattern):
                found.setdefault(container, {}).update(variables)
        return found

    def _credentials(self, namespace: str, plan: PodPlan) -> Credentials | None:
        wanted = plan.automount
        if wanted is None:
            account = self._objects.find(
                Ref(cluster.SERVICE_ACCOUNT, namespace, plan.service_account)
            )
            wanted = account is None or account.get("automountServiceAccountToken") is not False
        return Credentials(self._api_url, self._settings.issuer) if wanted else None

    async def _run(self, runner: PodRunner) -> None:
        uid = str(runner.pod["metadata"]["uid"])
        try:
            await runner.run()
        finally:
            del self._runners[uid]
            if not self._runners:
                self._idle.set()
            self._freed()
        self._tokens = {key: token for key, token in self._tokens.items() if key[0] != uid}
        pod = self._objects.find(_pod_ref(runner.pod))
        if pod is None or pod["metadata"]["uid"] != uid:
            self._state.remove_pod(uid)
        self._bound_logs()  # a pod that was deleted is released by the look that this end brings

    def _bound_logs(self) -> None:
        logs = (
            log for runner in self._runners.values() for log in runner.site.folders.log.values()
        )
        self._state.bound_logs(logs)

    async def _hold(self, pod: Manifest) -> None:
        if _FINALIZER in (pod["metadata"].get("finalizers") or ()):
            return
        held = _manifest(_pod_ref(pod), uid=pod["metadata"]["uid"], finalizers=[_FINALIZER])
        await self._store.apply(held, manager=_HOLDER)

    async def _release(self, pod: Manifest) -> None:
        """Take the finalizer away: the object goes, and its folders."""
        uid = str(pod["metadata"]["uid"])
        self._state.remove_pod(uid)
        self._unreported.discard(uid)
        try:
            await self._store.apply(_manifest(_pod_ref(pod), uid=uid), manager=_HOLDER)
        except PermanentError:
            return  # it went meanwhile

    async def close(self) -> None:
        """End all pods and wait for them; their objects stay."""
        self._closing = True
        for runner in self._runners.values():
            runner.end()
        await self._idle.wait()

    def rows(self) -> tuple[PodRow, ...]:
        """All pods that run, sorted by namespace and name."""
        found = [_row(runner) for runner in self._runners.values()]
        return tuple(sorted(found, key=lambda row: (row.namespace, row.name)))


def _row(runner: PodRunner) -> PodRow:
    metadata = runner.pod["metadata"]
    pids = runner.processes
    containers = tuple(
        ContainerRow(
            name=container.name,
            pid=pids.get(container.name, 0),
            ready=runner.states[container.name].ready,
            restarts=runner.states[container.name].restarts,
            waiting=state.reason
            if isinstance(state := runner.states[container.name].state, Waiting)
            else "",
            log=runner.site.folders.log[container.name],
        )
        for container in runner.plan.containers
    )
    serving = (item for item in runner.plan.containers if item.role is not Role.INIT)
    return PodRow(
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        component=str((metadata.get("labels") or {}).get(_COMPONENT_LABEL, "")),
        address=runner.site.where.address,
        ready=all(runner.states[item.name].ready for item in serving),
        ending=runner.is_ending,
        containers=containers,
    )


def _pod_ref(pod: Manifest) -> Ref:
    metadata = pod["metadata"]
    return Ref(cluster.POD, str(metadata["namespace"]), str(metadata["name"]))


def _manifest(ref: Ref, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": ref.kind.api_version,
        "kind": ref.kind.name,
        "metadata": {"namespace": ref.namespace, "name": ref.name, **metadata},
    }
