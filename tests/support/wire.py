"""How do tests speak HTTP/1.1 byte by byte? What a library would repair has to be seen as it is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer; header names are lower-case and in the order of arrival."""

    start: str
    headers: Headers
    body: bytes
    trailers: Headers = ()
    chunked: bool = False

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a header, in order."""
        return tuple(value for key, value in self.headers if key == name)

    def value(self, name: str) -> str | None:
        """The one value of a header; None without it."""
        found = self.values(name)
        assert len(found) <= 1, f"`{name}` stands {len(found)} times"
        return found[0] if found else None

    @property
    def names(self) -> frozenset[str]:
        """Names of the headers."""
        return frozenset(key for key, _ in self.headers)

    @property
    def status(self) -> int:
        """Status of an answer."""
        return int(self.start.split(" ")[1])

    @property
    def path(self) -> str:
        """Path of a request."""
        return self.start.split(" ")[1]


async def read(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Message | None:
    """The next message; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = _fields(lines)
    found = dict(headers)
    if bodiless:
        return Message(start, headers, b"")
    if found.get("transfer-encoding") == "chunked":
        body, trailers = await _chunks(reader)
        return Message(start, headers, body, trailers, chunked=True)
    if "content-length" in found:
        return Message(start, headers, await reader.readexactly(int(found["content-length"])))
    if start.startswith("HTTP/") and found.get("connection") == "close":
        return Message(start, headers, await reader.read())
    return Message(start, headers, b"")


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, Headers]:
    parts = []
    while size := int((await reader.readline()).strip() or b"0", 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    lines = []
    while line := (await reader.readline()).decode("latin-1").rstrip("\r\n"):
        lines.append(line)
    return b"".join(parts), _fields(lines)


def _fields(lines: list[str]) -> Headers:
    pairs = (line.partition(":") for line in lines)
    return tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)


def request(path: str, *, body: bytes = b"", method: str = "POST", headers: Headers = ()) -> bytes:
    """A request with a length; the headers come after `host`."""
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answer(
    status: int, *, body: bytes = b"", headers: Headers = (), trailers: Headers = ()
) -> bytes:
    """An answer with a length, or chunked when it has trailers."""
    lines = [f"HTTP/1.1 {status} X"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not trailers:
        lines.append(f"content-length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    lines += ["transfer-encoding: chunked", f"trailer: {','.join(name for name, _ in trailers)}"]
    ending = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b""
    return (
        "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + chunk + f"0\r\n{ending}\r\n".encode()
    )


Handler = Callable[[Message], Awaitable[bytes | AsyncIterator[bytes] | None]]
"""Answers a request, at once or in parts; None closes the connection without an answer."""


@dataclass
class Server:
    """A server that keeps every request it got and answers by its `handler`."""

    handler: Handler
    requests: list[Message] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Over TLS at an address."""
        self._server = await asyncio.start_server(
            self._serve, host, port, ssl=context, limit=16 * 1024 * 1024
        )

    async def listen_unix(self, path: str) -> None:
        """Over a Unix socket."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=16 * 1024 * 1024)

    async def close(self) -> None:
        """Stop and cut the connections."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while message := await read(reader):
                self.requests.append(message)
                reply = await self.handler(message)
                if reply is None:
                    break
                if isinstance(reply, bytes):
                    writer.write(reply)
                    await writer.drain()
                    continue
                async for part in reply:
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


async def send(
    host: str, port: int, context: ssl.SSLContext, *payloads: bytes, name: str = "gateway"
) -> Message:
    """Send bytes over one TLS connection and read one answer."""
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=name, limit=16 * 1024 * 1024
    )
    try:
        for payload in payloads:
            writer.write(payload)
            await writer.drain()
        found = await read(reader)
        assert found is not None, "the gateway closed the connection without an answer"
        return found
    finally:
        writer.transport.abort()
