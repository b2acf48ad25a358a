"""Which pods should a Deployment or StatefulSet have, and what does its status say?

Pure: the workload and its pods in, the next step out. A step only goes as far as its own rules
allow now; the next change brings the next step, and a workload that is as it should be gets an
empty one.

RULES
- RollingUpdate never has more than `replicas + maxSurge` pods and never takes away a ready pod
  below `replicas - maxUnavailable`. Recreate starts nothing while an old pod is there.
- A StatefulSet has at most one pod of each name; it goes up in order and is updated from the
  highest ordinal down, one at a time. `Parallel` starts and ends without waiting, and updates in
  order too.
- A pod that failed for good counts as a pod: another from the same template would fail as well.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from demarc.api.cluster import Manifest
from demarc.local import scheduler

HASH_LABEL: Final = "pod-template-hash"
REVISION_LABEL: Final = "controller-revision-hash"
_POD_NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
_POD_INDEX_LABEL: Final = "apps.kubernetes.io/pod-index"
_CLAIM_MARK: Final = "PersistentVolumeClaim"

DEPLOYMENT_FIELDS: Final = frozenset(
    {
        "replicas", "selector", "template", "strategy", "revisionHistoryLimit",
        "progressDeadlineSeconds",
    }
)  # fmt: skip
STATEFUL_SET_FIELDS: Final = frozenset(
    {
        "replicas", "selector", "template", "serviceName", "updateStrategy", "podManagementPolicy",
        "volumeClaimTemplates", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now for one workload.

    Attributes:
        create: manifests of pods, and of the claims that a StatefulSet's pods need.
        delete: pods, as they were read.
        status: without `conditions`' transition times.
    """

    create: tuple[Manifest, ...]
    delete: tuple[Manifest, ...]
    status: Mapping[str, Any]


def is_ready(pod: Manifest) -> bool:
    """Whether the pod's condition `Ready` is true."""
    conditions: Sequence[Mapping[str, Any]] = (pod.get("status") or {}).get("conditions") or ()
    return any(row["type"] == "Ready" and row["status"] == "True" for row in conditions)


def is_ending(pod: Manifest) -> bool:
    """Whether the pod has been deleted and its processes have not ended yet."""
    return "deletionTimestamp" in pod["metadata"]


