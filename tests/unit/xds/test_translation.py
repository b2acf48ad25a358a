"""Do the files follow from their input alone, and change in an order without gaps?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings

from demarc.policy.epoch import Epoch
from demarc.xds import clusters, headers, translation, view
from demarc.xds.clusters import AGENT
from demarc.xds.translation import Files
from demarc.xds.view import Role
from support import epochs
from support.epochs import SETTINGS

Addresses = Mapping[str, tuple[tuple[str, int], ...]]
NEAR = epochs.endpoint("models", "glm", "dc")
OTHER = epochs.endpoint("models", "max", "dc")
AWAY = epochs.endpoint("models", "flash", "sg")
ROLES = (Role.INNER, Role.EGRESS)


def files(role: Role, found: Epoch, addresses: Addresses | None = None) -> Files:
    return translation.translate(view.of_epoch(role, found), addresses or {}, SETTINGS)


def named(text: str) -> dict[str, Any]:
    return {item["name"]: item for item in json.loads(text)["resources"]}


def reachable(text: str) -> list[str]:
    """The addresses of all clusters in a file."""
    return [
        endpoint["endpoint"]["address"]["socket_address"]["address"]
        for cluster in named(text).values()
        for group in cluster["load_assignment"]["endpoints"]
        for endpoint in group["lb_endpoints"]
    ]


@settings(max_examples=50)
@given(epochs.addressed())
def test_every_endpoint_that_a_decision_may_name_has_its_cluster(
    case: tuple[Epoch, Addresses],
) -> None:
    """A decision leads to a 404, or to the cluster of another endpoint."""
    found, addresses = case
    inner = set(named(files(Role.INNER, found, addresses)["cds.json"]))
    egress = set(named(files(Role.EGRESS, found, addresses)["cds.json"]))

    private = {item.name for item in found.endpoints if item.scope == "Private"}
    public = {item.name for item in found.endpoints if item.scope == "Public"}
    leaves = {"egress"} if public and found.public_open else set()
    assert private | leaves == inner
    assert (public if found.public_open else set()) == egress


@settings(max_examples=50)
@given(epochs.addressed())
def test_no_cluster_leads_outside_the_networks_of_its_site(case: tuple[Epoch, Addresses]) -> None:
    """A false address in an EndpointSlice is used."""
    found, addresses = case

    for role in ROLES:
        for name, cluster in named(files(role, found, addresses)["cds.json"]).items():
            if name != clusters.EGRESS:
                site = name.rpartition("@")[2]
                network = epochs.SITES[site][1].removesuffix("0.0/16")
                text = json.dumps({"resources": [cluster]})
                assert all(host.startswith(network) for host in reachable(text))


@settings(max_examples=50)
@given(epochs.addressed())
def test_the_same_input_gives_the_same_bytes(case: tuple[Epoch, Addresses]) -> None:
    """Envoy reloads although nothing changed."""
    found, addresses = case
    backwards = {name: addresses[name][::-1] for name in reversed(addresses)}

    for role in ROLES:
        assert files(role, found, addresses) == files(role, found, backwards)
        assert () == translation.changes(files(role, found), files(role, found))


@settings(max_examples=50)
@given(epochs.epochs, epochs.epochs)
def test_a_change_ends_in_the_new_files_and_never_lacks_a_cluster(old: Epoch, new: Epoch) -> None:
    """For a moment a request meets a route whose cluster is gone or not there yet."""
    for role in ROLES:
        before, after = files(role, old), files(role, new)
        disk = dict(before)
        for write in translation.changes(before, after):
            disk[write.name] = write.text
            assert sites_of_routes(disk["rds.json"]) <= sites_of_clusters(disk["cds.json"])

        assert after == disk


def sites_of_routes(text: str) -> set[str]:
    """Each site, or `egress`, that some route leads to; the agent itself is in no file."""
    found = set[str]()
    for host in named(text)["demarc"]["virtual_hosts"]:
        for route in host["routes"]:
            if route.get("route", {}).get("cluster") == AGENT:
                continue
            for matcher in route["match"].get("headers", ()):
                match = matcher.get("string_match", {})
                if "exact" in match:
                    found.add(match["exact"])
                elif matcher["name"] == headers.CLUSTER:
                    sites = match["safe_regex"]["regex"].rpartition("@")[2].removeprefix("(?:")
                    found |= {site.replace("\\", "") for site in sites.rstrip(")").split("|")}
    return found


def sites_of_clusters(text: str) -> set[str]:
    return {name.rpartition("@")[2] for name in named(text)}


def test_an_added_endpoint_comes_before_the_routes() -> None:
    """A route leads to a cluster that is not there yet."""
    before = files(Role.INNER, epochs.epoch(NEAR))
    after = files(Role.INNER, epochs.epoch(NEAR, OTHER, counter=2))

    assert ["cds.json", "rds.json"] == [item.name for item in translation.changes(before, after)]


def test_a_removed_endpoint_goes_after_the_routes() -> None:
    """A route leads to a cluster that is already gone."""
    before = files(Role.INNER, epochs.epoch(NEAR, OTHER))
    after = files(Role.INNER, epochs.epoch(NEAR, counter=2))

    writes = translation.changes(before, after)

    assert ["rds.json", "cds.json"] == [item.name for item in writes]


def test_an_exchange_keeps_both_until_the_routes_are_new() -> None:
    """Of two endpoints that change places one has no cluster for a moment."""
    before = files(Role.INNER, epochs.epoch(NEAR))
    after = files(Role.INNER, epochs.epoch(OTHER, counter=2))

    writes = translation.changes(before, after)

    assert ["cds.json", "rds.json", "cds.json"] == [item.name for item in writes]
    assert {NEAR.name, OTHER.name} == set(named(writes[0].text))
    assert {OTHER.name} == set(named(writes[2].text))


def test_at_the_first_start_the_bootstrap_comes_last() -> None:
    """Envoy starts before a file that it needs is there."""
    new = files(Role.INNER, epochs.epoch(NEAR))

    names = [item.name for item in translation.changes({}, new)]

    assert sorted(new) == sorted(names)
    assert ["cds.json", "lds.json", "rds.json", "bootstrap.json"] == names[-4:]


def test_only_new_addresses_touch_only_the_clusters() -> None:
    """Scaling an engine closes client connections by a new listener."""
    before = files(Role.INNER, epochs.epoch(NEAR))
    after = files(Role.INNER, epochs.epoch(NEAR), {NEAR.name: (("10.1.0.7", 8443),)})

    assert ["cds.json"] == [item.name for item in translation.changes(before, after)]


def test_a_version_names_the_content() -> None:
    """Envoy's report cannot be compared with what was written."""
    first = files(Role.INNER, epochs.epoch(NEAR))
    second = files(Role.INNER, epochs.epoch(NEAR, OTHER))

    versions = [translation.version(found["cds.json"]) for found in (first, first, second)]

    assert versions[0] == versions[1] != versions[2]
    with pytest.raises(ValueError, match="version_info"):
        translation.version("{}")


def test_the_numbers_of_the_epoch_stand_on_the_routes() -> None:
    """It cannot be shown which epoch a request was routed by."""
    routes = named(files(Role.INNER, epochs.epoch(NEAR, AWAY, counter=9))["rds.json"])["demarc"]

    found = [
        route["metadata"]["filter_metadata"]["demarc"]["epoch"]
        for route in routes["virtual_hosts"][0]["routes"]
        if "route" in route
    ]

    assert ["1.9"] * 5 == found


@pytest.mark.parametrize(
    "address, want",
    [
        ("10.1.0.1", True),
        ("10.1.255.255", True),
        ("10.2.0.1", False),
        ("010.1.0.1", False),
        ("engine.models.svc", False),
        ("10.1.0.1 ", False),
        ("::ffff:10.1.0.1", False),
    ],
)
def test_only_literal_addresses_inside_the_networks_are_used(address: str, *, want: bool) -> None:
    """A name is resolved, or an address outside is used."""
    assert want == bool(clusters.inside([(address, 8443)], ["10.1.0.0/16", "nonsense"]))
