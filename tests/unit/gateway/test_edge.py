"""Does the door of a remote site open for a fresh grant alone?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from demarc.policy.epoch import EpochNumber
from support import builders, gate
from support.gate import FAR, NEAR, Bench
from support.recorded import Failing


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


async def test_a_granted_request_comes_in_under_its_decision(bench: Bench) -> None:
    body = gate.chat(stream=True)
    answer = await bench.admit(body, bench.granted(body))
    (found,) = bench.decisions()

    assert (200, FAR, "glm-4-flash", "cloud-sg", "1") == (
        answer.status,
        answer.cluster,
        answer.headers["x-demarc-model"],
        answer.headers["x-demarc-site"],
        answer.headers["x-demarc-stream"],
    )
    assert (found.id, "edge", "Allow") == (
        answer.headers["x-demarc-decision"],
        found.role,
        found.outcome,
    )
    assert "x-demarc-grant" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": NEAR},
        {"body_sha256": "0" * 64},
        {"method": "GET"},
        {"path": "/v1/models"},
        {"gateway": "spiffe://demarc/other/inner"},
        {"expires": builders.NOW - timedelta(seconds=6)},
        {"expires": builders.NOW + timedelta(hours=1)},
    ],
)
async def test_a_grant_for_something_else_is_refused(bench: Bench, changes: dict[str, Any]) -> None:
    body = gate.chat()
    answer = await bench.admit(body, bench.granted(body, **changes))

    assert (403, "edge_refused", "") == (answer.status, answer.code, answer.cluster)


async def test_an_endpoint_of_another_site_is_refused(bench: Bench) -> None:
    body = gate.chat()
    answer = await bench.admit(body, bench.granted(body, endpoint=NEAR), endpoint=NEAR)

    assert 403 == answer.status


async def test_an_endpoint_that_is_not_known_yet_is_asked_for_again(bench: Bench) -> None:
    """A deployment that was just added would answer 403 to its first callers, who give up."""
    body = gate.chat()
    new = "models/new@cloud-sg"
    later = bench.granted(body, endpoint=new, epoch=EpochNumber(9, 9))

    behind = await bench.admit(body, later, endpoint=new)
    gone = await bench.admit(body, bench.granted(body, endpoint=new), endpoint=new)

    assert (429, "extract_behind", "") == (behind.status, behind.code, behind.cluster)
    assert (403, "edge_refused", "") == (gone.status, gone.code, gone.cluster)


async def test_a_grant_comes_in_once(bench: Bench) -> None:
    body = gate.chat()
    text = bench.granted(body)

    assert [200, 403] == [(await bench.admit(body, text)).status for _ in range(2)]


async def test_bytes_that_cannot_be_read_are_refused(bench: Bench) -> None:
    text = bench.granted(b"{}", label=bench.label(gate.chat()))

    assert 403 == (await bench.admit(b"{}", text)).status


async def test_without_an_extract_nobody_comes_in(bench: Bench) -> None:
    bench.extract = None
    body = gate.chat()

    assert (429, "no_policy") == (
        (a := await bench.admit(body, bench.granted(body))).status,
        a.code,
    )


async def test_without_a_record_nobody_comes_in(bench: Bench) -> None:
    bench.disk.fault = Failing(frozenset({"sync"}))
    body = gate.chat()

    assert (429, "not_recorded") == (
        (a := await bench.admit(body, bench.granted(body))).status,
        a.code,
    )


async def test_a_rehearsal_sees_every_body_also_of_what_is_refused(bench: Bench) -> None:
    """The positive control of the demonstration is missing."""
    body = gate.chat("canary")
    await bench.admit(body, "no grant")

    assert [body] == bench.rehearsed


async def test_a_rehearsal_that_fails_lets_nobody_in(bench: Bench) -> None:
    def broken(_: bytes) -> None:
        raise OSError("the disk is full")

    bench.edge._rehearse = broken
    body = gate.chat()

    assert (429, "internal_error") == (
        (a := await bench.admit(body, bench.granted(body))).status,
        a.code,
    )
