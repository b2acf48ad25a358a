"""How does a small, strict HTTP/1.1 server speak, with trailers?

Servers behind ASGI send trailers over HTTP/2 alone; this one sends them in chunked answers.

Rules:
  * One request at a time; bytes behind a request that is not answered end the connection.
  * Head, body and each pause have a limit; a request beyond one is refused and the connection ends.
  * No HTTP/1.0, no upgrade, no content coding, no second value of a header that decides something.
  * When the client leaves, the task that serves it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

import httptools

from demarc.frontend import answers, refusals
from demarc.frontend.refusals import Refusal, RefusedError

_SINGLE = frozenset(
    {"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "expect"}
)
_OURS = "x-demarc-"
_HEAD_TOO_LARGE = refusals.transport(431, "head_too_large", "the head of the request is too large")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may use.

    Attributes:
        head_bytes: request line and headers.
        headers: how many.
        body_bytes: of a request.
        head_seconds: from the first byte of a request to the end of its head.
        body_seconds: from there to the end of its body.
        idle_seconds: between two requests.
        write_seconds: how long a client may take nothing of an answer.
        connections: at once, on one listener.
    """

    head_bytes: int = 32 * 1024
    headers: int = 100
    body_bytes: int = 4 * 1024 * 1024
    head_seconds: float = 10
    body_seconds: float = 30
    idle_seconds: float = 900
    write_seconds: float = 30
    connections: int = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole.

    Attributes:
        method: as sent.
        target: as sent, with its query.
        headers: lower-case names.
        body: never decoded here.
        peer: the name that the client proved, on a listener that asks for one.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    peer: str | None = None


class ClientLeftError(Exception):
    """The client takes nothing more of the answer."""


