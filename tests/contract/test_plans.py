"""Does a real API server take everything that is planned?"""

from __future__ import annotations

import pytest

from demarc.api.cluster import NAMESPACE, Ref
from demarc.kube.kube_cluster import KubeCluster
from support import golden, planning
from support.golden import Case

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.mark.parametrize("case", golden.cases("planning"), ids=lambda case: case.name)
async def test_a_plan_passes_a_server_side_dry_run(case: Case, kube_cluster: KubeCluster) -> None:
    """The operator would plan what Kubernetes refuses: an unknown field, a bad name, a bad port."""
    objects = planning.outcome({**case.given, "show": []})["objects"]
    for item in objects:
        if item["kind"] == "Namespace":
            await kube_cluster.apply(_bare(item), manager="demarc")
    for item in objects:
        applied = await kube_cluster.apply(_bare(item), manager="demarc", dry_run=True)

        assert item["kind"] == applied["kind"]
    assert await kube_cluster.get(Ref(NAMESPACE, "", "demarc-system")) is not None


def _bare(item: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in item.items() if name != "cluster"}
