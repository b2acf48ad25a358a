"""Who is at the other end? Mutual TLS with exact SPIFFE names, and certificates that rotate.

INVARIANT: one connection trusts one name, matched exactly; a certificate authority alone proves
nothing.

Certificates come from mounted folders by SDS files. Envoy watches the folder, because Kubernetes
replaces a Secret by renaming a link in it and not by renaming the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demarc.xds.settings import GatewaySettings

Config = Mapping[str, Any]

IDENTITY = "identity"
TRUST = "trust"
CLIENT = "client"
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def secret_file(name: str) -> str:
    """Name of the SDS file of one secret: Envoy takes one secret from a file."""
    return f"sds_{name}.json"


def secrets(settings: GatewaySettings) -> Mapping[str, Config]:
    """The secrets of a gateway by name: paths of mounted files, never their content."""
    found = {
        IDENTITY: {
            "@type": f"{_TYPE}Secret",
            "name": IDENTITY,
            "tls_certificate": _certificate(settings.tls),
        },
        TRUST: {
            "@type": f"{_TYPE}Secret",
            "name": TRUST,
            "validation_context": {
                "trusted_ca": {"filename": f"{settings.tls}/ca.crt"},
                "watched_directory": {"path": settings.tls},
            },
        },
    }
    if settings.client_tls:
        found[CLIENT] = {
            "@type": f"{_TYPE}Secret",
            "name": CLIENT,
            "tls_certificate": _certificate(settings.client_tls),
        }
    return found


def to(peer: str, server_name: str, settings: GatewaySettings) -> Config:
    """The transport socket towards one exact SPIFFE name.

    Resumed sessions skip the check of the peer's certificate, so none are kept.

    Args:
        peer: SPIFFE name that the server must show.
        server_name: DNS-like name sent as SNI.
        settings: where the SDS files are.
    """
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}UpstreamTlsContext",
            "sni": server_name,
            "max_session_keys": 0,
            "common_tls_context": _mutual(peer, settings),
        },
    }


def accepting(peer: str, settings: GatewaySettings) -> Config:
    """The transport socket of a listener that only one exact SPIFFE name may call."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}DownstreamTlsContext",
            "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
            "common_tls_context": _mutual(peer, settings),
        },
    }


def open_to_clients(settings: GatewaySettings) -> Config:
    """The transport socket of the client listener: clients prove themselves by credential."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "alpn_protocols": ["http/1.1"],
                "tls_certificate_sds_secret_configs": [_secret(CLIENT, settings)],
            },
        },
    }


def proves(context: Config, peer: str) -> bool:
    """Whether a TLS context accepts one peer name only, on TLS 1.3, and checks the authority."""
    common = context.get("common_tls_context", {})
    both = common.get("combined_validation_context", {})
    names = both.get("default_validation_context", {})
    return (
        set(common)
        == {
            "tls_params",
            "alpn_protocols",
            "tls_certificate_sds_secret_configs",
            "combined_validation_context",
        }
        and common["tls_params"].get("tls_minimum_protocol_version") == "TLSv1_3"
        and set(both) == {"default_validation_context", "validation_context_sds_secret_config"}
        and both["validation_context_sds_secret_config"].get("name") == TRUST
        and dict(names)
        == {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}]}
    )


def _mutual(peer: str, settings: GatewaySettings) -> Config:
    return {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "alpn_protocols": ["http/1.1"],
        "tls_certificate_sds_secret_configs": [_secret(IDENTITY, settings)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}]
            },
            "validation_context_sds_secret_config": _secret(TRUST, settings),
        },
    }


def _secret(name: str, settings: GatewaySettings) -> Config:
    return {
        "name": name,
        "sds_config": {
            "resource_api_version": "V3",
            "path_config_source": {"path": f"{settings.run}/{secret_file(name)}"},
        },
    }


def _certificate(folder: str) -> Config:
    return {
        "certificate_chain": {"filename": f"{folder}/tls.crt"},
        "private_key": {"filename": f"{folder}/tls.key"},
        "watched_directory": {"path": folder},
    }
