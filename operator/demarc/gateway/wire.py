"""How are questions asked over HTTP/1.1, with the least work for each? One protocol, no tasks.

Rules:
    A handler gets one whole request and answers it with bytes, now or later; answers leave in the
    order of the requests, whatever the order in which they are found.
    Nothing is sent back of a request that cannot be read; the connection ends.
    After `drain` a connection ends with the answer that it waits for.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import cast

import httptools

MAX_BODY = 8 * 1024 * 1024
"""Envoy's own limit is lower; a body beyond this one is no question of Envoy."""
MAX_HEAD = 256 * 1024

Header = tuple[str, str]
_NAMES = {
    name.encode(): name
    for name in (
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "demarc-level",
        "host",
        "user-agent",
        "x-demarc-endpoint",
        "x-demarc-grant",
        "x-forwarded-for",
        "x-forwarded-proto",
    )
}
"""Names that nearly every question has, as Envoy writes them."""
_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class Exchange:
    """One request, and the place of its answer."""

    __slots__ = ("_answer", "_connection", "body", "headers", "method", "path")

    def __init__(
        self,
        connection: Connection,
        method: str,
        path: str,
        headers: tuple[Header, ...],
        body: bytes,
    ) -> None:
        self._connection = connection
        self._answer: bytes | None = None
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def is_answered(self) -> bool:
        """Whether an answer was given."""
        return self._answer is not None

    @property
    def data(self) -> bytes | None:
        """The answer, once it was given."""
        return self._answer

    def answer(self, data: bytes) -> None:
        """Give the answer, as `render` makes it; a second one is dropped."""
        if self._answer is None:
            self._answer = data
            self._connection.send()


Handler = Callable[[Exchange], None]


def render(status: int, headers: Iterable[Header] = (), body: bytes = b"") -> bytes:
    """One answer with its length.

    Raises:
        ValueError: a header holds a line break.
    """
    listed = [f"{name}: {value}\r\n" for name, value in headers]
    lines = "".join(listed)
    if lines.count("\n") != len(listed) or lines.count("\r") != len(listed):
        raise ValueError("a header holds a line break")
    head = f"{_REASONS[status]}{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def joined(headers: tuple[Header, ...]) -> dict[str, str]:
    """Headers by name; one that came twice is joined with a comma."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


class Connection(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_body",
        "_draining",
        "_handler",
        "_head_bytes",
        "_headers",
        "_length",
        "_parser",
        "_path",
        "_server",
        "_transport",
        "_waiting",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._handler = server.handler
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Exchange] = deque()
        self._draining = False
        self._begin()

    def _begin(self) -> None:
        self._path = b""
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's open connections."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; whoever still looks for an answer finds nobody to give it to."""
        del exc
        self._transport = None
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    # called by the parser

    def on_message_begin(self) -> None:
        """Start with empty hands."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._path += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        known = _NAMES.get(name) or name.decode("latin-1").lower()
        self._headers.append((known, value.decode("latin-1")))
        self._count(len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._length += len(body)
        if self._length > MAX_BODY:
            raise httptools.HttpParserError("the body is too long")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request: hand it over."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("latin-1")
        exchange = Exchange(self, method, self._path.decode("latin-1"), tuple(self._headers), body)
        self._waiting.append(exchange)
        self._handler(exchange)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            raise httptools.HttpParserError("the head is too long")

    # answers

    def send(self) -> None:
        """Write the answers that are next in line."""
        waiting = self._waiting
        while waiting and (data := waiting[0].data) is not None:
            waiting.popleft()
            if self._transport is not None:
                self._transport.write(data)
        if self._draining and not waiting:
            self.close()

    def drain(self) -> None:
        """End after what is waited for."""
        self._draining = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """End the connection after what was written."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


class Server:
    """All connections of one listener."""

    def __init__(self, handler: Handler) -> None:
        """Do not listen yet.

        Args:
            handler: called with each request; it must not raise.
        """
        self.handler = handler
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._empty: asyncio.Event | None = None

    async def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket, which is made anew and is for this user alone."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Connection(self), path)
        os.chmod(path, 0o600)  # noqa: PTH101  # a socket is no file

    async def listen(self, host: str, port: int) -> None:
        """Listen on one address."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port)

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    async def close(self, seconds: float) -> None:
        """Take nothing new; give what is asked up to some seconds to be answered."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self.connections):
            connection.drain()
        if self.connections:
            self._empty = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        for connection in tuple(self.connections):
            connection.close()
        await asyncio.sleep(0)  # a transport closes in the next turn of the loop
        await self._server.wait_closed()
        self._server = None
