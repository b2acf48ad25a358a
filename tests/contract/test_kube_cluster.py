"""What does `KubeCluster` make of a server that is slow, gone, misled or lying?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demarc.api.cluster import (
    CONFIG_MAP,
    SECRET,
    Change,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    Ref,
    TransientError,
)
from demarc.kube import connection
from demarc.kube.connection import Connection, ConnectionConfigError
from demarc.kube.kube_cluster import KubeCluster
from support.apiserver import ApiServer
from support.cluster import config_map
from support.pki import Authority
from support.subjects import new_namespace

_REF = Ref(CONFIG_MAP, "models", "a")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _serving(handler: _Handler) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _cluster(handler: _Handler, **arguments: Any) -> AsyncIterator[KubeCluster]:
    async with (
        _serving(handler) as url,
        KubeCluster(Connection(server=url, token="t"), **arguments) as cluster,
    ):
        yield cluster


def _event(kind: str, version: int, **fields: Any) -> dict[str, Any]:
    metadata = {"name": f"v{version}", "resourceVersion": str(version)}
    return {"type": kind, "object": {"kind": "ConfigMap", "metadata": metadata, **fields}}


def _watching(*answers: list[Mapping[str, Any]], asked: list[str] | None = None) -> _Handler:
    """Answers the first watch with the first list of events, and so on; then with silence."""
    waiting = list(answers)

    async def handler(request: web.Request) -> web.StreamResponse:
        if asked is not None:
            asked.append(request.query["resourceVersion"])
        assert "true" == request.query["allowWatchBookmarks"]
        events = waiting.pop(0) if waiting else []
        text = "".join(json.dumps(event) + "\n" for event in events)
        return web.Response(text=text, content_type="application/json")

    return handler


async def _versions(cluster: KubeCluster, since: str) -> list[str]:
    async with aclosing(cluster.watch(CONFIG_MAP, since=since)) as events:
        return [event.object["metadata"]["resourceVersion"] async for event in events]


async def test_a_server_that_does_not_answer_is_left() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with _cluster(handler, timeout_seconds=0.1) as cluster:
        with pytest.raises(TransientError, match="in time"):
            await cluster.get(_REF)


async def test_a_server_that_is_not_there_is_named() -> None:
    async with _serving(_watching()) as url:
        pass
    async with KubeCluster(Connection(server=url)) as cluster:
        with pytest.raises(TransientError, match=url):
            await cluster.get(_REF)


async def test_a_redirect_is_not_followed() -> None:
    """It would carry our token to another host."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with _cluster(handler) as cluster:
        with pytest.raises(TransientError, match="redirects"):
            await cluster.get(_REF)
    assert ["/api/v1/namespaces/models/configmaps/a"] == asked


@pytest.mark.parametrize("body", ["<html>", "[]", ""])
async def test_an_answer_that_is_no_object_is_transient(body: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with _cluster(handler) as cluster:
        with pytest.raises(TransientError):
            await cluster.get(_REF)


async def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    """A name from a request would otherwise choose another object."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.raw_path)
        return web.json_response({"kind": "Status", "code": 404}, status=404)

    async with _cluster(handler) as cluster:
        assert await cluster.get(Ref(CONFIG_MAP, "models", "../../secrets/a?b")) is None
    assert ["/api/v1/namespaces/models/configmaps/..%2F..%2Fsecrets%2Fa%3Fb"] == asked


async def test_a_token_file_is_read_for_each_call(tmp_path: Path) -> None:
    """The kubelet replaces it before it expires."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return web.json_response({"kind": "Status", "code": 404}, status=404)

    token = tmp_path / "token"
    token.write_text("one")
    async with (
        _serving(handler) as url,
        KubeCluster(Connection(server=url, token_file=token)) as cluster,
    ):
        await cluster.get(_REF)
        token.write_text("two\n")
        await cluster.get(_REF)
        token.unlink()
        with pytest.raises(TransientError):
            await cluster.get(_REF)

    assert ["Bearer one", "Bearer two"] == seen


async def test_a_watch_goes_on_where_the_server_closed_it() -> None:
    """Bookmarks move its start, or the next request would be too old."""
    asked: list[str] = []
    handler = _watching(
        [_event("ADDED", 11)],
        [_event("BOOKMARK", 20)],
        [_event("MODIFIED", 21)],
        asked=asked,
    )
    async with _cluster(handler) as cluster:
        found = await _versions(cluster, "10")

    assert ["11", "21"] == found
    assert ["10", "11", "20", "21"] == asked


async def test_a_watch_that_hears_nothing_ends() -> None:
    async with _cluster(_watching()) as cluster:
        assert [] == await _versions(cluster, "10")


async def test_a_watch_reports_the_change_as_it_is() -> None:
    async with (
        _cluster(_watching([_event("DELETED", 11, data={"a": "1"})])) as cluster,
        aclosing(cluster.watch(CONFIG_MAP, since="10")) as events,
    ):
        event = await anext(events)

    assert (Change.DELETED, {"a": "1"}) == (event.change, event.object["data"])


async def test_an_old_version_is_gone_as_a_status_or_as_an_event() -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}

    async def refusing(request: web.Request) -> web.StreamResponse:
        return web.json_response(status, status=410)

    for handler in (refusing, _watching([{"type": "ERROR", "object": status}])):
        async with _cluster(handler) as cluster:
            with pytest.raises(GoneError, match="too old"):
                await _versions(cluster, "10")


