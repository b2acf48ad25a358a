"""Somebody starts, kills, restarts and ends Demarc, and finds what was there before, or nothing.

These stories have a bank of their own, with a smaller folder: one model inside, one outside.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.conftest import networks
from e2e.support import processes
from e2e.support.bank import COPILOT, FAQ, INSIDE, OUTSIDE, Bank
from e2e.support.waiting import until

from demarc.api.cluster import POD
from demarc.app.running import Running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def own(tmp_path: Path, worker_id: str) -> Iterator[Bank]:
    """A bank that is not up; whatever the story does, nothing of it is left."""
    made = Bank(tmp_path, networks=networks(worker_id, 1))
    made.shrink()
    try:
        yield made
    finally:
        made.end()


def serves(bank: Bank) -> bool:
    outside, inside = bank.chat("good morning"), bank.chat("good morning", app=COPILOT)
    assert (200, OUTSIDE) == (outside.status, outside.site)
    assert (200, INSIDE) == (inside.status, inside.site)
    return True


def epoch(bank: Bank) -> tuple[int, ...]:
    return tuple(int(part) for part in str(bank.run["epoch"]).split("."))


def credentials(bank: Bank) -> dict[str, str]:
    return {
        f"{row['app']}/{row['client']}": Path(row["credentials"]).read_text("utf-8")
        for row in bank.run["apps"]
        if not row["client"].endswith("-sa")  # a token is made anew
    }


def test_a_killed_demarc_leaves_nothing_and_comes_back_as_it_was(own: Bank) -> None:
    """A machine that lost its power: no engine runs on without its gateway, no policy is lost.

    Restarted, it has the same credentials, the same authority and an epoch that is not lower, or
    agents and clients of before would be locked out. Ended, it leaves no process at all.
    """
    output = own.up()
    assert f"gateway  {own.run['gateway']}" in output
    assert "end it with `demarc down`" in output
    assert serves(own)
    before = (epoch(own), credentials(own), Path(own.run["ca"]).read_bytes())
    token = own.credential(COPILOT, client="copilot-sa")
    running = processes.of(own.state)
    pids = {pid for pod in own.pods() for pid in pod.pids.values()}
    assert pids <= set(running)

    os.kill(int(own.run["pid"]), signal.SIGKILL)

    def ended() -> bool:
        assert {} == processes.of(own.state)
        assert [] == [words for pid, words in running.items() if processes.is_alive(pid)]
        return True

    until(ended, f"nothing runs for {own.state}")

    own.up()
    assert serves(own)
    assert before[0] <= epoch(own)
    assert before[1:] == (credentials(own), Path(own.run["ca"]).read_bytes())
    answer = own.send(
        b"", app="", method="GET", path="/v1/models", more=(("authorization", f"Bearer {token}"),)
    )
    assert 200 == answer.status  # a token of before still proves its account

    said = own.down()
    assert "stopped" in said
    assert {} == processes.of(own.state)
    assert "nothing runs" in own.demarc("down").stdout
    done = own.demarc("get", check=False)
    assert 1 == done.returncode
    assert "no `demarc up` runs" in done.stderr


def waiting(bank: Bank, name: str) -> list[str]:
    """Why containers of a pod are not running, as `kubectl get pod` says it."""
    pods = Running(bank.state).list(POD, "models")
    found = [pod for pod in pods if pod["metadata"]["name"].startswith(name)]
    assert len(found) == 1, [pod["metadata"]["name"] for pod in pods]
    (pod,) = found
    rows = pod["status"].get("containerStatuses", ())
    return [row["state"]["waiting"]["reason"] for row in rows if "waiting" in row["state"]]


def test_a_part_that_dies_again_and_again_is_started_with_pauses(own: Bank) -> None:
    """A part that cannot live must not take the machine, and one that can must come back."""
    own.up()

    for death in range(1, 4):
        os.kill(own.pod("engine", name="glm-4-air").pids["frontend"], signal.SIGKILL)
        if death == 3:
            until(lambda: "CrashLoopBackOff" in waiting(own, "glm-4-air"), "there is a pause")

        def again(count: int = death) -> bool:
            now = own.pod("engine", name="glm-4-air")
            return now.restarts["frontend"] >= count and "frontend" in now.pids and now.ready

        until(again, f"the frontend runs after death {death}", seconds=120)

    until(lambda: serves(own), "it serves again")
    said = own.demarc("get", "dmd", "-o", "json").stdout
    assert "glm-4-air" in said


def test_a_folder_with_problems_does_not_start(own: Bank) -> None:
    """Every problem at once, no process, and the status that scripts look at."""
    own.edit("40-retail.yaml", "order: Cheapest", "order: Dearest")
    own.edit("30-residency.yaml", "registrations:", "registratoins:")

    done = own.demarc("up", str(own.folder), "--detach", check=False, seconds=120)

    assert 2 == done.returncode
    said = done.stdout + done.stderr
    assert "order" in said
    assert "registratoins" in said
    assert "2 problems" in said
    assert {} == processes.of(own.state)


def test_two_banks_cannot_have_one_network(own: Bank, bank: Bank) -> None:
    """Two gateways on one address would take each other's requests."""
    mine = own.folder / "10-sites.yaml"
    theirs = (bank.folder / "10-sites.yaml").read_text("utf-8")
    mine.write_text(theirs, "utf-8")

    done = own.demarc("up", str(own.folder), "--detach", check=False, seconds=120)

    assert done.returncode != 0
    assert 1 == len((done.stdout + done.stderr).strip().splitlines())
    assert "network.cidrs" in done.stdout + done.stderr
    assert 200 == bank.chat("good morning", app=FAQ).status
    assert {} == processes.of(own.state)
