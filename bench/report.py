"""How is a run told? Tables for people, JSON for whoever compares runs."""

from __future__ import annotations

import json
import os
import platform
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import figures
from figures import Sample
from rich.console import Console
from rich.table import Table
from stages import WITHIN, Stages

SCHEMA = "demarc.dev/bench/v1"
_STAGES: Mapping[str, str] = {
    "receive": "HTTP of Envoy's question",
    "authenticate": "API key against the epoch",
    "parse": "strict JSON, fields, messages",
    "detect": "every text, every pack",
    "permit": "E0 to E4",
    "choose": "health, then order",
    "seal": "HMAC-SHA-256 of the body",
    "answer": "headers for Envoy",
    "rest": "ids, record, log, metrics, cold caches",
    "whole": "question to answer, disk apart",
    "encode": "record and frame, writer's thread",
    "grant": "SHA-256 and Ed25519, Public only",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One shape of request and one number of connections, on both sides.

    Attributes:
        size, kind: `1 KB` or `220 KB`, `plain` or `streamed`.
        connections: at once.
        bare, demarc: every round.
    """

    size: str
    kind: str
    connections: int
    bare: tuple[Sample, ...]
    demarc: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that one run has found.

    Attributes:
        machine: where and with what.
        idle: share of its core that Demarc uses while nobody asks, 0 to 1.
        chunks: of a streamed answer.
        loads: the machine's load average before and after.
    """

    machine: Mapping[str, Any]
    cells: tuple[Cell, ...]
    stages: Stages
    idle: float
    chunks: int
    loads: tuple[float, float]

    def render(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "machine": self.machine,
                "loadAverage": {"before": self.loads[0], "after": self.loads[1]},
                "idleShare": round(self.idle, 4),
                "chunks": self.chunks,
                "cells": [_cell(cell) for cell in self.cells],
                "stagesMicroseconds": {
                    size: {name: round(value, 2) for name, value in costs.items()}
                    for size, costs in self.stages.costs.items()
                },
                "durableMicroseconds": {
                    count: round(value, 2) for count, value in self.stages.durable.items()
                },
            },
            indent=1,
        )


