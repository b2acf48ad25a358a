"""What does a running `demarc up` say of itself? `run.json`, for programs and for the CLI."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NAME = "run.json"
_ENDED = frozenset("ZXx")
"""States of a process that has ended."""
_START_FIELD = 22 - 3
"""Field 22 of `stat`; the first one behind the name is field 3."""


@dataclass(frozen=True, slots=True)
class AppEntry:
    """An app and how to call as it.

    Attributes:
        credentials: file (mode 0600) that holds the bearer credential of `client`, nothing else.
    """

    tenant: str
    app: str
    client: str
    credentials: str


@dataclass(frozen=True, slots=True)
class SiteEntry:
    """A site; `recording` is the file with what its public side received, empty when Private."""

    name: str
    scope: str
    state: str
    recording: str


@dataclass(frozen=True, slots=True)
class ContainerEntry:
    """One process of a pod."""

    name: str
    pid: int
    ready: bool
    restarts: int
    log: str


@dataclass(frozen=True, slots=True)
class PodEntry:
    """One pod; `pids` are the processes that run now."""

    site: str
    namespace: str
    name: str
    role: str
    address: str
    ready: bool
    pids: tuple[int, ...]
    logs: tuple[str, ...]
    containers: tuple[ContainerEntry, ...]


@dataclass(frozen=True, slots=True)
class RunFile:
    """Everything that a program needs to use and to examine a running `demarc up`.

    Attributes:
        pid: of the process that runs it.
        gateway: base URL of the OpenAI API, with `/v1`.
        ca: PEM file that verifies the gateway.
        kubeconfig: for the reading half of the home cluster's API.
        record: folder of the inner gateway's decision records.
        ledger: SQLite file with usage and cost.
        epoch: number of the epoch in force, as TERM.COUNTER.
    """

    pid: int
    folder: str
    state: str
    ready: bool
    gateway: str
    ca: str
    kubeconfig: str
    record: str
    ledger: str
    epoch: str
    apps: tuple[AppEntry, ...] = ()
    sites: tuple[SiteEntry, ...] = ()
    pods: tuple[PodEntry, ...] = ()
    not_enforced: Mapping[str, str] = field(default_factory=dict[str, str])


def write(state: Path, run: RunFile) -> None:
    """Write `run.json` beside its place and rename it: a reader sees the old or the new one.

    `started` stands beside `pid`: a process id alone is given again, to anybody.
    """
    content = {**asdict(run), "started": started(run.pid)}
    replace(state / NAME, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def replace(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file whole, with a mode, by rename."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
    temporary.replace(path)


def read(state: Path) -> Mapping[str, Any] | None:
    """`run.json` as JSON values, if the process that wrote it still runs; else None."""
    try:
        content: Mapping[str, Any] = json.loads((state / NAME).read_text("utf-8"))
        begun = started(int(content["pid"]))
        return content if begun and begun == content["started"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def started(pid: int) -> int:
    """When a process began, in clock ticks since the machine did; 0 when it does not run.

    What has ended and was not waited for does not run. Source: proc_pid_stat(5).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in _ENDED else int(fields[_START_FIELD])
