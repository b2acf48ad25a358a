"""Does the linter find each guard that is missing, and nothing in what we render?

Every mutation takes one guard away from a good configuration; the linter must name the invariant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings

from demarc.policy.epoch import Epoch
from demarc.xds import headers, linting, resources, translation, view
from demarc.xds.resources import Resources
from demarc.xds.view import Role, Target, View
from support import epochs
from support.epochs import SETTINGS

Parts = dict[str, Any]
Mutation = Callable[[Parts], object]

_ADDRESSES = {
    "models/glm@dc": (("10.1.0.1", 8443), ("10.1.0.2", 8443)),
    "models/max@dc": (("10.1.0.3", 8443),),
    "egress": (("10.9.0.1", 8443),),
    "models/flash@sg": (("10.3.0.1", 8443),),
}
_EPOCH = epochs.epoch(
    epochs.endpoint("models", "glm", "dc"),
    epochs.endpoint("models", "max", "dc"),
    epochs.endpoint("models", "flash", "sg"),
)
_VIEWS = {
    Role.INNER: view.of_epoch(Role.INNER, _EPOCH),
    Role.EGRESS: view.of_epoch(Role.EGRESS, _EPOCH),
    Role.EDGE: View(
        Role.EDGE, "sg", "spiffe://demarc/dc/egress", "1.1", (Target("models", "flash", "sg"),)
    ),
}


def parts(role: Role) -> Parts:
    """The configuration of a role, as something that can be changed."""
    found = resources.read_files(translation.translate(_VIEWS[role], _ADDRESSES, SETTINGS))
    return json.loads(
        json.dumps(
            {
                "bootstrap": found.bootstrap,
                "listeners": found.listeners,
                "routes": found.routes,
                "clusters": found.clusters,
                "secrets": found.secrets,
            }
        )
    )


def lint(role: Role, found: Parts) -> set[str]:
    """The ids of the invariants that are broken."""
    groups = {name: tuple(value) for name, value in found.items() if name != "bootstrap"}
    checked = linting.lint(
        Resources(bootstrap=found["bootstrap"], **groups), _VIEWS[role], SETTINGS
    )
    return {violation.invariant for violation in checked}


def manager(found: Parts) -> Parts:
    return found["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def http(found: Parts, number: int) -> Parts:
    return manager(found)["http_filters"][number]["typed_config"]


def answer(found: Parts) -> Parts:
    return http(found, 0)["http_service"]["authorization_response"]


def route(found: Parts, name: str) -> Parts:
    routes = found["routes"][0]["virtual_hosts"][0]["routes"]
    return next(item for item in routes if item["name"] == name)


def cluster(found: Parts, name: str) -> Parts:
    return next(item for item in found["clusters"] if item["name"] == name)


def protocol(found: Parts, name: str) -> Parts:
    options = cluster(found, name)["typed_extension_protocol_options"]
    return options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]


def tls(found: Parts, name: str) -> Parts:
    return cluster(found, name)["transport_socket"]["typed_config"]


def door(found: Parts) -> Parts:
    return found["listeners"][0]["filter_chains"][0]["transport_socket"]["typed_config"]


def without(found: Parts, *names: str) -> None:
    for name in names:
        del found[name]


def extra_filter(found: Parts, kind: str, position: int) -> None:
    typed = {"@type": f"type.googleapis.com/envoy.extensions.filters.http.x.v3.{kind}"}
    manager(found)["http_filters"].insert(position, {"name": "x", "typed_config": typed})


def names_of(found: Parts) -> Parts:
    return found["common_tls_context"]["combined_validation_context"]["default_validation_context"]


GLM = "models/glm@dc"
FLASH = "models/flash@sg"
REGEX = ".*"
COMMON: Mapping[str, tuple[str, Mutation]] = {
    "no early strip": ("I1", lambda c: without(manager(c), "early_header_mutation_extensions")),
    "early strip of one name only": (
        "I1",
        lambda c: manager(c)["early_header_mutation_extensions"][0]["typed_config"].update(
            mutations=[{"remove": "x-demarc-cluster"}]
        ),
    ),
    "early strip of one family only": (
        "I1",
        lambda c: manager(c)["early_header_mutation_extensions"][0]["typed_config"].update(
            mutations=[{"remove_on_match": {"key_matcher": {"prefix": "x-demarc-"}}}]
        ),
    ),
    "early strip by a matcher that nobody knows": (
        "I1",
        lambda c: manager(c)["early_header_mutation_extensions"][0]["typed_config"].update(
            mutations=[{"remove_on_match": {"key_matcher": {"custom": {}}}}]
        ),
    ),
    "headers with underscores": (
        "I1",
        lambda c: without(manager(c), "common_http_protocol_options"),
    ),
    "a second listener": ("I1", lambda c: c["listeners"].append({"name": "other"})),
    "no listener": ("I1", lambda c: c["listeners"].clear()),
    "a route without the decision": (
        "I2",
        lambda c: route(c, "endpoint-whole")["match"].update(headers=[]),
    ),
    "a route with only the presence of a decision": (
        "I2",
        lambda c: route(c, "endpoint-whole")["match"].update(
            headers=[{"name": "x-demarc-cluster", "present_match": True}]
        ),
    ),
    "a route for the absence of a decision": (
        "I2",
        lambda c: route(c, "endpoint-whole")["match"]["headers"][0].update(invert_match=True),
    ),
    "success without a decision": (
        "I2",
        lambda c: route(c, "no-decision")["direct_response"].update(status=200),
    ),
    "fail open": ("I3", lambda c: http(c, 0).update(failure_mode_allow=True)),
    "the agent is asked of some requests": (
        "I3",
        lambda c: http(c, 0).update(filter_enabled={"default_value": {"numerator": 50}}),
    ),
    "the agent can be disabled": (
        "I3",
        lambda c: manager(c)["http_filters"][0].update(disabled=True),
    ),
    "a route that asks nobody": (
        "I3",
        lambda c: route(c, "endpoint-whole").update(
            typed_per_filter_config={"envoy.filters.http.ext_authz": {"disabled": True}}
        ),
    ),
    "a host that asks nobody": (
        "I3",
        lambda c: c["routes"][0]["virtual_hosts"][0].update(typed_per_filter_config={}),
    ),
    "all routes ask nobody": ("I3", lambda c: c["routes"][0].update(typed_per_filter_config={})),
    "the old route is kept": ("I3", lambda c: http(c, 0).update(clear_route_cache=False)),
    "an error that is a refusal": ("I3", lambda c: without(http(c, 0), "status_on_error")),
    "the agent sees some headers": (
        "I3",
        lambda c: http(c, 0).update(allowed_headers={"patterns": [{"exact": "content-type"}]}),
    ),
    "the agent sees a part of the body": (
        "I3",
        lambda c: http(c, 0)["with_request_body"].update(allow_partial_message=True),
    ),
    "the agent sees no body": ("I3", lambda c: without(http(c, 0), "with_request_body")),
    "somebody else is asked": (
        "I3",
        lambda c: http(c, 0)["http_service"]["server_uri"].update(cluster="models/glm@dc"),
    ),
    "another question is asked": (
        "I3",
        lambda c: http(c, 0)["http_service"].update(path_prefix="/livez"),
    ),
    "no agent": ("I3", lambda c: manager(c)["http_filters"].pop(0)),
    "a filter before the agent": ("I3", lambda c: extra_filter(c, "Fault", 0)),
    "a filter behind the agent": ("I3", lambda c: extra_filter(c, "SetMetadata", 1)),
    "a later filter chooses a route": (
        "I3",
        lambda c: http(c, -2).update(clear_route_cache=True),
    ),
    "a second network filter": (
        "I3",
        lambda c: c["listeners"][0]["filter_chains"][0]["filters"].append({"name": "x"}),
    ),
    "the agent over the network": (
        "I3",
        lambda c: c["bootstrap"]["static_resources"]["clusters"][0]["load_assignment"].update(
            endpoints=[{"address": {"socket_address": {"address": "10.1.0.1"}}}]
        ),
    ),
    "any cluster can be named": (
        "I4",
        lambda c: route(c, "endpoint-whole")["match"]["headers"][0].update(
            string_match={"safe_regex": {"regex": REGEX}}
        ),
    ),
    "the agent's cluster can be named": (
        "I4",
        lambda c: route(c, "endpoint-whole")["match"]["headers"][0].update(
            string_match={"exact": "agent"}
        ),
    ),
    "another header names the cluster": (
        "I4",
        lambda c: route(c, "endpoint-whole")["route"].update(cluster_header="x-cluster"),
    ),
    "a mirror": (
        "I4",
        lambda c: route(c, "endpoint-whole")["route"].update(request_mirror_policies=[{}]),
    ),
    "weighted clusters": (
        "I4",
        lambda c: route(c, "endpoint-whole")["route"].update(weighted_clusters={}),
    ),
    "a retry after the server read": (
        "I4",
        lambda c: route(c, "endpoint-whole")["route"]["retry_policy"].update(retry_on="5xx"),
    ),
    "a retry elsewhere": (
        "I4",
        lambda c: route(c, "endpoint-whole")["route"]["retry_policy"].update(retry_priority={}),
    ),
    "a route to nowhere": (
        "I4",
        lambda c: without(route(c, "endpoint-whole")["route"], "cluster_header"),
    ),
    "an aggregate": (
        "I6",
        lambda c: c["clusters"][0].update(
            cluster_type={"name": "envoy.clusters.aggregate", "typed_config": {}}
        ),
    ),
    "tracing": ("I7", lambda c: manager(c).update(tracing={"provider": {}})),
    "a log elsewhere": (
        "I7",
        lambda c: manager(c)["access_log"][0]["typed_config"].update(path="/mnt/log"),
    ),
    "a second log": ("I7", lambda c: manager(c)["access_log"].append({"name": "grpc"})),
    "no log": ("I7", lambda c: manager(c)["access_log"].clear()),
    "a log of the listener": ("I7", lambda c: c["listeners"][0].update(access_log=[{}])),
    "a sink of statistics": ("I7", lambda c: c["bootstrap"].update(stats_sinks=[{}])),
    "an admin port": (
        "I7",
        lambda c: c["bootstrap"]["admin"].update(address={"socket_address": {}}),
    ),
    "clusters from a server": (
        "I7",
        lambda c: c["bootstrap"]["dynamic_resources"].update(cds_config={"ads": {}}),
    ),
    "routes from a server": ("I7", lambda c: manager(c)["rds"].update(config_source={"ads": {}})),
    "a static listener": (
        "I7",
        lambda c: c["bootstrap"]["static_resources"].update(listeners=[{}]),
    ),
    "internal redirects": (
        "I8",
        lambda c: route(c, "endpoint-whole")["route"].update(internal_redirect_policy={}),
    ),
    "a redirect": ("I8", lambda c: route(c, "endpoint-whole").update(redirect={})),
    "upgrades": (
        "I8",
        lambda c: manager(c).update(upgrade_configs=[{"upgrade_type": "websocket"}]),
    ),
    "upgrades on a route": (
        "I8",
        lambda c: route(c, "endpoint-whole")["route"].update(upgrade_configs=[{}]),
    ),
    "CONNECT": (
        "I8",
        lambda c: route(c, "endpoint-whole")["match"].update(connect_matcher={}),
    ),
    "paths as written": ("I8", lambda c: manager(c).update(normalize_path=False)),
    "HTTP/2": ("I8", lambda c: manager(c).update(codec_type="AUTO")),
    "the original destination": (
        "I8",
        lambda c: c["clusters"][0].update(original_dst_lb_config={"use_http_header": True}),
    ),
    "a listener filter": ("I8", lambda c: c["listeners"][0].update(listener_filters=[{}])),
    "all headers of a refusal are shown": (
        "I9",
        lambda c: without(answer(c), "allowed_client_headers"),
    ),
    "metadata by prefix": (
        "I9",
        lambda c: answer(c).update(
            dynamic_metadata_from_headers={"patterns": [{"prefix": "x-demarc-"}]}
        ),
    ),
    "the grant as metadata": (
        "I9",
        lambda c: answer(c)["dynamic_metadata_from_headers"]["patterns"].append(
            {"exact": "x-demarc-grant"}
        ),
    ),
    "the grant shown to a client": (
        "I9",
        lambda c: answer(c)["allowed_client_headers"]["patterns"].append(
            {"exact": "x-demarc-grant"}
        ),
    ),
    "agents set any header": (
        "I9",
        lambda c: answer(c)["allowed_upstream_headers"]["patterns"].append({"prefix": ""}),
    ),
    "agents add to headers": (
        "I9",
        lambda c: answer(c).update(allowed_upstream_headers_to_append={}),
    ),
    "another body limit": (
        "I10",
        lambda c: http(c, 0)["with_request_body"].update(max_request_bytes=1),
    ),
    "a resolved name": ("I11", lambda c: c["clusters"][0].update(type="STRICT_DNS")),
    "a name as an address": (
        "I11",
        lambda c: c["clusters"][0]["load_assignment"].update(
            endpoints=[{"address": {"socket_address": {"address": "api.example"}}}]
        ),
    ),
    "addresses from elsewhere": (
        "I11",
        lambda c: c["clusters"][0]["load_assignment"].update(named_endpoints={}),
    ),
    "a key in the configuration": (
        "I11",
        lambda c: c["clusters"][0]["transport_socket"].update(private_key={}),
    ),
    "a secret in a file": ("I11", lambda c: c["secrets"][0].update(generic_secret={})),
    "a secret of another folder": (
        "I11",
        lambda c: c["secrets"][0].update(private_key={"filename": "/etc/shadow"}),
    ),
    "a door without TLS": (
        "I12",
        lambda c: without(c["listeners"][0]["filter_chains"][0], "transport_socket"),
    ),
    "a server without TLS": ("I12", lambda c: without(c["clusters"][0], "transport_socket")),
    "any server of the authority": (
        "I12",
        lambda c: names_of(c["clusters"][0]["transport_socket"]["typed_config"]).clear(),
    ),
    "a server named by prefix": (
        "I12",
        lambda c: names_of(c["clusters"][0]["transport_socket"]["typed_config"]).update(
            match_typed_subject_alt_names=[
                {"san_type": "URI", "matcher": {"prefix": "spiffe://demarc/"}}
            ]
        ),
    ),
    "resumed sessions": (
        "I12",
        lambda c: without(c["clusters"][0]["transport_socket"]["typed_config"], "max_session_keys"),
    ),
    "all request headers go on": (
        "I13",
        lambda c: without(http(c, 1)["mutations"], "request_mutations"),
    ),
    "all response headers come back": (
        "I13",
        lambda c: without(http(c, 1)["mutations"], "response_mutations"),
    ),
    "all trailers come back": (
        "I13",
        lambda c: without(http(c, 1)["mutations"], "response_trailers_mutations"),
    ),
    "request trailers go on": (
        "I13",
        lambda c: without(http(c, 1)["mutations"], "request_trailers_mutations"),
    ),
    "a header is added on the way": (
        "I13",
        lambda c: http(c, 1)["mutations"]["request_mutations"].append({"append": {}}),
    ),
    "too much is taken away": (
        "I13",
        lambda c: http(c, 1)["mutations"]["request_mutations"].append({"remove": "content-type"}),
    ),
    "a query is changed": (
        "I13",
        lambda c: http(c, 1)["mutations"].update(query_parameter_mutations=[{}]),
    ),
    "a server speaks for the agent": (
        "I13",
        lambda c: without(c["routes"][0], "response_headers_to_remove"),
    ),
    "an answer gains a header": (
        "I13",
        lambda c: c["routes"][0].update(response_headers_to_add=[{"header": {"key": "x"}}]),
    ),
    "the decision header goes on": (
        "I13",
        lambda c: route(c, "endpoint-whole")["request_headers_to_remove"].remove(
            "x-demarc-cluster"
        ),
    ),
    "credentials go on": (
        "I13",
        lambda c: route(c, "endpoint-whole")["request_headers_to_remove"].remove("authorization"),
    ),
    "an endpoint without a cluster": ("I14", lambda c: c["clusters"].pop()),
    "a cluster too many": (
        "I14",
        lambda c: c["clusters"].append({**c["clusters"][0], "name": "models/x@dc"}),
    ),
    "a cluster twice": ("I14", lambda c: c["clusters"].append(c["clusters"][0])),
    "a second static cluster": (
        "I14",
        lambda c: c["bootstrap"]["static_resources"]["clusters"].append({"name": "x"}),
    ),
    "another protocol": (
        "I8",
        lambda c: c["clusters"][0]["typed_extension_protocol_options"].update(other={}),
    ),
}
INNER: Mapping[str, tuple[str, Mutation]] = {
    "the way out without a guard": ("I5", lambda c: without(protocol(c, "egress"), "http_filters")),
    "a guard that denies what it should allow": (
        "I5",
        lambda c: protocol(c, "egress")["http_filters"][0]["typed_config"]["rules"].update(
            action="DENY"
        ),
    ),
    "a guard for another class": (
        "I5",
        lambda c: protocol(c, "egress")["http_filters"][0]["typed_config"]["rules"][
            "policies"
        ].update(all={"permissions": [{"any": True}], "principals": [{"any": True}]}),
    ),
    "a guard behind the codec": (
        "I5",
        lambda c: protocol(c, "egress")["http_filters"].reverse(),
    ),
    "the endpoint route reaches egress": (
        "I4",
        lambda c: route(c, "endpoint-whole")["match"]["headers"][0].update(
            string_match={"safe_regex": {"regex": ".*e.*"}}
        ),
    ),
    "the agent is reached by more than one path": (
        "I4",
        lambda c: route(c, "models").update(
            match={"prefix": "/v1/models", "headers": route(c, "models")["match"]["headers"]}
        ),
    ),
    "the agent is reached by another path": (
        "I4",
        lambda c: route(c, "models")["match"].update(path="/decide/v1/chat/completions"),
    ),
    "the agent is reached without its own decision": (
        "I4",
        lambda c: route(c, "models")["match"]["headers"][0].update(
            string_match={"safe_regex": {"regex": "agent|egress"}}
        ),
    ),
    "the list of models carries a grant": (
        "I13",
        lambda c: route(c, "models")["request_headers_to_remove"].remove(headers.GRANT),
    ),
    "the way out needs no grant": (
        "I4",
        lambda c: route(c, "leave-whole")["match"]["headers"].pop(),
    ),
    "the way out leads to an unguarded cluster": (
        "I4",
        lambda c: without(protocol(c, "egress"), "http_filters"),
    ),
    "any method leads to the agent": (
        "I4",
        lambda c: route(c, "models")["match"]["headers"].pop(1),
    ),
    "transform": ("I3", lambda c: extra_filter(c, "TransformConfig", 1)),
    "another script": (
        "I3",
        lambda c: http(c, -2)["default_source_code"].update(inline_string="--"),
    ),
    "metadata from requests": ("I3", lambda c: http(c, 2).update(request_rules=[{}])),
    "a filter in a private cluster": (
        "I3",
        lambda c: protocol(c, GLM).update(http_filters=[{}]),
    ),
    "trailers for clients": (
        "I13",
        lambda c: manager(c)["http_protocol_options"].update(enable_trailers=True),
    ),
    "the far mark for clients": (
        "I13",
        lambda c: http(c, 1)["mutations"].update(
            response_mutations=[{"remove_on_match": {"key_matcher": {"exact": "location"}}}]
        ),
    ),
    "the grant goes to an engine": (
        "I13",
        lambda c: route(c, "endpoint-whole")["request_headers_to_remove"].remove("x-demarc-grant"),
    ),
    "an address outside the site": (
        "I11",
        lambda c: cluster(c, GLM)["load_assignment"].update(
            endpoints=[{"address": {"socket_address": {"address": "8.8.8.8"}}}]
        ),
    ),
    "a cluster with another's name": (
        "I12",
        lambda c: cluster(c, GLM).update(
            transport_socket=cluster(c, "models/max@dc")["transport_socket"]
        ),
    ),
}
EGRESS: Mapping[str, tuple[str, Mutation]] = {
    "an edge without a guard": ("I5", lambda c: without(protocol(c, FLASH), "http_filters")),
    "anybody may call": ("I12", lambda c: door(c).update(require_client_certificate=False)),
    "any caller of the authority": ("I12", lambda c: names_of(door(c)).clear()),
    "another caller": (
        "I12",
        lambda c: names_of(door(c))["match_typed_subject_alt_names"][0].update(
            matcher={"exact": "spiffe://demarc/sg/edge"}
        ),
    ),
    "the wish for a level leaves": (
        "I13",
        lambda c: route(c, "endpoint-whole")["request_headers_to_remove"].remove("demarc-level"),
    ),
}
EDGE: Mapping[str, tuple[str, Mutation]] = {
    "anybody may call": ("I12", lambda c: door(c).update(require_client_certificate=False)),
    "inner may call": (
        "I12",
        lambda c: names_of(door(c))["match_typed_subject_alt_names"][0].update(
            matcher={"exact": "spiffe://demarc/dc/inner"}
        ),
    ),
    "the grant goes to an engine": (
        "I13",
        lambda c: route(c, "endpoint-whole")["request_headers_to_remove"].remove("x-demarc-grant"),
    ),
}
CASES = [
    *((role, name) for role in Role for name in COMMON),
    *((Role.INNER, name) for name in INNER),
    *((Role.EGRESS, name) for name in EGRESS),
    *((Role.EDGE, name) for name in EDGE),
]
OWN = {Role.INNER: INNER, Role.EGRESS: EGRESS, Role.EDGE: EDGE}


@pytest.mark.parametrize("role", list(Role))
def test_what_we_render_keeps_every_invariant(role: Role) -> None:
    """The linter cries wolf, or the translator is wrong."""
    assert set() == lint(role, parts(role))


@pytest.mark.parametrize("role, name", CASES)
def test_a_guard_that_is_taken_away_is_missed(role: Role, name: str) -> None:
    """A change of the translator opens a way, and nothing says so."""
    want_invariant, mutate = {**COMMON, **OWN[role]}[name]
    found = parts(role)

    mutate(found)

    assert want_invariant in lint(role, found)


def test_every_invariant_has_a_mutation() -> None:
    """An invariant that nobody has seen fail may check nothing."""
    seen = {want for group in (COMMON, *OWN.values()) for want, _ in group.values()}

    assert {f"I{number}" for number in range(1, 15)} == seen


@settings(max_examples=60)
@given(epochs.addressed())
def test_random_epochs_keep_every_invariant(
    case: tuple[Epoch, Mapping[str, tuple[tuple[str, int], ...]]],
) -> None:
    """Some epoch makes a configuration that leaks."""
    found, addresses = case

    for role in (Role.INNER, Role.EGRESS):
        seen = view.of_epoch(role, found)
        rendered = resources.read_files(translation.translate(seen, addresses, SETTINGS))
        assert () == linting.lint(rendered, seen, SETTINGS)


@settings(max_examples=30)
@given(epochs.epochs, epochs.epochs)
def test_the_files_of_one_epoch_do_not_pass_for_those_of_another(old: Epoch, new: Epoch) -> None:
    """The linter does not compare with the policy at all."""
    for role in (Role.INNER, Role.EGRESS):
        first, second = view.of_epoch(role, old), view.of_epoch(role, new)
        rendered = resources.read_files(translation.translate(first, {}, SETTINGS))

        same = (first.targets, first.leaves) == (second.targets, second.leaves)
        assert same == (linting.lint(rendered, second, SETTINGS) == ())


def test_a_file_that_is_missing_is_no_configuration() -> None:
    """The linter proves something about half of the files."""
    files = translation.translate(_VIEWS[Role.INNER], {}, SETTINGS)

    for name in ("cds.json", "lds.json", "rds.json", "bootstrap.json"):
        with pytest.raises(ValueError, match="whole configuration"):
            resources.read_files({key: text for key, text in files.items() if key != name})


def dump_of(found: Parts) -> Parts:
    """What Envoy's admin interface says of a configuration."""
    return {
        "configs": [
            {"bootstrap": found["bootstrap"]},
            {
                "static_clusters": [{"cluster": {"name": "agent"}}],
                "dynamic_active_clusters": [{"cluster": item} for item in found["clusters"]],
            },
            {
                "dynamic_listeners": [
                    *({"active_state": {"listener": item}} for item in found["listeners"]),
                    {"name": "rejected", "error_state": {}},
                ]
            },
            {"dynamic_route_configs": [{"route_config": item} for item in found["routes"]]},
            {"scoped_routes": []},
        ]
    }


@pytest.mark.parametrize("role", list(Role))
def test_a_dump_is_read_like_the_files(role: Role) -> None:
    """What Envoy runs cannot be compared with what was meant."""
    found = parts(role)

    read = resources.read_dump(dump_of(found))

    assert () == linting.lint(read, _VIEWS[role], SETTINGS)
    assert tuple(found["clusters"]) == read.clusters


@pytest.mark.parametrize("dump", [{}, {"configs": [1]}, {"configs": [{"dynamic_listeners": [1]}]}])
def test_what_is_no_dump_is_refused(dump: Parts) -> None:
    """An answer of another program proves that all is well."""
    with pytest.raises(ValueError, match="unknown form"):
        resources.read_dump(dump)


def test_a_violation_reads_as_one_line() -> None:
    """A person cannot see what is wrong where."""
    found = parts(Role.INNER)
    http(found, 0)["failure_mode_allow"] = True

    groups = {name: tuple(value) for name, value in found.items() if name != "bootstrap"}
    checked = linting.lint(
        Resources(bootstrap=found["bootstrap"], **groups), _VIEWS[Role.INNER], SETTINGS
    )

    assert ["I3 listener demarc: the agent's filter lets requests pass without an answer"] == [
        str(violation) for violation in checked
    ]
