"""What do pods and workloads tell about one placement? Facts for the report, read from objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from demarc.api.cluster import Manifest
from demarc.api.reasons import ReadyReason
from demarc.planning.objects import status_of

DIGEST_MISMATCH_EXIT: Final = 3
"""Exit status of `demarc model verify` when the folder is not the one that was named."""
PRECISION_MISMATCH_EXIT: Final = 4
"""Exit status of `demarc model verify` when the checkpoint has another number format."""
FOLDER_MISSING_EXIT: Final = 5
"""Exit status of `demarc model verify` when there is no such folder."""

_EXITS: Final[Mapping[int, tuple[ReadyReason, str]]] = {
    DIGEST_MISMATCH_EXIT: (
        ReadyReason.DIGEST_MISMATCH,
        "the model folder is not the one that spec.model.digest names",
    ),
    PRECISION_MISMATCH_EXIT: (
        ReadyReason.PRECISION_MISMATCH,
        "the checkpoint's number format is not spec.engine.precision",
    ),
    FOLDER_MISSING_EXIT: (
        ReadyReason.VOLUME_NOT_FOUND,
        "the claim has no folder as spec.model.source names it",
    ),
}
_IMAGE_WAITS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ImageNotAvailableLocally"}
)


@dataclass(frozen=True, slots=True)
class Serving:
    """How far one placement's pods are.

    Attributes:
        wanted: replicas of the workload.
        ready: replicas of the current template that are ready.
        serving: whether any replica, of any template, is ready.
        trouble: why the pods are not ready, if they say so.
    """

    wanted: int
    ready: int
    serving: bool
    trouble: tuple[ReadyReason, str] | None


def serving(workload: Manifest | None, pods: Iterable[Manifest]) -> Serving:
    """Facts of a Deployment and its pods.

    A status that speaks of an older generation of the workload counts as nothing ready.
    """
    if workload is None:
        return Serving(0, 0, serving=False, trouble=None)
    status = status_of(workload)
    wanted = int(workload["spec"].get("replicas", 1))
    fresh = status.get("observedGeneration") == workload["metadata"].get("generation")
    current = min(int(status.get("updatedReplicas", 0)), int(status.get("readyReplicas", 0)))
    surplus = int(status.get("replicas", 0)) - int(status.get("updatedReplicas", 0))
    ready = 0 if not fresh else max(0, current - max(0, surplus if current < wanted else 0))
    troubles = sorted(
        (found for pod in pods if (found := _trouble(pod)) is not None),
        key=lambda found: (found[0].value, found[1]),
    )
    return Serving(
        wanted,
        ready,
        serving=int(status.get("readyReplicas", 0)) > 0,
        trouble=troubles[0] if troubles else None,
    )


def _trouble(pod: Manifest) -> tuple[ReadyReason, str] | None:
    status = status_of(pod)
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return ReadyReason.UNSCHEDULABLE, _clean(condition.get("message", "no node fits"))
    if status.get("reason") == "VolumeNotFound":
        return ReadyReason.VOLUME_NOT_FOUND, _clean(status.get("message", ""))
    for container in status.get("initContainerStatuses", ()):
        if container.get("name") == "check":
            code = _exit_code(container)
            if code is not None and code in _EXITS:
                return _EXITS[code]
    for container in (
        *status.get("initContainerStatuses", ()),
        *status.get("containerStatuses", ()),
    ):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _IMAGE_WAITS:
            return ReadyReason.IMAGE_UNAVAILABLE, _clean(waiting.get("message", ""))
        if waiting.get("reason") == "CrashLoopBackOff":
            return (
                ReadyReason.ENGINE_FAILED,
                f"container `{container['name']}` ends again and again",
            )
    return None


def _exit_code(container: Mapping[str, Any]) -> int | None:
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        terminated = state.get("terminated")
        if terminated is not None:
            return int(terminated.get("exitCode", 0))
    return None


def _clean(message: str) -> str:
    text = " ".join(str(message).split()).rstrip(".")
    return text[:512] or "no message"
