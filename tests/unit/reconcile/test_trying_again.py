"""Is what could not be applied tried again soon, and not only at the next resync?"""

from __future__ import annotations

import pytest

from support import reconciling
from support.reconciling import EPOCH, GATEWAYS


@pytest.mark.parametrize(
    "kind, name, space",
    [("Site", "cloud-sg", ""), ("ModelDeployment", "glm-4-flash", "models")],
)
async def test_a_run_says_whether_all_of_it_was_applied(kind: str, name: str, space: str) -> None:
    """A site that answers a second too late kept its models waiting for half a minute."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    await world.reconciler.run(EPOCH)
    world.clusters.cut = "connection refused"
    cut_off = await world.run(kind, name, space)

    world.clusters.cut = ""
    await world.run(kind, name, space)
    back = await world.run(kind, name, space)

    assert (True, False) == (cut_off.incomplete, back.incomplete)


async def test_what_needs_no_remote_site_is_complete_without_one() -> None:
    """It would be run again and again for nothing."""
    world = await reconciling.start([*reconciling.sample(), *reconciling.credentials()])
    world.clusters.cut = "connection refused"
    await world.reconciler.run(EPOCH)

    assert not (await world.run("ModelDeployment", "glm-4-air", "models")).incomplete
    assert not (await world.reconciler.run(GATEWAYS)).incomplete
