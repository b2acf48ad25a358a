"""Does a grant let pass exactly the bytes, target and caller that it was signed for?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Category
from demarc.policy import grant, heartbeat, label, signature
from demarc.policy.epoch import EpochNumber, GrantKey
from demarc.policy.grant import (
    ExpiredGrantError,
    Grant,
    GrantError,
    MismatchError,
    UnreadableGrantError,
    UntrustedGrantError,
)
from support.builders import NOW

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
INNER = "spiffe://demarc/shanghai-dc/inner"
KEYS = (
    GrantKey("inner-0", INNER, signature.public_bytes(KEY)),
    GrantKey("other-0", "spiffe://demarc/elsewhere/inner", signature.public_bytes(OTHER)),
)
GRANT = Grant(
    decision="01JDECISION",
    tenant="retail",
    app="branch-faq",
    client="faq-key",
    credential="secret:retail/faq-key/token",
    endpoint="models/glm-4-flash@cloud-sg",
    gateway=INNER,
    method="POST",
    path="/v1/chat/completions",
    body_sha256="ab" * 32,
    label=label.close(2, [Category.TXN], ["CN"]),
    epoch=EpochNumber(1, 7),
    epoch_hash="cd" * 32,
    permitted=grant.permitted_digest(["b", "a"]),
    expires=NOW + grant.LIFETIME,
)
AT_HAND: dict[str, Any] = {
    "now": NOW,
    "method": "POST",
    "path": "/v1/chat/completions",
    "body_sha256": "ab" * 32,
    "endpoint": "models/glm-4-flash@cloud-sg",
    "gateway": INNER,
}


def signed(change: Grant = GRANT, key: Ed25519PrivateKey = KEY, key_id: str = "inner-0") -> str:
    return grant.sign(change, key, key_id)


def test_a_grant_comes_back_as_it_was_signed() -> None:
    """A field is lost or changed on the way."""
    assert GRANT == grant.verify(signed(), KEYS, **AT_HAND)


def test_what_is_not_stated_is_taken_from_the_grant() -> None:
    """The edge, which sees only the egress, cannot verify a grant."""
    at_hand = {**AT_HAND, "endpoint": None, "gateway": None}

    assert GRANT == grant.verify(signed(), KEYS, **at_hand)


@pytest.mark.parametrize(
    "name, value",
    [
        ("method", "GET"),
        ("path", "/v1/completions"),
        ("body_sha256", "ac" * 32),
        ("endpoint", "models/glm-4-air@shanghai-dc"),
        ("gateway", "spiffe://demarc/elsewhere/inner"),
    ],
)
def test_a_grant_for_something_else_is_refused(name: str, value: str) -> None:
    """A grant opens another door than the one it was signed for."""
    with pytest.raises(MismatchError, match=f"another {name.removesuffix('_sha256')}"):
        grant.verify(signed(), KEYS, **{**AT_HAND, name: value})


@pytest.mark.parametrize(
    "seconds, want_error",
    [(-5.001, ExpiredGrantError), (-5, None), (34.999, None), (35, ExpiredGrantError)],
)
def test_a_grant_lives_30_seconds_with_5_of_skew(
    seconds: float, want_error: type[Exception] | None
) -> None:
    """A grant is taken too early or too late, or refused within its time."""
    at_hand = {**AT_HAND, "now": NOW + timedelta(seconds=seconds)}
    if want_error is None:
        assert GRANT == grant.verify(signed(), KEYS, **at_hand)
    else:
        with pytest.raises(want_error):
            grant.verify(signed(), KEYS, **at_hand)


@pytest.mark.parametrize(
    "text",
    [
        signed(key=OTHER),
        signed(key_id="other-0"),
        signed(key_id="nobody"),
        # signed well, by a gateway that speaks for another
        signed(key=OTHER, key_id="other-0"),
        # another statement of the same key is no grant
        heartbeat.sign(heartbeat.Heartbeat("cd" * 32, NOW), KEY, "inner-0"),
    ],
)
def test_only_the_key_of_the_named_gateway_counts(text: str) -> None:
    """A key signs for a gateway that is not its own."""
    with pytest.raises(UntrustedGrantError):
        grant.verify(text, KEYS, **AT_HAND)


@pytest.mark.parametrize("text", ["", "a", "a.b", "....", "é.é", signed() + "=", signed()[:-1]])
def test_what_is_no_grant_is_refused(text: str) -> None:
    """A broken text raises something that the caller does not expect."""
    with pytest.raises(GrantError):
        grant.verify(text, KEYS, **AT_HAND)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda value: value.pop("tenant"),
        lambda value: value.update(tenant=1),
        lambda value: value.update(expires="soon"),
        lambda value: value.update(expires="2026-12-01T12:00:30"),
        lambda value: value.update(label={"level": 9, "categories": [], "origins": []}),
        lambda value: value["label"].update(categories=["NEW"]),
        lambda value: value.update(label=[]),
    ],
)
def test_a_signed_text_with_another_shape_is_refused(break_it: Callable[[Any], Any]) -> None:
    """A signed statement of a newer or broken writer passes as a grant."""
    _, value = signature.unseal(grant.PURPOSE, signed(), {"inner-0": signature.public_bytes(KEY)})
    changed = {**value, "label": {**value["label"]}}
    break_it(changed)
    with pytest.raises(UnreadableGrantError):
        grant.verify(signature.seal(grant.PURPOSE, changed, KEY, "inner-0"), KEYS, **AT_HAND)


@given(st.integers(0, len(signed()) - 1), st.sampled_from("aZ0_.-"))
def test_no_character_of_a_grant_can_change(index: int, character: str) -> None:
    """A changed grant verifies."""
    text = signed()
    changed = text[:index] + character + text[index + 1 :]
    if changed != text:
        with pytest.raises(GrantError):
            grant.verify(changed, KEYS, **AT_HAND)


def test_the_digest_of_a_permitted_set_has_no_order() -> None:
    """Two gateways disagree on the digest of one set, or agree on that of two."""
    assert grant.permitted_digest(["a", "b"]) == grant.permitted_digest(["b", "a"])
    assert grant.permitted_digest(["a", "b"]) != grant.permitted_digest(["a"])
    assert grant.permitted_digest(["a", "b"]) != grant.permitted_digest(["ab"])


def test_a_grant_cannot_outlive_its_30_seconds() -> None:
    """A gateway with a wrong clock, or a stolen key, makes a grant for a year."""
    with pytest.raises(ExpiredGrantError):
        grant.verify(signed(replace(GRANT, expires=NOW + timedelta(days=365))), KEYS, **AT_HAND)


def test_a_value_that_is_nested_too_deep_has_no_canonical_form() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(signature.MalformedError):
        signature.canonical(deep)
