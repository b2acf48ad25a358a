"""Does an edge learn who may knock and what it serves, and nothing else?"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demarc.policy import extract, signature
from demarc.policy.epoch import GrantKey
from demarc.policy.extract import EdgeEndpoint, ExtractError
from demarc.policy.signature import Trust
from support import builders

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
TRUST = Trust({"epoch-1": signature.public_bytes(KEY)})
GRANT_KEY = GrantKey("inner-0", "spiffe://demarc/shanghai-dc/inner", b"\x07" * 32)
EPOCH = builders.sample_epoch(grant_keys=(GRANT_KEY,))


def test_an_extract_holds_one_site() -> None:
    """An edge serves what stands elsewhere, or answers to another egress."""
    edge = extract.extract(EPOCH, "cloud-sg")

    assert (
        EdgeEndpoint("models/glm-4-flash@cloud-sg", "models", "glm-4-flash", "glm-4-flash"),
    ) == edge.endpoints
    assert ("spiffe://demarc/shanghai-dc/egress", (GRANT_KEY,)) == (edge.egress, edge.grant_keys)
    assert (("10.245.0.0/16",), EPOCH.number, EPOCH.hash) == (
        edge.cidrs,
        edge.number,
        edge.epoch_hash,
    )
    assert () == extract.extract(EPOCH, "nowhere").endpoints


def test_an_extract_comes_back_as_it_was_signed() -> None:
    """A field is lost or changed on the way."""
    edge = extract.extract(EPOCH, "cloud-sg")

    assert edge == extract.verify(extract.sign(edge, KEY, "epoch-1"), TRUST, site="cloud-sg")


def test_an_extract_holds_no_policy() -> None:
    """A remote site learns about tenants, apps, keys or prices."""
    text = extract.sign(extract.extract(EPOCH, "cloud-sg"), KEY, "epoch-1")
    body = text.partition(".")[0]
    value = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))

    assert {
        "cidrs", "egress", "endpoints", "epoch", "epochHash", "grantKeys", "issuedAt", "keyId",
        "site",
    } == set(value)  # fmt: skip
    assert "retail" not in json.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        signature.seal(extract.PURPOSE, {"site": "cloud-sg"}, KEY, "epoch-1"),
        extract.sign(extract.extract(EPOCH, "cloud-jp"), KEY, "epoch-1"),
        extract.sign(
            extract.extract(EPOCH, "cloud-sg"),
            Ed25519PrivateKey.from_private_bytes(b"\x02" * 32),
            "epoch-1",
        ),
    ],
)
def test_what_is_no_extract_of_this_site_is_refused(text: str) -> None:
    """An edge obeys what was signed for somebody else, or by somebody else."""
    with pytest.raises(ExtractError):
        extract.verify(text, TRUST, site="cloud-sg")
