"""Is what an engine did booked, never with nothing, and what it did not do never?"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.gateway import booking
from demarc.gateway.booking import Verdict
from demarc.gateway.facts import Facts
from demarc.ledger.usage import State
from demarc.policy.epoch import Price
from demarc.xds.access_log import AccessLine
from support.gate import FAR, NEAR

LINE = AccessLine(
    ts="1796126400.250000",
    decision="d1",
    endpoint=NEAR,
    epoch="1.1",
    code=200,
    details="via_upstream",
    flags="",
    cluster=NEAR,
    host="10.244.0.1:8443",
    attempts=1,
    rx=120,
    tx=900,
    ms=40,
    ttfb=12,
    protocol="HTTP/1.1",
    usage="in=12;out=3;source=tokenizer;finish=stop",
    far=False,
)
FACTS = Facts(
    tenant="retail",
    app="copilot",
    client="copilot-sa",
    model="auto",
    endpoint=NEAR,
    site="shanghai-dc",
    scope="Private",
    price=Price(Decimal("0.70"), Decimal("2.80"), "USD"),
    prompt_tokens=40,
    stream=False,
)
OUT = replace(LINE, cluster="egress", endpoint=FAR, far=True)


def test_a_trailer_is_booked_as_it_says_at_the_price_of_the_decision() -> None:
    row = booking.row(LINE, FACTS)

    assert row
    assert (12, 3, "0.0000168", "USD", State.REPORTED, "tokenizer") == (
        row.tokens_in,
        row.tokens_out,
        row.cost,
        row.currency,
        row.state,
        row.source,
    )
    assert ("d1", 1, "retail", "copilot", "auto", "shanghai-dc", "Private") == (
        row.decision,
        row.attempt,
        row.tenant,
        row.app,
        row.model,
        row.site,
        row.scope,
    )
    assert "2026-12-01T12:00:00.250000Z" == row.at


@pytest.mark.parametrize(
    "changes, want",
    [
        ({}, State.ESTIMATED),
        ({"flags": "DC"}, State.PARTIAL),
        ({"flags": "UPE,UC"}, State.PARTIAL),
        ({"code": 0, "flags": "DC", "tx": 0}, State.PARTIAL),
        ({"code": 504, "flags": "UT", "tx": 100}, State.PARTIAL),
        ({"code": 500}, State.ESTIMATED),
    ],
)
@pytest.mark.parametrize(
    "usage", [None, "", "in=;out=", "in=1;out=2", "in=-1;out=2;source=x", "garbage"]
)
def test_without_a_trailer_it_is_estimated_and_never_nothing(
    changes: dict[str, object], want: State, usage: str | None
) -> None:
    row = booking.row(replace(LINE, usage=usage, **changes), FACTS)  # type: ignore[arg-type]

    assert row
    assert (want, "bytes", 40) == (row.state, row.source, row.tokens_in)
    assert (row.tokens_out > 0) == (row_bytes(changes) > 0)
    assert Decimal(row.cost) > 0


def row_bytes(changes: dict[str, object]) -> int:
    return int(changes.get("tx", 900))  # type: ignore[call-overload]


def test_a_stream_is_estimated_by_its_chunks() -> None:
    row = booking.row(replace(LINE, usage=None, tx=10_000), replace(FACTS, stream=True))

    assert row
    assert 50 == row.tokens_out


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": None},
        {"host": None, "cluster": None, "code": 401, "usage": None},
        {"host": None, "code": 503, "flags": "UH", "usage": None},
        {"cluster": "agent"},
        {"cluster": "egress", "far": False, "code": 403, "usage": None},
        {"usage": "in=0;out=0;source=tokenizer;finish=refused", "code": 400},
    ],
)
def test_what_reached_no_engine_is_no_usage(changes: dict[str, object]) -> None:
    """Refusals are billed."""
    assert booking.row(replace(LINE, **changes), FACTS) is None  # type: ignore[arg-type]


def test_a_decision_of_which_nothing_is_known_is_booked_to_nobody() -> None:
    """Tokens vanish with the memory of a process."""
    row = booking.row(LINE, None)

    assert row
    assert ("", NEAR, "shanghai-dc", "", 12) == (
        row.tenant,
        row.endpoint,
        row.site,
        row.cost,
        row.tokens_in,
    )


def test_an_endpoint_without_a_price_has_no_cost() -> None:
    row = booking.row(LINE, replace(FACTS, price=None))

    assert row
    assert ("", "") == (row.cost, row.currency)


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.decimals("0", "1000", places=9))
def test_cost_is_exact(tokens_in: int, tokens_out: int, price: Decimal) -> None:
    usage = f"in={tokens_in};out={tokens_out};source=tokenizer"
    facts = replace(FACTS, price=Price(price, price, "USD"))
    row = booking.row(replace(LINE, usage=usage), facts)

    assert row
    assert (tokens_in + tokens_out) * price / 10**6 == Decimal(row.cost)


@pytest.mark.parametrize("stamp", ["", "x", "1e9", "9" * 30, "-1.5", "1796126400"])
def test_a_strange_time_stamp_is_no_exception(stamp: str) -> None:
    row = booking.row(replace(LINE, ts=stamp), FACTS)

    assert row
    assert 27 == len(row.at)


@pytest.mark.parametrize(
    "changes, want",
    [
        ({}, Verdict(FAR, failed=False)),
        ({"code": 404}, Verdict(FAR, failed=False)),
        ({"code": 500}, Verdict(FAR, failed=True)),
        ({"code": 503}, Verdict(FAR, failed=True)),
        ({"code": 403, "far": False}, None),
        ({"code": 503, "far": False}, None),
        ({"code": 0}, None),
        ({"cluster": NEAR, "code": 503}, None),
        ({"endpoint": None}, None),
    ],
)
def test_only_the_far_sides_own_answers_speak_of_it(
    changes: dict[str, object], want: Verdict | None
) -> None:
    """A refusal by policy takes an endpoint out of use."""
    assert want == booking.verdict(replace(OUT, **changes))  # type: ignore[arg-type]
