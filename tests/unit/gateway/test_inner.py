"""Does the inner gateway answer what policy says, with a record of why, and nothing else ever?"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demarc.gateway.availability import NOTHING_SEEN, Seen
from demarc.policy import grant
from demarc.policy.decision import Health
from support import builders, gate
from support.gate import CHAT, FAR, NEAR, Bench
from support.recorded import Failing

CARD = "My card is 4111 1111 1111 1111."


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


async def test_an_ordinary_prompt_leaves_with_a_grant_for_these_bytes(bench: Bench) -> None:
    answer = await bench.decide(stream=True)

    assert (200, "egress", "public") == (
        answer.status,
        answer.cluster,
        answer.headers["x-demarc-class"],
    )
    body = gate.chat(stream=True)
    found = grant.verify(
        answer.headers["x-demarc-grant"],
        gate.grant_keys(),
        now=bench.clock.now,
        method="POST",
        path=CHAT,
        body_sha256=hashlib.sha256(body).hexdigest(),
        endpoint=FAR,
        gateway=gate.INNER,
    )
    assert (answer.headers["x-demarc-decision"], "branch-faq") == (found.decision, found.app)
    assert grant.permitted_digest((NEAR, FAR)) == found.permitted
    assert "1" == answer.headers["x-demarc-stream"]


async def test_a_sensitive_prompt_stays_and_carries_no_grant(bench: Bench) -> None:
    answer = await bench.decide(CARD)

    assert (NEAR, "private", "glm-4.5-air") == (
        answer.cluster,
        answer.headers["x-demarc-class"],
        answer.headers["x-demarc-model"],
    )
    assert "x-demarc-grant" not in answer.headers
    assert "x-demarc-stream" not in answer.headers


async def test_the_record_says_what_was_decided_and_holds_no_text(bench: Bench) -> None:
    answer = await bench.decide(CARD)
    (found,) = bench.decisions()

    assert (answer.headers["x-demarc-decision"], "Allow", 200) == (
        found.id,
        found.outcome,
        found.status,
    )
    assert found.caller
    assert ("retail", "branch-faq", "auto") == (found.caller.tenant, found.caller.app, found.model)
    assert found.chosen
    assert (NEAR, "0.70") == (
        found.chosen.endpoint,
        found.chosen.price and found.chosen.price.input,
    )
    assert found.label
    assert "PAN" in found.label.categories
    assert any("cn-financial" in operand.source for operand in found.label.provenance)
    assert [FAR] == [item.endpoint for item in found.removed]
    assert {NEAR: True} == found.health
    assert 64 == len(found.body.mac)
    assert not [data for _, data in bench.disk.log() if b"4111" in data or b"My card" in data]


@pytest.mark.parametrize(
    "key, more, want",
    [
        ("", {}, (401, "invalid_api_key")),
        ("wrong", {}, (401, "invalid_api_key")),
        (builders.FAQ_KEY, {"model": "other"}, (404, "model_not_found")),
        (builders.FAQ_KEY, {"messages": 1}, (400, None)),
        (builders.FAQ_KEY, {"max_tokens": 10**6}, (400, "context_length_exceeded")),
        (builders.FAQ_KEY, {"unknown_field": 1}, (400, None)),
    ],
)
async def test_refusals_read_as_openai_errors_and_are_recorded(
    bench: Bench, key: str, more: dict[str, Any], want: tuple[int, str | None]
) -> None:
    answer = await bench.decide(key=key, **more)
    (found,) = bench.decisions()

    status, code = want
    assert status == answer.status
    assert code in (None, answer.code)
    assert ("Deny", answer.code, status) == (found.outcome, found.reason, found.status)
    assert answer.headers["x-demarc-decision"] == found.id
    assert {"message", "type", "param", "code"} == set(json.loads(answer.body)["error"])


async def test_an_unknown_caller_is_refused_before_the_body_is_read(bench: Bench) -> None:
    """The parser is open to everybody."""
    answer = await gate.ask(bench.inner.serve, f"/decide{CHAT}", body=b"\xff not json")
    (found,) = bench.decisions()

    assert 401 == answer.status
    assert "Bearer" in answer.headers["www-authenticate"]
    assert ("", None) == (found.body.mac, found.caller)


async def test_a_model_that_the_app_does_not_have_leaves_no_text_in_the_record(
    bench: Bench,
) -> None:
    """A caller writes what it likes into a log that others read."""
    answer = await bench.decide(model="4111 1111 1111 1111")

    assert 404 == answer.status
    assert "`auto`" in answer.message
    assert "4111" not in answer.message
    assert [""] == [found.model for found in bench.decisions()]


@pytest.mark.parametrize(
    "method, path, want",
    [
        ("GET", CHAT, 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/embeddings", 404),
        ("POST", f"{CHAT}?x=1", 400),
        ("POST", f"/{CHAT}", 400),
        ("POST", "/v1/chat/../chat/completions", 400),
        ("POST", "", 404),
    ],
)
async def test_only_known_paths_and_methods_pass(
    bench: Bench, method: str, path: str, want: int
) -> None:
    body = gate.chat()
    answer = await gate.ask(
        bench.inner.serve, f"/decide{path}", method=method, body=body, headers=gate.lines(body)
    )

    assert (want, "") == (answer.status, answer.cluster)


async def test_without_a_policy_nothing_passes(bench: Bench) -> None:
    bench.policy = None
    answer = await bench.decide()

    assert (429, "503", "no_policy") == (
        answer.status,
        answer.headers["x-demarc-status"],
        answer.code,
    )


async def test_no_healthy_endpoint_is_a_503_and_never_another(bench: Bench) -> None:
    """A sensitive request falls back to where it may not go."""
    bench.seen = Seen({NEAR: Health(up=False)}, Health(up=True))
    inside = await bench.decide(CARD)
    outside = await bench.decide()
    bench.seen = NOTHING_SEEN
    nothing = await bench.decide()

    assert (429, "503", "no_capacity", "1") == (
        inside.status,
        inside.headers["x-demarc-status"],
        inside.code,
        inside.headers["retry-after"],
    )
    assert "egress" == outside.cluster
    assert "no_capacity" == nothing.code


async def test_a_far_side_that_fails_is_avoided(bench: Bench) -> None:
    bench.far.failed(FAR, bench.clock.seconds)

    assert NEAR == (await bench.decide()).cluster
    bench.clock.advance(1.0)
    assert ["egress", NEAR] == [(await bench.decide()).cluster for _ in range(2)]


async def test_a_stale_policy_closes_public_alone(bench: Bench) -> None:
    bench.policy = gate.in_force(closed="no heartbeat for this epoch within 15 min")
    answer = await bench.decide()
    (found,) = bench.decisions()

    assert NEAR == answer.cluster
    assert "heartbeat" in found.public


async def test_a_grant_key_that_the_policy_does_not_hold_closes_the_way_out(bench: Bench) -> None:
    """Grants are signed that egress refuses, and every request fails instead of staying."""
    bench.policy = gate.in_force(gate.epoch(grant_keys=()))
    assert NEAR == (await bench.decide()).cluster

    bench.policy = gate.in_force()
    (bench.folder / "grant.key").unlink()
    assert NEAR == (await bench.decide()).cluster


@pytest.mark.parametrize("operation", ["write", "sync", "open"])
async def test_when_nothing_can_be_recorded_only_private_endpoints_remain(
    bench: Bench, operation: str
) -> None:
    """A request leaves and no trace of it stays."""
    bench.disk.fault = Failing(frozenset({operation}))

    assert [NEAR] * 3 == [(await bench.decide()).cluster for _ in range(3)]
    assert 3 == bench.metrics.value("demarc_unrecorded_decisions_total")
    assert 0 == bench.metrics.value("demarc_records_writable")
    assert 401 == (await bench.decide(key="wrong")).status


async def test_the_gap_itself_is_recorded_and_public_opens_again(bench: Bench) -> None:
    await bench.decide()
    bench.disk.fault = Failing(frozenset({"write"}))
    await bench.decide()
    await bench.decide(model="other")
    bench.disk.fault = lambda _: None
    bench.clock.advance(1.1)
    bench.recorder.look()
    await asyncio.sleep(0.05)
    again = await bench.decide()
    (note,) = bench.notes("Gap")

    assert "egress" == again.cluster
    assert note.gap
    assert (1, 1) == (note.gap.allowed, note.gap.denied)
    assert 2 == len(bench.decisions())
    assert 1 == bench.metrics.value("demarc_records_writable")


async def test_a_disk_that_hangs_does_not_hang_the_gateway(bench: Bench) -> None:
    """Envoy's time for a decision runs out, and every request is a 503."""
    await bench.decide()
    release = threading.Event()
    bench.disk.fault = lambda _: (release.wait(5), None)[1]
    waiting = asyncio.create_task(bench.decide())
    await asyncio.sleep(0.02)
    bench.clock.advance(bench.patience + 1)
    bench.recorder.look()

    assert NEAR == (await waiting).cluster
    release.set()
    bench.disk.fault = lambda _: None
    for _ in range(20):
        bench.clock.advance(1.1)
        bench.recorder.look()
        await asyncio.sleep(0.01)
    notes = [note.gap for note in bench.notes("Gap") if note.gap]
    assert ["2".rjust(32, "0")] == [item for gap in notes for item in gap.superseded]
    assert 1 == sum(gap.allowed for gap in notes)
    assert "egress" == (await bench.decide()).cluster


