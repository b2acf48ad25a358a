"""Does a gateway's Envoy know its endpoints and no more?"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from demarc.policy.epoch import EpochNumber
from demarc.policy.extract import EdgeEndpoint, EdgeExtract
from demarc.xds import view
from demarc.xds.view import Role
from support import epochs

NEAR = epochs.endpoint("models", "glm", "dc")
VAULT = epochs.endpoint("models", "glm", "vault")
AWAY = epochs.endpoint("models", "flash", "sg")


def test_inner_knows_private_endpoints_and_that_there_is_a_way_out() -> None:
    """The inner tier knows the address of a public endpoint."""
    seen = view.of_epoch(Role.INNER, epochs.epoch(VAULT, AWAY, NEAR, counter=7))

    assert ["models/glm@dc", "models/glm@vault"] == [item.name for item in seen.targets]
    assert (True, "1.7", "dc", "") == (seen.leaves, seen.version, seen.site, seen.caller)


def test_egress_knows_public_endpoints_and_answers_inner_alone() -> None:
    """The egress tier reaches engines of the home site."""
    seen = view.of_epoch(Role.EGRESS, epochs.epoch(VAULT, AWAY, NEAR))

    assert ["models/flash@sg"] == [item.name for item in seen.targets]
    assert "spiffe://demarc/dc/inner" == seen.caller


@pytest.mark.parametrize("role", [Role.INNER, Role.EGRESS])
def test_while_public_is_closed_no_way_leads_out(role: Role) -> None:
    """A closed epoch leaves a configured way to the outside."""
    seen = view.of_epoch(role, epochs.epoch(NEAR, AWAY, public_open=False))

    assert not seen.leaves
    assert all(item.site == "dc" for item in seen.targets)


def test_without_public_endpoints_inner_has_no_way_out() -> None:
    """A private installation carries a cluster that leads out."""
    assert not view.of_epoch(Role.INNER, epochs.epoch(NEAR)).leaves


def test_an_edge_holds_no_epoch() -> None:
    """An edge would be built with the whole policy."""
    with pytest.raises(ValueError, match="of_extract"):
        view.of_epoch(Role.EDGE, epochs.epoch(AWAY))


def test_an_edge_serves_its_own_site_and_the_egress_of_its_extract() -> None:
    """An edge leads to another site, or lets anybody in."""
    extract = EdgeExtract(
        site="sg",
        egress="spiffe://demarc/dc/egress",
        endpoints=tuple(
            EdgeEndpoint(item.name, item.namespace, item.deployment, item.served_name)
            for item in (AWAY, NEAR)
        ),
        grant_keys=(),
        cidrs=("10.3.0.0/16",),
        number=EpochNumber(1, 3),
        epoch_hash="0" * 64,
        issued_at=datetime(2026, 12, 1, tzinfo=UTC),
    )

    seen = view.of_extract(extract)

    assert ["models/flash@sg"] == [item.name for item in seen.targets]
    assert ("spiffe://demarc/dc/egress", "1.3", "sg") == (seen.caller, seen.version, seen.site)


def test_an_endpoint_of_a_site_without_networks_has_no_place() -> None:
    """A missing network would mean that every address is good."""
    bare = dataclasses.replace(epochs.epoch(NEAR), site_cidrs={})

    assert ((),) == tuple(item.cidrs for item in view.of_epoch(Role.INNER, bare).targets)
