"""Is what Envoy shows believed neither too early nor too long?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from demarc.engines.envoy import Applied, EnvoyError, Host
from demarc.gateway.availability import FarSides
from demarc.gateway.counting import Metrics
from demarc.gateway.envoy_watch import EnvoyWatch
from demarc.gateway.options import Times
from demarc.policy.epoch import Epoch
from support import builders
from support.gate import NEAR, Clock

HEALTHY = (Host("10.244.0.1:8443", True, False, 0, 0, 0),)


@dataclass
class Double:
    """Envoy's admin socket and the files, as a test says."""

    clusters_: Mapping[str, tuple[Host, ...]] = field(default_factory=lambda: {NEAR: HEALTHY})
    is_gone: bool = False
    is_ready: bool = True
    is_in_use: bool = True
    error: Exception = field(default_factory=lambda: EnvoyError("gone"))

    async def clusters(self) -> Mapping[str, tuple[Host, ...]]:
        self._check()
        return self.clusters_

    async def applied(self) -> Applied:
        self._check()
        return Applied("", "", "", frozenset(), {})

    async def ready(self) -> bool:
        return self.is_ready and not self.is_gone

    def differences(self, _: Applied) -> tuple[str, ...]:
        return () if self.is_in_use else ("rds.json is not in use",)

    def _check(self) -> None:
        if self.is_gone:
            raise self.error


@dataclass
class Watched:
    """A watch over the double."""

    envoy: Double = field(default_factory=Double)
    clock: Clock = field(default_factory=Clock)
    epoch: Epoch | None = field(default_factory=builders.sample_epoch)
    chooses: bool = True
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.watch = EnvoyWatch(
            self.envoy,  # type: ignore[arg-type]  # a double
            self.envoy,  # type: ignore[arg-type]
            policy=(lambda: self.epoch) if self.chooses else None,
            far=FarSides(),
            monotonic=self.clock.monotonic,
            metrics=self.metrics,
            times=Times(),
        )

    @property
    def is_up(self) -> bool:
        found = self.watch.seen.private.get(NEAR)
        return found is not None and found.up


async def test_a_healthy_replica_is_seen() -> None:
    found = Watched()
    await found.watch.look()

    assert found.is_up
    assert found.watch.in_use
    assert 1 == found.metrics.value("demarc_endpoint_up", endpoint=NEAR)


async def test_an_endpoint_that_comes_up_waits_for_its_route() -> None:
    """A decision names a cluster that no route of Envoy leads to yet."""
    found = Watched(Double(is_in_use=False))
    found.watch.drawn()
    await found.watch.look()
    assert not found.is_up
    found.envoy.is_in_use = True
    await found.watch.look()
    assert found.is_up


async def test_an_endpoint_that_was_up_stays_up_while_files_change() -> None:
    found = Watched()
    await found.watch.look()
    found.envoy.is_in_use = False
    found.watch.drawn()
    await found.watch.look()
    assert found.is_up
    found.envoy.clusters_ = {}
    await found.watch.look()
    assert not found.is_up


async def test_a_file_that_envoy_never_takes_does_not_keep_the_others_down_for_ever() -> None:
    found = Watched(Double(is_in_use=False))
    found.watch.drawn()
    found.clock.advance(Times().applied + 1)
    await found.watch.look()

    assert found.is_up
    assert not found.watch.in_use


@pytest.mark.parametrize("error", [EnvoyError("gone"), RuntimeError("odd")])
async def test_without_an_answer_the_last_one_stands_for_a_moment(error: Exception) -> None:
    """One slow answer of Envoy takes every engine out of use; or a dead Envoy is believed in."""
    found = Watched()
    await found.watch.look()
    found.envoy.is_gone, found.envoy.error = True, error
    found.clock.advance(1)
    await found.watch.look()
    assert found.is_up
    found.clock.advance(1)
    await found.watch.look()
    assert not found.is_up
    assert not found.watch.in_use
    found.envoy.is_gone = False
    await found.watch.look()
    assert found.is_up


async def test_a_tightening_counts_before_the_next_look() -> None:
    """A decision still names an endpoint whose network was just taken out of the policy."""
    found = Watched()
    await found.watch.look()
    assert found.epoch
    found.epoch = replace(found.epoch, site_cidrs={"shanghai-dc": ("10.9.0.0/16",)})
    found.watch.judge()

    assert not found.is_up


async def test_without_a_policy_nothing_is_up() -> None:
    found = Watched(epoch=None)
    await found.watch.look()

    assert not found.is_up


async def test_a_gateway_that_does_not_choose_asks_whether_envoy_is_there() -> None:
    """Egress and edge stay ready beside a dead Envoy."""
    found = Watched(chooses=False)
    await found.watch.look()
    assert found.watch.in_use
    found.envoy.is_ready = False
    found.clock.advance(3)
    await found.watch.look()

    assert not found.watch.in_use
