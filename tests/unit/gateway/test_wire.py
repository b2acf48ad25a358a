"""Does the socket's protocol read whole questions and answer them in order?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.gateway import wire
from demarc.gateway.wire import Exchange, Server
from support import wire as client


def echo(exchange: Exchange) -> None:
    exchange.answer(wire.render(200, [("x-path", exchange.path)], exchange.body))


@asynccontextmanager
async def listening(
    folder: Path, handler: Callable[[Exchange], None]
) -> AsyncIterator[tuple[Server, asyncio.StreamReader, asyncio.StreamWriter]]:
    server = Server(handler)
    path = str(folder / "s")
    await server.listen_unix(path)
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield server, reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await server.close(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the condition is no event
            await asyncio.sleep(0)


async def test_questions_on_one_connection_are_answered_one_after_the_other(
    tmp_path: Path,
) -> None:
    async with listening(tmp_path, echo) as (_, reader, writer):
        for number in range(3):
            writer.write(client.request(f"/{number}", body=b"x" * number))
            found = await client.read(reader)
            assert found
            assert (200, f"/{number}", b"x" * number) == (
                found.status,
                found.value("x-path"),
                found.body,
            )


async def test_answers_leave_in_the_order_of_the_questions(tmp_path: Path) -> None:
    """An allow reaches the request of somebody else."""
    held: list[Exchange] = []
    async with listening(tmp_path, held.append) as (_, reader, writer):
        writer.write(b"".join(client.request(f"/{number}") for number in range(3)))
        await until(lambda: len(held) == 3)
        for exchange in reversed(held):
            echo(exchange)
            echo(exchange)  # a second answer is dropped
        found = [await client.read(reader) for _ in range(3)]

    assert ["/0", "/1", "/2"] == [item.value("x-path") for item in found if item]


async def test_a_question_in_pieces_is_one(tmp_path: Path) -> None:
    async with listening(tmp_path, echo) as (_, reader, writer):
        for byte in client.request("/decide/v1", body=b"body"):
            writer.write(bytes([byte]))
            await writer.drain()
        found = await client.read(reader)

    assert found
    assert ("/decide/v1", b"body") == (found.value("x-path"), found.body)


async def test_every_header_line_is_handed_on(tmp_path: Path) -> None:
    """Of two headers of one name one is overlooked."""
    seen: list[Exchange] = []

    def keep(exchange: Exchange) -> None:
        seen.append(exchange)
        echo(exchange)

    async with listening(tmp_path, keep) as (_, reader, writer):
        lines = (("X-Api-Key", "a"), ("x-api-key", "b"))
        writer.write(client.request("/", headers=lines))
        await client.read(reader)

    assert ["a", "b"] == [value for name, value in seen[0].headers if name == "x-api-key"]
    assert "a,b" == wire.joined(seen[0].headers)["x-api-key"]


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 9_000_000,
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_is_no_question_ends_the_connection_without_an_answer(
    tmp_path: Path, data: bytes
) -> None:
    allowed: list[Exchange] = []

    def refuse(exchange: Exchange) -> None:
        if exchange.path in {"/", "x:1"}:
            allowed.append(exchange)

    async with listening(tmp_path, refuse) as (_, reader, writer):
        writer.write(data)
        try:
            async with asyncio.timeout(5):
                rest = await reader.read()
        except ConnectionError:
            rest = b""

    assert b"" == rest


async def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with listening(tmp_path, echo):
        assert 0o600 == (tmp_path / "s").stat().st_mode & 0o777


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    async with listening(tmp_path, echo):
        pass
    async with listening(tmp_path, echo) as (_, reader, writer):
        writer.write(client.request("/"))
        assert await client.read(reader)


async def test_draining_answers_what_is_asked_and_takes_nothing_new(tmp_path: Path) -> None:
    held: list[Exchange] = []
    async with listening(tmp_path, held.append) as (server, reader, writer):
        writer.write(client.request("/"))
        await until(lambda: bool(held))
        closing = asyncio.create_task(server.close(5))
        await asyncio.sleep(0)
        echo(held[0])
        found = await client.read(reader)
        await closing

        assert found
        assert b"" == await reader.read()


async def test_draining_ends_after_its_time(tmp_path: Path) -> None:
    held: list[Exchange] = []
    async with listening(tmp_path, held.append) as (server, reader, writer):
        writer.write(client.request("/"))
        await until(lambda: bool(held))
        await server.close(0.01)
        echo(held[0])  # nobody is there any more

        assert b"" == await reader.read()


@pytest.mark.parametrize("value", ["a\r\nx-demarc-class: public", "a\nb", "a\rb"])
def test_a_header_with_a_line_break_is_not_written(value: str) -> None:
    """A name in a policy becomes a second header."""
    with pytest.raises(ValueError):
        wire.render(200, [("x-demarc-model", value)])


@given(st.binary(max_size=400))
async def test_no_bytes_break_the_server(data: bytes) -> None:
    server = Server(echo)
    connection = wire.Connection(server)
    connection.data_received(data)
