"""Does the door keep what `linting` lists? Listeners, filters, logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from demarc.xds import headers, listeners, tls
from demarc.xds.clusters import AGENT
from demarc.xds.resources import Resources
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role, View
from demarc.xds.violations import Violation, keys, kind, matches

Config = Mapping[str, Any]

_MAY_ALWAYS_GO = frozenset({*headers.CONTENT, *headers.ALLOW, headers.SCHEME})
_FROM_CALLER = frozenset({*headers.CREDENTIALS, headers.RAISE})
_PROBES = (
    "cookie",
    "host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-request-id",
    "accept-encoding",
    "content-encoding",
    "te",
    "x-demarc-other",
    "x-envoy-retry-on",
    "traceparent",
    "location",
    "set-cookie",
    "x-other",
)
"""Names outside every list; one that passes shows that the list is open."""
_PSEUDO = (":method", ":path", ":scheme", ":authority", ":status")
_CHAINS = {
    Role.INNER: ("ExtAuthz", "HeaderMutation", "Config", "Lua", "Router"),
    Role.EGRESS: ("ExtAuthz", "HeaderMutation", "Router"),
    Role.EDGE: ("ExtAuthz", "HeaderMutation", "Router"),
}
_MANAGER_KEYS = frozenset(
    {
        "@type",
        "access_log",
        "codec_type",
        "common_http_protocol_options",
        "early_header_mutation_extensions",
        "generate_request_id",
        "http_filters",
        "http_protocol_options",
        "internal_address_config",
        "local_reply_config",
        "max_request_headers_kb",
        "merge_slashes",
        "normalize_path",
        "path_with_escaped_slashes_action",
        "rds",
        "request_headers_timeout",
        "request_timeout",
        "server_name",
        "stat_prefix",
        "stream_idle_timeout",
        "use_remote_address",
    }
)
"""All that a connection manager may hold: no tracing, upgrade, inline route or strange option."""
_BOOTSTRAP_KEYS = frozenset(
    {
        "admin",
        "dynamic_resources",
        "layered_runtime",
        "node",
        "overload_manager",
        "static_resources",
    }
)


def check(resources: Resources, view: View, settings: GatewaySettings) -> Iterator[Violation]:
    """Violations of the bootstrap and of every listener."""
    yield from _bootstrap(resources.bootstrap, settings)
    if len(resources.listeners) != 1:
        yield Violation("I1", "listeners", f"{len(resources.listeners)} listeners in place of one")
    for listener in resources.listeners:
        where = f"listener {listener.get('name')}"
        for chain in [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]:
            yield from _chain(chain, where, view, settings)
        for extra in (
            "listener_filters",
            "udp_listener_config",
            "api_listener",
            "internal_listener",
        ):
            if listener.get(extra):
                yield Violation("I8", where, f"has `{extra}`")
        if listener.get("access_log"):
            yield Violation("I7", where, "logs outside the connection manager")


def _bootstrap(bootstrap: Config, settings: GatewaySettings) -> Iterator[Violation]:
    where = "bootstrap"
    for key in sorted(set(bootstrap) - _BOOTSTRAP_KEYS):
        yield Violation("I7", where, f"has `{key}`")
    if "pipe" not in bootstrap.get("admin", {}).get("address", {}):
        yield Violation("I7", where, "the admin interface is not a Unix socket")
    for name, source in bootstrap.get("dynamic_resources", {}).items():
        if not _from_run(source, settings):
            yield Violation("I7", where, f"`{name}` does not come from the run folder")
    static = bootstrap.get("static_resources", {})
    if [cluster.get("name") for cluster in static.get("clusters", ())] != [AGENT]:
        yield Violation("I14", where, "its static clusters are not the agent's alone")
    for cluster in static.get("clusters", ()):
        addresses = [value for key, value in keys(cluster) if key == "address"]
        if addresses != [{"pipe": {"path": settings.decide_socket}}]:
            yield Violation("I3", where, "the agent is not behind its Unix socket")
    for key in sorted(set(static) - {"clusters"}):
        yield Violation("I7", where, f"has static `{key}`")


def _from_run(source: Config, settings: GatewaySettings) -> bool:
    path = source.get("path_config_source", {}).get("path", "")
    return set(source) <= {"resource_api_version", "path_config_source"} and str(path).startswith(
        f"{settings.run}/"
    )


def _chain(chain: Config, where: str, view: View, settings: GatewaySettings) -> Iterator[Violation]:
    if not chain:
        return
    yield from _transport(chain.get("transport_socket", {}), where, view)
    filters = chain.get("filters", ())
    if [kind(item) for item in filters] != ["HttpConnectionManager"]:
        yield Violation("I3", where, "has another network filter than the connection manager")
        return
    manager = filters[0]["typed_config"]
    yield from _manager(manager, where, view, settings)
    yield from _early(manager, where, view)
    http = manager.get("http_filters", ())
    wanted = _CHAINS[view.role]
    if tuple(kind(item) for item in http) != wanted:
        yield Violation("I3", where, f"its filters are not {', '.join(wanted)}")
        return
    for item in http:
        if set(item) - {"name", "typed_config"}:
            yield Violation("I3", where, f"`{item.get('name')}` can be switched off or replaced")
    yield from _authorization(http[0]["typed_config"], where, view, settings)
    yield from _allow_lists(http[1]["typed_config"], where, view)
    for item in http[1:]:
        yield from _behind(item["typed_config"], where)


def _transport(socket: Config, where: str, view: View) -> Iterator[Violation]:
    typed = socket.get("typed_config", {})
    if kind(typed) != "DownstreamTlsContext":
        yield Violation("I12", where, "does not speak TLS")
        return
    if view.role is Role.INNER:
        return
    if typed.get("require_client_certificate") is not True:
        yield Violation("I12", where, "does not ask for a client certificate")
    if not (view.caller and tls.proves(typed, view.caller)):
        yield Violation("I12", where, f"does not require exactly `{view.caller}`")


def _manager(
    manager: Config, where: str, view: View, settings: GatewaySettings
) -> Iterator[Violation]:
    for key in sorted(set(manager) - _MANAGER_KEYS):
        invariant = "I7" if key == "tracing" else "I8"
        yield Violation(invariant, where, f"has `{key}`")
    for log in manager.get("access_log", ()):
        typed = log.get("typed_config", {})
        if kind(typed) != "FileAccessLog" or typed.get("path") != settings.access_log:
            yield Violation("I7", where, "logs elsewhere than to the run folder")
    if len(manager.get("access_log", ())) != 1:
        yield Violation("I7", where, "has not exactly one access log")
    if not _from_run(manager.get("rds", {}).get("config_source", {}), settings):
        yield Violation("I7", where, "its routes do not come from the run folder")
    for option, value in (
        ("normalize_path", True),
        ("merge_slashes", True),
        ("path_with_escaped_slashes_action", "REJECT_REQUEST"),
        ("codec_type", "HTTP1"),
    ):
        if manager.get(option) != value:
            yield Violation("I8", where, f"`{option}` is not `{value}`")
    common = manager.get("common_http_protocol_options", {})
    if common.get("headers_with_underscores_action") != "REJECT_REQUEST":
        yield Violation("I1", where, "a header with underscores could pass for another")
    trailers = manager.get("http_protocol_options", {}).get("enable_trailers", False)
    if view.role is Role.INNER and trailers:
        yield Violation("I13", where, "shows trailers to clients")


def _early(manager: Config, where: str, view: View) -> Iterator[Violation]:
    kept = () if view.role is Role.INNER else (headers.ENDPOINT, headers.GRANT)
    removers = [
        _remover(mutation)
        for extension in manager.get("early_header_mutation_extensions", ())
        for mutation in extension.get("typed_config", {}).get("mutations", ())
    ]
    own = (*headers.OWN, headers.FAR, "x-demarc-other", "x-envoy-retry-on")
    for name in sorted({*own, "accept-encoding"} - {*kept}):
        if not any(matches(remover, name) for remover in removers):
            yield Violation("I1", where, f"a caller can say `{name}`")


def _remover(mutation: Config) -> Config:
    if "remove" in mutation:
        return {"exact": mutation["remove"]}
    found: Config = mutation.get("remove_on_match", {}).get("key_matcher", {})
    return found


def _authorization(
    typed: Config, where: str, view: View, settings: GatewaySettings
) -> Iterator[Violation]:
    def wrong(message: str) -> Violation:
        return Violation("I3", where, f"the agent's filter {message}")

    known = {
        "@type",
        "allowed_headers",
        "clear_route_cache",
        "failure_mode_allow",
        "http_service",
        "status_on_error",
        "validate_mutations",
        "with_request_body",
    }
    for key in sorted(set(typed) - known):
        yield wrong(f"has `{key}`")
    if typed.get("failure_mode_allow", False):
        yield wrong("lets requests pass without an answer")
    if typed.get("clear_route_cache") is not True:
        yield wrong("keeps the route that was chosen before the answer")
    if typed.get("status_on_error", {}).get("code") != "ServiceUnavailable":
        yield wrong("does not answer 503 without an answer")
    if typed.get("allowed_headers") != {"patterns": [{"safe_regex": {"regex": ".*"}}]}:
        yield wrong("hides headers from the agent")
    body = typed.get("with_request_body", {})
    if body.get("allow_partial_message", False) or not body:
        yield wrong("does not show the whole body")
    if body.get("max_request_bytes") != settings.limits.body_bytes:
        yield Violation("I10", where, "has another body limit than the other tiers")
    service = typed.get("http_service", {})
    uri = service.get("server_uri", {})
    if uri.get("cluster") != AGENT or service.get("path_prefix") != listeners.QUESTION[view.role]:
        yield wrong("asks somebody else")
    yield from _answer(service.get("authorization_response", {}), where, view)


def _answer(answer: Config, where: str, view: View) -> Iterator[Violation]:
    shown = {headers.DECISION, headers.SITE} if view.role is Role.INNER else set[str]()
    may = {
        "allowed_upstream_headers": {*headers.ALLOW},
        "allowed_client_headers": {*headers.DENY},
        "allowed_client_headers_on_success": shown,
        "dynamic_metadata_from_headers": {*headers.METADATA},
    }
    for key in sorted(set(answer) - set(may)):
        yield Violation("I9", where, f"has `{key}`")
    # Absent, the client list is open: every header of a refusal is shown.
    for key in ("allowed_client_headers", "allowed_upstream_headers"):
        if not answer.get(key, {}).get("patterns"):
            yield Violation("I9", where, f"`{key}` is not listed")
    for key, allowed in may.items():
        for pattern in answer.get(key, {}).get("patterns", ()):
            if set(pattern) != {"exact"} or pattern["exact"] not in allowed:
                yield Violation("I9", where, f"`{key}` passes more than it may: {pattern}")


def _allow_lists(typed: Config, where: str, view: View) -> Iterator[Violation]:
    mutations = typed.get("mutations", {})
    may = _MAY_ALWAYS_GO | (_FROM_CALLER if view.role is Role.INNER else frozenset())
    back = {*headers.ANSWER, *headers.DENY}
    if view.role is Role.EGRESS:
        back.add(headers.FAR)
    lists = {
        "request_mutations": may,
        "response_mutations": frozenset(back),
        "request_trailers_mutations": frozenset[str](),
        "response_trailers_mutations": frozenset({headers.USAGE}),
    }
    for key, allowed in lists.items():
        yield from _list(mutations.get(key, ()), key, allowed, where)
    for key in sorted(set(mutations) - set(lists)):
        yield Violation("I13", where, f"has `{key}`")


def _list(
    found: Iterable[Config], key: str, allowed: frozenset[str], where: str
) -> Iterator[Violation]:
    removers = []
    for mutation in found:
        if set(mutation) != {"remove_on_match"}:
            yield Violation("I13", where, f"`{key}` does more than remove")
        removers.append(_remover(mutation))
    everything = {
        *_PROBES,
        *headers.OWN,
        *headers.ANSWER,
        *headers.DENY,
        *headers.CREDENTIALS,
        *headers.CONTENT,
        headers.FAR,
        headers.RAISE,
    }
    for name in sorted(everything - allowed):
        if not any(matches(remover, name) for remover in removers):
            yield Violation("I13", where, f"`{key}` lets `{name}` pass")
    for name in sorted({*allowed, *_PSEUDO}):
        if any(matches(remover, name) for remover in removers):
            yield Violation("I13", where, f"`{key}` takes `{name}` away")


def _behind(typed: Config, where: str) -> Iterator[Violation]:
    """Filters after the agent: none chooses a route again."""
    match kind(typed):
        case "Lua":
            if typed != listeners.no_redirects()["typed_config"]:
                yield Violation("I3", where, "runs another script than the one against redirects")
        case "Config":
            if typed.get("request_rules") or set(typed) - {"@type", "response_rules"}:
                yield Violation("I3", where, "writes metadata from requests")
        case _:
            pass
    if any(key == "clear_route_cache" and value for key, value in keys(typed)):
        yield Violation("I3", where, f"`{kind(typed)}` chooses another route after the agent")
