"""Is this epoch still the one? A small signed statement, every 60 s, that it is.

An agent that hears nothing for the epoch's `max_age` closes Public; Private never depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.policy import signature
from demarc.policy.document import format_time, parse_time
from demarc.policy.epoch import Epoch
from demarc.policy.signature import Trust

PURPOSE = "demarc.dev/heartbeat/v1"
INTERVAL = timedelta(seconds=60)
SKEW = timedelta(seconds=5)
"""How far the signer's clock may run ahead of this one."""


class HeartbeatError(Exception):
    """The text is no heartbeat of a trusted key."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """At `at`, the epoch with this hash was the one in force."""

    epoch_hash: str
    at: datetime


def sign(heartbeat: Heartbeat, key: Ed25519PrivateKey, key_id: str) -> str:
    """The text that is published beside the epoch."""
    return signature.seal(
        PURPOSE,
        {"epochHash": heartbeat.epoch_hash, "at": format_time(heartbeat.at)},
        key,
        key_id,
    )


def verify(text: str, trust: Trust) -> Heartbeat:
    """The heartbeat in a text.

    Raises:
        HeartbeatError: no trusted key signed it, or it is something else.
    """
    try:
        _, value = signature.unseal(PURPOSE, text, trust.keys)
    except signature.SignatureError as error:
        raise HeartbeatError(f"heartbeat is refused: {error}") from error
    match value:
        case {"epochHash": str(content), "at": str(at)}:
            try:
                return Heartbeat(content, parse_time(at))
            except ValueError as error:
                raise HeartbeatError("heartbeat has no readable time") from error
        case _:
            raise HeartbeatError("heartbeat must have epochHash and at")


def staleness(
    epoch: Epoch,
    last: Heartbeat | None,
    *,
    now: datetime,
    since_heard: timedelta,
    last_signed: datetime,
) -> str:
    """Why Public is closed by age: one sentence for `Epoch.closed`; empty while it is fresh.

    Age is the larger of what the wall clock and the monotonic clock say.

    Args:
        epoch: the epoch in force.
        last: the newest heartbeat that was verified; one for another epoch says nothing of this.
        now: wall clock.
        since_heard: monotonic time since a new heartbeat for this epoch came in; since the epoch
            was loaded, while none has.
        last_signed: the newest signed time that this agent has ever persisted, of any epoch.
    """
    heard = last.at if last is not None and last.epoch_hash == epoch.hash else epoch.issued_at
    newest = max(heard, epoch.issued_at)
    if now + SKEW < max(newest, last_signed):
        return "the clock is behind the last signed time"
    if max(now - newest, since_heard) >= epoch.max_age:
        minutes = int(epoch.max_age.total_seconds()) // 60
        return f"no heartbeat for this epoch within {minutes} min"
    return ""


def freshness(
    epoch: Epoch,
    last: Heartbeat | None,
    *,
    now: datetime,
    since_heard: timedelta,
    last_signed: datetime,
) -> bool:
    """Whether age leaves Public open; arguments as in `staleness`."""
    return not staleness(epoch, last, now=now, since_heard=since_heard, last_signed=last_signed)
