"""How does a decision become durable before it is answered? One writer, many waiting requests.

1 append   entries that wait are taken together as one batch                 event loop
2 write    each gets its place in the chain; one write, one fdatasync        writer thread
3 tell     every caller of the batch learns whether it is durable            event loop

While a batch is being written the next one gathers, so the number of syncs follows the disk and not
the load.

INVARIANT: `done(True)` is called only after the entry's bytes are on the disk.
INVARIANT: of a batch that failed nothing stays in the file: the log is cut back to the last record
that was acknowledged before anything else is written.
INVARIANT: each `done` is called exactly once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from demarc.audit import record, segments
from demarc.audit.chain import Head
from demarc.audit.record import Decision, Note, Record, RecordError
from demarc.audit.segments import Damage, Frame
from demarc.ledger.disk import Disk, LogFile

Entry = Decision | Note
Done = Callable[[bool], None]
SEGMENT_BYTES = 64 * 1024 * 1024
MAX_BATCH = 1024


class RecordsError(Exception):
    """The folder of records cannot be used as it is; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry that waits for the disk.

    Attributes:
        at: when it was decided.
    """

    entry: Entry
    at: datetime
    done: Done


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the log ends: the last segment and its size, and the newest record."""

    number: int
    size: int
    head: Head


class RecordLog:
    """The only writer of one folder of records.

    All methods but those of the thread are called from one event loop.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        gateway: str,
        now: Callable[[], datetime],
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Do not touch the disk yet.

        Args:
            disk: the folder.
            gateway: name of the pod, stands in every record.
            now: the time for notes that the writer makes itself.
            segment_bytes: a segment that has grown beyond it is followed by the next.
        """
        self._disk = disk
        self._gateway = gateway
        self._now = now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._segment_bytes = segment_bytes
        self._queue: SimpleQueue[tuple[Waiting, ...] | None] = SimpleQueue()
        self._waiting: list[Waiting] = []
        self._busy = False
        self._thread: threading.Thread | None = None
        self._writable = False
        self._place = _Place(0, 0, Head())
        self._file: LogFile | None = None
        self._must_repair = True

    @property
    def writable(self) -> bool:
        """Whether the last write worked; while false an `append` may still be tried."""
        return self._writable

    @property
    def head(self) -> Head:
        """The newest record that is durable."""
        return self._place.head

    @property
    def waiting(self) -> int:
        """Entries that no batch has taken yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread. The first batch opens the log, as it does after a failure."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def append(self, entry: Entry, at: datetime, done: Done) -> None:
        """Write an entry; `done` is called in the event loop, later, with whether it is durable."""
        self._waiting.append(Waiting(entry, at, done))
        if not self._busy:
            self._busy = True
            # One turn of the loop: what other connections decide meanwhile joins the batch.
            assert self._loop is not None
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Write what waits and end the thread; returns when it has ended."""
        if self._thread is None:
            return
        while self._waiting:
            self._take()
        self._queue.put(None)
        self._thread.join()
        self._thread = None

    # in the event loop

    def _flush(self) -> None:
        if self._waiting:
            self._take()
        else:
            self._busy = False

    def _take(self) -> None:
        batch = tuple(self._waiting[:MAX_BATCH])
        del self._waiting[:MAX_BATCH]
        self._queue.put(batch)

    def _finish(self, batch: tuple[Waiting, ...], ok: bool) -> None:  # noqa: FBT001  # as `done`
        self._writable = ok
        for item in batch:
            item.done(ok)
        self._flush()

    # in the thread

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            ok = self._commit(batch)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(partial(self._finish, batch, ok))
        self._close_file()

    def _commit(self, batch: tuple[Waiting, ...]) -> bool:
        try:
            if self._must_repair:
                self._repair()
            if self._place.size >= self._segment_bytes:
                self._begin(self._place.number + 1, self._place.head)
            entries = [(item.entry, item.at) for item in batch]
            self._place = self._write(entries, self._place)
        except (OSError, RecordsError, ValueError):
            # ValueError: an entry beyond the bounds of a record; none of ours comes near them
            self._must_repair = True
            self._close_file()
            return False
        return True

    def _write(self, entries: list[tuple[Entry, datetime]], place: _Place) -> _Place:
        """Append to the open file at `place`, durably; where the log ends then."""
        assert self._file is not None
        head, parts = place.head, list[bytes]()
        for entry, at in entries:
            payload = record.encode(
                entry, at=_time(at), gateway=self._gateway, prev=head.hash, seq=head.seq + 1
            )
            parts.append(segments.frame(payload))
            head = head.after(payload)
        data = b"".join(parts)
        self._file.write(data)
        self._file.sync()
        return _Place(place.number, place.size + len(data), head)

    def _begin(self, number: int, head: Head) -> None:
        """Open the next segment with its first record."""
        self._close_file()
        self._file = self._disk.append_to(segments.name(number))
        beginning = Note(gap=None, number=number, type="Segment")
        self._place = self._write([(beginning, self._now())], _Place(number, 0, head))

    def _repair(self) -> None:
        """Go back to the last acknowledged record, at start and after errors."""
        names = [name for name in self._disk.names() if segments.number(name) is not None]
        if not names:
            if self._place.number:
                raise RecordsError("all segments are gone while the log was open")
            self._begin(1, Head())
        else:
            self._reopen(names)
        self._must_repair = False

    def _reopen(self, names: list[str]) -> None:
        last, known = segments.number(names[-1]) or 0, self._place
        place, size = _end(self._disk.read(names[-1]), last)
        if place.head.seq in {0, known.head.seq + 1} and last == known.number + 1 and last > 1:
            # A segment whose beginning was never acknowledged.
            self._disk.remove(names[-1])
            self._reopen(names[:-1])
            return
        if not known.number and place.head.seq == 0 and len(names) > 1:
            # The process died while it began a segment: the one before it is the last.
            self._disk.remove(names[-1])
            self._reopen(names[:-1])
            return
        if known.number:
            if last != known.number or place.size < known.size:
                raise RecordsError("the log ends before its last acknowledged record")
            # Behind it are bytes of a batch that failed; nobody was told that they are durable.
            place = known
        self._file = self._disk.append_to(segments.name(last))
        if place.size < size:
            self._file.truncate(place.size)
            self._file.sync()
        if place.head.seq == 0:
            self._begin(last, Head())
            return
        if place.size < size and not known.number:
            cut = Note(gap=None, number=size - place.size, type="Truncated")
            place = self._write([(cut, self._now())], place)
        self._place = place

    def _close_file(self) -> None:
        if self._file is None:
            return
        # What counts was synced; what was not is cut off by the repair.
        with suppress(OSError):
            self._file.close()
        self._file = None


