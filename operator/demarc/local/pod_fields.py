"""Which fields of a pod does a node on one machine know, and which of them does it not enforce?

RULES
- A field outside this table makes the pod fail: what a cluster would do and this node would not
  must never pass in silence.
- `NOT_ENFORCED_LOCALLY` lists what is known and has no effect here; it is printed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

NOT_ENFORCED_LOCALLY: Final[Mapping[str, str]] = {
    "NetworkPolicy": "all processes of the machine share one network",
    "PodDisruptionBudget": "nothing evicts pods here",
    "securityContext": "processes run as the user who started the node",
    "resources.cpu, memory, ephemeral-storage, hugepages": "only extended resources are counted",
    "volumeMounts.readOnly": "volumes are folders that the user can write to",
    "emptyDir.sizeLimit, emptyDir.medium": "an emptyDir is a folder, and /dev/shm is the machine's",
    "imagePullPolicy, imagePullSecrets": "images are programs of this machine",
    "terminationMessagePath, terminationMessagePolicy": "the log file says it",
    "hostname, subdomain, dnsPolicy": "there is no cluster DNS",
    "priorityClassName, runtimeClassName": "there is one scheduler queue and one runtime",
    "shareProcessNamespace": "all processes of the user see each other",
}
"""What stands for -> why it has no effect on this machine."""


@dataclass(frozen=True, slots=True)
class _Each:
    """A list of objects with these fields; `key` names an item in messages."""

    fields: _Fields
    key: str = "name"


_Fields: TypeAlias = Mapping[str, "Mapping[str, Any] | _Each | None"]
"""Field -> its own fields, or None: the whole subtree is known."""


def _known(*names: str) -> _Fields:
    return dict.fromkeys(names)


_HTTP_GET: Final[_Fields] = _known("path", "port", "host", "scheme", "httpHeaders")
_EXEC: Final[_Fields] = _known("command")
_PROBE: Final[_Fields] = {
    "httpGet": _HTTP_GET,
    "tcpSocket": _known("port", "host"),
    "exec": _EXEC,
    **_known(
        "initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold",
        "failureThreshold", "terminationGracePeriodSeconds",
    ),
}  # fmt: skip
_FIELD_REF: Final[_Fields] = _known("fieldPath", "apiVersion")
_KEY_REF: Final[_Fields] = _known("name", "key", "optional")
_SOURCE_REF: Final[_Fields] = _known("name", "optional")
_CONTAINER: Final[_Fields] = {
    "env": _Each(
        {
            "name": None,
            "value": None,
            "valueFrom": {
                "fieldRef": _FIELD_REF,
                "secretKeyRef": _KEY_REF,
                "configMapKeyRef": _KEY_REF,
            },
        }
    ),
    "envFrom": _Each({"prefix": None, "configMapRef": _SOURCE_REF, "secretRef": _SOURCE_REF}),
    "ports": _Each(_known("name", "containerPort", "protocol")),
    "volumeMounts": _Each(_known("name", "mountPath", "subPath", "readOnly")),
    "startupProbe": _PROBE,
    "readinessProbe": _PROBE,
    "livenessProbe": _PROBE,
    "lifecycle": {"preStop": {"exec": _EXEC, "sleep": _known("seconds"), "httpGet": _HTTP_GET}},
    "resources": _known("requests", "limits"),
    **_known(
        "name", "image", "command", "args", "workingDir", "imagePullPolicy", "securityContext",
        "terminationMessagePath", "terminationMessagePolicy",
    ),
}  # fmt: skip
_FILES: Final[_Fields] = _known("items", "defaultMode", "optional")
_DOWNWARD_ITEMS: Final = _Each({"path": None, "mode": None, "fieldRef": _FIELD_REF}, key="path")
_VOLUME: Final[_Fields] = {
    "name": None,
    "emptyDir": _known("medium", "sizeLimit"),
    "configMap": {"name": None, **_FILES},
    "secret": {"secretName": None, **_FILES},
    "downwardAPI": {"items": _DOWNWARD_ITEMS, "defaultMode": None},
    "persistentVolumeClaim": _known("claimName", "readOnly"),
    "projected": {
        "defaultMode": None,
        "sources": _Each(
            {
                "serviceAccountToken": _known("audience", "expirationSeconds", "path"),
                "configMap": _known("name", "items", "optional"),
                "secret": _known("name", "items", "optional"),
                "downwardAPI": {"items": _DOWNWARD_ITEMS},
            }
        ),
    },
}
_POD: Final[_Fields] = {
    "initContainers": _Each({**_CONTAINER, "restartPolicy": None}),
    "containers": _Each(_CONTAINER),
    "volumes": _Each(_VOLUME),
    "tolerations": _Each(_known("key", "operator", "value", "effect", "tolerationSeconds"), "key"),
    **_known(
        "nodeName", "nodeSelector", "serviceAccountName", "automountServiceAccountToken",
        "terminationGracePeriodSeconds", "restartPolicy", "enableServiceLinks", "schedulerName",
        "securityContext", "imagePullSecrets", "hostname", "subdomain", "dnsPolicy",
        "priorityClassName", "runtimeClassName", "shareProcessNamespace",
    ),
}  # fmt: skip


def unknown(pod_spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of the fields in a pod's `spec` that this node does not know, sorted."""
    return tuple(sorted(_unknown("spec", pod_spec, _POD)))


def _unknown(path: str, value: Any, fields: Mapping[str, Any] | _Each | None) -> Iterator[str]:
    match fields, value:
        case None, _:
            return
        case _Each(fields=inner, key=key), list() | tuple():
            for index, item in enumerate(value):
                label = item.get(key, index) if isinstance(item, Mapping) else index
                yield from _unknown(f"{path}[{label}]", item, inner)
        case Mapping(), Mapping():
            for name, child in value.items():
                if name not in fields:
                    yield f"{path}.{name}"
                elif child is not None:
                    yield from _unknown(f"{path}.{name}", child, fields[name])
        case _:
            yield path
