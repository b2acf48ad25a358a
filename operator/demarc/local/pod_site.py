"""What does a node decide for a pod, and what does the pod need of it? Values and one port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, assert_never

from demarc.api.cluster import Manifest
from demarc.local.images import ImageTable
from demarc.local.pod_status import ContainerState, Where
from demarc.local.pod_volumes import Claim, EmptyDir, Files, Sources, Volume
from demarc.local.pods import PodPlan
from demarc.local.process import Processes


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a container waits before it is started again; seconds.

    The first restart is at once, then `first`, doubling to `longest`; a container that ran for
    `reset` begins anew.
    """

    first: float = 1.0
    longest: float = 30.0
    reset: float = 60.0

    def pause(self, crashes: int) -> float:
        """The wait after this many crashes in a row."""
        return 0.0 if crashes <= 1 else min(self.first * 2.0 ** (crashes - 2), self.longest)


@dataclass(frozen=True, slots=True)
class PodFolders:
    """Where a pod lies on the disk.

    Attributes:
        home: the pod's own folder.
        empty: its emptyDirs, on a short path: sockets lie there.
        claims: claim name -> folder.
        log: container name -> log file.
    """

    home: Path
    empty: Path
    claims: Mapping[str, Path]
    log: Mapping[str, Path]

    @property
    def credentials(self) -> Path:
        """Holds `kubeconfig` and `token`."""
        return self.home / "credentials"

    def volume(self, volume: Volume) -> Path:
        """The folder of a volume."""
        match volume:
            case EmptyDir(name):
                return self.empty / name
            case Claim(_, claim):
                return self.claims[claim]
            case Files(name):
                return self.home / "volumes" / name
            case _:
                assert_never(volume)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a pod reaches the API as its ServiceAccount.

    Attributes:
        server: URL of the API.
        audience: of the token.
        seconds: how long a token is good; it is renewed well before.
    """

    server: str
    audience: str
    seconds: int = 3600


@dataclass(frozen=True, slots=True)
class PodSite:
    """What the node decided for a pod.

    Attributes:
        folders: where it lies.
        where: its addresses.
        workload: name of what owns it.
        added: container -> variables that win over all others.
        credentials: of its ServiceAccount, if it gets them.
    """

    folders: PodFolders
    where: Where
    workload: str
    added: Mapping[str, Mapping[str, str]]
    credentials: Credentials | None


class RunningPod(Protocol):
    """A pod as its node sees it."""

    @property
    def pod(self) -> Manifest:
        """As it is stored."""
        ...

    @property
    def plan(self) -> PodPlan:
        """What it asks for."""
        ...

    @property
    def site(self) -> PodSite:
        """What the node decided for it."""
        ...

    @property
    def states(self) -> Mapping[str, ContainerState]:
        """Container -> state."""
        ...


class Host(Protocol):
    """What a pod needs of its node."""

    @property
    def processes(self) -> Processes:
        """Starts its processes."""
        ...

    @property
    def table(self) -> ImageTable:
        """The programs of this machine."""
        ...

    @property
    def backoff(self) -> Backoff:
        """How its containers are started again."""
        ...

    async def sources(self, running: RunningPod) -> Sources:
        """What the pod reads from, as it is now, with tokens that are good for a while.

        Raises:
            MissingSource: it wants a token that cannot be had.
        """
        ...

    async def report(self, running: RunningPod) -> None:
        """Write the pod's status."""
        ...

    async def event(
        self, pod: Manifest, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """Write what has happened to the pod."""
        ...

    def now(self) -> str:
        """RFC 3339 with seconds."""
        ...
