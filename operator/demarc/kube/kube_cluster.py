"""How are objects read and written in a Kubernetes API? `KubeCluster`, an adapter of `Cluster`.

INVARIANT: objects are never parsed into models: what the API gives is what the caller gets.
INVARIANT: a watch reports every change since its start, or raises; it never skips one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

from demarc.api import cluster, manifests
from demarc.api.cluster import (
    KINDS,
    Change,
    GoneError,
    Kind,
    Listing,
    Manifest,
    NotFoundError,
    Ref,
    TransientError,
    WatchEvent,
)
from demarc.kube import answers
from demarc.kube.answers import Answer
from demarc.kube.connection import Connection
from demarc.kube.transport import Transport

_APPLY = "application/apply-patch+yaml"
_CALL_SECONDS = 15.0
_WATCH_SECONDS = 60
_WATCH_GRACE_SECONDS = 10.0


class KubeCluster:
    """Objects of one cluster through its API server."""

    def __init__(
        self,
        connection: Connection,
        *,
        kinds: Sequence[Kind] = KINDS,
        timeout_seconds: float = _CALL_SECONDS,
        watch_seconds: int = _WATCH_SECONDS,
        watch_grace_seconds: float = _WATCH_GRACE_SECONDS,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            connection: the API server and who we are to it.
            kinds: the kinds whose manifests can be applied.
            timeout_seconds: the limit of each call but a watch.
            watch_seconds: how long one watch request runs before the next one takes over.
            watch_grace_seconds: how much later than that a silent server counts as vanished.
        """
        self._transport = Transport(connection, timeout_seconds=timeout_seconds)
        self._kinds = tuple(kinds)
        self._watch_seconds = watch_seconds
        self._idle_seconds = watch_seconds + watch_grace_seconds

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if there is none."""
        answer = await self._transport.call("GET", _path(ref.kind, ref.namespace, ref.name))
        if _is_missing_object(answer):
            return None
        return _object(answer, ref.kind)

    async def list(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Listing:
        """All objects of a kind, in one namespace or in all, that carry all the labels."""
        query = {"labelSelector": _selector(labels)} if labels else {}
        answer = await self._transport.call("GET", _path(kind, namespace), query=query)
        listing = _object(answer, kind)
        # The API leaves both out in the items of a list.
        named = {"apiVersion": kind.api_version, "kind": kind.name}
        items = tuple({**named, **item} for item in listing.get("items") or ())
        return Listing(items, listing["metadata"]["resourceVersion"])

    async def watch(
        self, kind: Kind, *, since: str, namespace: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `since`; when the server closes, watch on from the last version seen."""
        version = since
        while True:
            heard = False
            async with aclosing(self._watch_lines(kind, version, namespace)) as lines:
                async for line in lines:
                    heard = True
                    event = answers.parse_object(line)
                    item = _watched(event, kind)
                    newer = str(item["metadata"]["resourceVersion"])
                    _check_order(version, newer)
                    version = newer
                    if event["type"] != "BOOKMARK":
                        yield WatchEvent(Change(event["type"]), item)
            if not heard:
                # Not even a bookmark came: the caller decides when to try again.
                return

    async def apply(
        self, manifest: Manifest, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Manifest:
        """Server-side apply by a field manager; fields it no longer sends are removed."""
        ref = manifests.ref_of(manifest, self._kinds)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        answer = await self._transport.call(
            "PATCH",
            _path(ref.kind, ref.namespace, ref.name),
            query=query,
            body=manifest,
            content_type=_APPLY,
        )
        return _object(answer, ref.kind)

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status subresource only; `NotFoundError` without the object."""
        ref = manifests.ref_of(manifest, self._kinds)
        metadata = {
            name: manifest["metadata"][name]
            for name in ("name", "namespace", "uid", "resourceVersion")
            if manifest["metadata"].get(name)
        }
        answer = await self._transport.call(
            "PATCH",
            f"{_path(ref.kind, ref.namespace, ref.name)}/status",
            query={"fieldManager": manager, "force": "true"},
            body={
                "apiVersion": manifest["apiVersion"],
                "kind": manifest["kind"],
                "metadata": metadata,
                "status": manifest.get("status") or {},
            },
            content_type=_APPLY,
        )
        return _object(answer, ref.kind)

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        """Delete in the background; a missing object is fine; another uid is a conflict."""
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        path = _path(ref.kind, ref.namespace, ref.name)
        answer = await self._transport.call("DELETE", path, body=options)
        if not _is_missing_object(answer):
            _object(answer, ref.kind)

    async def issue_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> str:
        """A ServiceAccount token (a JWT) for an audience, valid for 600 seconds or more."""
        answer = await self._transport.call(
            "POST",
            f"{_path(cluster.SERVICE_ACCOUNT, namespace, service_account)}/token",
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": [audience], "expirationSeconds": seconds},
            },
        )
        return str(_object(answer, cluster.SERVICE_ACCOUNT)["status"]["token"])

    async def token_keys(self) -> Mapping[str, Any]:
        """`{"issuer": str, "keys": [JWK, ...]}`: what verifies ServiceAccount tokens."""
        discovery = await self._transport.call("GET", "/.well-known/openid-configuration")
        keys = await self._transport.call("GET", "/openid/v1/jwks")
        if HTTPStatus.NOT_FOUND in {discovery.status, keys.status}:
            raise NotFoundError("the cluster does not say who signs its ServiceAccount tokens")
        return {
            "issuer": _object(discovery, cluster.SERVICE_ACCOUNT)["issuer"],
            "keys": _object(keys, cluster.SERVICE_ACCOUNT)["keys"],
        }

    async def _watch_lines(
        self, kind: Kind, since: str, namespace: str
    ) -> AsyncGenerator[bytes, None]:
        """The lines of one watch request, until the server closes it."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(self._watch_seconds),
        }
        async with self._transport.stream(
            _path(kind, namespace), query=query, idle_seconds=self._idle_seconds
        ) as response:
            if response.status != HTTPStatus.OK:
                answer = Answer(response.status, await response.read())
                raise answers.error_of(answers.refusal_of(answer), kind)
            async for line in response.content:
                yield line


def _path(kind: Kind, namespace: str = "", name: str = "") -> str:
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace and kind.namespaced:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    if name:
        parts.append(name)
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _object(answer: Answer, kind: Kind) -> dict[str, Any]:
    if not answer.ok:
        raise answers.error_of(answers.refusal_of(answer), kind)
    return answers.parse_object(answer.body)


def _is_missing_object(answer: Answer) -> bool:
    return answer.status == HTTPStatus.NOT_FOUND and answers.refusal_of(answer).is_status


def _watched(event: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The object of a watch event; an error event is raised."""
    item = event.get("object")
    if not isinstance(item, dict) or event.get("type") not in {*Change, "BOOKMARK", "ERROR"}:
        raise TransientError("the API server's watch event is none")
    if event["type"] == "ERROR":
        raise answers.error_of(answers.refusal_of_status(item, 500), kind)
    return item


def _check_order(seen: str, newer: str) -> None:
    """After a restore from a backup the versions start lower, and a watch would miss changes."""
    if seen.isdecimal() and newer.isdecimal() and int(newer) < int(seen):
        raise GoneError(f"the cluster is at version {newer}, before {seen}: list again")
