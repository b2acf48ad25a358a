"""What do objects of the cluster say now? One kind, listed and then watched, for ever.

Rules:
    The caller gets the whole state at each change, never a difference, so a missed change is
    mended by the next list.
    Every failure is followed by a new list after a pause; until then the last state stands.
    A watch that is too old is no failure, unless the one after it is too old as well.
    A state that the agent cannot take changes nothing: who writes an object must not end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from demarc.api.cluster import Change, Cluster, ClusterError, GoneError, Kind, Manifest
from demarc.gateway.counting import Metrics

State = Mapping[tuple[str, str], Manifest]
"""(namespace, name) -> object."""

log = structlog.get_logger()


async def follow(
    cluster: Cluster,
    kind: Kind,
    changed: Callable[[State], None],
    *,
    namespace: str = "",
    retry: float,
    metrics: Metrics,
) -> None:
    """Tell the state at its first list and after each change; runs until it is cancelled.

    Args:
        cluster: where.
        kind: of which objects.
        changed: gets the state; what it raises is told and goes no further.
        namespace: empty: all.
        retry: seconds after a failure.
        metrics: counts failures.
    """
    said = ""

    def told(state: State) -> None:
        nonlocal said
        if said:
            said = ""
            log.info("watch_restored", kind=kind.name)
        try:
            changed(state)
        except Exception as error:  # noqa: BLE001  # what is in force stays; nobody writes us off
            metrics.count("demarc_watch_errors_total", kind=kind.name)
            log.error("state_refused", kind=kind.name, error=type(error).__name__)

    expired = False
    while True:
        before, expired = expired, False
        try:
            await _follow(cluster, kind, told, namespace)
        except ClusterError as error:
            expired = isinstance(error, GoneError)
            if expired and not before:
                continue
            metrics.count("demarc_watch_errors_total", kind=kind.name)
            if said != str(error):
                said = str(error)
                log.warning("watch_failed", kind=kind.name, error=said)
        await asyncio.sleep(retry)


async def _follow(
    cluster: Cluster, kind: Kind, changed: Callable[[State], None], namespace: str
) -> None:
    """One list and the watch after it, until the server closes it."""
    listing = await cluster.list(kind, namespace=namespace)
    state = {_key(item): item for item in listing.items}
    changed(dict(state))
    async for event in cluster.watch(kind, since=listing.resource_version, namespace=namespace):
        if event.change is Change.DELETED:
            state.pop(_key(event.object), None)
        else:
            state[_key(event.object)] = event.object
        changed(dict(state))


def _key(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest.get("metadata")
    found = metadata if isinstance(metadata, Mapping) else {}
    return (str(found.get("namespace", "")), str(found.get("name", "")))