Handler = Callable[[Request, "Exchange"], Awaitable[None]]
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class _State(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    BUSY = auto()
    CLOSED = auto()


class Exchange:
    """The answer to one request; exactly one of `answer` and `begin` is called."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self.begun = False

    async def answer(
        self,
        status: int,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        trailers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole answer; it is chunked when it has trailers."""
        given = dict(headers or {})
        if trailers is None or self._request.method == "HEAD":
            self._head(status, {**given, "content-length": str(len(body))})
            await self._connection.write(b"" if self._request.method == "HEAD" else body)
            return
        await self.begin(status, headers=given, trailers=tuple(trailers))
        await self.end(trailers, body)

    async def refuse(self, refusal: Refusal, trailers: Mapping[str, str] | None = None) -> None:
        """Send a refusal."""
        headers = {"content-type": "application/json"}
        if refusal.retry_after_seconds is not None:
            headers["retry-after"] = str(refusal.retry_after_seconds)
        body = answers.error(refusal)
        await self.answer(refusal.status, body, headers=headers, trailers=trailers)

    async def begin(
        self, status: int, *, headers: Mapping[str, str], trailers: tuple[str, ...]
    ) -> None:
        """Send the head of a chunked answer and announce its trailers."""
        announced = {"trailer": ", ".join(trailers)} if trailers else {}
        self._head(status, {**headers, "transfer-encoding": "chunked", **announced})
        await self._connection.write(b"")

    async def send(self, data: bytes) -> None:
        """Send one chunk.

        Raises:
            ClientLeftError: the client has taken nothing for too long.
        """
        if data:
            await self._connection.write(_chunk(data))

    async def end(self, trailers: Mapping[str, str], data: bytes = b"") -> None:
        """Send what is left and the trailers, in one piece.

        A client that has read the last event may leave at once. The trailers must be on their way
        by then, or the tiers between log an answer that broke off.

        Raises:
            ClientLeftError: the client has taken nothing for too long.
        """
        rest = _chunk(data) if data else b""
        await self._connection.write(rest + _last_chunk(trailers))

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.begun = True
        if self._connection.last:
            headers = {**headers, "connection": "close"}
        self._connection.write_head(status, headers)


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._state = _State.IDLE
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._peer: str | None = None
        self.last = False
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._raw_bytes = 0

    # the connection begins and ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask who it is; whoever may not speak is cut off."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._state = _State.CLOSED
            self._transport.abort()
            return
        if self._server.identify is not None:
            self._peer = self._server.identify(self._transport)
            if self._peer is None:
                self.abort()
                return
        self._start_timer(self._limits.idle_seconds, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what serves the client."""
        del exc
        self._state = _State.CLOSED
        self._stop_timer()
        self._server.forget(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """End the connection after what is written."""
        self._state = _State.CLOSED
        self._stop_timer()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now; an answer that began is seen as broken."""
        self._state = _State.CLOSED
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Take no further request."""
        self.last = True
        if self._state is _State.IDLE:
            self.close()

    # bytes in

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what it calls back decides."""
        match self._state:
            case _State.CLOSED:
                return
            case _State.BUSY:
                self.last = True  # a second request before the answer to the first is not read
                return
            case _State.IDLE:
                self._state = _State.HEAD
                self._start_timer(self._limits.head_seconds, self._late)
            case _State.HEAD | _State.BODY:
                pass
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, RefusedError):
                raise
            self._refuse(cause.refusal)
        except httptools.HttpParserError:
            self._refuse(refusals.transport(400, "bad_request", "these bytes are no HTTP request"))
        self._bound(len(data))

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._state in (_State.BUSY, _State.CLOSED):
            self.last = True

    def on_url(self, url: bytes) -> None:
        """Keep the target."""
        if self._state is _State.HEAD:
            self._target += url
            self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._state is not _State.HEAD:
            return
        self._count_head(len(name) + len(value) + 4)
        key = name.decode("ascii").lower()
        if key in self._headers and (key in _SINGLE or key.startswith(_OURS)):
            _refuse(400, "bad_request", "a header that may stand once stands twice")
        self._headers.setdefault(key, value.decode("latin-1"))
        if len(self._headers) > self._limits.headers:
            _refuse(431, "head_too_large", "the request has too many headers")

    def on_headers_complete(self) -> None:
        """Refuse early what is refused anyway."""
        if self._state is not _State.HEAD:
            return
        if self._parser.get_http_version() != "1.1":
            _refuse(505, "http_version", "this server speaks HTTP/1.1")
        if "host" not in self._headers:
            _refuse(400, "bad_request", "the request has no host header")
        if self._parser.should_upgrade():  # CONNECT too
            _refuse(400, "bad_request", "there is nothing to upgrade to")
        if self._headers.get("content-encoding", "identity") != "identity":
            _refuse(415, "unsupported_media_type", "content codings are not supported")
        if self._headers.get("transfer-encoding", "chunked") != "chunked":
            _refuse(501, "not_implemented", "the one transfer coding here is chunked")
        length = self._headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limits.body_bytes:
            raise RefusedError(self._body_too_large())
        expect = self._headers.get("expect")
        if expect is not None:
            if expect.lower() != "100-continue":
                _refuse(417, "expectation_failed", "this expectation cannot be met")
            if self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._parser.should_keep_alive():
            self.last = True
        self._state = _State.BODY
        self._start_timer(self._limits.body_seconds, self._late)

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._state is not _State.BODY:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            raise RefusedError(self._body_too_large())
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Serve the request."""
        if self._state is not _State.BODY:
            return
        self._state = _State.BUSY
        self._stop_timer()
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            target=self._target.decode("latin-1"),
            headers=self._headers,
            body=b"".join(self._body),
            peer=self._peer,
        )
        self._reset()
        self._task = self._server.spawn(self._serve(request))

    def _bound(self, more: int) -> None:
        """Bound what the parser itself may hold: a line without an end, the marks of chunks."""
        self._raw_bytes += more
        head = self._limits.head_bytes
        if self._state is _State.HEAD and self._raw_bytes > head:
            self._refuse(_HEAD_TOO_LARGE)
        if self._state is _State.BODY and self._raw_bytes > head + 2 * self._limits.body_bytes:
            self._refuse(self._body_too_large())

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > self._limits.head_bytes:
            raise RefusedError(_HEAD_TOO_LARGE)

    def _body_too_large(self) -> Refusal:
        most = self._limits.body_bytes
        return refusals.transport(413, "body_too_large", f"a body may have {most} bytes")

    def _late(self) -> None:
        self._refuse(refusals.transport(408, "request_timeout", "the request came too slowly"))

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse what is no whole request, and end the connection."""
        if self._state is _State.BUSY:  # garbage behind a request that is being answered
            self.last = True
            return
        if self._state is _State.CLOSED or self._transport is None:
            return
        body = answers.error(refusal)
        headers = {"content-type": "application/json", "connection": "close"}
        trailers = self._server.refusal_trailers
        if trailers is None:
            self.write_head(refusal.status, {**headers, "content-length": str(len(body))})
            self._transport.write(body)
        else:
            announced = {"transfer-encoding": "chunked", "trailer": ", ".join(trailers)}
            self.write_head(refusal.status, {**headers, **announced})
            self._transport.write(_chunk(body) + _last_chunk(trailers))
        self.close()

    # bytes out

    async def _serve(self, request: Request) -> None:
        exchange = Exchange(self, request)
        self._server.began()
        try:
            await self._server.handler(request, exchange)
        except ClientLeftError:
            self.abort()
        except Exception as error:  # noqa: BLE001  # whatever failed, this client gets an answer
            self._server.failed(error)
            await self._apologise(exchange)
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._task = None
            self._server.ended()
            self._next()

    async def _apologise(self, exchange: Exchange) -> None:
        if exchange.begun:
            self.abort()
            return
        self.last = True
        with suppress(ClientLeftError):
            await exchange.refuse(refusals.internal(), self._server.refusal_trailers)

    def _next(self) -> None:
        if self._state is not _State.BUSY:
            return
        if self.last:
            self.close()
            return
        self._state = _State.IDLE
        self._start_timer(self._limits.idle_seconds, self.close)

    def write_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status line and headers."""
        rows = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        phrase = HTTPStatus(status).phrase
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(f"HTTP/1.1 {status} {phrase}\r\n{rows}\r\n".encode("latin-1"))

    async def write(self, data: bytes) -> None:
        """Send bytes, and wait while the client takes none.

        Raises:
            ClientLeftError: the connection is gone, or the client has taken nothing for too long.
        """
        if self._transport is None or self._transport.is_closing():
            raise ClientLeftError
        if data:
            self._transport.write(data)
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(self._limits.write_seconds):
                    await self._writable.wait()
            except TimeoutError:
                raise ClientLeftError from None

    def pause_writing(self) -> None:
        """Mark that the client is slower than the answer."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Mark that the client caught up."""
        self._writable.set()

    # time

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@dataclass(slots=True)
class Server:
    """What all connections of one listener share.

    Attributes:
        handler: answers a request.
        spawn: starts the task that serves one request.
        failed: is told of a fault in `handler`.
        limits: of each connection.
        identify: tells who the client is, or None to cut it off; absent on a plain listener.
        refusal_trailers: of an answer to what never reached the handler.
    """

    handler: Handler
    spawn: Spawn
    failed: Callable[[Exception], None]
    limits: Limits = field(default_factory=Limits)
    identify: Callable[[asyncio.Transport], str | None] | None = None
    refusal_trailers: Mapping[str, str] | None = None
    _connections: set[Connection] = field(default_factory=set)
    _draining: bool = False
    _running: int = 0
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    def connect(self) -> Connection:
        """Make the protocol of a new connection."""
        return Connection(self)

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        if self._draining or len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """A connection ended."""
        self._connections.discard(connection)
        self._gone.set()

    def drain(self) -> None:
        """Take no further connection and no further request."""
        self._draining = True
        for connection in tuple(self._connections):
            connection.drain()

    def cut(self) -> None:
        """End every connection now."""
        for connection in tuple(self._connections):
            connection.abort()

    def began(self) -> None:
        """A request is being served."""
        self._running += 1

    def ended(self) -> None:
        """A request was served."""
        self._running -= 1
        self._gone.set()

    async def emptied(self) -> None:
        """Wait until no connection is open and no request is being served."""
        while self._connections or self._running:
            self._gone.clear()
            await self._gone.wait()


def _refuse(status: int, code: str, message: str) -> None:
    raise RefusedError(refusals.transport(status, code, message))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _last_chunk(trailers: Mapping[str, str]) -> bytes:
    rows = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
    return f"0\r\n{rows}\r\n".encode("ascii")
