"""What is every object called, and by which labels is it found again?

INVARIANT: names are valid for their kind and stable: the same input gives the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

SYSTEM_NAMESPACE = "demarc-system"
EGRESS_NAMESPACE = "demarc-egress"

EPOCH = "demarc-epoch"
HEARTBEAT = "demarc-heartbeat"
TRUST = "demarc-trust"
INNER = "demarc-inner"
EGRESS = "demarc-egress"
EDGE = "demarc-edge"
EXTRACT = "demarc-extract"
GRANT_KEY = "demarc-grant-key"

MANAGER = "demarc"
"""Field manager of everything that the operator applies."""
STATUS_MANAGER = "demarc-status"
"""Field manager of the status of Demarc's own kinds."""

COMPONENT = "demarc.dev/component"
SITE = "demarc.dev/site"
DEPLOYMENT = "demarc.dev/deployment"
OWNER_KIND = "demarc.dev/owner-kind"
OWNER_NAMESPACE = "demarc.dev/owner-namespace"
OWNER_NAME = "demarc.dev/owner-name"
OWNER_UID = "demarc.dev/owner-uid"
MANAGED_BY = "app.kubernetes.io/managed-by"

_LIMIT = 52
"""Longest name of a workload: its pods append up to 11 characters, and a label holds 63."""


_LABEL_LIMIT = 63
"""Longest label value: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"""


def bounded(*parts: str, limit: int = _LIMIT) -> str:
    """A DNS label from parts: joined by `-`, dots replaced, cut with a hash when too long.

    Two different inputs give two names: what the joining or the cutting could confuse is told
    apart by eight hexadecimal digits of a SHA-256 over the parts.
    """
    joined = "-".join(part.replace(".", "-") for part in parts)
    exact = len(joined) <= limit and all("." not in part and "-" not in part for part in parts[:-1])
    if exact and "." not in parts[-1]:
        return joined
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"{joined[: limit - 9].rstrip('-')}-{digest}"


def engine(deployment: str, site: str) -> str:
    """Name of the Deployment, Service and friends of one placement."""
    return bounded(deployment, site)


def tls_secret(workload: str) -> str:
    """Secret with the workload's certificate: tls.crt, tls.key, ca.crt."""
    return f"{workload}-tls"


def edge_service(site: str) -> str:
    """Service in the home cluster that stands for the edge of a remote site."""
    return bounded(EDGE, site)


def owner_labels(*, kind: str, namespace: str, name: str, uid: str) -> dict[str, str]:
    """Labels that lead from a child to its source; used to prune."""
    labels = {
        MANAGED_BY: MANAGER,
        OWNER_KIND: kind,
        OWNER_NAME: label_value(name),
        OWNER_UID: uid,
    }
    if namespace:
        labels[OWNER_NAMESPACE] = namespace
    return labels


def label_value(name: str) -> str:
    """A name as a label value: as it is when it fits, else cut with a hash."""
    return name if len(name) <= _LABEL_LIMIT else bounded(name, limit=_LABEL_LIMIT)


def selector_text(labels: Mapping[str, str]) -> str:
    """Labels as a selector, for the scale subresource: `a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def spiffe_frontend(site: str, namespace: str, deployment: str) -> str:
    """SPIFFE name of the frontends of one placement."""
    return f"spiffe://demarc/{site}/{namespace}/{deployment}"


def spiffe_gateway(site: str, role: str) -> str:
    """SPIFFE name of a gateway: role is inner, egress or edge."""
    return f"spiffe://demarc/{site}/{role}"
