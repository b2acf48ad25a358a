"""How does one machine stand for a cluster? `LocalNode`: the same objects, and the pods run.

It is a `Cluster` by way of its store. The journal of the store keeps each change on the disk and
wakes `Control`, which plays scheduler and controllers; the `Kubelet` runs the pods.

INVARIANT: one node for a state folder and for each block of addresses, of all that run.
INVARIANT: after the node has stopped, or was killed, none of its processes is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from demarc.api import cluster
from demarc.api.cluster import Change, Kind, Listing, Manifest, Ref, WatchEvent
from demarc.local import addresses, merge_schema, process, state
from demarc.local.api import Access, ReadApi
from demarc.local.control import Control, SeenObjects
from demarc.local.kubelet import MANAGER, Kubelet
from demarc.local.node_settings import NodeSettings, PodRow
from demarc.local.process import Processes
from demarc.local.scheduler import NodeDescription
from demarc.local.state import State, StateError
from demarc.local.store import Store
from demarc.local.tokens import TokenSigner

_VERSION_GAP: Final = 1_000_000  # more changes than one run makes without keeping them


class LocalNode:
    """A cluster on one machine: an adapter of `Cluster` that runs its pods.

    `async with LocalNode(...) as node:` starts it and, at the end, stops every process.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        clock: Callable[[], datetime],
        ids: Callable[[], str],
    ) -> None:
        """Prepare; nothing is touched.

        Args:
            settings: what it is told.
            clock: the time, with a time zone.
            ids: makes a new unique id at each call.
        """
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._exit = AsyncExitStack()
        self._opened: _Parts | None = None

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            StateError: the folder, a block or an address is in use.
        """
        async with AsyncExitStack() as stack:
            self._opened = await _Parts.open(self._settings, self._clock, self._ids, stack)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """End every pod with its grace period, then every process that is left."""
        return await self._exit.__aexit__(kind, error, trace)

    @property
    def _now_open(self) -> _Parts:
        if self._opened is None:
            raise RuntimeError("the node has not been started: use `async with`")
        return self._opened

    @property
    def api_url(self) -> str:
        """Where the reading half of the Kubernetes API is served."""
        return self._now_open.api_url

    def pods(self) -> tuple[PodRow, ...]:
        """All pods, sorted by namespace and name."""
        return self._now_open.kubelet.rows()

    # Cluster

    async def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if there is none."""
        return await self._now_open.store.get(ref)

    async def list(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Listing:
        """All objects of a kind, in one namespace or in all, that carry all the labels."""
        return await self._now_open.store.list(kind, namespace=namespace, labels=labels)

    def watch(
        self, kind: Kind, *, since: str, namespace: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `since`."""
        return self._now_open.store.watch(kind, since=since, namespace=namespace)

    async def apply(
        self, manifest: Manifest, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Manifest:
        """Server-side apply by a field manager."""
        return await self._now_open.store.apply(
            manifest, manager=manager, force=force, dry_run=dry_run
        )

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status subresource only."""
        return await self._now_open.store.apply_status(manifest, manager=manager)

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        """Delete; a pod stays until its processes are gone."""
        await self._now_open.store.delete(ref, uid=uid)

    async def issue_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> str:
        """A ServiceAccount token (a JWT) for an audience."""
        return await self._now_open.store.issue_token(
            namespace, service_account, audience=audience, seconds=seconds
        )

    async def token_keys(self) -> Mapping[str, Any]:
        """`{"issuer": str, "keys": [JWK, ...]}`: what verifies ServiceAccount tokens."""
        return await self._now_open.store.token_keys()


class _Parts:
    """A started node."""

    def __init__(self, store: Store, kubelet: Kubelet, api_url: str) -> None:
        self.store = store
        self.kubelet = kubelet
        self.api_url = api_url

    @classmethod
    async def open(
        cls,
        settings: NodeSettings,
        clock: Callable[[], datetime],
        ids: Callable[[], str],
        stack: AsyncExitStack,
    ) -> _Parts:
        """Start everything; what ends it is pushed on the stack, in reverse order of its end.

        1 lock the folder and the blocks, end what a killed node left
        2 load the objects, tell the nodes
        3 the first look: pods of the run before start again
        4 serve the API, look at each change
        """
        kept = State(settings.folder, short=settings.short)
        stack.callback(kept.close)
        _claim(settings.nodes, stack)
        process.end_leftovers(kept.marker)
        kept.clear_empty_folders()
        _check_free(settings.nodes)

        objects = SeenObjects()
        woken = asyncio.Event()
        waking: list[Callable[[Ref], None]] = []

        def journal(event: WatchEvent) -> None:
            kept.keep(event)
            ref = objects.see(event)
            for wake in waking:
                wake(ref)

        key = kept.token_key()
        signer = TokenSigner(key, issuer=settings.issuer)
        store = Store(
            clock=clock,
            ids=ids,
            signer=signer,
            places=merge_schema.of_every_kind(),
            journal=journal,
        )
        await _load(store, kept, objects)
        for node in settings.nodes:
            await _tell(store, node)

        def now() -> str:
            return clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

        processes = Processes(marker=kept.marker, log=kept.logs / "keeper.log")
        stack.push_async_callback(processes.close)
        host = addresses.host_of(settings.nodes[0].block)
        url = f"http://{host}:{settings.api_port}"
        kubelet = Kubelet(
            settings,
            objects=objects,
            store=store,
            state=kept,
            processes=processes,
            now=now,
            api_url=url,
            freed=woken.set,
        )
        control = Control(
            settings,
            objects=objects,
            store=store,
            state=kept,
            kubelet=kubelet,
            now=now,
            ids=ids,
            woken=woken,
        )
        waking.append(control.wake)
        api = ReadApi(store, _authorizer(key, settings, objects, clock))
        tasks = await _enter(asyncio.TaskGroup(), stack)
        await stack.enter_async_context(api.serving(host, settings.api_port))
        await control.look(tasks)
        controlling = tasks.create_task(control.run(tasks))
        stack.callback(controlling.cancel)
        stack.push_async_callback(kubelet.close)
        return cls(store, kubelet, url)


async def _enter(tasks: asyncio.TaskGroup, stack: AsyncExitStack) -> asyncio.TaskGroup:
    """Enter a task group that passes an error of the caller on as it is, not in a group."""
    await tasks.__aenter__()

    async def leave(
        kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            await tasks.__aexit__(kind, error, trace)
        else:
            await tasks.__aexit__(None, None, None)

    stack.push_async_exit(leave)
    return tasks


def _claim(nodes: tuple[NodeDescription, ...], stack: AsyncExitStack) -> None:
    if not nodes:
        raise StateError("a node on one machine simulates at least one node")
    for node in nodes:
        addresses.host_of(node.block)
        stack.enter_context(state.claim_block(node.block))


def _check_free(nodes: tuple[NodeDescription, ...]) -> None:
    found = [address for node in nodes for address in state.listeners(node.block)]
    if found:
        raise StateError(
            f"something else listens on {', '.join(found)}: stop it or choose another block"
        )


async def _load(store: Store, kept: State, objects: SeenObjects) -> None:
    """Take over the objects of the run before, under versions that none of its readers has seen.

    The number of the last change is not kept when that change was a deletion or an event. A reader
    that comes back with it must be told to list again, so the count goes on after a gap.
    """
    loaded = kept.load()
    if loaded:
        last = int(loaded[-1]["metadata"]["resourceVersion"]) + _VERSION_GAP
        newest = {
            **loaded[-1],
            "metadata": {**loaded[-1]["metadata"], "resourceVersion": str(last)},
        }
        loaded = (*loaded[:-1], newest)
        kept.keep(WatchEvent(Change.MODIFIED, newest))
    store.load(loaded)
    for kind in (*cluster.KINDS,):
        for item in (await store.list(kind)).items:
            objects.see(WatchEvent(Change.ADDED, item))
    for item in objects.all(cluster.NAMESPACE):
        kept.keep(WatchEvent(Change.ADDED, item))  # the journal does not hear of the first ones


async def _tell(store: Store, node: NodeDescription) -> None:
    """Write a Node object."""
    host = addresses.host_of(node.block)
    base: dict[str, Any] = {"apiVersion": "v1", "kind": "Node"}
    taints = [
        {
            "key": taint.key,
            "effect": taint.effect,
            **({"value": taint.value} if taint.value else {}),
        }
        for taint in node.taints
    ]
    await store.apply(
        {
            **base,
            "metadata": {
                "name": node.name,
                "labels": {"kubernetes.io/hostname": node.name, **node.labels},
            },
            "spec": {
                "podCIDR": node.block,
                "podCIDRs": [node.block],
                **({"taints": taints} if taints else {}),
            },
        },
        manager=MANAGER,
    )
    amounts = {name: str(amount) for name, amount in node.resources.items()}
    await store.apply_status(
        {
            **base,
            "metadata": {"name": node.name},
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "addresses": [
                    {"type": "InternalIP", "address": host},
                    {"type": "Hostname", "address": node.name},
                ],
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True",
                        "reason": "KubeletReady",
                        "message": "The machine runs pods",
                    }
                ],
            },
        },
        manager=MANAGER,
    )


def _authorizer(
    key: ec.EllipticCurvePrivateKey,
    settings: NodeSettings,
    objects: SeenObjects,
    clock: Callable[[], datetime],
) -> Callable[[str], Access | None]:
    """Know a token of a ServiceAccount that is there, made for this API."""
    public = key.public_key()

    def authorize(token: str) -> Access | None:
        try:
            claims = jwt.decode(
                token,
                public,
                algorithms=["ES256"],
                audience=settings.issuer,
                issuer=settings.issuer,
                # time is the node's: checked below
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        account = claims["kubernetes.io"]
        namespace, name = str(account["namespace"]), str(account["serviceaccount"]["name"])
        found = objects.find(Ref(cluster.SERVICE_ACCOUNT, namespace, name))
        if found is None or found["metadata"]["uid"] != account["serviceaccount"]["uid"]:
            return None
        if clock().timestamp() >= claims["exp"]:
            return None
        if (namespace, name) in settings.administrators:
            return Access(frozenset(cluster.KINDS), every_account=True)
        return Access(settings.pod_reads, frozenset({(namespace, name)}))

    return authorize
