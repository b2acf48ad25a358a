"""What is a node on one machine told, and what does it tell people? Values at its boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demarc.api import cluster
from demarc.api.cluster import Kind
from demarc.local.images import ImageTable
from demarc.local.pod_site import Backoff
from demarc.local.scheduler import NodeDescription

POD_READS: Final = frozenset({cluster.CONFIG_MAP, cluster.ENDPOINT_SLICE, cluster.SERVICE})
"""What a pod with credentials may read."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node is told.

    Attributes:
        folder: its state; made if it is not there.
        nodes: the nodes that it simulates; at least one, with different blocks.
        table: the programs of this machine.
        issuer: stands in its ServiceAccount tokens.
        volumes: claim name -> folder.
        added: (glob over workload names, container) -> variables for that container.
        short: where a folder for sockets may lie when the state's path is long.
        backoff: how containers are started again.
        api_port: of the reading API, on the first address of the first node's block.
        pod_reads: kinds that pods with credentials may read.
        administrators: ServiceAccounts, as namespace and name, that may read every kind but
            Secrets and ask for tokens of every account.
    """

    folder: Path
    nodes: tuple[NodeDescription, ...]
    table: ImageTable
    issuer: str
    volumes: Mapping[str, Path] = field(default_factory=dict[str, Path])
    added: Mapping[tuple[str, str], Mapping[str, str]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, str]]
    )
    short: Path = Path("/tmp")  # noqa: S108  # the folder made there is the user's own
    backoff: Backoff = field(default_factory=Backoff)
    api_port: int = 6443
    pod_reads: frozenset[Kind] = POD_READS
    administrators: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """A container for people.

    Attributes:
        pid: 0 when it does not run.
        waiting: why it does not; empty when it runs or has ended.
    """

    name: str
    pid: int
    ready: bool
    restarts: int
    waiting: str
    log: Path


@dataclass(frozen=True, slots=True)
class PodRow:
    """A pod for people.

    Attributes:
        component: its label `demarc.dev/component`; empty without it.
    """

    namespace: str
    name: str
    component: str
    address: str
    ready: bool
    ending: bool
    containers: tuple[ContainerRow, ...]
