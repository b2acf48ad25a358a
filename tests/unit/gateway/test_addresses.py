"""Are addresses taken only from the right Service, and only inside the site's networks?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.gateway import addresses
from demarc.planning import names
from demarc.policy import extract
from demarc.xds import view
from demarc.xds.view import Role
from support import agents, builders
from support.gate import FAR, NEAR

EPOCH = builders.sample_epoch()
INNER = addresses.sources_of_epoch(view.of_epoch(Role.INNER, EPOCH), EPOCH)
EGRESS = addresses.sources_of_epoch(view.of_epoch(Role.EGRESS, EPOCH), EPOCH)
EDGE = addresses.sources_of_edge(view.of_extract(extract.extract(EPOCH, "cloud-sg")))
ENGINE = names.engine("glm-4-air", "shanghai-dc")


def one(**changes: Any) -> dict[str, Any]:
    found = agents.endpoint_slice("models", ENGINE, ("10.244.0.1", 8443))
    return {**found, **changes}


def test_each_tier_looks_for_what_it_reaches() -> None:
    assert {NEAR, "egress"} == set(INNER)
    assert {FAR} == set(EGRESS)
    assert {FAR} == set(EDGE)
    assert ("demarc-egress", names.edge_service("cloud-sg")) == (
        EGRESS[FAR].namespace,
        EGRESS[FAR].service,
    )
    assert ("10.245.0.0/16",) == EGRESS[FAR].cidrs
    assert ("10.244.0.0/16",) == INNER["egress"].cidrs
    assert EDGE[FAR].cidrs is None


def test_while_public_is_closed_nothing_outside_is_looked_for() -> None:
    closed = EPOCH.closed("x")

    assert {NEAR} == set(addresses.sources_of_epoch(view.of_epoch(Role.INNER, closed), closed))
    assert {} == addresses.sources_of_epoch(view.of_epoch(Role.EGRESS, closed), closed)


def test_a_ready_address_inside_is_found() -> None:
    found = addresses.find([one()], INNER)

    assert (("10.244.0.1", 8443),) == found.addresses[NEAR]
    assert 0 == found.refused
    assert () == found.addresses["egress"]


@pytest.mark.parametrize("address", ["10.245.0.1", "8.8.8.8", "127.0.0.1", "engine.svc", "::1", ""])
def test_an_address_outside_the_site_is_refused_and_counted(address: str) -> None:
    """Whoever can write an EndpointSlice redirects sensitive requests."""
    slices = [one(endpoints=[{"addresses": [address]}, {"addresses": ["10.244.0.9"]}])]
    found = addresses.find(slices, INNER)

    assert (("10.244.0.9", 8443),) == found.addresses[NEAR]
    assert 1 == found.refused


@pytest.mark.parametrize(
    "changes",
    [
        {"addressType": "IPv6"},
        {"addressType": "FQDN"},
        {"ports": []},
        {"ports": None},
        {"ports": [{"name": "http", "port": 80}]},
        {"ports": [{"name": "https", "port": "8443"}]},
        {"ports": [{"name": "https", "port": 0}]},
        {"ports": ["x"]},
        {"endpoints": None},
        {"endpoints": ["x"]},
        {"endpoints": [{"addresses": None}]},
        {"endpoints": [{"addresses": [7]}]},
        {"endpoints": [{"addresses": ["10.244.0.1"], "conditions": {"ready": False}}]},
        {"endpoints": [{"addresses": ["10.244.0.1"], "conditions": "x"}]},
        {"metadata": {"namespace": "other", "labels": {"kubernetes.io/service-name": ENGINE}}},
        {"metadata": {"namespace": "models", "labels": {"kubernetes.io/service-name": "x"}}},
        {"metadata": {"namespace": "models"}},
        {"metadata": None},
    ],
)
def test_what_is_not_ready_not_ours_or_not_understood_is_no_address(
    changes: dict[str, Any],
) -> None:
    assert () == addresses.find([one(**changes)], INNER).addresses[NEAR]


def test_an_absent_condition_means_ready() -> None:
    found = addresses.find([one(endpoints=[{"addresses": ["10.244.0.1"]}])], INNER)

    assert (("10.244.0.1", 8443),) == found.addresses[NEAR]


def test_several_slices_of_a_service_are_one_set() -> None:
    more = one(endpoints=[{"addresses": ["10.244.0.2", "10.244.0.1"]}])
    found = addresses.find([one(), more], INNER)

    assert (("10.244.0.1", 8443), ("10.244.0.2", 8443)) == found.addresses[NEAR]


def test_addresses_of_an_earlier_run_are_bounded_by_the_policy_of_today() -> None:
    """A tightening does not reach an agent that restarts while the cluster is away."""
    given = {NEAR: (("10.244.0.1", 8443), ("10.9.0.1", 8443)), "unknown": (("10.244.0.3", 1),)}
    found = addresses.bounded(given, INNER)

    assert {NEAR: (("10.244.0.1", 8443),), "egress": ()} == found.addresses
    assert 1 == found.refused


def test_networks_of_another_epoch_drop_what_they_held() -> None:
    other = replace(EPOCH, site_cidrs={"shanghai-dc": ("10.1.0.0/16",)})
    sources = addresses.sources_of_epoch(view.of_epoch(Role.INNER, other), other)

    assert () == addresses.find([one()], sources).addresses[NEAR]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(["ports", "endpoints", "addressType", "metadata"]), json_values, max_size=4
    )
)
def test_no_slice_stops_the_others(changes: dict[str, Any]) -> None:
    """One broken object takes every endpoint down."""
    found = addresses.find([one(**changes), one()], INNER)

    assert ("10.244.0.1", 8443) in found.addresses[NEAR]
