"""Which servers do tests share? One Kubernetes API for the session, started at its first use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demarc.kube.kube_cluster import KubeCluster
from support import crds
from support.apiserver import ApiServer, ApiServerError, running_api_server

_FOLDER = Path(__file__).parents[2] / "crds"


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that serves our CRDs; it fails where the binaries are missing."""
    folder = tmp_path_factory.mktemp("apiserver")
    failure = ""
    try:
        with running_api_server(folder) as server:
            # In a thread: a test's event loop may be the one that asked for this fixture.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, crds.install(server, crds.read(_FOLDER))).result()
            yield server
    except ApiServerError as error:
        failure = str(error)
    if failure:
        pytest.fail(failure, pytrace=False)


@pytest.fixture
async def kube_cluster(apiserver: ApiServer) -> AsyncIterator[KubeCluster]:
    """A client of the shared API server."""
    async with apiserver.cluster() as cluster:
        yield cluster
