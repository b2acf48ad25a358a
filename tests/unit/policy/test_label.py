"""Are labels a lattice in which a join only raises?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Category
from demarc.policy import label
from demarc.policy.label import Label

labels = st.builds(
    label.close,
    st.integers(1, 6),
    st.sets(st.sampled_from(Category)),
    st.sets(st.sampled_from(["CN", "SG", "*"])),
)


@given(labels, labels, labels)
def test_join_is_the_least_upper_bound(first: Label, second: Label, third: Label) -> None:
    """A join loses a part, depends on order, or raises more than it must."""
    both = label.join(first, second)

    assert label.below(first, both)
    assert label.below(second, both)
    assert both == label.join(second, first) == label.join(both, first)
    assert label.join(both, third) == label.join(first, label.join(second, third))
    if label.below(first, third) and label.below(second, third):
        assert label.below(both, third)


@given(labels)
def test_closing_again_changes_nothing(one: Label) -> None:
    """A label lacks what its categories imply."""
    assert one == label.close(one.level, one.categories, one.origins)
    assert one == label.join(one, label.bottom())
    assert label.below(label.bottom(), one)


@given(labels, labels)
def test_sensitivity_is_upward_closed(first: Label, second: Label) -> None:
    """More content makes a sensitive request ordinary."""
    assert label.is_sensitive(label.join(first, second)) or not label.is_sensitive(first)


@pytest.mark.parametrize(
    "category, want_level, want_categories",
    [
        ("ACCT", 3, "ACCT PI SPI"),
        ("BIOMETRIC", 3, "BIOMETRIC PI SPI"),
        ("MINOR", 3, "MINOR PI SPI"),
        ("HEALTH", 3, "HEALTH PI SPI"),
        ("SPI", 3, "PI SPI"),
        ("PAN", 3, "PAN"),
        ("SAD", 4, "PAN SAD"),
        ("AUTHN", 4, "AUTHN"),
        ("IMPORTANT", 5, "IMPORTANT"),
        ("CORE", 5, "CORE IMPORTANT"),
        ("PI", 1, "PI"),
        ("MNPI", 1, "MNPI"),
    ],
)
def test_a_category_implies_what_the_law_says(
    category: str, want_level: int, want_categories: str
) -> None:
    """A closure rule is missing."""
    closed = label.close(1, [Category(category)], [])

    assert (want_level, want_categories.split()) == (closed.level, sorted(closed.categories))
    assert closed.categories == label.implied(Category(category))


@pytest.mark.parametrize("level", [0, 7, -1])
def test_a_level_outside_the_lattice_is_refused(level: int) -> None:
    """A label stands above TOP, or below everything."""
    with pytest.raises(ValueError, match="level must be"):
        label.close(level, [], [])


def test_labels_are_described_in_words() -> None:
    """A person reads a number that has no meaning for them."""
    assert "level TOP" == label.describe(label.close(6, [], []))
    assert "level 4 with PAN, SAD" == label.describe(label.close(1, [Category.SAD], []))
