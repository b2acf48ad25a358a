"""Which requests have finished? Envoy's log, read line by line, booked once, bounded in size.

Rules:
    Only whole lines are read. How far is stored with what was booked, in one commit.
    The log is replaced when it is large: renamed, Envoy opens a new one, the old one is read to its
    end and removed. Lines between the rename and the reopening are in the old one.
    A file that is shorter than what was read of it was cut: it is read from its beginning, and
    what was booked already is not booked again.
    What cannot be booked now stays in the file and is read again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from demarc.engines.envoy import EnvoyError
from demarc.gateway import booking
from demarc.gateway.booking import Verdict
from demarc.gateway.counting import Metrics
from demarc.gateway.facts import Facts, Recent
from demarc.ledger.usage import Position, UsageLedger
from demarc.xds import access_log
from demarc.xds.access_log import AccessLine

NAME = "access"
CHUNK = 1024 * 1024
MAX_LINE = 64 * 1024
_OLD = ".1"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines, and the position behind them.

    Attributes:
        lines: those that could be read.
        garbage: how many could not.
        behind: bytes of the file that are not in this batch.
    """

    lines: tuple[AccessLine, ...]
    garbage: int
    position: Position
    behind: int


class LogFile:
    """One access log, held open, so that it is read to its end after it was renamed."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self.offset = offset

    @classmethod
    def open(cls, path: Path, known: Position | None) -> LogFile | None:
        """Open a log where it was left; from its beginning if it is another file or was cut."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        stat = os.fstat(descriptor)
        is_known = known is not None and known.inode == stat.st_ino and known.offset <= stat.st_size
        return cls(descriptor, known.offset if is_known and known is not None else 0)

    @property
    def inode(self) -> int:
        """Which file it is."""
        return os.fstat(self._descriptor).st_ino

    @property
    def size(self) -> int:
        """Its bytes now."""
        return os.fstat(self._descriptor).st_size

    def read(self) -> Batch | None:
        """The next whole lines; None when there are none. The offset moves only by `take`."""
        size = self.size
        if size < self.offset:
            log.warning("access_log_cut")
            self.offset = 0
        data = os.pread(self._descriptor, CHUNK, self.offset)
        end = data.rfind(b"\n") + 1
        garbage = 0
        if end == 0:
            if len(data) < MAX_LINE:
                return None
            end, garbage = len(data), 1  # no line is that long: damage
        parsed = [access_log.parse(line) for line in data[:end].splitlines() if not garbage]
        lines = tuple(line for line in parsed if line is not None)
        garbage += len(parsed) - len(lines)
        offset = self.offset + end
        return Batch(lines, garbage, Position(self.inode, offset), size - offset)

    def take(self, position: Position) -> None:
        """Everything up to a position is done with."""
        self.offset = position.offset

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


