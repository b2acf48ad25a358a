"""Which keys verify ServiceAccount tokens? Public JWKs, read once per epoch.

Rules:
    A key allows exactly the one algorithm that fits its type (RFC 8725 section 3.1), so a token
    cannot choose a weaker one and a public key is never used as a shared secret.
    A key that cannot be read proves nothing; the others keep working.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from demarc.policy.epoch import TokenIssuer

_ALGORITHMS: Mapping[tuple[str, str], str] = {
    ("RSA", ""): "RS256",
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("OKP", "Ed25519"): "EdDSA",
}
"""By key type and curve: https://www.rfc-editor.org/rfc/rfc7518#section-3.1"""


@dataclass(frozen=True, slots=True)
class Verifier:
    """One public key and the one algorithm that it allows."""

    algorithm: str
    key: Any


def verifiers(issuer: TokenIssuer | None) -> Mapping[str, Verifier]:
    """The issuer's keys by `kid`; a `kid` that stands twice is left out."""
    found = dict[str, Verifier]()
    ambiguous = set[str]()
    for jwk in issuer.keys if issuer else ():
        key_id = jwk.get("kid")
        if not isinstance(key_id, str) or (verifier := _verifier(jwk)) is None:
            continue
        if key_id in found:
            ambiguous.add(key_id)
        found[key_id] = verifier
    return {key_id: found[key_id] for key_id in found if key_id not in ambiguous}


def _verifier(jwk: Mapping[str, Any]) -> Verifier | None:
    algorithm = _ALGORITHMS.get((str(jwk.get("kty")), str(jwk.get("crv", ""))))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm or "d" in jwk:
        return None
    if jwk.get("use", "sig") != "sig":
        return None
    try:
        return Verifier(algorithm, jwt.PyJWK(dict(jwk), algorithm).key)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
