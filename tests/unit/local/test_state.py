"""Does the state folder give back what was kept, to one node at a time?"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from demarc.api.cluster import Change, WatchEvent
from demarc.local import state, volumes
from demarc.local.state import State, StateError


def config(name: str, version: int, api: str = "v1", kind: str = "ConfigMap") -> dict[str, Any]:
    metadata = {"namespace": "n", "name": name, "resourceVersion": str(version)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def test_objects_come_back_in_the_order_of_their_changes(tmp_path: Path) -> None:
    kept = State(tmp_path / "s", short=tmp_path)
    newest, oldest = config("a", 10), config("b", 9)
    role = config("system:reader", 3, "rbac.authorization.k8s.io/v1", "Role")
    for item in (newest, oldest, role, config("gone", 4)):
        kept.keep(WatchEvent(Change.ADDED, item))
    kept.keep(WatchEvent(Change.DELETED, config("gone", 11)))
    kept.keep(WatchEvent(Change.ADDED, config("e", 12, kind="Event")))

    assert (role, oldest, newest) == kept.load()


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    kept = State(tmp_path / "s", short=tmp_path)
    kept.keep(WatchEvent(Change.ADDED, config("a", 1)))
    (path,) = (tmp_path / "s" / "objects").rglob("*.json")
    path.write_text("{")

    with pytest.raises(StateError, match=f"`{path}` is no object"):
        kept.load()


def test_the_key_stays_the_same(tmp_path: Path) -> None:
    kept = State(tmp_path / "s", short=tmp_path)

    assert kept.token_key().private_numbers() == kept.token_key().private_numbers()
    assert 0o600 == (tmp_path / "s" / "token.key").stat().st_mode & 0o777


def test_everything_is_for_the_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "before"
    folder.mkdir(parents=True, mode=0o755)
    kept = State(folder, short=tmp_path)
    kept.keep(WatchEvent(Change.ADDED, config("a", 1)))
    volumes.make_folder(kept.claim_folder("n", "claim"))
    modes = {path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))}

    assert {0} == modes


def test_one_node_for_a_folder(tmp_path: Path) -> None:
    first = State(tmp_path / "s", short=tmp_path)
    with pytest.raises(StateError, match="is in use by another node"):
        State(tmp_path / "s", short=tmp_path)
    first.close()
    State(tmp_path / "s", short=tmp_path).close()


@pytest.mark.parametrize("name", ["x" * 120, "\N{LATIN SMALL LETTER U WITH DIAERESIS}"])
def test_sockets_have_short_ascii_paths_whatever_the_folder(tmp_path: Path, name: str) -> None:
    """No socket can be bound, or Triton's stub does not find its model."""
    deep = tmp_path / name
    kept = State(deep, short=Path("/tmp"))
    run = kept.empty_folder("00000000-0000-4000-8000-000000000001") / "run"
    run.mkdir(parents=True)
    assert str(run).isascii()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run / "decide.sock"))
    kept.close()

    assert not run.exists()
    assert not kept.short.exists()


def test_a_block_is_for_one_node() -> None:
    block = f"127.63.255.{os.getpid()}"  # two test runs at once have different names
    held = state.claim_block(block)
    with pytest.raises(StateError, match="is in use by another node"):
        state.claim_block(block)
    held.close()
    state.claim_block(block).close()


def test_listeners_of_a_block_are_found() -> None:
    with socket.create_server(("127.63.254.9", 0)) as server:
        port = server.getsockname()[1]

        assert (f"127.63.254.9:{port}",) == state.listeners("127.63.254.0/24")
    assert () == state.listeners("127.63.254.0/24")


def test_old_logs_go_and_those_in_use_stay(tmp_path: Path) -> None:
    kept = State(tmp_path / "s", short=tmp_path)
    for number in range(210):
        (kept.logs / f"{number}.log").write_text("")
    used = [kept.logs / f"{number}.log" for number in range(5)]
    kept.bound_logs(used)

    assert 205 == len(list(kept.logs.iterdir()))
    assert all(path.exists() for path in used)