class Tailer:
    """Reads one Envoy's log."""

    def __init__(
        self,
        path: Path,
        *,
        ledger: UsageLedger | None,
        recent: Recent | None,
        reopen: Callable[[], Awaitable[None]],
        heard: Callable[[tuple[AccessLine, ...]], None],
        metrics: Metrics,
        most_bytes: int,
        seconds: float,
    ) -> None:
        """Do not read yet.

        Args:
            path: of the log.
            ledger: where usage is booked; None where it is not (egress, edge).
            recent: what is known of decisions; None likewise.
            reopen: lets Envoy open its log anew; raises EnvoyError.
            heard: gets the lines of each batch, once each, before they are booked.
            metrics: counts lines.
            most_bytes: size at which the log is replaced.
            seconds: between two looks.
        """
        self._path = path
        self._old_path = path.with_name(path.name + _OLD)
        self._ledger = ledger
        self._recent = recent
        self._reopen = reopen
        self._heard = heard
        self._metrics = metrics
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._file: LogFile | None = None
        self._known: Position | None = None
        self._told: Position | None = None

    async def watch(self) -> None:
        """Read and book until it is cancelled."""
        while True:
            try:
                more = await self.look()
            except Exception as error:  # noqa: BLE001  # it is read again; decisions go on
                log.error("access_log_failed", error=type(error).__name__)
                more = False
            if not more:
                await asyncio.sleep(self._seconds)

    async def look(self) -> bool:
        """One batch, or one step of replacing the log; whether there is more to do at once.

        Raises:
            OSError: the log cannot be read.
            LedgerError: nothing of the batch was booked; it is read again.
        """
        if self._file is None and not await self._begin():
            return False
        assert self._file is not None
        batch = self._file.read()
        if batch is not None:
            await self._book(batch)
            self._file.take(batch.position)
            return batch.behind > 0
        return await self._follow()

    async def finish(self, seconds: float) -> None:
        """Book what is there, at the end; what is left is read by the next run."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            while await self.look() and loop.time() < deadline:
                pass
        except Exception as error:  # noqa: BLE001  # as in `watch`
            log.error("access_log_failed", error=type(error).__name__)
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _begin(self) -> bool:
        """Open the old log if there is one, else the log."""
        if self._known is None and self._ledger is not None:
            self._known = await asyncio.to_thread(self._ledger.position, NAME)
        self._file = LogFile.open(self._old_path, self._known) or LogFile.open(
            self._path, self._known
        )
        return self._file is not None

    async def _book(self, batch: Batch) -> None:
        if self._told != batch.position:  # not again when the ledger has failed in between
            self._told = batch.position
            self._heard(batch.lines)
            self._metrics.count("demarc_access_lines_total", len(batch.lines), what="read")
            if batch.garbage:
                self._metrics.count("demarc_access_lines_total", batch.garbage, what="unreadable")
        self._metrics.set("demarc_access_lag_bytes", batch.behind)
        if self._ledger is None or self._recent is None:
            return
        ids = {line.decision for line in batch.lines if line.decision and line.host}
        facts = self._recent.known(ids)
        booked = await asyncio.to_thread(
            _book, batch, facts, ids - facts.keys(), self._ledger, self._recent
        )
        self._recent.forget(ids)
        for state, count in booked.states.items():
            self._metrics.count("demarc_usage_rows_total", count, state=state)
        if booked.conflicts:
            self._metrics.count("demarc_usage_conflicts_total", booked.conflicts)
            log.error("usage_conflict", rows=booked.conflicts)
        if booked.unknown:
            self._metrics.count("demarc_access_lines_total", booked.unknown, what="unattributed")
            log.error("usage_unattributed", rows=booked.unknown)

    async def _follow(self) -> bool:
        """At the end of a file: go on to the new one, or replace a file that is large."""
        assert self._file is not None
        inode = self._file.inode
        if _inode(self._path) == inode:
            if self._file.size >= self._most_bytes:
                self._path.replace(self._old_path)
            else:
                return False
        if _inode(self._path) is None:
            try:
                await self._reopen()
            except EnvoyError:
                return False  # Envoy still writes to the old file, which is still read
            await asyncio.sleep(self._seconds)
            return True
        # Envoy writes to a new file. What it had in memory of the old one is there by now.
        if self._file.read() is not None:
            return True
        self._file.close()
        self._file = None
        if _inode(self._old_path) == inode:
            self._old_path.unlink(missing_ok=True)
        self._known = None if self._ledger is None else Position(0, 0)
        return True


@dataclass(frozen=True, slots=True)
class _Booked:
    states: dict[str, int]
    conflicts: int
    unknown: int


def _book(
    batch: Batch,
    facts: dict[str, Facts],
    missing: set[str],
    ledger: UsageLedger,
    recent: Recent,
) -> _Booked:
    """In a thread: find what memory does not know, then one commit."""
    known = {**facts, **recent.stored(missing)}
    rows, states, unknown = [], dict[str, int](), 0
    for line in batch.lines:
        row = booking.row(line, known.get(line.decision or ""))
        if row is not None:
            rows.append(row)
            states[row.state] = states.get(row.state, 0) + 1
            unknown += line.decision not in known
    booked = ledger.book(rows, name=NAME, position=batch.position)
    return _Booked(states, booked.conflicting, unknown)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def verdicts(lines: tuple[AccessLine, ...]) -> tuple[Verdict, ...]:
    """What lines say of far sides, in their order."""
    return tuple(found for line in lines if (found := booking.verdict(line)) is not None)
