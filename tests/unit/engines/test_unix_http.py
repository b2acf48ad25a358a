"""Is a whole answer read, whatever its form, and nothing else taken for one?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from demarc.engines import unix_http
from demarc.engines.unix_http import Answer, UnixHttp, UnixHttpError

LENGTH = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Answers each question with the next bytes; None behind them closes the connection."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.questions: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.questions.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answers.pop(0) or b"")
                if self.answers and self.answers[0] is None:
                    self.answers.pop(0)
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def asking(folder: Path, server: Server, *, seconds: float = 5) -> AsyncIterator[UnixHttp]:
    path = str(folder / "s")
    listening = await asyncio.start_unix_server(server.serve, path)
    client = UnixHttp(path, seconds=seconds)
    async with listening:
        yield client
        await client.close()


async def test_answers_with_a_length_and_in_chunks_are_read_on_one_connection(
    tmp_path: Path,
) -> None:
    """Each look at Envoy would open a connection, or read the rest of the answer before."""
    server = Server(LENGTH, CHUNKS, LENGTH, None)
    async with asking(tmp_path, server) as client:
        found = [await client.ask("GET", "/a?b=c") for _ in range(3)]

    assert [Answer(200, b"hello"), Answer(404, b"hello"), Answer(200, b"hello")] == found
    assert 1 == server.connections
    assert server.questions[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")


@pytest.mark.parametrize("first", [(LENGTH, None), (CLOSING,)])
async def test_a_connection_that_the_server_has_closed_is_opened_again(
    tmp_path: Path, first: tuple[bytes | None, ...]
) -> None:
    """Envoy restarts, and the first look at it fails."""
    server = Server(*first, LENGTH, None)
    async with asking(tmp_path, server) as client:
        await client.ask("GET", "/")
        again = await client.ask("GET", "/")

    assert Answer(200, b"hello") == again
    assert 2 == server.connections


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        LENGTH[:-1],
        CHUNKS[:-2],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 ok\r\ncontent-length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"x" * 100_000,
        f"HTTP/1.1 200 OK\r\ncontent-length: {unix_http.MAX_BODY + 1}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{2**40:x}\r\n".encode(),
    ],
)
async def test_what_is_no_whole_answer_is_an_error_and_ends_the_connection(
    tmp_path: Path, answer: bytes
) -> None:
    """Half a list of replicas would be read as all of them, or a rest as the next answer."""
    server = Server(answer, None, LENGTH, None)
    async with asking(tmp_path, server) as client:
        with pytest.raises(UnixHttpError):
            await client.ask("GET", "/")
        assert Answer(200, b"hello") == await client.ask("GET", "/")


async def test_a_server_that_says_nothing_is_waited_for_so_long_and_no_longer(
    tmp_path: Path,
) -> None:
    """An agent that waits for Envoy forever never sees that it is down."""
    server = Server(b"HTTP/1.1 200 OK\r\n", LENGTH, None)
    async with asking(tmp_path, server, seconds=0.05) as client:
        with pytest.raises(UnixHttpError, match="TimeoutError"):
            await client.ask("GET", "/")


async def test_without_a_server_it_is_an_error(tmp_path: Path) -> None:
    """A crash in place of `down`."""
    with pytest.raises(UnixHttpError):
        await UnixHttp(str(tmp_path / "none"), seconds=5).ask("GET", "/")
