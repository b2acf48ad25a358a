"""Does a pod's status say what its containers do, in the kubelet's words?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from demarc.local import pod_status, pods
from demarc.local.pod_status import ContainerState, Ended, Running, Waiting, Where
from demarc.local.pods import PodPlan, Refusal

NOW, EARLIER = "2026-01-01T12:00:00Z", "2026-01-01T11:00:00Z"
WHERE = Where("127.1.0.2", "127.1.0.1", EARLIER)
CREATED = ContainerState()
RUNS = ContainerState(Running(7, EARLIER))
STARTED = ContainerState(Running(7, EARLIER), started=True)
READY = ContainerState(Running(7, EARLIER), started=True, healthy=True)
DONE = ContainerState(Ended(0, EARLIER, NOW))
FAILED = ContainerState(Ended(3, EARLIER, NOW))
CRASHING = ContainerState(
    Waiting("CrashLoopBackOff", "back-off 1s"), Ended(3, EARLIER, NOW), restarts=2
)


def plan(policy: str = "Always") -> PodPlan:
    found = pods.parse(
        {
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {
                "restartPolicy": policy,
                "initContainers": [
                    {"name": "first", "image": "i"},
                    {"name": "agent", "image": "i", "restartPolicy": "Always"},
                ],
                "containers": [{"name": "main", "image": "i"}],
            },
        }
    )
    assert isinstance(found, PodPlan)
    return found


def status(
    first: ContainerState,
    agent: ContainerState,
    main: ContainerState,
    policy: str = "Always",
    before: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    states = {"first": first, "agent": agent, "main": main}
    pod = {"metadata": {"name": "p", "generation": 4}, "status": before or {}}
    return pod_status.render(plan(policy), states, WHERE, before=pod, now=NOW)


def conditions(found: Mapping[str, Any]) -> dict[str, str]:
    return {row["type"]: row["status"] for row in found["conditions"]}


@pytest.mark.parametrize(
    "first,agent,main,want",
    [
        (CREATED, CREATED, CREATED, ("Pending", "False", "False")),
        (RUNS, CREATED, CREATED, ("Pending", "False", "False")),
        (FAILED, CREATED, CREATED, ("Pending", "False", "False")),
        (DONE, RUNS, CREATED, ("Pending", "False", "False")),
        (DONE, READY, CREATED, ("Pending", "True", "False")),
        (DONE, READY, RUNS, ("Running", "True", "False")),
        (DONE, READY, STARTED, ("Running", "True", "False")),
        (DONE, READY, READY, ("Running", "True", "True")),
        (DONE, STARTED, READY, ("Running", "True", "False")),
        (DONE, FAILED, READY, ("Running", "True", "False")),
        (DONE, READY, CRASHING, ("Running", "True", "False")),
        (DONE, READY, DONE, ("Running", "True", "False")),
    ],
)
def test_phase_and_conditions_follow_from_the_containers(
    first: ContainerState, agent: ContainerState, main: ContainerState, want: tuple[str, str, str]
) -> None:
    found = status(first, agent, main)
    rows = conditions(found)

    assert want == (found["phase"], rows["Initialized"], rows["Ready"])
    assert rows["Ready"] == rows["ContainersReady"]
    assert "True" == rows["PodScheduled"]


@pytest.mark.parametrize(
    "policy,main,want",
    [
        ("Never", DONE, "Succeeded"),
        ("Never", FAILED, "Failed"),
        ("OnFailure", DONE, "Succeeded"),
        ("OnFailure", FAILED, "Running"),
        ("Always", FAILED, "Running"),
    ],
)
def test_the_restart_policy_says_when_a_pod_is_over(
    policy: str, main: ContainerState, want: str
) -> None:
    assert want == status(DONE, READY, main, policy)["phase"]


def test_a_container_status_tells_now_and_before() -> None:
    found = status(DONE, READY, CRASHING)

    assert [
        {
            "name": "main",
            "image": "i",
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": 2,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1s"}},
            "lastState": {
                "terminated": {
                    "exitCode": 3,
                    "reason": "Error",
                    "startedAt": EARLIER,
                    "finishedAt": NOW,
                }
            },
        }
    ] == found["containerStatuses"]
    assert [(True, None), (True, "process://7")] == [
        (row["ready"], row.get("containerID")) for row in found["initContainerStatuses"]
    ]


def test_what_is_not_ready_is_named() -> None:
    found = {row["type"]: row.get("message") for row in status(DONE, READY, RUNS)["conditions"]}

    assert "containers with unready status: [main]" == found["Ready"]
    assert None is found["Initialized"]


def test_a_condition_keeps_its_time_while_it_keeps_its_value() -> None:
    """The same truth must give the same bytes, or every look would write."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": EARLIER}
    found = status(DONE, READY, READY, before={"conditions": [ready]})
    times = {row["type"]: row["lastTransitionTime"] for row in found["conditions"]}

    assert (EARLIER, NOW) == (times["Ready"], times["Initialized"])
    assert found == status(DONE, READY, READY, before=found)


def test_a_process_that_ended_keeps_when_it_began() -> None:
    assert ContainerState(Ended(9, EARLIER, NOW)) == READY.ended(9, NOW)
    assert ContainerState(Ended(128, NOW, NOW)) == CREATED.ended(128, NOW)


def test_a_refused_pod_has_failed_and_says_why() -> None:
    before = {"metadata": {"name": "p"}}
    found = pod_status.refused(Refusal(("one", "two")), before=before, now=NOW)

    assert ("Failed", "one; two") == (found["phase"], found["message"])
    assert "False" == conditions(found)["Ready"]


def test_a_pod_that_no_node_takes_says_why() -> None:
    before = {"metadata": {"name": "p"}}
    found = pod_status.unschedulable("0/1 nodes", before=before, now=NOW)

    assert "Pending" == found["phase"]
    assert [("PodScheduled", "False", "Unschedulable", "0/1 nodes")] == [
        (row["type"], row["status"], row["reason"], row["message"]) for row in found["conditions"]
    ]
