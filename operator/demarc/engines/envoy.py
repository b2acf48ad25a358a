"""What does Envoy itself say? Its admin interface over a Unix socket.

ERRORS: `EnvoyError` when Envoy does not answer, answers with another status than 200, or with what
cannot be read. The caller takes that as unknown, never as healthy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from demarc.engines.unix_http import UnixHttp, UnixHttpError

_OK = 200


class EnvoyError(Exception):
    """Envoy's admin interface gave no usable answer."""


@dataclass(frozen=True, slots=True)
class Host:
    """One replica as Envoy sees it.

    Attributes:
        address: `IP:PORT`, or a path.
        healthy: takes requests.
        ejected: out of use for a time because it failed.
        active: requests in flight.
        failures: connections that failed, since the cluster was configured.
        answered_5xx: requests that failed, since the cluster was configured.
    """

    address: str
    healthy: bool
    ejected: bool
    active: int
    failures: int
    answered_5xx: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What Envoy has in use.

    A resource that did not change keeps the version of the file that brought it, so a file is in
    use when its own version is, and an endpoint may be named when its cluster is listed.

    Attributes:
        cds, lds, rds: versions of the discovery files that were taken in whole; empty: none was.
        clusters: names of the clusters that take requests; those that still warm up are left out.
        errors: name -> message of a resource whose newest form was rejected.
    """

    cds: str
    lds: str
    rds: str
    clusters: frozenset[str]
    errors: Mapping[str, str]


class EnvoyAdmin:
    """A client of one Envoy's admin socket."""

    def __init__(self, socket: str, *, seconds: float = 1.0) -> None:
        """Do not connect yet.

        Args:
            socket: path of the Unix socket.
            seconds: longest wait for one answer.
        """
        self._client = UnixHttp(socket, seconds=seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ready(self) -> bool:
        """Whether Envoy serves: false while it starts, drains or does not answer."""
        try:
            answer = await self._client.ask("GET", "/ready")
        except UnixHttpError:
            return False
        return answer.status == _OK

    async def clusters(self) -> Mapping[str, tuple[Host, ...]]:
        """The replicas of each cluster in use.

        Raises:
            EnvoyError: no usable answer.
        """
        return hosts(await self._json("/clusters", {"format": "json"}))

    async def applied(self) -> Applied:
        """Which resources are in use, in which version.

        Raises:
            EnvoyError: no usable answer.
        """
        return applied(await self.config_dump())

    async def config_dump(self) -> Mapping[str, Any]:
        """The whole configuration in use; keys of certificates are left out by Envoy.

        Raises:
            EnvoyError: no usable answer.
        """
        return await self._json("/config_dump", {})

    async def stats(self, pattern: str) -> Mapping[str, int]:
        """Counters and gauges whose names match a regular expression.

        Raises:
            EnvoyError: no usable answer.
        """
        found = await self._json("/stats", {"format": "json", "filter": pattern})
        return {
            str(item["name"]): item["value"]
            for item in found.get("stats", ())
            if isinstance(item.get("value"), int)
        }

    async def reopen_logs(self) -> None:
        """Let Envoy open its access log anew, after it was renamed.

        Raises:
            EnvoyError: no usable answer.
        """
        await self._answer("POST", "/reopen_logs", {})

    async def _json(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        body = await self._answer("GET", path, query)
        try:
            found = json.loads(body)
        except ValueError as error:
            raise EnvoyError(f"envoy answered `{path}` with what is not JSON") from error
        if not isinstance(found, dict):
            raise EnvoyError(f"envoy answered `{path}` with what is not a JSON object")
        return found

    async def _answer(self, method: str, path: str, query: Mapping[str, str]) -> bytes:
        target = f"{path}?{urlencode(query)}" if query else path
        try:
            answer = await self._client.ask(method, target)
        except UnixHttpError as error:
            raise EnvoyError(f"envoy did not answer `{path}`: {error}") from error
        if answer.status != _OK:
            raise EnvoyError(f"envoy answered `{path}` with {answer.status}")
        return answer.body


def hosts(answer: Mapping[str, Any]) -> Mapping[str, tuple[Host, ...]]:
    """The replicas of each cluster, from `/clusters?format=json`.

    Raises:
        EnvoyError: the answer has another form.
    """
    try:
        return {
            str(cluster["name"]): tuple(map(_host, cluster.get("host_statuses", ())))
            for cluster in answer.get("cluster_statuses", ())
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EnvoyError("envoy's list of clusters has an unknown form") from error


def applied(dump: Mapping[str, Any]) -> Applied:
    """What is in use, from `/config_dump`.

    Raises:
        EnvoyError: the dump has another form.
    """
    errors: dict[str, str] = {}
    try:
        parts = {str(part["@type"]).rpartition(".")[2]: part for part in dump.get("configs", ())}
        clusters = parts.get("ClustersConfigDump", {})
        listeners = parts.get("ListenersConfigDump", {})
        routes = parts.get("RoutesConfigDump", {}).get("dynamic_route_configs", ())
        active = clusters.get("dynamic_active_clusters", ())
        for item in (*active, *clusters.get("dynamic_warming_clusters", ())):
            _note(errors, item, item.get("cluster", {}).get("name", "cluster"))
        for item in listeners.get("dynamic_listeners", ()):
            _note(errors, item, item.get("name", "listener"))
        for item in routes:
            _note(errors, item, item.get("route_config", {}).get("name", "routes"))
        serving = any("active_state" in item for item in listeners.get("dynamic_listeners", ()))
        return Applied(
            cds=str(clusters.get("version_info", "")),
            lds=str(listeners.get("version_info", "")) if serving else "",
            rds=str(routes[0].get("version_info", "")) if routes else "",
            clusters=frozenset(str(item["cluster"]["name"]) for item in active),
            errors=errors,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise EnvoyError("envoy's configuration dump has an unknown form") from error


def _note(errors: dict[str, str], item: Mapping[str, Any], name: str) -> None:
    state = item.get("error_state")
    if state:
        errors[name] = str(state.get("details", "rejected"))


def _host(status: Mapping[str, Any]) -> Host:
    health = status.get("health_status", {})
    counters = {item["name"]: int(item.get("value", 0)) for item in status.get("stats", ())}
    ejected = bool(health.get("failed_outlier_check"))
    return Host(
        address=_address(status["address"]),
        healthy=health.get("eds_health_status", "HEALTHY") == "HEALTHY"
        and not ejected
        and not health.get("failed_active_health_check"),
        ejected=ejected,
        active=counters.get("rq_active", 0),
        failures=counters.get("cx_connect_fail", 0),
        answered_5xx=counters.get("rq_error", 0),
    )


def _address(address: Mapping[str, Any]) -> str:
    if "socket_address" in address:
        found = address["socket_address"]
        return f"{found['address']}:{found['port_value']}"
    return str(address["pipe"]["path"])
