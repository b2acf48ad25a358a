"""What can somebody do who has stolen a gateway? Its certificate, its grant key, any bytes.

A thief knows the policy too: it is signed and not secret. So a forged grant states whatever a true
one would state, and only the next gateway's own look at the bytes can find the lie.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from e2e.support.bank import CHAT, INSIDE, OUTSIDE, Bank

from demarc.app.running import Running
from demarc.policy import grant
from demarc.policy.grant import Grant
from demarc.policy.label import Label
from demarc.reconcile import keyring

INNER = f"spiffe://demarc/{INSIDE}/inner"
EGRESS = f"spiffe://demarc/{INSIDE}/egress"
EDGE = f"spiffe://demarc/{OUTSIDE}/edge"
PRIVATE_FRONTEND = f"spiffe://demarc/{INSIDE}/models/glm-4-air"
PUBLIC_FRONTEND = f"spiffe://demarc/{OUTSIDE}/models/glm-4-flash"
TARGET = f"models/glm-4-flash@{OUTSIDE}"


@dataclass(frozen=True, slots=True)
class Thief:
    """Somebody with a copy of the state folder."""

    bank: Bank

    def context(self, name: str = "") -> ssl.SSLContext:
        """TLS with the certificate of a SPIFFE name, or with none; it trusts every server."""
        context = _trusting()
        if name:
            folder = self._folder(name)
            context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return context

    def _folder(self, name: str) -> Path:
        for path in (self.bank.state / "clusters").glob("*/pods/*/volumes/tls/tls.crt"):
            if name in _names(path):
                return path.parent
        raise AssertionError(f"no pod has a certificate of {name}")

    def grant(self, body: bytes, **lies: object) -> str:
        """A grant for some bytes, signed by the inner gateway's key; `lies` replace its fields."""
        (path,) = (self.bank.state / "clusters" / INSIDE).glob("pods/*/volumes/grant/grant.key")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        epoch = Running(self.bank.state).epoch()
        names = (f"models/glm-4-air@{INSIDE}", TARGET)
        fields: dict[str, object] = {
            "decision": hashlib.sha256(body).hexdigest()[:32],
            "tenant": "retail",
            "app": "branch-faq",
            "client": "faq-key",
            "credential": "secret:retail/faq-key/token",
            "endpoint": TARGET,
            "gateway": INNER,
            "method": "POST",
            "path": CHAT,
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "label": Label(1, frozenset(), frozenset({"CN"})),
            "epoch": epoch.number,
            "epoch_hash": epoch.hash,
            "permitted": grant.permitted_digest(names),
            "expires": datetime.now(UTC) + grant.LIFETIME,
            **lies,
        }
        return grant.sign(Grant(**fields), key, keyring.key_id(key))  # type: ignore[arg-type]


def long_ago() -> datetime:
    """A time at which every grant has expired."""
    return datetime.now(UTC) - timedelta(hours=1)


def self_made(name: str, folder: Path) -> ssl.SSLContext:
    """TLS with a certificate that names a gateway rightly, from an authority of one's own."""
    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demarc")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = _trusting()
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _names(path: Path) -> tuple[str, ...]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.UniformResourceIdentifier))
