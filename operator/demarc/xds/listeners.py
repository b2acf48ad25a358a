"""What happens to a request at the door? One listener, one filter chain, in one order.

1. Strip what only agents may say.
2. Hold the body and ask the agent; no answer is a refusal.
3. Let only the allow-lists through, to the server and back.
4. At inner, turn a redirect, and a status that is no answer, into 502.

INVARIANT: nothing between the agent's answer and the router chooses another route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demarc.xds import access_log, headers, local_replies, routes, tls
from demarc.xds.clusters import AGENT
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role, View

Config = Mapping[str, Any]

NAME = "demarc"
_TYPE = "type.googleapis.com/envoy."
_FILTERS = f"{_TYPE}extensions.filters.http."

QUESTION = {Role.INNER: "/decide", Role.EGRESS: "/verify", Role.EDGE: "/admit"}
"""What each tier's agent is asked: prefix of the path on its socket."""

_FROM_GATEWAY = (headers.ENDPOINT, headers.GRANT)
"""What of Demarc's own headers a gateway accepts from the gateway before it."""


def render(view: View, settings: GatewaySettings) -> Config:
    """The listener of one gateway."""
    socket = tls.accepting(view.caller, settings) if view.caller else tls.open_to_clients(settings)
    return {
        "@type": f"{_TYPE}config.listener.v3.Listener",
        "name": NAME,
        "address": {"socket_address": {"address": settings.address, "port_value": settings.port}},
        "per_connection_buffer_limit_bytes": 1024 * 1024,
        "filter_chains": [
            {
                "transport_socket_connect_timeout": "10s",
                "transport_socket": socket,
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _manager(view.role, settings),
                    }
                ],
            }
        ],
    }


def _manager(role: Role, settings: GatewaySettings) -> Config:
    limits = settings.limits
    return {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": role.value,
        # HTTP/1.1 alone: it drops the usage trailer, and HTTP/2 would pass it on to the client.
        "codec_type": "HTTP1",
        "http_protocol_options": {"enable_trailers": role is not Role.INNER},
        "server_name": "demarc",
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": []},
        "generate_request_id": False,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "headers_with_underscores_action": "REJECT_REQUEST",
            "idle_timeout": "300s",
        },
        "max_request_headers_kb": limits.header_kib,
        "request_timeout": f"{limits.request_seconds}s",
        "request_headers_timeout": f"{limits.request_seconds}s",
        "stream_idle_timeout": f"{limits.idle_seconds}s",
        "early_header_mutation_extensions": [_strip(role)],
        "http_filters": [
            _authorization(role, settings),
            _allow_lists(role),
            *([_far_to_metadata(), no_redirects()] if role is Role.INNER else []),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{_FILTERS}router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            },
        ],
        "local_reply_config": local_replies.render(far=role is Role.EGRESS),
        "access_log": [access_log.render(settings.access_log)],
        "rds": {
            "route_config_name": routes.NAME,
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {"path": f"{settings.run}/rds.json"},
            },
        },
    }


def _strip(role: Role) -> Config:
    """Before anything else: what only agents and Envoy itself may say."""
    kept = () if role is Role.INNER else _FROM_GATEWAY
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_TYPE}extensions.http.early_header_mutation.header_mutation.v3"
            ".HeaderMutation",
            "mutations": [
                _remove_outside(kept, headers.DEMARC_PREFIX),
                _remove_outside((), headers.ENVOY_PREFIX),
                {"remove": "accept-encoding"},  # an answer's content is never encoded
            ],
        },
    }


def _authorization(role: Role, settings: GatewaySettings) -> Config:
    limits = settings.limits
    answer: dict[str, Any] = {
        "allowed_upstream_headers": _exact(headers.ALLOW),
        "allowed_client_headers": _exact(headers.DENY),
        "dynamic_metadata_from_headers": _exact(headers.METADATA),
    }
    if role is Role.INNER:
        answer["allowed_client_headers_on_success"] = _exact((headers.DECISION, headers.SITE))
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_FILTERS}ext_authz.v3.ExtAuthz",
            "http_service": {
                "server_uri": {
                    "uri": f"http://{AGENT}",
                    "cluster": AGENT,
                    "timeout": f"{limits.decision_milliseconds / 1000:g}s",
                },
                "path_prefix": QUESTION[role],
                "authorization_response": answer,
            },
            # The agent judges by all headers: what it does not see, it cannot refuse.
            "allowed_headers": {"patterns": [{"safe_regex": {"regex": ".*"}}]},
            "with_request_body": {
                "max_request_bytes": limits.body_bytes,
                "allow_partial_message": False,
            },
            "clear_route_cache": True,
            "failure_mode_allow": False,
            "status_on_error": {"code": "ServiceUnavailable"},
            "validate_mutations": True,
        },
    }


def _allow_lists(role: Role) -> Config:
    """After the agent: only known headers go on, and only known ones come back."""
    request = {*headers.CONTENT, *headers.ALLOW, headers.SCHEME}
    if role is Role.INNER:
        request |= {*headers.CREDENTIALS, headers.RAISE}
    response = {*headers.ANSWER, *headers.DENY}
    if role is Role.EGRESS:
        response.add(headers.FAR)
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {
            "@type": f"{_FILTERS}header_mutation.v3.HeaderMutation",
            "mutations": {
                "request_mutations": [_remove_outside(request)],
                "response_mutations": [_remove_outside(response)],
                "request_trailers_mutations": [_remove_outside(())],
                "response_trailers_mutations": [_remove_outside((headers.USAGE,))],
            },
        },
    }


def _far_to_metadata() -> Config:
    return {
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": f"{_FILTERS}header_to_metadata.v3.Config",
            "response_rules": [
                {
                    "header": headers.FAR,
                    "on_header_present": {
                        "metadata_namespace": access_log.FAR_NAMESPACE,
                        "key": access_log.FAR_KEY,
                        "type": "STRING",
                    },
                    "remove": True,
                }
            ],
        },
    }


_NO_REDIRECTS = f"""\
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if string.find(status, "^[245]%d%d$") then
    return
  end
  local body = [[{local_replies.ODD_STATUS.body}]]
  if string.find(status, "^3%d%d$") then
    body = [[{local_replies.REDIRECT.body}]]
  end
  headers:replace(":status", "{local_replies.REDIRECT.status}")
  headers:replace("content-type", "application/json")
  headers:replace("content-length", handle:body(true):setBytes(body))
end
"""


def no_redirects() -> Config:
    """A redirect would send the caller, and the body with it, where no decision leads.

    A status that is no answer (101 switches the protocol, 99 and 600 are none) leaves the caller
    with bytes that belong to nothing.

    Lua, because custom_response stands outside Envoy's threat model in 1.40 and loses the
    decision's headers, and no other filter changes a status by condition. Inner alone needs it,
    where the client is: about 13 µs of processor time a request.
    """
    return {
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": f"{_FILTERS}lua.v3.Lua",
            "default_source_code": {"inline_string": _NO_REDIRECTS},
            "clear_route_cache": False,
        },
    }


def _remove_outside(kept: Any, prefix: str = "") -> Config:
    regex = headers.outside(kept, prefix=prefix)
    return {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": regex}}}}


def _exact(names: tuple[str, ...]) -> Config:
    return {"patterns": [{"exact": name} for name in names]}
