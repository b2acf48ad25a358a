"""What does Envoy show now? Its replicas, and whether it uses the files as they were written.

Rules:
    An endpoint that comes up is believed once Envoy uses all files, so that its route is there too;
    a file that Envoy never takes holds the others up for a bounded time only.
    A policy that changes judges what was seen last anew, before anything else moves.
    Without an answer of Envoy the last one stands for a moment, then nothing is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog

from demarc.engines.envoy import EnvoyAdmin, EnvoyError, Host
from demarc.gateway import availability
from demarc.gateway.availability import FarSides, Seen
from demarc.gateway.counting import Metrics
from demarc.gateway.dataplane import Dataplane
from demarc.gateway.options import Times
from demarc.policy.epoch import Epoch

GRACE_SECONDS = 2.0
"""How long the last answer of Envoy stands when it gives none."""

log = structlog.get_logger()


class EnvoyWatch:
    """One Envoy, as its admin socket shows it."""

    def __init__(
        self,
        admin: EnvoyAdmin,
        dataplane: Dataplane,
        *,
        policy: Callable[[], Epoch | None] | None,
        far: FarSides,
        monotonic: Callable[[], float],
        metrics: Metrics,
        times: Times,
    ) -> None:
        """Look at nothing yet.

        Args:
            admin: the socket.
            dataplane: the files.
            policy: the view in force, at the gateway that chooses by health; else None.
            far: how far sides have answered.
            monotonic: seconds.
            metrics: health of endpoints.
            times: how often, and how long to wait.
        """
        self._admin = admin
        self._dataplane = dataplane
        self._policy = policy
        self._far = far
        self._monotonic = monotonic
        self._metrics = metrics
        self._times = times
        self._hosts: Mapping[str, tuple[Host, ...]] | None = None
        self._answered = -GRACE_SECONDS
        self._drawn = 0.0
        self._said = False
        self._now = asyncio.Event()
        self.in_use = False
        self.seen = availability.NOTHING_SEEN

    def drawn(self) -> None:
        """Files were written: until Envoy uses them, nothing new is believed."""
        self.in_use = False
        self._drawn = self._monotonic()
        self._said = False
        self.look_now()

    def look_now(self) -> None:
        """Do not wait for the next look."""
        self._now.set()

    def judge(self) -> None:
        """Judge what was seen last by the policy of now."""
        policy = self._policy() if self._policy is not None else None
        if policy is None or self._hosts is None:
            self.seen = availability.NOTHING_SEEN
            return
        found = availability.see(self._hosts, policy)
        waits = not self.in_use and self._monotonic() - self._drawn < self._times.applied
        self.seen = _known(found, self.seen) if waits else found
        self._show(policy)

    async def watch(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            self._now.clear()
            await self.look()
            slow = self._policy is None and self.in_use
            with suppress(TimeoutError):
                async with asyncio.timeout(self._times.retry if slow else self._times.health):
                    await self._now.wait()

    async def look(self) -> None:
        """One look."""
        try:
            if not self.in_use:
                await self._compare()
            if self._policy is not None:
                self._hosts = await self._admin.clusters()
            elif self.in_use and not await self._admin.ready():
                self._lost()
                return
            self._answered = self._monotonic()
        except Exception as error:  # noqa: BLE001  # what is not known is down
            if not isinstance(error, EnvoyError):
                log.error("envoy_unreadable", error=type(error).__name__)
            self._lost()
        self.judge()

    async def _compare(self) -> None:
        applied = await self._admin.applied()
        differences = self._dataplane.differences(applied)
        self.in_use = not differences
        self._metrics.set("demarc_envoy_applied", int(self.in_use))
        late = self._monotonic() - self._drawn > self._times.applied
        if differences and late and not self._said:
            self._said = True
            log.error("envoy_not_in_use", differences=differences)

    def _lost(self) -> None:
        self._metrics.set("demarc_envoy_applied", 0)
        if self._monotonic() - self._answered >= GRACE_SECONDS:
            self._hosts = None
            self.in_use = False

    def _show(self, policy: Epoch) -> None:
        """Health as metrics."""
        now, open_ = self._monotonic(), policy.public_open
        found = availability.health(policy.endpoints, self.seen, self._far, now, leaves=open_)
        self._metrics.clear("demarc_endpoint_up")
        for name, health in found.items():
            self._metrics.set("demarc_endpoint_up", int(health.up), endpoint=name)


def _known(found: Seen, before: Seen) -> Seen:
    """Of what is up now only what was up before."""
    return Seen(
        {
            name: health if before.private.get(name, availability.DOWN).up else availability.DOWN
            for name, health in found.private.items()
        },
        found.egress if before.egress.up else replace(availability.DOWN),
    )
