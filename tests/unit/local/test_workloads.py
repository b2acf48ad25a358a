"""Do workloads converge, step by step, without ever breaking their own rules?

A small world stands in for the node: it takes each step, and hypothesis decides which pod becomes
ready, unready or gone next.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demarc.api.cluster import Manifest
from demarc.local import scheduler, workloads
from demarc.local.workloads import Step


def deployment(replicas: int = 2, version: str = "1", **spec: Any) -> dict[str, Any]:
    return workload("Deployment", replicas, version, **spec)


def stateful_set(replicas: int = 2, version: str = "1", **spec: Any) -> dict[str, Any]:
    return workload("StatefulSet", replicas, version, serviceName="w", **spec)


def workload(kind: str, replicas: int, version: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": "n", "name": "w", "uid": "w-uid", "generation": 3},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "w"}},
            "template": {
                "metadata": {"labels": {"app": "w"}, "annotations": {"version": version}},
                "spec": {"containers": [{"name": "main"}]},
            },
            **spec,
        },
    }


class World:
    """The pods of one workload, and what happens to them."""

    def __init__(self, current: dict[str, Any]) -> None:
        self.workload = current
        self.pods: dict[str, dict[str, Any]] = {}
        self.claims: list[str] = []
        self._numbers = itertools.count(1)

    def step(self) -> Step:
        """Take the next step; its creations and deletions happen."""
        mine = workloads.owned(self.workload, tuple(self.pods.values()))
        found = (
            workloads.deployment(self.workload, mine, suffix=lambda: f"{next(self._numbers):05d}")
            if self.workload["kind"] == "Deployment"
            else workloads.stateful_set(self.workload, mine)
        )
        for manifest in found.create:
            name = manifest["metadata"]["name"]
            if manifest["kind"] != "Pod":
                self.claims.append(name)
                continue
            assert name not in self.pods
            time = f"2026-01-01T00:00:{next(self._numbers):05d}Z"
            metadata = {**manifest["metadata"], "creationTimestamp": time}
            self.pods[name] = {**manifest, "metadata": metadata}
        for pod in found.delete:
            assert "deletionTimestamp" not in pod["metadata"]
            self.pods[pod["metadata"]["name"]]["metadata"]["deletionTimestamp"] = "now"
        return found

    def set_ready(self, name: str, *, ready: bool = True) -> None:
        row = {"type": "Ready", "status": "True" if ready else "False"}
        self.pods[name]["status"] = {"conditions": [row]}

    def settle(self) -> None:
        """Let everything become ready and gone until nothing moves."""
        for _ in range(200):
            found = self.step()
            if not found.create and not found.delete and len(self.ready) == len(self.pods):
                return
            for name, pod in list(self.pods.items()):
                if workloads.is_ending(pod):
                    del self.pods[name]
                else:
                    self.set_ready(name)
        raise AssertionError("it never settles")

    @property
    def staying(self) -> list[Manifest]:
        return [pod for pod in self.pods.values() if not workloads.is_ending(pod)]

    @property
    def ready(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.staying if workloads.is_ready(pod)]

    def versions(self) -> list[str]:
        return sorted(pod["metadata"]["annotations"]["version"] for pod in self.staying)


def names(manifests: Sequence[Manifest]) -> list[str]:
    return [item["metadata"]["name"] for item in manifests]


limits = st.sampled_from([0, 1, 2, "25%", "50%", "100%"])


@given(
    st.integers(1, 5),
    limits,
    limits,
    st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from(["ready", "gone", "step"])), max_size=40
    ),
)
def test_a_rolling_update_keeps_its_limits_whatever_happens_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, happenings: list[tuple[int, str]]
) -> None:
    """Ready pods of a settled Deployment never fall below the limit by the update's own doing."""
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = World(deployment(replicas, "1", strategy=rolling))
    world.settle()
    world.workload = deployment(replicas, "2", strategy=rolling)
    most = replicas + scheduler.share(surge, replicas, round_up=True)
    least = replicas - max(
        scheduler.share(unavailable, replicas, round_up=False), 0 if most > replicas else 1
    )
    for index, what in happenings:
        keys = sorted(world.pods)
        if what == "step" or not keys:
            world.step()
        else:
            name = keys[index % len(keys)]
            if workloads.is_ending(world.pods[name]):
                if what == "gone":
                    del world.pods[name]
            elif what == "ready":
                world.set_ready(name)

        assert len(world.staying) <= most
        assert len(world.ready) >= least
    world.settle()

    assert ["2"] * replicas == world.versions()


def test_both_limits_at_zero_still_move() -> None:
    none = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    world = World(deployment(2, "1", strategy=none))
    world.settle()
    world.workload = deployment(2, "2", strategy=none)
    world.settle()

    assert ["2", "2"] == world.versions()


def test_an_old_pod_that_is_not_ready_goes_without_waiting() -> None:
    """A broken template must not block its own repair."""
    one = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    world = World(deployment(1, "1", strategy=one))
    world.step()
    world.workload = deployment(1, "2", strategy=one)
    world.settle()

    assert ["2"] == world.versions()


