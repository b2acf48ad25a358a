"""Does public egress close when nobody has vouched for the epoch, and only then?"""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from demarc.policy import heartbeat, signature
from demarc.policy.heartbeat import Heartbeat, HeartbeatError
from demarc.policy.signature import Trust
from support import builders
from support.builders import NOW

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
TRUST = Trust({"epoch-1": signature.public_bytes(KEY)})
EPOCH = builders.sample_epoch()
LAST = Heartbeat(EPOCH.hash, NOW)
MINUTE = timedelta(minutes=1)
BEHIND = "the clock is behind the last signed time"
SILENT = "no heartbeat for this epoch within 15 min"


def test_a_heartbeat_comes_back_as_it_was_signed() -> None:
    """A field is lost or changed on the way."""
    assert LAST == heartbeat.verify(heartbeat.sign(LAST, KEY, "epoch-1"), TRUST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        heartbeat.sign(LAST, Ed25519PrivateKey.from_private_bytes(b"\x02" * 32), "epoch-1"),
        signature.seal("demarc.dev/grant/v1", {"epochHash": "a", "at": "b"}, KEY, "epoch-1"),
        signature.seal(heartbeat.PURPOSE, {"epochHash": "a", "at": "b"}, KEY, "epoch-1"),
        signature.seal(heartbeat.PURPOSE, {"epochHash": "a"}, KEY, "epoch-1"),
    ],
)
def test_what_is_no_heartbeat_is_refused(text: str) -> None:
    """Something else keeps public egress open."""
    with pytest.raises(HeartbeatError):
        heartbeat.verify(text, TRUST)


@pytest.mark.parametrize(
    "last, wall, since_heard, last_signed, want",
    [
        (LAST, 0 * MINUTE, 0 * MINUTE, NOW, ""),
        (LAST, 14.9 * MINUTE, 14.9 * MINUTE, NOW, ""),
        (LAST, 15 * MINUTE, 0 * MINUTE, NOW, SILENT),
        (LAST, 0 * MINUTE, 15 * MINUTE, NOW, SILENT),
        (LAST, -0.05 * MINUTE, 0 * MINUTE, NOW, ""),
        (LAST, -1 * MINUTE, 0 * MINUTE, NOW, BEHIND),
        (
            LAST,
            1 * MINUTE,
            0 * MINUTE,
            NOW + 5 * MINUTE,
            BEHIND,
        ),
        # the epoch itself is the first heartbeat
        (None, 1 * MINUTE, 1 * MINUTE, NOW, ""),
        (None, 15 * MINUTE, 1 * MINUTE, NOW, SILENT),
        # one for another epoch says nothing of this
        (
            Heartbeat("other", NOW + 14 * MINUTE),
            15 * MINUTE,
            1 * MINUTE,
            NOW,
            SILENT,
        ),
        (Heartbeat(EPOCH.hash, NOW + 10 * MINUTE), 15 * MINUTE, 5 * MINUTE, NOW, ""),
    ],
)
def test_age_closes_public(
    last: Heartbeat | None,
    wall: timedelta,
    since_heard: timedelta,
    last_signed: object,
    want: str,
) -> None:
    """The larger of two ages does not count, or a clock that was set back opens public."""
    arguments = {"now": NOW + wall, "since_heard": since_heard, "last_signed": last_signed}

    assert want == heartbeat.staleness(EPOCH, last, **arguments)  # type: ignore[arg-type]
    assert (want == "") == heartbeat.freshness(EPOCH, last, **arguments)  # type: ignore[arg-type]


ages = st.timedeltas(timedelta(0), timedelta(hours=1))


@given(ages, ages, ages, ages)
def test_more_age_never_opens(
    wall: timedelta, heard: timedelta, more_wall: timedelta, more_heard: timedelta
) -> None:
    """An older heartbeat keeps public open where a younger one closes it."""
    young = heartbeat.freshness(EPOCH, LAST, now=NOW + wall, since_heard=heard, last_signed=NOW)
    old = heartbeat.freshness(
        EPOCH,
        LAST,
        now=NOW + wall + more_wall,
        since_heard=heard + more_heard,
        last_signed=NOW,
    )

    assert young or not old
