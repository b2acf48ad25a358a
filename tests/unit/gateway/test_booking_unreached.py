"""Is a request that no engine got free of charge?"""

from __future__ import annotations

from decimal import Decimal

import pytest

from demarc.gateway import booking
from demarc.gateway.facts import Facts
from demarc.ledger.usage import State
from demarc.policy.epoch import Price
from demarc.xds.access_log import AccessLine

ENDPOINT = "models/glm-4-air@shanghai-dc"
FACTS = Facts(
    tenant="retail",
    app="copilot",
    client="copilot-key",
    model="auto",
    endpoint=ENDPOINT,
    site="shanghai-dc",
    scope="Private",
    price=Price(Decimal("0.70"), Decimal("2.80"), "USD"),
    prompt_tokens=23,
    stream=False,
)


def line(flags: str) -> AccessLine:
    """What Envoy writes for a 503 that it gives itself, after a replica's address was chosen."""
    return AccessLine(
        ts="1795544351.137137",
        decision="01a20ec881a17996bfe4fb78b801ad22",
        endpoint=ENDPOINT,
        epoch="1.1",
        code=503,
        details="upstream_reset_before_response_started",
        flags=flags,
        cluster=ENDPOINT,
        host="127.244.1.2:8443",
        attempts=3,
        rx=69,
        tx=134,
        ms=18,
        ttfb=None,
        protocol="HTTP/1.1",
        usage=None,
        far=False,
    )


@pytest.mark.parametrize("flags", ["UF", "URX,UF", "UH"])
def test_a_refused_connection_is_no_usage(flags: str) -> None:
    """A tenant would pay for every attempt while its engines are down."""
    assert booking.row(line(flags), FACTS) is None


@pytest.mark.parametrize("flags", ["UC", "UF,UC", "UT,UF"])
def test_an_answer_that_broke_off_is_booked(flags: str) -> None:
    """An engine may have worked on it; usage would be lost."""
    row = booking.row(line(flags), FACTS)

    assert row is not None
    assert (State.PARTIAL, 23) == (row.state, row.tokens_in)
