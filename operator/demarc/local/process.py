"""How does a node start a process and learn of its end? Through one keeper.

This is the only module that starts processes; what it starts is `keeper.py`, which forks the rest.
RULES
- A process gets the environment that it is given and nothing from ours.
- An exit is known after the whole container is gone; codes are those of Kubernetes: 128 + signal.
- When the keeper itself ends, everything it held has ended too: each process reports 137, and the
  next start brings a new keeper.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demarc.local import keeper

_KILLED: Final = 128 + signal.SIGKILL


class StartError(Exception):
    """A program could not be started; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program as it is started.

    Attributes:
        argv: the program, found on the PATH of `environment`, and its arguments.
        environment: all of it.
        folder: its working folder; must exist.
        log: file that its output is appended to; without one the output is dropped.
        main: whether the whole container ends with it; false for probes and hooks. A main
            program's environment holds `DEMARC_POD` and `DEMARC_CONTAINER`.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path | None = None
    main: bool = True


class Process:
    """A started program."""

    def __init__(self, owner: _Keeper, number: int, pid: int, exited: asyncio.Future[int]) -> None:
        self._owner = owner
        self._number = number
        self._exited = exited
        self.pid = pid

    def signal(self, number: int) -> None:
        """Send a signal to the first process of the container, as the kubelet does."""
        if not self._exited.done():
            self._owner.send({"signal": number, "id": self._number})

    async def wait(self) -> int:
        """The exit code, once all processes of the container are gone."""
        return await asyncio.shield(self._exited)


class Processes:
    """The processes of one node.

    Args:
        marker: names the node; stands in the environment of each process as `DEMARC_NODE`.
        log: file for what the keeper itself has to say.
    """

    def __init__(self, *, marker: str, log: Path) -> None:
        self._marker = marker
        self._log = log
        self._keeper: _Keeper | None = None
        self._opening = asyncio.Lock()
        self._number = 0

    async def start(self, command: Command) -> Process:
        """Start a program.

        Raises:
            StartError: there is no such program or folder, or it may not be executed.
        """
        async with self._opening:
            if self._keeper is None or self._keeper.lost:
                try:
                    self._keeper = await _Keeper.open(self._marker, self._log)
                except OSError as error:
                    raise StartError(f"cannot start a keeper: {error.strerror}") from error
            keeper_now = self._keeper
        self._number += 1
        return await keeper_now.start(self._number, command, self._marker)

    async def close(self) -> None:
        """Kill what still runs and wait until it is gone."""
        if self._keeper is not None:
            await self._keeper.close()
            self._keeper = None


def end_leftovers(marker: str) -> int:
    """Kill the processes that an earlier, crashed node left; their number.

    Only processes whose environment names the marker are touched.
    """
    return keeper.sweep((f"DEMARC_NODE={marker}".encode(),))


class _Keeper(asyncio.Protocol):
    """Our end of the conversation with one keeper."""

    def __init__(self, marker: str, program: subprocess.Popen[bytes]) -> None:
        self.lost = False
        self._marker = marker
        self._program = program
        self._transport: asyncio.Transport | None = None
        self._pending = b""
        self._starting: dict[int, asyncio.Future[int]] = {}
        self._running: dict[int, asyncio.Future[int]] = {}
        self._gone = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, marker: str, log: Path) -> _Keeper:
        ours, theirs = socket.socketpair()
        with theirs, log.open("ab") as errors:
            program = subprocess.Popen(  # noqa: ASYNC220  # it returns once the program is there
                (sys.executable, "-I", "-S", keeper.__file__, marker),
                stdin=theirs.fileno(),
                stdout=errors,
                stderr=errors,
                env={"DEMARC_NODE": marker},
                start_new_session=True,  # a Ctrl-C of the terminal is for the node to deal with
            )
        ours.setblocking(False)
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: cls(marker, program), sock=ours
        )
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._receive(json.loads(line))

    def _receive(self, message: Mapping[str, Any]) -> None:
        number: int = message["id"]
        if "exit" in message:
            _settle(self._running.pop(number), message["exit"])
            return
        started = self._starting.pop(number)
        if "pid" in message:
            _settle(started, message["pid"])
            return
        self._running.pop(number).cancel()
        if not started.done():
            started.set_exception(StartError(message["error"]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio names it
        self.lost = True
        end_leftovers(self._marker)
        for started in self._starting.values():
            if not started.done():
                started.set_exception(StartError("the keeper of the node's processes has ended"))
        for running in self._running.values():
            _settle(running, _KILLED)
        self._starting.clear()
        self._running.clear()
        self._program.wait()
        _settle(self._gone, None)

    def send(self, message: Mapping[str, Any]) -> None:
        assert self._transport is not None
        if not self.lost:
            self._transport.write(json.dumps(message).encode() + b"\n")

    async def start(self, number: int, command: Command, marker: str) -> Process:
        loop = asyncio.get_running_loop()
        started: asyncio.Future[int] = loop.create_future()
        exited: asyncio.Future[int] = loop.create_future()
        self._starting[number] = started
        self._running[number] = exited
        self.send(
            {
                "start": number,
                "argv": command.argv,
                "env": {**command.environment, "DEMARC_NODE": marker},
                "cwd": str(command.folder),
                "log": None if command.log is None else str(command.log),
                "main": command.main,
            }
        )
        try:
            return Process(self, number, await started, exited)
        except asyncio.CancelledError:
            self.send(
                {"signal": signal.SIGKILL, "id": number}
            )  # it obeys in order: start, then this
            raise

    async def close(self) -> None:
        assert self._transport is not None
        if not self.lost:
            self._transport.write_eof()
        await self._gone


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def start_detached(argv: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that outlives this one; its output goes to a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
