"""Which files does Envoy read, and in which order do they change?

INVARIANT: the same input gives the same text, byte by byte. A file's version is the hash of its
resources, so an unchanged file is not written and Envoy does no work.

Order of a change: secrets, clusters, listener, routes, and clusters again when some go. A cluster
is there before a route can lead to it, and goes after the last route that could.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from demarc.xds import bootstrap, clusters, listeners, routes, tls
from demarc.xds.clusters import Addresses
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import View

Config = Mapping[str, Any]
Files = Mapping[str, str]
"""File name in the run folder -> JSON text."""

BOOTSTRAP = "bootstrap.json"
CDS = "cds.json"
LDS = "lds.json"
RDS = "rds.json"


@dataclass(frozen=True, slots=True)
class Write:
    """One file to be written beside its place and renamed over it."""

    name: str
    text: str


def translate(view: View, addresses: Addresses, settings: GatewaySettings) -> Files:
    """All files of one gateway's Envoy.

    Args:
        view: the policy's part, from `view.of_epoch` or `view.of_extract`.
        addresses: cluster name -> (IP address, port) of its replicas. Names: an endpoint's name,
            or `egress` at the inner gateway. At egress an endpoint's addresses are those of the
            edge of its site. Absent or empty: the cluster answers 503.
        settings: the gateway's own values.
    """
    return {
        BOOTSTRAP: _text(bootstrap.render(view.role, settings)),
        **{
            tls.secret_file(name): _discovery([secret])
            for name, secret in tls.secrets(settings).items()
        },
        CDS: _discovery(clusters.render(view, addresses, settings)),
        LDS: _discovery([listeners.render(view, settings)]),
        RDS: _discovery([routes.render(view, settings)]),
    }


def changes(old: Files, new: Files) -> tuple[Write, ...]:
    """What to write, in order, so that no request meets a route without its cluster.

    A changed bootstrap is among the writes and takes effect when Envoy starts again. Between two
    writes of `cds.json` nothing has to be waited for: Envoy reads the files in the order of the
    renames.

    Args:
        old: the files as they are; empty before the first start.
        new: the files as they should be.
    """
    first = [name for name in sorted(new) if name not in {BOOTSTRAP, CDS, LDS, RDS}]
    between = _both(old.get(CDS), new[CDS])
    steps = [
        *((name, new[name]) for name in first),
        (CDS, between),
        *((name, new[name]) for name in (LDS, RDS)),
        (CDS, new[CDS]),
        (BOOTSTRAP, new[BOOTSTRAP]),
    ]
    writes: list[Write] = []
    disk = dict(old)
    for name, text in steps:
        if disk.get(name) != text:
            disk[name] = text
            writes.append(Write(name, text))
    return tuple(writes)


def version(text: str) -> str:
    """The version of a discovery file, as Envoy reports it once it is in use.

    Raises:
        ValueError: the text is not a discovery file.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or "version_info" not in found:
        raise ValueError("the text is not a discovery file: it has no `version_info`")
    return str(found["version_info"])


def _both(old: str | None, new: str) -> str:
    """The clusters of `new` and those that only `old` has."""
    wanted = json.loads(new)["resources"]
    names = {cluster["name"] for cluster in wanted}
    before = json.loads(old)["resources"] if old else []
    kept = [cluster for cluster in before if cluster["name"] not in names]
    return _discovery(sorted([*wanted, *kept], key=lambda cluster: str(cluster["name"])))


def _discovery(resources: Iterable[Config]) -> str:
    listed = list(resources)
    digest = hashlib.sha256(_text(listed).encode()).hexdigest()
    return _text({"version_info": digest[:16], "resources": listed})


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"
