"""Does exactly the listed name speak, and nothing that looks like it?"""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from demarc.frontend import identity
from support.frontends import GATEWAY, SpiffeAuthority


def der(folder: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / "tls.crt").read_text())


@pytest.mark.parametrize(
    "uris,want",
    [
        ((GATEWAY,), GATEWAY),
        ((), None),
        (("spiffe://demarc/home/inner2",), None),
        (("spiffe://demarc/home",), None),
        ((GATEWAY + "/",), None),
        ((GATEWAY, "spiffe://demarc/home/egress"), None),
        (("https://demarc/home/inner",), None),
    ],
)
def test_the_name_is_exact_and_alone(
    tmp_path: Path, uris: tuple[str, ...], want: str | None
) -> None:
    leaf = SpiffeAuthority().write(tmp_path, *uris)

    assert want == identity.allowed_name(der(leaf), {GATEWAY})


def test_without_a_certificate_nobody_speaks() -> None:
    assert identity.allowed_name(None, {GATEWAY}) is None
    assert identity.name_of(b"no certificate") is None
