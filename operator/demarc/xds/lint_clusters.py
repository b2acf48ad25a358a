"""Do the clusters keep what `linting` lists? One endpoint each, exact names, literal addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from demarc.xds import clusters, tls
from demarc.xds.clusters import EGRESS
from demarc.xds.resources import Resources
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role, View, frontend_name, gateway_name
from demarc.xds.violations import Violation, keys, kind

Config = Mapping[str, Any]

_CLUSTER_KEYS = frozenset(
    {
        "@type",
        "circuit_breakers",
        "common_lb_config",
        "connect_timeout",
        "lb_policy",
        "load_assignment",
        "name",
        "outlier_detection",
        "transport_socket",
        "type",
        "typed_extension_protocol_options",
        "upstream_connection_options",
    }
)
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_INLINE = frozenset({"inline_bytes", "generic_secret", "session_ticket_keys", "private_key"})


def check(resources: Resources, view: View, settings: GatewaySettings) -> Iterator[Violation]:
    """Violations of every cluster and secret."""
    wanted = {target.name for target in view.targets} | ({EGRESS} if view.leaves else set())
    found = [str(cluster.get("name")) for cluster in resources.clusters]
    for name in sorted(wanted - set(found)):
        yield Violation("I14", "clusters", f"`{name}` has none")
    for name in sorted(set(found) - wanted):
        yield Violation("I14", "clusters", f"`{name}` is no endpoint of this gateway")
    if len(found) != len(set(found)):
        yield Violation("I14", "clusters", "two have the same name")
    for cluster in resources.clusters:
        yield from _cluster(cluster, view)
    for secret in resources.secrets:
        yield from _secret(secret, settings)
    for key, _ in keys([*resources.clusters, *resources.listeners, *resources.routes]):
        if key in _INLINE:
            yield Violation("I11", "configuration", f"holds `{key}`")


def is_guarded(cluster: Config) -> bool:
    """Whether the guard stands in the cluster itself, first and unconditional."""
    options = cluster.get("typed_extension_protocol_options", {}).get(_OPTIONS, {})
    filters = options.get("http_filters", ())
    return (
        [kind(item) for item in filters] == ["RBAC", "UpstreamCodec"]
        and _plain(filters[0]) == _plain(clusters.guard())
        and set(filters[1]) == {"name", "typed_config"}
    )


def _plain(value: object) -> object:
    """Without the values that Envoy takes as default and leaves out of its dump."""
    if isinstance(value, Mapping):
        defaults = {("action", "ALLOW"), ("metadata_source", "DYNAMIC")}
        return {
            key: _plain(inner)
            for key, inner in value.items()
            if not isinstance(inner, str) or (key, inner) not in defaults
        }
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _cluster(cluster: Config, view: View) -> Iterator[Violation]:
    name = str(cluster.get("name"))
    where = f"cluster {name}"
    for key in sorted(set(cluster) - _CLUSTER_KEYS):
        invariant = "I6" if key == "cluster_type" else "I8"
        yield Violation(invariant, where, f"has `{key}`")
    # Absent, the type is STATIC.
    if cluster.get("type", "STATIC") != "STATIC":
        yield Violation("I11", where, f"is of type `{cluster.get('type')}`")
    leads_out = view.role is Role.EGRESS or name == EGRESS
    if leads_out and not is_guarded(cluster):
        yield Violation("I5", where, "leads out without the guard")
    options = cluster.get("typed_extension_protocol_options", {})
    if set(options) - {_OPTIONS}:
        yield Violation("I8", where, "has options of another protocol")
    if not leads_out and options.get(_OPTIONS, {}).get("http_filters"):
        yield Violation("I3", where, "has filters of its own")
    yield from _peer(cluster, view, where)
    yield from _addresses(cluster, view, where)


def _peer(cluster: Config, view: View, where: str) -> Iterator[Violation]:
    socket = cluster.get("transport_socket", {}).get("typed_config", {})
    peer = _expected(str(cluster.get("name")), view)
    if peer is None:
        return
    if kind(socket) != "UpstreamTlsContext" or not tls.proves(socket, peer):
        yield Violation("I12", where, f"does not require exactly `{peer}`")
    if socket.get("max_session_keys") != 0:
        yield Violation("I12", where, "may resume a session without checking the name")


def _expected(name: str, view: View) -> str | None:
    if name == EGRESS:
        return gateway_name(view.site, "egress")
    for target in view.targets:
        if target.name == name:
            edge = view.role is Role.EGRESS
            return gateway_name(target.site, "edge") if edge else frontend_name(target)
    return None


def _addresses(cluster: Config, view: View, where: str) -> Iterator[Violation]:
    cidrs = {target.name: target.cidrs for target in view.targets}.get(str(cluster.get("name")))
    assignment = cluster.get("load_assignment", {})
    for key, value in keys(assignment):
        if key == "address" and isinstance(value, Mapping):
            literal = value.get("socket_address", {}).get("address")
            if literal is None or not _inside(str(literal), cidrs):
                yield Violation("I11", where, f"leads to `{value}`, outside its site's networks")
        elif key in {"named_endpoints", "leds_cluster_locality_config", "resolver_name"}:
            yield Violation("I11", where, f"has `{key}`")


def _inside(literal: str, cidrs: tuple[str, ...] | None) -> bool:
    try:
        address = ipaddress.ip_address(literal)
        return cidrs is None or any(address in ipaddress.ip_network(cidr) for cidr in cidrs)
    except ValueError:
        return False


def _secret(secret: Config, settings: GatewaySettings) -> Iterator[Violation]:
    folders = (f"{settings.tls}/", f"{settings.client_tls}/" if settings.client_tls else "\0")
    for key, value in keys(secret):
        if key in {"inline_bytes", "inline_string", "generic_secret"}:
            yield Violation("I11", f"secret {secret.get('name')}", f"holds `{key}`")
        if key == "filename" and not str(value).startswith(folders):
            yield Violation("I11", f"secret {secret.get('name')}", f"reads `{value}`")
