"""What has happened to a pod? Events as Kubernetes keeps them: counted, and only the latest."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from demarc.api.cluster import EVENT, Cluster, Manifest, Ref

_LATEST: Final = 500
_COMPONENT: Final = "demarc-local"


class PodEvents:
    """Writes events about objects; the same one again raises its count."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._counts: OrderedDict[Ref, tuple[int, str]] = OrderedDict()

    async def write(
        self, about: Manifest, reason: str, message: str, *, warning: bool, now: str
    ) -> None:
        """Write what has happened to an object; `now` is RFC 3339."""
        metadata = about["metadata"]
        digest = hashlib.sha256(f"{metadata['uid']}/{reason}/{message}".encode()).hexdigest()[:16]
        ref = Ref(EVENT, str(metadata["namespace"]), f"{metadata['name']}.{digest}")
        count, first = self._counts.pop(ref, (0, now))
        self._counts[ref] = count + 1, first
        await self._cluster.apply(
            {
                "apiVersion": EVENT.api_version,
                "kind": EVENT.name,
                "metadata": {"namespace": ref.namespace, "name": ref.name},
                "involvedObject": {
                    "apiVersion": about["apiVersion"],
                    "kind": about["kind"],
                    "namespace": ref.namespace,
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
                "reason": reason,
                "message": message,
                "type": "Warning" if warning else "Normal",
                "count": count + 1,
                "firstTimestamp": first,
                "lastTimestamp": now,
                "source": {"component": _COMPONENT},
                "reportingComponent": _COMPONENT,
            },
            manager=_COMPONENT,
        )
        while len(self._counts) > _LATEST:
            oldest, _ = self._counts.popitem(last=False)
            await self._cluster.delete(oldest)
