"""What does the edge of a remote site know? Who may knock, and which of its endpoints they ask for.

An extract holds no policy: the edge decides about grants and targets, never about labels.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.policy import signature
from demarc.policy.document import format_time, parse_time
from demarc.policy.epoch import Epoch, EpochNumber, GrantKey
from demarc.policy.signature import Trust

PURPOSE = "demarc.dev/extract/v1"


class ExtractError(Exception):
    """The text is no extract of a trusted key, or is one for another site."""


@dataclass(frozen=True, slots=True)
class EdgeEndpoint:
    """One endpoint of the edge's own site.

    Attributes:
        name: `namespace/deployment@site`, as grants name it.
    """

    name: str
    namespace: str
    deployment: str
    served_name: str


@dataclass(frozen=True, slots=True)
class EdgeExtract:
    """What one edge obeys.

    Attributes:
        egress: SPIFFE name of the only peer that it answers.
        number: of the epoch that it was taken from; an edge never loads a lower one
            (`document.fits`, with `epoch_hash`).
    """

    site: str
    egress: str
    endpoints: tuple[EdgeEndpoint, ...]
    grant_keys: tuple[GrantKey, ...]
    cidrs: tuple[str, ...]
    number: EpochNumber
    epoch_hash: str
    issued_at: datetime


def extract(epoch: Epoch, site: str) -> EdgeExtract:
    """What the edge of a site needs of an epoch."""
    return EdgeExtract(
        site=site,
        egress=f"spiffe://demarc/{epoch.home}/egress",
        endpoints=tuple(
            EdgeEndpoint(
                endpoint.name, endpoint.namespace, endpoint.deployment, endpoint.served_name
            )
            for endpoint in epoch.endpoints
            if endpoint.site == site
        ),
        grant_keys=epoch.grant_keys,
        cidrs=epoch.site_cidrs.get(site, ()),
        number=epoch.number,
        epoch_hash=epoch.hash,
        issued_at=epoch.issued_at,
    )


def sign(edge: EdgeExtract, key: Ed25519PrivateKey, key_id: str) -> str:
    """The text that the operator lays beside the edge."""
    return signature.seal(
        PURPOSE,
        {
            "site": edge.site,
            "egress": edge.egress,
            "endpoints": [
                {
                    "name": endpoint.name,
                    "namespace": endpoint.namespace,
                    "deployment": endpoint.deployment,
                    "servedName": endpoint.served_name,
                }
                for endpoint in edge.endpoints
            ],
            "grantKeys": [
                {
                    "id": grant_key.key_id,
                    "gateway": grant_key.gateway,
                    "publicKey": b64encode(grant_key.public_key).decode(),
                }
                for grant_key in edge.grant_keys
            ],
            "cidrs": list(edge.cidrs),
            "epoch": {"term": edge.number.term, "counter": edge.number.counter},
            "epochHash": edge.epoch_hash,
            "issuedAt": format_time(edge.issued_at),
        },
        key,
        key_id,
    )


def verify(text: str, trust: Trust, *, site: str) -> EdgeExtract:
    """The extract in a text, if it is for this site.

    Raises:
        ExtractError: it is not.
    """
    try:
        _, value = signature.unseal(PURPOSE, text, trust.keys)
    except signature.SignatureError as error:
        raise ExtractError(f"extract is refused: {error}") from error
    try:
        edge = _read(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ExtractError(f"extract has an unreadable field: {error}") from error
    if edge.site != site:
        raise ExtractError(f"extract is for site `{edge.site}`, this is `{site}`")
    return edge


def _read(value: Mapping[str, Any]) -> EdgeExtract:
    return EdgeExtract(
        site=str(value["site"]),
        egress=str(value["egress"]),
        endpoints=tuple(
            EdgeEndpoint(
                str(row["name"]),
                str(row["namespace"]),
                str(row["deployment"]),
                str(row["servedName"]),
            )
            for row in value["endpoints"]
        ),
        grant_keys=tuple(
            GrantKey(str(row["id"]), str(row["gateway"]), b64decode(row["publicKey"]))
            for row in value["grantKeys"]
        ),
        cidrs=tuple(str(cidr) for cidr in value["cidrs"]),
        number=EpochNumber(int(value["epoch"]["term"]), int(value["epoch"]["counter"])),
        epoch_hash=str(value["epochHash"]),
        issued_at=parse_time(value["issuedAt"]),
    )
