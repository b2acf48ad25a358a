"""What is booked for a finished request? One row of usage from Envoy's line and the decision; pure.

    reported    the frontend's trailer says how many tokens
    partial     the answer broke off and no trailer came: estimated from what was sent
    estimated   the answer ended and no trailer came: estimated

Rules:
    A request that reached an engine is booked, never with nothing.
    A request that reached none (refused, no replica) is no usage.
    Estimates are written so that they do not flatter: a byte count over the usual ratio.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from demarc.gateway.facts import Facts
from demarc.ledger.usage import Row, State
from demarc.policy import choice
from demarc.policy.epoch import Price
from demarc.xds.access_log import AccessLine
from demarc.xds.clusters import AGENT, EGRESS

_TRAILER = re.compile(r"in=(\d{1,12});out=(\d{1,12});source=([a-z-]{1,32})(?:;.*)?")
_BYTES_PER_TOKEN = 3
_BYTES_PER_CHUNK = 200
"""Of a streamed answer: one chunk is about one token in 200 bytes of JSON."""
_BYTES_AROUND = 300
"""Of an answer that is not streamed: JSON around the text."""
_SERVER_ERROR = 500
_BROKEN_FLAGS = frozenset({"DC", "DPE", "DT", "LR", "SI", "UC", "UPE", "UR", "UT"})
"""Response flags of an answer that broke off."""
_UNREACHED_FLAGS = frozenset({"UF", "UH"})
"""Response flags of a request that no replica took. Retries are of such requests alone, so a
replica had it only if a flag of a broken answer stands beside them."""
UNKNOWN = Facts("", "", "", "", "", "", "", None, 0, stream=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a line says of the far side of a Public endpoint."""

    endpoint: str
    failed: bool


def row(line: AccessLine, facts: Facts | None) -> Row | None:
    """The row to book; None: nothing was used.

    Args:
        line: one of an inner gateway.
        facts: of its decision; None when no trace of it is left: then the tokens are booked to
            nobody, and can be seen there.
    """
    if not line.decision or not line.host or line.cluster in {None, AGENT}:
        return None
    if line.cluster == EGRESS and not line.far:
        return None  # the egress gateway itself refused it
    flags = frozenset(line.flags.split(","))
    broke = not _BROKEN_FLAGS.isdisjoint(flags)
    if not broke and not _UNREACHED_FLAGS.isdisjoint(flags):
        return None
    known = facts or UNKNOWN
    counted = _counted(line.usage)
    if counted == (0, 0, "tokenizer"):
        return None  # the frontend says that the engine was not asked
    if counted is not None:
        tokens_in, tokens_out, source = counted
        state = State.REPORTED
    else:
        tokens_in, tokens_out = max(1, known.prompt_tokens), _estimated_out(line, known)
        source = "bytes"
        state = State.PARTIAL if broke else State.ESTIMATED
    endpoint = known.endpoint or line.endpoint or ""
    cost, currency = _cost(known.price, tokens_in, tokens_out)
    return Row(
        decision=line.decision,
        attempt=1,
        tenant=known.tenant,
        app=known.app,
        client=known.client,
        model=known.model,
        endpoint=endpoint,
        site=known.site or endpoint.rpartition("@")[2],
        scope=known.scope,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=cost,
        currency=currency,
        state=state,
        source=source,
        at=_time(line.ts),
        status=line.code,
        milliseconds=line.ms,
    )


def verdict(line: AccessLine) -> Verdict | None:
    """How the far side of a Public endpoint answered; None: the line says nothing of it."""
    if line.cluster != EGRESS or not line.endpoint or not line.far or line.code == 0:
        return None
    return Verdict(line.endpoint, failed=line.code >= _SERVER_ERROR)


def _counted(usage: str | None) -> tuple[int, int, str] | None:
    found = _TRAILER.fullmatch(usage) if usage else None
    return (int(found[1]), int(found[2]), found[3]) if found else None


def _estimated_out(line: AccessLine, facts: Facts) -> int:
    if line.tx <= 0:
        return 0
    if facts.stream:
        return -(-line.tx // _BYTES_PER_CHUNK)
    return max(1, -(-(line.tx - _BYTES_AROUND) // _BYTES_PER_TOKEN))


def _cost(price: Price | None, tokens_in: int, tokens_out: int) -> tuple[str, str]:
    if price is None:
        return "", ""
    units = tokens_in * price.input_units + tokens_out * price.output_units
    return choice.amount(units), price.currency


def _time(stamp: str) -> str:
    """RFC 3339 from seconds since 1970 with a fraction."""
    whole, _, fraction = stamp.partition(".")
    try:
        at = datetime.fromtimestamp(int(whole), UTC)
    except (ValueError, OverflowError, OSError):
        at = datetime.fromtimestamp(0, UTC)
    micro = (fraction + "000000")[:6]
    return f"{at:%Y-%m-%dT%H:%M:%S}.{micro if micro.isdigit() else '000000'}Z"
