"""May these very bytes use this endpoint? A short-lived statement that an inner gateway signs.

A grant is `base64url(canonical JSON).base64url(Ed25519 signature)`; the key's id is in the JSON.
Its key is bound to one gateway by the epoch (or the edge's extract), so a grant that names another
gateway is refused.

INVARIANT: `verify` returns a grant only if every field that the caller states is the one that was
signed, and `now` lies within its 30 s (5 s of skew on both sides).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.api.v1alpha1.common import Category
from demarc.policy import label as labels
from demarc.policy import signature
from demarc.policy.document import format_time, parse_time
from demarc.policy.epoch import EpochNumber, GrantKey
from demarc.policy.label import Label

PURPOSE = "demarc.dev/grant/v1"
LIFETIME = timedelta(seconds=30)
SKEW = timedelta(seconds=5)


# GrantError                 the request may not pass on this grant
# ├── UnreadableGrantError   it is no grant
# ├── UntrustedGrantError    no key of this gateway signed it
# ├── ExpiredGrantError      it is too old, or from the future
# └── MismatchError          it is a grant for something else
class GrantError(Exception):
    """The request may not pass on this grant; the text names fields, never their content."""


class UnreadableGrantError(GrantError):
    """It is no grant."""


class UntrustedGrantError(GrantError):
    """No grant key of the gateway that it names signed it."""


class ExpiredGrantError(GrantError):
    """It is too old, or from the future."""


class MismatchError(GrantError):
    """It is a grant for other bytes, another target, another caller or another gateway."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What an inner gateway decided, for one request.

    Attributes:
        credential: as in `ClientIdentity.credential`: a name, no secret.
        endpoint: the chosen endpoint's name.
        gateway: SPIFFE name of the inner gateway.
        body_sha256: lower-case hex over the untouched body.
        epoch_hash: hash of the epoch that decided.
        permitted: digest of the permitted set, see `permitted_digest`.
        expires: at most 30 s after it was signed.
    """

    decision: str
    tenant: str
    app: str
    client: str
    credential: str
    endpoint: str
    gateway: str
    method: str
    path: str
    body_sha256: str
    label: Label
    epoch: EpochNumber
    epoch_hash: str
    permitted: str
    expires: datetime


def sign(grant: Grant, key: Ed25519PrivateKey, key_id: str) -> str:
    """The text that travels in `x-demarc-grant`."""
    return signature.seal(
        PURPOSE,
        {
            "decision": grant.decision,
            "tenant": grant.tenant,
            "app": grant.app,
            "client": grant.client,
            "credential": grant.credential,
            "endpoint": grant.endpoint,
            "gateway": grant.gateway,
            "method": grant.method,
            "path": grant.path,
            "bodySha256": grant.body_sha256,
            "label": {
                "level": grant.label.level,
                "categories": sorted(grant.label.categories),
                "origins": sorted(grant.label.origins),
            },
            "epoch": {"term": grant.epoch.term, "counter": grant.epoch.counter},
            "epochHash": grant.epoch_hash,
            "permitted": grant.permitted,
            "expires": format_time(grant.expires),
        },
        key,
        key_id,
    )


def verify(
    text: str,
    keys: Iterable[GrantKey],
    *,
    now: datetime,
    method: str,
    path: str,
    body_sha256: str,
    endpoint: str | None = None,
    gateway: str | None = None,
) -> Grant:
    """The grant in a text, if it is for this request.

    Args:
        text: as `sign` made it.
        keys: grant keys of the epoch, or of the edge's extract.
        now: with a zone.
        method: of the request at hand, as are `path` and `body_sha256`.
        path: without query.
        body_sha256: over the bytes at hand.
        endpoint: where the request goes; None where the grant alone says it.
        gateway: SPIFFE name of the peer; None where the peer is not the inner gateway.

    Raises:
        GrantError: it is not.
    """
    trusted = {key.key_id: key for key in keys}
    try:
        key_id, value = signature.unseal(
            PURPOSE, text, {key.key_id: key.public_key for key in trusted.values()}
        )
    except signature.MalformedError as error:
        raise UnreadableGrantError(f"grant is unreadable: {error}") from error
    except signature.SignatureError as error:
        raise UntrustedGrantError(f"grant is not trusted: {error}") from error
    try:
        grant = _read(value)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableGrantError(f"grant has an unreadable field: {error}") from error
    if grant.gateway != trusted[key_id].gateway:
        raise UntrustedGrantError(f"grant key `{key_id}` is not the key of the gateway it names")
    if now >= grant.expires + SKEW:
        raise ExpiredGrantError("grant has expired")
    if grant.expires - LIFETIME > now + SKEW:
        raise ExpiredGrantError("grant comes from the future, or lives longer than 30 s")
    _compare(
        {
            "method": (grant.method, method),
            "path": (grant.path, path),
            "body": (grant.body_sha256, body_sha256),
            "endpoint": (grant.endpoint, grant.endpoint if endpoint is None else endpoint),
            "gateway": (grant.gateway, grant.gateway if gateway is None else gateway),
        }
    )
    return grant


def permitted_digest(endpoints: Iterable[str]) -> str:
    """Lower-case hex SHA-256 over the sorted names of a permitted set."""
    return hashlib.sha256(signature.canonical(sorted(endpoints))).hexdigest()


def _compare(fields: Mapping[str, tuple[str, str]]) -> None:
    for name, (signed, found) in fields.items():
        if signed != found:
            raise MismatchError(f"grant is for another {name}")


def _read(value: Mapping[str, Any]) -> Grant:
    def text(name: str) -> str:
        found = value[name]
        if not isinstance(found, str):
            raise TypeError(f"`{name}` is not text")
        return found

    label, epoch = value["label"], value["epoch"]
    return Grant(
        decision=text("decision"),
        tenant=text("tenant"),
        app=text("app"),
        client=text("client"),
        credential=text("credential"),
        endpoint=text("endpoint"),
        gateway=text("gateway"),
        method=text("method"),
        path=text("path"),
        body_sha256=text("bodySha256"),
        label=labels.close(
            int(label["level"]),
            (Category(category) for category in label["categories"]),
            (str(origin) for origin in label["origins"]),
        ),
        epoch=EpochNumber(int(epoch["term"]), int(epoch["counter"])),
        epoch_hash=text("epochHash"),
        permitted=text("permitted"),
        expires=parse_time(text("expires")),
    )
