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
