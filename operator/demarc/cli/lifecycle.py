"""How does Demarc start and stop on one machine? `up` and `down`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from demarc import settings, telemetry
from demarc.app import preflight, run_file
from demarc.app.folder import FolderError
from demarc.app.run_file import RunFile
from demarc.app.up import ProblemsError, Say, Up, UpError, UpOptions
from demarc.cli import output
from demarc.local import process, rehearsal
from demarc.local.state import StateError

_SHOWN = 3
"""How many of the things that are waited for are named."""
_DEFAULT_STATE = settings.read().state
state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=_DEFAULT_STATE,
    show_default=True,
    help="Folder with everything that `demarc up` keeps.",
)


@click.command(
    epilog="Examples:\n\n  demarc up examples/bank\n\n  demarc up bank --detach --port 9443"
    " --volume models=/srv/models"
)
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@state_option
@click.option("--detach", is_flag=True, help="Return when everything is ready; end with `down`.")
@click.option("--port", default=8443, show_default=True, help="Port of the gateway for clients.")
@click.option(
    "--volume",
    "volumes",
    multiple=True,
    metavar="NAME=DIR",
    help="Folder of a PersistentVolumeClaim; DIR/volumes/NAME is taken without it.",
)
@click.option(
    "--substitute",
    "substitutes",
    multiple=True,
    metavar="WORKLOAD/CONTAINER=COMMAND",
    help="Run another program in a container's place: for tests with doubles.",
)
@click.option("--timeout", default=180, show_default=True, help="Seconds until it must be ready.")
def up(
    path: Path,
    state: Path,
    detach: bool,  # noqa: FBT001  # click passes it by its name
    port: int,
    volumes: tuple[str, ...],
    substitutes: tuple[str, ...],
    timeout: int,
) -> None:
    """Run what a folder of YAML says on this machine, behind one HTTPS endpoint."""
    configuration = settings.read()
    problem = preflight.check(configuration, port)
    if problem:
        output.fail(problem, status=output.BAD_INPUT)
    if (running := run_file.read(state)) is not None:
        output.fail(
            f"`{state}` belongs to a running `demarc up` (process {running['pid']}): "
            "end it with `demarc down`, or name another folder with --state",
            status=output.BAD_INPUT,
        )
    options = UpOptions(
        path=path,
        state=state,
        settings=configuration,
        port=port,
        volumes=_volumes(volumes),
        substitutes={
            _container(name): tuple(shlex.split(command))
            for name, command in _pairs(substitutes, "--substitute")
        },
    )
    try:
        state.mkdir(parents=True, exist_ok=True)
        telemetry.set_up(log=state / "operator.log")
    except OSError as error:
        output.fail(
            f"state folder `{state}` cannot be used: {error.strerror}: name another with --state",
            status=output.BAD_INPUT,
        )
    if detach:
        _detach(state, timeout)
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_foreground(options, timeout))


async def _foreground(options: UpOptions, patience: int) -> None:
    task = asyncio.ensure_future(_run(options, patience))  # signals cancel it
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        click.echo("stopped")
    except ProblemsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        count = len(error.problems)
        output.fail(
            f"{count} problem{'s' if count > 1 else ''} in {options.path}",
            status=output.BAD_INPUT,
        )
    except FolderError as error:
        output.fail(str(error), status=output.BAD_INPUT)
    except (UpError, StateError, rehearsal.RehearsalError, OSError) as error:
        output.fail(str(error))
    except BaseExceptionGroup as group:
        expected, unexpected = group.split((UpError, StateError, OSError))
        if unexpected is not None or expected is None:
            raise
        output.fail(_first_line(expected))


async def _run(options: UpOptions, patience: int) -> None:
    started = time.monotonic()
    watchdog = asyncio.get_running_loop().call_later(patience, _late, patience)

    def ready(run: RunFile) -> None:
        watchdog.cancel()
        seconds = time.monotonic() - started
        click.echo(f"ready after {seconds:.1f} s")
        _greet(run)

    def line(text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk ends no run
            click.echo(text)
            sys.stdout.flush()

    def waiting(missing: Sequence[str]) -> None:
        if missing:
            more = len(missing) - _SHOWN
            tail = f" and {more} more" if more > 0 else ""
            line(f"waiting for {', '.join(missing[:_SHOWN])}{tail}")

    await Up(options, Say(line, waiting)).run(ready)


def _late(timeout: int) -> None:
    click.echo(
        f"demarc: not ready after {timeout} s: `demarc get` shows what is missing; "
        "it goes on trying",
        err=True,
    )


def _greet(run: RunFile) -> None:
    click.echo(f"gateway  {run.gateway}")
    click.echo(f"ca       {run.ca}")
    for entry in run.apps:
        click.echo(f"app      {entry.tenant}/{entry.app}  credentials {entry.credentials}")
    click.echo(
        "not enforced on one machine: " + ", ".join(sorted(run.not_enforced))
        if run.not_enforced
        else ""
    )
    if run.apps:
        click.echo(
            f'try: curl --cacert {run.ca} -H "Authorization: Bearer $(cat '
            f'{run.apps[0].credentials})" {run.gateway}/models'
        )


def _detach(state: Path, timeout: int) -> None:
    log = state / "up.log"
    log.write_bytes(b"")
    words = [word for word in sys.argv[1:] if word != "--detach"]
    child = process.start_detached([sys.executable, "-m", "demarc", *words], log=log)
    deadline = time.monotonic() + timeout
    shown = 0
    while time.monotonic() < deadline:
        text = log.read_text("utf-8", "replace")
        if len(text) > shown:
            click.echo(text[shown:], nl=False)
            shown = len(text)
        if child.poll() is not None:
            raise SystemExit(child.returncode or output.FAILED)
        run = run_file.read(state)
        if run is not None and run["pid"] == child.pid and run["ready"]:
            time.sleep(0.1)
            click.echo(log.read_text("utf-8", "replace")[shown:], nl=False)
            click.echo(f"runs in the background as process {child.pid}: end it with `demarc down`")
            return
        time.sleep(0.1)
    output.fail(f"not ready after {timeout} s: see {log}; it goes on trying")


@click.command(epilog="Example:\n\n  demarc down")
@state_option
@click.option("--timeout", default=90, show_default=True, help="Seconds until it is killed.")
def down(state: Path, timeout: int) -> None:
    """End what `demarc up` started; nothing is left running."""
    run = run_file.read(state)
    if run is None:
        click.echo(f"nothing runs in `{state}`")
        return
    pid = int(run["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not run_file.started(pid):
            click.echo("stopped")
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    output.fail(f"process {pid} did not end in {timeout} s and was killed")


def _pairs(values: Sequence[str], option: str) -> list[tuple[str, str]]:
    found = list[tuple[str, str]]()
    for value in values:
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            output.fail(f"{option} takes NAME=VALUE, not `{value}`", status=output.BAD_INPUT)
        found.append((name, rest))
    return found


def _volumes(values: Sequence[str]) -> dict[str, Path]:
    found = {name: Path(text) for name, text in _pairs(values, "--volume")}
    for name, path in found.items():
        if not path.is_dir():
            output.fail(f"--volume {name}: `{path}` is no folder", status=output.BAD_INPUT)
    return found


def _container(name: str) -> tuple[str, str]:
    workload, slash, container = name.partition("/")
    if not (workload and slash and container):
        output.fail(
            f"--substitute takes WORKLOAD/CONTAINER=COMMAND, not `{name}=...`",
            status=output.BAD_INPUT,
        )
    return workload, container


def _first_line(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
