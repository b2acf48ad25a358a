"""Which epoch does each gateway agent run? Asked of their health port; no answer is no agent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from demarc.api.cluster import ENDPOINT_SLICE, Cluster, ClusterError
from demarc.planning import names
from demarc.planning.report import AgentReport
from demarc.planning.settings import HEALTH_PORT
from demarc.policy.epoch import EpochNumber

_SECONDS = 1.0
_GATEWAYS = ((names.SYSTEM_NAMESPACE, names.INNER), (names.EGRESS_NAMESPACE, names.EGRESS))


class AgentFleet:
    """The inner and egress agents of the home cluster, found by their Services."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = httpx.AsyncClient(timeout=_SECONDS, trust_env=False, follow_redirects=False)

    async def reports(self) -> Sequence[AgentReport]:
        """What each agent that answers runs, sorted by pod."""
        found = [
            (role, pod, address)
            for namespace, role in _GATEWAYS
            for pod, address in await self._pods(namespace, role)
        ]
        answers = await asyncio.gather(*(self._ask(*each) for each in found))
        return tuple(sorted((a for a in answers if a is not None), key=lambda a: a.pod))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _pods(self, namespace: str, service: str) -> list[tuple[str, str]]:
        try:
            listing = await self._cluster.list(
                ENDPOINT_SLICE,
                namespace=namespace,
                labels={"kubernetes.io/service-name": service},
            )
        except ClusterError:
            return []
        return [pair for item in listing.items for pair in _addresses(item)]

    async def _ask(self, role: str, pod: str, address: str) -> AgentReport | None:
        try:
            answer = await self._client.get(f"http://{address}:{HEALTH_PORT}/status")
            body = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        epoch = body.get("epoch") if isinstance(body, Mapping) else None
        return AgentReport(pod, role, _number(epoch))


def _addresses(slice_: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for endpoint in slice_.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready"):
            name = (endpoint.get("targetRef") or {}).get("name", "")
            for address in endpoint["addresses"]:
                yield name or address, address


def _number(epoch: object) -> EpochNumber | None:
    match epoch:
        case {"term": int(term), "counter": int(counter)}:
            return EpochNumber(term, counter)
        case _:
            return None
