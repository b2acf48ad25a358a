"""Is an acknowledged record ever lost, and anything else ever acknowledged? Under every fault."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demarc.audit import record, verification
from demarc.audit.record import Decision, Note
from demarc.ledger import records
from demarc.ledger.disk import Disk, FolderDisk, replace_file
from demarc.ledger.records import RecordLog
from support.recorded import Failing, MemoryDisk, decision

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
SMALL = 3000
"""A segment of two or three records."""


def opened(disk: Disk, *, segment_bytes: int = SMALL) -> RecordLog:
    log = RecordLog(disk, gateway="g", now=lambda: NOON, segment_bytes=segment_bytes)
    log.start()
    return log


async def append(log: RecordLog, *ids: str) -> list[bool]:
    """Append one after the other, as one client would; whether each is durable."""
    return [await one(log, decision(item)) for item in ids]


async def one(log: RecordLog, entry: Decision | Note) -> bool:
    told = asyncio.get_running_loop().create_future()
    log.append(entry, NOON, told.set_result)
    async with asyncio.timeout(5):
        return await told


async def together(log: RecordLog, ids: Iterable[str]) -> list[bool]:
    return list(await asyncio.gather(*(one(log, decision(item)) for item in ids)))


def kept(disk: MemoryDisk) -> list[str]:
    """Ids of the decisions in a log, which must be whole."""
    return [entry.decision.id for entry in entries(disk) if isinstance(entry.decision, Decision)]


def entries(disk: MemoryDisk) -> list[record.Record]:
    report = verification.verify(disk.log())
    assert () == report.problems
    found = []
    for _, data in disk.log():
        found += [
            record.decode(item.payload)
            for item in records.segments.read(data)
            if isinstance(item, records.Frame)
        ]
    return found


async def test_what_was_acknowledged_is_on_the_disk_in_order() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    ids = [f"{number:032x}" for number in range(20)]

    told = await append(log, *ids[:10]) + await together(log, ids[10:])
    log.close()

    assert [True] * 20 == told
    assert ids == kept(disk)
    assert len(disk.files) > 3
    assert all(len(data) == disk.synced[name] for name, data in disk.files.items())


async def test_many_that_wait_share_one_sync() -> None:
    """Each decision pays for a sync of its own."""
    counts = {"sync": 0}
    disk = MemoryDisk()
    log = opened(disk, segment_bytes=10**9)
    await append(log, "first")

    def count(operation: str) -> None:
        if operation == "sync":
            counts["sync"] += 1

    disk.fault = count
    assert all(await together(log, [f"{number:032x}" for number in range(200)]))
    log.close()

    assert counts["sync"] <= 2


@pytest.mark.parametrize("at", range(1, 14))
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
async def test_a_fault_at_any_call_loses_nothing_that_was_acknowledged(at: int, code: int) -> None:
    """EIO, ENOSPC or a read-only disk at every single call, while segments change."""
    fault = Failing(code=code, at=at)
    disk = MemoryDisk(fault=fault, torn=7)
    log = opened(disk, segment_bytes=1500)
    ids = [f"{number:032x}" for number in range(8)]

    told = await append(log, *ids)
    log.close()

    acknowledged = [item for item, ok in zip(ids, told, strict=True) if ok]
    assert len(acknowledged) >= 7 - (fault.calls < at)
    disk.fault = lambda _: None
    assert acknowledged == kept(disk)


@pytest.mark.parametrize("operation", ["write", "sync", "open", "truncate"])
@pytest.mark.parametrize("torn", [0, 5, 600])
async def test_a_disk_that_is_full_for_a_while_is_used_again(operation: str, torn: int) -> None:
    disk = MemoryDisk(torn=torn)
    log = opened(disk, segment_bytes=1500)
    before = await append(log, "a" * 32, "b" * 32)
    disk.fault = Failing(frozenset({operation, "write"}))
    during = await append(log, "c" * 32, "d" * 32)
    state = log.writable
    disk.fault = lambda _: None
    after = await append(log, "e" * 32)
    log.close()

    assert ([True, True], [False, False], [True]) == (before, during, after)
    assert not state
    assert ["a" * 32, "b" * 32, "e" * 32] == kept(disk)


@settings(max_examples=60)
@given(count=st.integers(0, 9), cut=st.integers(0, 1200), extra=st.integers(0, 1200))
async def test_a_killed_process_loses_nothing_that_was_acknowledged(
    count: int, cut: int, extra: int
) -> None:
    """SIGKILL or power loss with a batch on its way: some of its bytes reached the disk."""
    disk = MemoryDisk(torn=cut)
    log = opened(disk)
    ids = [f"{number:032x}" for number in range(count)]
    assert all(await append(log, *ids))
    disk.fault = Failing(frozenset({"write", "sync", "truncate"}))
    assert [False] == await append(log, "f" * 32)
    disk.fault = lambda _: None
    log.close()

    left = disk.crash(extra)
    again = opened(left)
    assert [True] == await append(again, "9" * 32)
    again.close()

    found = kept(left)
    assert ids == found[:count]
    assert "9" * 32 == found[-1]
    assert set(found[count:-1]) <= {"f" * 32}


async def test_a_torn_end_is_cut_off_and_noted() -> None:
    disk = MemoryDisk()
    log = opened(disk, segment_bytes=10**9)
    await append(log, "a" * 32)
    log.close()
    (name,) = disk.files
    disk.files[name] += b"\0\0\1"

    again = opened(disk, segment_bytes=10**9)
    await append(again, "b" * 32)
    again.close()

    notes = [item.note for item in entries(disk) if isinstance(item.note, Note)]
    assert [("Segment", 1), ("Truncated", 3)] == [(note.type, note.number) for note in notes]


async def test_nothing_is_written_behind_damage() -> None:
    """A log with a rotten record would be continued as if it were whole."""
    disk = MemoryDisk()
    log = opened(disk, segment_bytes=10**9)
    await append(log, "a" * 32, "b" * 32)
    log.close()
    (name,) = disk.files
    disk.files[name][200] ^= 1
    before = bytes(disk.files[name])

    again = opened(disk, segment_bytes=10**9)
    told = await append(again, "c" * 32)
    again.close()

    assert [False] == told
    assert before == bytes(disk.files[name])


async def test_a_log_that_lost_acknowledged_records_is_not_continued() -> None:
    """Somebody truncated the file while the agent ran."""
    disk = MemoryDisk()
    log = opened(disk, segment_bytes=10**9)
    await append(log, "a" * 32, "b" * 32)
    (name,) = disk.files
    disk.fault = Failing(frozenset({"sync"}))
    await append(log, "c" * 32)
    disk.fault = lambda _: None
    del disk.files[name][300:]
    told = await append(log, "d" * 32)
    disk.files.clear()
    told += await append(log, "e" * 32)
    log.close()

    assert [False, False] == told


async def test_closing_writes_what_waits() -> None:
    disk = MemoryDisk()
    log = opened(disk)
    told: list[bool] = []
    log.append(decision("a" * 32), NOON, told.append)
    log.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert ["a" * 32] == kept(disk)
    assert [True] == told


async def test_records_are_found_by_id(tmp_path: Path) -> None:
    disk = FolderDisk(tmp_path)
    log = opened(disk)
    ids = [f"{number:032x}" for number in range(9)]
    await append(log, *ids, ids[4])
    log.close()
    disk.close()
    (tmp_path / "notes.txt").write_text(ids[0])

    found = records.find(tmp_path, ids[4])
    several = records.find_all(tmp_path, frozenset({ids[0], ids[8], "unknown"}))

    assert [ids[4]] * 2 == [entry.decision.id for entry in found if entry.decision]  # type: ignore[union-attr]
    assert {ids[0], ids[8]} == set(several)
    assert () == records.find(tmp_path, "unknown")
    assert () == verification.verify(records.stored(tmp_path)).problems


async def test_one_folder_has_one_writer(tmp_path: Path) -> None:
    """Two agents on one volume would write two chains into each other."""
    first = FolderDisk(tmp_path)
    with pytest.raises(OSError):
        FolderDisk(tmp_path)
    first.close()
    second = FolderDisk(tmp_path)
    log = opened(second)

    assert [True] == await append(log, "a" * 32)
    log.close()
    second.close()


async def test_a_real_folder_is_continued(tmp_path: Path) -> None:
    for round_ in range(3):
        disk = FolderDisk(tmp_path)
        log = opened(disk)
        await append(log, *(f"{round_:016x}{number:016x}" for number in range(4)))
        log.close()
        disk.close()

    report = verification.verify(records.stored(tmp_path))

    assert () == report.problems
    assert 12 == report.decisions


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    replace_file(path, b"one")
    replace_file(path, b"two", mode=0o600)

    assert b"two" == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777
    assert ["x"] == [item.name for item in tmp_path.iterdir()]
