"""How does an epoch travel? As one signed document: canonical bytes, a number and a signature.

The document holds the normalised source of every accepted object, so that a later run can read back
what was accepted last, and the key material that agents verify with. It holds no secret: of an API
key it has the SHA-256.

Rules:
    The bytes are RFC 8785. A reader takes them only in exactly that form.
    A reader that does not know the schema refuses the document and keeps what it has.
    The number never goes down; the same number is taken again only with the same bytes.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.policy import signature as signatures
from demarc.policy.epoch import EpochNumber, GrantKey, TokenIssuer
from demarc.policy.signature import Signature, SignatureError, Trust

SCHEMA = "demarc.dev/epoch/v1"
MIN_AGE_SECONDS = 60
MAX_AGE_SECONDS = 24 * 3600


# EpochError                a document that no agent loads
# ├── UnsignedError         no trusted key signed these bytes
# ├── UnknownSchemaError    a newer or older writer made it
# └── MalformedEpochError   signed, and still not a document
class EpochError(Exception):
    """A document that no agent loads; the text is for the operator."""


class UnsignedError(EpochError):
    """No trusted key signed these bytes."""


class UnknownSchemaError(EpochError):
    """A newer or older writer made it: keep what is loaded."""


class MalformedEpochError(EpochError):
    """Signed, and still not a document that can be compiled."""


@dataclass(frozen=True, slots=True)
class Document:
    """All policy as it was written and accepted, and what verifies credentials and grants.

    Attributes:
        issued_at: with a zone.
        max_age_seconds: 60 to 86400; how long Public stays open without a heartbeat.
        home: name of the InCluster site where the operator runs.
        sources: normalised manifests: apiVersion, kind, metadata {name, namespace, uid,
            generation}, spec; sorted by kind, namespace and name.
        credentials: `secret:NAMESPACE/NAME/KEY` -> lower-case hex SHA-256 of the key's bytes
            without surrounding white space; `serviceaccount:NAMESPACE/NAME` -> its uid.
        packs: name -> content hash of each detector pack.
        public_reason: why `public` is Closed; empty while it is Open.
    """

    number: EpochNumber
    issued_at: datetime
    max_age_seconds: int
    home: str
    sources: tuple[Mapping[str, Any], ...]
    credentials: Mapping[str, str]
    token_issuer: TokenIssuer | None
    grant_keys: tuple[GrantKey, ...]
    packs: Mapping[str, str]
    public: Literal["Open", "Closed"] = "Closed"
    public_reason: str = "nothing was accepted yet"


def canonical(document: Document) -> bytes:
    """The RFC 8785 bytes of a document: what is hashed and signed.

    Raises:
        MalformedEpochError: a value has no canonical form.
    """
    issuer = document.token_issuer
    try:
        return signatures.canonical(
            {
                "schema": SCHEMA,
                "number": {"term": document.number.term, "counter": document.number.counter},
                "issuedAt": format_time(document.issued_at),
                "maxAgeSeconds": document.max_age_seconds,
                "home": document.home,
                "sources": [*document.sources],
                "credentials": dict(document.credentials),
                "tokenIssuer": issuer
                and {
                    "issuer": issuer.issuer,
                    "audience": issuer.audience,
                    "keys": [dict(key) for key in issuer.keys],
                },
                "grantKeys": [
                    {
                        "id": key.key_id,
                        "gateway": key.gateway,
                        "publicKey": b64encode(key.public_key).decode(),
                    }
                    for key in document.grant_keys
                ],
                "packs": dict(document.packs),
                "public": document.public,
                "publicReason": document.public_reason,
            }
        )
    except SignatureError as error:
        raise MalformedEpochError(str(error)) from error


def hash(data: bytes) -> str:  # noqa: A001  # read as `document.hash`
    """The content hash: lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def sign(data: bytes, key: Ed25519PrivateKey, key_id: str) -> Signature:
    """Sign the canonical bytes of a document."""
    return signatures.sign(SCHEMA, data, key, key_id)


def verify(data: bytes, signature: Signature, trust: Trust) -> Document:
    """The document in these bytes, if a trusted key signed exactly them.

    Raises:
        UnsignedError: none did.
        UnknownSchemaError: they have a schema that this reader does not know.
        MalformedEpochError: they are signed and no document.
    """
    try:
        signatures.check(SCHEMA, data, signature, trust.keys)
    except SignatureError as error:
        raise UnsignedError(f"epoch is refused: {error}") from error
    return parse(data)


def parse(data: bytes) -> Document:
    """The document in these bytes, whoever wrote them: for offline tools; agents call `verify`.

    Raises:
        UnknownSchemaError: they have a schema that this reader does not know.
        MalformedEpochError: they are no document.
    """
    try:
        value = signatures.parse_canonical(data, "epoch")
    except SignatureError as error:
        raise MalformedEpochError(str(error)) from error
    if value.get("schema") != SCHEMA:
        raise UnknownSchemaError(f"epoch has schema `{value.get('schema')}`, not `{SCHEMA}`")
    try:
        document = _read(value)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedEpochError(f"epoch has an unreadable field: {error}") from error
    if canonical(document) != data:
        raise MalformedEpochError("epoch has fields that its schema does not know")
    return document


def fits(number: EpochNumber, content: str, *, last: EpochNumber | None, last_hash: str) -> bool:
    """Whether an agent that ran `last` may load epoch `number` with hash `content`.

    Never lower, over restarts too: the caller persists number and hash of what it loads. The same
    number with another hash means two signers, and is refused.
    """
    if last is None or number > last:
        return True
    return number == last and content == last_hash


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC, with `Z`."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time with a zone, in UTC.

    Raises:
        ValueError: it is something else.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"time `{text}` has no zone")
    return time.astimezone(UTC)


def _read(value: Mapping[str, Any]) -> Document:
    issuer = value["tokenIssuer"]
    age = _integer(value["maxAgeSeconds"])
    if not MIN_AGE_SECONDS <= age <= MAX_AGE_SECONDS:
        raise ValueError(f"maxAgeSeconds must be {MIN_AGE_SECONDS} to {MAX_AGE_SECONDS}")
    return Document(
        number=EpochNumber(_integer(value["number"]["term"]), _integer(value["number"]["counter"])),
        issued_at=parse_time(value["issuedAt"]),
        max_age_seconds=age,
        home=_text(value["home"]),
        sources=tuple(_mapping(source) for source in value["sources"]),
        credentials=_texts(value["credentials"]),
        token_issuer=None
        if issuer is None
        else TokenIssuer(
            _text(issuer["issuer"]),
            _text(issuer["audience"]),
            tuple(_mapping(key) for key in issuer["keys"]),
        ),
        grant_keys=tuple(
            GrantKey(
                _text(key["id"]), _text(key["gateway"]), b64decode(key["publicKey"], validate=True)
            )
            for key in value["grantKeys"]
        ),
        packs=_texts(value["packs"]),
        public=_public(value["public"]),
        public_reason=_text(value["publicReason"]),
    )


def _public(value: object) -> Literal["Open", "Closed"]:
    match value:
        case "Open":
            return "Open"
        case "Closed":
            return "Closed"
        case _:
            raise ValueError("public must be Open or Closed")


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"`{value}` is not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{value}` is not text")
    return value


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an entry is not an object")
    return value


def _texts(value: object) -> Mapping[str, str]:
    return {_text(name): _text(item) for name, item in _mapping(value).items()}
