"""Does a running Envoy follow its files and keep what is in flight? Changes and failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demarc.engines.envoy import EnvoyAdmin, EnvoyError
from demarc.xds.settings import Limits
from demarc.xds.view import Role, Target, View
from support import envoy, wire
from support.envoy_chain import (
    ANSWER,
    HOME,
    A,
    B,
    Chain,
    Gateway,
    always,
    chain,
    free_port,
    leave,
    served,
    stay,
    until,
)
from support.wire import Message, Server

pytestmark = [pytest.mark.proxy, pytest.mark.timeout(60)]

CHAT = wire.request("/v1/chat/completions", body=b"{}")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SHORT = Limits(
    idle_seconds=1, answer_seconds=1, decision_milliseconds=200, connections=3, request_seconds=1
)


@pytest.fixture
def program() -> str:
    found = envoy.binary()
    assert found, "envoy is not installed: run `make tools`"
    return found


@pytest.fixture
async def gateways(tmp_path: Path, program: str) -> AsyncIterator[Chain]:
    async with chain(tmp_path, program) as found:
        yield found


@pytest.fixture
async def hasty(tmp_path: Path, program: str) -> AsyncIterator[Chain]:
    """With short limits."""
    async with chain(tmp_path, program, limits=SHORT) as found:
        yield found


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class Stream:
    """A frontend's stream that a test continues by hand, and the client's end of it."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def handle(self, _: Message) -> AsyncIterator[bytes]:
        return self._run()

    async def _run(self) -> AsyncIterator[bytes]:
        try:
            yield HEAD
            while (part := await self.parts.get()) is not None:
                yield chunk(part)
            yield b"0\r\nx-demarc-usage: in=1;out=2;source=tokenizer\r\n\r\n"
        finally:
            self.ended.set()


