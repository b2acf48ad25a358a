"""How do several clusters live on one machine? A LocalNode each: home, and every remote site."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from demarc.api.cluster import Cluster
from demarc.api.v1alpha1 import Site
from demarc.app import clock
from demarc.local import images, rehearsal
from demarc.local.images import ImageTable
from demarc.local.node import LocalNode
from demarc.local.node_settings import NodeSettings
from demarc.local.state import StateError
from demarc.planning import names
from demarc.planning.objects import HOME
from demarc.reconcile.ports import Unreachable
from demarc.settings import Settings

RECORDING = "recording.jsonl"
CLI_ACCOUNT = (names.SYSTEM_NAMESPACE, "demarc-cli")
"""ServiceAccount by which the command line reads the home cluster."""


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What all the nodes of one `demarc up` share.

    Attributes:
        state: folder; each cluster has one below it.
        volumes: claim name -> folder.
        substitutes: (workload, container) -> argv, for tests that put a double in a place.
        python: the interpreter that runs Demarc.
        simulator: folder that stands for TensorRT-LLM's llmapi template.
    """

    state: Path
    settings: Settings
    volumes: Mapping[str, Path]
    substitutes: Mapping[tuple[str, str], tuple[str, ...]]
    python: str
    simulator: Path


class LocalClusters:
    """The port `Clusters` on one machine."""

    def __init__(self, options: LocalOptions, stack: AsyncExitStack) -> None:
        self._options = options
        self._nodes = dict[str, LocalNode]()
        self._starting = asyncio.Lock()
        stack.push_async_exit(self._leave)

    async def start_home(self, name: str, sites: Sequence[Site]) -> LocalNode:
        """Start the operator's own cluster.

        Raises:
            StateError: its folder, block or an address is in use.
            RehearsalError: its networks cannot be laid on loopback.
        """
        return await self._start(HOME, name, sites)

    @property
    def home(self) -> Cluster:
        """The operator's own cluster."""
        return self._nodes[HOME]

    def nodes(self) -> Mapping[str, LocalNode]:
        """Every node that runs, by site name; `HOME` for the operator's own."""
        return dict(self._nodes)

    def known(self) -> Mapping[str, Cluster]:
        """Every cluster that runs."""
        return dict(self._nodes)

    async def remote(self, site: Site) -> Cluster | Unreachable:
        """The cluster of a remote site, started at its first use; who comes second waits.

        A start that failed is tried again: the Site may have been corrected meanwhile.
        """
        name = site.metadata.name
        async with self._starting:
            if name in self._nodes:
                return self._nodes[name]
            try:
                return await self._start(name, name, (site,))
            except (StateError, rehearsal.RehearsalError, OSError) as error:
                return Unreachable(str(error))

    def folder(self, name: str) -> Path:
        """State folder of a cluster."""
        return self._options.state / "clusters" / name

    def volume(self, cluster: str, namespace: str, claim: str) -> Path:
        """Folder of a claim that a StatefulSet made."""
        return self.folder(cluster) / "volumes" / namespace / claim

    def recording(self, site: str) -> Path:
        """What the public side of a remote site received."""
        return self.folder(site) / RECORDING

    async def _start(self, key: str, name: str, sites: Sequence[Site]) -> LocalNode:
        folder = self.folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        added: dict[tuple[str, str], Mapping[str, str]] = {}
        if key != HOME:
            record = {"DEMARC_REHEARSAL_RECORDING": str(self.recording(name).resolve())}
            added = {("*", "triton"): record, (names.EDGE, "agent"): record}
        node = LocalNode(
            NodeSettings(
                folder=folder,
                nodes=rehearsal.nodes_of(name, sites),
                table=table(self._options),
                issuer=f"https://{name}.cluster.local",
                volumes=self._options.volumes,
                added=added,
                administrators=frozenset({CLI_ACCOUNT}) if key == HOME else frozenset(),
            ),
            clock=clock.now,
            ids=clock.new_id,
        )
        self._nodes[key] = await node.__aenter__()
        return node

    async def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await leave(self._nodes.values(), kind, error, trace)


async def leave(
    entered: Iterable[AbstractAsyncContextManager[object]],
    kind: type[BaseException] | None = None,
    error: BaseException | None = None,
    trace: TracebackType | None = None,
) -> None:
    """Leave contexts at once, so that the slowest pod of all clusters says how long it takes.

    Raises:
        Exception: what one of them raised, when all are left.
    """
    ends = (each.__aexit__(kind, error, trace) for each in entered)
    for found in await asyncio.gather(*ends, return_exceptions=True):
        if isinstance(found, Exception):
            raise found


def table(options: LocalOptions) -> ImageTable:
    """The programs that stand for images on this machine."""
    return ImageTable(
        images.known(
            tools=str(options.settings.tools),
            python=options.python,
            llmapi=str(options.simulator),
            envoy=str(options.settings.envoy),
            triton=str(options.settings.triton),
        ),
        options.substitutes,
    )
