"""Where can a gateway send a request? One Envoy cluster for each endpoint, and `egress`.

INVARIANT: a cluster holds the addresses of one endpoint only. Every address is a literal inside
the networks of the endpoint's site; no name is resolved.

Retries stay among the replicas of one endpoint, and another endpoint is another decision.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from demarc.xds import headers, tls
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role, Target, View, frontend_name, gateway_name

Config = Mapping[str, Any]
Address = tuple[str, int]
Addresses = Mapping[str, tuple[Address, ...]]

EGRESS = "egress"
"""The inner gateway's only cluster that leads out; the name of no endpoint, which holds a `/`."""
AGENT = "agent"
"""The decision service; static, so no file can remove it."""

_TYPE = "type.googleapis.com/envoy."
_FILTERS = f"{_TYPE}extensions.filters.http."
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LAST_PORT = 65535


def render(view: View, addresses: Addresses, settings: GatewaySettings) -> tuple[Config, ...]:
    """The clusters of one gateway, sorted by name; one without addresses answers 503.

    Args:
        view: the policy's part.
        addresses: cluster name -> addresses; those outside the site's networks are dropped.
        settings: the gateway's own values.
    """
    found = [_of_target(view, target, addresses, settings) for target in view.targets]
    if view.leaves:
        found.append(
            _cluster(
                EGRESS,
                _literals(addresses.get(EGRESS, ()), None),
                tls.to(gateway_name(view.site, "egress"), f"egress.{view.site}", settings),
                settings,
                guarded=True,
            )
        )
    return tuple(sorted(found, key=lambda cluster: str(cluster["name"])))


def agent(settings: GatewaySettings) -> Config:
    """The cluster of the decision service: a Unix socket beside Envoy."""
    return {
        "@type": f"{_TYPE}config.cluster.v3.Cluster",
        "name": AGENT,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "circuit_breakers": _breakers(settings),
        # The agent keeps idle connections longer: one that it closed under a question would be a
        # refusal.
        "typed_extension_protocol_options": {
            _OPTIONS: {
                "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {
                    "idle_timeout": f"{settings.limits.keep_seconds}s"
                },
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": AGENT,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"pipe": {"path": settings.decide_socket}}}}
                    ]
                }
            ],
        },
    }


def inside(addresses: Iterable[Address], cidrs: Iterable[str]) -> tuple[Address, ...]:
    """Those addresses that are literals inside one of the networks; sorted, each once.

    An address or network that cannot be read counts as outside.
    """
    networks = [network for network in map(_network, cidrs) if network is not None]
    return tuple(
        (host, port)
        for host, port in _literals(addresses, None)
        if any(ipaddress.ip_address(host) in network for network in networks)
    )


def _of_target(
    view: View, target: Target, addresses: Addresses, settings: GatewaySettings
) -> Config:
    found = _literals(addresses.get(target.name, ()), target.cidrs)
    match view.role:
        case Role.INNER | Role.EDGE:
            name = f"{target.deployment}.{target.namespace}.{target.site}"
            socket = tls.to(frontend_name(target), name, settings)
            return _cluster(target.name, found, socket, settings, guarded=False)
        case Role.EGRESS:
            peer = gateway_name(target.site, "edge")
            socket = tls.to(peer, f"edge.{target.site}", settings)
            return _cluster(target.name, found, socket, settings, guarded=True, far=True)
        case _:
            assert_never(view.role)


def _cluster(
    name: str,
    addresses: tuple[Address, ...],
    socket: Config,
    settings: GatewaySettings,
    *,
    guarded: bool,
    far: bool = False,
) -> Config:
    limits = settings.limits
    wait = limits.far_connect_milliseconds if far else limits.connect_milliseconds
    cluster: dict[str, Any] = {
        "@type": f"{_TYPE}config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": f"{wait / 1000:g}s",
        "lb_policy": "LEAST_REQUEST",
        # With all replicas ejected, fail at once: never spread over hosts known to be dead.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": _breakers(settings),
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 30, "keepalive_interval": 5}
        },
        "transport_socket": socket,
        "typed_extension_protocol_options": {_OPTIONS: _protocol(settings, guarded=guarded)},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": {"socket_address": {"address": host, "port_value": port}}
                            }
                        }
                        for host, port in addresses
                    ]
                }
            ],
        },
    }
    if not far:
        # The far side is judged by its answers, in the agent; an ejection here would hide from it
        # that the far side is back.
        cluster["outlier_detection"] = _ejection()
    return cluster


def _ejection() -> Config:
    """Passive detection of dead replicas: connections that fail, or a row of 502, 503, 504."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_consecutive_local_origin_failure": 100,
        "consecutive_gateway_failure": 5,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "1s",
        "max_ejection_time": "30s",
        "max_ejection_percent": 100,
    }


def _protocol(settings: GatewaySettings, *, guarded: bool) -> Config:
    options: dict[str, Any] = {
        "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{settings.limits.keep_seconds}s"},
        "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
    }
    if guarded:
        options["http_filters"] = [
            guard(),
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": f"{_FILTERS}upstream_codec.v3.UpstreamCodec"},
            },
        ]
    return options


def guard() -> Config:
    """The last check before a request leaves: the agent itself called it public.

    A guard belongs to the cluster and not to the route: no route, retry or mirror gets around it.
    """
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_FILTERS}rbac.v3.RBAC",
            "rules": {
                "action": "ALLOW",
                "policies": {
                    "may-leave": {
                        "permissions": [{"any": True}],
                        "principals": [
                            {
                                "sourced_metadata": {
                                    "metadata_source": "DYNAMIC",
                                    "metadata_matcher": {
                                        "filter": "envoy.filters.http.ext_authz",
                                        "path": [{"key": headers.CLASS}],
                                        "value": {"string_match": {"exact": headers.PUBLIC}},
                                    },
                                }
                            }
                        ],
                    }
                },
            },
        },
    }


def _breakers(settings: GatewaySettings) -> Config:
    most = settings.limits.upstream_requests
    return {
        "thresholds": [
            {
                "max_connections": most,
                "max_pending_requests": most,
                "max_requests": most,
                "max_retries": most,
            }
        ]
    }


def _literals(addresses: Iterable[Address], cidrs: tuple[str, ...] | None) -> tuple[Address, ...]:
    if cidrs is not None:
        return inside(addresses, cidrs)
    kept = {item for item in addresses if _is_literal(item[0]) and 0 < item[1] <= _LAST_PORT}
    return tuple(sorted(kept, key=lambda item: (ipaddress.ip_address(item[0]).packed, item[1])))


def _is_literal(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
