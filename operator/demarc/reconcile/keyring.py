"""Which keys does the operator hold? Its CA, the key that signs epochs, and the grant keys.

They are Secrets in the operator's namespace, made at the first start and never replaced by a
start: who holds them speaks for Demarc. The trust bundle tells every agent whom to believe.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.api.cluster import SECRET, Cluster, Manifest, Ref
from demarc.planning import names
from demarc.policy.epoch import GrantKey
from demarc.reconcile import certificates
from demarc.reconcile.certificates import KeyPair

AUTHORITY = "demarc-ca"
EPOCH_KEY = "demarc-epoch-key"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key and the id by which others find its public half."""

    key_id: str
    key: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The public half, 32 raw bytes."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )

    def __repr__(self) -> str:
        """Nothing of the key but its id."""
        return f"SigningKey({self.key_id}, [redacted])"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Everything that the operator signs with, and the public half of the inner's grant key."""

    authority: KeyPair
    epoch: SigningKey
    grant: GrantKey

    def trust(self) -> Manifest:
        """The trust bundle as a ConfigMap: whose epochs, heartbeats and extracts are believed."""
        bundle = {
            "epochKeys": [
                {
                    "id": self.epoch.key_id,
                    "algorithm": "Ed25519",
                    "publicKey": base64.b64encode(self.epoch.public).decode(),
                }
            ]
        }
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.TRUST, "labels": {names.MANAGED_BY: names.MANAGER}},
            "data": {"trust.json": json.dumps(bundle, indent=2, sort_keys=True)},
        }


async def load(cluster: Cluster, *, home: str, now: datetime) -> Keyring:
    """The keys, made if there are none yet."""
    authority = await _authority(cluster, now)
    epoch = await _signing_key(cluster, EPOCH_KEY, "epoch.key")
    grant = await _signing_key(cluster, names.GRANT_KEY, "grant.key")
    return Keyring(
        authority,
        epoch,
        GrantKey(grant.key_id, names.spiffe_gateway(home, "inner"), grant.public),
    )


async def _authority(cluster: Cluster, now: datetime) -> KeyPair:
    data = await read_secret(cluster, names.SYSTEM_NAMESPACE, AUTHORITY)
    if data is not None and {"tls.crt", "tls.key"} <= data.keys():
        return KeyPair(data["tls.crt"], data["tls.key"])
    made = certificates.issue_authority(now)
    await write_secret(
        cluster,
        names.SYSTEM_NAMESPACE,
        AUTHORITY,
        {"tls.crt": made.certificate, "tls.key": made.key},
    )
    return made


async def _signing_key(cluster: Cluster, secret: str, entry: str) -> SigningKey:
    data = await read_secret(cluster, names.SYSTEM_NAMESPACE, secret)
    if data is not None and entry in data:
        key = serialization.load_pem_private_key(data[entry], password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError(f"Secret `{secret}` does not hold an Ed25519 key")
    else:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        await write_secret(cluster, names.SYSTEM_NAMESPACE, secret, {entry: pem})
    return SigningKey(key_id(key), key)


def key_id(key: Ed25519PrivateKey) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the public half."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    )
    return digest.finalize().hex()[:16]


async def read_secret(cluster: Cluster, namespace: str, name: str) -> Mapping[str, bytes] | None:
    """The data of a Secret; None if there is none."""
    found = await cluster.get(Ref(SECRET, namespace, name))
    if found is None:
        return None
    return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}


async def write_secret(
    cluster: Cluster,
    namespace: str,
    name: str,
    data: Mapping[str, bytes],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Apply a Secret."""
    await cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": dict(labels or {names.MANAGED_BY: names.MANAGER}),
            },
            "type": "kubernetes.io/tls" if "tls.crt" in data else "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        },
        manager=names.MANAGER,
    )
