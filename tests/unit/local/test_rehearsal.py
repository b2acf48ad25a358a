"""Does a bank's network fit on loopback, each site apart from the others?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from demarc.api.v1alpha1 import Site
from demarc.local import rehearsal
from demarc.local.rehearsal import RehearsalError


def site(name: str, cidrs: Sequence[str], *pools: dict[str, Any]) -> Site:
    """A Site with these networks and pools."""
    manifest = {
        "apiVersion": "demarc.dev/v1alpha1",
        "kind": "Site",
        "metadata": {"name": name},
        "spec": {
            "connection": {"type": "InCluster"},
            "jurisdictions": {"processing": ["CN"], "storage": ["CN"], "control": ["CN"]},
            "network": {"cidrs": list(cidrs)},
            "gpuPools": list(pools),
        },
    }
    return Site.model_validate(rehearsal.on_loopback(manifest))


def pool(name: str, nodes: int, **more: Any) -> dict[str, Any]:
    """A GPU pool."""
    return {
        "name": name,
        "product": "NVIDIA-L4",
        "resourceName": "nvidia.com/gpu",
        "memory": "24Gi",
        "gpusPerNode": 4,
        "nodes": nodes,
        **more,
    }


def test_a_network_moves_to_loopback_and_keeps_the_rest() -> None:
    """Objects of a real installation would not run on one machine."""
    assert site("a", ["10.244.0.0/16"]).spec.network.cidrs == ("127.244.0.0/16",)


def test_each_node_has_a_block_of_its_own() -> None:
    """Two pods would have one address."""
    nodes = rehearsal.nodes_of("a", [site("a", ["10.244.0.0/16"], pool("x", 2), pool("y", 1))])

    assert [node.name for node in nodes] == ["a-system", "a-x-0", "a-y-0", "a-x-1"]
    assert len({node.block for node in nodes}) == 4
    assert nodes[0].resources == {}
    assert nodes[1].resources == {"nvidia.com/gpu": 4}
    assert nodes[1].labels["nvidia.com/gpu.product"] == "NVIDIA-L4"


def test_a_small_network_simulates_as_many_nodes_as_it_holds() -> None:
    """A pool of a thousand nodes could not be rehearsed at all."""
    nodes = rehearsal.nodes_of("a", [site("a", ["10.244.0.0/22"], pool("x", 1000))])

    assert [node.name for node in nodes] == ["a-system", "a-x-0", "a-x-1", "a-x-2"]


def test_a_network_without_room_for_each_pool_is_told() -> None:
    """Pods would stay Pending without a word about the reason."""
    with pytest.raises(RehearsalError, match="/16"):
        rehearsal.nodes_of("a", [site("a", ["10.244.0.0/24"], pool("x", 1))])


def test_a_cluster_without_a_site_still_has_a_system_node() -> None:
    """A bank with public sites alone would have no gateway."""
    nodes = rehearsal.nodes_of("home", [])

    assert [node.name for node in nodes] == ["home-system"]


def test_tolerated_taints_are_on_the_nodes() -> None:
    """A missing toleration would only be found in the data centre."""
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    nodes = rehearsal.nodes_of(
        "a", [site("a", ["10.244.0.0/16"], pool("x", 1, tolerations=tolerations))]
    )

    assert [(taint.key, taint.effect) for taint in nodes[1].taints] == [
        ("nvidia.com/gpu", "NoSchedule")
    ]
