"""Which program holds the processes of a node? This one: it forks, waits, ends, outlives no one.

It runs alone (`python -I -S keeper.py MARKER`), with the standard library only and no thread, so
that a fork is small, quick and safe. Its standard input is a socket to the node; JSON lines go both
ways:

    {"start": ID, "argv": [...], "env": {...}, "cwd": PATH, "log": PATH | null, "main": BOOL}
        -> {"id": ID, "pid": N} or {"id": ID, "error": TEXT}, then {"id": ID, "exit": CODE}
    {"signal": N, "id": ID}

INVARIANT: when the node's process ends, however it ends, every process with the node's marker ends.
INVARIANT: the exit of a container's first process (`main`) is reported after all processes of that
container are gone, so its ports are free.

A process is found by its environment (`DEMARC_NODE`, `DEMARC_POD`, `DEMARC_CONTAINER`), not by its
ancestry: Triton's Python stubs leave their process group, and a killed parent leaves orphans. The
keeper is a child subreaper, so it can wait for them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER: Final = 36
_LOG_LIMIT_BYTES: Final = 16 * 1024 * 1024
_LOG_CHECK_SECONDS: Final = 5.0
_SWEEP_PAUSE_SECONDS: Final = 0.002
_SWEEP_LIMIT_SECONDS: Final = 10.0
_NOT_FOUND: Final = 127
_MARKS: Final = ("DEMARC_NODE", "DEMARC_POD", "DEMARC_CONTAINER")


def find(marks: tuple[bytes, ...]) -> Iterator[int]:
    """Processes whose environment holds every `NAME=value`; never the caller.

    A zombie has no environment any more and is not found; neither is another user's process.
    """
    own = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208  # pathlib doubles the start
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123  # as above
                environment = file.read().split(b"\0")
        except OSError:
            continue  # it ended meanwhile, or is not ours to read
        if all(mark in environment for mark in marks):
            yield int(name)


def sweep(marks: tuple[bytes, ...]) -> int:
    """Kill what `find` finds until nothing is left; the number of processes killed.

    The pass is repeated because a process can fork while the list is read.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + _SWEEP_LIMIT_SECONDS
    while found := set(find(marks)):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        if time.monotonic() > deadline:
            break  # uninterruptible in the kernel: it ends as soon as it returns from there
        time.sleep(_SWEEP_PAUSE_SECONDS)
    return len(killed)


@dataclass(frozen=True, slots=True)
class _Child:
    """A process that was started; `marks` find its whole container if it is the first of it."""

    id: int
    pid: int
    log: str | None
    marks: tuple[bytes, ...]


class _Keeper:
    def __init__(self, node: socket.socket, marker: str) -> None:
        self._node = node
        self._marker = marker
        self._children: dict[int, _Child] = {}  # by pid
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._pid = os.getpid()
        self._parent = os.getppid()

    def run(self) -> None:
        """Serve until the node is gone or says so, then end everything."""
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, _note)
        signal.signal(signal.SIGTERM, _note)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._node, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        parent = self._watch_parent(poll)
        pending = b""
        checked = time.monotonic()
        ending = False
        while not ending:
            ready = dict(poll.poll(_LOG_CHECK_SECONDS * 1000))
            if wake_read in ready:
                ending = signal.SIGTERM in os.read(wake_read, 4096)
                self._reap()
            if parent in ready:
                ending = True
            if self._node.fileno() in ready:
                received = self._receive()
                ending = ending or not received
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            if time.monotonic() - checked >= _LOG_CHECK_SECONDS:
                checked = time.monotonic()
                self._bound_logs()
        sweep((f"DEMARC_NODE={self._marker}".encode(),))

    def _watch_parent(self, poll: select.poll) -> int:
        """A descriptor that becomes readable when the node's process ends; -1 without pidfd."""
        try:
            parent = os.pidfd_open(self._parent)
        except OSError:
            return (
                -1
            )  # an old kernel: the end of the socket says the same, unless a copy of it lives on
        poll.register(parent, select.POLLIN)
        return parent

    def _receive(self) -> bytes:
        try:
            return self._node.recv(1 << 16)
        except OSError:
            return b""

    def _send(self, message: dict[str, Any]) -> None:
        # a node that is gone is seen at the next read
        with contextlib.suppress(OSError):
            self._node.sendall(json.dumps(message).encode() + b"\n")

    def _obey(self, message: dict[str, Any]) -> None:
        if "start" in message:
            self._start(message)
            return
        child = next((c for c in self._children.values() if c.id == message["id"]), None)
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, message["signal"])

    def _start(self, message: dict[str, Any]) -> None:
        environment: dict[str, str] = message["env"]
        log: str | None = message["log"]
        failed_read, failed_write = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()  # noqa: TID251  # the node's one forking program; it has a single thread
        if pid == 0:
            self._become(message["argv"], environment, message["cwd"], log, failed_write)
        os.close(failed_write)
        error = os.read(failed_read, 4096)  # returns at exec, which closes the other end
        os.close(failed_read)
        if error:
            os.waitpid(pid, 0)
            self._send({"id": message["start"], "error": error.decode()})
            return
        marks: tuple[bytes, ...] = ()
        if message["main"]:
            marks = tuple(f"{name}={environment[name]}".encode() for name in _MARKS)
        self._children[pid] = _Child(message["start"], pid, log, marks)
        self._send({"id": message["start"], "pid": pid})

    def _become(
        self, argv: list[str], environment: dict[str, str], cwd: str, log: str | None, failed: int
    ) -> None:
        """In the child: become the program, or say why not. Never returns."""
        try:
            os.setsid()
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._pid:
                os._exit(_NOT_FOUND)  # the keeper ended before the line above
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            out = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(cwd)
            os.execvpe(argv[0], argv, environment)  # noqa: S606  # no shell is wanted
        except OSError as error:
            text = f"cannot start `{argv[0]}`: {os.strerror(error.errno or 0)}"
            os.write(failed, text.encode())
        finally:
            os._exit(_NOT_FOUND)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is None:
                continue  # an orphan of a container
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            if child.marks:
                sweep(child.marks)
            code = os.waitstatus_to_exitcode(status)
            self._send({"id": child.id, "exit": code if code >= 0 else 128 - code})

    def _bound_logs(self) -> None:
        """Move a long log aside. It is open for appending, so its writers go on at the new end."""
        for path in {child.log for child in self._children.values() if child.log}:
            with contextlib.suppress(OSError), open(path, "r+b") as file:  # noqa: PTH123
                size = os.fstat(file.fileno()).st_size
                if size < _LOG_LIMIT_BYTES:
                    continue
                with open(path + ".1", "wb") as older:  # noqa: PTH123
                    os.sendfile(older.fileno(), file.fileno(), 0, size)
                os.ftruncate(file.fileno(), 0)


def _note(_number: int, _frame: object) -> None:
    """Do nothing: the wakeup descriptor carries the signal's number."""


def main() -> None:
    """Serve the socket on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    node = socket.socket(fileno=os.dup(0))
    _Keeper(node, sys.argv[1]).run()


if __name__ == "__main__":
    main()
