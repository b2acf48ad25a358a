"""What does Demarc cost beside bare Envoy? One run, both sides in turn, and each stage by itself.

    make bench
    .venv/bin/python bench/run.py [--quick] [--json FILE]

Nothing is asserted: figures of different machines, or of a busy one, are no test.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # the builders of the tests make the policy

import bodies  # noqa: E402  # after the path
import inputs  # noqa: E402
import load  # noqa: E402
import report  # noqa: E402
import stages  # noqa: E402
import world  # noqa: E402
from bodies import Size  # noqa: E402
from figures import Sample  # noqa: E402
from load import Question  # noqa: E402
from report import Cell, Run  # noqa: E402
from rich.console import Console  # noqa: E402
from world import Cores, Side, World, WorldError  # noqa: E402

from demarc import settings, telemetry  # noqa: E402


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a run takes.

    Attributes:
        rounds: of each side, in turn.
        warm_up, seconds: of one round.
        idle: seconds in which nobody asks.
        stage: seconds of one stage, about.
    """

    rounds: int
    warm_up: float
    seconds: float
    idle: float
    stage: float


FULL = Effort(rounds=3, warm_up=0.3, seconds=2.2, idle=2.0, stage=0.3)
QUICK = Effort(rounds=1, warm_up=0.2, seconds=0.7, idle=1.0, stage=0.1)


class LoadError(Exception):
    """A round broke off; the text says why."""


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round: a glance")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    chosen = parser.parse_args()
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="demarc-bench-"))  # short: it holds sockets
    try:
        with console.status("starting") as status:
            run = measure(folder, QUICK if chosen.quick else FULL, status.update)
    except (WorldError, LoadError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.show(run, console)
    if chosen.json is not None:
        chosen.json.write_text(run.render() + "\n", "utf-8")
    return 0


def measure(folder: Path, effort: Effort, tell: Callable[[str], None]) -> Run:
    """Both sides, then the stages.

    Raises:
        WorldError: something does not start.
        LoadError: a gateway does not answer as it must.
    """
    telemetry.set_up(log=folder / "bench.log")
    cores = Cores.choose()
    before = os.getloadavg()[0]
    with world.pinned(cores.load):
        cells, idle = asyncio.run(_sides(folder, cores, effort, tell))
    tell("stages of a decision")
    (folder / "stages").mkdir()
    with world.pinned(cores.proxy):
        costs = stages.measure(folder / "stages", seconds=effort.stage)
    pinned = {"proxy": cores.proxy, "load": cores.load}
    here = report.machine(settings.read().envoy, HERE.parent, cores=pinned, disk=folder)
    loads = (before, os.getloadavg()[0])
    return Run(here, cells, costs, idle, bodies.CHUNKS, loads)


async def _sides(
    folder: Path, cores: Cores, effort: Effort, tell: Callable[[str], None]
) -> tuple[tuple[Cell, ...], float]:
    async with world.running(folder, cores) as found:
        tell("nobody asks")
        idle = await _idle(found, effort.idle)
        cells = [
            await _cell(found, size, effort, tell, stream=stream, connections=connections)
            for size in bodies.SIZES
            for stream in (False, True)
            for connections in (1, size.connections)
        ]
        return tuple(cells), idle


async def _idle(found: World, seconds: float) -> float:
    """Which share of the core Demarc uses while nobody asks."""
    side, core = found.demarc, found.cores.proxy
    before = load.used(side.proxy, side.agent, core)
    await asyncio.sleep(seconds)
    after = load.used(side.proxy, side.agent, core)
    return (after.proxy + after.agent - before.proxy - before.agent) / seconds


async def _cell(
    found: World,
    size: Size,
    effort: Effort,
    tell: Callable[[str], None],
    *,
    stream: bool,
    connections: int,
) -> Cell:
    kind = "streamed" if stream else "plain"
    request = inputs.request(bodies.request(size, stream=stream))
    rounds: dict[str, list[Sample]] = {"bare": [], "demarc": []}
    for number in range(effort.rounds):
        tell(f"{size.name} {kind}, {connections} connection(s), round {number + 1}")
        sides = (found.bare, found.demarc)
        # each side goes first as often as the other
        for side in sides if number % 2 == 0 else reversed(sides):
            sample = await _round(found, side, request, connections, effort)
            rounds[side.name].append(sample)
    return Cell(size.name, kind, connections, tuple(rounds["bare"]), tuple(rounds["demarc"]))


async def _round(
    found: World, side: Side, request: bytes, connections: int, effort: Effort
) -> Sample:
    """One round, in a process of its own: this one serves the agent's API."""
    question = Question(
        address=side.address,
        port=side.port,
        authority=str(found.authority),
        request=request,
        connections=connections,
        warm_up=effort.warm_up,
        seconds=effort.seconds,
        proxy=side.proxy,
        agent=side.agent,
        core=found.cores.proxy,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "load.py"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, failed = await process.communicate(question.render().encode())
    if process.returncode:
        why = failed.decode().strip().rpartition("\n")[2]
        raise LoadError(f"{side.name}: {why}\n{found.programs.logs()}")
    return Sample(**json.loads(said))


if __name__ == "__main__":
    sys.exit(main())
