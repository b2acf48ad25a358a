"""What does a pod ask a node to run? Its template as values: containers, probes, hooks, volumes.

RULES
- A pod with a field that the node does not know, or that names something that is not there, is
  refused whole, with every problem named.
- Containers keep their order: it is the order of the init containers and of the sidecars.
Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from demarc.api import cluster
from demarc.api.cluster import Kind, Manifest
from demarc.local import pod_fields, pod_volumes
from demarc.local.pod_volumes import ConfigMapFiles, Files, SecretFiles, Volume

MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What reading a manifest raises where an API server's schema would have refused it."""
_GRACE_SECONDS: Final = 30
_HTTPS_SCHEMES: Final = {"HTTP": False, "HTTPS": True}


class Role(StrEnum):
    """When a container runs."""

    INIT = "Init"  # to its end, before what follows
    SIDECAR = "Sidecar"  # from its place among the init containers on, until the pod ends
    MAIN = "Main"


@dataclass(frozen=True, slots=True)
class HttpGet:
    """GET that a status below 400 answers; an empty host is the pod's address."""

    port: int
    path: str = "/"
    host: str = ""
    tls: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpConnect:
    """A connection that is accepted."""

    port: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class Execute:
    """A program that exits with 0."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """A hook that only waits."""

    seconds: int


Check: TypeAlias = HttpGet | TcpConnect | Execute
Hook: TypeAlias = HttpGet | Execute | Pause


@dataclass(frozen=True, slots=True)
class Probe:
    """A check and when it counts; times in seconds.

    Attributes:
        grace: how long the container may take to end when this probe ends it; None: the pod's.
    """

    check: Check
    initial_delay: int = 0
    period: int = 10
    timeout: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume in a container."""

    volume: str
    path: str
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod; `env` and `env_from` are as in the manifest."""

    name: str
    role: Role
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    working_folder: str
    env: tuple[Mapping[str, Any], ...]
    env_from: tuple[Mapping[str, Any], ...]
    mounts: tuple[Mount, ...]
    ports: Mapping[str, int]
    startup: Probe | None
    readiness: Probe | None
    liveness: Probe | None
    pre_stop: Hook | None


@dataclass(frozen=True, slots=True)
class PodPlan:
    """All that a pod asks of its node.

    Attributes:
        restart_policy: of its main containers: Always, OnFailure or Never.
        grace: seconds between SIGTERM and SIGKILL.
        automount: whether the pod gets credentials of its ServiceAccount; None: that one says.
    """

    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...]
    restart_policy: str
    grace: int
    service_account: str
    automount: bool | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node cannot run a pod, ever: one sentence for each problem."""

    problems: tuple[str, ...]

    @property
    def message(self) -> str:
        """All problems in one line."""
        return "; ".join(self.problems)


def parse(pod: Manifest) -> PodPlan | Refusal:
    """What the pod asks for, or why it cannot run here."""
    try:
        return _parse(pod)
    except MALFORMED as error:
        return Refusal((f"a field of the pod cannot be understood: {error}",))


def _parse(pod: Manifest) -> PodPlan | Refusal:
    spec: Mapping[str, Any] = pod["spec"]
    problems = [f"field `{path}` is not known on this machine" for path in pod_fields.unknown(spec)]
    if problems:
        return Refusal(tuple(problems))
    volumes: list[Volume] = []
    for row in spec.get("volumes") or ():
        volume = pod_volumes.parse(row)
        if volume is None:
            problems.append(f"volume `{row['name']}` has no source that this machine knows")
        else:
            volumes.append(volume)
    containers: list[Container] = []
    try:
        containers += (_container(row, _init_role(row)) for row in spec.get("initContainers") or ())
        containers += (_container(row, Role.MAIN) for row in spec.get("containers") or ())
    except _ProblemError as problem:
        problems.append(str(problem))
    names = {volume.name for volume in volumes}
    problems += [
        f"container `{container.name}` mounts `{mount.volume}`, which is no volume of the pod"
        for container in containers
        for mount in container.mounts
        if mount.volume not in names
    ]
    if problems:
        return Refusal(tuple(problems))
    return PodPlan(
        tuple(containers),
        tuple(volumes),
        str(spec.get("restartPolicy", "Always")),
        int(spec.get("terminationGracePeriodSeconds", _GRACE_SECONDS)),
        str(spec.get("serviceAccountName") or "default"),
        spec.get("automountServiceAccountToken"),
    )


def references(plan: PodPlan) -> frozenset[tuple[Kind, str]]:
    """The ConfigMaps and Secrets that the pod reads."""
    return frozenset(_references(plan))


