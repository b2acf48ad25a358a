"""Does an epoch load only as the operator signed it, and never go back?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from demarc.policy import compilation, document, signature
from demarc.policy.document import (
    EpochError,
    MalformedEpochError,
    UnknownSchemaError,
    UnsignedError,
)
from demarc.policy.epoch import EpochNumber, GrantKey, TokenIssuer
from demarc.policy.signature import MalformedError, Signature, Trust
from support import builders, strategies
from support.strategies import World

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
TRUST = Trust({"epoch-1": signature.public_bytes(KEY)})
DOCUMENT = builders.document_of(
    builders.sample(),
    token_issuer=TokenIssuer("https://issuer", "demarc", ({"kty": "RSA", "kid": "1"},)),
    grant_keys=(GrantKey("inner-0", "spiffe://demarc/shanghai-dc/inner", b"\x07" * 32),),
)
BYTES = document.canonical(DOCUMENT)


def signed(data: bytes = BYTES) -> Signature:
    return document.sign(data, KEY, "epoch-1")


def changed(**changes: Any) -> bytes:
    return signature.canonical({**json.loads(BYTES), **changes})


def test_a_document_comes_back_as_it_was_signed() -> None:
    """A field is lost or changed on the way."""
    closed = replace(DOCUMENT, public="Closed", public_reason="x", token_issuer=None)
    data = document.canonical(closed)

    assert DOCUMENT == document.verify(BYTES, signed(), TRUST)
    assert closed == document.verify(data, signed(data), TRUST)


@pytest.mark.timeout(60)
@settings(max_examples=50)
@given(strategies.worlds())
def test_any_world_travels_and_compiles_alike(world: World) -> None:
    """An agent compiles something else than the operator did."""
    before = builders.document_of(world.manifests)
    after = document.parse(document.canonical(before))

    assert before == after
    assert builders.compiled(before) == builders.compiled(after)


@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_no_byte_of_a_document_can_change(index: int, by: int) -> None:
    """A changed document loads."""
    data = BYTES[:index] + bytes([BYTES[index] ^ by]) + BYTES[index + 1 :]
    with pytest.raises(UnsignedError):
        document.verify(data, signed(), TRUST)


@pytest.mark.parametrize(
    "by",
    [
        replace(signed(), key_id="epoch-2"),
        replace(signed(), algorithm="RS256"),
        replace(signed(), value=b""),
        document.sign(BYTES, Ed25519PrivateKey.from_private_bytes(b"\x02" * 32), "epoch-1"),
        signature.sign("demarc.dev/extract/v1", BYTES, KEY, "epoch-1"),
    ],
)
def test_only_a_trusted_key_that_signed_an_epoch_counts(by: Signature) -> None:
    """Another key, algorithm or kind of statement passes."""
    with pytest.raises(UnsignedError):
        document.verify(BYTES, by, TRUST)


def test_an_unknown_schema_has_an_error_of_its_own() -> None:
    """A reader cannot tell a newer writer, for which it keeps what it has, from a broken one."""
    data = changed(schema="demarc.dev/epoch/v9")
    with pytest.raises(UnknownSchemaError):
        document.verify(data, signed(data), TRUST)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        BYTES + b" ",
        BYTES.replace(b'{"credentials"', b'{"home":"x","credentials"', 1),
        changed(surplus=1),
        changed(number={"term": 1}),
        changed(number={"term": 1, "counter": -1}),
        changed(number={"term": True, "counter": 1}),
        changed(maxAgeSeconds=59),
        changed(maxAgeSeconds=86401),
        changed(home=None),
        changed(sources=["x"]),
        changed(public="Ajar"),
        changed(issuedAt="2026-12-01T12:00:00"),
        changed(issuedAt="2026-12-01T13:00:00+01:00"),
        changed(credentials={"a": 1}),
        changed(grantKeys=[{"id": "a", "gateway": "b", "publicKey": "!"}]),
        changed(tokenIssuer={"issuer": "a"}),
    ],
)
def test_signed_and_malformed_is_refused(data: bytes) -> None:
    """A signed text with another shape loads, or raises what nobody expects."""
    with pytest.raises(MalformedEpochError):
        document.verify(data, signed(data), TRUST)


def test_a_source_that_this_version_cannot_read_refuses_the_epoch() -> None:
    """A restriction of a newer version is skipped instead of stopping the epoch."""
    sources = list(DOCUMENT.sources)
    sources[4] = {**sources[4], "spec": {**sources[4]["spec"], "future": True}}
    with pytest.raises(MalformedEpochError, match="cannot read"):
        compilation.compile_epoch(replace(DOCUMENT, sources=tuple(sources)), hash="")
    with pytest.raises(MalformedEpochError, match="unknown kind"):
        compilation.compile_epoch(replace(DOCUMENT, sources=({"kind": "Pod"},)), hash="")


def test_a_value_without_canonical_form_is_refused() -> None:
    """A number beyond 2^53 is signed, and read as another one."""
    with pytest.raises(MalformedEpochError):
        document.canonical(replace(DOCUMENT, max_age_seconds=2**60))
    with pytest.raises(EpochError):
        document.canonical(replace(DOCUMENT, home="\ud800"))


def test_numbers_never_go_back() -> None:
    """An agent loads an older epoch, or another one with the same number."""
    numbers = [EpochNumber(*each) for each in product((1, 2), (1, 2))]
    for last, number in product(numbers, numbers):
        assert (number > last) == document.fits(number, "b", last=last, last_hash="a")
        assert (number >= last) == document.fits(number, "a", last=last, last_hash="a")
    assert document.fits(EpochNumber(0, 0), "a", last=None, last_hash="")


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_comes_back(time: datetime) -> None:
    """A time loses its zone or its fraction."""
    text = document.format_time(time.astimezone(timezone(timedelta(hours=8))))

    assert text.endswith("Z")
    assert time == document.parse_time(text)


def test_a_signature_comes_back_as_it_was_written() -> None:
    """The text beside the epoch cannot be read."""
    assert signed() == signature.parse_signature(json.dumps(signed().to_json()))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keyId":1}', "nul", "[" * 100_000])
def test_what_is_no_signature_is_refused(text: str) -> None:
    """A broken text raises what nobody expects."""
    with pytest.raises(MalformedError):
        signature.parse_signature(text)
    with pytest.raises(MalformedError):
        signature.parse_trust(text)


def test_a_trust_bundle_comes_back() -> None:
    """A key is lost between install and agent."""
    assert TRUST == signature.parse_trust(signature.render_trust(TRUST.keys))


@pytest.mark.parametrize(
    "entries",
    [
        [{"id": "a", "algorithm": "Ed25519", "publicKey": "AA=="}] * 2,
        [{"id": "a", "algorithm": "RS256", "publicKey": "AA=="}],
        [{"id": "a", "algorithm": "Ed25519", "publicKey": "?"}],
        ["a"],
    ],
)
def test_an_unclear_trust_bundle_is_refused(entries: list[Any]) -> None:
    """A key that stands twice, or has another algorithm, is trusted."""
    with pytest.raises(MalformedError):
        signature.parse_trust(json.dumps({"epochKeys": entries}))


def test_a_private_key_comes_back() -> None:
    """A key that was written cannot be read."""
    assert TRUST.keys["epoch-1"] == signature.public_bytes(
        signature.private_key(signature.private_pem(KEY))
    )


def test_only_an_ed25519_key_is_read() -> None:
    """A key of another kind, or none at all, is taken."""
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for text in (pem, b"", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"):
        with pytest.raises(MalformedError):
            signature.private_key(text)


def test_a_sealed_text_says_which_key() -> None:
    """A text without key id, or one that is far too long, is looked at."""
    keys = TRUST.keys
    sealed = signature.seal("p", {"a": 1}, KEY, "epoch-1")
    anonymous = signature._base64url(b'{"a":1}') + "." + sealed.partition(".")[2]

    assert ("epoch-1", {"a": 1}) == signature.unseal("p", sealed, keys)
    for text in (anonymous, "x" * 600_000, "!.!", sealed.replace(".", "=.")):
        with pytest.raises(MalformedError):
            signature.unseal("p", text, keys)


def test_a_sealed_text_has_one_spelling() -> None:
    """Two texts say the same, so that a nonce cache takes a replay for another grant."""
    data = b'{"a": 1, "keyId": "epoch-1"}'
    spelled = ".".join(signature._base64url(each) for each in (data, KEY.sign(b"p\0" + data)))
    with pytest.raises(MalformedError, match="canonical"):
        signature.unseal("p", spelled, TRUST.keys)
