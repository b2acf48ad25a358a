"""Is a container up, ready, alive? Its three probes over the life of one process.

Startup comes first; readiness and liveness begin once it has passed. A container without a probe
passes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from demarc.local import probes
from demarc.local.container_process import ContainerProcess, Tell
from demarc.local.pods import Container, Probe


@dataclass(frozen=True, slots=True)
class HealthPort:
    """Who hears of it.

    Attributes:
        started: the startup probe has passed; the argument says whether it is ready already.
        healthy: the readiness probe's verdict.
        tell: writes an event about the pod.
    """

    started: Callable[[bool], Awaitable[None]]
    healthy: Callable[[bool], Awaitable[None]]
    tell: Tell


@dataclass(frozen=True, slots=True)
class Health:
    """The probes of one container.

    Attributes:
        address: of the pod.
        grace: seconds for the end of a container whose probe does not say.
    """

    container: Container
    process: ContainerProcess
    address: str
    grace: int
    port: HealthPort

    async def watch(self) -> None:
        """Probe until cancelled, or until a startup probe has failed for good."""
        startup, readiness, liveness = (
            self.container.startup,
            self.container.readiness,
            self.container.liveness,
        )
        if startup and not await self._has_started(startup):
            return
        await self.port.started(readiness is None)
        async with asyncio.TaskGroup() as tasks:
            if readiness:
                tasks.create_task(self._watch_readiness(readiness))
            if liveness:
                tasks.create_task(self._watch_liveness(liveness))

    async def _has_started(self, probe: Probe) -> bool:
        async with self._verdicts("Startup", probe) as verdicts:
            async for good in verdicts:
                if good:
                    return True
                await self._restart("startup", probe)
        return False

    async def _watch_readiness(self, probe: Probe) -> None:
        async with self._verdicts("Readiness", probe) as verdicts:
            async for good in verdicts:
                await self.port.healthy(good)

    async def _watch_liveness(self, probe: Probe) -> None:
        async with self._verdicts("Liveness", probe) as verdicts:
            async for good in verdicts:
                if not good:
                    await self._restart("liveness", probe)

    async def _restart(self, kind: str, probe: Probe) -> None:
        text = f"Container {self.container.name} failed its {kind} probe and is restarted"
        await self.port.tell("Killing", text, False)
        await self.process.stop(self.grace if probe.grace is None else probe.grace)

    def _verdicts(self, kind: str, probe: Probe) -> aclosing[AsyncGenerator[bool, None]]:
        async def failed(trouble: str) -> None:
            if not self.process.stopping:
                text = f"{kind} probe of container {self.container.name} failed: {trouble}"
                await self.port.tell("Unhealthy", text, True)

        return aclosing(
            probes.verdicts(probe, address=self.address, run=self.process.execute, failed=failed)
        )
