"""How does a call get to the API server and back? HTTP with a time limit, errors in our words.

It is plain aiohttp, which is also what the official client's asyncio flavour (`kubernetes.aio`)
stands on. Of that client only the connection could be used, and it follows redirects, takes no
body that is not text, and warns of each object near the limit of 1 MiB. Its configuration loader
runs `exec` plugins and leaves private keys in temporary files, its typed models lose the fields
that they do not know, and its `Watch` tries again by itself where we must list again.

INVARIANT: every call has a time limit, and whatever goes wrong is a `ClusterError`.
INVARIANT: our credentials go to the configured server alone: redirects are refused.
"""

from __future__ import annotations

import io
import json
import os
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from demarc.api import manifests
from demarc.api.cluster import TransientError
from demarc.kube.answers import Answer
from demarc.kube.connection import Connection, ConnectionConfigError

_CONNECT_SECONDS = 5.0
_ACCEPTED = "application/json, application/jwk-set+json"  # the second for /openid/v1/jwks alone
_USER_AGENT = "demarc"
_LONGEST_LINE_BYTES = 4 * 1024 * 1024  # one watch event; etcd holds objects of at most 1.5 MiB


class Transport:
    """HTTP to one API server."""

    def __init__(self, connection: Connection, *, timeout_seconds: float) -> None:
        """Prepare; nothing is sent. `ConnectionConfigError` if a certificate cannot be used."""
        self._connection = connection
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=min(_CONNECT_SECONDS, timeout_seconds)
        )
        self._tls = _tls(connection)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        """One request and its whole answer; `TransientError` if there is none in time."""
        async with self._request(
            method, path, query=query or {}, body=body, content_type=content_type
        ) as response:
            return Answer(response.status, await response.read())

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """A GET whose answer is read line by line; silence beyond the limit is an error."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=idle_seconds
        )
        async with self._request("GET", path, query=query, timeout=timeout) as response:
            yield response

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109  # aiohttp's own type
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        url = f"{self._connection.server}{path}"
        if query:
            url = f"{url}?{urlencode(query)}"
        data = None if body is None else io.BytesIO(json.dumps(manifests.plain(body)).encode())
        try:
            async with self._pool().request(
                method,
                URL(url, encoded=True),
                headers=self._headers(content_type),
                data=data,
                timeout=timeout or self._timeout,
                proxy=self._connection.proxy or None,
                server_hostname=self._connection.server_name or None,
                allow_redirects=False,
            ) as response:
                if HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST:
                    raise TransientError(f"`{self._connection.server}` redirects: it is no API")
                try:
                    yield response
                finally:
                    _abort(response)
        except TimeoutError as error:
            raise TransientError(f"`{self._connection.server}` did not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransientError(
                f"`{self._connection.server}` cannot be reached: {_reason(error)}"
            ) from error

    def _pool(self) -> aiohttp.ClientSession:
        """The pooled connections; made at the first call, which runs in the event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls),
                read_bufsize=_LONGEST_LINE_BYTES,
                # A proxy between us and the API is one that the kubeconfig names.
                trust_env=False,
            )
        return self._session

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {
            "Accept": _ACCEPTED,
            "Content-Type": content_type,
            "User-Agent": _USER_AGENT,
        }
        bearer = self._connection.bearer()
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        return headers


def _tls(connection: Connection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=connection.authority or None)
        if connection.certificate:
            with _in_memory(f"{connection.certificate}\n{connection.key}") as pair:
                context.load_cert_chain(pair)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConnectionConfigError(
            f"the certificates for `{connection.server}` cannot be used: {_reason(error)}"
        ) from error
    return context


@contextmanager
def _in_memory(text: str) -> Generator[str, None, None]:
    """A path to a text that is on no disk: Python's ssl module takes a key from a file alone."""
    descriptor = os.memfd_create("demarc-client-key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _abort(response: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that was not read to its end, such as a watch's.

    A TLS connection would otherwise wait for the farewell of a server that is still sending.
    """
    connection = response.connection  # None once the answer is read and the connection pooled
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
