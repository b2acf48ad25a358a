"""Does the expression of an allow-list let exactly its names through?"""

from __future__ import annotations

import re2
from hypothesis import given
from hypothesis import strategies as st

from demarc.xds import headers

_names = st.text(alphabet="abx-.^]\\:+", max_size=6)
_near = st.sampled_from(["a", "ab", "abc", "x-demarc-", "x-demarc-grant", "x-demarc-gran", ""])


def _matches(expression: str, name: str) -> bool:
    return re2.fullmatch(expression, name) is not None


@given(st.frozensets(_names, max_size=6), st.one_of(_names, _near))
def test_exactly_the_names_outside_the_list_match(kept: frozenset[str], name: str) -> None:
    """A header outside an allow-list passes, or one inside is taken away."""
    expression = headers.outside(kept)

    want = name not in kept and name != "" and not name.startswith(":")
    assert want == _matches(expression, name)


@given(st.frozensets(_names, max_size=6), st.one_of(_names, _near))
def test_with_a_prefix_only_its_family_matches(kept: frozenset[str], name: str) -> None:
    """The strip of one family touches another, or leaves a member."""
    expression = headers.outside(kept, prefix="a.")

    assert (name.startswith("a.") and name not in kept) == _matches(expression, name)


def test_the_order_of_the_names_does_not_matter() -> None:
    """The same list gives two texts, so that Envoy would reload for nothing."""
    assert headers.outside(["b", "a", "b"]) == headers.outside(["a", "b"])


def test_no_list_that_leaves_the_gateway_holds_a_grant() -> None:
    """A grant would reach a client or the log."""
    shown = {*headers.DENY, *headers.METADATA, *headers.ANSWER}

    assert headers.GRANT not in shown
    assert shown.isdisjoint(headers.CREDENTIALS)
