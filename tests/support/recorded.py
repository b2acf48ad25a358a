"""How do tests make records, and disks that fail? Whole values, and a disk in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from demarc.audit import record, segments
from demarc.audit.chain import Head
from demarc.audit.record import Decision, Note

AT = "2026-12-01T12:00:00.000000Z"


def decision(decision_id: str = "0" * 32, **changes: Any) -> Decision:
    """An allow of the sample's branch-faq."""
    found = Decision(
        attempt=1,
        body=record.Body(bytes=120, mac="a" * 64, mac_key="k"),
        caller=record.Caller(
            app="branch-faq",
            client="faq-key",
            credential="secret:retail/faq-key/token",
            tenant="retail",
        ),
        chosen=record.Chosen(
            endpoint="models/glm-4-flash@cloud-sg",
            price=record.Price(currency="USD", input="0.10", output="0.10"),
            scope="Public",
            site="cloud-sg",
        ),
        epoch=record.Epoch(hash="e" * 64, number="1.1"),
        granted=None,
        health={"models/glm-4-air@shanghai-dc": True, "models/glm-4-flash@cloud-sg": True},
        id=decision_id,
        label=record.Label(
            categories=("PI",),
            level=2,
            origins=("CN",),
            provenance=(
                record.Operand(categories=("PI",), count=2, level=2, source="detector a/b"),
            ),
        ),
        model="auto",
        needs=record.Needs(capabilities=("Chat",), max_tokens=None, prompt_tokens=40, stream=False),
        outcome="Allow",
        public="",
        reason="",
        removed=(record.Removed(by="DataResidency/cn-bank", endpoint="a/b@c", layer="E2"),),
        role="inner",
        status=200,
    )
    return msgspec.structs.replace(found, **changes)


def log_of(*groups: int) -> tuple[tuple[str, bytes], ...]:
    """A whole log: one segment for each number, with that many decisions."""
    head, found, serial = Head(), [], 0
    for number, count in enumerate(groups, 1):
        parts = []
        entries: list[Decision | Note] = [Note(gap=None, number=number, type="Segment")]
        for _ in range(count):
            serial += 1
            entries.append(decision(f"{serial:032x}"))
        for entry in entries:
            payload = record.encode(
                entry, at=AT, gateway="demarc-inner-0", prev=head.hash, seq=head.seq + 1
            )
            head = head.after(payload)
            parts.append(segments.frame(payload))
        found.append((segments.name(number), b"".join(parts)))
    return tuple(found)


Fault = Callable[[str], None]
"""Called before each operation with its name; it raises what the operation should raise."""


@dataclass
class MemoryDisk:
    """A folder in memory that can fail at every call, and forgets what was not synced.

    Attributes:
        fault: called before each call that touches the disk.
        torn: of a write that fails, how many bytes reach the file.
    """

    files: dict[str, bytearray] = field(default_factory=dict)
    synced: dict[str, int] = field(default_factory=dict)
    fault: Fault = lambda _: None
    torn: int = 0

    def names(self) -> tuple[str, ...]:
        self.fault("names")
        return tuple(sorted(self.files))

    def read(self, name: str) -> bytes:
        self.fault("read")
        return bytes(self.files[name])

    def append_to(self, name: str) -> MemoryFile:
        self.fault("open")
        self.files.setdefault(name, bytearray())
        return MemoryFile(self, name)

    def remove(self, name: str) -> None:
        self.fault("remove")
        del self.files[name]
        self.synced.pop(name, None)

    def crash(self, keep: int) -> MemoryDisk:
        """What a new process finds: of the bytes that were not synced only the first `keep`."""
        left = {
            name: bytearray(data[: self.synced.get(name, 0) + keep])
            for name, data in self.files.items()
        }
        return MemoryDisk(left, {name: len(data) for name, data in left.items()})

    def log(self) -> tuple[tuple[str, bytes], ...]:
        """The segments, for verification."""
        return tuple((name, bytes(data)) for name, data in sorted(self.files.items()))


@dataclass
class MemoryFile:
    """One open file of a MemoryDisk."""

    disk: MemoryDisk
    name: str

    def write(self, data: bytes) -> None:
        try:
            self.disk.fault("write")
        except OSError:
            self.disk.files[self.name] += data[: self.disk.torn]
            raise
        self.disk.files[self.name] += data

    def sync(self) -> None:
        self.disk.fault("sync")
        self.disk.synced[self.name] = len(self.disk.files[self.name])

    def truncate(self, size: int) -> None:
        self.disk.fault("truncate")
        del self.disk.files[self.name][size:]

    def close(self) -> None:
        self.disk.fault("close")


@dataclass
class Failing:
    """A fault that is on for chosen operations, or strikes once at the n-th call."""

    operations: frozenset[str] = frozenset()
    code: int = errno.ENOSPC
    at: int = 0
    calls: int = 0

    def __call__(self, operation: str) -> None:
        self.calls += 1
        if operation in self.operations or self.calls == self.at:
            raise OSError(self.code, f"injected at {operation}")
