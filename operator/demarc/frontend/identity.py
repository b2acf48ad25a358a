"""Who is the client of a mutual TLS connection, and may it speak?

The chain was verified by TLS. A SPIFFE certificate has exactly one URI in its subjectAltName, and
that is the name; the list of allowed names is exact.
Source: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

import ssl
from collections.abc import Collection
from pathlib import Path

from cryptography import x509


def server_context(folder: Path) -> ssl.SSLContext:
    """Read tls.crt, tls.key and ca.crt; a client without a certificate is not served.

    Raises:
        OSError: a file is missing, or (`ssl.SSLError`) not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the most that Envoy offers by default
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.load_verify_locations(folder / "ca.crt")
    context.set_alpn_protocols(["http/1.1"])
    return context


def name_of(certificate: bytes) -> str | None:
    """Read the SPIFFE name of a certificate in DER; None if it has not exactly one."""
    try:
        read = x509.load_der_x509_certificate(certificate)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        return None
    return uris[0]


def allowed_name(certificate: bytes | None, allowed: Collection[str]) -> str | None:
    """Give the name if it may speak; None otherwise."""
    name = None if certificate is None else name_of(certificate)
    return name if name in allowed else None
