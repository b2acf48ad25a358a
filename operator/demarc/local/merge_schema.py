"""Which parts of an object have owners of their own? The merge rules of the kinds that we render.

The rules are those of the API server's OpenAPI document (`x-kubernetes-list-type`,
`x-kubernetes-list-map-keys`, `x-kubernetes-map-type`); a contract test compares this table with the
document of a real server. A place that the table does not name is a struct when it holds an object
and atomic when it holds a list.
Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from demarc.api import cluster, crd


class Shape(StrEnum):
    """How the values at one place are owned."""

    STRUCT = "struct"
    """Each named field has its owners."""
    MAP = "map"
    """Each key has its owners."""
    ATOMIC = "atomic"
    """The value is owned whole."""
    SET = "set"
    """A list of scalars; each scalar has its owners."""
    KEYED = "keyed"
    """A list of objects; the item with some key values has its owners."""


@dataclass(frozen=True, slots=True)
class Place:
    """The merge rule of one place in an object.

    Attributes:
        fields: rules of named fields (struct); a field without one follows the module's default.
        items: the rule of an item (keyed list).
        keys: the names of the key fields (keyed list).
        defaults: key fields that an item may leave out, with what they then are.
    """

    shape: Shape = Shape.STRUCT
    fields: Mapping[str, Place] = field(default_factory=dict)
    items: Place | None = None
    keys: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def child(self, name: str) -> Place:
        """The rule of a named field; the default one if the table is silent."""
        return self.fields.get(name, UNKNOWN)

    @property
    def item(self) -> Place:
        """The rule of an item of a keyed list."""
        return self.items or UNKNOWN


UNKNOWN = Place()
ATOMIC = Place(Shape.ATOMIC)
MAP = Place(Shape.MAP)
SET = Place(Shape.SET)


def struct(**fields: Place) -> Place:
    """An object whose named fields have their own rules."""
    return Place(fields=MappingProxyType(fields))


def keyed(*keys: str, items: Place = UNKNOWN, **defaults: str) -> Place:
    """A list of objects that are told apart by key fields."""
    return Place(Shape.KEYED, items=items, keys=keys, defaults=MappingProxyType(defaults))


_METADATA = struct(
    annotations=MAP,
    finalizers=SET,
    labels=MAP,
    ownerReferences=keyed("uid", items=ATOMIC),
)
_AMOUNTS = struct(claims=keyed("name"), limits=MAP, requests=MAP)
_CONDITIONS = keyed("type")
_CONTAINER = struct(
    env=keyed(
        "name",
        items=struct(
            valueFrom=struct(
                configMapKeyRef=ATOMIC,
                fieldRef=ATOMIC,
                fileKeyRef=ATOMIC,
                resourceFieldRef=ATOMIC,
                secretKeyRef=ATOMIC,
            )
        ),
    ),
    ports=keyed("containerPort", "protocol", protocol="TCP"),
    resources=_AMOUNTS,
    volumeDevices=keyed("devicePath"),
    volumeMounts=keyed("mountPath"),
)
_CLAIM_SPEC = struct(dataSource=ATOMIC, resources=struct(limits=MAP, requests=MAP), selector=ATOMIC)
_SECRET_REF = struct(secretRef=ATOMIC)
_VOLUME = struct(
    cephfs=_SECRET_REF,
    cinder=_SECRET_REF,
    csi=struct(nodePublishSecretRef=ATOMIC, volumeAttributes=MAP),
    ephemeral=struct(volumeClaimTemplate=struct(metadata=_METADATA, spec=_CLAIM_SPEC)),
    flexVolume=struct(options=MAP, secretRef=ATOMIC),
    iscsi=_SECRET_REF,
    rbd=_SECRET_REF,
    scaleIO=_SECRET_REF,
    storageos=_SECRET_REF,
)
_POD_SPEC = struct(
    affinity=struct(nodeAffinity=struct(requiredDuringSchedulingIgnoredDuringExecution=ATOMIC)),
    containers=keyed("name", items=_CONTAINER),
    ephemeralContainers=keyed("name", items=_CONTAINER),
    hostAliases=keyed("ip"),
    imagePullSecrets=keyed("name", items=ATOMIC),
    initContainers=keyed("name", items=_CONTAINER),
    nodeSelector=ATOMIC,
    overhead=MAP,
    resourceClaims=keyed("name"),
    resources=_AMOUNTS,
    schedulingGates=keyed("name"),
    topologySpreadConstraints=keyed(
        "topologyKey", "whenUnsatisfiable", items=struct(labelSelector=ATOMIC)
    ),
    volumes=keyed("name", items=_VOLUME),
)
_WORKLOAD = struct(
    metadata=_METADATA,
    spec=struct(selector=ATOMIC, template=struct(metadata=_METADATA, spec=_POD_SPEC)),
    status=struct(conditions=_CONDITIONS),
)

BUILT_IN: Mapping[cluster.Kind, Place] = MappingProxyType(
    {
        cluster.NAMESPACE: struct(metadata=_METADATA, status=struct(conditions=_CONDITIONS)),
        cluster.CONFIG_MAP: struct(metadata=_METADATA, binaryData=MAP, data=MAP),
        cluster.SECRET: struct(metadata=_METADATA, data=MAP, stringData=MAP),
        cluster.SERVICE: struct(
            metadata=_METADATA,
            spec=struct(ports=keyed("port", "protocol", protocol="TCP"), selector=ATOMIC),
            status=struct(conditions=_CONDITIONS),
        ),
        cluster.SERVICE_ACCOUNT: struct(
            metadata=_METADATA, secrets=keyed("name", items=ATOMIC), imagePullSecrets=ATOMIC
        ),
        cluster.POD: struct(
            metadata=_METADATA,
            spec=_POD_SPEC,
            status=struct(
                allocatedResources=MAP,
                conditions=_CONDITIONS,
                podIPs=keyed("ip"),
                resourceClaimStatuses=keyed("name"),
                resources=_AMOUNTS,
            ),
        ),
        cluster.NODE: struct(
            metadata=_METADATA,
            spec=struct(podCIDRs=SET),
            status=struct(
                addresses=keyed("type"), allocatable=MAP, capacity=MAP, conditions=_CONDITIONS
            ),
        ),
        cluster.EVENT: struct(metadata=_METADATA, involvedObject=ATOMIC, related=ATOMIC),
        cluster.PERSISTENT_VOLUME_CLAIM: struct(
            metadata=_METADATA,
            spec=_CLAIM_SPEC,
            status=struct(
                allocatedResourceStatuses=MAP,
                allocatedResources=MAP,
                capacity=MAP,
                conditions=_CONDITIONS,
            ),
        ),
        cluster.DEPLOYMENT: _WORKLOAD,
        cluster.STATEFUL_SET: _WORKLOAD,
        cluster.NETWORK_POLICY: struct(metadata=_METADATA, spec=struct(podSelector=ATOMIC)),
        cluster.POD_DISRUPTION_BUDGET: struct(
            metadata=_METADATA,
            spec=struct(selector=ATOMIC),
            status=struct(conditions=_CONDITIONS, disruptedPods=MAP),
        ),
        cluster.ENDPOINT_SLICE: struct(metadata=_METADATA),
        cluster.LEASE: struct(metadata=_METADATA),
        cluster.ROLE: struct(metadata=_METADATA),
        cluster.ROLE_BINDING: struct(metadata=_METADATA, roleRef=ATOMIC),
    }
)


def of_every_kind() -> Mapping[cluster.Kind, Place]:
    """The merge rules of the built-in kinds and of our own, which their CRDs state."""
    own = {item.kind: from_openapi(crd.schema(item.model)) for item in crd.DEFINITIONS}
    return MappingProxyType({**BUILT_IN, **own})


def from_openapi(schema: Mapping[str, Any]) -> Place:
    """The merge rules that a CRD's `openAPIV3Schema` states, `metadata` included."""
    place = _from_openapi(schema)
    return Place(fields=MappingProxyType({**place.fields, "metadata": _METADATA}))


def _from_openapi(schema: Mapping[str, Any]) -> Place:
    if schema.get("type") == "array":
        return _list_from_openapi(schema)
    if schema.get("x-kubernetes-map-type") == "atomic":
        return ATOMIC
    if "additionalProperties" in schema:
        return MAP
    fields = {name: _from_openapi(value) for name, value in schema.get("properties", {}).items()}
    return Place(fields=MappingProxyType(fields))


def _list_from_openapi(schema: Mapping[str, Any]) -> Place:
    match schema.get("x-kubernetes-list-type"):
        case "set":
            return SET
        case "map":
            items: Mapping[str, Any] = schema["items"]
            properties: Mapping[str, Any] = items.get("properties", {})
            keys = tuple(schema["x-kubernetes-list-map-keys"])
            defaults = {
                key: properties[key]["default"]
                for key in keys
                if "default" in properties.get(key, {})
            }
            return Place(
                Shape.KEYED,
                items=_from_openapi(items),
                keys=keys,
                defaults=MappingProxyType(defaults),
            )
        case _:
            return ATOMIC
