"""Which program, environment and folder does a container get on this machine?

RULES
- `$(VAR)` is expanded in env values, command and args as the kubelet does; `$$` stays one `$`, an
  unknown name stays as it is written.
- An env value that is a mountPath of the container, or lies beneath one, becomes the folder on this
  machine; so does a folder of the image that the image table maps. The longest path wins. Command
  and args are not rewritten: they say `$(VAR)`.
- A key, ConfigMap or Secret that is missing makes the container wait, as in a cluster.
Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from demarc.api.cluster import Manifest
from demarc.local import images, pod_volumes
from demarc.local.images import ImageTable, NotAvailable
from demarc.local.pod_volumes import Data, MissingSource, Sources
from demarc.local.pods import Container

_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^)]*)\))")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod stands on this machine.

    Attributes:
        folders: volume name -> its folder.
        home: the container's own folder.
        workload: what owns the pod; its own name when nothing does.
        added: variables that win over all others.
        kubeconfig: file with credentials of the pod's ServiceAccount; empty without any.
    """

    folders: Mapping[str, str]
    home: str
    workload: str
    added: Mapping[str, str]
    kubeconfig: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """A container, ready to start."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container cannot start now: the reason and message of its `state.waiting`."""

    reason: str
    message: str


def plan(
    container: Container, pod: Manifest, sources: Sources, place: Place, table: ImageTable
) -> Launch | Waiting:
    """The program of a container, or what it waits for."""
    program = images.find(
        table,
        workload=place.workload,
        container=container.name,
        image=container.image,
        command=container.command,
        args=container.args,
    )
    if isinstance(program, NotAvailable):
        return Waiting("ImageNotAvailableLocally", program.message)
    paths = {**program.paths, **_mount_paths(container, place.folders)}
    try:
        own = dict(_variables(container, pod, sources, paths))
    except MissingSource as missing:
        return Waiting("CreateContainerConfigError", str(missing))
    folder = place.home
    if container.working_folder:
        folder = rewrite(container.working_folder, paths)
        if folder == container.working_folder:
            return Waiting(
                "CreateContainerConfigError",
                f"workingDir `{folder}` is no mount and no folder of the image on this machine",
            )
    environment = {
        "PATH": _PATH,
        "HOME": place.home,
        "LANG": "C.UTF-8",
        "HOSTNAME": str(pod["metadata"]["name"]),
        **program.environment,
        **({"KUBECONFIG": place.kubeconfig} if place.kubeconfig else {}),
        **own,
        **place.added,
        "DEMARC_POD": str(pod["metadata"]["uid"]),
        "DEMARC_CONTAINER": container.name,
    }
    return Launch(tuple(expand(word, own) for word in program.argv), environment, folder)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(VAR)` references resolved, `$$` undone."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else variables.get(name, match[0])

    return _REFERENCE.sub(value, text)


def rewrite(value: str, paths: Mapping[str, str]) -> str:
    """A path of the container as a path of this machine; any other text as it is."""
    for path in sorted(paths, key=len, reverse=True):
        if value == path or value.startswith(f"{path}/"):
            return paths[path] + value[len(path) :]
    return value


def _mount_paths(container: Container, folders: Mapping[str, str]) -> dict[str, str]:
    return {
        mount.path: "/".join(filter(None, (folders[mount.volume], mount.sub_path)))
        for mount in container.mounts
    }


def _variables(
    container: Container, pod: Manifest, sources: Sources, paths: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for row in container.env_from:
        yield from _all_keys(row, sources)
    escaped = {path: folder.replace("$", "$$") for path, folder in paths.items()}
    defined: dict[str, str] = {}
    for row in container.env:
        name = str(row["name"])
        if "valueFrom" in row:
            value = _referred(row["valueFrom"], pod, sources)
            if value is None:
                continue
        else:
            # what a rewrite brings in is a path of this machine and no template
            value = expand(rewrite(str(row.get("value", "")), escaped), defined)
        defined[name] = value
        yield name, value


def _all_keys(row: Mapping[str, Any], sources: Sources) -> Iterator[tuple[str, str]]:
    for field, kind, data_by_name in (
        ("configMapRef", "ConfigMap", sources.config_maps),
        ("secretRef", "Secret", sources.secrets),
    ):
        if field not in row:
            continue
        data = data_by_name.get(str(row[field]["name"]))
        if data is None and row[field].get("optional") is not True:
            raise MissingSource(f"{kind} `{row[field]['name']}` is not there")
        for key, value in (data or {}).items():
            yield f"{row.get('prefix', '')}{key}", _text(value)


def _referred(ref: Mapping[str, Any], pod: Manifest, sources: Sources) -> str | None:
    """The text that a `valueFrom` refers to; None for an optional one that is missing."""
    match ref:
        case {"fieldRef": Mapping() as field}:
            return pod_volumes.field_text(pod, str(field["fieldPath"]))
        case {"configMapKeyRef": Mapping() as key}:
            return _key("ConfigMap", key, sources.config_maps)
        case _:
            return _key("Secret", ref["secretKeyRef"], sources.secrets)


def _key(kind: str, ref: Mapping[str, Any], data_by_name: Mapping[str, Data]) -> str | None:
    name, key = str(ref["name"]), str(ref["key"])
    data = data_by_name.get(name)
    if data is not None and key in data:
        return _text(data[key])
    if ref.get("optional") is True:
        return None
    if data is None:
        raise MissingSource(f"{kind} `{name}` is not there")
    raise MissingSource(f"{kind} `{name}` has no key `{key}`")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")  # a process takes bytes that are no text, too
