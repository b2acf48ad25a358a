"""Does egress let out only what it would have permitted itself? The inner gateway may lie."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.gateway.keeping import InForce
from demarc.policy import grant
from demarc.policy import label as labels
from demarc.policy.epoch import EpochNumber
from support import builders, gate
from support.gate import FAR, NEAR, Bench
from support.recorded import Failing

CARD = "My card is 4111 1111 1111 1111."


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


async def test_what_the_inner_gateway_granted_passes(bench: Bench) -> None:
    inner = await bench.decide(stream=True)
    answer = await bench.verify(gate.chat(stream=True), inner.headers["x-demarc-grant"])

    assert (200, FAR, "public") == (answer.status, answer.cluster, answer.headers["x-demarc-class"])
    assert "1" == answer.headers["x-demarc-stream"]
    assert inner.headers["x-demarc-decision"] == answer.headers["x-demarc-decision"]


async def test_both_gateways_record_the_same_decision(bench: Bench) -> None:
    inner = await bench.decide()
    await bench.verify(gate.chat(), inner.headers["x-demarc-grant"])
    first, second = bench.decisions()

    assert ("inner", "egress", first.id) == (first.role, second.role, second.id)
    assert (first.label, first.caller, first.body.mac) == (
        second.label,
        second.caller,
        second.body.mac,
    )
    assert second.granted
    assert gate.INNER == second.granted.gateway


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"app": "copilot"}, "another caller"),
        ({"tenant": "risk"}, "another caller"),
        ({"client": "copilot-sa"}, "another caller"),
        ({"credential": "secret:retail/other/token"}, "another caller"),
        ({"endpoint": NEAR}, "another endpoint"),
        ({"method": "GET"}, "another method"),
        ({"path": "/v1/models"}, "another path"),
        ({"body_sha256": "0" * 64}, "another body"),
        ({"gateway": "spiffe://demarc/cloud-sg/inner"}, "not trusted"),
        ({"label": labels.bottom()}, "label is not"),
        ({"permitted": "0" * 64}, "permitted set"),
        ({"epoch_hash": "0" * 64}, "another epoch of the same number"),
        ({"expires": builders.NOW - timedelta(seconds=6)}, "expired"),
        ({"expires": builders.NOW + timedelta(hours=1)}, "not valid yet"),
    ],
)
async def test_a_grant_for_something_else_is_refused(
    bench: Bench, changes: dict[str, Any], why: str
) -> None:
    body = gate.chat()
    answer = await bench.verify(body, bench.granted(body, **changes))
    (found,) = bench.decisions()

    assert (403, "egress_refused", "") == (answer.status, answer.code, answer.cluster)
    assert why in answer.message
    assert ("Deny", "egress_refused", None) == (found.outcome, found.reason, found.chosen)


@pytest.mark.parametrize(
    "changes",
    [{}, {"label": labels.close(1, (), {"CN"})}, {"permitted": grant.permitted_digest((FAR,))}],
)
async def test_a_lying_inner_gateway_gets_no_sensitive_byte_out(
    bench: Bench, changes: dict[str, Any]
) -> None:
    """The inner agent was taken over: it signs what it likes, with the right key."""
    body = gate.chat(CARD)
    answer = await bench.verify(body, bench.granted(body, **changes))

    assert (403, "egress_refused") == (answer.status, answer.code)
    assert "policy" in answer.message


async def test_what_no_policy_allows_at_all_is_refused_by_its_reason(bench: Bench) -> None:
    body = gate.chat(model="other")
    answer = await bench.verify(body, bench.granted(body))

    assert (403, True) == (answer.status, "model_not_found" in answer.message)


async def test_an_older_epoch_of_the_grant_is_judged_by_the_own_one(bench: Bench) -> None:
    """A tightening that the inner gateway has not seen yet does not count at the last door."""
    body = gate.chat()
    old = bench.granted(body)
    assert bench.policy
    newer = replace(bench.policy.epoch, number=EpochNumber(1, 2), hash="9" * 64)
    bench.policy = gate.in_force(newer)
    passed = await bench.verify(body, old)
    bench.policy = gate.in_force(replace(newer, registrations=()))
    refused = await bench.verify(body, bench.granted(body, epoch=EpochNumber(1, 1)))

    assert (FAR, 403) == (passed.cluster, refused.status)
    assert "policy" in refused.message


async def test_an_epoch_that_is_behind_is_a_503_that_may_be_tried_again(bench: Bench) -> None:
    body = gate.chat()
    answer = await bench.verify(body, bench.granted(body, epoch=EpochNumber(1, 2)))

    assert (429, "503", "epoch_behind") == (
        answer.status,
        answer.headers["x-demarc-status"],
        answer.code,
    )


async def test_the_same_grant_does_not_pass_twice(bench: Bench) -> None:
    body = gate.chat()
    text = bench.granted(body)

    assert [200, 403] == [(await bench.verify(body, text)).status for _ in range(2)]


@pytest.mark.parametrize("key", ["", "wrong"])
async def test_the_caller_proves_itself_again(bench: Bench, key: str) -> None:
    """A grant alone, taken from a log or a dump, opens the way out."""
    body = gate.chat()
    answer = await bench.verify(body, bench.granted(body), key=key)

    assert (403, True) == (answer.status, "caller" in answer.message)


async def test_a_raise_of_the_caller_counts_here_too(bench: Bench) -> None:
    body = gate.chat()
    answer = await bench.verify(body, bench.granted(body), demarc_level="4")

    assert 403 == answer.status


async def test_another_key_signs_nothing(bench: Bench) -> None:
    body = gate.chat()
    assert bench.policy
    stranger = Ed25519PrivateKey.generate()
    value = grant.Grant(
        decision="d",
        tenant="retail",
        app="branch-faq",
        client="faq-key",
        credential="secret:retail/faq-key/token",
        endpoint=FAR,
        gateway=gate.INNER,
        method="POST",
        path=gate.CHAT,
        body_sha256=hashlib.sha256(body).hexdigest(),
        label=bench.label(body),
        epoch=bench.policy.epoch.number,
        epoch_hash=bench.policy.epoch.hash,
        permitted=grant.permitted_digest((NEAR, FAR)),
        expires=bench.clock.now + grant.LIFETIME,
    )

    assert 403 == (await bench.verify(body, grant.sign(value, stranger, "g1"))).status


@pytest.mark.parametrize("text", ["", "x", "a.b", "e30.e30", "." * 1000])
async def test_what_is_no_grant_is_refused(bench: Bench, text: str) -> None:
    assert 403 == (await bench.verify(gate.chat(), text)).status


async def test_no_grant_at_all_is_refused(bench: Bench) -> None:
    body = gate.chat()
    found = gate.lines(body)
    answer = await gate.ask(bench.egress.serve, f"/verify{gate.CHAT}", body=body, headers=found)

    assert 403 == answer.status


async def test_a_private_endpoint_is_not_reached_from_here(bench: Bench) -> None:
    body = gate.chat()
    answer = await bench.verify(body, bench.granted(body, endpoint=NEAR), endpoint=NEAR)

    assert (403, True) == (answer.status, "does not permit" in answer.message)


async def test_public_that_is_closed_here_lets_nothing_out(bench: Bench) -> None:
    """The egress agent has heard no heartbeat; the inner one has."""
    body = gate.chat()
    text = bench.granted(body)
    bench.policy = gate.in_force(closed="no heartbeat")

    assert 403 == (await bench.verify(body, text)).status


async def test_nothing_leaves_without_a_record_here(bench: Bench) -> None:
    body = gate.chat()
    text = bench.granted(body)
    bench.disk.fault = Failing(frozenset({"write"}))
    answer = await bench.verify(body, text)

    assert (429, "not_recorded") == (answer.status, answer.code)
    assert 1 == bench.metrics.value("demarc_unrecorded_decisions_total")


@pytest.mark.parametrize("policy", [None, "broken"])
async def test_without_a_policy_nothing_leaves(bench: Bench, policy: str | None) -> None:
    body = gate.chat()
    text = bench.granted(body)
    bench.policy = None if policy is None else InForce(None, None, None, "")  # type: ignore[arg-type]
    answer = await bench.verify(body, text)

    assert (429, "") == (answer.status, answer.cluster)


async def test_a_large_body_is_verified_too(bench: Bench) -> None:
    text = "字" * 12_000 + " open an account"
    body = gate.chat(text)
    assert len(body) > 64 * 1024

    passed = await bench.verify(body, bench.granted(body))
    body = gate.chat(text + CARD)
    refused = await bench.verify(body, bench.granted(body))

    assert (FAR, 403) == (passed.cluster, refused.status)
