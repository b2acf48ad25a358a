from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import product
from string import ascii_uppercase

import pytest
from pydantic import ValidationError

from demarc.api import load, problem
from demarc.api.schema import (
    COUNTRIES,
    COUNTRY,
    AtomicList,
    MapList,
    SetList,
    list_marker,
    unique_lists,
)
from demarc.api.v1alpha1 import DataResidency, RoutingPolicy, Site
from demarc.api.v1alpha1.data_residency import Registration
from demarc.api.v1alpha1.model_deployment import Offers
from demarc.api.v1alpha1.routing_policy import AtMost, Model, RoutingPolicySpec
from demarc.api.v1alpha1.site import GpuPool
from support import objects


def _found(name: str, kind: type[Site | RoutingPolicy | DataResidency]) -> object:
    found, _ = load.load(objects.good()[name], file=name)
    return next(each for each in found if isinstance(each, kind))


def test_a_value_cannot_be_changed() -> None:
    """Whoever reads a resource can change it for everybody."""
    level = AtMost(at_most=2)

    with pytest.raises(ValidationError, match="frozen"):
        level.at_most = 5


def test_models_are_built_from_python_names_too() -> None:
    """Builders of tests and plans need JSON names."""
    assert {"atMost": 2} == AtMost(at_most=2).dump()


def test_the_pattern_of_countries_takes_each_code_and_no_other() -> None:
    """The short pattern lets a code through that nobody has."""
    taken = {
        first + second
        for first, second in product(ascii_uppercase, repeat=2)
        if re.fullmatch(COUNTRY, first + second)
    }
    assert COUNTRIES == taken
    assert 250 == len(COUNTRIES)


def test_a_marker_is_found_behind_what_may_be_absent() -> None:
    """A list that may be absent has no type in its CRD, and its duplicates are taken."""
    fields = GpuPool.model_fields
    assert isinstance(list_marker(fields["tolerations"].annotation), AtomicList)
    assert list_marker(fields["product"].annotation) is None
    assert {"capabilities": SetList()} == unique_lists(Offers)
    assert MapList(("name",)) == unique_lists(RoutingPolicySpec)["checks"]
    assert {} == unique_lists(Model)


def test_all_broken_rules_of_one_object_are_told_at_once() -> None:
    """The second rule is only seen after the first is kept."""
    policy = _found("09-policy-with-everything.yaml", RoutingPolicy)
    assert isinstance(policy, RoutingPolicy)
    spec = policy.spec.dump()
    spec["clients"] = [spec["clients"][0], spec["clients"][0]]
    spec["checks"][0]["request"]["model"] = "nobody"
    with pytest.raises(ValidationError) as caught:
        RoutingPolicySpec.model_validate(spec)

    found = problem.findings(caught.value, RoutingPolicySpec)
    assert {
        "clients[1]",
        "permit[1].when.apps[0]",
        "checks[0].request.model",
        "checks[1].request.app",
        "checks[2].request.app",
    } == {
        "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in each.path).strip(
            "."
        )
        for each in found
    }


def test_a_time_from_python_needs_a_zone_too() -> None:
    """A registration ends at an hour that nobody can name."""
    residency = _found("11-residency-with-everything.yaml", DataResidency)
    assert isinstance(residency, DataResidency)
    row = residency.spec.dump()["registrations"][0]
    aware = Registration.model_validate({**row, "expires": datetime(2027, 1, 1, tzinfo=UTC)})

    assert datetime(2027, 1, 1, tzinfo=UTC) == aware.expires
    for value in (datetime(2027, 1, 1), 1798761600, "2027-01-01", True):  # noqa: DTZ001  # the case
        with pytest.raises(ValidationError):
            Registration.model_validate({**row, "expires": value})


def test_scope_follows_from_the_connection() -> None:
    """A site says itself whether it is private."""
    scopes = {
        name: site.spec.scope.value
        for name in ("01-design-sample.yaml", "03-site-provider.yaml")
        for site in load.load(objects.good()[name], file=name)[0]
        if isinstance(site, Site)
        for name in (site.key,)
    }

    assert {"shanghai-dc": "Private", "cloud-sg": "Public", "some-provider": "Public"} == scopes