@pytest.mark.parametrize("kind", ["MODIFIED", "BOOKMARK"])
async def test_a_cluster_that_was_restored_is_gone(kind: str) -> None:
    """Its versions start again below ours, and a watch from ours would stay silent."""
    async with _cluster(_watching([_event(kind, 9)])) as cluster:
        with pytest.raises(GoneError, match="before 10"):
            await _versions(cluster, "10")


@pytest.mark.parametrize("line", ["no json\n", "[]\n", '{"type": "ADDED"}\n', '{"type": "X"}\n'])
async def test_a_line_that_is_no_event_is_transient(line: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=line)

    async with _cluster(handler) as cluster:
        with pytest.raises(TransientError):
            await _versions(cluster, "10")


async def test_a_watch_whose_server_falls_silent_is_left() -> None:
    """A dead peer sends no farewell."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    async with _cluster(handler, watch_seconds=0, watch_grace_seconds=0.1) as cluster:
        with pytest.raises(TransientError, match="in time"):
            await _versions(cluster, "10")


def test_a_certificate_that_is_none_is_refused_at_once() -> None:
    for bad in (
        Connection("https://bank.test", authority="no PEM"),
        Connection("https://bank.test", certificate="no PEM", key="swordfish"),
    ):
        with pytest.raises(ConnectionConfigError, match=r"bank\.test") as caught:
            KubeCluster(bad)
        assert "swordfish" not in str(caught.value)


@pytest.mark.cluster
@pytest.mark.timeout(90)
async def test_another_authority_is_not_trusted(apiserver: ApiServer) -> None:
    """Whoever answers at the address would read what we write."""
    server = apiserver.kubeconfig["clusters"][0]["cluster"]["server"]
    stranger = Connection(server, authority=Authority().certificate.decode(), token="t")
    async with KubeCluster(stranger) as cluster:
        with pytest.raises(TransientError, match="certificate"):
            await cluster.get(_REF)


@pytest.mark.cluster
@pytest.mark.timeout(90)
async def test_an_account_without_rights_is_forbidden(
    apiserver: ApiServer, kube_cluster: KubeCluster
) -> None:
    """And one of a pod is known by its token alone."""
    namespace = await new_namespace(kube_cluster)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": namespace, "name": "pod"},
    }
    await kube_cluster.apply(account, manager="test")
    token = await kube_cluster.issue_token(
        namespace, "pod", audience="https://kubernetes.default.svc.cluster.local", seconds=600
    )
    cluster_entry = apiserver.kubeconfig["clusters"][0]["cluster"]
    async with KubeCluster(_connection(cluster_entry, token)) as pod:
        with pytest.raises(ForbiddenError, match="pod"):
            await pod.get(Ref(SECRET, namespace, "a"))
        with pytest.raises(ForbiddenError):
            await pod.apply(config_map(namespace, "a"), manager="test")
    async with KubeCluster(_connection(cluster_entry, "forged")) as stranger:
        with pytest.raises(ForbiddenError):
            await stranger.get(Ref(CONFIG_MAP, namespace, "a"))


@pytest.mark.cluster
@pytest.mark.timeout(90)
async def test_a_missing_namespace_and_a_missing_crd_differ(kube_cluster: KubeCluster) -> None:
    with pytest.raises(NotFoundError):
        await kube_cluster.apply(config_map("no-such-namespace", "a"), manager="test")
    with pytest.raises(InvalidError):
        await kube_cluster.apply({**config_map("a", "a"), "kind": "Thing"}, manager="test")


def _connection(entry: Mapping[str, Any], token: str) -> Connection:
    return connection.from_kubeconfig(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": entry}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
    )


@pytest.mark.parametrize("missing", ["/.well-known/openid-configuration", "/openid/v1/jwks"])
async def test_a_server_that_does_not_serve_its_token_keys_has_none(missing: str) -> None:
    """It would be taken for a server that failed, and asked for ever."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == missing:
            return web.Response(status=404, text="404 page not found\n")
        return web.json_response({"issuer": "https://cluster.test", "keys": []})

    async with _cluster(handler) as cluster:
        with pytest.raises(NotFoundError):
            await cluster.token_keys()
