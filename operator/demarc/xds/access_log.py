"""What does Envoy write about each request, and how is a line read? One JSON object a line.

INVARIANT: no operator of the format prints a header, path, query or body of a caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from demarc.xds import headers

_AUTHZ = "envoy.filters.http.ext_authz"
FAR_NAMESPACE = "demarc"
FAR_KEY = "far"
EPOCH_NAMESPACE = "demarc"
EPOCH_KEY = "epoch"

FORMAT: Mapping[str, str] = {
    "ts": "%START_TIME(%s.%6f)%",
    "decision": f"%DYNAMIC_METADATA({_AUTHZ}:{headers.DECISION})%",
    "endpoint": f"%DYNAMIC_METADATA({_AUTHZ}:{headers.ENDPOINT})%",
    "epoch": f"%METADATA(ROUTE:{EPOCH_NAMESPACE}:{EPOCH_KEY})%",
    "code": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "host": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "rx": "%BYTES_RECEIVED%",
    "tx": "%BYTES_SENT%",
    "ms": "%DURATION%",
    "ttfb": "%RESPONSE_DURATION%",
    "protocol": "%PROTOCOL%",
    "usage": f"%TRAILER({headers.USAGE})%",
    "far": f"%DYNAMIC_METADATA({FAR_NAMESPACE}:{FAR_KEY})%",
}
"""Field -> command operator.

Source: https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage
"""


@dataclass(frozen=True, slots=True)
class AccessLine:
    """One finished request as Envoy saw it. None: Envoy had no value.

    Attributes:
        ts: start, seconds since 1970 with microseconds, as text.
        decision: decision id; None when the agent was never asked or gave none.
        endpoint: the endpoint that the decision chose, also when the way leads over egress.
        epoch: number of the epoch (at an edge: extract) whose routes were used.
        code: status sent to the caller; 0 when none was.
        details: Envoy's reason, for example `via_upstream` or `ext_authz_denied`.
        flags: Envoy's response flags, comma-separated; empty when there are none.
        cluster: Envoy cluster used.
        host: address of the replica used.
        attempts: upstream attempts.
        rx, tx: body bytes received from and sent to the caller.
        ms: whole duration in milliseconds.
        ttfb: milliseconds from the start to the first byte of the upstream's answer.
        protocol: the caller's HTTP version.
        usage: the usage trailer, `in=12;out=3;source=tokenizer`.
        far: true when the status is the far side's (edge or beyond) and not a refusal of egress.
    """

    ts: str
    decision: str | None
    endpoint: str | None
    epoch: str | None
    code: int
    details: str | None
    flags: str
    cluster: str | None
    host: str | None
    attempts: int
    rx: int
    tx: int
    ms: int
    ttfb: int | None
    protocol: str | None
    usage: str | None
    far: bool


def parse(line: bytes | str) -> AccessLine | None:
    """One whole line of the log; None for what is not one: it is counted and never guessed."""
    try:
        found: object = msgspec.json.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not FORMAT.keys() <= found.keys():
        return None
    try:
        return AccessLine(
            ts=_need(_text(found["ts"])),
            code=_number(found["code"]) or 0,
            flags=_text(found["flags"]) or "",
            attempts=_number(found["attempts"]) or 0,
            rx=_number(found["rx"]) or 0,
            tx=_number(found["tx"]) or 0,
            ms=_number(found["ms"]) or 0,
            ttfb=_number(found["ttfb"]),
            far=found["far"] is not None,
            **{name: _text(found[name]) for name in _TEXTS},
        )
    except ValueError:
        return None


_TEXTS = ("decision", "endpoint", "epoch", "details", "cluster", "host", "protocol", "usage")


def render(path: str) -> Mapping[str, Any]:
    """The access logger over a file."""
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": dict(FORMAT)},
        },
    }


def _need(value: str | None) -> str:
    if value is None:
        raise ValueError("a line has no start time")
    return value


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return None if value in {"", "-"} else value
    raise ValueError("not a text")


def _number(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("not a number")
