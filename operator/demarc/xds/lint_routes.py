"""Do the routes keep what `linting` lists? What a decision needs, and where it can lead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from demarc.xds import headers
from demarc.xds.clusters import AGENT, EGRESS
from demarc.xds.lint_clusters import is_guarded
from demarc.xds.resources import Resources
from demarc.xds.routes import MODELS_PATH
from demarc.xds.view import Role, View
from demarc.xds.violations import Violation, keys

Config = Mapping[str, Any]

_ROUTE_KEYS = frozenset(
    {"name", "match", "route", "metadata", "request_headers_to_remove", "direct_response"}
)
_ACTION_KEYS = frozenset(
    {
        "cluster",
        "cluster_header",
        "cluster_not_found_response_code",
        "host_rewrite_literal",
        "idle_timeout",
        "retry_policy",
        "timeout",
    }
)
_RETRY_KEYS = frozenset(
    {
        "host_selection_retry_max_attempts",
        "num_retries",
        "retry_back_off",
        "retry_host_predicate",
        "retry_on",
    }
)
"""No other priority, no other host set: a retry stays among the replicas of one endpoint."""
_RETRY_ON = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
"""Reasons under which the request has not been read by a server."""
_STAYS = frozenset({headers.CLASS, headers.CLUSTER, headers.SCHEME, headers.SITE})


def check(resources: Resources, view: View) -> Iterator[Violation]:
    """Violations of every route."""
    for config in resources.routes:
        extra = set(config) - {
            "@type",
            "name",
            "virtual_hosts",
            "response_headers_to_add",
            "response_headers_to_remove",
        }
        for key in sorted(extra):
            yield Violation("I3", "routes", f"have `{key}`")
        own = {*headers.OWN, *headers.CHALLENGES}
        forged = own - {*config.get("response_headers_to_remove", ())}
        for name in sorted(forged):
            yield Violation("I13", "routes", f"a server can say `{name}`")
        for added in config.get("response_headers_to_add", ()):
            if view.role is not Role.EGRESS or added.get("header", {}).get("key") != headers.FAR:
                yield Violation("I13", "routes", "add a header to answers")
        for host in config.get("virtual_hosts", ()):
            for key in sorted(set(host) - {"name", "domains", "routes"}):
                yield Violation("I3", f"virtual host {host.get('name')}", f"has `{key}`")
            for route in host.get("routes", ()):
                yield from _route(route, resources, view)


def _route(route: Config, resources: Resources, view: View) -> Iterator[Violation]:
    where = f"route {route.get('name')}"
    for key in sorted(set(route) - _ROUTE_KEYS):
        invariant = "I8" if key == "redirect" else "I3"
        yield Violation(invariant, where, f"has `{key}`")
    if any(key == "connect_matcher" for key, _ in keys(route.get("match", {}))):
        yield Violation("I8", where, "takes CONNECT")
    if "direct_response" in route:
        if not 400 <= int(route["direct_response"].get("status", 0)) < 600:  # noqa: PLR2004
            yield Violation("I2", where, "answers success without a decision")
        return
    action = route.get("route", {})
    for key in sorted(set(action) - _ACTION_KEYS):
        invariant = "I8" if key.startswith(("internal_redirect", "upgrade", "host_")) else "I4"
        yield Violation(invariant, where, f"has `{key}`")
    retry = action.get("retry_policy", {})
    if set(retry) - _RETRY_KEYS or not set(retry.get("retry_on", "").split(",")) <= _RETRY_ON:
        yield Violation("I4", where, "retries elsewhere or after a server read the request")
    named = _named(route)
    if not named:
        yield Violation("I2", where, "needs no decision")
    yield from _reach(route, named, resources, view, where)


def _named(route: Config) -> tuple[Config, ...]:
    """The matchers of the decision header that state a value."""
    found = [
        matcher.get("string_match", {})
        for matcher in route.get("match", {}).get("headers", ())
        if matcher.get("name") == headers.CLUSTER and not matcher.get("invert_match")
    ]
    return tuple(match for match in found if set(match) in ({"exact"}, {"safe_regex"}))


def _reach(
    route: Config, named: tuple[Config, ...], resources: Resources, view: View, where: str
) -> Iterator[Violation]:
    """Everything that the route can reach, whatever an agent says."""
    clusters = {str(cluster.get("name")): cluster for cluster in resources.clusters}
    every = {*clusters} | {
        str(cluster.get("name"))
        for cluster in resources.bootstrap.get("static_resources", {}).get("clusters", ())
    }
    action = route.get("route", {})
    reached = {str(action["cluster"])} if "cluster" in action else set[str]()
    if "cluster_header" in action:
        if action["cluster_header"] != headers.CLUSTER:
            yield Violation("I4", where, "lets another header choose the cluster")
        reached |= {name for name in every if all(_says(match, name) for match in named)}
    if not reached and "cluster_header" not in action:
        yield Violation("I4", where, "leads nowhere that can be named")
    inside = {target.name for target in view.targets} if view.role is not Role.EGRESS else set()
    removed = {*route.get("request_headers_to_remove", ())}
    for name in sorted(reached):
        if name in inside:
            continue
        if name == AGENT and view.role is Role.INNER:
            if not _is_list_of_models(route):
                yield Violation("I4", where, "reaches the agent with more than the list of models")
            continue
        outside = {EGRESS} if view.role is Role.INNER and view.leaves else set[str]()
        if view.role is Role.EGRESS:
            outside = {target.name for target in view.targets}
        if name not in outside:
            yield Violation("I4", where, f"reaches `{name}`")
        elif not is_guarded(clusters.get(name, {})):
            yield Violation("I4", where, f"reaches `{name}`, which has no guard")
        elif view.role is Role.INNER and not _needs_grant(route):
            yield Violation("I4", where, f"reaches `{name}` without a grant")
    yield from _left_behind(reached, removed, view, where)


def _left_behind(
    reached: set[str], removed: set[str], view: View, where: str
) -> Iterator[Violation]:
    must = {*_STAYS}
    if reached == {AGENT}:
        # The agent asks for the credential again.
        must |= {headers.RAISE, headers.GRANT, headers.ENDPOINT}
    elif reached != {EGRESS}:
        must |= {*headers.CREDENTIALS, headers.RAISE}
        if view.role is not Role.EGRESS:
            must |= {headers.GRANT, headers.ENDPOINT}
    for name in sorted(must - removed):
        yield Violation("I13", where, f"carries `{name}` on")


def _is_list_of_models(route: Config) -> bool:
    """Whether nothing but the list of models takes a route, by what it matches alone."""
    match = route.get("match", {})
    asked = {"name": headers.CLUSTER, "string_match": {"exact": AGENT}}
    read = {"name": ":method", "string_match": {"exact": "GET"}}
    found = [dict(item) for item in match.get("headers", ())]
    return (
        set(match) == {"path", "headers"}
        and match["path"] == MODELS_PATH
        and asked in found
        and read in found
        and "cluster_header" not in route.get("route", {})
    )


def _needs_grant(route: Config) -> bool:
    wanted = {"name": headers.GRANT, "present_match": True}
    return wanted in [dict(found) for found in route.get("match", {}).get("headers", ())]


def _says(match: Config, name: str) -> bool:
    if "exact" in match:
        return bool(match["exact"] == name)
    return re.fullmatch(match["safe_regex"].get("regex", "(?!)"), name) is not None
