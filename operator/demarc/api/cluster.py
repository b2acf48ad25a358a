"""What is a cluster to Demarc? Objects that are read, watched and applied through one port.

The port has three adapters: `MemoryCluster` (tests), `LocalNode` (one machine) and `KubeCluster`
(the Kubernetes API). One contract suite runs on all three.

INVARIANT: manifests are plain JSON mappings, exactly as the Kubernetes API takes and gives them.
INVARIANT: an apply that changes nothing leaves `metadata.resourceVersion` as it was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

Manifest: TypeAlias = Mapping[str, Any]
"""One Kubernetes object as JSON: `apiVersion`, `kind`, `metadata` and the rest."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """A kind of object and how the API spells it.

    Attributes:
        api_version: `v1`, `apps/v1`, `demarc.dev/v1alpha1`.
        name: `Deployment`.
        plural: `deployments`, as in the URL.
        namespaced: whether objects live in a namespace.
    """

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.partition("/")[0] if "/" in self.api_version else ""

    @property
    def version(self) -> str:
        """The version without its group: `v1`."""
        return self.api_version.rpartition("/")[2]


SITE = Kind("demarc.dev/v1alpha1", "Site", "sites", namespaced=False)
DATA_RESIDENCY = Kind("demarc.dev/v1alpha1", "DataResidency", "dataresidencies", namespaced=False)
MODEL_DEPLOYMENT = Kind("demarc.dev/v1alpha1", "ModelDeployment", "modeldeployments")
ROUTING_POLICY = Kind("demarc.dev/v1alpha1", "RoutingPolicy", "routingpolicies")

NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
EVENT = Kind("v1", "Event", "events")
PERSISTENT_VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")

DEMARC_KINDS = (SITE, MODEL_DEPLOYMENT, ROUTING_POLICY, DATA_RESIDENCY)
KINDS = (
    *DEMARC_KINDS,
    NAMESPACE,
    CONFIG_MAP,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    POD,
    NODE,
    EVENT,
    PERSISTENT_VOLUME_CLAIM,
    DEPLOYMENT,
    STATEFUL_SET,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
    LEASE,
    ROLE,
    ROLE_BINDING,
)


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """The address of one object; `namespace` is empty for cluster-scoped kinds."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Deployment/models/glm` or `Site/cloud-sg`, as people write it."""
        middle = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.name}/{middle}{self.name}"


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects of one kind and the version at which the list was taken."""

    items: tuple[Manifest, ...]
    resource_version: str


class Change(StrEnum):
    """What a watch reports of an object; the words of the Kubernetes API."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change, with the whole object after it (before it, when deleted)."""

    change: Change
    object: Manifest


# ClusterError                 something a cluster said no to, or could not say
# ├── PermanentError           the same call fails again until something changes
# │   ├── InvalidError         the object breaks a rule of its kind
# │   ├── NotFoundError        what the call builds on is not there: the namespace, the object
# │   ├── ConflictError        another field manager owns a field, or the object was replaced
# │   ├── ForbiddenError       the caller may not
# │   └── GoneError            the watch is too old: list again
# └── TransientError           unreachable, overloaded, timed out: try again later
class ClusterError(Exception):
    """A call to a cluster failed; the text is for the user and holds no secret."""


class PermanentError(ClusterError):
    """The same call fails again until something changes."""


class InvalidError(PermanentError):
    """The object breaks a rule of its kind; the text names the fields."""


class NotFoundError(PermanentError):
    """What the call builds on is not there: the namespace, or the object whose status it is."""


class ConflictError(PermanentError):
    """Another field manager owns a field, or the object is not the one that was read."""


class ForbiddenError(PermanentError):
    """The caller may not do this."""


class GoneError(PermanentError):
    """The watch is too old: list again."""


class TransientError(ClusterError):
    """Unreachable, overloaded or timed out: the shell tries again later."""


class Cluster(Protocol):
    """Objects of one cluster. Every method raises `ClusterError` and nothing else."""

    async def get(self, ref: Ref) -> Manifest | None:
        """The object, or None if there is none."""
        ...

    async def list(
        self, kind: Kind, *, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Listing:
        """All objects of a kind, in one namespace or in all, that carry all the labels."""
        ...

    def watch(
        self, kind: Kind, *, since: str, namespace: str = ""
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `since`, a `resourceVersion`; `GoneError` when that is too old.

        A generator that ends did so because the server closed it: list, or watch on from the
        last version seen. Whoever leaves early closes it (`contextlib.aclosing`), so that its
        connection ends with it.
        """
        ...

    async def apply(
        self, manifest: Manifest, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Manifest:
        """Server-side apply by a field manager; fields it no longer sends are removed.

        With `force` false a field of another manager is a `ConflictError` that names it.
        """
        ...

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status subresource only."""
        ...

    async def delete(self, ref: Ref, *, uid: str = "") -> None:
        """Delete in the background; a missing object is fine; another uid is a conflict."""
        ...

    async def issue_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> str:
        """A ServiceAccount token (a JWT) for an audience, valid for some seconds."""
        ...

    async def token_keys(self) -> Mapping[str, Any]:
        """`{"issuer": str, "keys": [JWK, ...]}`: what verifies ServiceAccount tokens."""
        ...
