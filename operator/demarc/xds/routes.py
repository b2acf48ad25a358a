"""Which decision leads to which cluster? Routes need the agent's header; without it 503.

INVARIANT: the inner tier's routes lead to endpoints of its own private sites, or to `egress` when
the agent gave a grant. No other cluster can be named, whatever the header holds.

The list of models is the agent's own answer. ext_authz cannot carry one, because 200 means allow,
so the inner agent allows the request to itself: one exact path, to its socket, with the credential
that it looks at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from demarc.xds import headers, local_replies
from demarc.xds.access_log import EPOCH_KEY, EPOCH_NAMESPACE
from demarc.xds.clusters import AGENT, EGRESS
from demarc.xds.settings import GatewaySettings, Limits
from demarc.xds.view import Role, View

Config = Mapping[str, Any]

NAME = "demarc"
"""Name of the route configuration in every tier."""

_HOST = "demarc.internal"
"""What servers see as host: the caller's word for this gateway stays here."""
_USED = (headers.CLASS, headers.CLUSTER, headers.SCHEME, headers.SITE)
"""What served its purpose at the gateway itself."""
_LETTERS = "[a-z0-9.-]+"
MODELS_PATH = "/v1/models"
"""The one path that the inner agent answers itself."""


def render(view: View, settings: GatewaySettings) -> Config:
    """The route configuration of one gateway."""
    ways = _ways(view)
    routes = [route for way in ways for route in _pair(way, view.version, settings.limits)]
    if view.role is Role.INNER:
        routes.append(_models(view.version, settings.limits))
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": NAME,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*routes, _no_decision()]}],
        # What a server says in the agents' name is not passed on.
        "response_headers_to_remove": sorted((*headers.OWN, *headers.CHALLENGES)),
        **({"response_headers_to_add": [_far()]} if view.role is Role.EGRESS else {}),
    }


@dataclass(frozen=True, slots=True)
class _Way:
    """What a decision must say, where it leads, and what stays behind."""

    name: str
    asked: tuple[Config, ...]
    target: Config
    removed: tuple[str, ...]


def _ways(view: View) -> tuple[_Way, ...]:
    served = (*_USED, *headers.CREDENTIALS, headers.ENDPOINT, headers.GRANT, headers.RAISE)
    far = (*_USED, *headers.CREDENTIALS, headers.MODEL, headers.RAISE, headers.STREAM)
    left = (*_USED, headers.MODEL, headers.STREAM)
    chosen = {"cluster_header": headers.CLUSTER}
    leave = (_exactly(headers.CLUSTER, EGRESS), _present(headers.GRANT))
    out = _Way("leave", leave, {"cluster": EGRESS}, left)
    ways = (out,) if view.leaves else ()
    if not view.targets:
        return ways
    named = _endpoint(view)
    match view.role:
        case Role.INNER:
            return (*ways, _Way("endpoint", (named, _absent(headers.GRANT)), chosen, served))
        case Role.EGRESS:
            return (_Way("endpoint", (named,), chosen, far),)
        case Role.EDGE:
            return (_Way("endpoint", (named,), chosen, served),)
        case _:
            assert_never(view.role)


def _pair(way: _Way, version: str, limits: Limits) -> tuple[Config, ...]:
    """Two routes to the same place: a stream may last, a whole answer has a time limit."""
    times = {"timeout": "0s", "idle_timeout": f"{limits.idle_seconds}s"}
    whole = {"timeout": f"{limits.answer_seconds}s", "idle_timeout": f"{limits.answer_seconds}s"}
    common = {
        "metadata": {"filter_metadata": {EPOCH_NAMESPACE: {EPOCH_KEY: version}}},
        "request_headers_to_remove": sorted(way.removed),
    }
    action = _action(way.target, limits)
    return (
        {
            "name": f"{way.name}-stream",
            "match": {"prefix": "/", "headers": [*way.asked, _present(headers.STREAM)]},
            "route": {**action, **times},
            **common,
        },
        {
            "name": f"{way.name}-whole",
            "match": {"prefix": "/", "headers": [*way.asked]},
            "route": {**action, **whole},
            **common,
        },
    )


def _action(target: Config, limits: Limits) -> Config:
    return {
        **target,
        "cluster_not_found_response_code": "SERVICE_UNAVAILABLE",
        "host_rewrite_literal": _HOST,
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": limits.retries,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host"
                        ".previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 3,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        },
    }


def _models(version: str, limits: Limits) -> Config:
    removed = (
        *_USED,
        headers.ENDPOINT,
        headers.GRANT,
        headers.MODEL,
        headers.RAISE,
        headers.STREAM,
    )
    return {
        "name": "models",
        "match": {
            "path": MODELS_PATH,
            "headers": [
                _exactly(headers.CLUSTER, AGENT),
                _exactly(":method", "GET"),
                _absent(headers.GRANT),
            ],
        },
        "route": {
            **_action({"cluster": AGENT}, limits),
            "timeout": f"{limits.decision_milliseconds / 1000:g}s",
        },
        "metadata": {"filter_metadata": {EPOCH_NAMESPACE: {EPOCH_KEY: version}}},
        "request_headers_to_remove": sorted(removed),
    }


def _no_decision() -> Config:
    return {
        "name": "no-decision",
        "match": {"prefix": "/"},
        "direct_response": {
            "status": local_replies.NO_DECISION.status,
            "body": {"inline_string": local_replies.NO_DECISION.body},
        },
    }


def _far() -> Config:
    return {
        "header": {"key": headers.FAR, "value": "1"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _endpoint(view: View) -> Config:
    sites = "|".join(sorted({_literal(target.site) for target in view.targets}))
    return {
        "name": headers.CLUSTER,
        "string_match": {"safe_regex": {"regex": f"{_LETTERS}/{_LETTERS}@(?:{sites})"}},
    }


def _literal(text: str) -> str:
    return text.replace(".", "\\.")


def _exactly(name: str, value: str) -> Config:
    return {"name": name, "string_match": {"exact": value}}


def _present(name: str) -> Config:
    return {"name": name, "present_match": True}


def _absent(name: str) -> Config:
    return {"name": name, "present_match": True, "invert_match": True}
