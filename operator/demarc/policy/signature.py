"""Who said this? Ed25519 signatures over canonical bytes, with the purpose bound in.

Every signature covers `PURPOSE NUL BYTES`, so what was signed as one kind of statement never
verifies as another, although the operator signs several kinds with one key.

Two forms: a detached `Signature` (the epoch, whose bytes are large and are stored beside it) and a
sealed text `base64url(canonical JSON).base64url(signature)` (grant, heartbeat, extract).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

ALGORITHM = "Ed25519"
_KEY_ID = "keyId"
_MAX_SEALED = 512 * 1024
"""Longest sealed text that is looked at: nothing signed here comes near it."""


# SignatureError            the statement is not what a trusted key said
# ├── MalformedError        it cannot be read, or is not in canonical form
# ├── UnknownKeyError       no trusted key has that id
# └── BadSignatureError     the signature does not fit the bytes
class SignatureError(Exception):
    """The statement is not what a trusted key said; the text is for the operator."""


class MalformedError(SignatureError):
    """It cannot be read, or is not in canonical form."""


class UnknownKeyError(SignatureError):
    """No trusted key has that id, or it has another algorithm."""


class BadSignatureError(SignatureError):
    """The signature does not fit the bytes."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A detached signature.

    Attributes:
        value: 64 raw bytes.
    """

    key_id: str
    value: bytes
    algorithm: str = ALGORITHM

    def to_json(self) -> dict[str, str]:
        """As it stands beside the epoch: `keyId`, `algorithm`, `value` (base64)."""
        return {
            "keyId": self.key_id,
            "algorithm": self.algorithm,
            "value": base64.b64encode(self.value).decode(),
        }


def parse_signature(text: str) -> Signature:
    """Read what `Signature.to_json` wrote.

    Raises:
        MalformedError: it is something else.
    """
    match _object(text, "signature"):
        case {"keyId": str(key_id), "algorithm": str(algorithm), "value": str(value)}:
            return Signature(key_id, _base64(value, "signature"), algorithm)
        case _:
            raise MalformedError("signature must have keyId, algorithm and value")


@dataclass(frozen=True, slots=True)
class Trust:
    """Public keys that a process was installed with: 32 raw bytes, by key id."""

    keys: Mapping[str, bytes]


def parse_trust(text: str) -> Trust:
    """Read `trust.json`: `{"epochKeys": [{"id", "algorithm": "Ed25519", "publicKey": base64}]}`.

    Raises:
        MalformedError: it is something else, or an id stands twice.
    """
    keys = dict[str, bytes]()
    match _object(text, "trust bundle"):
        case {"epochKeys": [*entries]}:
            for entry in entries:
                match entry:
                    case {"id": str(key_id), "algorithm": "Ed25519", "publicKey": str(public)}:
                        if key_id in keys:
                            raise MalformedError(f"trust bundle names key `{key_id}` twice")
                        keys[key_id] = _base64(public, "trust bundle")
                    case _:
                        raise MalformedError(
                            "trust bundle entries must have id, algorithm Ed25519 and publicKey"
                        )
        case _:
            raise MalformedError("trust bundle must have a list epochKeys")
    return Trust(keys)


def render_trust(keys: Mapping[str, bytes]) -> str:
    """What `parse_trust` reads, sorted by id."""
    entries = [
        {"id": key_id, "algorithm": ALGORITHM, "publicKey": base64.b64encode(key).decode()}
        for key_id, key in sorted(keys.items())
    ]
    return canonical({"epochKeys": entries}).decode()


def private_key(pem: bytes) -> Ed25519PrivateKey:
    """An Ed25519 private key from unencrypted PKCS #8 PEM.

    Raises:
        MalformedError: it is something else.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise MalformedError("the private key is not readable PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedError("the private key is not an Ed25519 key")
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Unencrypted PKCS #8 PEM, as `private_key` reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 raw bytes of the public half."""
    return key.public_key().public_bytes_raw()


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value: https://www.rfc-editor.org/rfc/rfc8785.

    Raises:
        MalformedError: the value has no such form (a number that is no double, for example).
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise MalformedError(f"no canonical form: {error}") from error


def parse_canonical(data: bytes, what: str) -> Mapping[str, Any]:
    """A JSON object from bytes that are exactly its canonical form.

    Reading and writing back refuses duplicate keys, white space and every second spelling.

    Raises:
        MalformedError: they are something else.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"{what} is not UTF-8") from error
    value = _object(text, what)
    if canonical(value) != data:
        raise MalformedError(f"{what} is not in canonical form")
    return value


def sign(purpose: str, data: bytes, key: Ed25519PrivateKey, key_id: str) -> Signature:
    """A detached signature over bytes for one purpose."""
    return Signature(key_id, key.sign(_bound(purpose, data)))


def check(purpose: str, data: bytes, signature: Signature, keys: Mapping[str, bytes]) -> None:
    """Return only if a trusted key signed these bytes for this purpose.

    Raises:
        UnknownKeyError: no key has that id, or the algorithm is another.
        BadSignatureError: the signature does not fit.
    """
    public = keys.get(signature.key_id)
    if public is None or signature.algorithm != ALGORITHM:
        raise UnknownKeyError(
            f"key `{signature.key_id}` ({signature.algorithm}) is not trusted: "
            "add it to the trust bundle if it should be"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature.value, _bound(purpose, data))
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError(f"the signature by `{signature.key_id}` does not fit") from error


def seal(purpose: str, value: Mapping[str, Any], key: Ed25519PrivateKey, key_id: str) -> str:
    """A sealed text: `value` with `keyId`, and its signature.

    Raises:
        MalformedError: the value has no canonical form.
    """
    data = canonical({**value, _KEY_ID: key_id})
    return f"{_base64url(data)}.{_base64url(key.sign(_bound(purpose, data)))}"


def unseal(purpose: str, text: str, keys: Mapping[str, bytes]) -> tuple[str, Mapping[str, Any]]:
    """The key id and the value of a sealed text, if a trusted key sealed it for this purpose.

    Raises:
        SignatureError: it did not.
    """
    if len(text) > _MAX_SEALED:
        raise MalformedError("the sealed text is too long")
    first, dot, second = text.partition(".")
    if not dot:
        raise MalformedError("a sealed text has two parts, with a point between them")
    data = _from_base64url(first)
    value = parse_canonical(data, "the sealed value")
    key_id = value.get(_KEY_ID)
    if not isinstance(key_id, str):
        raise MalformedError("the sealed value has no keyId")
    check(purpose, data, Signature(key_id, _from_base64url(second)), keys)
    return key_id, {name: item for name, item in value.items() if name != _KEY_ID}


def _bound(purpose: str, data: bytes) -> bytes:
    return purpose.encode() + b"\0" + data


def _object(text: str, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not a JSON object")
    return value


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{what} holds text that is not base64") from error


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("the sealed text is not base64url") from error
    if _base64url(data) != text:
        raise MalformedError("the sealed text is not base64url")
    return data
