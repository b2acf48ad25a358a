"""Does the API of one machine tell its pods what they may know, and nobody anything else?"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from demarc.api.cluster import (
    CONFIG_MAP,
    KINDS,
    SECRET,
    Change,
    ClusterError,
    Kind,
    Listing,
    WatchEvent,
)
from demarc.kube.connection import Connection
from demarc.kube.kube_cluster import KubeCluster
from demarc.local.api import Access, ReadApi
from support.cluster import MemoryCluster, config_map, namespace
from support.pki import Authority

_POD = Access(kinds=frozenset({CONFIG_MAP, SECRET}), accounts=frozenset({("models", "pod")}))
_TOKENS = {"pod": _POD, "nothing": Access()}
_CONFIG_MAPS = "/api/v1/namespaces/models/configmaps"
_TOKEN = "/api/v1/namespaces/models/serviceaccounts/pod/token"


class _Caller:
    """Somebody with a token, or without."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def ask(
        self, path: str, *, token: str = "pod", method: str = "GET", body: Any = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(
            method, self.url + path, headers=headers, json=body
        ) as answer:
            text = await answer.text()
            found = json.loads(text) if "json" in answer.content_type else text
            return answer.status, found


@pytest.fixture
async def store() -> MemoryCluster:
    cluster = MemoryCluster()
    await cluster.apply(namespace("models"), manager="test")
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"})):
        await cluster.apply(config_map("models", name, {"k": "v"}, labels=labels), manager="test")
    for kind in ("Secret", "ServiceAccount"):
        metadata = {"namespace": "models", "name": "pod"}
        await cluster.apply(
            {"apiVersion": "v1", "kind": kind, "metadata": metadata}, manager="test"
        )
    return cluster


@pytest.fixture
async def caller(store: MemoryCluster) -> AsyncIterator[_Caller]:
    api = ReadApi(store, _TOKENS.get)
    async with api.serving("127.0.0.1") as url, aiohttp.ClientSession() as session:
        yield _Caller(session, url)


@pytest.mark.parametrize("token", ["", "guessed"])
@pytest.mark.parametrize("path", [_CONFIG_MAPS, "/api", "/version", "/openid/v1/jwks", "/nowhere"])
async def test_without_a_known_token_there_is_nothing(
    caller: _Caller, token: str, path: str
) -> None:
    """Every process of the machine reaches the loopback address."""
    status, answer = await caller.ask(path, token=token)

    assert 401 == status == answer["code"]
    assert ("Status", "Unauthorized") == (answer["kind"], answer["reason"])


@pytest.mark.parametrize("scheme", ["Basic pod", "Bearer", "pod", "Bearer  "])
async def test_a_token_comes_as_a_bearer(caller: _Caller, scheme: str) -> None:
    async with caller.session.get(
        caller.url + _CONFIG_MAPS, headers={"Authorization": scheme}
    ) as answer:
        assert 401 == answer.status


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_anybody_may_know_that_it_runs(caller: _Caller, path: str) -> None:
    assert (200, "ok") == await caller.ask(path, token="")


@pytest.mark.parametrize(
    "path", ["secrets", "namespaces/models/secrets", "namespaces/models/secrets/pod"]
)
async def test_secrets_are_served_to_nobody(caller: _Caller, path: str) -> None:
    """Even to a pod whose access names them by mistake."""
    status, answer = await caller.ask(f"/api/v1/{path}")

    assert 404 == status
    assert "404 page not found\n" == answer


@pytest.mark.parametrize(
    "path", ["/api/v1/pods", "/api/v1/namespaces/models/pods/a", "/api/v1/pods?watch=1"]
)
async def test_a_kind_that_is_not_named_is_forbidden(caller: _Caller, path: str) -> None:
    status, answer = await caller.ask(path)

    assert (403, "Forbidden") == (status, answer["reason"])
    assert "pods" in answer["message"]


async def test_a_token_for_nothing_reads_nothing(caller: _Caller) -> None:
    assert 403 == (await caller.ask(_CONFIG_MAPS, token="nothing"))[0]
    assert 403 == (await caller.ask(_TOKEN, token="nothing", method="POST", body={}))[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [_CONFIG_MAPS, f"{_CONFIG_MAPS}/a"])
async def test_nothing_is_written(
    caller: _Caller, store: MemoryCluster, method: str, path: str
) -> None:
    before = await store.list(CONFIG_MAP)

    status, answer = await caller.ask(path, method=method, body=config_map("models", "a"))

    assert (405, "MethodNotAllowed") == (status, answer["reason"])
    assert before == await store.list(CONFIG_MAP)


async def test_a_list_can_be_narrowed(caller: _Caller) -> None:
    async def names(query: str) -> list[str]:
        _, answer = await caller.ask(f"{_CONFIG_MAPS}?{query}")
        assert "ConfigMapList" == answer["kind"]
        return [item["metadata"]["name"] for item in answer["items"]]

    assert ["a", "b"] == await names("limit=1")
    assert ["a"] == await names("labelSelector=x%3D1")
    assert ["a"] == await names("labelSelector=x%3D%3D1")
    assert ["b"] == await names("fieldSelector=metadata.name%3Db")


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=x",
        "labelSelector=x!%3D1",
        "labelSelector=x%20in%20(1)",
        "fieldSelector=spec.nodeName%3Da",
        "watch=1&labelSelector=x%3D1",
        "watch=1&timeoutSeconds=soon",
    ],
)
async def test_a_selector_that_is_not_understood_is_refused(caller: _Caller, query: str) -> None:
    """Ignored it would widen the answer."""
    status, answer = await caller.ask(f"{_CONFIG_MAPS}?{query}")

    assert (400, "BadRequest") == (status, answer["reason"])


