"""Can whoever writes an object end the agent that watches it?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.api.cluster import CONFIG_MAP, Change, Listing, WatchEvent
from demarc.gateway import watching
from demarc.gateway.counting import Metrics
from demarc.gateway.keeping import EpochKeeper, TrustFile
from demarc.policy import heartbeat, signature
from demarc.policy.heartbeat import Heartbeat
from support import builders
from support.gate import Clock

KEY = Ed25519PrivateKey.generate()


class Cluster:
    """One object, and one change of it."""

    def __init__(self) -> None:
        self.watched = asyncio.Event()

    async def list(self, *_: object, **__: object) -> Listing:
        return Listing((_object("1"),), "1")

    async def watch(self, *_: object, **__: object) -> AsyncIterator[WatchEvent]:
        yield WatchEvent(Change.MODIFIED, _object("2"))
        self.watched.set()
        await asyncio.Event().wait()


def _object(value: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": "a"}, "data": {"v": value}}


async def test_a_state_that_cannot_be_taken_ends_nothing() -> None:
    """Private answers would end with it, and again at each start."""
    cluster, metrics, seen = Cluster(), Metrics(), list[str]()

    def changed(state: watching.State) -> None:
        value = state["ns", "a"]["data"]["v"]
        if value == "1":
            raise RecursionError(value)
        seen.append(value)

    task = asyncio.get_running_loop().create_task(
        watching.follow(
            cluster,  # type: ignore[arg-type]
            CONFIG_MAP,
            changed,
            retry=0,
            metrics=metrics,
        )
    )
    waiting = asyncio.get_running_loop().create_task(cluster.watched.wait())
    async with asyncio.timeout(8):
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert ["2"] == seen
    assert 1 == metrics.value("demarc_watch_errors_total", kind="ConfigMap")


def test_a_heartbeat_that_comes_before_any_epoch_changes_nothing(tmp_path: Path) -> None:
    """The agent would end at each start until an epoch is published."""
    (tmp_path / "trust.json").write_text(signature.render_trust({"k": signature.public_bytes(KEY)}))
    clock = Clock()
    keeper = EpochKeeper(
        tmp_path,
        TrustFile(tmp_path),
        clock=clock.wall,
        monotonic=clock.monotonic,
        packs=builders.PACKS,
        metrics=Metrics(),
    )
    early = Heartbeat("0" * 64, clock.now - timedelta(seconds=1))

    assert not keeper.offer_heartbeat({"heartbeat": heartbeat.sign(early, KEY, "k")})
    assert keeper.latest is None
