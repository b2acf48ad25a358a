"""Is a folder read whole, and is what is wrong with it said in one line?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demarc.app import folder
from demarc.app.folder import FolderError

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"


def test_files_below_a_folder_count_but_not_volumes(tmp_path: Path) -> None:
    """A model's own YAML would be taken for an object."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yml").write_text(NAMESPACE)
    (tmp_path / "volumes" / "models").mkdir(parents=True)
    (tmp_path / "volumes" / "models" / "b.yaml").write_text("not: ours")

    read = folder.read(tmp_path)

    assert [item.key for item in read.objects] == ["a"]
    assert read.problems == ()
    assert folder.volumes(tmp_path, {}) == {"models": tmp_path / "volumes" / "models"}
    assert folder.volumes(tmp_path, {"models": Path("/x")}) == {"models": Path("/x")}


def test_one_file_is_a_folder_of_one(tmp_path: Path) -> None:
    """A user could not name a file."""
    file = tmp_path / "a.yaml"
    file.write_text(NAMESPACE)

    assert [item.key for item in folder.read(file).objects] == ["a"]


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A user would read a traceback."""
    with pytest.raises(FolderError, match="no folder"):
        folder.read(tmp_path / "absent")
    with pytest.raises(FolderError, match="no YAML"):
        folder.read(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(FolderError, match="not UTF-8 at byte 0"):
        folder.read(tmp_path)


def test_a_change_changes_the_fingerprint(tmp_path: Path) -> None:
    """An edit would not be seen."""
    file = tmp_path / "a.yaml"
    file.write_text(NAMESPACE)
    before = folder.fingerprint(tmp_path)
    file.write_text(NAMESPACE + "---\n")

    assert before != folder.fingerprint(tmp_path)


def test_an_empty_file_is_a_problem(tmp_path: Path) -> None:
    """A program that empties a file before it saves it would delete every object in it."""
    (tmp_path / "a.yaml").write_text("")

    assert [problem.message for problem in folder.read(tmp_path).problems] == ["the file is empty"]


def test_a_link_to_nothing_and_a_pipe_are_no_absence(tmp_path: Path) -> None:
    """A mount that is away would delete its policy; a pipe would be read for ever."""
    (tmp_path / "a.yaml").symlink_to(tmp_path / "absent")
    with pytest.raises(FolderError, match="link to nothing"):
        folder.read(tmp_path)
    before = folder.fingerprint(tmp_path)
    (tmp_path / "absent").write_text(NAMESPACE)
    assert [item.key for item in folder.read(tmp_path).objects] == ["a"]
    assert before != folder.fingerprint(tmp_path)
    (tmp_path / "a.yaml").unlink()
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(FolderError, match="no regular file"):
        folder.read(tmp_path)


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    """A repository's own files, an editor's lock and our state would be read as objects."""
    (tmp_path / "a.yaml").write_text(NAMESPACE)
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github" / "ci.yml").write_text("on: push")
    (tmp_path / ".#a.yaml").symlink_to("me@here:1")

    assert [item.key for item in folder.read(tmp_path).objects] == ["a"]


def test_a_change_counts_once_it_has_come_to_rest() -> None:
    """A half-written folder would come into force."""
    old, half, new = ((("a", size, 0),) for size in (1, 2, 3))
    rest = folder.Rest(old)

    looks = [rest.look(seen) for seen in (old, half, new, new, new, new, old, old, old)]

    assert looks == [False, False, False, False, True, False, False, False, True]


def test_a_change_that_could_not_be_applied_is_a_change_again() -> None:
    """A full disk would swallow an edit for ever."""
    new = (("a", 2, 0),)
    rest = folder.Rest((("a", 1, 0),))
    assert [rest.look(new) for _ in range(4)] == [False, False, True, False]

    rest.forget()

    assert rest.look(new)
