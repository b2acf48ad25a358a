"""Does a credential prove exactly the client that it belongs to?"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from demarc.policy import identity
from demarc.policy.epoch import ClientIdentity, Epoch, TokenIssuer
from demarc.policy.identity import Refused, Unauthenticated
from support import builders
from support.builders import NOW

ISSUER = "https://kubernetes.default.svc"
SUBJECT = "system:serviceaccount:retail:copilot"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS: Mapping[str, tuple[Any, str, Any]] = {
    "rsa": (RSA_KEY, "RS256", jwt.algorithms.RSAAlgorithm),
    "ec": (EC_KEY, "ES256", jwt.algorithms.ECAlgorithm),
    "p384": (P384_KEY, "ES384", jwt.algorithms.ECAlgorithm),
    "ed": (ED_KEY, "EdDSA", jwt.algorithms.OKPAlgorithm),
}


def jwk(name: str, **more: Any) -> dict[str, Any]:
    key, _, algorithm = KEYS[name]
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, **more}


def epoch(*keys: Mapping[str, Any], **options: Any) -> Epoch:
    issuer = TokenIssuer(ISSUER, "demarc", keys or tuple(jwk(name) for name in KEYS))
    return builders.sample_epoch(token_issuer=issuer, **options)


EPOCH = epoch()


def token(name: str = "rsa", *, key: Any = None, alg: str = "", **changes: Any) -> str:
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": ["demarc"],
        "sub": SUBJECT,
        "exp": int((NOW + timedelta(minutes=10)).timestamp()),
        "iat": int(NOW.timestamp()),
        "kubernetes.io": {"namespace": "retail", "serviceaccount": {"uid": "uid-of-copilot"}},
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    signing, algorithm, _ = KEYS[name]
    return jwt.encode(claims, key or signing, algorithm=alg or algorithm, headers={"kid": name})


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def refused(headers: Mapping[str, str], known: Epoch, now: datetime = NOW) -> Refused | None:
    proved = identity.authenticate(headers, known, now)
    return proved.reason if isinstance(proved, Unauthenticated) else None


@pytest.mark.parametrize(
    "headers",
    [
        bearer(builders.FAQ_KEY),
        {"authorization": f"bearer   {builders.FAQ_KEY} "},
        {"x-api-key": builders.FAQ_KEY},
        {"api-key": builders.FAQ_KEY, "content-type": "application/json"},
    ],
)
def test_an_api_key_proves_its_client(headers: Mapping[str, str]) -> None:
    """A key in one of the three places is not taken."""
    assert builders.BRANCH_FAQ == identity.authenticate(headers, epoch(), NOW)


@pytest.mark.parametrize("name", KEYS)
def test_a_token_proves_its_client(name: str) -> None:
    """A ServiceAccount token of a supported key type is refused."""
    assert builders.COPILOT == identity.authenticate(bearer(token(name)), epoch(), NOW)


@pytest.mark.parametrize(
    "headers, want_reason",
    [
        ({}, Refused.MISSING),
        ({"cookie": "session=1"}, Refused.MISSING),
        ({**bearer(builders.FAQ_KEY), "x-api-key": builders.FAQ_KEY}, Refused.AMBIGUOUS),
        ({"x-api-key": "a", "api-key": "a"}, Refused.AMBIGUOUS),
        ({"authorization": f"Bearer {builders.FAQ_KEY},Bearer x"}, Refused.AMBIGUOUS),
        ({"authorization": f"Basic {builders.FAQ_KEY}"}, Refused.MALFORMED),
        ({"authorization": builders.FAQ_KEY}, Refused.MALFORMED),
        (bearer(""), Refused.MALFORMED),
        (bearer("two words"), Refused.MALFORMED),
        (bearer("schlüssel"), Refused.MALFORMED),
        (bearer("x" * 20_000), Refused.MALFORMED),
        ({"x-api-key": ""}, Refused.MALFORMED),
        (bearer("another-key"), Refused.UNKNOWN),
        (bearer(builders.FAQ_KEY + "x"), Refused.UNKNOWN),
        (bearer("a.b.c"), Refused.UNKNOWN),
        ({"x-api-key": token()}, Refused.UNKNOWN),
    ],
)
def test_anything_else_proves_nothing(headers: Mapping[str, str], want_reason: Refused) -> None:
    """A credential that is missing, doubled, malformed or unknown proves somebody."""
    assert want_reason == refused(headers, epoch())


@pytest.mark.parametrize(
    "changes, want_reason",
    [
        ({"iss": "https://elsewhere"}, Refused.UNKNOWN),
        ({"iss": None}, Refused.UNKNOWN),
        ({"aud": ["kubernetes"]}, Refused.UNKNOWN),
        ({"aud": None}, Refused.UNKNOWN),
        ({"sub": "system:serviceaccount:retail:other"}, Refused.UNKNOWN),
        ({"sub": None}, Refused.UNKNOWN),
        ({"exp": None}, Refused.UNKNOWN),
        ({"exp": True}, Refused.EXPIRED),
        ({"exp": int(NOW.timestamp())}, Refused.EXPIRED),
        ({"exp": int((NOW - timedelta(days=1)).timestamp())}, Refused.EXPIRED),
        ({"nbf": int((NOW + timedelta(seconds=61)).timestamp())}, Refused.EXPIRED),
        ({"iat": "yesterday"}, Refused.EXPIRED),
        ({"kubernetes.io": {"serviceaccount": {"uid": "of-an-earlier-one"}}}, Refused.UNKNOWN),
        ({"kubernetes.io": {"serviceaccount": {}}}, Refused.UNKNOWN),
        ({"kubernetes.io": None}, Refused.UNKNOWN),
    ],
)
def test_a_token_with_another_claim_proves_nothing(
    changes: Mapping[str, Any], want_reason: Refused
) -> None:
    """A token for somebody else, for another audience or of another time is taken."""
    assert want_reason == refused(bearer(token(**changes)), epoch())


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(NOW.timestamp()) + 1},
        {"nbf": int(NOW.timestamp()) + 60},
        {"aud": "demarc"},
        {"aud": ["other", "demarc"]},
    ],
)
def test_a_token_at_the_edge_still_proves(changes: Mapping[str, Any]) -> None:
    """A token is refused although nothing speaks against it."""
    assert builders.COPILOT == identity.authenticate(bearer(token(**changes)), epoch(), NOW)


def test_only_the_key_that_the_header_names_verifies() -> None:
    """A token signed by a stranger, by another of our keys, or by no key at all is taken."""
    public = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    unsigned = jwt.encode({"sub": SUBJECT}, "", algorithm="none", headers={"kid": "rsa"})
    head = b64(b'{"alg":"HS256","kid":"rsa"}') + "." + token().split(".")[1]
    confused = head + "." + b64(hmac.digest(public, head.encode(), "sha256"))

    assert Refused.UNKNOWN == refused(bearer(token(key=STRANGER)), epoch())
    assert Refused.UNKNOWN == refused(bearer(token("ec", key=RSA_KEY, alg="RS256")), epoch())
    assert Refused.UNKNOWN == refused(bearer(token(alg="RS512")), epoch())
    assert Refused.UNKNOWN == refused(bearer(unsigned), epoch())
    assert Refused.UNKNOWN == refused(bearer(confused), epoch())


def test_without_an_issuer_no_token_proves_anything() -> None:
    """Tokens count although nobody said who issues them."""
    assert Refused.UNKNOWN == refused(bearer(token()), builders.sample_epoch())


@pytest.mark.parametrize(
    "keys",
    [
        (jwk("rsa"), jwk("ec", kid="rsa")),
        (jwk("ec", kid="rsa"), jwk("rsa")),
        (jwk("rsa", kid=None),),
        (jwk("rsa", alg="RS512"),),
        (jwk("rsa", use="enc"),),
        (jwk("rsa", kty="oct"),),
        (jwk("rsa", n="!"),),
        ({**jwk("rsa"), "d": "x"},),
    ],
)
def test_a_key_that_is_unclear_verifies_nothing(keys: tuple[Mapping[str, Any], ...]) -> None:
    """A key whose id stands twice, or that is for something else, verifies a token."""
    assert Refused.UNKNOWN == refused(bearer(token()), epoch(*keys))


def test_a_missing_secret_proves_nothing() -> None:
    """A client without a key, or with an empty one, is proved by something."""
    nothing = epoch(credentials={})
    empty = epoch(credentials={"secret:retail/faq-key/token": sha256(b"").hexdigest()})

    assert Refused.UNKNOWN == refused(bearer(builders.FAQ_KEY), nothing)
    assert Refused.UNKNOWN == refused(bearer(token()), nothing)
    assert {} == dict(empty.api_keys)


@given(
    st.dictionaries(
        st.sampled_from([*identity.CREDENTIAL_HEADERS, "host"]),
        st.one_of(st.text(), st.text().map(lambda text: f"Bearer {text}")),
    )
)
def test_never_raises_and_never_guesses(headers: Mapping[str, str]) -> None:
    """Some header makes the authentication raise, or proves a client by chance."""
    assert not isinstance(identity.authenticate(headers, EPOCH, NOW), ClientIdentity)
