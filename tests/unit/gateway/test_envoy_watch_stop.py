"""Does the watch over Envoy end when it is told to, whatever happens at that moment?"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from demarc.engines.envoy import EnvoyError
from demarc.gateway.availability import FarSides
from demarc.gateway.counting import Metrics
from demarc.gateway.envoy_watch import EnvoyWatch
from demarc.gateway.options import Times


class Gone:
    """An Envoy that has ended."""

    async def applied(self) -> Any:
        raise EnvoyError("nobody answers")

    async def ready(self) -> bool:
        return False


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_that_comes_with_news_is_a_stop(turns: int) -> None:
    """Pods end together, so news and the stop come together; a lost stop costs a minute."""
    watch = EnvoyWatch(
        cast("Any", Gone()),
        cast("Any", None),
        policy=None,
        far=FarSides(),
        monotonic=lambda: 0.0,
        metrics=Metrics(),
        times=Times(health=60, retry=60),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.watch())
        for _ in range(3):
            await asyncio.sleep(0)
        watch.look_now()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=2)
        if not ended:
            task.cancel()

    assert {task} == ended
