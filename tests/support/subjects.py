"""On which clusters does the contract of `Cluster` run? One factory for each adapter.

An adapter joins by a factory in `SUBJECTS`: it takes the request of the fixture and yields a
`Subject` for one test.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from demarc.api.cluster import LEASE, Cluster, Kind
from support import cluster as clusters
from support.apiserver import ApiServer
from support.cluster import MemoryCluster

_HISTORY = 64
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
async def kube(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    server: ApiServer = request.getfixturevalue("apiserver")
    async with server.cluster() as cluster:
        yield Subject(cluster, await new_namespace(cluster), server.forget_history)


SUBJECTS = (
    pytest.param(memory, id="memory"),
    pytest.param(kube, id="kube", marks=(pytest.mark.cluster, pytest.mark.timeout(_SECONDS))),
)


async def new_namespace(cluster: Cluster) -> str:
    """Make a namespace that no other test of this session uses."""
    name = f"contract-{next(_numbers)}"
    await cluster.apply(clusters.namespace(name), manager="contract")
    return name
