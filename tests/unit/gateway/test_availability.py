"""Does `choose` hear the truth about what takes requests?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.engines.envoy import Host
from demarc.gateway import availability
from demarc.gateway.availability import DOWN, NOTHING_SEEN, FarSides, Seen
from demarc.policy.decision import Health
from support import builders
from support.gate import FAR, NEAR

EPOCH = builders.sample_epoch()
INSIDE, OUTSIDE = "10.244.0.1:8443", "10.9.0.1:8443"


def host(address: str = INSIDE, *, healthy: bool = True, active: int = 0) -> Host:
    return Host(
        address, healthy=healthy, ejected=not healthy, active=active, failures=0, answered_5xx=0
    )


@pytest.mark.parametrize(
    "hosts, want",
    [
        ((), DOWN),
        ((host(healthy=False),), DOWN),
        ((host(healthy=False), host("10.244.0.2:8443", active=3)), Health(up=True, load=3)),
        ((host(), host(OUTSIDE)), DOWN),
        ((host(), host("engine.models.svc:8443")), DOWN),
        ((host(), host("/run/x.sock")), DOWN),
    ],
)
def test_an_endpoint_is_up_with_a_healthy_replica_and_none_elsewhere(
    hosts: tuple[Host, ...], want: Health
) -> None:
    """A decision names an endpoint whose address Envoy has not yet dropped after a tightening."""
    seen = availability.see({NEAR: hosts, "egress": (host(),)}, EPOCH)

    assert want == seen.private[NEAR]
    assert FAR not in seen.private


def test_what_envoy_has_not_shown_is_down() -> None:
    """An endpoint is named before Envoy has it."""
    seen = availability.see({}, EPOCH)

    found = availability.health(EPOCH.endpoints, seen, FarSides(), 0, leaves=True)
    assert {NEAR: DOWN, FAR: DOWN} == found
    assert found == availability.health(EPOCH.endpoints, NOTHING_SEEN, FarSides(), 0, leaves=True)


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("egress", [True, False])
@pytest.mark.parametrize("failed", [True, False])
def test_a_public_endpoint_needs_a_grant_the_way_and_the_far_side(
    *, leaves: bool, egress: bool, failed: bool
) -> None:
    far = FarSides()
    if failed:
        far.failed(FAR, 10)
    seen = Seen({NEAR: Health(up=True)}, Health(up=egress))

    found = availability.health(EPOCH.endpoints, seen, far, 10.5, leaves=leaves)

    assert (leaves and egress and not failed) == found[FAR].up
    assert found[NEAR].up


def test_a_far_side_is_left_alone_for_one_second_doubling_to_thirty() -> None:
    far, now, waits = FarSides(), 100.0, []
    for _ in range(7):
        far.failed(FAR, now)
        start = now
        while not far.up(FAR, now):
            now += 0.25
        waits.append(now - start)
        far.taken(FAR, now)

    assert [1, 2, 4, 8, 16, 30, 30] == waits


def test_one_request_tries_it_and_the_others_wait_for_its_answer() -> None:
    """Everything that waits falls upon a far side that just came back."""
    far = FarSides()
    far.failed(FAR, 0)
    assert not far.up(FAR, 0.9)
    assert far.up(FAR, 1)
    far.taken(FAR, 1)
    assert not far.up(FAR, 1.5)
    assert far.answered(FAR)
    assert far.up(FAR, 1.5)
    assert not far.answered(FAR)


def test_a_trial_that_is_never_answered_is_followed_by_another() -> None:
    """The client left, and the endpoint stays down for ever."""
    far = FarSides()
    far.failed(FAR, 0)
    far.taken(FAR, 1)

    assert far.up(FAR, 2)


def test_answers_to_what_was_sent_before_count_as_one_failure() -> None:
    """Ten requests in flight make one failure into half a minute."""
    far = FarSides()
    for _ in range(10):
        far.failed(FAR, 0.01)

    assert far.up(FAR, 1.02)


@given(
    st.lists(
        st.tuples(st.sampled_from(["failed", "answered", "taken"]), st.floats(0, 40)), max_size=30
    )
)
def test_a_far_side_comes_back_within_thirty_seconds_whatever_happened(
    steps: list[tuple[str, float]],
) -> None:
    far, now = FarSides(), 0.0
    for what, wait in steps:
        now += wait
        if what == "answered":
            far.answered(FAR)
        else:
            getattr(far, what)(FAR, now)

    assert far.up(FAR, now + 30)
