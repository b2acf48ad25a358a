"""Can a program rely on `run.json`?"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

from demarc.app import run_file
from demarc.app.run_file import RunFile

RUN = RunFile(
    pid=os.getpid(),
    folder="/f",
    state="/s",
    ready=True,
    gateway="https://127.244.0.3:8443/v1",
    ca="/s/ca.crt",
    kubeconfig="/s/kubeconfig",
    record="/r",
    ledger="/r/ledger.sqlite",
    epoch="1.1",
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The command line would not find what runs."""
    run_file.write(tmp_path, RUN)
    found = run_file.read(tmp_path)

    assert found is not None
    assert found["gateway"] == RUN.gateway


def test_the_file_of_a_process_that_is_gone_is_none(tmp_path: Path) -> None:
    """`demarc up` would refuse to start after a crash."""
    run_file.write(tmp_path, replace(RUN, pid=2**22 + 1))

    assert run_file.read(tmp_path) is None
    assert run_file.read(tmp_path / "absent") is None


def test_the_file_of_a_process_that_was_not_waited_for_is_none(tmp_path: Path) -> None:
    """In a container whose first process waits for nobody `demarc up` would refuse to start."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        run_file.write(tmp_path, replace(RUN, pid=process.pid))
        alive = run_file.read(tmp_path)
        process.kill()
        assert process.stdout is not None
        process.stdout.read()  # ends when the process does
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        dead = run_file.read(tmp_path)

    assert alive is not None
    assert dead is None


def test_the_file_of_an_earlier_process_with_the_same_id_is_none(tmp_path: Path) -> None:
    """After a restart of the machine `demarc down` would end somebody else's process."""
    run_file.write(tmp_path, RUN)
    path = tmp_path / run_file.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": 1}))

    assert run_file.read(tmp_path) is None


def test_a_secret_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """Another user of the machine could call as an app."""
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    run_file.replace(path, "new", mode=0o600)

    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_run_is_none(tmp_path: Path) -> None:
    """Every command would end with a traceback."""
    for text in ("[]", "3", "{", '{"pid": []}', '{"pid": 1}'):
        (tmp_path / run_file.NAME).write_text(text)
        assert run_file.read(tmp_path) is None
