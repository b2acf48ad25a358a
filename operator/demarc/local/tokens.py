"""Who signs the ServiceAccount tokens of a cluster without an API server? A key of its own.

The claims are those of a Kubernetes token, so a verifier need not know which cluster it serves.
Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

_ALGORITHM = "ES256"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The account that a token speaks for."""

    namespace: str
    name: str
    uid: str


class TokenSigner:
    """Signs ServiceAccount tokens with ES256."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, *, issuer: str) -> None:
        """Take a P-256 key and the issuer's name, which stands in every token."""
        if not isinstance(key.curve, ec.SECP256R1):
            raise TypeError("a token key is an ECDSA key on the curve P-256")
        self._key = key
        self._issuer = issuer
        self._key_id = _key_id(key.public_key())

    def sign(
        self,
        account: ServiceAccount,
        *,
        audience: str,
        lifetime: timedelta,
        now: datetime,
        jti: str,
    ) -> str:
        """A token for one audience, valid from `now` on."""
        issued = int(now.timestamp())
        claims = {
            "aud": [audience],
            "exp": issued + int(lifetime.total_seconds()),
            "iat": issued,
            "iss": self._issuer,
            "jti": jti,
            "kubernetes.io": {
                "namespace": account.namespace,
                "serviceaccount": {"name": account.name, "uid": account.uid},
            },
            "nbf": issued,
            "sub": f"system:serviceaccount:{account.namespace}:{account.name}",
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})

    def keys(self) -> Mapping[str, Any]:
        """`{"issuer": str, "keys": [JWK]}`, as the port gives it."""
        jwk: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        jwk.pop("key_ops", None)
        return {
            "issuer": self._issuer,
            "keys": [{**jwk, "use": "sig", "alg": _ALGORITHM, "kid": self._key_id}],
        }


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    """A name that changes with the key."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()[:32]
