"""Does a certificate say who it is for, and is it replaced in time?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from demarc.reconcile import certificates
from demarc.reconcile.certificates import Wanted

NOW = datetime(2026, 11, 24, tzinfo=UTC)
WANTED = Wanted("spiffe://demarc/a/inner", ("localhost", "127.0.0.1"), ("server", "client"))


def test_a_leaf_names_its_workload() -> None:
    """A gateway would refuse its peer, or take another for it."""
    authority = certificates.issue_authority(NOW)
    leaf = x509.load_pem_x509_certificate(
        certificates.issue_leaf(authority, WANTED, NOW).certificate
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [WANTED.uri]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


@pytest.mark.parametrize(
    "after, want",
    [
        (timedelta(0), True),
        (timedelta(days=19), True),
        (timedelta(days=21), False),
        (timedelta(days=40), False),
        (timedelta(days=-1), False),
    ],
)
def test_a_leaf_is_good_until_a_third_is_left(after: timedelta, want: bool) -> None:  # noqa: FBT001
    """Certificates would end while they are used, or be replaced at each run."""
    authority = certificates.issue_authority(NOW)
    leaf = certificates.issue_leaf(authority, WANTED, NOW)

    assert want == certificates.still_good(
        leaf.certificate, authority.certificate, WANTED, NOW + after
    )


@pytest.mark.parametrize(
    "other",
    [
        Wanted("spiffe://demarc/b/inner", WANTED.names, WANTED.usages),
        Wanted(WANTED.uri, (), WANTED.usages),
        Wanted(WANTED.uri, WANTED.names, ("server",)),
    ],
)
def test_a_leaf_that_says_something_else_is_replaced(other: Wanted) -> None:
    """A changed plan would keep the old certificate."""
    authority = certificates.issue_authority(NOW)
    leaf = certificates.issue_leaf(authority, WANTED, NOW)

    assert not certificates.still_good(leaf.certificate, authority.certificate, other, NOW)


def test_a_leaf_of_another_authority_is_replaced() -> None:
    """Whoever puts a certificate into the Secret would stay trusted."""
    authority, other = certificates.issue_authority(NOW), certificates.issue_authority(NOW)
    leaf = certificates.issue_leaf(other, WANTED, NOW)

    assert not certificates.still_good(leaf.certificate, authority.certificate, WANTED, NOW)
    assert not certificates.still_good(b"", authority.certificate, WANTED, NOW)


def test_a_key_pair_does_not_print_its_key() -> None:
    """A private key would stand in a log."""
    authority = certificates.issue_authority(NOW)

    assert "PRIVATE" not in repr(authority)
