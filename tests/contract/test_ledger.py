"""Do the disk in memory and the real one behave alike, and does a killed writer lose nothing?"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from demarc.audit import verification
from demarc.ledger import records
from demarc.ledger.disk import Disk, FolderDisk
from support.recorded import MemoryDisk

WRITER = """
import asyncio, resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from demarc.ledger.disk import FolderDisk
from demarc.ledger.records import RecordLog
from support.recorded import decision

folder, most = Path(sys.argv[1]), int(sys.argv[2])

async def main():
    log = RecordLog(FolderDisk(folder), gateway="g", now=lambda: datetime.now(UTC),
                    segment_bytes=20_000)
    log.start()
    loop = asyncio.get_running_loop()
    if most:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    serial = int.from_bytes(__import__("os").urandom(8), "big") << 32

    async def client(number):
        for step in range(1 << 20):
            told, name = loop.create_future(), f"{serial + (number << 20) + step:032x}"
            log.append(decision(name), datetime.now(UTC), told.set_result)
            if await told:
                print(name, flush=True)
            else:
                print("failed", flush=True)
                return

    await asyncio.gather(*(client(number) for number in range(8)))

asyncio.run(main())
"""


@pytest.fixture(params=["memory", "folder"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MemoryDisk() if request.param == "memory" else FolderDisk(tmp_path / "records")


def test_what_is_written_is_read_back(disk: Disk) -> None:
    file = disk.append_to("a")
    file.write(b"one")
    file.write(b"two")
    file.sync()
    file.close()

    assert b"onetwo" == disk.read("a")
    assert "a" in disk.names()


def test_an_opened_file_is_continued_at_its_end(disk: Disk) -> None:
    for part in (b"one", b"two"):
        file = disk.append_to("a")
        file.write(part)
        file.close()

    assert b"onetwo" == disk.read("a")


def test_after_a_cut_the_next_bytes_follow_it(disk: Disk) -> None:
    file = disk.append_to("a")
    file.write(b"onetwo")
    file.truncate(3)
    file.write(b"!")
    file.close()

    assert b"one!" == disk.read("a")


def test_what_is_removed_is_gone(disk: Disk) -> None:
    disk.append_to("a").close()
    disk.append_to("b").close()
    disk.remove("a")

    assert "a" not in disk.names()
    assert "b" in disk.names()


async def writer(folder: Path, most: int = 0) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WRITER,
        str(folder),
        str(most),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        limit=1 << 22,
    )


@pytest.mark.timeout(60)
async def test_a_writer_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL in the middle of batches and of changes of segments; then the log is continued."""
    acknowledged: list[str] = []
    for round_ in range(6):
        process = await writer(tmp_path)
        assert process.stdout is not None
        async with asyncio.timeout(20):
            acknowledged += [
                (await process.stdout.readline()).decode().strip() for _ in range(150 + 37 * round_)
            ]
        process.send_signal(signal.SIGKILL)
        rest = await process.stdout.read()
        acknowledged += [line for line in rest.decode().split("\n")[:-1] if line]
        await process.wait()

    report = verification.verify(records.stored(tmp_path))
    found = records.find_all(tmp_path, frozenset(acknowledged))

    assert set(acknowledged) == set(found)
    assert not [problem for problem in report.problems if not report.torn]
    assert report.segments > 6


@pytest.mark.timeout(60)
async def test_a_disk_that_takes_no_more_fails_and_loses_nothing(tmp_path: Path) -> None:
    """The size of a file is limited by the kernel, as a full disk would."""
    process = await writer(tmp_path, most=12_000)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        lines = (await process.stdout.read()).decode().split()
        await process.wait()
    acknowledged = frozenset(lines) - {"failed"}

    assert "failed" in lines
    assert acknowledged == frozenset(records.find_all(tmp_path, acknowledged))
    again = await writer(tmp_path)
    assert again.stdout is not None
    async with asyncio.timeout(20):
        line = (await again.stdout.readline()).decode().strip()
    again.kill()
    await again.wait()
    report = verification.verify(records.stored(tmp_path))

    assert line
    assert "failed" != line
    assert not [problem for problem in report.problems if not report.torn]
