"""How do pods of one machine read a cluster? Its objects over loopback, as Kubernetes serves them.

INVARIANT: nothing is written through it: objects change through the port `Cluster` alone.
INVARIANT: a caller without a known token learns nothing but that the server runs; a caller with one
reads the kinds that its access names. Secrets are served to nobody.
INVARIANT: an error that is not foreseen is a refusal without a text of its own.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeAlias, assert_never

import jwt
from aiohttp import web

from demarc.api.cluster import KINDS, SECRET, SERVICE_ACCOUNT, Cluster, ClusterError, Kind
from demarc.local import api_documents as documents
from demarc.local import api_requests as requests
from demarc.local.api_requests import Collection, Object, RequestError, Resources, Token

_LONGEST_WATCH_SECONDS = 600
_LONGEST_BODY_BYTES = 64 * 1024
_TOKEN_SECONDS = 3600
_VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0+demarc", "platform": "linux/amd64"}


@dataclass(frozen=True, slots=True)
class Access:
    """What the holder of a token may do.

    Attributes:
        kinds: kinds whose objects may be read; a Secret may not be read all the same.
        accounts: ServiceAccounts, as namespace and name, for which tokens may be asked.
        every_account: whether tokens may be asked for all of them.
    """

    kinds: frozenset[Kind] = frozenset()
    accounts: frozenset[tuple[str, str]] = frozenset()
    every_account: bool = False


Authorize: TypeAlias = Callable[[str], Access | None]
"""What the holder of a bearer token may do; None for a token that nobody was given."""


class ReadApi:
    """The reading half of a Kubernetes API over any `Cluster`."""

    def __init__(
        self, cluster: Cluster, authorize: Authorize, *, kinds: Sequence[Kind] = KINDS
    ) -> None:
        self._cluster = cluster
        self._authorize = authorize
        self._kinds = tuple(kind for kind in kinds if kind != SECRET)
        self._watches: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def serving(
        self, host: str, port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> AsyncGenerator[str, None]:
        """Serve on an address while the context lasts; the base URL. Port 0 takes a free one.

        With `tls` over https: kubectl sends no token to a server without it.
        """
        application = web.Application(client_max_size=_LONGEST_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        application.on_shutdown.append(self._end_watches)
        # Cancellation ends a watch whose reader is gone.
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
            bound = runner.addresses[0][1]
            yield f"{'http' if tls is None else 'https'}://{host}:{bound}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in {"/livez", "/readyz", "/healthz"}:
            return web.Response(text="ok")
        access = self._access(request)
        if access is None:
            return _refuse(HTTPStatus.UNAUTHORIZED, "Unauthorized", "no known bearer token")
        try:
            return await self._answer_known(request, access)
        except RequestError as error:
            return _refuse(HTTPStatus.BAD_REQUEST, "BadRequest", str(error))
        except ClusterError as error:
            return _failure(documents.failure_of(error))

    def _access(self, request: web.Request) -> Access | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        return self._authorize(token.strip())

    async def _answer_known(self, request: web.Request, access: Access) -> web.StreamResponse:
        fixed = await self._fixed(request)
        if fixed is not None:
            return fixed
        target = requests.parse_path(request.path, self._kinds)
        if target is None:
            # No `Status`: a reader tells a kind that is not served from an object that is absent.
            return web.Response(status=HTTPStatus.NOT_FOUND, text="404 page not found\n")
        if request.method == "POST" and isinstance(target, Token):
            return await self._token(request, target, access)
        if request.method != "GET" or isinstance(target, Token):
            return _refuse(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "this API is read only: `demarc apply` changes objects",
            )
        return await self._read(request, target, access)

    async def _fixed(self, request: web.Request) -> web.Response | None:
        """Documents that every known caller may read."""
        if request.method != "GET":
            return None
        match request.path:
            case "/version":
                return _json(_VERSION)
            case "/openid/v1/jwks":
                found = await self._cluster.token_keys()
                return _json({"keys": found["keys"]})
            case "/.well-known/openid-configuration":
                found = await self._cluster.token_keys()
                return _json(
                    {
                        "issuer": found["issuer"],
                        "jwks_uri": f"{request.scheme}://{request.host}/openid/v1/jwks",
                    }
                )
            case _:
                return None

    async def _read(
        self, request: web.Request, target: Collection | Object | Resources, access: Access
    ) -> web.StreamResponse:
        match target:
            case Resources(api_version):
                return _json(self._discovery(request.path, api_version, access))
            case Object(ref):
                if ref.kind not in access.kinds:
                    return _forbid(ref.kind)
                found = await self._cluster.get(ref)
                if found is None:
                    return _refuse(HTTPStatus.NOT_FOUND, "NotFound", f"there is no `{ref}`")
                return _json(found)
            case Collection(kind, namespace):
                if kind not in access.kinds:
                    return _forbid(kind)
                selection = requests.parse_selection(request.query)
                if requests.is_watch(request.query):
                    return await self._watch(request, target)
                listing = await self._cluster.list(
                    kind, namespace=namespace, labels=selection.labels
                )
                return _json(documents.object_list(kind, listing, selection.name))
            case _:
                assert_never(target)

    def _discovery(self, path: str, api_version: str, access: Access) -> Mapping[str, Any]:
        readable = [kind for kind in self._kinds if kind in access.kinds]
        if api_version:
            return documents.resources(api_version, readable)
        return documents.groups(readable) if "apis" in path else documents.core_versions()

    async def _watch(self, request: web.Request, target: Collection) -> web.StreamResponse:
        """Changes as JSON lines, until the reader leaves, its time is over, or we close."""
        selection = requests.parse_selection(request.query)
        if selection.labels:
            raise RequestError("labelSelector: a watch by labels is not served")
        seconds = requests.timeout_seconds(request.query, _LONGEST_WATCH_SECONDS)
        since = request.query.get("resourceVersion", "")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        with suppress(ConnectionError):  # something changes while the reader leaves
            await response.prepare(request)
            watch = self._cluster.watch(target.kind, since=since, namespace=target.namespace)
            limit = asyncio.timeout(seconds)
            self._watches.add(limit)
            try:
                async with limit, aclosing(watch) as events:
                    async for event in events:
                        if selection.name in {"", event.object["metadata"]["name"]}:
                            await response.write(_line(event.change, event.object))
            except TimeoutError:
                pass
            except ClusterError as error:
                await response.write(_line("ERROR", documents.failure_of(error)))
            finally:
                self._watches.discard(limit)
            await response.write_eof()
        return response

    async def _end_watches(self, _: web.Application) -> None:
        now = asyncio.get_running_loop().time()
        for limit in self._watches:
            limit.reschedule(now)

    async def _token(self, request: web.Request, target: Token, access: Access) -> web.Response:
        account = (target.namespace, target.account)
        if not access.every_account and account not in access.accounts:
            return _forbid(SERVICE_ACCOUNT)
        spec = await _token_spec(request)
        token = await self._cluster.issue_token(
            target.namespace,
            target.account,
            audience=spec["audiences"][0],
            seconds=spec["expirationSeconds"],
        )
        expires: int = jwt.decode(token, options={"verify_signature": False})["exp"]
        answer = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"namespace": target.namespace, "name": target.account},
            "spec": spec,
            "status": {
                "token": token,
                "expirationTimestamp": datetime.fromtimestamp(expires, UTC).strftime(
                    "%Y-%m-%dT%H:%M:%SZ"
                ),
            },
        }
        return _json(answer, HTTPStatus.CREATED)


async def _token_spec(request: web.Request) -> dict[str, Any]:
    """`spec` of a TokenRequest for one audience; `RequestError` if it is none."""
    try:
        document = json.loads(await request.text())
    except ValueError as error:
        raise RequestError("the body is no JSON") from error
    spec = document.get("spec") if isinstance(document, dict) else None
    match {"expirationSeconds": _TOKEN_SECONDS, **spec} if isinstance(spec, dict) else None:
        case {"audiences": [str(audience)], "expirationSeconds": int(seconds)}:
            return {"audiences": [audience], "expirationSeconds": seconds}
        case _:
            raise RequestError("a TokenRequest states one audience, and seconds as a number")


def _json(document: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(document, status=status)


def _failure(document: Mapping[str, Any]) -> web.Response:
    return _json(document, HTTPStatus(document["code"]))


def _refuse(code: HTTPStatus, reason: str, message: str) -> web.Response:
    return _failure(documents.failure(code, reason, message))


def _forbid(kind: Kind) -> web.Response:
    text = f"the holder of this token may not read `{kind.plural}`"
    return _refuse(HTTPStatus.FORBIDDEN, "Forbidden", text)


def _line(change: str, item: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": change, "object": item}).encode() + b"\n"