@contextlib.asynccontextmanager
async def connected(
    found: Chain,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    settings = found.inner.settings
    reader, writer = await asyncio.open_connection(
        settings.address, settings.port, ssl=found.client, server_hostname="gateway"
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def set_private(found: Chain, *targets: Target, version: str = "1.2") -> tuple[str, ...]:
    """Give the inner gateway these private endpoints, in the order of `changes`."""
    found.inner.view = View(Role.INNER, HOME, "", version, targets, leaves=True)
    written = found.inner.write()
    await found.inner.settled()
    return written


@pytest.fixture
async def second(gateways: Chain) -> AsyncIterator[Server]:
    """A frontend of endpoint `b`, which no file names yet."""
    server = Server(always(served()))
    host = "127.62.10.2"
    port = free_port(host)
    await server.listen(host, port, envoy.server_context(gateways.folders["b"]))
    gateways.inner.addresses[B.name] = ((host, port),)
    yield server
    await server.close()


async def test_an_endpoint_is_added_and_removed_while_requests_go_on(
    gateways: Chain, second: Server
) -> None:
    """A change of the epoch breaks requests that it does not concern."""
    statuses: list[int] = []
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            statuses.append((await gateways.ask()).status)

    async with asyncio.TaskGroup() as group:
        group.create_task(keep_asking())
        assert ("cds.json", "rds.json") == await set_private(gateways, A, B)
        gateways.inner.agent.handler = always(stay(B.name))
        assert 200 == (await gateways.ask()).status
        gateways.inner.agent.handler = always(stay(A.name))
        assert ("rds.json", "cds.json") == await set_private(gateways, A, version="1.3")
        stop.set()

    assert {200} == set(statuses)
    assert 1 <= len(second.requests)
    gateways.inner.agent.handler = always(stay(B.name))
    assert 503 == (await gateways.ask()).status


async def test_a_stream_outlives_the_removal_of_its_endpoint(gateways: Chain) -> None:
    """A change of the epoch cuts answers that were permitted."""
    stream = Stream()
    gateways.near.handler = stream.handle
    async with connected(gateways) as (reader, writer):
        writer.write(CHAT)
        await stream.parts.put(b"one")
        assert b"one" in await reader.readuntil(b"one\r\n")

        await set_private(gateways)
        await stream.parts.put(b"two")
        await stream.parts.put(None)

        assert b"two" in await reader.readuntil(b"0\r\n\r\n")
    (line,) = await gateways.inner.logged()
    assert ("in=1;out=2;source=tokenizer", "1.1") == (line["usage"], line["epoch"])


async def test_each_part_of_a_stream_arrives_before_the_next_is_made(gateways: Chain) -> None:
    """A filter holds the answer back."""
    stream = Stream()
    gateways.far.handler = stream.handle
    gateways.inner.agent.handler = always(leave(stream="1"))
    async with connected(gateways) as (reader, writer):
        writer.write(CHAT)
        for number in range(5):
            part = f"part {number}".encode()
            await stream.parts.put(part)
            async with asyncio.timeout(8):
                await reader.readuntil(part + b"\r\n")
        await stream.parts.put(None)
        tail = await reader.readuntil(b"0\r\n\r\n")

    assert b"usage" not in tail
    for gateway in (gateways.inner, gateways.egress, gateways.edge):
        assert "in=1;out=2;source=tokenizer" == (await gateway.logged())[0]["usage"]


@pytest.mark.parametrize("way", [stay, leave])
async def test_a_client_that_leaves_ends_the_work_of_the_engine(gateways: Chain, way) -> None:
    """An engine goes on for nobody, and its tokens are booked as a whole answer."""
    stream = Stream()
    gateways.near.handler = gateways.far.handler = stream.handle
    gateways.inner.agent.handler = always(way(stream="1"))
    async with connected(gateways) as (reader, writer):
        writer.write(CHAT)
        await stream.parts.put(b"one")
        await reader.readuntil(b"one\r\n")
    (line,) = await gateways.inner.logged()
    assert (None, "DC") == (line["usage"], line["flags"])

    async def noticed() -> bool:
        await stream.parts.put(b"more")
        return stream.ended.is_set()

    await until(noticed)


async def test_while_public_is_closed_nothing_leads_out(gateways: Chain) -> None:
    """A closed epoch keeps its way out as long as an agent names it."""
    gateways.inner.agent.handler = always(leave())
    assert 200 == (await gateways.ask()).status

    gateways.inner.view = View(Role.INNER, HOME, "", "1.2", (A,), leaves=False)
    gateways.inner.write()
    await gateways.inner.settled()

    assert 503 == (await gateways.ask()).status
    assert 1 == len(gateways.egress.agent.requests)


async def test_a_dead_replica_is_left_for_another_of_the_same_endpoint(
    gateways: Chain,
) -> None:
    """A restart of one replica is an error for the caller."""
    host = "127.62.10.9"
    dead = (host, free_port(host))
    gateways.inner.addresses[A.name] = (dead, *gateways.inner.addresses[A.name])
    gateways.inner.write()
    await gateways.inner.settled()

    answers = [await gateways.ask() for _ in range(12)]

    assert {200} == {answer.status for answer in answers}
    lines = await gateways.inner.logged(12)
    assert {A.name} == {line["cluster"] for line in lines}
    assert {1, 2} == {line["attempts"] for line in lines}
    async with gateways.inner.admin as admin:
        (hosts,) = (found for name, found in (await admin.clusters()).items() if name == A.name)
    by_address = {found.address: found for found in hosts}
    assert (False, True) == (
        by_address[f"{host}:{dead[1]}"].healthy,
        by_address[f"{host}:{dead[1]}"].ejected,
    )


async def test_an_endpoint_that_comes_back_is_used_again(gateways: Chain) -> None:
    """A short failure of all replicas lasts for ever."""
    await gateways.near.close()
    assert 503 == (await gateways.ask()).status
    ((host, port),) = gateways.inner.addresses[A.name]
    await gateways.near.listen(host, port, envoy.server_context(gateways.folders["a"]))

    async def back() -> bool:
        return (await gateways.ask()).status == 200

    await until(back, seconds=20)


async def test_new_certificates_are_used_without_a_restart(gateways: Chain, tmp_path: Path) -> None:
    """Certificates run out while a gateway lives."""
    other = envoy.Names()
    for name, uri in (("client", "gateway"), ("inner", "inner"), ("a", "models/a")):
        other.folder(gateways.folders[name], f"spiffe://demarc/{HOME}/{uri}")
    await gateways.near.close()
    ((host, port),) = gateways.inner.addresses[A.name]
    await gateways.near.listen(host, port, envoy.server_context(gateways.folders["a"]))
    gateways.client = envoy.client_context(gateways.folders["inner"], proves=False)

    async def both_new() -> bool:
        try:
            return (await gateways.ask()).status == 200
        except ssl.SSLError:
            return False

    await until(both_new, seconds=20)


async def test_a_slow_agent_is_no_agent(hasty: Chain) -> None:
    """A request waits for ever, or passes when the time is over."""
    released = asyncio.Event()

    async def wait(_: Message) -> bytes:
        await released.wait()
        return stay()

    hasty.inner.agent.handler = wait

    answer = await hasty.ask()

    released.set()
    assert (503, "no_policy_decision") == (
        answer.status,
        json.loads(answer.body)["error"]["code"],
    )
    assert [] == hasty.near.requests


async def test_an_answer_that_does_not_come_ends(hasty: Chain) -> None:
    """A hanging engine holds its caller for ever."""
    released = asyncio.Event()

    async def wait(_: Message) -> bytes:
        await released.wait()
        return served()

    hasty.near.handler = wait

    answer = await hasty.ask()

    released.set()
    assert (504, "upstream_timeout") == (
        answer.status,
        json.loads(answer.body)["error"]["code"],
    )


async def test_a_stream_that_stops_is_cut_and_one_that_goes_on_is_not(hasty: Chain) -> None:
    """A hanging engine holds its caller, or a long answer is cut."""
    stream = Stream()
    hasty.near.handler = stream.handle
    hasty.inner.agent.handler = always(stay(stream="1"))
    async with connected(hasty) as (reader, writer):
        writer.write(CHAT)
        for number in range(8):  # in all longer than a whole answer may take
            await stream.parts.put(f"part {number}".encode())
            await reader.readuntil(b"\r\npart " + f"{number}\r\n".encode())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.ended.wait(), 0.25)
        async with asyncio.timeout(8):
            assert b"0\r\n\r\n" not in await reader.read()
    (line,) = await hasty.inner.logged()
    assert ("stream_idle_timeout", None) == (line["details"], line["usage"])


async def test_a_request_that_does_not_arrive_ends(hasty: Chain) -> None:
    """A slow sender holds a connection for ever."""
    async with connected(hasty) as (reader, writer):
        writer.write(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        async with asyncio.timeout(8):
            answer = await wire.read(reader)

    assert answer is not None
    assert (408, "request_timeout") == (
        answer.status,
        json.loads(answer.body)["error"]["code"],
    )


async def test_too_many_connections_are_refused(hasty: Chain) -> None:
    """A caller that opens connections starves all others of memory."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(hasty)) for _ in range(3)]
        with pytest.raises((ConnectionError, OSError, AssertionError)):
            await hasty.ask()
        for reader, writer in opened[:1]:
            writer.write(CHAT)
            answer = await wire.read(reader)
            assert answer is not None
            assert 200 == answer.status


def renamed(gateway: Gateway) -> Path:
    log = Path(gateway.settings.access_log)
    return log.rename(log.with_name("access.1.jsonl"))


async def test_the_log_goes_on_after_it_was_renamed(gateways: Chain) -> None:
    """A rotated log loses lines."""
    await gateways.ask()
    await gateways.inner.logged()
    log = renamed(gateways.inner)
    async with gateways.inner.admin as admin:
        await admin.reopen_logs()

    await gateways.ask()

    assert 1 == len(await gateways.inner.logged())
    assert 1 == len(log.read_text().splitlines())


async def test_a_file_that_envoy_refuses_leaves_the_last_good_one(gateways: Chain) -> None:
    """A broken file opens or closes the gateway, or nobody hears of it."""
    broken = json.loads(gateways.inner.files["lds.json"])
    broken["version_info"] = "broken"
    manager = broken["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][-2]["typed_config"]["default_source_code"]["inline_string"] = "("
    gateways.inner.process.write("lds.json", json.dumps(broken))
    gateways.inner.process.write("cds.json", "{")
    async with gateways.inner.admin as admin:

        async def refused() -> bool:
            found = await admin.stats("(lds|cds).update_(rejected|failure)")
            return sum(found.values()) >= 2

        await until(refused)
        applied = await admin.applied()

    assert "broken" != applied.lds
    assert {A.name, "egress"} == applied.clusters
    assert "demarc" in applied.errors
    assert (200, ANSWER) == ((await gateways.ask()).status, (await gateways.ask()).body)


async def test_the_admin_client_tells_silence_from_health(gateways: Chain) -> None:
    """An Envoy that is gone counts as ready."""
    await gateways.inner.process.stop()
    async with gateways.inner.admin as admin:
        assert not await admin.ready()
        for ask in (admin.clusters, admin.applied, admin.config_dump, admin.reopen_logs):
            with pytest.raises(EnvoyError, match="did not answer"):
                await ask()


async def test_the_admin_client_refuses_another_server(tmp_path: Path) -> None:
    """What another program says is read as health."""
    other = Server(always(wire.answer(404)))
    await other.listen_unix(str(tmp_path / "admin.sock"))
    try:
        async with EnvoyAdmin(str(tmp_path / "admin.sock")) as admin:
            assert not await admin.ready()
            with pytest.raises(EnvoyError, match="404"):
                await admin.clusters()
            for body in (b"text", b"[]"):
                other.handler = always(wire.answer(200, body=body))
                with pytest.raises(EnvoyError, match="JSON"):
                    await admin.clusters()
    finally:
        await other.close()


async def test_a_gateway_that_starts_before_its_agent_refuses_until_it_is_there(
    gateways: Chain,
) -> None:
    """A restart of the agent alone needs a restart of Envoy, or lets requests pass."""
    gateway: Gateway = gateways.inner
    await gateway.agent.close()
    assert 503 == (await gateways.ask()).status

    await gateway.agent.listen_unix(gateway.settings.decide_socket)

    assert 200 == (await gateways.ask()).status
