"""Does a pod get a node that admits it, and a reason in the scheduler's words when none does?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.local import scheduler
from demarc.local.scheduler import NodeDescription, Placed, Taint, Unschedulable

GPU = "nvidia.com/gpu"
SYSTEM = NodeDescription("system", "127.9.0.0/24")
H100 = NodeDescription("h100-0", "127.9.1.0/24", {"gpu": "h100"}, (Taint(GPU, "yes"),), {GPU: 8})
SECOND = NodeDescription("h100-1", "127.9.2.0/24", {"gpu": "h100"}, (Taint(GPU, "yes"),), {GPU: 8})
NODES = (SYSTEM, H100, SECOND)
TOLERATES = [{"key": GPU, "operator": "Exists"}]


def pod(gpus: int = 0, on: str = "", phase: str = "", **spec: Any) -> dict[str, Any]:
    resources = {"limits": {GPU: str(gpus), "cpu": "900"}} if gpus else {}
    return {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [{"name": "main", "resources": resources}],
            **({"nodeName": on} if on else {}),
            **spec,
        },
        "status": {"phase": phase},
    }


def gpu_pod(gpus: int, **fields: Any) -> dict[str, Any]:
    return pod(gpus, nodeSelector={"gpu": "h100"}, tolerations=TOLERATES, **fields)


@pytest.mark.parametrize(
    "wanted,placed,want",
    [
        (pod(), [], "system"),
        (pod(tolerations=[{"operator": "Exists"}]), [], "system"),
        (gpu_pod(4), [], "h100-0"),
        (gpu_pod(4), [pod(4, on="h100-0")], "h100-1"),
        (gpu_pod(4), [pod(4, on="h100-0"), pod(8, on="h100-1")], "h100-0"),
        (gpu_pod(8), [pod(8, on="h100-0", phase="Failed"), pod(1, on="h100-1")], "h100-0"),
        (pod(nodeSelector={"kubernetes.io/hostname": "system"}), [], "system"),
    ],
)
def test_the_emptiest_node_that_admits_the_pod_gets_it(
    wanted: dict[str, Any], placed: list[dict[str, Any]], want: str
) -> None:
    assert Placed(want) == scheduler.place(wanted, NODES, placed)


@pytest.mark.parametrize(
    "wanted,placed,want",
    [
        (
            gpu_pod(4),
            [pod(8, on="h100-0"), pod(6, on="h100-1")],
            (
                "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector,"
                " 2 Insufficient nvidia.com/gpu."
            ),
        ),
        (
            pod(1),
            [],
            (
                "0/3 nodes are available: 1 Insufficient nvidia.com/gpu,"
                " 2 node(s) had untolerated taint(s)."
            ),
        ),
        (
            pod(nodeSelector={"gpu": "l40s"}, tolerations=TOLERATES),
            [],
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            pod(on="other"),
            [],
            "0/3 nodes are available: 3 node(s) didn't match the requested node name.",
        ),
    ],
)
def test_the_message_counts_why_no_node_admits_it(
    wanted: dict[str, Any], placed: list[dict[str, Any]], want: str
) -> None:
    assert Unschedulable(want) == scheduler.place(wanted, NODES, placed)


@pytest.mark.parametrize(
    "toleration,want",
    [
        ({"operator": "Exists"}, True),
        ({"key": GPU, "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": GPU, "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": GPU, "value": "yes"}, True),
        ({"key": GPU, "operator": "Equal", "value": "no"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_taint_is_tolerated_as_kubernetes_says(toleration: dict[str, Any], *, want: bool) -> None:
    found = scheduler.place(pod(tolerations=[toleration]), (H100,), ())

    assert want == isinstance(found, Placed)


def test_a_preference_against_a_node_is_no_obstacle() -> None:
    node = NodeDescription("n", "127.9.0.0/24", taints=(Taint("x", effect="PreferNoSchedule"),))

    assert Placed("n") == scheduler.place(pod(), (node,), ())


def test_init_containers_take_turns_and_sidecars_add_up() -> None:
    def container(gpus: int, **fields: Any) -> dict[str, Any]:
        return {"resources": {"requests": {GPU: gpus}}, **fields}

    spec = {
        "initContainers": [
            container(1, restartPolicy="Always"),
            container(5),
            container(2),
        ],
        "containers": [container(2), container(1)],
    }

    assert {GPU: 6} == scheduler.requests({"spec": spec})


@given(st.lists(st.integers(1, 4), max_size=12))
def test_no_node_is_ever_overbooked(sizes: list[int]) -> None:
    """Whatever comes, the pods of a node ask for no more than it has."""
    placed: list[dict[str, Any]] = []
    for size in sizes:
        match scheduler.place(gpu_pod(size), NODES, placed):
            case Placed(node):
                placed.append(pod(size, on=node))
            case Unschedulable():
                pass
    for node in NODES:
        held = sum(
            scheduler.requests(item)[GPU]
            for item in placed
            if item["spec"]["nodeName"] == node.name
        )

        assert held <= node.resources.get(GPU, 0)
    refused = len(sizes) - len(placed)

    assert refused == 0 or sum(sizes) > 16 - 2 * 3


@pytest.mark.parametrize(
    "value,want", [(1, (1, 1)), ("25%", (1, 0)), ("50%", (2, 1)), ("100%", (3, 3)), (0, (0, 0))]
)
def test_a_share_rounds_in_the_direction_that_kubernetes_takes(
    value: int | str, want: tuple[int, int]
) -> None:
    found = (
        scheduler.share(value, 3, round_up=True),
        scheduler.share(value, 3, round_up=False),
    )

    assert want == found