async def test_kubectl_finds_the_kinds(caller: _Caller) -> None:
    assert ["v1"] == (await caller.ask("/api"))[1]["versions"]
    assert [] == (await caller.ask("/apis"))[1]["groups"]
    (resource,) = (await caller.ask("/api/v1"))[1]["resources"]
    assert ("configmaps", ["cm"], True) == (
        resource["name"],
        resource["shortNames"],
        resource["namespaced"],
    )
    assert (await caller.ask("/version"))[1]["gitVersion"].startswith("v1.")


async def test_a_watch_ends_with_its_time(caller: _Caller, store: MemoryCluster) -> None:
    path = f"{_CONFIG_MAPS}?watch=true&resourceVersion={store.version}&timeoutSeconds=1"

    async with caller.session.get(
        caller.url + path, headers={"Authorization": "Bearer pod"}
    ) as answer:
        assert b"" == await answer.read()


async def test_a_watch_of_one_name_hears_of_that_alone(
    caller: _Caller, store: MemoryCluster
) -> None:
    query = f"watch=1&resourceVersion={store.version}&fieldSelector=metadata.name%3Db"
    headers = {"Authorization": "Bearer pod"}
    async with caller.session.get(f"{caller.url}{_CONFIG_MAPS}?{query}", headers=headers) as answer:
        for name in ("a", "b"):
            await store.apply(config_map("models", name, {"k": "w"}), manager="test")
        event = json.loads(await answer.content.readline())

    assert ("MODIFIED", "b") == (event["type"], event["object"]["metadata"]["name"])


async def test_a_server_that_stops_ends_its_watches(store: MemoryCluster) -> None:
    """`demarc down` would otherwise wait for every agent."""
    api = ReadApi(store, _TOKENS.get)
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer pod"}) as session:
        async with api.serving("127.0.0.1") as url:
            answer = await session.get(
                f"{url}{_CONFIG_MAPS}?watch=1&resourceVersion={store.version}"
            )

        assert b"" == await answer.read()


async def test_it_can_be_served_over_tls(store: MemoryCluster, tmp_path: Path) -> None:
    """kubectl gives its token to no other server."""
    authority = Authority()
    leaf = authority.server("api", "127.0.0.1")
    (tmp_path / "pair.pem").write_bytes(leaf.certificate + leaf.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "pair.pem")

    async with ReadApi(store, _TOKENS.get).serving("127.0.0.1", tls=tls) as url:
        connection = Connection(url, authority=authority.certificate.decode(), token="pod")
        async with KubeCluster(connection) as cluster:
            found = await cluster.list(CONFIG_MAP)

    assert url.startswith("https://")
    assert 2 == len(found.items)


async def test_a_token_is_given_for_a_named_account(caller: _Caller) -> None:
    body = {"spec": {"audiences": ["demarc"], "expirationSeconds": 600}}
    status, answer = await caller.ask(_TOKEN, method="POST", body=body)

    assert 201 == status
    assert "2026-01-01T12:10:00Z" == answer["status"]["expirationTimestamp"]
    assert 3 == len(answer["status"]["token"].split("."))
    other = _TOKEN.replace("/pod/", "/other/")
    assert 403 == (await caller.ask(other, method="POST", body=body))[0]


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"spec": {}},
        {"spec": {"audiences": []}},
        {"spec": {"audiences": ["a", "b"]}},
        {"spec": {"audiences": ["a"], "expirationSeconds": "600"}},
    ],
)
async def test_a_token_request_that_is_none_is_refused(caller: _Caller, body: Any) -> None:
    assert 400 == (await caller.ask(_TOKEN, method="POST", body=body))[0]


async def test_a_cluster_that_fails_is_reported_without_a_trace() -> None:
    class Failing(MemoryCluster):
        async def list(self, kind: Kind, **_: Any) -> Listing:
            raise ClusterError(f"swordfish {kind}")

    api = ReadApi(Failing(), lambda _: Access(kinds=frozenset(KINDS)))
    async with api.serving("127.0.0.1") as url, aiohttp.ClientSession() as session:
        status, answer = await _Caller(session, url).ask("/api/v1/configmaps")

    assert 500 == status
    assert "swordfish" not in json.dumps(answer)


class _Late(MemoryCluster):
    """A cluster in which something changes while the reader of a watch leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    async def watch(self, *_: object, **__: object) -> AsyncGenerator[WatchEvent, None]:
        event = WatchEvent(Change.MODIFIED, config_map("models", "a", {"k": "v"}))
        yield event
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield event
        finally:
            self.ended.set()


async def test_a_watch_whose_reader_has_left_ends_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each agent that ends would leave a traceback on the terminal of who started it."""
    cluster = _Late()
    async with ReadApi(cluster, _TOKENS.get).serving("127.0.0.1") as url, asyncio.timeout(8):
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        ask = (f"GET {_CONFIG_MAPS}?watch=1 HTTP/1.1", "Host: a", "Authorization: Bearer pod")
        writer.write("\r\n".join((*ask, "", "")).encode())
        await reader.readuntil(b"MODIFIED")
        writer.transport.abort()
        await cluster.ended.wait()

    assert [] == [record.getMessage() for record in caplog.records]
