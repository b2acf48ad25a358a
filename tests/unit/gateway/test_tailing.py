"""Is every line of Envoy's log booked once, whatever happens to the file?"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from demarc.engines.envoy import EnvoyError
from demarc.gateway.counting import Metrics
from demarc.gateway.facts import Facts, Recent
from demarc.gateway.tailing import MAX_LINE, Tailer
from demarc.ledger import usage
from demarc.ledger.disk import FolderDisk
from demarc.ledger.records import RecordLog
from demarc.ledger.usage import LedgerError, UsageLedger
from demarc.policy.epoch import Price
from demarc.xds.access_log import FORMAT, AccessLine
from support.gate import NEAR
from support.recorded import decision

FACTS = Facts(
    tenant="retail",
    app="copilot",
    client="copilot-sa",
    model="auto",
    endpoint=NEAR,
    site="shanghai-dc",
    scope="Private",
    price=Price(Decimal("0.70"), Decimal("2.80"), "USD"),
    prompt_tokens=40,
    stream=False,
)


def line(number: int, **changes: object) -> bytes:
    values = {
        **dict.fromkeys(FORMAT),
        "ts": "1796126400.000000",
        "decision": f"d{number}",
        "endpoint": NEAR,
        "code": 200,
        "cluster": NEAR,
        "host": "10.244.0.1:8443",
        "tx": 10,
        "usage": "in=12;out=3;source=tokenizer",
        **changes,
    }
    return json.dumps(values).encode() + b"\n"


@dataclass
class Log:
    """Envoy's part: it writes to the file that it has open."""

    path: Path
    reachable: bool = True
    heard: list[AccessLine] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.ledger_path = self.path.with_name("ledger.sqlite")
        self.descriptor = -1
        self.open()
        self.start()

    def open(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, data: bytes) -> None:
        os.write(self.descriptor, data)

    async def reopen(self) -> None:
        if not self.reachable:
            raise EnvoyError("gone")
        self.open()

    def start(self) -> None:
        """A new process: it knows nothing but what is on the disk."""
        self.ledger = UsageLedger(self.ledger_path)
        self.recent = Recent(self.path.parent)
        for number in range(100):
            self.recent.add(f"d{number}", FACTS)
        self.tailer = Tailer(
            self.path,
            ledger=self.ledger,
            recent=self.recent,
            reopen=self.reopen,
            heard=self.heard.extend,
            metrics=self.metrics,
            most_bytes=1000,
            seconds=0,
        )

    def restart(self) -> None:
        self.ledger.close()
        self.start()

    async def read(self, rounds: int = 12) -> list[str]:
        for _ in range(rounds):
            await self.tailer.look()
        return self.booked()

    def booked(self) -> list[str]:
        return sorted(
            (row.decision for row in usage.read(self.ledger_path)),
            key=lambda name: (len(name), name),
        )


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    found = Log(tmp_path / "access.jsonl")
    yield found
    found.ledger.close()
    os.close(found.descriptor)


