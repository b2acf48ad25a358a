"""Does a placement go to a pool that can run it?"""

from __future__ import annotations

import pytest

from demarc.planning import placement


@pytest.mark.parametrize(
    "product, want_capability",
    [
        ("NVIDIA-H100-80GB-HBM3", 90),
        ("NVIDIA-A100-SXM4-80GB", 80),
        ("NVIDIA-L4", 89),
        ("NVIDIA-L40S", 89),
        ("NVIDIA-L40S-SHARED", 89),
        ("NVIDIA-B200", 100),
        ("NVIDIA-GB300", 103),
        ("Ascend-910B", None),
    ],
)
def test_a_product_label_tells_the_compute_capability(
    product: str, want_capability: int | None
) -> None:
    """A checkpoint would be started on a GPU that cannot run it."""
    assert want_capability == placement.compute_capability(product)
