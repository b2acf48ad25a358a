"""Is this log whole? Every byte of every segment is looked at.

INVARIANT: a log in which any byte of a stored record was changed, or a record was dropped, added,
doubled or moved, has at least one Problem; except that removing the newest records is seen only
against a head that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from demarc.audit import record, segments
from demarc.audit.chain import Head
from demarc.audit.record import Record, RecordError
from demarc.audit.segments import Damage, Frame


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where.

    Attributes:
        segment: file name; empty where the whole log is meant.
        offset: byte in that file.
    """

    segment: str
    offset: int
    what: str

    def __str__(self) -> str:
        """`segment-0000000001.records at byte 4711: the CRC of a record does not fit`."""
        return f"{self.segment} at byte {self.offset}: {self.what}" if self.segment else self.what


@dataclass(frozen=True, slots=True)
class Report:
    """What an auditor found.

    Attributes:
        head: the newest record that could be followed to.
        torn: bytes of an unfinished record at the very end, as after a crash or during a write;
            it was never acknowledged. It is among `problems` too.
    """

    segments: int
    records: int
    decisions: int
    gaps: int
    head: Head
    torn: int
    problems: tuple[Problem, ...]


def verify(
    log: Iterable[tuple[str, bytes]], *, after: Head | None = None, contains: Head | None = None
) -> Report:
    """Check a log.

    Args:
        log: file names and contents, in the order of their names.
        after: the head before the first record here; absent: this is the beginning.
        contains: a head kept elsewhere that must be found on the way.
    """
    audit = _Audit(after or Head(), contains)
    files = list(log)
    for index, (name, data) in enumerate(files):
        audit.segment(name, data, last=index == len(files) - 1)
    return audit.report(len(files))


class _Audit:
    def __init__(self, head: Head, wanted: Head | None) -> None:
        self.head = head
        self.wanted = wanted
        self.found = wanted is None or wanted == head
        self.number: int | None = None
        self.records = self.decisions = self.gaps = self.torn = 0
        self.problems: list[Problem] = []

    def segment(self, name: str, data: bytes, *, last: bool) -> None:
        number = segments.number(name)
        if number is None:
            self.problems.append(Problem(name, 0, "the file is no segment"))
            return
        if self.number is not None and number != self.number + 1:
            self.problems.append(Problem(name, 0, f"segment {self.number + 1} is missing"))
        self.number = number
        first = True
        for item in segments.read(data):
            if isinstance(item, Damage):
                self.problems.append(Problem(name, item.start, item.what))
                if last and item.torn:
                    self.torn = len(data) - item.start
            else:
                self.record(name, item, number if first else None)
                first = False
        if first:
            self.problems.append(Problem(name, 0, "the segment holds no record"))

    def record(self, name: str, item: Frame, begins: int | None) -> None:
        try:
            found = record.decode(item.payload)
        except RecordError as error:
            self.problems.append(Problem(name, item.start, str(error)))
            self.head = self.head.after(item.payload)
        else:
            self.check(name, item, found, begins)
            # Go on from what the record says of itself, so that one fault is one problem.
            self.head = Head(found.seq, self.head.after(item.payload).hash)
        self.records += 1
        if self.wanted == self.head:
            self.found = True

    def check(self, name: str, item: Frame, found: Record, begins: int | None) -> None:
        if found.seq != self.head.seq + 1:
            what = f"record {found.seq} stands where record {self.head.seq + 1} belongs"
            self.problems.append(Problem(name, item.start, what))
        elif found.prev != self.head.hash:
            what = f"record {found.seq} was not written after the record before it"
            self.problems.append(Problem(name, item.start, what))
        note = found.note if isinstance(found.note, record.Note) else None
        opens = note is not None and note.type == "Segment"
        if begins is not None and not (opens and note is not None and note.number == begins):
            self.problems.append(Problem(name, item.start, "the segment has not its own beginning"))
        if begins is None and opens:
            self.problems.append(Problem(name, item.start, "a segment begins inside another"))
        if note is None:
            self.decisions += 1
        elif note.type == "Gap":
            self.gaps += 1

    def report(self, files: int) -> Report:
        if not self.found and self.wanted is not None:
            what = f"the record {self.wanted.seq} that was kept elsewhere is not in this log"
            self.problems.append(Problem("", 0, what))
        return Report(
            files,
            self.records,
            self.decisions,
            self.gaps,
            self.head,
            self.torn,
            tuple(self.problems),
        )
