"""Are clusters on one machine started as the settings and the Sites say?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from demarc.api import load
from demarc.api.v1alpha1 import Site
from demarc.app import local_clusters
from demarc.app.local_clusters import LocalClusters, LocalOptions
from demarc.reconcile.ports import Unreachable
from demarc.settings import Settings


def options(state: Path) -> LocalOptions:
    settings = Settings(Path("/tools"), Path("/my/envoy"), Path("/my/triton"), state)
    return LocalOptions(state, settings, {}, {}, "python", Path("/llmapi"))


def site(cidr: str) -> Site:
    found = load.parse(
        {
            "apiVersion": "demarc.dev/v1alpha1",
            "kind": "Site",
            "metadata": {"name": "away"},
            "spec": {
                "connection": {
                    "type": "RemoteCluster",
                    "remoteCluster": {"kubeconfigSecretRef": {"name": "a", "key": "k"}},
                },
                "jurisdictions": {"processing": ["SG"], "storage": ["SG"], "control": ["SG"]},
                "network": {"cidrs": [cidr]},
            },
        }
    )
    assert isinstance(found, Site)
    return found


def test_the_binaries_of_the_settings_run(tmp_path: Path) -> None:
    """ENVOY_BIN would be checked and not used."""
    found = [image.executables for image in local_clusters.table(options(tmp_path)).images]

    assert {"envoy": ("/my/envoy",)} in found
    assert {"tritonserver": ("/my/triton",)} in found


async def test_a_site_that_was_corrected_is_started(tmp_path: Path) -> None:
    """A wrong network would need a restart of everything."""
    async with AsyncExitStack() as stack:
        clusters = LocalClusters(options(tmp_path), stack)

        assert isinstance(await clusters.remote(site("127.63.9.0/30")), Unreachable)
        assert not isinstance(await clusters.remote(site("127.63.9.0/24")), Unreachable)


async def test_all_clusters_stop_at_once() -> None:
    """Pods that take their whole grace period would add up past the patience of `demarc down`."""
    both, left = asyncio.Barrier(2), list[str]()

    @asynccontextmanager
    async def node(name: str) -> AsyncIterator[None]:
        yield
        await both.wait()
        left.append(name)

    nodes = node("home"), node("away")
    for each in nodes:
        await each.__aenter__()

    async with asyncio.timeout(10):
        await local_clusters.leave(nodes)

    assert sorted(left) == ["away", "home"]


async def test_a_cluster_that_fails_to_stop_keeps_no_other_from_it() -> None:
    """Processes would be left behind."""
    left = list[str]()

    @asynccontextmanager
    async def node(name: str) -> AsyncIterator[None]:
        yield
        if name == "broken":
            raise OSError(name)
        left.append(name)

    nodes = node("broken"), node("away")
    for each in nodes:
        await each.__aenter__()

    with pytest.raises(OSError, match="broken"):
        await local_clusters.leave(nodes)
    assert left == ["away"]
