"""How is a small server asked over a Unix socket, many times a second? HTTP/1.1 on one connection.

Envoy's admin interface is asked ten times a second in the event loop that also decides: a client
for everything costs it a millisecond each time, this one a tenth.

Rules:
    One question at a time; the connection is kept, and opened anew when the server has closed it.
    After anything but a whole answer the connection is not used again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MAX_BODY = 64 * 1024 * 1024
_HEAD_END = b"\r\n\r\n"


class UnixHttpError(Exception):
    """No whole answer came; the text holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class UnixHttp:
    """A client of one socket; used from one event loop."""

    def __init__(self, socket: str, *, seconds: float) -> None:
        """Do not connect yet.

        Args:
            socket: path of the socket.
            seconds: longest wait for one answer, connecting included.
        """
        self._socket = socket
        self._seconds = seconds
        self._turn = asyncio.Lock()
        self._open: _Connection | None = None

    async def ask(self, method: str, target: str) -> Answer:
        """Ask, without a body.

        Args:
            method: for example `GET`.
            target: path and query, escaped.

        Raises:
            UnixHttpError: no whole answer came in time.
        """
        request = f"{method} {target} HTTP/1.1\r\nhost: socket\r\ncontent-length: 0\r\n\r\n"
        try:
            async with self._turn, asyncio.timeout(self._seconds):
                return await self._ask(request.encode("ascii"))
        except (OSError, EOFError, ValueError, LookupError, asyncio.LimitOverrunError) as error:
            raise UnixHttpError(f"no answer: {type(error).__name__}") from error

    async def close(self) -> None:
        """Give the connection back."""
        self._drop()

    async def _ask(self, request: bytes) -> Answer:
        if self._open is not None:
            try:
                return await self._exchange(self._open, request)
            except (ConnectionError, EOFError):
                pass  # it was closed while nobody asked
        self._open = _Connection(*await asyncio.open_unix_connection(self._socket))
        return await self._exchange(self._open, request)

    async def _exchange(self, connection: _Connection, request: bytes) -> Answer:
        is_whole = False
        try:
            connection.writer.write(request)
            await connection.writer.drain()
            head = (await connection.reader.readuntil(_HEAD_END)).decode("latin-1").lower()
            start, *lines = head.split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines if line)
            answer = Answer(int(start.split(" ")[1]), await _body(connection.reader, fields))
            is_whole = fields.get("connection") != "close"
            return answer
        finally:
            if not is_whole:  # cancelled, too
                self._drop()

    def _drop(self) -> None:
        if self._open is not None:
            self._open.writer.transport.abort()
            self._open = None


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if fields.get("transfer-encoding") != "chunked":
        return await reader.readexactly(_size(fields["content-length"], 10, 0))
    parts: list[bytes] = []
    known = 0
    while size := _size((await reader.readuntil(b"\r\n")).decode("ascii"), 16, known):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
        known += size
    await reader.readexactly(2)
    return b"".join(parts)


def _size(text: str, base: int, known: int) -> int:
    size = int(text, base)
    if not 0 <= size <= MAX_BODY - known:
        raise ValueError("the answer is too long")
    return size
