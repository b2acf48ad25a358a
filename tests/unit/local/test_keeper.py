"""Does the keeper bound the logs of what it holds?"""

from __future__ import annotations

import socket
from pathlib import Path

from demarc.local import keeper


def test_a_long_log_moves_aside_and_its_writer_goes_on(tmp_path: Path) -> None:
    log, short = tmp_path / "long.log", tmp_path / "short.log"
    short.write_bytes(b"few words\n")
    ours, theirs = socket.socketpair()
    with ours, theirs, log.open("ab", buffering=0) as writer:
        writer.write(b"x" * keeper._LOG_LIMIT_BYTES)
        held = keeper._Keeper(theirs, "marker")
        for number, path in enumerate((log, short)):
            held._children[number] = keeper._Child(number, number, str(path), ())
        held._bound_logs()
        writer.write(b"after\n")

    assert b"after\n" == log.read_bytes()
    assert keeper._LOG_LIMIT_BYTES == (tmp_path / "long.log.1").stat().st_size
    assert b"few words\n" == short.read_bytes()


def test_nothing_is_found_without_its_mark() -> None:
    assert [] == list(keeper.find((b"DEMARC_NODE=/no/such/folder",)))
    assert 0 == keeper.sweep((b"DEMARC_NODE=/no/such/folder",))
