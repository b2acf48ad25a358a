"""How does a test's API server learn our kinds? It applies `crds/` and waits until they serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from demarc.api.cluster import Kind, Ref
from support.apiserver import ApiServer, ApiServerError

CRD = Kind(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    namespaced=False,
)
_SERVED_SECONDS = 30.0


def read(folder: Path) -> tuple[dict[str, Any], ...]:
    """Every CRD of the folder; a folder that is not there holds none."""
    return tuple(
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))
    )


async def install(server: ApiServer, documents: Sequence[Mapping[str, Any]]) -> None:
    """Apply CRDs and return when the server serves them."""
    async with server.cluster(kinds=(CRD,)) as cluster, asyncio.timeout(_SERVED_SECONDS):
        for document in documents:
            await cluster.apply(document, manager="tests")
        for document in documents:
            ref = Ref(CRD, "", document["metadata"]["name"])
            while not _is_established(await cluster.get(ref)):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.02)


def _is_established(crd: Mapping[str, Any] | None) -> bool:
    if crd is None:
        raise ApiServerError("a CRD vanished")
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
