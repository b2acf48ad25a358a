"""Which cluster do tests use? `MemoryCluster`, with a clock that stands still and counted ids."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from demarc.api.cluster import NAMESPACE, SERVICE_ACCOUNT, Kind
from demarc.local import merge_schema
from demarc.local.merge_schema import Place
from demarc.local.store import Journal, Store
from demarc.local.tokens import TokenSigner
from support.pki import new_key

NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
ISSUER = "https://memory.test"


@dataclass(slots=True)
class Clock:
    """A clock that moves when a test says so."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


@dataclass(slots=True)
class Ids:
    """Ids that are counted: `00000000-0000-4000-8000-000000000001`, ..."""

    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __call__(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012d}"


@cache
def _places() -> Mapping[Kind, Place]:
    return merge_schema.of_every_kind()


@cache
def _token_key() -> ec.EllipticCurvePrivateKey:
    return new_key()


class MemoryCluster(Store):
    """The store of a `LocalNode` without the node: objects in memory, for tests."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        ids: Callable[[], str] | None = None,
        history: int = 4096,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(
            clock=clock or Clock(),
            ids=ids or Ids(),
            places=_places(),
            signer=TokenSigner(_token_key(), issuer=ISSUER),
            history=history,
            journal=journal,
        )

    def accounts(self) -> frozenset[tuple[str, str]]:
        """Every ServiceAccount that is there, and `nobody` in every namespace."""
        there = {(ref.namespace, ref.name) for ref in self._objects if ref.kind == SERVICE_ACCOUNT}
        absent = {(ref.name, "nobody") for ref in self._objects if ref.kind == NAMESPACE}
        return frozenset(there | absent)

    def forget_history(self) -> None:
        """Make every watch that starts before now too old."""
        self.load(())


def namespace(name: str) -> dict[str, Any]:
    """A Namespace to apply."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def config_map(
    namespace: str, name: str, data: Mapping[str, str] | None = None, **metadata: Any
) -> dict[str, Any]:
    """A ConfigMap to apply; further arguments go to its metadata."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        **({} if data is None else {"data": dict(data)}),
    }


def deployment(
    namespace: str,
    name: str,
    *containers: Mapping[str, Any],
    volumes: Sequence[Mapping[str, Any]] = (),
    **spec: Any,
) -> dict[str, Any]:
    """A Deployment to apply; further arguments go to its spec."""
    manifest = _workload("Deployment", namespace, name, containers, spec)
    if volumes:
        manifest["spec"]["template"]["spec"]["volumes"] = [dict(item) for item in volumes]
    return manifest


def stateful_set(
    namespace: str, name: str, *containers: Mapping[str, Any], **spec: Any
) -> dict[str, Any]:
    """A StatefulSet to apply; further arguments go to its spec."""
    return _workload("StatefulSet", namespace, name, containers, {"serviceName": name, **spec})


def container(name: str, **fields: Any) -> dict[str, Any]:
    """A container of a pod template."""
    return {"name": name, "image": f"registry.test/{name}:1", **fields}


def _workload(
    kind: str,
    namespace: str,
    name: str,
    containers: tuple[Mapping[str, Any], ...],
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [dict(item) for item in containers or (container("main"),)]},
            },
            **spec,
        },
    }
