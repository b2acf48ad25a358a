"""What does a reconciler need of the world? Clusters, and what the gateway agents report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from demarc.api.cluster import Cluster
from demarc.api.v1alpha1 import Site
from demarc.planning.report import AgentReport


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why a site's cluster cannot be used now; one sentence."""

    reason: str


class Clusters(Protocol):
    """The cluster of the operator, and those of remote sites."""

    @property
    def home(self) -> Cluster:
        """The cluster that holds Demarc's own objects."""
        ...

    async def remote(self, site: Site) -> Cluster | Unreachable:
        """The cluster behind a RemoteCluster site."""
        ...

    def known(self) -> Mapping[str, Cluster]:
        """Every cluster that is connected now, by site name; `HOME` for the operator's own."""
        ...


class Fleet(Protocol):
    """The gateway agents that run now."""

    async def reports(self) -> Sequence[AgentReport]:
        """Which epoch each inner and egress agent runs; those that do not answer are absent."""
        ...
