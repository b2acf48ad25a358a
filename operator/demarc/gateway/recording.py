"""Is the decision on the disk? If not in time, nothing may leave, and the gap itself is recorded.

    recording   each decision waits for its record
    gap         no decision waits; every one is taken with Public closed, counted and alarmed

A gap begins when a write fails or a decision has waited too long, and ends with a durable note that
says how long it was and how many decisions fell into it.

INVARIANT: `settled(True)` means that the record is durable; each `settled` is called exactly once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from demarc.audit.record import Decision, Gap, Note
from demarc.gateway.counting import Metrics
from demarc.ledger.records import RecordLog
from demarc.policy.document import format_time

Settled = Callable[[bool], None]
_TICK_SECONDS = 0.05
_MAX_SUPERSEDED = 4096
_REFUSALS_PER_SECOND = 200

log = structlog.get_logger()


@dataclass(slots=True)
class _Gap:
    """A gap that is open."""

    since: datetime
    allowed: int = 0
    denied: int = 0


class Recorder:
    """Between the decisions and the log of records; everything happens in the event loop."""

    def __init__(
        self,
        records: RecordLog,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        metrics: Metrics,
        patience: float,
        retry: float,
    ) -> None:
        """Begin without a gap.

        Args:
            records: the log.
            clock: wall clock.
            monotonic: seconds.
            metrics: counts what was not recorded.
            patience: seconds that a decision waits for its record.
            retry: seconds between two attempts to end a gap.
        """
        self._records = records
        self._clock = clock
        self._monotonic = monotonic
        self._metrics = metrics
        self._patience = patience
        self._retry = retry
        self._waiting: OrderedDict[int, tuple[float, Decision, Settled]] = OrderedDict()
        self._next = 0
        self._gap: _Gap | None = None
        self._superseded: list[str] = []
        self._note_is_out = False
        self._tried = 0.0
        self._second = 0.0
        self._refusals = 0
        self._uncounted = 0
        metrics.set("demarc_records_writable", 1)

    @property
    def is_recording(self) -> bool:
        """Whether decisions wait for their records; false in a gap."""
        return self._gap is None

    def submit(self, decision: Decision, at: datetime, settled: Settled) -> None:
        """Record a decision; in a gap it is settled at once, as not recorded."""
        if self._gap is not None:
            settled(False)
            return
        number = self._next = self._next + 1
        self._waiting[number] = (self._monotonic(), decision, settled)
        self._records.append(decision, at, partial(self._done, number, decision))

    def submit_refusal(self, decision: Decision, at: datetime, settled: Settled) -> None:
        """Record the refusal of an unknown caller.

        Whoever reaches the port could fill the disk with them and so close Public for all: beyond
        a rate they are only counted, in one note a second.
        """
        if self._refusals < _REFUSALS_PER_SECOND:
            self._refusals += 1
            self.submit(decision, at, settled)
            return
        self._uncounted += 1
        settled(True)

    def unrecorded(self, *, allowed: bool) -> None:
        """A decision was answered without a record."""
        self._metrics.count("demarc_unrecorded_decisions_total")
        gap = self._gap or self._open("a decision could not be recorded")
        if allowed:
            gap.allowed += 1
        else:
            gap.denied += 1

    async def watch(self) -> None:
        """Notice decisions that wait too long, and end gaps; runs until it is cancelled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.look()

    def look(self) -> None:
        """One round of `watch`."""
        now = self._monotonic()
        if now - self._second >= 1:
            self._second, self._refusals = now, 0
            self._count_refusals()
        oldest = next(iter(self._waiting.values()), None)
        if oldest is not None and now - oldest[0] > self._patience:
            self._open("the disk did not answer in time")
            self._give_up()
        if self._gap is not None and not self._note_is_out and now - self._tried >= self._retry:
            self._tried = now
            self._end(self._gap)

    def _count_refusals(self) -> None:
        counted, self._uncounted = self._uncounted, 0
        if not counted:
            return

        def done(ok: bool) -> None:  # noqa: FBT001  # as `Done`
            if not ok:
                self._uncounted += counted

        note = Note(gap=None, number=counted, type="Refusals")
        self._records.append(note, self._clock(), done)

    def _done(self, number: int, decision: Decision, ok: bool) -> None:  # noqa: FBT001  # as `Settled`
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            if ok and len(self._superseded) < _MAX_SUPERSEDED:
                self._superseded.append(decision.id)
            return
        if not ok:
            self._open("the disk refused a record")
        elif self._gap is None:
            self._metrics.observe("demarc_record_seconds", self._monotonic() - waiting[0])
        waiting[2](ok)

    def _give_up(self) -> None:
        """Settle all that wait; what the disk still writes of them is noted when the gap ends."""
        abandoned = list(self._waiting.values())
        self._waiting.clear()
        for _, _, settled in abandoned:
            settled(False)

    def _open(self, why: str) -> _Gap:
        if self._gap is None:
            self._gap = _Gap(self._clock())
            self._tried = self._monotonic()
            self._metrics.set("demarc_records_writable", 0)
            log.critical("records_not_writable", reason=why, public="closed")
        return self._gap

    def _end(self, gap: _Gap) -> None:
        """Try to write a note; the gap ends when it is durable."""
        self._note_is_out = True
        note = Gap(
            allowed=gap.allowed,
            denied=gap.denied,
            since=format_time(gap.since),
            superseded=tuple(self._superseded),
        )
        gap.allowed = gap.denied = 0
        self._superseded.clear()
        entry = Note(gap=note, number=0, type="Gap")
        self._records.append(entry, self._clock(), partial(self._ended, gap, note))

    def _ended(self, gap: _Gap, note: Gap, ok: bool) -> None:  # noqa: FBT001  # as `Done`
        self._note_is_out = False
        if not ok:
            again = self._open("the disk refused a note")
            again.since = min(again.since, gap.since)
            again.allowed += note.allowed
            again.denied += note.denied
            self._superseded[:0] = note.superseded
            return
        if self._gap is gap:
            self._gap = None
            self._metrics.set("demarc_records_writable", 1)
            log.warning("records_writable", allowed=note.allowed, denied=note.denied)
        if gap.allowed or gap.denied or self._superseded:
            # Decisions that were taken while the note was being written belong into a note too.
            self._end(gap)
