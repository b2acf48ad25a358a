"""What is running? One `demarc up`, started, asked and stopped as a user does, by its commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from story.stage import StoryError

DEMARC = str(Path(sys.executable).parent / "demarc")
PRIVATE, PUBLIC = "shanghai-dc", "cloud-sg"
"""Sites of examples/bank."""

_COMMAND_SECONDS = 60
_STOP_SECONDS = 90
_KILL_PAUSE_SECONDS = 0.1
_KILL_SECONDS = 10


class Bank:
    """One `demarc up` of a folder, with a state folder of its own."""

    def __init__(self, folder: Path, state: Path, words: Sequence[str] = ()) -> None:
        """Nothing is started yet.

        Args:
            folder: of YAML.
            state: for everything that it keeps; may be absent.
            words: more words for `demarc up`.
        """
        self.state = state
        self.command = (DEMARC, "up", str(folder), "--state", str(state), *words)
        self.log = state.with_name(f"{state.name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready yet. In a session of its own: Ctrl-C is for us to deal with."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_ready(self) -> bool:
        """Whether everything runs.

        Raises:
            StoryError: it has ended.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            lines = self.log.read_text("utf-8", "replace").strip().splitlines() or ["no output"]
            hint = "; is another one running? `make down` ends it" if "in use" in lines[-1] else ""
            raise StoryError(
                f"`demarc up` ended with status {self._process.returncode}: {lines[-1]}{hint}"
            )
        return bool(self.run and self.run["ready"])

    @property
    def run(self) -> Mapping[str, Any]:
        """run.json; empty while there is none."""
        try:
            found: Mapping[str, Any] = json.loads((self.state / "run.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    @property
    def recording(self) -> Path:
        """What the public site received, in a file."""
        return next(Path(site["recording"]) for site in self.run["sites"] if site["recording"])

    def recorded(self) -> bytes:
        """What the public site has received so far."""
        return self.recording.read_bytes() if self.recording.exists() else b""

    def demarc(self, *words: str) -> str:
        """What a command prints.

        Raises:
            StoryError: it failed.
        """
        done = self._run(words)
        if done.returncode:
            raise StoryError(f"`demarc {words[0]}` failed: {done.stderr.strip()}")
        return done.stdout

    def try_demarc(self, *words: str) -> str:
        """What a command prints; nothing when it failed, as while the API does not answer yet."""
        done = self._run(words)
        return "" if done.returncode else done.stdout

    def stop(self) -> float:
        """End it with `demarc down`; the seconds that it took, 0 when nothing ran.

        Raises:
            StoryError: it had to be killed, or something of it still runs.
        """
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return 0
        began = time.monotonic()
        pids = [pid for pod in self.run.get("pods", ()) for pid in pod["pids"]]
        done = self._run(("down", "--timeout", str(_STOP_SECONDS)), patience=_STOP_SECONDS + 30)
        if process.poll() is None:
            process.terminate()  # it had not got as far as run.json
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise StoryError(f"`demarc up` did not end in {_STOP_SECONDS} s: killed") from None
        if done.returncode:
            raise StoryError(f"`demarc down` failed: {done.stderr.strip()}")
        if left := [pid for pid in pids if _container(pid)]:
            raise StoryError(f"`demarc down` left processes running: {left}")
        return time.monotonic() - began

    @contextlib.contextmanager
    def killing(self, chosen: Callable[[Mapping[str, Any]], bool]) -> Iterator[list[str]]:
        """SIGKILL every process of the chosen pods for as long as the block lasts.

        They are started again each time, and killed again. The list grows by what was killed.
        """
        killed: list[str] = []
        once, enough = threading.Event(), threading.Event()

        def kill() -> None:
            while not enough.is_set():
                for pod in filter(chosen, self.run["pods"]):
                    killed.extend(_kill(pod))
                once.set()
                enough.wait(_KILL_PAUSE_SECONDS)

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        try:
            if not once.wait(_KILL_SECONDS) or not killed:
                raise StoryError("there was nothing to kill")
            yield killed
        finally:
            enough.set()
            thread.join()

    def _run(
        self, words: Sequence[str], patience: float = _COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [DEMARC, *words, "--state", str(self.state)],
                capture_output=True,
                text=True,
                timeout=patience,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise StoryError(f"`demarc {words[0]}` did not end in {patience:g} s") from None


def _kill(pod: Mapping[str, Any]) -> list[str]:
    """Kill the processes of a pod, after a look that the number is still theirs."""
    killed = list[str]()
    for container in pod["containers"]:
        pid = container["pid"]
        if pid and container["name"] == _container(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(f"{pod['role']}/{container['name']}")
    return killed


def _container(pid: int) -> str:
    """The container that a process belongs to; empty when it is none of ours, or gone."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    mark = b"DEMARC_CONTAINER="
    return next((e[len(mark) :].decode() for e in environment if e.startswith(mark)), "")
