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
import json
import signal
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, assert_never

from demarc.api.cluster import Manifest
from demarc.local import images, launch, pod_volumes, probes, volumes
from demarc.local.images import ImageTable
from demarc.local.launch import Launch, Place
from demarc.local.pod_status import ContainerState, Ended, Running, Waiting, Where
from demarc.local.pod_volumes import (
    Claim,
    EmptyDir,
    Files,
    MissingSource,
    Sources,
    Volume,
    token_files,
)
from demarc.local.pods import Container, Execute, Hook, HttpGet, Pause, PodPlan, Probe, Role
from demarc.local.process import Command, Process, Processes, StartError
from demarc.local.volumes import VolumeError

_START_FAILED: Final = 128  # what a kubelet reports for a program that cannot be started
_LEAST_GRACE: Final = 2.0  # seconds that SIGTERM gets however long the hook took, as in the kubelet
_RENEW_SHARE: Final = 0.8  # of a token's life, as in the kubelet
_CREATING: Final = "ContainerCreating"
_CRASHING: Final = "CrashLoopBackOff"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a container waits before it is started again; seconds.

    The first restart is at once, then `first`, doubling to `longest`; a container that ran for
    `reset` begins anew.
    """

    first: float = 1.0
    longest: float = 30.0
    reset: float = 60.0

    def pause(self, crashes: int) -> float:
        """The wait after this many crashes in a row."""
        return 0.0 if crashes <= 1 else min(self.first * 2.0 ** (crashes - 2), self.longest)


@dataclass(frozen=True, slots=True)
class PodFolders:
    """Where a pod lies on the disk.

    Attributes:
        home: the pod's own folder.
        empty: its emptyDirs, on a short path: sockets lie there.
        claims: claim name -> folder.
        log: container name -> log file.
    """

    home: Path
    empty: Path
    claims: Mapping[str, Path]
    log: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a pod reaches the API as its ServiceAccount.

    Attributes:
        server: URL of the API.
        audience: of the token.
        seconds: how long a token is good; it is renewed well before.
    """

    server: str
    audience: str
    seconds: int = 3600


@dataclass(frozen=True, slots=True)
class PodSite:
    """What the node decided for a pod.

    Attributes:
        folders: where it lies.
        where: its addresses.
        workload: name of what owns it.
        added: container -> variables that win over all others.
        credentials: of its ServiceAccount, if it gets them.
    """

    folders: PodFolders
    where: Where
    workload: str
    added: Mapping[str, Mapping[str, str]]
    credentials: Credentials | None


