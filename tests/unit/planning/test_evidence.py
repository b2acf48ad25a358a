"""Is it said why a placement does not serve, and only as much as the objects say?"""

from __future__ import annotations

from typing import Any

import pytest

from demarc.api.reasons import ReadyReason
from demarc.planning import evidence


def workload(*, generation: int = 2, **status: int) -> dict[str, Any]:
    """A Deployment of two replicas whose status speaks of generation 2."""
    return {
        "metadata": {"generation": generation},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, **status},
    }


def pod(**status: Any) -> dict[str, Any]:
    """A pod with this status."""
    return {"status": status}


def check_ended(code: int) -> dict[str, Any]:
    """A pod whose container `check` ended with a status."""
    return pod(
        initContainerStatuses=[
            {
                "name": "check",
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": code}},
            }
        ]
    )


def unscheduled(message: str) -> dict[str, Any]:
    """A pod that no node takes."""
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "message": message}])


def waiting(reason: str) -> dict[str, Any]:
    """A pod whose container waits."""
    return pod(containerStatuses=[{"name": "triton", "state": {"waiting": {"reason": reason}}}])


@pytest.mark.parametrize(
    "status, want_ready",
    [
        ({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, 2),
        ({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}, 1),
        ({"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}, 0),
        ({}, 0),
    ],
)
def test_only_pods_of_the_current_template_count(status: dict[str, int], want_ready: int) -> None:
    """A rollout that hangs would be told as Ready by its old pods."""
    assert want_ready == evidence.serving(workload(**status), ()).ready


def test_a_status_of_an_older_generation_counts_as_nothing_ready() -> None:
    """`kubectl wait` would return before a change has begun."""
    stale = workload(generation=3, replicas=2, updatedReplicas=2, readyReplicas=2)

    assert evidence.serving(stale, ()).ready == 0
    assert evidence.serving(stale, ()).serving


def test_no_workload_serves_nothing() -> None:
    """A placement that was not applied would be told as serving."""
    found = evidence.serving(None, ())

    assert (found.wanted, found.ready, found.serving, found.trouble) == (0, 0, False, None)


@pytest.mark.parametrize(
    "pods, want",
    [
        (check_ended(3), ReadyReason.DIGEST_MISMATCH),
        (check_ended(4), ReadyReason.PRECISION_MISMATCH),
        (check_ended(5), ReadyReason.VOLUME_NOT_FOUND),
        (check_ended(1), ReadyReason.ENGINE_FAILED),
        (unscheduled("0/4 nodes are available"), ReadyReason.UNSCHEDULABLE),
        (waiting("ImagePullBackOff"), ReadyReason.IMAGE_UNAVAILABLE),
        (waiting("CrashLoopBackOff"), ReadyReason.ENGINE_FAILED),
        (pod(reason="VolumeNotFound", message="claim x"), ReadyReason.VOLUME_NOT_FOUND),
    ],
)
def test_a_pod_tells_why_it_is_not_ready(pods: dict[str, Any], want: ReadyReason) -> None:
    """An operator would have to read logs to learn what is wrong."""
    trouble = evidence.serving(workload(), [pods]).trouble

    assert trouble is not None
    assert want is trouble[0]
    assert trouble[1]


def test_a_pod_that_starts_is_no_trouble() -> None:
    """A normal start would be told as a fault."""
    starting = pod(containerStatuses=[{"name": "triton", "state": {"running": {}}}])

    assert evidence.serving(workload(), [starting, pod()]).trouble is None
