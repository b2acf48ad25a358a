"""How does one pod live on this machine? From its volumes to the end of its last process.

1 volumes     wait until every source is there, write the files                     I/O
2 init        init containers one after the other; a sidecar holds back what follows
              until its startup probe has passed                                    processes
3 main        all main containers at once; each is started again as the pod says    processes
4 end         preStop, SIGTERM, the grace period, SIGKILL; main first, then the
              sidecars in reverse order                                             processes

INVARIANT: when `run` returns or raises, no process of the pod is left.
INVARIANT: every change of a container's state is reported before the next step is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, assert_never

from demarc.api.cluster import Manifest
from demarc.local import launch, pod_files, volumes
from demarc.local.container_process import START_FAILED, ContainerProcess, Surroundings
from demarc.local.health import Health, HealthPort
from demarc.local.launch import Launch, Place
from demarc.local.pod_site import Host, PodSite
from demarc.local.pod_status import ContainerState, Ended, Running, Waiting
from demarc.local.pod_volumes import MissingSource
from demarc.local.pods import Container, PodPlan, Role
from demarc.local.process import Command, StartError

_LEAST_GRACE: Final = 2.0  # seconds that a sidecar gets however long the main containers took
_AGAIN_SECONDS: Final = 5.0
_CREATING: Final = "ContainerCreating"
_CRASHING: Final = "CrashLoopBackOff"


class PodRunner:
    """One pod, from its volumes to its end."""

    def __init__(self, pod: Manifest, plan: PodPlan, site: PodSite, host: Host) -> None:
        """Take the pod as it is stored; nothing starts."""
        self.pod = pod
        self.plan = plan
        self.site = site
        self.states: dict[str, ContainerState] = {
            container.name: ContainerState(restarts=_restarts(pod, container.name))
            for container in plan.containers
        }
        self._host = host
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self._moved = asyncio.Event()  # a container's state is another
        self._work: dict[str, ContainerProcess] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._renewing: asyncio.Task[None] | None = None

    @property
    def processes(self) -> Mapping[str, int]:
        """Container -> process id, of those that run."""
        return {name: work.pid for name, work in self._work.items()}

    @property
    def is_ending(self) -> bool:
        """Whether the pod was asked to end."""
        return self._ending.is_set()

    def end(self) -> None:
        """Ask the pod to end."""
        self._ending.set()

    def see(self) -> None:
        """Something that the pod reads from has changed."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def run(self) -> None:
        """Live until the pod is asked to end."""
        await self._host.report(self)
        async with asyncio.TaskGroup() as tasks:
            life = tasks.create_task(self._live(tasks))
            await self._ending.wait()
            life.cancel()
            if self._renewing is not None:
                self._renewing.cancel()
            for name, task in self._keeping.items():
                if name not in self._work:
                    task.cancel()
            await self._stop_all()

    async def _live(self, tasks: asyncio.TaskGroup) -> None:
        """Steps 1 to 3."""
        await self._make_volumes()
        self._renewing = tasks.create_task(self._renew())
        for container in self.plan.containers:
            if container.role is Role.MAIN:
                continue
            task = self._keep_up(tasks, container)
            if container.role is Role.INIT:
                await asyncio.wait((task,))
                if self._code(container.name):
                    return  # it failed, and the pod says never to try again
            else:
                await self._until_started(container.name)
        main = [item for item in self.plan.containers if item.role is Role.MAIN]
        await asyncio.wait([self._keep_up(tasks, container) for container in main])
        # a pod that is always restarted never comes here; the sidecars of others are done
        await self._stop_sidecars(self.plan.grace)

    def _keep_up(self, tasks: asyncio.TaskGroup, container: Container) -> asyncio.Task[None]:
        task = tasks.create_task(self._keep(tasks, container))
        self._keeping[container.name] = task
        return task

    async def _keep(self, tasks: asyncio.TaskGroup, container: Container) -> None:
        """Run a container as often as the pod says."""
        loop = asyncio.get_running_loop()
        crashes = 0
        while True:
            began = loop.time()
            code = await self._run_once(tasks, container)
            if self._ending.is_set() or not self._is_wanted_again(container, code):
                return
            crashes = 1 if loop.time() - began >= self._host.backoff.reset else crashes + 1
            pause = self._host.backoff.pause(crashes)
            state = self.states[container.name]
            again = replace(
                state,
                last=state.state if isinstance(state.state, Ended) else state.last,
                restarts=state.restarts + 1,
            )
            if pause:
                text = f"back-off {pause:g}s restarting failed container {container.name}"
                await self._set(container.name, replace(again, state=Waiting(_CRASHING, text)))
                await self._tell("BackOff", text, warning=True)
                await asyncio.sleep(pause)
            else:
                await self._set(container.name, replace(again, state=Waiting(_CREATING)))

    def _is_wanted_again(self, container: Container, code: int) -> bool:
        policy = self.plan.restart_policy
        match container.role:
            case Role.SIDECAR:
                return True
            case Role.INIT:
                return code != 0 and policy != "Never"
            case Role.MAIN:
                return policy == "Always" or (policy == "OnFailure" and code != 0)
            case _:
                assert_never(container.role)

    async def _run_once(self, tasks: asyncio.TaskGroup, container: Container) -> int:
        """From a start to an exit code."""
        name = container.name
        found = await self._launch(container)
        log = self.site.folders.log[name]
        command = Command(found.argv, found.environment, Path(found.folder), log)
        try:
            process = await self._host.processes.start(command)
        except StartError as error:
            await self._tell("Failed", f"container {name}: {error}", warning=True)
            await self._set(name, self.states[name].ended(START_FAILED, self._host.now()))
            return START_FAILED
        work = self._work[name] = ContainerProcess(container, process, found, self._around())
        watching: asyncio.Task[None] | None = None
        try:
            running = Running(process.pid, self._host.now())
            await self._set(name, replace(self.states[name], state=running))
            await self._tell("Started", f"Started container {name}")
            watching = tasks.create_task(self._health(container, work).watch())
            code = await work.wait()
        finally:
            await work.kill()  # it has ended, unless this task is being cancelled
            del self._work[name]
            if watching is not None:
                watching.cancel()
        await self._set(name, self.states[name].ended(code, self._host.now()))
        return code

    def _around(self) -> Surroundings:
        host = self._host
        return Surroundings(self.site.where.address, host.processes, host.table, self._write_event)

    def _health(self, container: Container, work: ContainerProcess) -> Health:
        name = container.name

        async def started(healthy: bool) -> None:  # noqa: FBT001  # the shape of the port
            await self._set(name, replace(self.states[name], started=True, healthy=healthy))

        async def healthy(good: bool) -> None:  # noqa: FBT001  # the shape of the port
            await self._set(name, replace(self.states[name], healthy=good))

        port = HealthPort(started, healthy, self._write_event)
        return Health(container, work, self.site.where.address, self.plan.grace, port)

    async def _launch(self, container: Container) -> Launch:
        """Wait until the container can start."""
        folders = self.site.folders
        place = Place(
            folders={volume.name: str(folders.volume(volume)) for volume in self.plan.volumes},
            home=str(folders.home / container.name),
            workload=self.site.workload,
            added=self.site.added.get(container.name, {}),
            kubeconfig=str(folders.credentials / "kubeconfig") if self.site.credentials else "",
        )
        while True:
            changed = self._changed
            found = await self._plan(container, place)
            if isinstance(found, Launch):
                return found
            state = self.states[container.name]
            waiting = replace(state, state=Waiting(found.reason, found.message))
            if waiting != state:
                await self._set(container.name, waiting)
                await self._tell("Failed", f"{found.reason}: {found.message}", warning=True)
            await _wait(changed, _AGAIN_SECONDS)

    async def _plan(self, container: Container, place: Place) -> Launch | launch.Waiting:
        try:
            volumes.make_folder(Path(place.home))
            sources = await self._host.sources(self)
        except MissingSource as missing:
            return launch.Waiting("CreateContainerConfigError", str(missing))
        except OSError as error:
            return launch.Waiting("CreateContainerError", f"no folder: {error.strerror}")
        return launch.plan(container, pod_files.located(self), sources, place, self._host.table)

    def _code(self, name: str) -> int:
        state = self.states[name].state
        return state.code if isinstance(state, Ended) else 0

    async def _until_started(self, name: str) -> None:
        while not self.states[name].started:
            await self._moved.wait()

    async def _set(self, name: str, state: ContainerState) -> None:
        if state == self.states[name]:
            return
        self.states[name] = state
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        await self._host.report(self)

    async def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        await self._host.event(self.pod, reason, message, warning=warning)

    async def _write_event(self, reason: str, message: str, warning: bool) -> None:  # noqa: FBT001  # the shape of the port
        await self._tell(reason, message, warning=warning)

    # the end

    async def _stop_all(self) -> None:
        """Step 4."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.plan.grace
        async with asyncio.TaskGroup() as tasks:
            for container in self.plan.containers:
                work = self._work.get(container.name)
                if container.role is not Role.SIDECAR and work is not None:
                    tasks.create_task(work.stop(self.plan.grace))
        await self._stop_sidecars(max(deadline - loop.time(), min(_LEAST_GRACE, self.plan.grace)))

    async def _stop_sidecars(self, grace: float) -> None:
        for container in reversed(self.plan.containers):
            if container.role is Role.SIDECAR:
                task = self._keeping.get(container.name)
                work = self._work.get(container.name)
                if work is not None:
                    await work.stop(grace)
                if task is not None:
                    task.cancel()

    # volumes

    async def _make_volumes(self) -> None:
        """Step 1."""
        told = ""
        while True:
            changed = self._changed
            trouble = await pod_files.write(self, self._host)
            if not trouble:
                return
            for name, state in self.states.items():
                await self._set(name, replace(state, state=Waiting(_CREATING, trouble)))
            if trouble != told:
                await self._tell("FailedMount", trouble, warning=True)
            told = trouble
            await _wait(changed, _AGAIN_SECONDS)

    async def _renew(self) -> None:
        """Keep files like the objects that they come from, and tokens fresh."""
        life = pod_files.renewal_seconds(self)
        told = ""
        while True:
            changed = self._changed  # taken first: a change during the write brings another one
            trouble = await pod_files.write(self, self._host)
            if trouble and trouble != told:
                await self._tell("FailedMount", trouble, warning=True)
            told = trouble
            await _wait(changed, _AGAIN_SECONDS if trouble else life)


async def _wait(changed: asyncio.Event, seconds: float | None) -> None:
    """Wait for a change, but not for ever where time alone may help: a disk can be full."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()


def _restarts(pod: Manifest, container: str) -> int:
    """How often the stored status says that a container was started again."""
    status: Mapping[str, Any] = pod.get("status") or {}
    rows = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    return next((int(row["restartCount"]) for row in rows if row["name"] == container), 0)