def test_recreate_waits_for_the_last_old_process() -> None:
    world = World(deployment(2, "1", strategy={"type": "Recreate"}))
    world.settle()
    world.workload = deployment(2, "2", strategy={"type": "Recreate"})

    assert (0, 2) == (len((found := world.step()).create), len(found.delete))
    assert () == world.step().create

    first, second = sorted(world.pods)
    del world.pods[first]

    assert () == world.step().create

    del world.pods[second]

    assert 2 == len(world.step().create)


def test_a_scale_down_takes_unready_pods_first_then_the_youngest() -> None:
    world = World(deployment(3))
    world.step()
    oldest, middle, youngest = sorted(world.pods)
    world.set_ready(oldest)
    world.set_ready(youngest)
    world.workload = deployment(1)

    assert [middle, youngest] == names(world.step().delete)


def test_the_status_of_a_deployment_counts_what_is_there() -> None:
    world = World(deployment(2))
    world.step()
    first, _ = sorted(world.pods)
    world.set_ready(first)
    status = world.step().status

    assert {
        "observedGeneration": 3,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 1,
        "availableReplicas": 1,
        "unavailableReplicas": 1,
    } == {key: value for key, value in status.items() if key != "conditions"}
    assert [("Available", "False"), ("Progressing", "True")] == [
        (row["type"], row["status"]) for row in status["conditions"]
    ]


def test_a_pod_carries_labels_annotations_and_owner_of_its_template() -> None:
    world = World(deployment(1))
    (pod,) = world.step().create

    assert {"app": "w", "pod-template-hash": workloads.template_hash(world.workload)} == (
        pod["metadata"]["labels"]
    )
    assert {"version": "1"} == pod["metadata"]["annotations"]
    assert ["w-uid"] == [ref["uid"] for ref in pod["metadata"]["ownerReferences"]]


def test_a_stateful_set_goes_up_in_order() -> None:
    world = World(stateful_set(3))

    assert ["w-0"] == names(world.step().create)
    assert () == world.step().create

    world.set_ready("w-0")

    assert ["w-1"] == names(world.step().create)


def test_a_parallel_stateful_set_goes_up_at_once() -> None:
    world = World(stateful_set(3, podManagementPolicy="Parallel"))

    assert ["w-0", "w-1", "w-2"] == names(world.step().create)


def test_a_stateful_set_goes_down_from_the_top_one_at_a_time() -> None:
    world = World(stateful_set(3))
    world.settle()
    world.workload = stateful_set(1)

    assert ["w-2"] == names(world.step().delete)
    assert () == world.step().delete

    del world.pods["w-2"]

    assert ["w-1"] == names(world.step().delete)


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
def test_a_stateful_set_is_updated_from_the_top_one_at_a_time(policy: str) -> None:
    world = World(stateful_set(3, podManagementPolicy=policy))
    world.settle()
    world.workload = stateful_set(3, "2", podManagementPolicy=policy)
    order: list[str] = []
    for _ in range(20):
        order += names(world.step().delete)

        assert len([pod for pod in world.pods.values() if workloads.is_ending(pod)]) <= 1

        for name, pod in list(world.pods.items()):
            if workloads.is_ending(pod):
                del world.pods[name]
                break
            world.set_ready(name)

    assert ["w-2", "w-1", "w-0"] == order
    assert ["2", "2", "2"] == world.versions()


@pytest.mark.parametrize(
    "strategy,want",
    [
        ({"type": "OnDelete"}, []),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, ["w-1"]),
    ],
)
def test_an_update_strategy_can_hold_pods_back(strategy: dict[str, Any], want: list[str]) -> None:
    world = World(stateful_set(2, updateStrategy=strategy))
    world.settle()
    world.workload = stateful_set(2, "2", updateStrategy=strategy)

    assert want == names(world.step().delete)


def test_the_status_of_a_stateful_set_says_when_an_update_is_complete() -> None:
    world = World(stateful_set(1))
    world.settle()
    before = world.step().status
    world.workload = {**stateful_set(1, "2"), "status": before}
    during = world.step().status
    world.settle()
    after = world.step().status

    assert during["currentReplicas"] == 1
    assert before["currentRevision"] == before["updateRevision"] == during["currentRevision"]
    assert during["updateRevision"] != during["currentRevision"]
    assert after["currentRevision"] == after["updateRevision"] == during["updateRevision"]


def test_a_stateful_pod_has_a_claim_of_its_own() -> None:
    template = {"metadata": {"name": "record"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    world = World(stateful_set(1, volumeClaimTemplates=[template]))
    found = world.step()
    pod = found.create[-1]

    assert ["record-w-0"] == world.claims
    assert [{"name": "record", "persistentVolumeClaim": {"claimName": "record-w-0"}}] == (
        pod["spec"]["volumes"]
    )
    assert "w-0" == pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"]


def test_a_field_that_nothing_reads_is_named() -> None:
    assert ("spec.paused",) == workloads.unknown_fields(deployment(1, paused=True))
    assert ("spec.ordinals",) == workloads.unknown_fields(stateful_set(1, ordinals={"start": 1}))
    assert () == workloads.unknown_fields(deployment())


def test_only_pods_with_the_owners_uid_are_its_own() -> None:
    world = World(deployment(1))
    world.step()
    other = deployment(1)
    other["metadata"]["uid"] = "another"

    assert () == workloads.owned(other, tuple(world.pods.values()))