def _end(data: bytes, number: int) -> tuple[_Place, int]:
    """Where the whole records of a segment end, and the size of the file.

    Raises:
        RecordsError: a record in the middle is damaged; nothing may be written behind it.
    """
    last: Frame | None = None
    for item in segments.read(data):
        match item:
            case Frame():
                last = item
            case Damage():
                if not item.torn:
                    raise RecordsError(
                        f"{segments.name(number)} is damaged at byte {item.start}: {item.what}; "
                        "move the folder away and keep it for an audit"
                    )
    if last is None:
        return _Place(number, 0, Head()), len(data)
    try:
        found = record.decode(last.payload)
    except RecordError as error:
        raise RecordsError(f"{segments.name(number)} ends with something else: {error}") from error
    head = Head(found.seq - 1).after(last.payload)
    return _Place(number, last.end, head), len(data)


def _time(at: datetime) -> str:
    text = at.isoformat(timespec="microseconds")
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def stored(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The segments of a folder in order, for `audit.verification.verify`.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in sorted(folder.iterdir()):
        if segments.number(path.name) is not None:
            yield path.name, path.read_bytes()


def find(folder: Path, decision_id: str) -> tuple[Record, ...]:
    """All records of a decision, oldest first; records that are damaged are left out.

    Raises:
        OSError: the folder cannot be read.
    """
    wanted = f'"id":"{decision_id}"'.encode()
    found: list[Record] = []
    for _, data in stored(folder):
        if wanted in data:
            found += [item for item in _decoded(data, wanted) if _id_of(item) == decision_id]
    return tuple(found)


def find_all(folder: Path, decision_ids: frozenset[str]) -> dict[str, Record]:
    """The newest record of each of these decisions that has one; newest segments first.

    Raises:
        OSError: the folder cannot be read.
    """
    missing, found = set(decision_ids), dict[str, Record]()
    for name in reversed([path.name for path in sorted(folder.iterdir())]):
        if not missing:
            break
        if segments.number(name) is None:
            continue
        here = {
            _id_of(item): item for item in _decoded((folder / name).read_bytes(), b'"decision":')
        }
        for key in missing & here.keys():
            found[key] = here[key]
        missing -= here.keys()
    return found


def _decoded(data: bytes, holding: bytes) -> Iterator[Record]:
    """The records of a segment whose bytes hold something."""
    for item in segments.read(data):
        if isinstance(item, Frame) and holding in item.payload:
            try:
                yield record.decode(item.payload)
            except RecordError:
                continue


def _id_of(entry: Record) -> str:
    return entry.decision.id if isinstance(entry.decision, Decision) else ""
