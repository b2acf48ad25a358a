"""How do tests run pods? A `LocalNode` with a small server as its only program."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from demarc.api.cluster import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    POD,
    STATEFUL_SET,
    Cluster,
    Kind,
    Manifest,
    Ref,
)
from demarc.local.images import Image, ImageTable
from demarc.local.node import LocalNode
from demarc.local.node_settings import NodeSettings
from demarc.local.pod_site import Backoff
from demarc.local.scheduler import NodeDescription, Taint

T = TypeVar("T")

LIMIT = 20.0
"""Seconds after which something that should have happened counts as not happening."""
PORT = 8000
NAMESPACE = "models"
IMAGE = "registry.test/python:1"
SERVER = Path(__file__).with_name("pod_program.py")
PYTHON = (sys.executable, "-S", "-E")
TABLE = ImageTable((Image("*/python:*", {"python": PYTHON, "server": (*PYTHON, str(SERVER))}),))
_SHARE = os.getpid() % 127 * 2
BLOCK = f"127.63.{_SHARE}.0/24"
GPU_BLOCK = f"127.63.{_SHARE + 1}.0/24"
"""Two test runs at once have different blocks."""
SYSTEM = NodeDescription("system", BLOCK)
GPUS = NodeDescription(
    "h100-0",
    GPU_BLOCK,
    labels={"nvidia.com/gpu.product": "NVIDIA-H100"},
    taints=(Taint("nvidia.com/gpu"),),
    resources={"nvidia.com/gpu": 2},
)


def clock() -> datetime:
    return datetime.now(UTC)


def settings(folder: Path, **changes: Any) -> NodeSettings:
    values: dict[str, Any] = {
        "nodes": (SYSTEM, GPUS),
        "table": TABLE,
        "issuer": "https://local.test",
        "backoff": Backoff(first=0.2, longest=0.4, reset=60.0),
        **changes,
    }
    return NodeSettings(folder=folder, **values)


@asynccontextmanager
async def local_node(folder: Path, **changes: Any) -> AsyncIterator[LocalNode]:
    """A started node with the namespace `models`."""
    node = LocalNode(settings(folder, **changes), clock=clock, ids=lambda: str(uuid.uuid4()))
    async with node:
        await apply(
            node, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        )
        yield node


async def apply(cluster: Cluster, *objects: Manifest) -> None:
    for manifest in objects:
        await cluster.apply(manifest, manager="test")


# manifests


def container(name: str = "server", **fields: Any) -> dict[str, Any]:
    """A container that serves on port 8000."""
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *fields.pop("env", ()),
    ]
    return {
        "name": name,
        "image": IMAGE,
        "command": ["server"],
        "args": [str(PORT)],
        "env": env,
        "ports": [{"name": "http", "containerPort": PORT}],
        **fields,
    }


def script(name: str, text: str, **fields: Any) -> dict[str, Any]:
    """A container that runs a Python text."""
    return container(name, command=["python", "-c", text], args=[], ports=[], **fields)


def http_probe(path: str = "/ready", port: int = PORT, **fields: Any) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": 1,
        "failureThreshold": 1,
        **fields,
    }


def pod_spec(*containers: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [dict(item) for item in containers or (container(),)],
        **fields,
    }


def workload(kind: Kind, name: str, spec: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    labels = {"app": name}
    annotations = fields.pop("annotations", {})
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": dict(spec),
            },
            **({"serviceName": name} if kind == STATEFUL_SET else {}),
            **fields,
        },
    }


def deployment(name: str, spec: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return workload(DEPLOYMENT, name, spec, **fields)


def stateful_set(name: str, spec: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return workload(STATEFUL_SET, name, spec, **fields)


def service(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            **fields,
        },
    }


# waiting


async def until(cluster: Cluster, kind: Kind, holds: Callable[[Sequence[Manifest]], T | None]) -> T:
    """Wait until `holds` finds something in the objects of a kind in `models`."""
    seen: Sequence[Manifest] = ()
    try:
        async with asyncio.timeout(LIMIT):
            listing = await cluster.list(kind, namespace=NAMESPACE)
            seen = listing.items
            found = holds(seen)
            if found is not None:
                return found
            watch = cluster.watch(kind, since=listing.resource_version, namespace=NAMESPACE)
            async for _ in watch:
                seen = (await cluster.list(kind, namespace=NAMESPACE)).items
                found = holds(seen)
                if found is not None:
                    await watch.aclose()
                    return found
    except TimeoutError:
        statuses = [(item["metadata"]["name"], item.get("status")) for item in seen]
        raise AssertionError(f"it did not happen: {statuses}") from None
    raise AssertionError("the watch ended")


def ready_pods(pods: Sequence[Manifest]) -> list[Manifest]:
    return [pod for pod in pods if condition(pod, "Ready") == "True"]


def condition(manifest: Manifest, kind: str, field: str = "status") -> str:
    rows = (manifest.get("status") or {}).get("conditions") or ()
    return next((str(row.get(field, "")) for row in rows if row["type"] == kind), "")


async def until_ready(cluster: Cluster, count: int = 1, prefix: str = "") -> list[Manifest]:
    """Wait until so many pods are ready, and none else is there."""

    def holds(pods: Sequence[Manifest]) -> list[Manifest] | None:
        mine = [pod for pod in pods if pod["metadata"]["name"].startswith(prefix)]
        good = ready_pods(mine)
        return good if len(good) == count == len(mine) else None

    return await until(cluster, POD, holds)


async def until_no_pods(cluster: Cluster) -> None:
    await until(cluster, POD, lambda pods: True if not pods else None)


def waiting(pod: Manifest, container_name: str) -> Mapping[str, Any]:
    """`state.waiting` of a container; empty when it is not waiting."""
    state = container_status(pod, container_name).get("state") or {}
    found: Mapping[str, Any] = state.get("waiting") or {}
    return found


def container_status(pod: Manifest, name: str) -> Mapping[str, Any]:
    status = pod.get("status") or {}
    rows = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((row for row in rows if row["name"] == name), {})


async def until_endpoints(
    cluster: Cluster, name: str, holds: Callable[[Sequence[Mapping[str, Any]]], bool]
) -> Sequence[Mapping[str, Any]]:
    """Wait for the endpoints of a Service."""

    def found(slices: Sequence[Manifest]) -> Sequence[Mapping[str, Any]] | None:
        mine = [
            endpoint
            for item in slices
            if item["metadata"]["labels"].get("kubernetes.io/service-name") == name
            for endpoint in item["endpoints"]
        ]
        return mine if holds(mine) else None

    return await until(cluster, ENDPOINT_SLICE, found)


async def events(cluster: Cluster) -> list[tuple[str, str]]:
    """(reason, message) of all events."""
    listing = await cluster.list(EVENT, namespace=NAMESPACE)
    return [(item["reason"], item["message"]) for item in listing.items]


async def the_object(cluster: Cluster, kind: Kind, name: str) -> Manifest:
    found = await cluster.get(Ref(kind, NAMESPACE, name))
    assert found is not None
    return found


async def get(pod: Manifest, path: str, port: int = PORT) -> tuple[int, str]:
    """GET from a pod: status and text."""
    async with asyncio.timeout(LIMIT):
        reader, writer = await asyncio.open_connection(pod["status"]["podIP"], port)
        writer.write(f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """Look again and again until there is something; for what no object tells."""
    async with asyncio.timeout(LIMIT):
        while (found := await look()) is None:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
        return found


# processes


def processes_of(marker: str) -> list[int]:
    """Processes of a node, by their environment."""
    found: list[int] = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"DEMARC_NODE={marker}".encode() in environment:
            found.append(int(path.name))
    return found


async def until_no_process(marker: str) -> None:
    async with asyncio.timeout(LIMIT):
        while processes_of(marker):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
