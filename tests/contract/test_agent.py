"""Do agents and Envoys together keep the promise? Real processes, real TLS, loopback only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demarc.ledger import usage
from support import agents
from support.agents import CARD, COPILOT_KEY, FAR_ENDPOINT, World
from support.envoy_chain import until

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
