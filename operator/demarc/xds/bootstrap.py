"""With what does Envoy start? Its admin socket, the agent's cluster, and where the files are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demarc.xds import clusters
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import Role

Config = Mapping[str, Any]


def render(role: Role, settings: GatewaySettings) -> Config:
    """The bootstrap; read once, at start."""
    agent = {name: value for name, value in clusters.agent(settings).items() if name != "@type"}
    return {
        "node": {"id": settings.node, "cluster": f"demarc-{role.value}"},
        "admin": {"address": {"pipe": {"path": settings.admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "cds_config": _file(settings, "cds.json"),
            "lds_config": _file(settings, "lds.json"),
        },
        "static_resources": {"clusters": [agent]},
        # The allow-lists of `headers` are long expressions; matching stays linear in the name.
        "layered_runtime": {
            "layers": [
                {"name": "static", "static_layer": {"re2.max_program_size.error_level": 4096}}
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors"
                        ".downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": settings.limits.connections,
                    },
                }
            ]
        },
    }


def _file(settings: GatewaySettings, name: str) -> Config:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": f"{settings.run}/{name}"},
    }