def ids(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


async def test_lines_are_booked_with_their_facts(log: Log) -> None:
    log.write(line(0) + line(1))
    await log.read()
    first, _ = usage.read(log.ledger_path)

    assert ids(2) == log.booked()
    assert ("retail", "0.0000168") == (first.tenant, first.cost)
    assert 2 == log.metrics.value("demarc_usage_rows_total", state="reported")


async def test_half_a_line_waits_for_its_end(log: Log) -> None:
    data = line(0)
    log.write(data[:40])
    assert [] == await log.read(3)
    log.write(data[40:])
    assert ids(1) == await log.read(3)


async def test_garbage_is_counted_and_stops_nothing(log: Log) -> None:
    log.write(b"garbage\n{}\n[]\n\xff\xfe\n" + line(0))

    assert ids(1) == await log.read(3)
    assert 4 == log.metrics.value("demarc_access_lines_total", what="unreadable")


async def test_a_line_without_an_end_is_given_up(log: Log) -> None:
    """A broken file is read from its beginning for ever, and nothing is booked any more."""
    log.write(b"x" * (MAX_LINE + 1))
    await log.read(2)
    log.write(b"\n" + line(0))

    assert ids(1) == await log.read(3)


async def test_a_restart_goes_on_where_the_last_commit_was(log: Log) -> None:
    log.write(line(0) + line(1))
    await log.read(2)
    log.heard.clear()
    log.restart()
    log.write(line(2))

    assert ids(3) == await log.read(3)
    assert ["d2"] == [item.decision for item in log.heard]


async def test_lines_that_come_twice_are_booked_once(log: Log) -> None:
    log.write(line(0) * 3)

    assert ids(1) == await log.read(2)


async def test_a_line_that_contradicts_a_booked_one_is_an_alarm(log: Log) -> None:
    log.write(line(0) + line(0, usage="in=900;out=3;source=tokenizer"))

    assert ids(1) == await log.read(2)
    assert 1 == log.metrics.value("demarc_usage_conflicts_total")


async def test_a_large_log_is_replaced_and_no_line_is_lost(log: Log) -> None:
    for number in range(30):
        log.write(line(number))
        await log.read(2)

    assert ids(30) == await log.read()
    assert ["access.jsonl"] == sorted(path.name for path in log.path.parent.glob("access.jsonl*"))
    assert log.path.stat().st_size < 3000


async def test_lines_between_the_rename_and_the_reopening_are_booked(log: Log) -> None:
    log.write(line(0) + line(1) + line(2) + line(3))
    log.reachable = False
    await log.read(4)
    log.write(line(4))
    assert ids(5) == await log.read(4)
    log.reachable = True
    await log.read(1)
    log.write(line(5))

    assert ids(6) == await log.read()


@pytest.mark.parametrize("reached", [False, True])
async def test_a_restart_between_the_rename_and_the_reopening_loses_nothing(
    log: Log, *, reached: bool
) -> None:
    log.write(line(0) + line(1) + line(2) + line(3))
    log.reachable = False
    await log.read(4)
    log.write(line(4))
    if reached:
        log.open()
        log.write(line(5))
    log.restart()
    log.reachable = True
    await log.read()
    log.write(line(6 if reached else 5))

    assert ids(7 if reached else 6) == await log.read()


async def test_a_log_that_was_cut_is_read_from_its_beginning(log: Log) -> None:
    log.write(line(0) + line(1))
    await log.read(2)
    os.ftruncate(log.descriptor, 0)
    log.write(line(2))

    assert ids(3) == await log.read(3)


async def test_a_log_that_was_cut_while_nobody_looked_is_read_from_its_beginning(log: Log) -> None:
    log.write(line(0) + line(1))
    await log.read(2)
    os.ftruncate(log.descriptor, 0)
    log.write(line(2))
    log.restart()

    assert ids(3) == await log.read(3)


async def test_a_new_file_of_the_same_name_is_read_from_its_beginning(log: Log) -> None:
    """The pod was made anew, and its log with it."""
    log.write(line(0))
    await log.read(2)
    log.path.unlink()
    log.open()
    log.write(line(1))

    assert ids(2) == await log.read()


async def test_what_cannot_be_booked_is_read_again_and_heard_once(log: Log) -> None:
    """The disk of the ledger is full for a while."""
    log.write(line(0))
    await log.read(2)
    log.write(line(1))
    log.ledger.close()
    for _ in range(2):
        with pytest.raises(LedgerError):
            await log.tailer.look()
    log.tailer._ledger = log.ledger = UsageLedger(log.ledger_path)

    assert ids(2) == await log.read(2)
    assert ids(2) == [item.decision for item in log.heard]


async def test_a_decision_that_memory_has_lost_is_found_in_the_records(log: Log) -> None:
    """After a restart the tokens of running requests are booked to nobody."""
    disk = FolderDisk(log.path.parent)
    records = RecordLog(disk, gateway="g", now=lambda: datetime.now(UTC))
    records.start()
    told = asyncio.get_running_loop().create_future()
    records.append(decision("d7" * 16), datetime.now(UTC), told.set_result)
    assert await told
    records.close()
    disk.close()
    log.write(line(0, decision="d7" * 16) + line(0, decision="unknown"))
    await log.read(2)
    rows = {row.decision: row for row in usage.read(log.ledger_path)}

    assert ("retail", "branch-faq", "0.0000015") == (
        rows["d7" * 16].tenant,
        rows["d7" * 16].app,
        rows["d7" * 16].cost,
    )
    assert ("", "") == (rows["unknown"].tenant, rows["unknown"].cost)
    assert 1 == log.metrics.value("demarc_access_lines_total", what="unattributed")


async def test_a_tier_without_books_bounds_its_log_all_the_same(tmp_path: Path) -> None:
    log = Log(tmp_path / "access.jsonl")
    log.tailer._ledger = log.tailer._recent = None
    for number in range(30):
        log.write(line(number))
        await log.tailer.look()
        await log.tailer.look()

    assert log.path.stat().st_size < 3000
    assert [] == log.booked()
    log.ledger.close()
    os.close(log.descriptor)


async def test_the_end_books_what_is_there(log: Log) -> None:
    log.write(line(0) + line(1))
    await log.tailer.finish(5)

    assert ids(2) == log.booked()
