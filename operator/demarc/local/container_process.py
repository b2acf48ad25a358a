"""How does a container's process end, and what runs beside it? Hooks, signals, probes' programs.

INVARIANT: after `stop` the process has ended, whatever the hook does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, assert_never

from demarc.local import images, probes
from demarc.local.images import ImageTable
from demarc.local.launch import Launch
from demarc.local.pods import Container, Execute, Hook, HttpGet, Pause
from demarc.local.process import Command, Process, Processes, StartError

START_FAILED: Final = 128
"""What a kubelet reports for a program that cannot be started."""
_LEAST_GRACE: Final = 2.0  # seconds that SIGTERM gets however long the hook took, as in the kubelet

Tell: TypeAlias = Callable[[str, str, bool], Awaitable[None]]
"""(reason, message, whether it is a warning): write an event."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's process has around it.

    Attributes:
        address: of the pod.
        processes: of the node.
        table: the programs of this machine.
        tell: writes an event about the pod.
    """

    address: str
    processes: Processes
    table: ImageTable
    tell: Tell


class ContainerProcess:
    """The process of a container, from its start to its end."""

    def __init__(
        self, container: Container, process: Process, launch: Launch, around: Surroundings
    ) -> None:
        self.stopping = False
        self._container = container
        self._process = process
        self._launch = launch
        self._around = around

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Its exit code."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End it now."""
        self._process.signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self, grace: float) -> None:
        """The hook, SIGTERM, and SIGKILL after the grace period; a second caller only waits."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        if not self.stopping and grace:
            self.stopping = True
            if self._container.pre_stop:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await self._run(self._container.pre_stop, grace)
            await self._around.tell("Killing", f"Stopping container {self._container.name}", False)
            self._process.signal(signal.SIGTERM)
            deadline = max(deadline, loop.time() + min(_LEAST_GRACE, grace))
        try:
            async with asyncio.timeout_at(deadline):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def execute(self, argv: tuple[str, ...], seconds: float) -> int:
        """The exit code of a program beside the container's own; `TimeoutError` after the time."""
        words = images.inside(self._around.table, image=self._container.image, argv=argv)
        folder = Path(self._launch.folder)
        command = Command(words, self._launch.environment, folder, main=False)
        try:
            process = await self._around.processes.start(command)
        except StartError:
            return START_FAILED
        try:
            async with asyncio.timeout(seconds):
                return await process.wait()
        finally:
            process.signal(signal.SIGKILL)

    async def _run(self, hook: Hook, grace: float) -> None:
        trouble = ""
        match hook:
            case Pause(seconds):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._process.wait()
            case Execute() | HttpGet():
                trouble = await probes.attempt(
                    hook, address=self._around.address, seconds=grace, run=self.execute
                )
            case _:
                assert_never(hook)
        if trouble:
            text = f"preStop of container {self._container.name} failed: {trouble}"
            await self._around.tell("FailedPreStopHook", text, True)