def _references(plan: PodPlan) -> Iterator[tuple[Kind, str]]:
    for volume in plan.volumes:
        for source in volume.sources if isinstance(volume, Files) else ():
            match source:
                case ConfigMapFiles(name):
                    yield cluster.CONFIG_MAP, name
                case SecretFiles(name):
                    yield cluster.SECRET, name
                case _:
                    pass
    rows = [row for container in plan.containers for row in container.env]
    refs = [row.get("valueFrom") or {} for row in rows]
    refs += [row for container in plan.containers for row in container.env_from]
    kinds = {
        "configMapKeyRef": cluster.CONFIG_MAP,
        "configMapRef": cluster.CONFIG_MAP,
        "secretKeyRef": cluster.SECRET,
        "secretRef": cluster.SECRET,
    }
    for ref in refs:
        for field, kind in kinds.items():
            if field in ref:
                yield kind, str(ref[field]["name"])


class _ProblemError(Exception):
    """Why a container cannot run here."""


def _init_role(row: Mapping[str, Any]) -> Role:
    match row.get("restartPolicy"):
        case None:
            return Role.INIT
        case "Always":
            return Role.SIDECAR
        case other:
            raise _ProblemError(
                f"init container `{row['name']}`: restartPolicy `{other}` is not `Always`"
            )


def _container(row: Mapping[str, Any], role: Role) -> Container:
    name = str(row["name"])
    ports = {
        str(port.get("name", port["containerPort"])): int(port["containerPort"])
        for port in row.get("ports") or ()
    }
    hook: Mapping[str, Any] = (row.get("lifecycle") or {}).get("preStop") or {}
    return Container(
        name=name,
        role=role,
        image=str(row.get("image", "")),
        command=_texts(row.get("command")),
        args=_texts(row.get("args")),
        working_folder=str(row.get("workingDir", "")),
        env=tuple(row.get("env") or ()),
        env_from=tuple(row.get("envFrom") or ()),
        mounts=tuple(
            Mount(
                str(mount["name"]),
                str(mount["mountPath"]).rstrip("/"),
                str(mount.get("subPath", "")),
            )
            for mount in row.get("volumeMounts") or ()
        ),
        ports=ports,
        startup=_probe(name, "startupProbe", row, ports),
        readiness=_probe(name, "readinessProbe", row, ports),
        liveness=_probe(name, "livenessProbe", row, ports),
        pre_stop=_hook(name, hook, ports) if hook else None,
    )


def _probe(
    container: str, field: str, row: Mapping[str, Any], ports: Mapping[str, int]
) -> Probe | None:
    probe: Mapping[str, Any] | None = row.get(field)
    if probe is None:
        return None
    found = _action(f"container `{container}`: {field}", probe, ports)
    if found is None or isinstance(found, Pause):
        raise _ProblemError(f"container `{container}`: {field} has no httpGet, tcpSocket or exec")
    grace = probe.get("terminationGracePeriodSeconds")
    return Probe(
        check=found,
        initial_delay=int(probe.get("initialDelaySeconds", 0)),
        period=int(probe.get("periodSeconds", 10)),
        timeout=int(probe.get("timeoutSeconds", 1)),
        success_threshold=int(probe.get("successThreshold", 1)),
        failure_threshold=int(probe.get("failureThreshold", 3)),
        grace=None if grace is None else int(grace),
    )


def _hook(container: str, hook: Mapping[str, Any], ports: Mapping[str, int]) -> Hook:
    found = _action(f"container `{container}`: lifecycle.preStop", hook, ports)
    if found is None or isinstance(found, TcpConnect):
        raise _ProblemError(
            f"container `{container}`: lifecycle.preStop has no exec, sleep or httpGet"
        )
    return found


def _action(
    where: str, action: Mapping[str, Any], ports: Mapping[str, int]
) -> HttpGet | TcpConnect | Execute | Pause | None:
    match action:
        case {"exec": Mapping() as run}:
            return Execute(_texts(run.get("command")))
        case {"httpGet": Mapping() as get}:
            return HttpGet(
                port=_port(where, get["port"], ports),
                path=str(get.get("path", "/")),
                host=str(get.get("host", "")),
                tls=_HTTPS_SCHEMES.get(str(get.get("scheme", "HTTP")).upper(), False),
                headers=tuple(
                    (str(header["name"]), str(header["value"]))
                    for header in get.get("httpHeaders") or ()
                ),
            )
        case {"tcpSocket": Mapping() as connect}:
            return TcpConnect(_port(where, connect["port"], ports), str(connect.get("host", "")))
        case {"sleep": Mapping() as pause}:
            return Pause(int(pause["seconds"]))
        case _:
            return None


def _port(where: str, port: Any, ports: Mapping[str, int]) -> int:
    if isinstance(port, int):
        return port
    if port in ports:
        return ports[port]
    raise _ProblemError(f"{where}: the container has no port `{port}`")


def _texts(values: Sequence[Any] | None) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())