class Host(Protocol):
    """What a pod needs of its node."""

    @property
    def processes(self) -> Processes:
        """Starts its processes."""
        ...

    @property
    def table(self) -> ImageTable:
        """The programs of this machine."""
        ...

    @property
    def backoff(self) -> Backoff:
        """How its containers are started again."""
        ...

    async def sources(self, runner: PodRunner) -> Sources:
        """What the pod reads from, as it is now, with tokens that are good for a while."""
        ...

    async def report(self, runner: PodRunner) -> None:
        """Write the pod's status."""
        ...

    async def event(
        self, pod: Manifest, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """Write what has happened to the pod."""
        ...

    def now(self) -> str:
        """RFC 3339 with seconds."""
        ...


@dataclass(slots=True)
class _Work:
    """The process of a container, and whether it is being stopped."""

    process: Process
    launch: Launch
    stopping: bool = False


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
        self._work: dict[str, _Work] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._renewing: asyncio.Task[None] | None = None

    @property
    def processes(self) -> Mapping[str, int]:
        """Container -> process id, of those that run."""
        return {name: work.process.pid for name, work in self._work.items()}

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
        try:
            process = await self._host.processes.start(
                Command(
                    found.argv, found.environment, Path(found.folder), self.site.folders.log[name]
                )
            )
        except StartError as error:
            await self._tell("Failed", f"container {name}: {error}", warning=True)
            await self._set(name, self.states[name].ended(_START_FAILED, self._host.now()))
            return _START_FAILED
        work = self._work[name] = _Work(process, found)
        probing: asyncio.Task[None] | None = None
        try:
            running = Running(process.pid, self._host.now())
            await self._set(name, replace(self.states[name], state=running))
            await self._tell("Started", f"Started container {name}")
            probing = tasks.create_task(self._probe(container, work))
            code = await process.wait()
        finally:
            process.signal(signal.SIGKILL)  # nothing but a fault of ours comes here before its end
            await process.wait()
            del self._work[name]
            if probing is not None:
                probing.cancel()
        await self._set(name, self.states[name].ended(code, self._host.now()))
        return code

    async def _launch(self, container: Container) -> Launch:
        """Wait until the container can start."""
        folders = self.site.folders
        place = Place(
            folders={volume.name: str(self._folder(volume)) for volume in self.plan.volumes},
            home=str(folders.home / container.name),
            workload=self.site.workload,
            added=self.site.added.get(container.name, {}),
            kubeconfig=str(self._credentials / "kubeconfig") if self.site.credentials else "",
        )
        volumes.make_folder(folders.home / container.name)
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
            await changed.wait()

    async def _plan(self, container: Container, place: Place) -> Launch | launch.Waiting:
        try:
            sources = await self._host.sources(self)
        except MissingSource as missing:
            return launch.Waiting("CreateContainerConfigError", str(missing))
        return launch.plan(container, self._pod(), sources, place, self._host.table)

    def _pod(self) -> Manifest:
        """The pod with the addresses that its environment may name."""
        where = self.site.where
        return {**self.pod, "status": {"podIP": where.address, "hostIP": where.host}}

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

    # probes

    async def _probe(self, container: Container, work: _Work) -> None:
        """Startup first; readiness and liveness once that has passed."""
        if container.startup and not await self._has_started(container, container.startup, work):
            return
        healthy = container.readiness is None
        await self._set(
            container.name, replace(self.states[container.name], started=True, healthy=healthy)
        )
        async with asyncio.TaskGroup() as tasks:
            if container.readiness:
                tasks.create_task(self._watch_readiness(container, container.readiness, work))
            if container.liveness:
                tasks.create_task(self._watch_liveness(container, container.liveness, work))

    async def _has_started(self, container: Container, probe: Probe, work: _Work) -> bool:
        async with self._verdicts("Startup", container, probe, work) as verdicts:
            async for good in verdicts:
                if good:
                    return True
                await self._restart(container, "startup", probe)
        return False

    async def _watch_readiness(self, container: Container, probe: Probe, work: _Work) -> None:
        async with self._verdicts("Readiness", container, probe, work) as verdicts:
            async for good in verdicts:
                state = self.states[container.name]
                await self._set(container.name, replace(state, healthy=good))

    async def _watch_liveness(self, container: Container, probe: Probe, work: _Work) -> None:
        async with self._verdicts("Liveness", container, probe, work) as verdicts:
            async for good in verdicts:
                if not good:
                    await self._restart(container, "liveness", probe)

    def _verdicts(
        self, kind: str, container: Container, probe: Probe, work: _Work
    ) -> contextlib.aclosing[AsyncGenerator[bool]]:
        async def failed(trouble: str) -> None:
            if not work.stopping:
                text = f"{kind} probe of container {container.name} failed: {trouble}"
                await self._tell("Unhealthy", text, warning=True)

        async def run(argv: tuple[str, ...], seconds: float) -> int:
            return await self._execute(container, argv, work, seconds)

        return contextlib.aclosing(
            probes.verdicts(probe, address=self.site.where.address, run=run, failed=failed)
        )

    async def _restart(self, container: Container, kind: str, probe: Probe) -> None:
        text = f"Container {container.name} failed its {kind} probe and is restarted"
        await self._tell("Killing", text)
        grace = self.plan.grace if probe.grace is None else probe.grace
        await self._stop(container, grace)

    async def _execute(
        self, container: Container, argv: tuple[str, ...], work: _Work, seconds: float
    ) -> int:
        """Run a program beside the container's own; `TimeoutError` after the seconds."""
        words = images.inside(self._host.table, image=container.image, argv=argv)
        started = work.launch
        command = Command(words, started.environment, Path(started.folder), main=False)
        try:
            process = await self._host.processes.start(command)
        except StartError:
            return _START_FAILED
        try:
            async with asyncio.timeout(seconds):
                return await process.wait()
        finally:
            process.signal(signal.SIGKILL)

    # the end

    async def _stop_all(self) -> None:
        """Step 4."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.plan.grace
        async with asyncio.TaskGroup() as tasks:
            for container in self.plan.containers:
                if container.role is not Role.SIDECAR:
                    tasks.create_task(self._stop(container, self.plan.grace))
        await self._stop_sidecars(max(deadline - loop.time(), min(_LEAST_GRACE, self.plan.grace)))

    async def _stop_sidecars(self, grace: float) -> None:
        for container in reversed(self.plan.containers):
            if container.role is Role.SIDECAR:
                task = self._keeping.get(container.name)
                if container.name in self._work:
                    await self._stop(container, grace)
                if task is not None:
                    task.cancel()

    async def _stop(self, container: Container, grace: float) -> None:
        """End the container's process: hook, SIGTERM, and SIGKILL after the grace period."""
        work = self._work.get(container.name)
        if work is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        if not work.stopping and grace:
            work.stopping = True
            if container.pre_stop:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await self._run_hook(container, container.pre_stop, work)
            await self._tell("Killing", f"Stopping container {container.name}")
            work.process.signal(signal.SIGTERM)
            deadline = max(deadline, loop.time() + min(_LEAST_GRACE, grace))
        try:
            async with asyncio.timeout_at(deadline):
                await work.process.wait()
        except TimeoutError:
            work.process.signal(signal.SIGKILL)
            await work.process.wait()

    async def _run_hook(self, container: Container, hook: Hook, work: _Work) -> None:
        match hook:
            case Pause(seconds):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await work.process.wait()
            case Execute(argv):
                code = await self._execute(container, argv, work, self.plan.grace)
                if code:
                    text = f"preStop of container {container.name} failed: exit code {code}"
                    await self._tell("FailedPreStopHook", text, warning=True)
            case HttpGet():
                trouble = await probes.attempt(
                    hook, address=self.site.where.address, seconds=self.plan.grace, run=_no_program
                )
                if trouble:
                    text = f"preStop of container {container.name} failed: {trouble}"
                    await self._tell("FailedPreStopHook", text, warning=True)
            case _:
                assert_never(hook)

    # volumes

    @property
    def _credentials(self) -> Path:
        return self.site.folders.home / "credentials"

    def _folder(self, volume: Volume) -> Path:
        match volume:
            case EmptyDir(name):
                return self.site.folders.empty / name
            case Claim(_, claim):
                return self.site.folders.claims[claim]
            case Files(name):
                return self.site.folders.home / "volumes" / name
            case _:
                assert_never(volume)

    async def _make_volumes(self) -> None:
        """Step 1."""
        while True:
            changed = self._changed
            trouble = await self._write_volumes()
            if not trouble:
                return
            for name, state in self.states.items():
                await self._set(name, replace(state, state=Waiting(_CREATING, trouble)))
            await self._tell("FailedMount", trouble, warning=True)
            await changed.wait()

    async def _renew(self) -> None:
        """Keep files like the objects that they come from, and tokens fresh."""
        lives = [file.seconds for item in self.plan.volumes for file in token_files(item)]
        if self.site.credentials:
            lives.append(self.site.credentials.seconds)
        while True:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RENEW_SHARE * min(lives) if lives else None):
                    await changed.wait()
            trouble = await self._write_volumes()
            if trouble:
                await self._tell("FailedMount", trouble, warning=True)

    async def _write_volumes(self) -> str:
        """Write what has changed; why it cannot be written, or empty."""
        try:
            sources = await self._host.sources(self)
            for volume in self.plan.volumes:
                if isinstance(volume, Files):
                    content = pod_volumes.content(volume, self._pod(), sources)
                    volumes.write_files(self._folder(volume), content)
                elif isinstance(volume, EmptyDir):
                    volumes.make_folder(self._folder(volume))
                elif not self._folder(volume).is_dir():
                    return f"claim `{volume.claim}`: `{self._folder(volume)}` is no folder"
            self._make_sub_paths()
            self._write_credentials(sources)
        except (MissingSource, VolumeError) as error:
            return str(error)
        except OSError as error:
            return f"a volume cannot be written: {error.strerror}"
        return ""

    def _make_sub_paths(self) -> None:
        by_name = {volume.name: volume for volume in self.plan.volumes}
        for container in self.plan.containers:
            for mount in container.mounts:
                volume = by_name[mount.volume]
                if mount.sub_path and not isinstance(volume, Files):
                    volumes.make_sub_path(self._folder(volume), mount.sub_path)

    def _write_credentials(self, sources: Sources) -> None:
        credentials = self.site.credentials
        if credentials is None:
            return
        volumes.make_folder(self._credentials)
        token = sources.tokens[credentials.audience, credentials.seconds]
        volumes.write_file(self._credentials / "token", token.encode())
        text = kubeconfig(credentials.server, str(self.pod["metadata"]["namespace"]))
        volumes.write_file(self._credentials / "kubeconfig", text.encode())


def kubeconfig(server: str, namespace: str) -> str:
    """A kubeconfig whose token lies in the file `token` beside it."""
    context = {"cluster": "local", "user": "local", "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": {"server": server}}],
        "contexts": [{"name": "local", "context": context}],
        "users": [{"name": "local", "user": {"tokenFile": "token"}}],
    }
    return json.dumps(document, indent=2) + "\n"  # JSON is YAML


def _restarts(pod: Manifest, container: str) -> int:
    """How often the stored status says that a container was started again."""
    status: Mapping[str, Any] = pod.get("status") or {}
    rows = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    return next((int(row["restartCount"]) for row in rows if row["name"] == container), 0)


async def _no_program(_argv: tuple[str, ...], _seconds: float) -> int:
    raise AssertionError("a hook that asks over HTTP starts no program")
