"""What does the API server refuse? The rules that planned objects could break, and no more.

Schemas of the built-in kinds are not checked, those of our own are; so are names, labels, sizes,
fields that cannot change, and what makes a Deployment or a StatefulSet unusable. The contract suite
holds each rule to a real server.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

from demarc.api import cluster, crd
from demarc.api.cluster import InvalidError, Kind, Ref
from demarc.local import structural_schema

_LABEL_MAX = 63
_SUBDOMAIN_MAX = 253
_DATA_MAX_BYTES = 1024 * 1024  # core/v1 MaxSecretSize, and the same number for ConfigMaps
_ANNOTATIONS_MAX_BYTES = 256 * 1024

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_LABEL_NAMED = frozenset({cluster.NAMESPACE, cluster.SERVICE})
_PATH_NAMED = frozenset({cluster.ROLE, cluster.ROLE_BINDING})
_WORKLOADS = frozenset({cluster.DEPLOYMENT, cluster.STATEFUL_SET})
_DATA_KINDS = frozenset({cluster.CONFIG_MAP, cluster.SECRET})

_STATEFUL_SET_MUTABLE = frozenset(
    {
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "replicas",
        "revisionHistoryLimit",
        "template",
        "updateStrategy",
    }
)


def check(ref: Ref, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    """`InvalidError` with every rule that the object, or its change, breaks."""
    problems = [*_name(ref), *_metadata(new), *_content(ref.kind, new)]
    if ref.kind in cluster.DEMARC_KINDS:
        problems += structural_schema.problems(dict(new), _schema(ref.kind))
    if old is not None:
        problems += _change(ref.kind, old, new)
    if problems:
        raise InvalidError(f"`{ref}` is invalid: {'; '.join(problems)}")


@cache
def _schema(kind: Kind) -> Mapping[str, Any]:
    (definition,) = (item for item in crd.DEFINITIONS if item.kind == kind)
    return crd.schema(definition.model)


def _name(ref: Ref) -> Iterator[str]:
    if ref.kind in _PATH_NAMED:
        return  # an address is made of names that stand in a path
    if ref.kind in _LABEL_NAMED:
        if len(ref.name) > _LABEL_MAX or not _DNS_LABEL.fullmatch(ref.name):
            yield f"metadata.name: `{ref.name}` is no RFC 1123 label"
    elif len(ref.name) > _SUBDOMAIN_MAX or not _DNS_SUBDOMAIN.fullmatch(ref.name):
        yield f"metadata.name: `{ref.name}` is no lowercase RFC 1123 subdomain"


def _metadata(new: Mapping[str, Any]) -> Iterator[str]:
    metadata: Mapping[str, Any] = new["metadata"]
    yield from _labels(metadata.get("labels", {}))
    yield from _annotations(metadata.get("annotations", {}))
    for owner in metadata.get("ownerReferences", ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield f"metadata.ownerReferences: `{field}` is required"


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    for key, value in labels.items():
        if not _is_qualified(key):
            yield f"metadata.labels: `{key}` is no label key"
        if not isinstance(value, str):
            yield f"metadata.labels: the value of `{key}` is no string"
        elif value and not _is_qualified_part(value):
            yield f"metadata.labels: `{value}` is no label value"


def _annotations(annotations: Mapping[str, Any]) -> Iterator[str]:
    for key, value in annotations.items():
        if not _is_qualified(key.lower()):
            yield f"metadata.annotations: `{key}` is no annotation key"
        if not isinstance(value, str):
            yield f"metadata.annotations: the value of `{key}` is no string"
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > _ANNOTATIONS_MAX_BYTES:
        yield f"metadata.annotations: may not be more than {_ANNOTATIONS_MAX_BYTES} bytes"


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _SUBDOMAIN_MAX or not _DNS_SUBDOMAIN.fullmatch(prefix)):
        return False
    return _is_qualified_part(name)


def _is_qualified_part(text: str) -> bool:
    return len(text) <= _LABEL_MAX and _QUALIFIED_PART.fullmatch(text) is not None


def _content(kind: Kind, new: Mapping[str, Any]) -> Iterator[str]:
    if kind in _DATA_KINDS:
        yield from _data(kind, new)
    if kind in _WORKLOADS:
        yield from _workload(new)
    if kind == cluster.POD:
        yield from _pod(_spec(new), "spec")
    if kind == cluster.SERVICE and not _spec(new).get("ports") and not _is_portless(_spec(new)):
        yield "spec.ports: required"
    if kind == cluster.ROLE_BINDING and not new.get("roleRef"):
        yield "roleRef: required"


def _data(kind: Kind, new: Mapping[str, Any]) -> Iterator[str]:
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (new.get(field) or {}).items():
            if len(key) > _SUBDOMAIN_MAX or not _DATA_KEY.fullmatch(key):
                yield f"{field}: `{key}` is no key of alphanumeric characters, `-`, `_` and `.`"
            if not isinstance(value, str):
                yield f"{field}: the value of `{key}` is no string"
                continue
            if kind != cluster.SECRET and field == "data":
                size += len(value.encode())
                continue
            try:
                size += len(base64.b64decode(value, validate=True))
            except binascii.Error:
                yield f"{field}: the value of `{key}` is no base64"
    if size > _DATA_MAX_BYTES:
        yield f"data: may not be more than {_DATA_MAX_BYTES} bytes"


def _workload(new: Mapping[str, Any]) -> Iterator[str]:
    spec = _spec(new)
    selector: Mapping[str, str] = (spec.get("selector") or {}).get("matchLabels") or {}
    template: Mapping[str, Any] = spec.get("template") or {}
    labels: Mapping[str, str] = (template.get("metadata") or {}).get("labels") or {}
    if not spec.get("selector"):
        yield "spec.selector: required"
    elif any(labels.get(key) != value for key, value in selector.items()):
        yield "spec.template.metadata.labels: do not match `spec.selector`"
    claims = [str(claim["metadata"]["name"]) for claim in spec.get("volumeClaimTemplates") or ()]
    yield from _pod(template.get("spec") or {}, "spec.template.spec", claims)


def _pod(spec: Mapping[str, Any], path: str, claims: Iterable[str] = ()) -> Iterator[str]:
    if not spec.get("containers"):
        yield f"{path}.containers: required"
    volumes = {*claims, *(str(volume.get("name", "")) for volume in spec.get("volumes") or ())}
    names: set[str] = set()
    for place in ("initContainers", "containers"):
        for container in spec.get(place) or ():
            name = str(container.get("name", ""))
            if name in names:
                yield f"{path}.{place}: `{name}` is there twice"
            names.add(name)
            yield from _container(container, name, f"{path}.{place}", volumes)


def _container(
    container: Mapping[str, Any], name: str, path: str, volumes: AbstractSet[str]
) -> Iterator[str]:
    if not _DNS_LABEL.fullmatch(name) or len(name) > _LABEL_MAX:
        yield f"{path}: `{name}` is no RFC 1123 label"
    if not container.get("image"):
        yield f"{path}: `{name}` has no image"
    for mount in container.get("volumeMounts") or ():
        if mount.get("name") not in volumes:
            yield f"{path}: no volume is named `{mount.get('name')}`"


def _is_portless(spec: Mapping[str, Any]) -> bool:
    return spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName"


def _change(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = _spec(old), _spec(new)
    if kind == cluster.DEPLOYMENT and before.get("selector") != after.get("selector"):
        yield "spec.selector: cannot change"
    if kind == cluster.STATEFUL_SET:
        for field in sorted(before.keys() | after.keys()):
            if field not in _STATEFUL_SET_MUTABLE and before.get(field) != after.get(field):
                yield f"spec.{field}: cannot change in a StatefulSet"
    if kind == cluster.SECRET and old.get("type") != new.get("type"):
        yield "type: cannot change"
    if kind == cluster.ROLE_BINDING and old.get("roleRef") != new.get("roleRef"):
        yield "roleRef: cannot change"
    if kind in _DATA_KINDS and old.get("immutable") is True:
        for field in ("data", "binaryData", "immutable"):
            if old.get(field) != new.get(field):
                yield f"{field}: cannot change when `immutable` is set"


def _spec(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = manifest.get("spec") or {}
    return spec
