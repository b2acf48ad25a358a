"""Is every count kept, on a disk that has an end?"""

from __future__ import annotations

from pathlib import Path

from demarc.frontend.journal import Journal


def test_lines_stand_in_their_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run" / "usage.jsonl", most_bytes=1000)

    assert [True, True] == [journal.append(b"one\n"), journal.append(b"two\n")]
    assert b"one\ntwo\n" == (tmp_path / "run" / "usage.jsonl").read_bytes()


def test_the_journal_is_bounded_by_two_files(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    journal = Journal(path, most_bytes=20)
    for number in range(100):
        assert journal.append(b"line %04d\n" % number)

    assert b"line 0098\nline 0099\n" == path.read_bytes()
    assert b"line 0096\nline 0097\n" == (tmp_path / "usage.jsonl.1").read_bytes()
    assert 2 == len(list(tmp_path.iterdir()))


def test_a_restart_goes_on_and_ends_the_line_that_a_death_cut(tmp_path: Path) -> None:
    path = tmp_path / "usage.jsonl"
    path.write_bytes(b"whole\nhal")
    journal = Journal(path, most_bytes=1000)
    journal.append(b"next\n")
    journal.close()
    journal.append(b"last\n")

    assert b"whole\nhal\nnext\nlast\n" == path.read_bytes()


def test_a_disk_that_takes_nothing_is_told_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "usage.jsonl"
    (tmp_path / "run").write_bytes(b"a file where a folder must be")
    journal = Journal(path, most_bytes=1000)

    assert not journal.append(b"lost\n")
    (tmp_path / "run").unlink()
    assert journal.append(b"kept\n")
    assert b"kept\n" == path.read_bytes()
