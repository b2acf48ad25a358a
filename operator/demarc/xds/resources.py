"""What is configured, whatever it was read from? The rendered files, or what Envoy says it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demarc.xds.translation import BOOTSTRAP, CDS, LDS, RDS, Files

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resources:
    """One Envoy's configuration.

    Attributes:
        bootstrap: with static resources.
        listeners, routes, clusters: those from files; clusters without the static ones.
        secrets: from the SDS files; a dump has none, because Envoy hides their content.
    """

    bootstrap: Config
    listeners: tuple[Config, ...]
    routes: tuple[Config, ...]
    clusters: tuple[Config, ...]
    secrets: tuple[Config, ...] = ()


def read_files(files: Files) -> Resources:
    """The configuration that files hold.

    Raises:
        ValueError: a file is missing or is not what its name says.
    """
    try:
        parsed = {name: json.loads(text) for name, text in files.items()}
        known = {BOOTSTRAP, CDS, LDS, RDS}
        secrets = [
            found["resources"] for name, found in sorted(parsed.items()) if name not in known
        ]
        return Resources(
            bootstrap=parsed[BOOTSTRAP],
            listeners=tuple(parsed[LDS]["resources"]),
            routes=tuple(parsed[RDS]["resources"]),
            clusters=tuple(parsed[CDS]["resources"]),
            secrets=tuple(secret for group in secrets for secret in group),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the files are not a whole configuration: {error}") from error


def read_dump(dump: Config) -> Resources:
    """The configuration in use, from Envoy's `/config_dump`.

    Raises:
        ValueError: the dump has another form.
    """
    parts: dict[str, list[Any]] = {"listeners": [], "routes": [], "clusters": []}
    bootstrap: Config = {}
    try:
        for part in dump["configs"]:
            bootstrap = part.get("bootstrap", bootstrap)
            for item in part.get("dynamic_listeners", ()):
                if "active_state" in item:
                    parts["listeners"].append(item["active_state"]["listener"])
            for kind in ("static_route_configs", "dynamic_route_configs"):
                parts["routes"] += [item["route_config"] for item in part.get(kind, ())]
            for kind in ("dynamic_active_clusters", "dynamic_warming_clusters"):
                parts["clusters"] += [item["cluster"] for item in part.get(kind, ())]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the dump has an unknown form: {error}") from error
    return Resources(bootstrap, *(tuple(found) for found in parts.values()))