def machine(envoy: Path, root: Path, *, cores: Mapping[str, int], disk: Path) -> dict[str, Any]:
    """What a figure depends on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "pinned": dict(cores),
        "kernel": platform.release(),
        "filesystem": _filesystem(disk),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "envoy": _envoy_version(_said(str(envoy), "--version")),
        "demarc": metadata.version("demarc"),
        "commit": _said("git", "-C", str(root), "rev-parse", "--short=12", "HEAD"),
        "changed": bool(_said("git", "-C", str(root), "status", "--porcelain", "-uno")),
    }


def show(run: Run, console: Console) -> None:
    """The tables and what must be known to read them."""
    console.print(_sides(run))
    console.print(_of_stages(run.stages))
    for line in _notes(run):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _sides(run: Run) -> Table:
    table = Table(title="Demarc's inner gateway beside bare Envoy, one core", title_justify="left")
    for name in ("request", "figure"):
        table.add_column(name)
    for name in ("bare", "demarc", "ratio"):
        table.add_column(name, justify="right")
    one = {(cell.size, cell.kind): cell for cell in run.cells if cell.connections == 1}
    many = {(cell.size, cell.kind): cell for cell in run.cells if cell.connections != 1}
    for key, single in one.items():
        name = " ".join(key)
        for figure, field, cell in _rows(key[1], single, many.get(key)):
            bare, demarc = (_figure(rounds, field) for rounds in (cell.bare, cell.demarc))
            ratio = _ratio(figures.ratio(demarc, bare))
            table.add_row(name, figure, _number(bare, field), _number(demarc, field), ratio)
            name = ""
        table.add_section()
    return table


def _figure(rounds: tuple[Sample, ...], field: str) -> float | None:
    found = figures.median(rounds)
    if field == "capacity":
        return figures.capacity(found.cpu)
    value: float | None = getattr(found, field)
    return value


def _rows(kind: str, one: Cell, many: Cell | None) -> Iterable[tuple[str, str, Cell]]:
    """What is told of one shape of request."""
    if many is not None:
        yield f"requests/s, {many.connections} connections", "per_second", many
        yield "requests/s of a free core", "capacity", many
    if kind == "streamed":
        yield "first byte p50, ms", "first", one
    yield "p50, ms", "p50", one
    yield "p99, ms", "p99", one
    if many is not None:
        yield "CPU a request, µs", "cpu", many
        yield "  of it the agent, µs", "agent", many


def _of_stages(stages: Stages) -> Table:
    sizes = tuple(stages.costs)
    table = Table(title="One decision, µs of processor time", title_justify="left")
    table.add_column("stage")
    for size in sizes:
        table.add_column(size, justify="right")
    table.add_column("what")
    for name, what in _STAGES.items():
        if name == "encode":
            table.add_section()
        shown = f"= {name}" if name == "whole" else f"  {name}" if name in WITHIN else name
        values = [_cost(stages.costs[size][name]) for size in sizes]
        table.add_row(shown, *values, what)
    for count, value in stages.durable.items():
        table.add_row(
            "durable", *[f"{value:,.1f}"] * len(sizes), f"wall time a record, {count} at once"
        )
    return table


def _notes(run: Run) -> Iterable[str]:
    here = run.machine
    first = run.cells[0]
    others = [
        item.others
        for cell in run.cells
        for item in (*cell.bare, *cell.demarc)
        if item.others is not None
    ]
    errors = sum(item.errors for cell in run.cells for item in (*cell.bare, *cell.demarc))
    yield (
        f"{here['processor']}, {here['cores']} cores, kernel {here['kernel']}, "
        f"{here['filesystem']}; Envoy {here['envoy']}, Python {here['python']}, "
        f"demarc {here['demarc']} at {here['commit']}{' with changes' if here['changed'] else ''}."
    )
    yield (
        f"Medians of {len(first.bare)} round(s), bare and Demarc in turn. Proxy and agent on core "
        f"{here['pinned']['proxy']}, load and upstream on core {here['pinned']['load']}. Latency "
        "with one connection, TLS on both sides of the proxy, closed loop; an answer streams in "
        f"{run.chunks} chunks."
    )
    yield (
        "Demarc has everything on: strict parse, all packs, permit, choose, durable record, access "
        "log, ledger. Bare has a router and no log. Bare's rate may be that of the load, which "
        "shares its core with the upstream; a free core is one second over the CPU of a request."
    )
    yield (
        f"Others used {figures.percentile(others, 0.5) or 0:.0%} of the proxy's core in the median "
        f"round and up to {max(others, default=0):.0%}; load average {run.loads[0]:.1f} before and "
        f"{run.loads[1]:.1f} after. Demarc uses {run.idle:.1%} of its core when nobody asks."
    )
    if errors:
        yield f"{errors} answers had another status than 200: the figures mean little."


def _cell(cell: Cell) -> dict[str, Any]:
    bare, demarc_ = figures.median(cell.bare), figures.median(cell.demarc)
    return {
        "size": cell.size,
        "kind": cell.kind,
        "connections": cell.connections,
        "bare": {"median": bare.render(), "rounds": [item.render() for item in cell.bare]},
        "demarc": {"median": demarc_.render(), "rounds": [item.render() for item in cell.demarc]},
        "ratio": figures.ratios(demarc_, bare),
    }


def _number(value: float | None, field: str) -> str:
    if value is None or (field == "agent" and value == 0):
        return "-"
    if field in {"p50", "p99", "first"}:
        return f"{value / 1000:,.2f}"
    return f"{value:,.0f}"


def _cost(value: float) -> str:
    """A difference of two times may come out below zero: then it is lost in their noise."""
    return f"{value:,.1f}" if value > 0 else "-"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _said(*command: str) -> str:
    try:
        found = subprocess.run(  # our own programs
            command, check=True, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def _envoy_version(said: str) -> str:
    """`1.40.0` from `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`."""
    parts = said.rpartition("version:")[2].strip().split("/")
    return parts[1] if len(parts) > 1 else said


def _filesystem(path: Path) -> str:
    """Type of the file system that holds the records."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, where, kind = line.split()[:3]
        if path.resolve().is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind)
    return best[1]
