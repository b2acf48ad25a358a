"""Which node does a pod run on? The one that admits it and has most left of what it asks for.

RULES
- A node is ruled out by the first of: its name, its taints, its labels; then by every resource that
  is short, all of them named.
- cpu, memory, storage and huge pages are not counted: they are not enforced on one machine.
- A pod holds its resources until it is gone; one that is ending still holds them.
- The message is worded as kube-scheduler's, and the same truth gives the same text.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from demarc.api.cluster import Manifest

_NOT_COUNTED: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_PODS_PER_NODE: Final = 253  # addresses of a /24 without network, node and broadcast
_KEEPING_AWAY: Final = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class Taint:
    """What a pod must tolerate."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """A node as it is simulated.

    Attributes:
        name: as in a cluster: `h100-0`.
        block: loopback network of its pods, a /24 of 127/8: `127.20.1.0/24`.
        labels: what nodeSelectors match; `kubernetes.io/hostname` is added.
        taints: what pods must tolerate.
        resources: extended resources: `{"nvidia.com/gpu": 8}`.
    """

    name: str
    block: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: tuple[Taint, ...] = ()
    resources: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class Placed:
    """The name of the node."""

    node: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node admits the pod; the message counts why."""

    message: str


def requests(pod: Manifest) -> Mapping[str, int]:
    """Extended resources that a pod holds: init containers in turn, sidecars and main together."""
    spec: Mapping[str, Any] = pod["spec"]
    running: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in spec.get("initContainers") or ():
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            running += asked
            peak |= running
        else:
            peak |= running + asked
    for container in spec.get("containers") or ():
        running += _asked(container)
    return peak | running


def _asked(container: Mapping[str, Any]) -> Counter[str]:
    resources: Mapping[str, Any] = container.get("resources") or {}
    # a limit without a request is a request
    amounts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return Counter(
        {
            name: int(amount)
            for name, amount in amounts.items()
            if name not in _NOT_COUNTED and not name.startswith("hugepages-")
        }
    )


def place(
    pod: Manifest, nodes: Sequence[NodeDescription], pods: Iterable[Manifest]
) -> Placed | Unschedulable:
    """Choose a node for a pod.

    Args:
        pod: not placed yet.
        nodes: all there are.
        pods: those that are placed; ended ones hold nothing.
    """
    held: dict[str, Counter[str]] = {node.name: Counter() for node in nodes}
    count: Counter[str] = Counter()
    for other in pods:
        on = str(other["spec"].get("nodeName", ""))
        if on in held and (other.get("status") or {}).get("phase") not in _ENDED:
            held[on] += Counter(requests(other))
            count[on] += 1
    wanted = requests(pod)
    reasons: Counter[str] = Counter()
    fitting: list[NodeDescription] = []
    for node in nodes:
        against = tuple(_against(pod, node, wanted, held[node.name]))
        if not against and count[node.name] >= _PODS_PER_NODE:
            against = ("Too many pods",)
        reasons.update(against)
        if not against:
            fitting.append(node)
    if not fitting:
        return Unschedulable(_message(len(nodes), reasons))
    return Placed(min(fitting, key=lambda node: _load(node, wanted, held, count)).name)


def _load(
    node: NodeDescription,
    wanted: Mapping[str, int],
    held: Mapping[str, Counter[str]],
    count: Mapping[str, int],
) -> tuple[float, int, int, str]:
    shares = (held[node.name][name] / max(node.resources[name], 1) for name in wanted)
    # what asks for nothing special stays off the nodes that have it
    special = sum(node.resources.values()) if not wanted else 0
    return max(shares, default=0.0), special, count.get(node.name, 0), node.name


def _against(
    pod: Manifest, node: NodeDescription, wanted: Mapping[str, int], held: Mapping[str, int]
) -> Iterator[str]:
    spec: Mapping[str, Any] = pod["spec"]
    if spec.get("nodeName") and spec["nodeName"] != node.name:
        yield "node(s) didn't match the requested node name"
        return
    if any(not _tolerated(taint, spec.get("tolerations") or ()) for taint in node.taints):
        yield "node(s) had untolerated taint(s)"
        return
    labels = {"kubernetes.io/hostname": node.name, **node.labels}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        yield "node(s) didn't match Pod's node affinity/selector"
        return
    for name, amount in wanted.items():
        if held.get(name, 0) + amount > node.resources.get(name, 0):
            yield f"Insufficient {name}"


def _tolerated(taint: Taint, tolerations: Iterable[Mapping[str, Any]]) -> bool:
    if taint.effect not in _KEEPING_AWAY:
        return True
    return any(
        row.get("effect", taint.effect) in {taint.effect, ""}
        and row.get("key", taint.key) in {taint.key, ""}
        and (
            row.get("operator") == "Exists"
            or (row.get("operator", "Equal") == "Equal" and row.get("value", "") == taint.value)
        )
        for row in tolerations
    )


def _message(total: int, reasons: Mapping[str, int]) -> str:
    parts = sorted(f"{count} {reason}" for reason, count in reasons.items())
    return f"0/{total} nodes are available: {', '.join(parts)}."


def share(value: Any, total: int, *, round_up: bool) -> int:
    """An integer or a percentage of `total`, as `maxSurge` and `maxUnavailable` have it."""
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * total / 100
        return math.ceil(exact) if round_up else math.floor(exact)
    return int(value)
