"""What is there? Step 1, observe: everything that policy is compiled from, read in one go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from demarc.api.cluster import (
    CONFIG_MAP,
    DATA_RESIDENCY,
    DEMARC_KINDS,
    ROUTING_POLICY,
    SERVICE_ACCOUNT,
    Cluster,
    ForbiddenError,
    Manifest,
    NotFoundError,
    Ref,
)
from demarc.planning import names
from demarc.policy import document, signature
from demarc.policy.document import Document, EpochError
from demarc.policy.epoch import TokenIssuer
from demarc.policy.signature import Trust
from demarc.reconcile import keyring

AUDIENCE = "demarc"
"""Audience of the ServiceAccount tokens that the gateway takes."""


@dataclass(frozen=True, slots=True)
class Published:
    """The epoch that is published: its document and the hash of its bytes."""

    document: Document
    hash: str


@dataclass(frozen=True, slots=True)
class World:
    """Inputs of policy, as the home cluster has them.

    Attributes:
        manifests: every object of our four kinds that is not being deleted.
        credentials: what exists behind each credential that is named, as in `Document`.
        token_issuer: who signs ServiceAccount tokens; None when the cluster does not say.
        published: the last signed document; None when there is none that can be believed.
    """

    manifests: tuple[Manifest, ...]
    credentials: Mapping[str, str]
    token_issuer: TokenIssuer | None
    published: Published | None


async def observe(cluster: Cluster, trust: Trust) -> World:
    """Read the inputs of policy.

    Raises:
        ClusterError: the cluster does not answer; nothing is concluded from a part.
    """
    manifests = list[Manifest]()
    for kind in DEMARC_KINDS:
        listing = await cluster.list(kind)
        manifests += [
            item for item in listing.items if not item["metadata"].get("deletionTimestamp")
        ]
    return World(
        tuple(manifests),
        await _credentials(cluster, manifests),
        await _token_issuer(cluster),
        await published(cluster, trust),
    )


async def published(cluster: Cluster, trust: Trust) -> Published | None:
    """The epoch in the cluster, if a trusted key signed it."""
    found = await cluster.get(Ref(CONFIG_MAP, names.SYSTEM_NAMESPACE, names.EPOCH))
    data: Mapping[str, str] = (found or {}).get("data") or {}
    try:
        content = data["epoch.json"].encode()
        signed = signature.parse_signature(data["signature.json"])
        return Published(document.verify(content, signed, trust), document.hash(content))
    except (KeyError, EpochError, signature.SignatureError):
        return None


async def _credentials(cluster: Cluster, manifests: list[Manifest]) -> Mapping[str, str]:
    found = dict[str, str]()
    for namespace, name, key in sorted(set(_secrets(manifests))):
        data = await keyring.read_secret(cluster, namespace, name)
        if data is not None and key in data:
            digest = hashlib.sha256(data[key].strip()).hexdigest()
            found[f"secret:{namespace}/{name}/{key}"] = digest
    for namespace, name in sorted(set(_accounts(manifests))):
        account = await cluster.get(Ref(SERVICE_ACCOUNT, namespace, name))
        if account is not None:
            found[f"serviceaccount:{namespace}/{name}"] = str(account["metadata"]["uid"])
    return found


async def _token_issuer(cluster: Cluster) -> TokenIssuer | None:
    """None only by the cluster's own word: without an issuer every token is refused."""
    try:
        keys = await cluster.token_keys()
    except (NotFoundError, ForbiddenError):
        return None
    # One key set, one text: the order in which a server lists its keys says nothing.
    ordered = sorted(keys["keys"], key=lambda key: json.dumps(key, sort_keys=True))
    return TokenIssuer(str(keys["issuer"]), AUDIENCE, tuple(ordered))


def _secrets(manifests: list[Manifest]) -> Iterator[tuple[str, str, str]]:
    for namespace, reference in _references(manifests):
        match reference.get("apiKeySecretRef"):
            case {"name": str(name), "key": str(key)}:
                yield namespace, name, key
            case _:
                continue


def _accounts(manifests: list[Manifest]) -> Iterator[tuple[str, str]]:
    for namespace, reference in _references(manifests):
        match reference.get("serviceAccountRef"):
            case {"name": str(name)}:
                yield namespace, name
            case _:
                continue


def _references(manifests: list[Manifest]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every client and the namespace of its credential, also in objects that are not valid."""
    for manifest in manifests:
        spec = manifest.get("spec")
        if not isinstance(spec, Mapping):
            continue
        if manifest["kind"] == ROUTING_POLICY.name:
            for client in _mappings(spec.get("clients")):
                yield str(manifest["metadata"].get("namespace")), client
        if manifest["kind"] == DATA_RESIDENCY.name:
            for registration in _mappings(spec.get("registrations")):
                for client in _mappings(registration.get("clients")):
                    yield str(registration.get("tenant")), client


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list | tuple):
        yield from (item for item in value if isinstance(item, Mapping))
