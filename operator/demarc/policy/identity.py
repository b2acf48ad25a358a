"""Who is calling? The one credential of a request, proved against the epoch.

    API key   `Authorization: Bearer KEY`, `x-api-key: KEY` or `api-key: KEY`; its SHA-256 is in
              the epoch
    token     `Authorization: Bearer JWT`; a ServiceAccount token for the epoch's audience

Rules:
    Exactly one credential. Two headers, or one header twice, prove nothing.
    Whatever cannot be proved is Unauthenticated; nothing is raised, and no reason holds any part
    of the credential.
    The clock is an argument: a token is judged at `now`.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

import jwt

from demarc.policy.epoch import ClientIdentity, Epoch

CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key")
_MAX_CREDENTIAL = 16 * 1024
_CLOCK_SKEW = timedelta(seconds=60)
"""How far a token's start may lie ahead of this clock; its end gets no tolerance."""
_JWT_PARTS = 3


class Refused(StrEnum):
    """Why a request proves no client."""

    MISSING = "no credential"
    AMBIGUOUS = "more than one credential"
    MALFORMED = "credential is malformed"
    UNKNOWN = "credential is not known"
    EXPIRED = "token has expired or is not valid yet"


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """The request proves no client; `reason` is for the caller and the record."""

    reason: Refused


def authenticate(
    headers: Mapping[str, str], epoch: Epoch, now: datetime
) -> ClientIdentity | Unauthenticated:
    """The client that a request's headers prove.

    Args:
        headers: names in lower case; a header that came twice is joined with a comma.
        epoch: holds hashes of keys, issuer and keys of tokens.
        now: with a zone.
    """
    present = [name for name in CREDENTIAL_HEADERS if name in headers]
    if not present:
        return Unauthenticated(Refused.MISSING)
    if len(present) > 1 or "," in headers[present[0]]:
        return Unauthenticated(Refused.AMBIGUOUS)
    credential = headers[present[0]].strip(" \t")
    if present[0] == "authorization":
        scheme, _, credential = credential.partition(" ")
        if scheme.lower() != "bearer":
            return Unauthenticated(Refused.MALFORMED)
        credential = credential.strip(" ")
    if not _is_token68(credential):
        return Unauthenticated(Refused.MALFORMED)
    if (known := _by_key(credential, epoch)) is not None:
        return known
    if present[0] == "authorization" and credential.count(".") == _JWT_PARTS - 1:
        return _by_token(credential, epoch, now)
    return Unauthenticated(Refused.UNKNOWN)


def _is_token68(credential: str) -> bool:
    """Visible ASCII only: what every hop reads the same way."""
    return (
        0 < len(credential) <= _MAX_CREDENTIAL
        and credential.isascii()
        and credential.isprintable()
        and " " not in credential
    )


def _by_key(credential: str, epoch: Epoch) -> ClientIdentity | None:
    digest = sha256(credential.encode()).hexdigest()
    identity = epoch.api_keys.get(digest)
    if identity is None:
        return None
    # The look-up compares hashes, of which a caller controls no prefix; the second look takes the
    # same time for every stored value.
    stored = epoch.credentials.get(identity.credential, digest)
    return identity if hmac.compare_digest(stored, digest) else None


def _by_token(token: str, epoch: Epoch, now: datetime) -> ClientIdentity | Unauthenticated:
    issuer = epoch.token_issuer
    if issuer is None:
        return Unauthenticated(Refused.UNKNOWN)
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        verifier = epoch.verifiers.get(key_id) if isinstance(key_id, str) else None
        if verifier is None:
            return Unauthenticated(Refused.UNKNOWN)
        claims: Mapping[str, Any] = jwt.decode(
            token,
            verifier.key,
            algorithms=[verifier.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            # the library reads the clock for these; `_valid` judges them at `now`
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "require": ["exp", "iss", "aud", "sub"],
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return Unauthenticated(Refused.UNKNOWN)
    if not _valid(claims, now):
        return Unauthenticated(Refused.EXPIRED)
    identity = epoch.service_accounts.get(str(claims["sub"]))
    if identity is None or not _same_account(claims, epoch.credentials.get(identity.credential)):
        return Unauthenticated(Refused.UNKNOWN)
    return identity


def _valid(claims: Mapping[str, Any], now: datetime) -> bool:
    at = now.timestamp()
    ends, starts = claims["exp"], claims.get("nbf", claims.get("iat", 0))
    if not _is_number(ends) or not _is_number(starts):
        return False
    return bool(starts - _CLOCK_SKEW.total_seconds() <= at < ends)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_account(claims: Mapping[str, Any], uid: str | None) -> bool:
    """Whether the token is of this very ServiceAccount, not of an earlier one of the same name."""
    match claims:
        case {"kubernetes.io": {"serviceaccount": {"uid": str(stated)}}}:
            return stated == uid
        case _:
            return False
