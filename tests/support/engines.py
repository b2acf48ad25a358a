"""Which engines does a test talk to? A fake in memory, and real Triton with the simulator.

Both pass `tests/contract/test_engine.py`. The real one listens on loopback alone, on free
ports, and ends with the test process.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from demarc.engines.generation import (
    Chunk,
    EngineFailedError,
    EngineTimeoutError,
    EngineUnavailableError,
    Finish,
    Generation,
)
from demarc.local import simulator
from demarc.local.simulator import folder
from demarc.planning import triton

LOOPBACK = "127.61.0.1"
TEMPLATE = Path(simulator.__file__).parent / "llmapi"
_VERSION = TEMPLATE / "tensorrt_llm" / "1"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


class EngineToolError(Exception):
    """The test's Triton did not start; the text says what repairs it."""


def load_simulation() -> ModuleType:
    """The simulator's pure module, which no package holds because Triton names its folder `1`."""
    name = "demarc_simulation"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, _VERSION / "simulation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def words() -> tuple[str, ...]:
    """The vocabulary of the simulator."""
    return tuple((_VERSION / "words.txt").read_text("utf-8").split())


@dataclass
class FakeEngine:
    """An engine in memory that says what the simulator says, at once.

    Attributes:
        parameters: as in simulator.json, in camel case; `broken` works as there.
        hold_after: that many chunks, then nothing until `release` or a cancel.
        requests: what it was asked.
        cancelled: how many requests were left before their end.
        available: False: nothing listens.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    hold_after: int | None = None
    requests: list[Generation] = field(default_factory=list)
    cancelled: int = 0
    available: bool = True
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let the requests that are held go on."""
        self._released.set()

    async def ready(self) -> bool:
        await asyncio.sleep(0)
        return self.available

    async def generate(self, generation: Generation) -> AsyncGenerator[Chunk]:
        self.requests.append(generation)
        finished = False
        try:
            async with asyncio.timeout(generation.timeout_seconds):
                for number, step in enumerate(self._steps(generation)):
                    if number == self.hold_after:
                        await self._released.wait()
                    await asyncio.sleep(0)
                    finished = step.finish is not None
                    finish = None if step.finish is None else Finish(step.finish)
                    yield Chunk(text=step.text, finish=finish)
        except TimeoutError:
            raise EngineTimeoutError("the engine did not finish in time") from None
        finally:
            self.cancelled += 0 if finished else 1

    def _steps(self, generation: Generation) -> Iterator[Any]:
        if not self.available:
            raise EngineUnavailableError("the engine does not answer: UNAVAILABLE")
        simulation = load_simulation()
        given = simulation.parameters(dict(self.parameters))
        if given.broken == "Error":
            raise EngineFailedError("the engine failed: no status")
        if given.broken == "Hang":
            self.hold_after = 0
        sampling = simulation.Sampling(
            max_tokens=generation.max_tokens,
            temperature=_single(generation.temperature),
            top_p=_single(generation.top_p),
            top_k=generation.top_k,
            frequency_penalty=_single(generation.frequency_penalty),
            presence_penalty=_single(generation.presence_penalty),
            seed=generation.seed,
            stop=generation.stop,
        )
        tokens = simulation.answer(generation.prompt.reveal(), sampling, given, words())
        yield from simulation.steps(tokens, sampling)


def _single(value: float | None) -> float | None:
    """The value as FP32, the type of its tensor."""
    return None if value is None else ctypes.c_float(value).value


@dataclass(frozen=True, slots=True)
class RunningTriton:
    """A Triton that has loaded the simulator.

    Attributes:
        grpc: host and port.
        http: host and port.
        model_folder: its simulator.json may be changed with `change`.
        recording: the file with what reached the engine.
        process: Triton's process id.
    """

    grpc: str
    http: str
    model_folder: Path
    recording: Path
    process: int

    def change(self, **parameters: Any) -> None:
        """Replace simulator.json; the next request sees it."""
        path = self.model_folder / "simulator.json"
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(parameters), "utf-8")
        beside.replace(path)

    def recorded(self) -> tuple[str, ...]:
        """The prompts that reached the engine, in their order."""
        if not self.recording.exists():
            return ()
        return tuple(json.loads(line)["text"] for line in self.recording.read_text().splitlines())


def tritonserver() -> Path:
    """The wrapper that starts Triton; `EngineToolError` if it is missing."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    tools = Path(os.environ.get("DEMARC_TOOLS") or Path(cache) / "demarc" / "tools")
    path = tools / "triton" / "bin" / "tritonserver"
    if not path.is_file():
        raise EngineToolError(f"no {path}: run `make tools`")
    return path


def make_repository(repository: Path, model_folder: Path, **model_yaml: Any) -> None:
    """Lay a repository as the init container does: the template, and rendered files over it."""
    model = repository / "tensorrt_llm"
    shutil.copytree(TEMPLATE / "tensorrt_llm", model)
    (model / "config.pbtxt").write_text(triton.config_pbtxt(), "utf-8")
    document = {
        "model": str(model_folder),
        "triton_config": {
            "max_batch_size": 0,
            "decoupled": True,
            "cancellation_check_period_ms": 20,
        },
        **model_yaml,
    }
    (model / "1" / "model.yaml").write_text(json.dumps(document), "utf-8")


@contextmanager
def running_triton(
    home: Path, parameters: Mapping[str, Any] | None = None, **model_yaml: Any
) -> Iterator[RunningTriton]:
    """Triton with the simulator, from ready to ended; its files are in `home`."""
    binary = tritonserver()
    model_folder, repository = home / "model", home / "repository"
    folder.make(model_folder, name="simulated", precision="FP8", parameters=parameters)
    make_repository(repository, model_folder, **model_yaml)
    http, grpc = _free_ports(2)
    recording = home / "recording.jsonl"
    command = (
        str(binary),
        f"--model-repository={repository}",
        f"--http-address={LOOPBACK}",
        f"--grpc-address={LOOPBACK}",
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=3",
        # several servers on one machine share /dev/shm
        f"--backend-config=python,shm-region-prefix-name=demarc_{os.getpid()}_{grpc}_",
    )
    environment = {**os.environ, "DEMARC_REHEARSAL_RECORDING": str(recording)}
    with _running(home / "triton.log", command, environment) as process:
        _wait_until_ready(home, f"http://{LOOPBACK}:{http}", process)
        yield RunningTriton(
            grpc=f"{LOOPBACK}:{grpc}",
            http=f"{LOOPBACK}:{http}",
            model_folder=model_folder,
            recording=recording,
            process=process.pid,
        )


@contextmanager
def _running(
    log: Path, command: tuple[str, ...], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    libc = ctypes.CDLL(None, use_errno=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=environment,
            start_new_session=True,  # the Python stubs end with the group
            # The child ends with this process, even when that is killed.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(home: Path, url: str, process: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = (home / "triton.log").read_text(errors="replace")[-3000:]
            raise EngineToolError(f"tritonserver ended with {process.returncode}: {tail}")
        try:
            with opener.open(f"{url}/v2/models/tensorrt_llm/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    tail = (home / "triton.log").read_text(errors="replace")[-3000:]
    raise EngineToolError(f"tritonserver was not ready after {_START_SECONDS:.0f} s: {tail}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for item in held:
            item.bind((LOOPBACK, 0))
        return [item.getsockname()[1] for item in held]


def ask(generation: Generation, **changes: Any) -> Generation:
    """A request with some fields changed."""
    return replace(generation, **changes)
