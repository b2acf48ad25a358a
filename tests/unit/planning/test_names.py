"""Are names valid, stable and different for different things?"""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from demarc.planning import names

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_parts = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,20})?", fullmatch=True)


@given(_parts, _parts)
def test_a_name_is_a_label_that_pods_can_be_called_after(deployment: str, site: str) -> None:
    """Kubernetes would refuse the objects of a valid ModelDeployment."""
    name = names.engine(deployment, site)

    assert _LABEL.fullmatch(name)
    assert len(name) + len("-") + 10 <= 63


@given(_parts, _parts, _parts, _parts)
def test_two_placements_never_share_a_name(a: str, b: str, c: str, d: str) -> None:
    """One placement would overwrite the objects of another."""
    assume((a, b) != (c, d))

    assert names.engine(a, b) != names.engine(c, d)


def test_parts_that_join_to_one_text_are_told_apart() -> None:
    """`a-b` on `c` and `a` on `b-c` would be one workload."""
    assert names.engine("a-b", "c") != names.engine("a", "b-c")
    assert names.engine("a.b", "c") != names.engine("a-b", "c")


@given(st.text(alphabet="abc-.", min_size=1, max_size=100))
def test_a_label_value_fits(name: str) -> None:
    """The API server would refuse the label."""
    assert len(names.label_value(name)) <= 63
