"""Is policy compiled only from what the cluster said, and never from its silence?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from demarc.api.cluster import (
    ClusterError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TransientError,
)
from demarc.policy.signature import Trust
from demarc.reconcile import world
from support.cluster import MemoryCluster


class Silent(MemoryCluster):
    """A cluster that does not say who signs its tokens."""

    def __init__(self, error: ClusterError) -> None:
        super().__init__()
        self.error = error

    async def token_keys(self) -> Mapping[str, Any]:
        raise self.error


@pytest.mark.parametrize("error", [TransientError("down"), InvalidError("odd")])
async def test_an_issuer_that_cannot_be_read_now_ends_the_run(error: ClusterError) -> None:
    """The epoch would go out without an issuer, and every token would be refused until the next."""
    with pytest.raises(type(error)):
        await world.observe(Silent(error), Trust({}))


@pytest.mark.parametrize("error", [NotFoundError("none"), ForbiddenError("no")])
async def test_a_cluster_that_tells_no_issuer_has_none(error: ClusterError) -> None:
    """Policy would never be published where the discovery of issuers is off."""
    assert (await world.observe(Silent(error), Trust({}))).token_issuer is None
