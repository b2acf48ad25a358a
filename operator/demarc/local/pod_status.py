"""What does a pod's status say? A function of its containers' states, worded as the kubelet's.

RULES
- A container is ready when it runs, its startup probe has passed and its readiness probe holds.
- A pod is ready when all its main containers and sidecars are.
- The same truth gives the same status: a condition keeps its time while it keeps its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, assert_never

from demarc.api.cluster import Manifest
from demarc.local.pods import Container, PodPlan, Refusal, Role

REFUSED = "PodRefusedLocally"
"""`status.reason` of a pod that this machine can never run."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """It does not run yet, or not now."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """It runs."""

    pid: int
    since: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It ran, and will not again unless its restart policy says so."""

    code: int
    started: str
    finished: str


State: TypeAlias = Waiting | Running | Ended


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container now.

    Attributes:
        state: what it does.
        last: how it ended the time before.
        restarts: how often it was started again.
        started: its startup probe has passed.
        healthy: its readiness probe holds, or it has none.
    """

    state: State = Waiting("ContainerCreating")
    last: Ended | None = None
    restarts: int = 0
    started: bool = False
    healthy: bool = False

    @property
    def ready(self) -> bool:
        """Whether it takes part in the pod's readiness."""
        return isinstance(self.state, Running) and self.started and self.healthy

    def ended(self, code: int, now: str) -> ContainerState:
        """The same container after its process has ended."""
        since = self.state.since if isinstance(self.state, Running) else now
        return replace(self, state=Ended(code, since, now), started=False, healthy=False)


@dataclass(frozen=True, slots=True)
class Where:
    """Where a pod was put."""

    address: str
    host: str
    started: str


def render(
    plan: PodPlan,
    states: Mapping[str, ContainerState],
    where: Where,
    *,
    before: Manifest,
    now: str,
) -> Mapping[str, Any]:
    """The status of a pod that is on a node.

    Args:
        plan: its containers.
        states: container name -> state; all of them.
        where: its addresses and the time when the node took it.
        before: the pod as it is stored: conditions keep their times from there.
        now: RFC 3339 with seconds.
    """
    first = [item for item in plan.containers if item.role is not Role.MAIN]
    main = [item for item in plan.containers if item.role is Role.MAIN]
    begun = any(_has_begun(states[item.name]) for item in main)
    initialised = begun or all(_is_initialised(item, states[item.name]) for item in first)
    unready = [
        item.name
        for item in plan.containers
        if item.role is not Role.INIT and not states[item.name].ready
    ]
    ready = initialised and not unready
    not_ready = {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(unready)}]",
    }
    open_ones = {} if initialised else _not_done(first, states)
    conditions = (
        _condition("PodScheduled", value=True),
        _condition("Initialized", value=initialised, **open_ones),
        _condition("ContainersReady", value=ready, **({} if ready else not_ready)),
        _condition("Ready", value=ready, **({} if ready else not_ready)),
    )
    return {
        "phase": _phase(plan, main, states, begun=begun),
        "conditions": keep_times(conditions, before, now),
        "hostIP": where.host,
        "podIP": where.address,
        "podIPs": [{"ip": where.address}],
        "startTime": where.started,
        "qosClass": "BestEffort",
        "observedGeneration": before["metadata"].get("generation", 1),
        **({"initContainerStatuses": _statuses(first, states)} if first else {}),
        "containerStatuses": _statuses(main, states),
    }


def refused(refusal: Refusal, *, before: Manifest, now: str) -> Mapping[str, Any]:
    """The status of a pod that this machine can never run."""
    conditions = (
        _condition("PodScheduled", value=True),
        _condition("Ready", value=False, reason=REFUSED, message=refusal.message),
    )
    return {
        "phase": "Failed",
        "reason": REFUSED,
        "message": refusal.message,
        "conditions": keep_times(conditions, before, now),
    }


def unschedulable(message: str, *, before: Manifest, now: str) -> Mapping[str, Any]:
    """The status of a pod that no node takes now."""
    condition = _condition("PodScheduled", value=False, reason="Unschedulable", message=message)
    return {"phase": "Pending", "conditions": keep_times((condition,), before, now)}


def keep_times(
    conditions: Sequence[Mapping[str, Any]], before: Manifest, now: str
) -> list[Mapping[str, Any]]:
    """Conditions with `lastTransitionTime`: the earlier one where the status is the same."""
    earlier = {row["type"]: row for row in (before.get("status") or {}).get("conditions") or ()}
    kept: list[Mapping[str, Any]] = []
    for row in conditions:
        known = earlier.get(row["type"], {})
        same = known.get("status") == row["status"]
        kept.append({**row, "lastTransitionTime": known["lastTransitionTime"] if same else now})
    return kept


def _condition(kind: str, *, value: bool, **words: str) -> Mapping[str, Any]:
    return {"type": kind, "status": "True" if value else "False", **words}


def _is_initialised(container: Container, state: ContainerState) -> bool:
    if container.role is Role.SIDECAR:
        return state.started
    return isinstance(state.state, Ended) and state.state.code == 0


def _not_done(first: Sequence[Container], states: Mapping[str, ContainerState]) -> dict[str, str]:
    open_ones = [item.name for item in first if not _is_initialised(item, states[item.name])]
    return {
        "reason": "ContainersNotInitialized",
        "message": f"containers with incomplete status: [{' '.join(open_ones)}]",
    }


def _phase(
    plan: PodPlan,
    main: Sequence[Container],
    states: Mapping[str, ContainerState],
    *,
    begun: bool,
) -> str:
    ends = [states[item.name].state for item in main]
    codes = [end.code for end in ends if isinstance(end, Ended)]
    over = len(codes) == len(main) and plan.restart_policy != "Always"
    if over and (plan.restart_policy == "Never" or not any(codes)):
        return "Failed" if any(codes) else "Succeeded"
    return "Running" if begun else "Pending"


def _has_begun(state: ContainerState) -> bool:
    return isinstance(state.state, Running | Ended) or state.restarts > 0


def _statuses(
    containers: Sequence[Container], states: Mapping[str, ContainerState]
) -> list[Mapping[str, Any]]:
    return [_status(container, states[container.name]) for container in containers]


def _status(container: Container, state: ContainerState) -> Mapping[str, Any]:
    done = container.role is Role.INIT and isinstance(state.state, Ended) and state.state.code == 0
    status: dict[str, Any] = {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": done or state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": _words(state.state),
        "lastState": _words(state.last) if state.last else {},
    }
    if isinstance(state.state, Running):
        status["containerID"] = f"process://{state.state.pid}"
    return status


def _words(state: State) -> Mapping[str, Any]:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        case Running(_, since):
            return {"running": {"startedAt": since}}
        case Ended(code, started, finished):
            return {
                "terminated": {
                    "exitCode": code,
                    "reason": "Error" if code else "Completed",
                    "startedAt": started,
                    "finishedAt": finished,
                }
            }
        case _:
            assert_never(state)
