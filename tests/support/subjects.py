"""On which clusters does the contract of `Cluster` run? One factory for each adapter.

An adapter joins by a factory in `SUBJECTS`: it takes the request of the fixture and yields a
`Subject` for one test.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from demarc.api.cluster import KINDS, LEASE, Cluster, Kind, Listing, Manifest, Ref, WatchEvent
from demarc.kube.connection import Connection
from demarc.kube.kube_cluster import KubeCluster
from demarc.local.api import Access, ReadApi
from support import cluster as clusters
from support import pods
from support.apiserver import ApiServer
from support.cluster import MemoryCluster

_HISTORY = 64
_TOKEN = "reader"
_SECONDS = 90  # a real API server starts within the first test that asks for it
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Subject:
    """A cluster under test.

    Attributes:
        cluster: the adapter.
        namespace: a namespace that exists and is empty.
        forget_history: makes a watch of `forgetful` that starts before now too old.
        forgetful: a kind for which that works.
    """

    cluster: Cluster
    namespace: str
    forget_history: Callable[[], None]
    forgetful: Kind = LEASE


Factory: TypeAlias = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    cluster = MemoryCluster(history=_HISTORY)
    yield Subject(cluster, await new_namespace(cluster), cluster.forget_history)


@asynccontextmanager
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Reading as the pods of one machine do: `KubeCluster` over the API that `LocalNode` serves."""
    store = MemoryCluster(history=_HISTORY)
    api = ReadApi(store, _Everything(store))
    async with (
        api.serving("127.0.0.1") as url,
        KubeCluster(Connection(server=url, token=_TOKEN)) as reader,
    ):
        cluster = _Split(reader, store)
        yield Subject(cluster, await new_namespace(cluster), store.forget_history)


@asynccontextmanager
async def kube(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    server: ApiServer = request.getfixturevalue("apiserver")
    async with server.cluster() as cluster:
        yield Subject(cluster, await new_namespace(cluster), server.forget_history)


@asynccontextmanager
async def local(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """One machine whose pods wait: no image of the suite has a program there."""
    async with pods.local_node(request.getfixturevalue("tmp_path")) as node:
        store = node._now_open.store
        yield Subject(node, await new_namespace(node), lambda: store.load(()))


SUBJECTS = (
    pytest.param(memory, id="memory"),
    pytest.param(local, id="local"),
    pytest.param(served, id="served"),
    pytest.param(kube, id="kube", marks=(pytest.mark.cluster, pytest.mark.timeout(_SECONDS))),
)


@dataclass(frozen=True, slots=True)
class _Everything:
    """Lets the one token read every kind, and have the token of every account."""

    store: MemoryCluster

    def __call__(self, token: str) -> Access | None:
        if token != _TOKEN:
            return None
        return Access(kinds=frozenset(KINDS), accounts=self.store.accounts())


@dataclass(frozen=True, slots=True)
class _Split:
    """A cluster that is read through one adapter and written through another."""

    reader: Cluster
    writer: Cluster

    async def get(self, ref: Ref) -> Manifest | None:
        return await self.reader.get(ref)

    async def list(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Listing:
        return await self.reader.list(kind, namespace=namespace, labels=labels)

    def watch(
        self, kind: Kind, *, since: str, namespace: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        return self.reader.watch(kind, since=since, namespace=namespace)

    async def apply(
        self, manifest: Manifest, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Manifest:
        return await self.writer.apply(manifest, manager=manager, force=force, dry_run=dry_run)

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        return await self.writer.apply_status(manifest, manager=manager)

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        await self.writer.delete(ref, uid=uid)

    async def issue_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> str:
        return await self.reader.issue_token(
            namespace, service_account, audience=audience, seconds=seconds
        )

    async def token_keys(self) -> Mapping[str, Any]:
        return await self.reader.token_keys()


async def new_namespace(cluster: Cluster) -> str:
    """Make a namespace that no other test of this session uses."""
    name = f"contract-{next(_numbers)}"
    await cluster.apply(clusters.namespace(name), manager="contract")
    return name