async def test_refusals_of_unknown_callers_cannot_fill_the_disk(bench: Bench) -> None:
    """Anybody who reaches the port can close Public for all."""
    answers = [await bench.decide(key="wrong") for _ in range(260)]
    bench.clock.advance(1.1)
    bench.recorder.look()
    await asyncio.sleep(0.05)

    assert {401} == {answer.status for answer in answers}
    assert len(bench.decisions()) <= 201
    assert [260 - len(bench.decisions())] == [note.number for note in bench.notes("Refusals")]


async def test_models_are_listed_for_the_app_alone(bench: Bench) -> None:
    headers = gate.lines(b"")[2:]
    first = await gate.ask(bench.inner.serve, "/decide/v1/models", method="GET", headers=headers)
    second = await gate.ask(bench.inner.serve, "/v1/models", method="GET", headers=headers)
    stranger = await gate.ask(bench.inner.serve, "/v1/models", method="GET")

    assert (200, "agent") == (first.status, first.cluster)
    assert ["auto"] == [item["id"] for item in json.loads(second.body)["data"]]
    assert 401 == stranger.status
    assert ["list_models"] == [found.reason for found in bench.decisions()]


@pytest.mark.parametrize("path", ["/", "/v1/chat/completions", "/decidex", "/verify/v1", ""])
async def test_the_socket_answers_nothing_else(bench: Bench, path: str) -> None:
    """What reaches the socket without the question's prefix could be taken for an allow."""
    body = gate.chat()
    answer = await gate.ask(bench.inner.serve, path, body=body, headers=gate.lines(body))

    assert 404 == answer.status


