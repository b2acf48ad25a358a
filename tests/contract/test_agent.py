"""Do agents and Envoys together keep the promise? Real processes, real TLS, loopback only."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from demarc.api import cluster
from demarc.audit import verification
from demarc.ledger import records, usage
from demarc.local.api import Access, ReadApi
from demarc.planning import names
from support import agents
from support.agents import CARD, COPILOT_KEY, FAR_ENDPOINT, World
from support.envoy_chain import until
from support.recorded import Failing, MemoryDisk

pytestmark = [pytest.mark.proxy, pytest.mark.timeout(60)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with agents.world(tmp_path) as found:
        yield found


async def test_a_sensitive_prompt_stays_and_an_ordinary_one_goes_where_it_is_cheap(
    world: World,
) -> None:
    outside = await world.answered(200)
    inside = await world.ask(CARD)
    copilot = await world.ask(key=COPILOT_KEY)

    assert (200, "cloud-sg") == (outside.status, outside.value("x-demarc-site"))
    assert (200, "shanghai-dc") == (inside.status, inside.value("x-demarc-site"))
    assert (200, "shanghai-dc") == (copilot.status, copilot.value("x-demarc-site"))
    assert [] == [text for text in world.rehearsed() if "4111" in text]
    assert any("account" in text for text in world.rehearsed())


async def test_models_are_listed_by_the_agent_for_the_app_that_asks(world: World) -> None:
    """A client finds out nothing, or the models of others."""
    listed = await world.send(
        agents.wire.request(
            "/v1/models", method="GET", headers=(("authorization", f"Bearer {COPILOT_KEY}"),)
        )
    )
    unknown = await world.send(agents.wire.request("/v1/models", method="GET"))

    assert 200 == listed.status
    assert ["auto"] == [item["id"] for item in json.loads(listed.body)["data"]]
    assert listed.value("x-demarc-decision")
    assert 401 == unknown.status


async def test_usage_is_booked_once_with_cost(world: World) -> None:
    """A token is not attributed, or twice."""
    await world.answered(200)
    ledger = world.inner.options.record / "ledger.sqlite"

    async def booked() -> bool:
        return bool(usage.read(ledger))

    await until(booked)
    rows = usage.read(ledger)

    assert [("retail", "branch-faq", "auto", FAR_ENDPOINT, 12, 3)] == [
        (row.tenant, row.app, row.model, row.endpoint, row.tokens_in, row.tokens_out)
        for row in rows
    ]
    assert ("0.0000015", "USD", "reported") == (rows[0].cost, rows[0].currency, rows[0].state)


async def test_a_rolled_back_epoch_changes_nothing(world: World) -> None:
    """An attacker with write access to the ConfigMap brings an older, wider policy back."""
    old = world.issuer.document()
    tight = world.issuer.document(
        [item for item in agents.sources() if item["kind"] != "DataResidency"]
    )
    await world.publish(tight)
    stays = await world.answered(200)
    async with asyncio.timeout(8):
        while stays.value("x-demarc-site") != "shanghai-dc":
            stays = await world.ask()
    await world.put(world.home, names.EPOCH, world.issuer.epoch_data(old))
    await world.put(world.home, names.EXTRACT, {"extract": "x"})
    await world.put(world.home, names.HEARTBEAT, {"heartbeat": "garbage"})

    async def refused() -> bool:
        return await world.inner.metric("demarc_epoch_refused_total") >= 2

    await until(refused)

    assert {"shanghai-dc"} == {(await world.ask()).value("x-demarc-site") for _ in range(5)}
    assert world.epoch
    status = json.loads((await world.inner.probe("/status")).body)
    assert world.epoch.number.counter == status["epoch"]["counter"]


async def test_an_address_outside_the_networks_gets_no_connection(world: World) -> None:
    """An EndpointSlice of the right name leads elsewhere."""
    connections: list[object] = []
    stranger = await asyncio.start_server(lambda *pair: connections.append(pair), "127.65.0.1", 0)
    port = stranger.sockets[0].getsockname()[1]
    service = names.engine("glm-4-air", agents.HOME)
    await world.place(world.home, "models", service, ("127.65.0.1", port))
    refused = await world.answered(503, CARD)

    async def counted() -> bool:
        return await world.inner.metric("demarc_addresses_refused") == 1

    await until(counted)
    await world.place(world.home, "models", service, world.addresses["near"])
    served = await world.answered(200, CARD)
    stranger.close()

    assert "no_capacity" == json.loads(refused.body)["error"]["code"]
    assert "1" == refused.value("retry-after")
    assert "shanghai-dc" == served.value("x-demarc-site")
    assert [] == connections


async def test_a_server_without_the_name_of_the_endpoint_gets_no_byte(world: World) -> None:
    """An address inside the networks is taken over by another pod."""
    port = agents.free_port("127.64.10.9")
    impostor = agents.Server(agents.envoy_chain.always(agents.envoy_chain.served()))
    context = agents.envoy.server_context(world.folders["far"])
    await impostor.listen("127.64.10.9", port, context)
    service = names.engine("glm-4-air", agents.HOME)
    await world.place(world.home, "models", service, ("127.64.10.9", port))
    found = await world.answered(503, CARD)
    await impostor.close()

    assert 503 == found.status
    assert [] == impostor.requests


async def test_public_closes_when_the_operator_is_gone_and_private_goes_on(world: World) -> None:
    """Nobody renews the policy, and requests still leave under it."""
    await world.answered(200)
    world.issuer.clock.ahead += timedelta(minutes=16)
    found = await world.answered(200)
    async with asyncio.timeout(8):
        while found.value("x-demarc-site") != "shanghai-dc":
            found = await world.ask()
    before = len(world.rehearsed())
    for _ in range(5):
        assert "shanghai-dc" == (await world.ask()).value("x-demarc-site")
    assert before == len(world.rehearsed())
    assert world.epoch
    await world.put(world.home, names.HEARTBEAT, world.issuer.heartbeat_data(world.epoch))
    async with asyncio.timeout(8):
        while found.value("x-demarc-site") != "cloud-sg":
            await asyncio.sleep(0.05)
            found = await world.ask()


async def test_a_restart_without_the_cluster_serves_the_last_good_policy(world: World) -> None:
    await world.answered(200)
    await world.inner.stop_agent()
    down = await world.ask()
    lost = replace(world.inner.ports, cluster=agents.Unreachable())
    world.inner.ports = lost
    await world.inner.start_agent()
    found = await world.answered(200, CARD)

    assert 503 == down.status
    assert "shanghai-dc" == found.value("x-demarc-site")


async def test_an_agent_that_is_gone_lets_nothing_through(world: World) -> None:
    for tier in (world.egress, world.inner):
        before = len(world.rehearsed())
        await tier.stop_agent()
        found = [await world.ask() for _ in range(3)]
        assert {503} == {item.status for item in found}
        assert before == len(world.rehearsed())


async def test_a_full_record_disk_keeps_everything_inside(world: World) -> None:
    await world.answered(200)
    folder = world.inner.options.record / "records"
    before = len(world.rehearsed())
    log = world.running_agent._records
    disk, log._disk = log._disk, MemoryDisk(fault=Failing(frozenset({"names", "open"})))
    log._must_repair = True
    inside = [(await world.ask()).value("x-demarc-site") for _ in range(4)]
    unrecorded = await world.inner.metric("demarc_unrecorded_decisions_total")
    log._disk = disk

    async def writable() -> bool:
        return await world.inner.metric("demarc_records_writable") == 1

    await until(writable)
    report = verification.verify(records.stored(folder))

    assert ["shanghai-dc"] * 4 == inside
    assert before == len(world.rehearsed())
    assert 4 == unrecorded
    assert ((), 1) == (report.problems, report.gaps)


async def test_the_far_side_is_left_alone_while_it_fails(world: World) -> None:
    """Every request waits for a site that is down, or none ever goes there again."""
    await world.answered(200)
    world.far.handler = agents.envoy_chain.always(agents.wire.answer(500, body=b"{}"))
    failed = await world.answered(500)
    async with asyncio.timeout(8):
        found = await world.ask()
        while found.value("x-demarc-site") != "shanghai-dc":
            found = await world.ask()
    world.far.handler = agents.envoy_chain.always(agents.envoy_chain.served())
    async with asyncio.timeout(20):
        while found.status != 200 or found.value("x-demarc-site") != "cloud-sg":
            await asyncio.sleep(0.1)
            found = await world.ask()

    assert "cloud-sg" == failed.value("x-demarc-site")


async def test_a_refusal_of_egress_reaches_the_client_and_takes_no_endpoint_down(
    world: World,
) -> None:
    """The inner agent was taken over and asks for what it may not."""
    await world.answered(200)
    inner = world.running_agent._server.handler.__self__  # type: ignore[attr-defined]
    honest = inner._understanding
    inner._understanding = agents.Blind(honest)
    before = len(world.rehearsed())
    found = [await world.ask(CARD) for _ in range(3)]
    inner._understanding = honest
    after = await world.ask()

    assert {(403, "egress_refused")} == {
        (item.status, json.loads(item.body)["error"]["code"]) for item in found
    }
    assert [text for text in world.rehearsed()[before:] if "4111" in text] == []
    assert "cloud-sg" == after.value("x-demarc-site")


async def test_a_large_access_log_is_replaced_and_all_is_booked(tmp_path: Path) -> None:
    async with agents.world(tmp_path, roles=("inner",), log_bytes=4000) as world:
        await world.answered(200, CARD)
        for _ in range(40):
            assert 200 == (await world.ask(CARD)).status
        ledger = world.inner.options.record / "ledger.sqlite"

        async def booked() -> bool:
            return len(usage.read(ledger)) >= 41

        await until(booked)
        log = world.inner.options.run / "access.jsonl"
        stored = records.stored(world.inner.options.record / "records")
        decisions = sum(data.count(b'"outcome":"Allow"') for _, data in stored)

        assert decisions == len(usage.read(ledger))
        assert log.stat().st_size < 40 * 500


async def test_no_text_is_anywhere_but_with_the_engine(world: World) -> None:
    """A canary turns up in a log, record, ledger or metric."""
    canary = "canary-7f3a9c"
    await world.answered(200)
    for status in (
        (await world.ask(f"{canary} 4111 1111 1111 1111")).status,
        (await world.ask(canary)).status,
        (await world.ask(canary, model=canary)).status,
        (await world.ask(canary, headers=(("demarc-level", canary),))).status,
        (await world.ask(canary, key=canary)).status,
        (await world.ask(canary, path=f"/v1/{canary}")).status,
    ):
        assert status
    metrics = [(await tier.probe("/metrics")).body for tier in world.tiers.values()]
    for tier in world.tiers.values():
        await tier.stop_agent()
    found = [
        str(path)
        for tier in world.tiers.values()
        for folder in (tier.options.run, tier.options.record)
        for path in folder.rglob("*")
        if path.is_file() and canary.encode() in path.read_bytes()
    ]

    assert [] == found
    assert not any(canary.encode() in data for data in metrics)
    assert any(canary in text for text in world.rehearsed())


@pytest.mark.timeout(120)
async def test_an_agent_that_is_killed_again_and_again_loses_no_decision(tmp_path: Path) -> None:
    """SIGKILL under load: an answer was given whose record is gone, or usage is lost."""
    world = await agents.build(tmp_path, log_bytes=64 * 1024 * 1024)
    host, port = world.addresses["near"]
    await world.near.listen(host, port, agents.envoy.server_context(world.folders["near"]))
    await world.place_all()
    await world.publish()
    tier = world.inner
    # The command has no option for the health port: an address of its own keeps it free.
    address = "127.64.1.77"
    tier.options = replace(tier.options, health_port=8081, pod_ip=address)
    world.addresses = {**world.addresses, "inner": (address, tier.options.client_port)}
    api = ReadApi(
        world.home, lambda _: Access(frozenset({cluster.CONFIG_MAP, cluster.ENDPOINT_SLICE}))
    )
    answered: list[str] = []

    async def client() -> None:
        while True:
            try:
                found = await world.ask(CARD)
            except (OSError, AssertionError):
                continue
            if found.status == 200:
                answered.append(str(found.value("x-demarc-decision")))

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(api.serving("127.64.0.9"))
        stack.push_async_callback(tier.kill_process)
        await tier.start_process(server)
        await tier.process.start()
        stack.push_async_callback(tier.process.stop)
        stack.push_async_callback(world.near.close)
        await tier.ready()
        clients = [asyncio.create_task(client()) for _ in range(4)]
        for task in clients:
            stack.callback(task.cancel)
        for _ in range(3):
            before = len(answered)
            async with asyncio.timeout(20):
                while len(answered) < before + 20:  # noqa: ASYNC110  # the clients are no event
                    await asyncio.sleep(0.01)
            assert tier.child is not None
            tier.child.send_signal(signal.SIGKILL)
            await tier.child.wait()
            await tier.start_process(server)
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        ledger = tier.options.record / "ledger.sqlite"

        async def booked() -> bool:
            return set(answered) <= {row.decision for row in usage.read(ledger)}

        await until(booked)
        tier.child.send_signal(signal.SIGTERM)
        await tier.child.wait()
    folder = tier.options.record / "records"
    report = verification.verify(records.stored(folder))

    assert () == report.problems
    assert set(answered) == set(records.find_all(folder, frozenset(answered)))
    assert {"retail"} == {row.tenant for row in usage.read(ledger) if row.decision in set(answered)}


async def test_what_a_client_can_say_with_headers_only_keeps_requests_inside(world: World) -> None:
    """A header names a cluster, lowers a level, or proves two callers at once."""
    await world.answered(200)
    body = json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    ).encode()
    key = ("authorization", f"Bearer {agents.builders.FAQ_KEY}")
    content = ("content-type", "application/json")

    async def send(*lines: tuple[str, str]) -> tuple[int, str | None]:
        found = await world.send(
            agents.wire.request("/v1/chat/completions", body=body, headers=(content, *lines))
        )
        return found.status, found.value("x-demarc-site")

    assert (200, "shanghai-dc") == await send(key, ("demarc-level", "4"))
    assert (200, "cloud-sg") == await send(key, ("demarc-level", "1"))
    assert (400, None) == await send(key, ("demarc-level", "4"), ("demarc-level", "1"))
    assert (400, None) == await send(key, ("demarc-level", "0"))
    assert (401, None) == await send(key, ("authorization", f"Bearer {COPILOT_KEY}"))
    assert (401, None) == await send(key, ("x-api-key", COPILOT_KEY))
    forged = (("x-demarc-cluster", "egress"), ("x-demarc-class", "public"), ("x-demarc-grant", "g"))
    other = ("authorization", f"Bearer {COPILOT_KEY}")
    assert (200, "shanghai-dc") == await send(other, *forged)


async def test_a_body_in_chunks_is_judged_whole(world: World) -> None:
    """Half of a card number in each chunk."""
    await world.answered(200)
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": CARD}]}).encode()
    middle = body.index(b"1111") + 2
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {agents.builders.FAQ_KEY}",
        "content-type: application/json",
        "transfer-encoding: chunked",
    )
    payload = "\r\n".join(lines).encode() + b"\r\n\r\n"
    for part in (body[:middle], body[middle:], b""):
        payload += f"{len(part):x}\r\n".encode() + part + b"\r\n"
    found = await world.send(payload)

    assert (200, "shanghai-dc") == (found.status, found.value("x-demarc-site"))
    assert body == world.near.requests[-1].body