def template_hash(workload: Manifest) -> str:
    """Ten hexadecimal digits that change with the pod template."""
    spec = workload["spec"]
    text = json.dumps([spec["template"], spec.get("volumeClaimTemplates")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def unknown_fields(workload: Manifest) -> tuple[str, ...]:
    """Paths of fields of the workload's spec that nothing here reads, sorted."""
    known = DEPLOYMENT_FIELDS if workload["kind"] == "Deployment" else STATEFUL_SET_FIELDS
    return tuple(sorted(f"spec.{name}" for name in workload["spec"] if name not in known))


def owned(workload: Manifest, pods: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """The pods that this workload controls."""
    uid = workload["metadata"]["uid"]
    return tuple(
        pod
        for pod in pods
        if any(ref["uid"] == uid for ref in pod["metadata"].get("ownerReferences") or ())
    )


def deployment(workload: Manifest, pods: Sequence[Manifest], *, suffix: Callable[[], str]) -> Step:
    """The next step of a Deployment.

    Args:
        workload: the Deployment.
        pods: those that it owns.
        suffix: five characters that no other pod name has yet.
    """
    spec: Mapping[str, Any] = workload["spec"]
    desired = int(spec.get("replicas", 1))
    digest = template_hash(workload)
    staying = [pod for pod in pods if not is_ending(pod)]
    new = [pod for pod in staying if pod["metadata"]["labels"].get(HASH_LABEL) == digest]
    old = [pod for pod in staying if pod not in new]
    strategy: Mapping[str, Any] = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        ending_old = [
            pod
            for pod in pods
            if is_ending(pod) and pod["metadata"]["labels"].get(HASH_LABEL) != digest
        ]
        missing = 0 if old or ending_old else max(desired - len(new), 0)
        delete = old
    else:
        missing, delete = _rolling(desired, new, old, strategy.get("rollingUpdate") or {})
    delete = delete + _surplus(new, len(new) - desired)
    create = tuple(
        _pod(workload, f"{workload['metadata']['name']}-{digest}-{suffix()}", {HASH_LABEL: digest})
        for _ in range(missing)
    )
    return Step(create, tuple(delete), _deployment_status(workload, staying, new, old))


def _rolling(
    desired: int, new: list[Manifest], old: list[Manifest], limits: Mapping[str, Any]
) -> tuple[int, list[Manifest]]:
    """How many pods to add, and which old ones may go."""
    surge = scheduler.share(limits.get("maxSurge", "25%"), desired, round_up=True)
    unavailable = scheduler.share(limits.get("maxUnavailable", "25%"), desired, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # both round to zero: then nothing could ever move
    total = len(new) + len(old)
    missing = max(min(desired - len(new), desired + surge - total), 0)
    least = desired - unavailable
    ready = sum(map(is_ready, new + old))
    new_unready = sum(not is_ready(pod) for pod in new)
    # an old pod that is not ready serves nobody: it goes first, and without waiting for a ready one
    idle = [pod for pod in old if not is_ready(pod)]
    idle = idle[: max(total - least - new_unready, 0)]
    serving = [pod for pod in old if is_ready(pod)]
    return missing, idle + serving[: max(ready - least, 0)]


def _surplus(pods: list[Manifest], count: int) -> list[Manifest]:
    """Pods to take away: first those that are not ready, then the youngest."""
    youngest_first = sorted(
        pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True
    )
    order = sorted(youngest_first, key=is_ready)
    return order[: max(count, 0)]


def _deployment_status(
    workload: Manifest, staying: list[Manifest], new: list[Manifest], old: list[Manifest]
) -> Mapping[str, Any]:
    spec = workload["spec"]
    desired = int(spec.get("replicas", 1))
    limits: Mapping[str, Any] = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    least = desired - scheduler.share(limits.get("maxUnavailable", "25%"), desired, round_up=False)
    ready = sum(map(is_ready, staying))
    done = len(new) >= desired and not old and ready >= desired
    enough = ready >= least
    return {
        "observedGeneration": workload["metadata"].get("generation", 1),
        "replicas": len(staying),
        "updatedReplicas": len(new),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(desired - ready, 0),
        "conditions": [
            {
                "type": "Available",
                "status": "True" if enough else "False",
                "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
                "message": "Deployment has minimum availability"
                if enough
                else "Deployment does not have minimum availability",
            },
            {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
                "message": "All pods are of the current template and ready"
                if done
                else "Pods of the current template are coming up",
            },
        ],
    }


def stateful_set(workload: Manifest, pods: Sequence[Manifest]) -> Step:
    """The next step of a StatefulSet; `pods` are those that it owns."""
    spec: Mapping[str, Any] = workload["spec"]
    name = str(workload["metadata"]["name"])
    desired = int(spec.get("replicas", 1))
    revision = template_hash(workload)
    by_name = {str(pod["metadata"]["name"]): pod for pod in pods}
    parallel = spec.get("podManagementPolicy") == "Parallel"
    wanted = [f"{name}-{ordinal}" for ordinal in range(desired)]
    create: list[Manifest] = []
    delete: list[Manifest] = []
    settled = True  # whether all pods so far are ready, so that the next may be touched
    for pod_name in wanted:
        pod = by_name.get(pod_name)
        if pod is None and (settled or parallel):
            create += _stateful_pod(workload, pod_name, revision)
        settled = settled and pod is not None and is_ready(pod) and not is_ending(pod)
    beyond = sorted(
        (pod for pod_name, pod in by_name.items() if pod_name not in wanted),
        key=_ordinal,
        reverse=True,
    )
    if parallel:
        delete += [pod for pod in beyond if not is_ending(pod)]
    elif beyond and not is_ending(beyond[0]):
        delete.append(beyond[0])
    if not beyond and not create:
        delete += _next_update(
            spec, [by_name[item] for item in wanted if item in by_name], revision
        )
    return Step(tuple(create), tuple(delete), _stateful_status(workload, pods, revision))


def _next_update(spec: Mapping[str, Any], pods: list[Manifest], revision: str) -> list[Manifest]:
    """The one pod to replace now: the highest old one, once all above it are ready."""
    strategy: Mapping[str, Any] = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    partition = int((strategy.get("rollingUpdate") or {}).get("partition", 0))
    for pod in sorted(pods, key=_ordinal, reverse=True):
        if _ordinal(pod) < partition or is_ending(pod):
            return []
        if pod["metadata"]["labels"].get(REVISION_LABEL) != revision:
            return [pod]
        if not is_ready(pod):
            return []
    return []


def _ordinal(pod: Manifest) -> int:
    return int(str(pod["metadata"]["name"]).rpartition("-")[2])


def _stateful_status(
    workload: Manifest, pods: Sequence[Manifest], revision: str
) -> Mapping[str, Any]:
    staying = [pod for pod in pods if not is_ending(pod)]
    updated = [pod for pod in staying if pod["metadata"]["labels"].get(REVISION_LABEL) == revision]
    ready = sum(map(is_ready, staying))
    desired = int(workload["spec"].get("replicas", 1))
    before = str((workload.get("status") or {}).get("currentRevision", revision))
    name = str(workload["metadata"]["name"])
    complete = len(updated) == len(staying) == desired and ready == desired
    current = f"{name}-{revision}" if complete else before
    return {
        "observedGeneration": workload["metadata"].get("generation", 1),
        "replicas": len(staying),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "updatedReplicas": len(updated),
        "currentReplicas": len(updated) if complete else len(staying) - len(updated),
        "currentRevision": current,
        "updateRevision": f"{name}-{revision}",
    }


def _stateful_pod(workload: Manifest, pod_name: str, revision: str) -> list[Manifest]:
    labels = {
        REVISION_LABEL: revision,
        _POD_NAME_LABEL: pod_name,
        _POD_INDEX_LABEL: pod_name.rpartition("-")[2],
    }
    pod = dict(_pod(workload, pod_name, labels))
    templates: Sequence[Mapping[str, Any]] = workload["spec"].get("volumeClaimTemplates") or ()
    claims: list[Manifest] = []
    volumes: list[Mapping[str, Any]] = list(pod["spec"].get("volumes") or ())
    for template in templates:
        volume = str(template["metadata"]["name"])
        claim = f"{volume}-{pod_name}"
        volumes = [row for row in volumes if row["name"] != volume]
        volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
        claims.append(
            {
                "apiVersion": "v1",
                "kind": _CLAIM_MARK,
                "metadata": {
                    "name": claim,
                    "namespace": workload["metadata"]["namespace"],
                    "labels": dict(workload["spec"]["selector"].get("matchLabels") or {}),
                },
                "spec": template.get("spec") or {},
            }
        )
    if volumes:
        pod["spec"] = {**pod["spec"], "volumes": volumes}
    return [*claims, pod]


def _pod(workload: Manifest, name: str, labels: Mapping[str, str]) -> Manifest:
    template: Mapping[str, Any] = workload["spec"]["template"]
    metadata: Mapping[str, Any] = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": workload["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [
                {
                    "apiVersion": workload["apiVersion"],
                    "kind": workload["kind"],
                    "name": workload["metadata"]["name"],
                    "uid": workload["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": dict(template["spec"]),
    }