async def test_a_fault_of_ours_lets_nothing_through(bench: Bench) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("4111 1111 1111 1111")

    bench.policy = Broken()  # type: ignore[assignment]
    answer = await bench.decide()

    assert (429, "internal_error") == (answer.status, answer.code)
    assert b"4111" not in answer.body


async def test_a_large_body_is_looked_at_beside_the_others(bench: Bench) -> None:
    answer = await bench.decide("word " * 20_000)
    sensitive = await bench.decide("word " * 20_000 + CARD)

    assert (NEAR, NEAR) == (answer.cluster, sensitive.cluster)
    assert [True, False] == [
        "PAN" not in found.label.categories for found in bench.decisions() if found.label
    ]


async def test_a_policy_that_changes_while_a_large_body_is_looked_at_counts(bench: Bench) -> None:
    """A credential that was just taken back still gets its answer."""
    waiting = asyncio.create_task(bench.decide("word " * 20_000))
    await asyncio.sleep(0)
    bench.policy = gate.in_force(gate.epoch(credentials={}))

    assert 401 == (await waiting).status


@settings(max_examples=60)
@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
async def test_no_bytes_get_an_answer_without_a_decision(
    body: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    answer = await gate.ask(
        bench.inner.serve, f"/decide{CHAT}", body=body, headers=gate.lines(body)
    )
    bench.close()

    assert 400 <= answer.status < 500
    assert 1 == len(bench.decisions())
